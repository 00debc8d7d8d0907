"""The risk ODE of a limit with memory: the mode equations and a few scalars (theory: sections 3 and 11)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.limit import MemoryLimit
from sdelimit.modes.decoupled import Modes, modes
from sdelimit.ode.system import System, Tolerances, tolerances


class MemorySystem(System):
    """y = (shares of the risk lambda_i E[w_i^2] / 2, memory), with dm/dt = rate (target(R) - m)."""

    decay: Float[np.ndarray, " d"]
    energy0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]
    limit: MemoryLimit
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances

    def initial(self):
        return self.decay * self.energy0 / 2, jnp.asarray(self.limit.initial())

    def field(self, eta, y):
        shares, memory = y
        R = self.positive(self.risk(y))
        source = self.limit.psi(R, memory) @ self.forcing
        drift = -2 * eta * self.limit.phi(R, memory) * self.decay * shares
        return drift + eta**2 * self.decay * source / 2, self.limit.rate * (self.limit.target(R) - memory)

    def risk(self, y):
        return jnp.sum(y[0], axis=-1)

    def observe(self, eta, y, save_modes):
        shares, memory = y
        energies = 2 * shares / jnp.where(self.decay > 0, self.decay, 1.0) if save_modes else jnp.zeros(())
        phi = self.limit.phi(self.positive(self.risk(y)), memory)
        return {"modes": energies, "phi": phi, "slope": jnp.sum(self.field(eta, y)[0]), "memory": memory}


def memory_system(problem, limit: MemoryLimit, times, rtol, atol, eta) -> MemorySystem:
    """The risk ODE of ``limit`` on ``problem``."""
    return memory_system_of_modes(modes(problem, limit), limit, problem.d, times, rtol, atol, eta)


def memory_system_of_modes(current: Modes, limit, d: int, times, rtol, atol, eta) -> MemorySystem:
    """The risk ODE of ``limit``'s phi and psi in given modes."""
    energy0, forcing = current.w0**2, current.forcing / d
    noise_risk = float(current.decay @ forcing[0]) / 2
    bounds = tolerances(float(current.decay @ energy0) / 2, noise_risk, d, rtol, atol, eta)
    return MemorySystem(current.decay, energy0, forcing, limit, times, bounds)
