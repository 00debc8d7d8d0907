"""SDE steps of a scale-dependent rule (theory: section 9), in the coordinates y = D delta, R = 1/2 y' Khat y:

    dy = -eta A Khat y dt + eta sqrt(D N(R) D / d) dB,    A = diag(sigma_i^2 phi_i(R)).

Each step is half a step of decay, a kick, and another half (second order in law), with phi, N and eta frozen at a
predicted midpoint. For diagonal K the decay and the kicks act on each coordinate alone. Otherwise D N(R) D is
its exact heating rate tr(K N(R)) times a shape that is interpolated linearly in log R between a few risks, as
independent kicks with nonnegative variances.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.scale_dependent import ScaleDependentLimit, expand, interpolation
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.jit import jit
from sdelimit.ode.matrix import DiagonalSystem, MatrixSystem, scale_dependent_system
from sdelimit.sde.noise_increments import mean_decay, standard_normals

KNOT_SPACING = 0.7
MARGIN = 2.0
"""How far, in log R, the paths are expected to stray beyond the range of the mean risk."""


def scale_dependent_stepper(problem, limit: ScaleDependentLimit, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    system = scale_dependent_system(problem, limit, theory.t, 1e-4, None, theory.lr)
    y0 = np.sqrt(system.decay) * problem.delta0
    if isinstance(system, DiagonalSystem):
        return partial(_advance_diagonal, system), y0, _steepness(limit, problem, theory) * system.decay.max()
    log_R, factors = _knots(problem, limit, system, theory)
    top = float(np.linalg.eigvalsh(problem.covariance.to_dense())[-1])
    return partial(_advance, system, log_R, factors), y0, _steepness(limit, problem, theory) * top


def _risks(theory):
    finite = theory.risk[np.isfinite(theory.risk) & (theory.risk > 0)]
    return (finite.min(), finite.max()) if finite.size else (TINY_RISK, TINY_RISK)


def _steepness(limit, problem, theory):
    """Largest ratio of phi_i to its trace-weighted mean along the curve."""
    std = problem.covariance.std
    phi = np.array([limit.drift(R, std) for R in np.geomspace(*_risks(theory), 7)])
    return float(np.max(phi.max(axis=1) / (phi @ std**2 / np.sum(std**2))))


def _knots(problem, limit, system: MatrixSystem, theory):
    """Risks R_j, and factors of D N(R_j) D / tr(K N(R_j))."""
    low, high = np.log(_risks(theory)) + np.array([-MARGIN, MARGIN])
    log_R = np.linspace(low, high, int(np.ceil((high - low) / KNOT_SPACING)) + 1)
    std = problem.covariance.std
    nodes, spread = interpolation(std)
    kernels = np.array([limit.coefficients(R, nodes)[1] for R in np.exp(log_R)])
    covariances = expand(limit.exponents, kernels, spread, system.khat) * std[:, None] * std[None, :]
    return log_R, np.stack([_factor(c / np.sum(system.khat * c)) for c in covariances])


def _factor(matrix):
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(np.maximum(values, 0.0))


@jit
def _advance_diagonal(system: DiagonalSystem, y, keys, index, dt, eta):
    d = system.decay.shape[0]
    drift = jax.vmap(lambda R: system.drift_profile(R) @ system.drift)
    noise = jax.vmap(lambda R: system.noise_profile(R) @ system.noise)

    def risk(shares):
        return system.positive(jnp.sum(shares, axis=-1))

    def step(y, inputs):
        index, dt, eta = inputs
        R = risk(y**2 / 2)
        exponent = eta * dt * system.decay * drift(R)
        heat = eta**2 * system.decay * noise(R) * dt / (4 * d)
        R = risk(jnp.exp(-exponent) * y**2 / 2 + mean_decay(exponent) * heat)
        exponent = eta * dt * system.decay * drift(R)
        variance = eta**2 * system.decay * noise(R) * dt / d * mean_decay(2 * exponent)
        y = jnp.exp(-exponent) * y + jnp.sqrt(jnp.maximum(variance, 0.0)) * standard_normals(keys, index, (d,))
        return y, jnp.sum(y**2, axis=-1) / 2

    return jax.lax.scan(step, y, (index, dt, eta))


@jit
def _advance(system: MatrixSystem, log_R, factors, y, keys, index, dt, eta):
    d = system.decay.shape[0]
    khat, factors = jnp.asarray(system.khat), jnp.asarray(factors)
    heating = jax.vmap(lambda R: system.noise_profile(R) @ system.heating)
    strength = jax.vmap(lambda R: system.decay * (system.drift_profile(R) @ system.drift))

    def risk(y):
        return jnp.sum(y * (y @ khat), axis=-1) / 2

    def decayed(y, a):
        """exp(-A Khat) y to third order, a = diag A."""
        first = a * (y @ khat)
        second = a * (first @ khat)
        return y - first + second / 2 - a * (second @ khat) / 6

    def kick(R, z):
        """sum_j sqrt(weight_j) F_j z_j, skipping the knots where no path is."""
        position = jnp.clip(jnp.interp(jnp.log(R), log_R, jnp.arange(log_R.size)), 0, log_R.size - 1)
        weights = jnp.maximum(1 - jnp.abs(position[:, None] - jnp.arange(log_R.size)), 0.0)

        def add(total, knot):
            weight, factor, z = knot
            product = lambda: (jnp.sqrt(weight)[:, None] * z) @ factor.T  # noqa: E731
            return total + jax.lax.cond(jnp.any(weight > 0), product, lambda: jnp.zeros_like(total)), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(z[:, 0]), (weights.T, factors, jnp.moveaxis(z, 1, 0)))
        return jnp.sqrt(heating(R))[:, None] * total

    def step(y, inputs):
        index, dt, eta = inputs
        R = system.positive(risk(y))
        half = y - eta * dt / 2 * strength(R) * (y @ khat)
        R = system.positive(risk(half) + eta**2 * dt / (4 * d) * heating(R))
        a = eta * dt / 2 * strength(R)
        z = standard_normals(keys, index, (log_R.size, d))
        y = decayed(decayed(y, a) + eta * jnp.sqrt(dt / d) * kick(R, z), a)
        return y, risk(y)

    return jax.lax.scan(step, y, (index, dt, eta))
