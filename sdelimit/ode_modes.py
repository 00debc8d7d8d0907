"""The risk ODE of a ``Limit`` in its modes (theory: section 3)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit._precision import evaluate_in_float64
from sdelimit.exponential import Exponential
from sdelimit.limits.base import Limit
from sdelimit.modes import Modes, modes
from sdelimit.problem import LinearRegression
from sdelimit.system import System, Tolerances, tolerances


class ModeSystem(System):
    """y_i = weight_i E[w_i^2], mode i's share of the risk:

        dy_i/dt = -2 eta phi(R) lambda_i y_i + eta^2 weight_i sum_q psi_q(R) c_qi / d.

    weight_i = lambda_i / 2, but for modes with lambda_i = 0, which keep a small weight in the error norm.
    """

    decay: Float[np.ndarray, " d"]
    energy0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]
    weight: Float[np.ndarray, " d"]
    limit: Limit
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    exponential: bool = eqx.field(static=True, default=True)

    def initial(self):
        return self.weight * self.energy0

    def solver(self):
        return Exponential() if self.exponential else super().solver()

    def rates(self, eta, R):
        """a = 2 eta phi(R), the decay rate of a mode with lambda = 1, and eta^2 psi(R) / a."""
        phi = self.limit.phi(R)
        return 2 * eta * phi, eta / (2 * phi) * self.limit.psi(R)

    @property
    def sources(self):
        """weight_i c_qi / d: what psi_q(R) = 1 adds to y_i in unit time at eta = 1."""
        return self.weight * jnp.asarray(self.forcing)

    def field(self, eta, y):
        R = self.positive(self.risk(y))
        source = self.weight * (self.limit.psi(R) @ self.forcing)
        return -2 * eta * self.limit.phi(R) * self.decay * y + eta**2 * source

    def risk(self, y):
        return jnp.sum(self.decay * y / self.weight, axis=-1) / 2

    def observe(self, eta, y, save_modes):
        phi = self.limit.phi(self.positive(self.risk(y)))
        slope = jnp.sum(self.decay * self.field(eta, y) / self.weight) / 2
        return {"modes": y / self.weight if save_modes else jnp.zeros(()), "phi": phi, "slope": slope}


def mode_system(problem: LinearRegression, limit: Limit, times, rtol, atol, eta) -> ModeSystem:
    """The risk ODE of ``limit`` on ``problem``."""
    return system_of_modes(modes(problem, limit), limit, problem.d, times, rtol, atol, eta)


def system_of_modes(current: Modes, limit, d: int, times, rtol, atol, eta) -> ModeSystem:
    """The risk ODE of ``limit``'s phi and psi in given modes."""
    energy0, forcing = current.w0**2, current.forcing / d
    risk0 = float(current.decay @ energy0 / 2)
    source = evaluate_in_float64(limit.psi, max(risk0, 1e-290)) @ forcing
    bounds = tolerances(risk0, float(current.decay @ source) / 2, d, rtol, atol, eta)
    weight = np.maximum(current.decay, 1e-12 * current.decay.max()) / 2
    return ModeSystem(current.decay, energy0, forcing, weight, limit, times, bounds)
