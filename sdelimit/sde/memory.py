"""SDE steps of a limit with memory: those of ``sde/modes.py`` with the scalars of ``MemoryLimit`` on every path."""

from functools import partial

import jax
import jax.numpy as jnp

from sdelimit.limits.limit import MemoryLimit
from sdelimit.modes.decoupled import noise_factor, noise_modes
from sdelimit.numerics.jit import jit
from sdelimit.sde.noise_increments import applied, mean_decay, standard_normals, transposed


def memory_stepper(problem, limit: MemoryLimit, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1)."""
    current = noise_modes(problem, limit)
    factors = tuple(transposed(noise_factor(problem, limit, name)) for name in limit.basis)
    floor = 1e-30 * float(theory.risk[0] + theory.lr.max() ** 2 * current.decay.max())
    advance = partial(_advance, limit, current.decay, current.forcing / problem.d, factors, max(floor, 1e-300))
    return advance, (current.w0, limit.initial()), current.decay.max()


@jit
def _advance(limit, decay, forcing, factors, floor, state, keys, index, dt, eta):
    d = decay.shape[0]
    phi, psi, target = jax.vmap(limit.phi), jax.vmap(limit.psi), jax.vmap(limit.target)

    def risk(energy):
        return jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)

    def relaxed(memory, R, dt):
        return memory - jnp.expm1(-limit.rate * dt) * (target(R) - memory)

    def midpoint(w, memory, dt, eta):
        """Mean risk and memory half a step ahead, with the coefficients of the present."""
        R = risk(w**2)
        exponent = phi(R, memory)[:, None] * eta * dt * decay
        source = eta**2 * (psi(R, memory) @ forcing) * dt / 2
        ahead = risk(jnp.exp(-exponent) * w**2 + mean_decay(exponent) * source)
        return ahead, relaxed(memory, (R + ahead) / 2, dt / 2)

    def step(state, inputs):
        w, memory = state
        index, dt, eta = inputs
        R, middle = midpoint(w, memory, dt, eta)
        exponent = phi(R, middle)[:, None] * eta * dt * decay
        amplitude = eta * jnp.sqrt(psi(R, middle) * dt / d)
        z = standard_normals(keys, index, (len(factors), d))
        kicks = [applied(f, z[:, q]) for q, f in enumerate(factors)]
        kick = sum(amplitude[:, q, None] * k for q, k in enumerate(kicks))
        w = jnp.exp(-exponent) * w + jnp.sqrt(mean_decay(2 * exponent)) * kick
        return (w, relaxed(memory, R, dt)), jnp.sum(decay * w**2, axis=-1) / 2

    return jax.lax.scan(step, state, (index, dt, eta))
