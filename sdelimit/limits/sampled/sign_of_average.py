"""Rules that take the sign of an average of gradients (theory: section 6).

F = sign(sum_j b_j g_-j):    Signum b_j = beta^j; Lion b_0 = 1 - b1, b_j = b1 (1 - b2) b2^(j-1).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.noise_kernel import RHO, Estimate
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.gradient_histories import estimates, residuals, weighted_sum
from sdelimit.limits.sampled.laplace_transform import signed_drift
from sdelimit.limits.sampled.long_run_variance import variance_ratio
from sdelimit.limits.sampled.mean_response import signed_response
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.jit import jit

HORIZON = 12
"""Lags followed, in units of the memory; beyond them the correlation of two signs is geometric."""


ARCSIN = (
    -0.0012624911, 0.0066700901, -0.0170881256, 0.0308918810, -0.0501743046, 0.0889789874, -0.2145988016, 1.5707963050,
)  # fmt: skip


@dataclass(frozen=True)
class SignedRule:
    """F = sign(sum_j b_j g_-j)."""

    samples: ClassVar[int] = 1_000_000
    scale_free: ClassVar[bool] = True
    responds: ClassVar[bool] = True

    b: Weights

    @property
    def steps(self) -> float:
        """(sum_j b_j)^2 / sum_j b_j^2, how many gradients of one sign the average adds up."""
        b = self.b
        total = b.first + b.past * b.decay / (1 - b.decay)
        return total**2 / (b.first**2 + (b.past * b.decay) ** 2 / (1 - b.decay**2))

    @property
    def weights(self) -> tuple[Weights, Weights, bool]:
        """b and b^2, of which drifts and spreads are sums; True for signs."""
        b = self.b
        return b, Weights(b.first**2 - b.past**2, b.past**2, b.decay**2), True

    def unit(self, noise: NoiseLaw) -> float:
        """A length comparable to the noise."""
        return noise_scale(noise)

    def drift(self, noise: NoiseLaw, R, batch_size: int):
        """phi(R), exact."""
        return signed_drift(self.b, noise, R, batch_size)

    def response(self, noise: NoiseLaw, R: float, batch_size: int, r) -> Float[np.ndarray, " n"]:
        """The mean update G(r), exact (theory: section 15)."""
        return signed_response(self.b, noise, R, batch_size, r)

    def fluctuations(self, noise: NoiseLaw, R: float, batch_size: int, r, G) -> Float[np.ndarray, " n"]:
        """Long-run variance at r over that at 0: 1 - G^2 without memory, else sampled."""
        if self.b.past * self.b.decay == 0:
            return 1 - G**2
        return variance_ratio(self, noise, R, batch_size, 1 / (1 - self.b.decay), r, G)

    def direction(self, g: Float[Array, "T *n"]) -> Float[Array, "T *n"]:
        """F along circular histories of gradients."""
        return jnp.sign(weighted_sum(self.b, g))

    def estimates(self, noise: NoiseLaw, R, batch_size: int, samples: int, seed: int = 0) -> list[Estimate]:
        """phi(R), exact, and kappa(rho; R) at ``RHO``, sampled, for each ``R``."""
        drift = self.drift(noise, R, batch_size)
        if self.b.past * self.b.decay == 0:  # no memory: signSGD
            return [Estimate(float(phi), 0.0, 2 / np.pi * np.arcsin(RHO), np.zeros(RHO.size)) for phi in drift]
        lags, weights = _lag_rule(self.b.decay)

        def lag_sum(draws, s, unit):
            return weights @ np.asarray(_sample(draws, s, unit, self, lags), np.float64)

        sampled = estimates(lag_sum, noise, R, batch_size, 1 / (1 - self.b.decay), samples, seed)
        return [
            Estimate(float(phi), 0.0, 2 / np.pi * (np.arcsin(RHO) + 2 * arcsines), 4 / np.pi * error)
            for phi, (arcsines, error) in zip(drift, sampled, strict=True)
        ]


@jit
def _sample(draws, s, unit, rule, lags):
    """E arcsin(rho C_m / sqrt(A_t A_{t+m})) for each lag m in ``lags`` and rho in ``RHO``, from one group.

    Given the residuals the sums X_t = sum_j b_j g_{t-j} are Gaussian, with variances A_t = sum_j b_j^2 l_{t-j}^2 and
    covariances C_m = sum_j b_j b_{j+m} l_{t-j}^2 = decay^m (A_t - b_0 now l_t^2), because b is geometric after b_0.
    """
    l = residuals(draws.z, draws.eps, s, unit).radius  # noqa: E741
    b = rule.b
    A = weighted_sum(Weights(b.first**2 - b.past**2, b.past**2, b.decay**2), l**2)
    C = A - b.first * b.now * l**2
    rho = jnp.asarray(RHO[RHO > 0], jnp.float32)[:, None, None]

    def at(lag):
        correlation = jnp.exp(lag * jnp.log(b.decay)) * C / jnp.sqrt(A * jnp.roll(A, -lag, axis=0))
        return jnp.mean(jnp.mean(_arcsin(rho * jnp.minimum(correlation, 1.0)), axis=1), axis=1)

    arcsines = jax.lax.map(at, jnp.asarray(lags))
    return jnp.zeros((lags.shape[0], RHO.size)).at[:, RHO > 0].set(arcsines)


def _arcsin(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """arcsin on [0, 1] to 2e-8 (Abramowitz & Stegun 4.4.46), many times faster than the library's."""
    return np.float32(np.pi / 2) - jnp.sqrt(1 - x) * jnp.polyval(jnp.asarray(ARCSIN, x.dtype), x)


def _lag_rule(decay: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Lags m_i >= 1 and weights with sum_{m >= 1} f(m) = sum_i weights_i f(m_i).

    decay^-m f(m) varies slowly in log m: it is interpolated by a cubic spline, and constant past the last lag.
    """
    last = max(12, int(np.ceil(HORIZON / (1 - decay))))
    lags = np.unique(np.rint(np.geomspace(1, last, 1 + int(np.ceil(6 * np.log(last))))).astype(np.int32))
    m = np.arange(1, last + 1)
    cardinal = make_interp_spline(np.log(lags), np.eye(lags.size), k=3)(np.log(m))
    weights = (decay**m) @ cardinal
    weights[-1] += decay ** (last + 1) / (1 - decay)
    return lags, weights / decay ** lags.astype(float)
