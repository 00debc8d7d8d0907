"""Risk ODEs between SGD's and a rule's: SGD with some of the four effects switched on (theory: section 5).

With a(R), Mhat, chi(R) and Nhat of ``sdelimit.effects``, every one of them has the form

    dV/dt = -eta alpha (Mhat K V + V K Mhat) + (eta^2/d) alpha^2 chi (2P/b) Nhat,

where an effect that is off leaves alpha = 1, Mhat = I, chi = 1 or Nhat = K.
"""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sdelimit.analysis.effects.names import EFFECTS
from sdelimit.analysis.effects.second_moments import Coefficients, Dynamics
from sdelimit.limits.exact.sgd import UnitDrift
from sdelimit.limits.limit import Limit, MemoryLimit
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.modes.decoupled import dense_modes
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.matrix import DiagonalSystem, MatrixSystem, matrices_of
from sdelimit.ode.memory import memory_system_of_modes
from sdelimit.ode.modes import system_of_modes
from sdelimit.ode.system import System, tolerances


class Intermediate(eqx.Module):
    """The coefficients of a rule with only the effects in ``on`` (in the order of ``EFFECTS``).

    ``psi`` are the coefficients of K and of the rule's noise matrices N_q. The switches are numbers, so that all
    sixteen combinations share their compiled code.
    """

    rule: Coefficients
    trace: float
    noise_variance: float
    batch_size: float
    on: Bool[np.ndarray, " 4"]

    def drift(self, R, *memory) -> Float[Array, " p"]:
        """Coefficients of the rule's M_p, preconditioning being on."""
        a = self.rule.drift(R, *memory)
        return jnp.where(self.on[0], a, a / self.rule.size_of(a))

    def phi(self, R, *memory) -> Float[Array, ""]:
        """The coefficient of the modes' decay rates, which are those of D^-1/2 K D^-1/2 or of K."""
        a = self.drift(R, *memory)
        return jnp.where(self.on[1], a[0], self.rule.size_of(a))

    def psi(self, R, *memory) -> Float[Array, " q+1"]:
        """Coefficients of K, N_1, N_2, ..."""
        size, b = self.rule.size_of(self.rule.drift(R, *memory)), self.rule.noise(R, *memory)
        trace = b @ jnp.asarray(self.rule.noise_trace)
        sgd = (2 * R + self.noise_variance) / self.batch_size
        matched = jnp.where(self.on[2], trace / (size**2 * self.trace), sgd)
        level = matched * jnp.where(self.on[0], size**2, 1.0)
        shaped = level * self.trace / trace * b
        return jnp.concatenate([jnp.where(self.on[3], 0.0, level)[None], jnp.where(self.on[3], shaped, 0.0)])


class MemoryIntermediate(Intermediate):
    """The same for a limit with memory, which follows the intermediate system's own risk."""

    @property
    def rate(self):
        return self.rule.limit.rate

    def initial(self):
        return self.rule.limit.initial()

    def target(self, R):
        return self.rule.limit.target(R)


class DriftProfile(eqx.Module):
    """``drift`` as a function of R."""

    of: Intermediate

    def __call__(self, R):
        return self.of.drift(R)


class NoiseProfile(eqx.Module):
    """``psi`` as a function of R."""

    of: Intermediate

    def __call__(self, R):
        return self.of.psi(R)


class Intermediates:
    """Builds the systems of all combinations; what does not depend on the combination is made once."""

    def __init__(self, dynamics: Dynamics, batch_size: int, times, rtol: float, atol: float | None):
        self.dynamics, self.batch_size, self.settings = dynamics, batch_size, (times, rtol, atol)
        self._made = {}

    def system(self, on: frozenset, eta) -> System:
        """SGD with the effects in ``on``."""
        dynamics, limit = self.dynamics, self.dynamics.limit
        kind = MemoryIntermediate if isinstance(limit, MemoryLimit) else Intermediate
        covariance, noise = dynamics.problem.covariance, dynamics.problem.noise
        switches = np.array([name in on for name in EFFECTS])
        numbers = float(covariance.trace), float(noise.second_moment), float(self.batch_size)
        mixed = kind(dynamics.coefficients, *numbers, switches)
        if isinstance(limit, ScaleDependentLimit) and "preconditioning" in on:
            return self._matrix_system(mixed, eta)
        build = memory_system_of_modes if isinstance(limit, MemoryLimit) else system_of_modes
        return build(self._modes("preconditioning" in on), mixed, dynamics.problem.d, *self.settings, eta)

    def _once(self, key, compute):
        if key not in self._made:
            self._made[key] = compute()
        return self._made[key]

    def _modes(self, preconditioned):
        return self._once(("modes", preconditioned), lambda: self._find_modes(preconditioned))

    def _find_modes(self, preconditioned):
        """The rule's modes or SGD's, with one row of forcing for K and one for each N_q."""
        problem, noise = self.dynamics.problem, self.dynamics.noise
        power = self.dynamics.limit.power if preconditioned else 0
        current = dense_modes(problem, Limit(UnitDrift(), UnitDrift(), power, ("rho",)))
        root = problem.covariance.std ** (power / 2)
        matrices = np.concatenate([self.dynamics.covariance[None], noise])
        if current.vectors is None:
            return replace(current, forcing=matrices * root**2)
        Q = root[:, None] * current.vectors
        return replace(current, forcing=np.stack([np.einsum("ij,ij->j", Q, N @ Q) for N in matrices]))

    def _matrix_system(self, mixed, eta):
        problem, dynamics = self.dynamics.problem, self.dynamics
        times, rtol, atol = self.settings
        R, K = problem.initial_risk, dynamics.covariance
        curvature = np.concatenate([[np.sum(K * K)], dynamics.noise_curvature])
        noise_risk = float(evaluate_in_float64(mixed.psi, max(R, 1e-290)) @ curvature) / (2 * problem.d)
        profiles = DriftProfile(mixed), dynamics.members, NoiseProfile(mixed)
        variance = problem.covariance.std**2
        if problem.covariance.is_diagonal:
            bounds = tolerances(R, noise_risk, problem.d, rtol, atol, eta)
            noise = np.concatenate([variance[None], dynamics.noise])
            return DiagonalSystem(variance, problem.delta0**2, *profiles, noise, times, bounds)
        bounds = tolerances(R, noise_risk, problem.d, rtol * problem.d**0.25, atol, eta)
        khat, noise, dissipation, heating = self._once("matrices", self._matrices)
        drift_profile, members, noise_profile = profiles
        return MatrixSystem(
            variance, problem.delta0, khat,
            drift_profile, members, dissipation,
            noise_profile, noise, heating,
            times, bounds,
        )  # fmt: skip

    def _matrices(self):
        """Khat; D K D and D N_q D; Khat A_p Khat; and the traces of the second with Khat."""
        khat, noise, dissipation = matrices_of(self.dynamics.problem, self.dynamics.limit)
        std = self.dynamics.problem.covariance.std
        noise = np.concatenate([(self.dynamics.covariance * std[:, None] * std[None, :])[None], noise])
        return khat, noise, dissipation, np.einsum("ij,qij->q", khat, noise)
