"""SDE steps of a ``Limit`` in its modes (theory: section 3)."""

from functools import partial

import jax
import jax.numpy as jnp

from sdelimit._jit import jit
from sdelimit._stepping import mean_decay, normals
from sdelimit.limits.base import Limit
from sdelimit.modes import modes, noise_factor


def mode_stepper(problem, limit: Limit, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    current = modes(problem, limit)
    factors = tuple(noise_factor(problem, limit, name) for name in limit.basis)
    floor = 1e-30 * max(float(theory.risk[0]), float(theory.lr.max()) ** 2 * current.decay.max(), 1e-300)
    return (
        partial(_advance, limit, current.decay, current.forcing / problem.d, factors, floor),
        current.w0,
        current.decay.max(),
    )


@jit
def _advance(limit, decay, forcing, factors, floor, w, keys, index, dt, eta):
    d = decay.shape[0]

    def step(w, inputs):
        index, dt, eta = inputs
        R = _half_step_risk(limit, decay, forcing, floor, w, dt, eta)
        exponent = jax.vmap(limit.phi)(R)[:, None] * eta * dt * decay
        amplitude = eta * jnp.sqrt(jax.vmap(limit.psi)(R) * dt / d)
        z = normals(keys, index, (len(factors), d))
        kicks = [f * z[:, q] if f.ndim == 1 else z[:, q] @ f.T for q, f in enumerate(factors)]
        kick = sum(amplitude[:, q, None] * k for q, k in enumerate(kicks))
        w = jnp.exp(-exponent) * w + jnp.sqrt(mean_decay(2 * exponent)) * kick
        return w, jnp.sum(decay * w**2, axis=-1) / 2

    return jax.lax.scan(step, w, (index, dt, eta))


def _half_step_risk(limit, decay, forcing, floor, w, dt, eta):
    """Mean risk half a step ahead, with the coefficients of the present."""
    energy = w**2
    R = jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)
    exponent = jax.vmap(limit.phi)(R)[:, None] * eta * dt * decay
    source = eta**2 * (jax.vmap(limit.psi)(R) @ forcing) * dt / 2
    energy = jnp.exp(-exponent) * energy + mean_decay(exponent) * source
    return jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)
