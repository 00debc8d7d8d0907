"""Rules that divide an average of gradients by the root of an average of their powers (theory: section 6).

F = sum_j a_j g_-j / (sum_j w_j |g_-j|^p)^(1/p):    Adam, NAdam, RMSprop (p = 2), S3 (any p >= 1).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit._jit import jit
from sdelimit.limits.histories import group_means, residuals, shape_for, weighted_sum
from sdelimit.limits.kernel import RHO, Estimate
from sdelimit.limits.laplace import Weights, ratio_drift
from sdelimit.limits.sign import noise_scale
from sdelimit.noise import NoiseLaw


@dataclass(frozen=True)
class RatioRule:
    """F = sum_j a_j g_-j / (sum_j w_j |g_-j|^p)^(1/p)."""

    samples: ClassVar[int] = 4_000_000

    a: Weights
    w: Weights
    p: float

    def drift(self, noise: NoiseLaw, R, batch_size: int):
        """phi(R) of the same rule with p = 2: exact for p = 2, and of nearly the same shape in R otherwise."""
        return ratio_drift(self.a, self.w, noise, R, batch_size)

    def estimate(self, noise: NoiseLaw, R: float, batch_size: int, samples: int, seed: int = 0) -> Estimate:
        """phi(R) and kappa(rho; R) at ``RHO``: phi is exact for p = 2, the rest from about ``samples`` gradients."""
        s = np.sqrt(2 * R)
        memory = max(1 / (1 - self.a.decay), 1 / (1 - self.w.decay))
        steps, chains, groups = shape_for(memory, batch_size, samples)
        unit = float(s + noise_scale(noise))
        sample = lambda key: _sample(key, float(s), unit, noise, self, steps, chains, batch_size)  # noqa: E731
        (kappa, slope), (kappa_se, slope_se) = group_means(sample, groups, seed)
        phi, phi_se = slope / s, slope_se / s
        if self.p == 2:
            phi, phi_se = self.drift(noise, R, batch_size), 0.0
        return Estimate(float(phi), float(phi_se), kappa, kappa_se)


@jit
def _sample(key, s, unit, noise, rule, steps, chains, batch_size):
    """kappa at ``RHO`` and s phi from one group of histories.

    kappa(rho) = E[W W'], W_s = g_s sum_m a_m / V_{s+m}^(1/p) the total effect of gradient s: effects of different
    gradients are uncorrelated because F is odd in each, so the sum over all lags of E[F F'] collapses.
    """
    key_l, key_xi, key_other = jax.random.split(key, 3)
    right, left = residuals(noise, key_l, s, unit, (steps, chains), batch_size)
    xi = jax.random.normal(key_xi, (steps, chains), jnp.float32)
    other = jax.random.normal(key_other, (steps, chains), jnp.float32)
    rho = jnp.asarray(RHO[::-1], jnp.float32)[:, None]
    correlated = rho * xi[:, None] + jnp.sqrt(1 - rho**2) * other[:, None]
    g = right.radius[:, None] * correlated
    effect = g * _total_weight(rule, g)
    kappa = _mean(effect[:, :1] * effect)[::-1]
    phi = 0.0 if rule.p == 2 else (_drift(rule, right, xi) + _drift(rule, left, xi)) / 2
    return kappa, phi


def _denominator(rule, g):
    """(sum_j w_j |g_-j|^p)^(1/p)."""
    return weighted_sum(rule.w, jnp.abs(g) ** _power(rule.p)) ** (1 / rule.p)


def _total_weight(rule, g):
    """sum_m a_m / V_{s+m}^(1/p): the transpose of the average in the numerator, applied to the denominators."""
    transpose = jax.linear_transpose(lambda x: weighted_sum(rule.a, x), g)
    return transpose(1 / _denominator(rule, g))[0]


def _drift(rule, residuals, xi):
    """s phi = d/dh E[F(l_j (xi_j + h z_j))] at h = 0, a derivative along the history."""

    def direction(g):
        return weighted_sum(rule.a, g) / _denominator(rule, g)

    _, slope = jax.jvp(direction, (residuals.radius * xi,), (residuals.slope,))
    return _mean(slope)


def _power(p):
    return int(p) if p == int(p) else p


def _mean(x):
    """Mean over steps and chains (first and last axis), one after the other: safe in float32."""
    return jnp.mean(jnp.mean(x, axis=0), axis=-1)
