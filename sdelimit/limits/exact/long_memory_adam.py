"""Adam with long second-moment memory, 1 - b2 = c2/d at fixed b1 (theory: section 11; arXiv:1412.6980).

Over the d/c2 steps that v remembers the squared gradients average out, so v_i = sigma_i^2 V with

    dV/dt = c2 (2P_b(R) - V),   dW/dt = c2 (1 - W),   V(0) = W(0) = 0,   Vhat = V / W,

2P_b = (2R + E[eps^2]) / b the variance of a batch residual and W = 1 - exp(-c2 t) the bias correction. Then
u = mhat / sqrt(vhat) is momentum SGD preconditioned by D^-1: phi = 1 / sqrt(Vhat) and noise (2P_b / Vhat) Khat,
whatever b1. Without bias correction there is no such limit: the noise 2P_b / V ~ 1/(c2 t) is not integrable at t = 0,
so the first few steps would move the risk by an amount that grows like log d.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.exact.sign import UnitNoise
from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.limit import Limit
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.response import LongMemoryResponse
from sdelimit.noise.base import NoiseLaw
from sdelimit.support import arguments as check


class LongMemoryLimit(ScalarLaw):
    """phi = 1 / sqrt(Vhat), psi = 2P_b / Vhat, scalars (V, W)."""

    needs_fourth_moment: ClassVar[bool] = True
    rate: float
    noise_variance: float
    batch_size: float
    power: int = eqx.field(static=True, default=1)
    basis: tuple[str, ...] = eqx.field(static=True, default=("rho",))

    def initial_scalars(self):
        return np.zeros(2)

    def relaxation(self, q):
        R = q[0] / 2
        return jnp.stack([self.rate, self.rate]), jnp.stack([self.residual_variance(R), jnp.ones_like(R)])

    def response(self, risks):
        return LongMemoryResponse(self.rate, self.noise_variance, self.batch_size)

    @property
    def nonlinearity(self):
        """Vhat grows with 1 + (1 + b) s^2 r^2 / (2P)."""
        return 0.5 * (1 + self.batch_size)

    def residual_variance(self, R):
        """2 P_b(R)."""
        return (2 * R + self.noise_variance) / self.batch_size

    def second_moment(self, R, m):
        """Vhat, which is 2 P_b(R) at t = 0."""
        V, W = m
        started = W > 0
        return jnp.where(started, V / jnp.where(started, W, 1.0), self.residual_variance(R))

    def drift_coefficients(self, R, m):
        return 1 / jnp.sqrt(self.second_moment(R, m))[None]

    def noise_coefficients(self, R, m):
        return (self.residual_variance(R) / self.second_moment(R, m))[None]


class QuasiStationaryDrift(eqx.Module):
    """phi(R) = 1 / sqrt(2 P_b(R))."""

    noise_variance: float
    batch_size: float

    def __call__(self, R):
        return jnp.sqrt(self.batch_size / (2 * R + self.noise_variance))


def long_memory_adam_limit(c2: float, noise: NoiseLaw, batch_size: int) -> LongMemoryLimit:
    """Limit of bias-corrected Adam with 1 - b2 = c2/d. ValueError if the label noise has infinite variance."""
    c2 = check.real("c2", c2, positive=True)
    return LongMemoryLimit(c2, _finite_variance(noise), float(batch_size))


def quasi_stationary_adam_limit(noise: NoiseLaw, batch_size: int) -> Limit:
    """Its limit where V relaxes much faster than the risk moves (near stationarity, or c2 large): V = 2 P_b(R)."""
    return Limit(QuasiStationaryDrift(_finite_variance(noise), float(batch_size)), UnitNoise(), 1, ("rho",))


def _finite_variance(noise):
    variance = noise.second_moment
    if not np.isfinite(variance):
        raise NoLimitError(
            f"noise must have finite variance for Adam with long memory, got {noise} with E[eps^2] = {variance}",
            "averages of squared gradients over O(d) steps then do not settle. With b2 fixed Adam has a limit.",
        )
    return float(variance)
