"""Rules that divide an average of gradients by the root of an average of their powers (theory: section 6).

F = sum_j a_j g_-j / (sum_j w_j |g_-j|^p)^(1/p):    Adam, NAdam, RMSprop (p = 2), S3 (any p >= 1).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.noise_kernel import RHO, Estimate
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.gradient_effects import sampled_kernels
from sdelimit.limits.sampled.gradient_histories import estimates, power_sum, residuals, weighted_sum
from sdelimit.limits.sampled.laplace_transform import ratio_drift, signed_drift
from sdelimit.limits.sampled.long_run_variance import sampled_response, variance_ratio
from sdelimit.limits.sampled.mean_response import ratio_response, signed_response
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.jit import jit

CUBES = 3.0
"""Powers of gradients that stay in float32 (``residuals``); higher ones are taken of ratios."""


@dataclass(frozen=True)
class RatioRule:
    """F = sum_j a_j g_-j / (sum_j w_j |g_-j|^p)^(1/p)."""

    samples: ClassVar[int] = 2_000_000
    scale_free: ClassVar[bool] = True
    responds: ClassVar[bool] = True
    steps: ClassVar[float] = 1.0

    a: Weights
    w: Weights
    p: float

    @property
    def weights(self) -> tuple[Weights, Weights, bool]:
        """Those of numerator and denominator of the same rule with p = 2; of signs where it has no memory."""
        if self.a.past * self.a.decay == self.w.past * self.w.decay == 0:
            return Weights(1.0, 0.0, 0.0), Weights(0.0, 1.0, 0.0), True
        return self.a, self.w, False

    def unit(self, noise: NoiseLaw) -> float:
        """A length comparable to the noise."""
        return noise_scale(noise)

    def drift(self, noise: NoiseLaw, R, batch_size: int):
        """phi(R) of the same rule with p = 2: exact for p = 2, and of nearly the same shape in R otherwise."""
        return ratio_drift(self.a, self.w, noise, R, batch_size)

    def response(self, noise: NoiseLaw, R: float, batch_size: int, r) -> Float[np.ndarray, " n"]:
        """The mean update G(r), in any unit (theory: section 15): exact for p = 2, else sampled."""
        if self.a.past * self.a.decay == self.w.past * self.w.decay == 0:
            return signed_response(Weights(1.0, 0.0, 0.0), noise, R, batch_size, r)
        G = ratio_response(self.a, self.w, noise, R, batch_size, r)
        if self.p == 2:
            return G
        return sampled_response(self, replace(self, p=2), noise, R, batch_size, self._memory, r, G)

    def fluctuations(self, noise: NoiseLaw, R: float, batch_size: int, r, G) -> Float[np.ndarray, " n"]:
        """Long-run variance at r over that at 0, sampled."""
        if self.a.past * self.a.decay == self.w.past * self.w.decay == 0:
            return 1 - G**2
        return variance_ratio(self, noise, R, batch_size, self._memory, r, G)

    @property
    def _memory(self):
        return max(1 / (1 - self.a.decay), 1 / (1 - self.w.decay))

    def direction(self, g: Float[Array, "T *n"]) -> Float[Array, "T *n"]:
        """F along circular histories of gradients."""
        return weighted_sum(self.a, g) / _denominator(self, g)

    def estimates(self, noise: NoiseLaw, R, batch_size: int, samples: int, seed: int = 0) -> list[Estimate]:
        """phi(R) and kappa(rho; R) at ``RHO`` for each ``R``: phi is exact for p = 2, the rest is sampled."""
        R = np.asarray(R, np.float64)
        if self.a.past * self.a.decay == self.w.past * self.w.decay == 0:
            return self._memoryless(noise, R, batch_size)
        if self.p == 2:
            exact = self.drift(noise, R, batch_size)
            kernels = sampled_kernels(self.a, self.w, noise, R, batch_size, samples, seed)
            return [Estimate(float(phi), 0.0, *kappa) for phi, kappa in zip(exact, kernels, strict=True)]
        memory = max(1 / (1 - self.a.decay), 1 / (1 - self.w.decay))
        sampled = estimates(lambda *given: _sample(*given, self), noise, R, batch_size, memory, samples, seed)
        return [
            Estimate(float(phi / s), float(error / s), *kappa)
            for s, (phi, error), kappa in zip(np.sqrt(2 * R), _columns(sampled, 1), _columns(sampled, 0), strict=True)
        ]

    def _memoryless(self, noise, R, batch_size):
        """F = a_0 / w_0^(1/p) sign(g), exact; the derivative of F along a history would miss its jump."""
        size = self.a.first / self.w.first ** (1 / self.p)
        drift = size * signed_drift(Weights(1.0, 0.0, 0.0), noise, R, batch_size)
        return [Estimate(float(phi), 0.0, size**2 * 2 / np.pi * np.arcsin(RHO), np.zeros(RHO.size)) for phi in drift]


def _columns(sampled, index):
    """(mean, standard error) of one of the sampled quantities at each risk."""
    return [(mean[index], error[index]) for mean, error in sampled]


@jit
def _sample(draws, s, unit, rule):
    """kappa at ``RHO`` and s phi from one group of histories.

    kappa(rho) = E[W W'], W_s = g_s sum_m a_m / V_{s+m}^(1/p) the total effect of gradient s: effects of different
    gradients are uncorrelated because F is odd in each, so the sum over all lags of E[F F'] collapses.
    """
    right = residuals(draws.z, draws.eps, s, unit)
    kappa = kernel_products(right.radius, draws, lambda g: total_weight(rule, g))
    # z and -z together: as s -> 0 their sum is O(s), as phi s is.
    left = residuals(-draws.z, draws.eps, s, unit)
    slopes = (direction_slope(rule, r, draws.xi) for r in (right, left))
    return kappa, mean(sum(slopes)) / 2


def kernel_products(radius, draws, weights):
    """E[W W'](rho) at ``RHO`` for W = g weights(g), over histories g = radius (rho xi + sqrt(1 - rho^2) other)."""
    rho = jnp.asarray(RHO[::-1], jnp.float32)[:, None]
    correlated = rho * draws.xi[:, None] + jnp.sqrt(1 - rho**2) * draws.other[:, None]
    g = radius[:, None] * correlated
    effect = g * weights(g)
    return mean(effect[:, :1] * effect)[::-1].at[RHO == 0].set(0.0)


def _denominator(rule, g):
    """(sum_j w_j |g_-j|^p)^(1/p)."""
    if rule.p > CUBES:
        return power_sum(rule.w, jnp.abs(g), rule.p)
    return weighted_sum(rule.w, jnp.abs(g) ** _power(rule.p)) ** (1 / rule.p)


def total_weight(rule, g, scale=1.0):
    """sum_m a_m scale_{s+m} / V_{s+m}^(1/p): the transposed average of 1 / denominators."""
    transpose = jax.linear_transpose(lambda x: weighted_sum(rule.a, x), g)
    return transpose(scale / _denominator(rule, g))[0]


def direction_slope(rule, residuals, xi):
    """dF/dh of F(l_j (xi_j + h z_j)) at h = 0, a derivative along the history; its mean is s phi."""

    def direction(g):
        return weighted_sum(rule.a, g) / _denominator(rule, g)

    return jax.jvp(direction, (residuals.radius * xi,), (residuals.slope,))[1]


def _power(p):
    return int(p) if p == int(p) else p


def mean(x):
    """Mean over steps and chains (first and last axis), one after the other: safe in float32."""
    return jnp.mean(jnp.mean(x, axis=0), axis=-1)
