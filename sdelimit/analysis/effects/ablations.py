"""Risk ODEs between SGD's and a rule's: SGD with some of the four effects switched on (theory: section 5).

With a(R), Mhat, chi(R) and Nhat of ``sdelimit.effects``, every one of them has the form

    dV/dt = -eta alpha (Mhat K V + V K Mhat) + (eta^2/d) alpha^2 chi (2P/b) Nhat,

where an effect that is off leaves alpha = 1, Mhat = I, chi = 1 or Nhat = K. Weight decay adds its pull where it is on.
"""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sdelimit.analysis.effects.names import EFFECTS, WEIGHT_DECAY
from sdelimit.analysis.effects.second_moments import Coefficients, Dynamics
from sdelimit.limits.exact.sgd import UnitDrift
from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.limit import Limit
from sdelimit.limits.weight_decay import DecayedLaw
from sdelimit.modes.decoupled import dense_modes
from sdelimit.ode.matrix import matrices_of, system_of_matrices, with_weight_decay
from sdelimit.ode.modes import mode_system
from sdelimit.ode.system import System


class IntermediateLaw(ScalarLaw):
    """The law of a rule with only some effects, those in ``switches`` (in the order of ``EFFECTS``).

    The noise coefficients are those of K and of the rule's noise matrices N_q; its scalars follow the risk of the
    intermediate system. The switches are numbers, so that all sixteen combinations share their compiled code.

    Attributes:
        rates: how many rates the coordinates have: one for each M_p where they are the rule's own, otherwise one.
    """

    rule: Coefficients
    trace: float
    noise_variance: float
    batch_size: float
    switches: Bool[np.ndarray, " 4"]
    rates: int = eqx.field(static=True)
    power: None = eqx.field(static=True, default=None)
    basis: tuple[str, ...] = eqx.field(static=True, default=())

    def initial_scalars(self):
        return self.rule.law.initial_scalars()

    def relaxation(self, q):
        return self.rule.law.relaxation(q)

    def drift_coefficients(self, R, m) -> Float[Array, " p"]:
        a = self.rule.law.drift_coefficients(R, m)
        size = self.rule.size_of(a)
        preconditioned = jnp.where(self.switches[0], a, a / size)
        if self.rates > 1:
            return preconditioned
        # Of the modes of D^-1/2 K D^-1/2, or of K.
        return jnp.where(self.switches[1], preconditioned[:1], jnp.where(self.switches[0], size, 1.0))

    def noise_coefficients(self, R, m) -> Float[Array, " q+1"]:
        size, b = self.rule.size_of(self.rule.law.drift_coefficients(R, m)), self.rule.law.noise_coefficients(R, m)
        trace = b @ jnp.asarray(self.rule.noise_trace)
        sgd = (2 * R + self.noise_variance) / self.batch_size
        matched = jnp.where(self.switches[2], trace / (size**2 * self.trace), sgd)
        level = matched * jnp.where(self.switches[0], size**2, 1.0)
        shaped = level * self.trace / trace * b
        return jnp.concatenate(
            [jnp.where(self.switches[3], 0.0, level)[None], jnp.where(self.switches[3], shaped, 0.0)]
        )


class Intermediates:
    """Builds the systems of all combinations; what does not depend on the combination is made once."""

    def __init__(self, dynamics: Dynamics, weight_decay, batch_size: int, times, rtol: float, atol: float | None):
        self.dynamics, self.batch_size, self.settings = dynamics, batch_size, (times, rtol, atol)
        self.weight_decay = weight_decay
        self._cache = {}

    def system(self, on: frozenset, eta) -> System:
        """SGD with the effects in ``on``."""
        problem, own = self.dynamics.problem, "preconditioning" in on
        law = IntermediateLaw(
            self.dynamics.coefficients,
            trace=float(problem.covariance.trace),
            noise_variance=float(problem.noise.second_moment),
            batch_size=float(self.batch_size),
            switches=np.array([name in on for name in EFFECTS]),
            rates=len(self.dynamics.members) if own else 1,
        )
        decayed = WEIGHT_DECAY in on
        if own and self.dynamics.coordinates is None:
            system = system_of_matrices(problem, self._once("matrices", self._matrices), law, *self.settings, eta)
            return with_weight_decay(system, problem, self.weight_decay) if decayed else system
        current = self._once(("coordinates", own), lambda: self._coordinates(own))
        law = DecayedLaw(law, self.weight_decay) if decayed else law
        return mode_system(current, law, problem.d, *self.settings, eta)

    def _once(self, key, compute):
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def _coordinates(self, own):
        """The rule's coordinates or SGD's modes, with one row of forcing for K and one for each N_q."""
        problem = self.dynamics.problem
        matrices = np.concatenate([self.dynamics.covariance[None], self.dynamics.noise])
        if own and self.dynamics.law.power is None:
            return replace(self.dynamics.coordinates, forcing=matrices, target=problem.theta_star)
        power = self.dynamics.law.power if own else 0
        limit = Limit(UnitDrift(), UnitDrift(), power, ("rho",))
        current = dense_modes(problem, DecayedLaw(limit, self.weight_decay) if self.weight_decay > 0 else limit)
        root = problem.covariance.std ** (power / 2)
        if current.vectors is None:
            return replace(current, forcing=matrices * root**2)
        Q = root[:, None] * current.vectors
        return replace(current, forcing=np.stack([np.einsum("ij,ij->j", Q, N @ Q) for N in matrices]))

    def _matrices(self):
        """Those of the rule, with K before its noise matrices."""
        made, std = matrices_of(self.dynamics.problem, self.dynamics.operators), self.dynamics.problem.covariance.std
        noise = np.concatenate([(self.dynamics.covariance * std[:, None] * std[None, :])[None], made.noise])
        return made._replace(noise=noise, noise_power=np.einsum("ij,qij->q", made.khat, noise))
