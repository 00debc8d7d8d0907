"""SDE steps where features are correlated with the residual (theory: section 15), for y = D delta:

    dy = -eta D G(r) dt + eta d^(-1/2) D N^(1/2) dB,    r = Khat y / s,    s = sqrt(2R),    R = y' Khat y / 2,

with the rule's mean update G and N_ij = kappa(1) (k(r_i) k(r_j))^(1/2) kappa(Khat_ij) / kappa(1); for signs of single
gradients N = (2/pi) arcsin(Khat) - G G'. A step is half a step of drift, the noise, and another half, between two
halves of weight decay.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.limits.response import Response
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.jit import jit
from sdelimit.numerics.matrices import semidefinite_root
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.ode.aligned import AlignedSystem, aligned_system
from sdelimit.sde.noise_increments import after_weight_decay, risks_of, standard_normals


def aligned_stepper(problem, law: ScalarLaw, response: Response, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    system = aligned_system(problem, law, response, theory.t, 1e-4, None, theory.lr)
    pull, law = None if system.target is None else (system.weight_decay, system.target), law.undecayed
    factor = inverse = None
    top = float(system.std.max())
    if system.khat is not None:
        low, high = risks_of(theory)
        scalars = jnp.asarray(law.initial_scalars())
        weights = evaluate_in_float64(lambda R: law.noise_coefficients(R, scalars), np.sqrt(low * high))
        kernel = sum(w * kernel_basis(name, system.khat) for w, name in zip(weights, law.basis, strict=True))
        factor = semidefinite_root(kernel / weights.sum())
        inverse = np.linalg.pinv(factor) if system.shares_signs else None
        root = np.sqrt(system.std)
        top = float(np.linalg.eigvalsh(root[:, None] * system.khat * root)[-1])
    with x64():
        y0, _, extra = jax.tree.map(np.asarray, system.initial())
    return partial(_advance, replace(system, target=None), factor, inverse, pull), (y0, extra), top


@jit
def _advance(system: AlignedSystem, factor, inverse, pull, state, keys, index, dt, eta):
    d = system.std.shape[0]
    std = jnp.asarray(system.std)

    def mixed(y):
        return y if system.khat is None else y @ jnp.asarray(system.khat)

    def correlations(y):
        features = mixed(y)
        R = jax.vmap(system.positive)(jnp.sum(y * features, axis=-1) / 2)
        return R, jnp.clip(features / jnp.sqrt(2 * R)[:, None], -1.0, 1.0)

    def responses(y, extra):
        R, r = correlations(y)
        G, k = jax.vmap(partial(system.response.at, system.law))(extra, R, r)
        return R, r, G, k

    def relaxed(extra, R, r, h):
        """extra a time h later, exactly while R and r stay."""
        rates, targets = system.response.relaxation(extra, R, r, jnp.zeros_like(r))
        return jax.tree.map(lambda x, rate, target: x - (target - x) * jnp.expm1(-rate * h), extra, rates, targets)

    def noise(G, k, z):
        if not system.shares_signs:
            z = z if factor is None else z @ jnp.asarray(factor).T
            return jnp.sqrt(k) * z
        # With F F' = (2/pi) arcsin(Khat) and F b = G, the factor F (I - b b')^(1/2).
        b = G if inverse is None else G @ jnp.asarray(inverse).T
        square = jnp.sum(b**2, axis=-1, keepdims=True)
        along = jnp.sum(b * z, axis=-1, keepdims=True) / jnp.maximum(square, TINY)
        z = z - (1 - jnp.sqrt(jnp.maximum(1 - square, 0.0))) * along * b
        return z if factor is None else z @ jnp.asarray(factor).T

    def drift(y, extra, h):
        """y and extra a time h later without noise, by the midpoint rule; ``h`` holds (time, eta time)."""
        later = jax.vmap(relaxed, (0, 0, 0, None))
        R, r, G, _ = responses(y, extra)
        R, r, G, _ = responses(y - h[1] / 2 * std * G, later(extra, R, r, h[0] / 2))
        return y - h[1] * std * G, later(extra, R, r, h[0])

    def step(state, inputs):
        index, dt, eta = inputs
        half = dt / 2, eta * dt / 2
        y, extra = state
        y, extra = drift(after_weight_decay(pull, half[1], y), extra, half)
        _, _, G, k = responses(y, extra)
        y = y + eta * jnp.sqrt(dt / d) * std * noise(G, k, standard_normals(keys, index, (d,)))
        y, extra = drift(y, extra, half)
        y = after_weight_decay(pull, half[1], y)
        return (y, extra), jnp.sum(y * mixed(y), axis=-1) / 2

    return jax.lax.scan(step, state, (index, dt, eta))
