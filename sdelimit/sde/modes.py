"""SDE steps of a ``Limit`` in its modes (theory: section 3)."""

from functools import partial

import jax
import jax.numpy as jnp

from sdelimit.limits.limit import Limit
from sdelimit.modes.decoupled import noise_along_mean, noise_modes
from sdelimit.numerics.jit import jit
from sdelimit.sde.noise_increments import applied, kicks_of, mean_decay, standard_normals, transposed


def mode_stepper(problem, limit: Limit, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    current = noise_modes(problem, limit)
    kicks = kicks_of(problem, limit, current.decay, theory)
    along = None if limit.fluctuations is None else transposed(noise_along_mean(problem, limit))
    floor = 1e-30 * max(float(theory.risk[0]), float(theory.lr.max()) ** 2 * current.decay.max(), 1e-300)
    return (
        partial(_advance, limit, current.decay, current.forcing / problem.d, kicks, along, floor),
        current.w0,
        current.decay.max(),
    )


@jit
def _advance(limit, decay, forcing, kicks, along, floor, w, keys, index, dt, eta):
    d = decay.shape[0]

    def step(w, inputs):
        index, dt, eta = inputs
        R = _half_step_risk(limit, decay, forcing, floor, w, dt, eta)
        exponent = jax.vmap(limit.phi)(R)[:, None] * eta * dt * decay
        psi = jax.vmap(limit.psi)(R)
        z = standard_normals(keys, index, (d + 1,))
        z, other = z[:, :-1], z[:, -1:]
        if along is not None:
            b = applied(along, w) / jnp.sqrt(psi)
            z = _with_fluctuations(limit, R, psi, d * dt, b, z, other)
        kick = eta * jnp.sqrt(dt / d) * kicks(R, psi, z)
        w = jnp.exp(-exponent) * w + jnp.sqrt(mean_decay(2 * exponent)) * kick
        return w, jnp.sum(decay * w**2, axis=-1) / 2

    return jax.lax.scan(step, w, (index, dt, eta))


def _with_fluctuations(limit, R, psi, steps, b, z, other):
    """What ``steps`` steps of the rule add, in place of standard normals z; see limits/exact/step_fluctuations.py.

    With L the only factor and b = L^-1 v / sqrt(psi) in the coordinates of the modes, (I + gamma b b')^(1/2) z makes
    the covariance psi L L' + gamma v v'. Its part across b is scaled by the root of G, the mean of E over these steps
    relative to psi: lognormal, of variance spread / steps. What rounding or an estimate makes negative counts as 0.
    """
    gamma, spread, coupling = (x[:, None] for x in jax.vmap(limit.fluctuations)(R))
    square = jnp.maximum(jnp.sum(b**2, axis=-1, keepdims=True), 1e-300)
    unit = jnp.sum(b * z, axis=-1, keepdims=True) / jnp.sqrt(square)
    along = unit / jnp.sqrt(square) * b
    variance = jnp.maximum(gamma + psi / (2 * R[:, None]), 0.0)  # Var(T) / s^2
    correlation = coupling / jnp.sqrt(jnp.maximum(spread * variance, coupling**2 + 1e-300))
    # A larger T moves delta against v.
    mixed = -correlation * unit + jnp.sqrt(1 - correlation**2) * other
    log_variance = jnp.log1p(spread / jnp.maximum(steps, 1e-300))
    G = jnp.exp(jnp.sqrt(log_variance) * mixed - log_variance / 2)
    return jnp.sqrt(G) * (z - along) + jnp.sqrt(jnp.maximum(1 + gamma * square, 0.0)) * along


def _half_step_risk(limit, decay, forcing, floor, w, dt, eta):
    """Mean risk half a step ahead, with the coefficients of the present."""
    energy = w**2
    R = jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)
    exponent = jax.vmap(limit.phi)(R)[:, None] * eta * dt * decay
    source = eta**2 * (jax.vmap(limit.psi)(R) @ forcing) * dt / 2
    energy = jnp.exp(-exponent) * energy + mean_decay(exponent) * source
    return jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)
