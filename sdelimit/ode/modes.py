"""The risk ODE of a ``Limit`` in its modes (theory: section 3)."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.limit import Limit
from sdelimit.modes.compression import compress
from sdelimit.modes.decoupled import Modes, modes
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.exponential_integrator import Exponential
from sdelimit.ode.system import System, Tolerances, largest_rate, tolerances
from sdelimit.problem.linear_regression import LinearRegression

SHARED_MODES = 64
"""Numbers of modes are rounded up to a multiple of this."""
STIFF = 100
"""From this many steps that only keep an explicit method stable, the exponential integrator takes over."""
EXPLICIT_REACH = 3.3
"""Longest stable step of Tsitouras 5(4), in units of the fastest decay time."""


class ModeSystem(System):
    """y_i = weight_i E[w_i^2], mode i's share of the risk:

        dy_i/dt = -2 eta phi(R) lambda_i y_i + eta^2 weight_i sum_q psi_q(R) c_qi / d.

    weight_i = lambda_i / 2, but for modes with lambda_i = 0, which keep a small weight in the error norm.
    ``stiff`` chooses the integrator: Tsitouras 5(4) is cheaper where its steps follow the risk.
    """

    decay: Float[np.ndarray, " d"]
    energy0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]
    weight: Float[np.ndarray, " d"]
    limit: Limit
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    stiff: bool = eqx.field(static=True)

    def initial(self):
        return self.weight * self.energy0

    def compressed(self, problem):
        """A few hundred modes of the same risk, kept with the problem; their energies and forcing can be negative."""
        key = "compressed", self.limit.power, self.limit.basis
        decay, energy0, forcing, weight = problem.cached(key, self._few_modes)
        bounds = replace(self.tolerances, atol=self.tolerances.atol * self.decay.size / decay.size)
        return ModeSystem(decay, energy0, forcing, weight, self.limit, self.times, bounds, self.stiff)

    def _few_modes(self):
        decay, shares = compress(self.decay, self.decay / 2 * np.concatenate([self.energy0[None], self.forcing]))
        extra = -decay.size % SHARED_MODES
        decay, shares = np.pad(decay, (0, extra), mode="edge"), np.pad(shares, ((0, 0), (0, extra)))
        weight = np.where(decay > 0, decay, decay.max()) / 2
        energy0, *forcing = shares / weight
        return decay, energy0, np.stack(forcing), weight

    def padded(self):
        """With modes of no energy, which do not count in the error norm either."""
        d, extra = self.decay.size, -self.decay.size % SHARED_MODES
        if not extra:
            return super().padded()
        share = (d / (d + extra)) ** 0.5
        bounds = replace(self.tolerances, rtol=self.tolerances.rtol * share, atol=self.tolerances.atol * share)
        decay, weight = (np.pad(a, (0, extra), mode="edge") for a in (self.decay, self.weight))
        energy0, forcing = np.pad(self.energy0, (0, extra)), np.pad(self.forcing, ((0, 0), (0, extra)))
        system = ModeSystem(decay, energy0, forcing, weight, self.limit, self.times, bounds, self.stiff)
        return super(ModeSystem, system).padded()

    def solver(self):
        return Exponential() if self.stiff else super().solver()

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
    _, *psi = evaluate_in_float64(partial(_coefficients, limit), [max(risk0, 1e-290)])[0]
    source = psi @ forcing
    bounds = tolerances(risk0, float(current.decay @ source) / 2, d, rtol, atol, eta)
    steps = times[-1] * _fastest_rate(limit, current.decay, forcing, risk0, bounds, eta) / EXPLICIT_REACH
    stiff = bool(steps > STIFF)
    if stiff:  # phi(R) is not followed to where R is far below what atol resolves
        bounds = replace(bounds, floor=1e-3 * bounds.atol * d)
    return ModeSystem(current.decay, energy0, forcing, _weights(current.decay), limit, times, bounds, stiff)


def _weights(decay):
    return np.maximum(decay, 1e-12 * decay.max()) / 2


@jit
def _coefficients(limit, risks):
    """phi(R) and psi(R) side by side, (n, 1 + p)."""
    return jax.vmap(lambda R: jnp.concatenate([limit.phi(R)[None], limit.psi(R)]))(risks)


def _fastest_rate(limit, decay, forcing, risk0, bounds, eta) -> float:
    """Bound on 2 eta phi(R) lambda_max along the curve.

    dR/dt >= -2 eta phi lambda_max R + eta^2 psi.f: the risk cannot fall below where the two are equal, and phi falls
    with R for every rule whose phi grows without bounds.
    """
    step = largest_rate(eta)
    risks = np.exp(np.linspace(np.log(bounds.floor), np.log(max(risk0, bounds.floor * 10)), 61))
    phi, *psi = evaluate_in_float64(partial(_coefficients, limit), risks).T
    noise = (forcing @ decay / 2) @ psi
    falling = 2 * phi * decay.max() * risks > step * noise
    return 2 * step * float(decay.max() * np.max(phi, where=falling | (risks == risks[-1]), initial=0.0))
