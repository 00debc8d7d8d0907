"""SDE steps of a law that decouples in no coordinates (theory: section 9), for y = D delta, R = 1/2 y' Khat y:

    dy = -eta A Khat y dt + eta sqrt(D N(R) D / d) dB,    A = diag(sigma_i^2 phi_i(R)).

Each step is half a step of decay, the noise, and another half (second order in law), with phi, N and eta at a
predicted midpoint; weight decay takes half a step before and after. D N(R) D is its exact trace with Khat, tr(K N(R)),
times a shape that is interpolated linearly in log R between a few risks, as independent increments with nonnegative
variances.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.law import Operators
from sdelimit.numerics.jit import jit
from sdelimit.numerics.matrices import semidefinite_root
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.matrix import MatrixSystem, matrix_system
from sdelimit.sde.noise_increments import MARGIN, SPACING, after_weight_decay, risks_of, standard_normals


def matrix_stepper(problem, operators: Operators, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    system = matrix_system(problem, operators, theory.t, 1e-4, None, theory.lr)
    pull = None if system.target is None else (system.weight_decay, system.target)
    system = replace(system, target=None)
    log_R, factors = _knots(system, theory)
    top = float(np.linalg.eigvalsh(problem.covariance.to_dense())[-1])
    y0 = np.sqrt(system.decay) * problem.delta0
    return partial(_advance, system, log_R, factors, pull), y0, _steepness(system, theory) * top


def _coefficients(system, risks):
    """a_p and b_q at several risks."""
    return [evaluate_in_float64(jax.vmap(lambda R, i=i: system.coefficients(R)[i]), risks) for i in range(2)]


def _steepness(system, theory):
    """Largest ratio of phi_i to its trace-weighted mean along the curve."""
    phi = _coefficients(system, np.geomspace(*risks_of(theory), 7))[0] @ system.matrices.members
    return float(np.max(phi.max(axis=1) / (phi @ system.decay / np.sum(system.decay))))


def _knots(system: MatrixSystem, theory):
    """Risks R_j, and factors of D N(R_j) D / tr(K N(R_j))."""
    low, high = np.log(risks_of(theory)) + np.array([-MARGIN, MARGIN])
    log_R = np.linspace(low, high, int(np.ceil((high - low) / SPACING)) + 1)
    b = _coefficients(system, np.exp(log_R))[1]
    covariances = np.tensordot(b / (b @ system.matrices.noise_power)[:, None], system.matrices.noise, axes=1)
    return log_R, np.stack([semidefinite_root(c) for c in covariances])


@jit
def _advance(system: MatrixSystem, log_R, factors, pull, y, keys, index, dt, eta):
    d = system.decay.shape[0]
    khat, factors = jnp.asarray(system.matrices.khat), jnp.asarray(factors)
    noise_power = jax.vmap(lambda R: system.coefficients(R)[1] @ system.matrices.noise_power)
    strength = jax.vmap(lambda R: system.decay * (system.coefficients(R)[0] @ system.matrices.members))

    def risk(y):
        return jnp.sum(y * (y @ khat), axis=-1) / 2

    def decay(y, a):
        """exp(-A Khat) y to third order, a = diag A."""
        first = a * (y @ khat)
        second = a * (first @ khat)
        return y - first + second / 2 - a * (second @ khat) / 6

    def increment(R, z):
        """sum_j sqrt(weight_j) F_j z_j, without the products of knots at which no path has a weight."""
        position = jnp.clip(jnp.interp(jnp.log(R), log_R, jnp.arange(log_R.size)), 0, log_R.size - 1)
        weights = jnp.maximum(1 - jnp.abs(position[:, None] - jnp.arange(log_R.size)), 0.0)

        def add(total, knot):
            weight, factor, z = knot
            product = lambda: (jnp.sqrt(weight)[:, None] * z) @ factor.T  # noqa: E731
            return total + jax.lax.cond(jnp.any(weight > 0), product, lambda: jnp.zeros_like(total)), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(z[:, 0]), (weights.T, factors, jnp.moveaxis(z, 1, 0)))
        return jnp.sqrt(noise_power(R))[:, None] * total

    def step(y, inputs):
        index, dt, eta = inputs
        y = after_weight_decay(pull, eta * dt / 2, y)
        R = system.positive(risk(y))
        half = y - eta * dt / 2 * strength(R) * (y @ khat)
        R = system.positive(risk(half) + eta**2 * dt / (4 * d) * noise_power(R))
        a = eta * dt / 2 * strength(R)
        z = standard_normals(keys, index, (log_R.size, d))
        y = decay(decay(y, a) + eta * jnp.sqrt(dt / d) * increment(R, z), a)
        y = after_weight_decay(pull, eta * dt / 2, y)
        return y, risk(y)

    return jax.lax.scan(step, y, (index, dt, eta))
