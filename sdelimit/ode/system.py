"""What the risk ODEs of all laws have in common."""

from dataclasses import replace

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.floors import BLOW_UP, NEGLIGIBLE, TINY_RISK
from sdelimit.numerics.jit import shared_size
from sdelimit.numerics.precision import is_traced
from sdelimit.support import arguments as check

SHARED_TIMES = 8
"""Times are padded to a multiple of this many; see ``shared_size``."""


class System(eqx.Module):
    """An autonomous system dy/dt = field(eta(t), y) with a risk; all numbers, so another problem reuses compiled code.

    Attributes:
        decay: (d,) weights lambda_i of the saved energies m_i: R = 1/2 sum_i lambda_i m_i.
        times: (n,) times to evaluate at.
        tolerances: see ``tolerances``.
    """

    decay: eqx.AbstractVar[Float[np.ndarray, " d"]]
    times: eqx.AbstractVar[Float[np.ndarray, " n"]]
    tolerances: eqx.AbstractVar["Tolerances"]

    def initial(self):
        """y at t = 0, a pytree of arrays."""
        raise NotImplementedError

    def field(self, eta, y):
        """dy/dt."""
        raise NotImplementedError

    def risk(self, y) -> Float[Array, ""]:
        """R."""
        raise NotImplementedError

    def observe(self, eta, y, save_modes: bool) -> dict:
        """What a ``RiskCurve`` keeps beside risk and lr: 'modes', 'phi' and 'slope'."""
        raise NotImplementedError

    def diverged(self, eta, t, y):
        """Whether the risk has left all bounds."""
        return ~(self.risk(y) < self.tolerances.ceiling)

    def solver(self):
        """The diffrax solver; its ``args`` are (schedule, system)."""
        return diffrax.Tsit5()

    def with_few_modes(self, problem) -> "System":
        """A smaller system with the same risk, if there is one; ``problem`` caches what does not depend on the lr."""
        return self

    def with_shared_shapes(self) -> "System":
        """The same system, padded so that systems of nearby sizes share compiled code; see ``shared_size``."""
        extra = shared_size(self.times.size, SHARED_TIMES) - self.times.size
        return replace(self, times=np.pad(self.times, (0, extra), mode="edge")) if extra else self

    def many(self, function, schedules):
        """``function`` over the leading axis of ``schedules``."""
        return jax.vmap(function)(schedules)

    def positive(self, R):
        """R where the coefficients can be evaluated."""
        return jnp.clip(R, self.tolerances.floor, self.tolerances.ceiling)


class Tolerances(eqx.Module):
    """Relative tolerance, absolute tolerance on the risk of each mode, smallest and largest risk."""

    rtol: float
    atol: float
    floor: float
    ceiling: float


def tolerances(risk0, noise_risk, d, rtol, atol, eta) -> Tolerances:
    """Those of ``solve_ode``: atol is 1e-10 times the initial risk or what noise adds in unit time, if that is larger.

    ``noise_risk`` is the risk that noise adds in unit time at eta = 1.
    """
    step = max(largest_rate(eta), 1e-12)
    scale = max(risk0, step**2 * noise_risk, TINY_RISK)
    atol = 1e-10 * scale if atol is None else check.real("atol", atol, positive=True)
    return Tolerances(rtol, atol / d, NEGLIGIBLE * scale, BLOW_UP * scale)


def largest_rate(eta) -> float:
    """The largest learning rate, taken to be 1 where JAX traces it."""
    return 1.0 if is_traced(eta) else float(np.max(eta))
