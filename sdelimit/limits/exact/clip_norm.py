"""Gradient-norm clipping at C sqrt(tr K): phi = mu(R), noise nu(R) K, M = I (theory: section 8; arXiv:2406.11733).

A batch gradient is g = (1/b) sum_j l_j x_j with |x_j|^2 = tr K and x_j orthogonal when d is large, so
|g| = lam sqrt(tr K) with lam = |(l_1 .. l_b)|_2 / b, and clipping it multiplies it by w = min(1, C / lam). Hence

    mu(R) = (1/s) E[w (1/b) sum_j l_j z_j],        nu(R) = E[w^2 lam^2] = E[min(lam^2, C^2)].

By Stein in each z_j, mu = E[w + (1/b) lam dw/dlam] = P(lam < C) + (1 - 1/b) E[C / lam; lam > C], which for b = 1
is P(|l| < C) under any label noise.
"""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfc, gammainc, gammaincc, gammaln
from jaxtyping import Array, Float

from sdelimit.limits.exact.step_fluctuations import sampled_fluctuations
from sdelimit.limits.limit import Limit
from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.bounded import Uniform
from sdelimit.noise.density import Density
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.jit import jit
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.precision import evaluate_in_float64

NARROW = 1e-4
"""Width in standard deviations of an interval that has the probability of its middle, to 1e-9."""
OVERLAP = 0.7
"""Standard deviation of these Gaussians over the distance of their means: their sum is smooth to 1e-4."""
NODES = 2048
"""Gaussian components in which a noise law is written that is not Gaussian."""


class ClipCoefficients(eqx.Module):
    """mu and nu as functions of the risk and of the threshold C."""

    def drift(self, R: Float[Array, ""], C: Float[Array, ""]) -> Float[Array, ""]:
        """mu(R, C)."""
        raise NotImplementedError

    def noise(self, R: Float[Array, ""], C: Float[Array, ""]) -> Float[Array, ""]:
        """nu(R, C)."""
        raise NotImplementedError


class ResidualComponents(ClipCoefficients):
    """Single samples: the residual l = s z - eps as a mixture of N(mean_k, 2R + variance_k).

    mu = P(|l| < C) and nu = E[min(l^2, C^2)] = E[l^2; |l| < C] + C^2 P(|l| > C).
    """

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, " k"]
    variances: Float[np.ndarray, " k"]

    def inside(self, R, C):
        """P(|l| < C) of each component, and the edges (-C - m) / sqrt(V), (C - m) / sqrt(V) and V it comes from."""
        V = 2 * R + self.variances
        low, high = (-C - self.means) / jnp.sqrt(V), (C - self.means) / jnp.sqrt(V)
        inside = (erf(high / jnp.sqrt(2.0)) - erf(low / jnp.sqrt(2.0))) / 2
        # Where C^2 << V the difference has no digits.
        return jnp.where(high - low < NARROW, (high - low) * _pdf((high + low) / 2), inside), low, high, V

    def drift(self, R, C):
        return jnp.sum(jnp.asarray(self.weights) * self.inside(R, C)[0])

    def noise(self, R, C):
        inside, low, high, V = self.inside(R, C)
        m, root = self.means, jnp.sqrt(V)
        second = (
            (m**2 + V) * inside + 2 * m * root * (_pdf(low) - _pdf(high)) + V * (low * _pdf(low) - high * _pdf(high))
        )
        # Where C^2 << V the terms cancel to far below their rounding errors, V times the machine precision.
        second = jnp.clip(second, 0.0, C**2 * inside)
        outside = (erfc(high / jnp.sqrt(2.0)) + erfc(-low / jnp.sqrt(2.0))) / 2
        return jnp.sum(jnp.asarray(self.weights) * (second + C**2 * outside))


class GaussianBatch(ClipCoefficients):
    """Gaussian residuals, with X ~ chi_b and a = b C / sqrt(2P).

    mu = E[min(X^2, a X)] / b and nu = (2P / b^2) E[min(X^2, a^2)].
    """

    batch_size: float
    noise_variance: float

    def drift(self, R, C):
        b, a = self.batch_size, self.batch_size * C / jnp.sqrt(2 * R + self.noise_variance)
        mean = jnp.sqrt(2.0) * jnp.exp(gammaln((b + 1) / 2) - gammaln(b / 2))
        return gammainc(b / 2 + 1, a**2 / 2) + a * mean / b * gammaincc((b + 1) / 2, a**2 / 2)

    def noise(self, R, C):
        b, variance = self.batch_size, 2 * R + self.noise_variance
        a2 = (b * C) ** 2 / variance
        return variance / b * gammainc(b / 2 + 1, a2 / 2) + C**2 * gammaincc(b / 2, a2 / 2)


class SampledBatch(ClipCoefficients):
    """Batches under any noise, from ``residual_sample``: quasi-Monte Carlo with an error below 1e-3.

    mu = E[q_j w l_j / sqrt(V_j)], averaged over j and over the sign of q_j, which keeps it bounded as V_j -> 0.
    """

    means: Float[np.ndarray, "n b"]
    variances: Float[np.ndarray, "n b"]
    q: Float[np.ndarray, "n b"]

    def residuals(self, R):
        """l, l with the signs of q turned one by one, and sqrt(V)."""
        root, q = jnp.sqrt(2 * R + self.variances), jnp.asarray(self.q)
        return self.means + root * q, self.means - root * q, root

    def drift(self, R, C):
        plus, minus, root = self.residuals(R)
        total = jnp.sum(plus**2, axis=1, keepdims=True)
        flipped = total - plus**2 + minus**2

        def clipped(square_sum, residual):
            return jnp.minimum(1.0, plus.shape[1] * C / jnp.sqrt(square_sum)) * residual

        return jnp.mean(self.q / root * (clipped(total, plus) - clipped(flipped, minus)) / 2)

    def noise(self, R, C):
        plus, _, _ = self.residuals(R)
        return jnp.mean(jnp.minimum(jnp.sum(plus**2, axis=1) / plus.shape[1] ** 2, C**2))


class ClipDrift(eqx.Module):
    """mu(R) at one threshold."""

    coefficients: ClipCoefficients
    threshold: float

    def __call__(self, R):
        return self.coefficients.drift(R, self.threshold)


class ClipNoise(eqx.Module):
    """nu(R) at one threshold, as a vector of length one."""

    coefficients: ClipCoefficients
    threshold: float

    def __call__(self, R):
        return self.coefficients.noise(R, self.threshold)[None]


class VectorTable(eqx.Module):
    """A table of one value as a vector of length one."""

    table: LogLogTable

    def __call__(self, R):
        return self.table(R)[None]


def clip_coefficients(noise: NoiseLaw, batch_size: int) -> ClipCoefficients:
    """mu(R, C) and nu(R, C) for any noise law and batch size, sampled for batches under noise that is not Gaussian."""
    if isinstance(noise, (NoNoise, Gaussian)):
        return GaussianBatch(float(batch_size), float(noise.second_moment))
    if batch_size == 1:
        return ResidualComponents(*_components(noise))
    return SampledBatch(*residual_sample(noise, batch_size))


def _components(noise):
    """``noise.components``; the nodes of a quadrature as Gaussians that overlap, so that a residual of which the noise
    is nearly all has a smooth law too: points would be either inside of C or outside.
    """
    if not isinstance(noise, (Uniform, Density)):
        return noise.components(NODES)
    weights, means, _ = noise.components(4 * NODES)
    return weights, means, (OVERLAP * np.gradient(means)) ** 2


def clip_norm_limit(threshold: float, noise: NoiseLaw, batch_size: int) -> Limit:
    """Limit of gradient-norm clipping at ``threshold`` sqrt(tr K), for any noise law and batch size.

    Batches of two and more under noise that is not Gaussian use quasi-Monte Carlo, with an error below 1e-3.
    """
    scales = np.log([noise_scale(noise), threshold])
    log_R = np.arange(2 * scales.min() - 16, 2 * scales.max() + 16, 0.25)
    coefficients = clip_coefficients(noise, batch_size)
    phi, psi = ClipDrift(coefficients, threshold), ClipNoise(coefficients, threshold)
    if isinstance(coefficients, SampledBatch):
        mu, nu = _tabulate(coefficients, threshold, np.exp(log_R))
        phi, psi = LogLogTable(log_R, np.log(mu)), VectorTable(LogLogTable(log_R, np.log(nu)))
    fluctuations = sampled_fluctuations(clipping(threshold), noise, batch_size, log_R)
    return Limit(phi, psi, 0, ("rho",), fluctuations=fluctuations)


def clipping(threshold: float):
    """w as a function of lam, for NumPy arrays."""
    return lambda lam: np.minimum(1.0, threshold / lam)


def _tabulate(coefficients, threshold, risks):
    """mu and nu at ``risks``, (2, n)."""
    values = np.array([evaluate_in_float64(partial(_both, coefficients), R, threshold) for R in risks])
    return np.maximum(values.T, TINY)


@jit
def _both(coefficients, R, C):
    return jnp.stack([coefficients.drift(R, C), coefficients.noise(R, C)])


def _pdf(x):
    return jnp.exp(-(x**2) / 2) / jnp.sqrt(2 * jnp.pi)
