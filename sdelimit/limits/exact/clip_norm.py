"""Gradient-norm clipping at C sqrt(tr K): phi = mu(R), noise nu(R) K, M = I (theory: section 8; arXiv:2406.11733).

A batch gradient is g = (1/b) sum_j l_j x_j with |x_j|^2 = tr K and x_j orthogonal when d is large, so
|g| = lam sqrt(tr K) with lam = |(l_1 .. l_b)|_2 / b, and clipping it multiplies it by w = min(1, C / lam). Hence

    mu(R) = (1/s) E[w (1/b) sum_j l_j z_j],        nu(R) = E[w^2 lam^2] = E[min(lam^2, C^2)].

By Stein in each z_j, mu = E[w + (1/b) lam dw/dlam] = P(lam < C) + (1 - 1/b) E[C / lam; lam > C], which for b = 1
is P(|l| < C) under any label noise.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc, gammainc, gammaincc, gammaln
from jaxtyping import Float

from sdelimit.limits.exact.step_fluctuations import sampled_fluctuations
from sdelimit.limits.limit import Limit
from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.log_log_spline import LogLogTable

NODES = 2048
"""Gaussian components in which a noise law is written that is not Gaussian."""


class ResidualComponents(eqx.Module):
    """The residual l = s z - eps as a mixture of N(mean_k, 2R + variance_k), clipped at C."""

    threshold: float
    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, " k"]
    variances: Float[np.ndarray, " k"]

    def inside(self, R):
        """P(|l| < C) of each component, and the edges (-C - m) / sqrt(V), (C - m) / sqrt(V) and V it comes from."""
        V = 2 * R + self.variances
        low, high = (-self.threshold - self.means) / jnp.sqrt(V), (self.threshold - self.means) / jnp.sqrt(V)
        return (erf(high / jnp.sqrt(2.0)) - erf(low / jnp.sqrt(2.0))) / 2, low, high, V


class ClipDrift(ResidualComponents):
    """mu(R) = P(|l| < C)."""

    def __call__(self, R):
        return jnp.sum(jnp.asarray(self.weights) * self.inside(R)[0])


class ClipNoise(ResidualComponents):
    """nu(R) = E[min(l^2, C^2)] = E[l^2; |l| < C] + C^2 P(|l| > C)."""

    def __call__(self, R):
        inside, low, high, V = self.inside(R)
        m, root = self.means, jnp.sqrt(V)
        second = (
            (m**2 + V) * inside + 2 * m * root * (_pdf(low) - _pdf(high)) + V * (low * _pdf(low) - high * _pdf(high))
        )
        # Where C^2 << V the terms cancel to far below their rounding errors, V times the machine precision.
        second = jnp.clip(second, 0.0, self.threshold**2 * inside)
        outside = (erfc(high / jnp.sqrt(2.0)) + erfc(-low / jnp.sqrt(2.0))) / 2
        return jnp.sum(jnp.asarray(self.weights) * (second + self.threshold**2 * outside))[None]


class GaussianBatchClipDrift(eqx.Module):
    """mu(R) = E[min(X^2, a X)] / b with X ~ chi_b and a = b C / sqrt(2P), for Gaussian residuals."""

    threshold: float
    batch_size: float
    noise_variance: float

    def __call__(self, R):
        b, a = self.batch_size, self.batch_size * self.threshold / jnp.sqrt(2 * R + self.noise_variance)
        mean = jnp.sqrt(2.0) * jnp.exp(gammaln((b + 1) / 2) - gammaln(b / 2))
        return gammainc(b / 2 + 1, a**2 / 2) + a * mean / b * gammaincc((b + 1) / 2, a**2 / 2)


class GaussianBatchClipNoise(eqx.Module):
    """nu(R) = (2P / b^2) E[min(X^2, a^2)] with X ~ chi_b and a = b C / sqrt(2P), for Gaussian residuals."""

    threshold: float
    batch_size: float
    noise_variance: float

    def __call__(self, R):
        b, variance = self.batch_size, 2 * R + self.noise_variance
        a2 = (b * self.threshold) ** 2 / variance
        return (variance / b * gammainc(b / 2 + 1, a2 / 2) + self.threshold**2 * gammaincc(b / 2, a2 / 2))[None]


class VectorTable(eqx.Module):
    """A table of one value as a vector of length one."""

    table: LogLogTable

    def __call__(self, R):
        return self.table(R)[None]


def clip_norm_limit(threshold: float, noise: NoiseLaw, batch_size: int) -> Limit:
    """Limit of gradient-norm clipping at ``threshold`` sqrt(tr K), for any noise law and batch size.

    Batches of two and more under noise that is not Gaussian use quasi-Monte Carlo, with an error below 1e-3.
    """
    scales = np.log([noise_scale(noise), threshold])
    log_R = np.arange(2 * scales.min() - 16, 2 * scales.max() + 16, 0.25)
    if isinstance(noise, (NoNoise, Gaussian)):
        arguments = (threshold, float(batch_size), float(noise.second_moment))
        phi, psi = GaussianBatchClipDrift(*arguments), GaussianBatchClipNoise(*arguments)
    elif batch_size == 1:
        components = noise.components(NODES)
        phi, psi = ClipDrift(threshold, *components), ClipNoise(threshold, *components)
    else:
        mu, nu = _batch_tables(threshold, noise, batch_size, log_R)
        phi, psi = LogLogTable(log_R, np.log(mu)), VectorTable(LogLogTable(log_R, np.log(nu)))
    weight = lambda lam: np.minimum(1.0, threshold / lam)  # noqa: E731
    return Limit(phi, psi, 0, ("rho",), fluctuations=sampled_fluctuations(weight, noise, batch_size, log_R))


def _batch_tables(threshold, noise, batch_size, log_R):
    """mu and nu at the risks exp(log_R), by quasi-Monte Carlo."""
    sample = residual_sample(noise, batch_size)
    values = np.array([batch_clip(threshold, *sample, R) for R in np.exp(log_R)])
    return np.maximum(values.T, TINY)


def batch_clip(threshold, means, variances, q, R):
    """(mu, nu) of norm clipping at risk R from ``residual_sample``.

    mu = E[q_j w l_j / sqrt(V_j)], averaged over j and over the sign of q_j, which keeps it bounded as V_j -> 0.
    """
    b = means.shape[1]
    root = np.sqrt(2 * R + variances)
    plus, minus = means + root * q, means - root * q
    total = np.sum(plus**2, axis=1, keepdims=True)
    flipped = total - plus**2 + minus**2

    def clipped(square_sum, residual):
        return np.minimum(1.0, b * threshold / np.sqrt(square_sum)) * residual

    mu = np.mean(q / root * (clipped(total, plus) - clipped(flipped, minus)) / 2)
    return mu, np.mean(np.minimum(total / b**2, threshold**2))


def _pdf(x):
    return jnp.exp(-(x**2) / 2) / jnp.sqrt(2 * jnp.pi)
