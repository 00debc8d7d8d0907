"""Adam with eps > 0, u = m / (sqrt v + eps): a scale-dependent limit (theory: sections 6 and 9; arXiv:1412.6980).

The history of coordinate i is g = lam sigma_i xi with lam = |(l_1 .. l_b)|_2 / b shared by all coordinates. With
m = sum_j a_j g_-j and v = sum_j w_j g_-j^2 the drift needs no sampling, because

    1 / (sqrt v + eps) = pi^(-1/2) int_0^inf t^(-1/2) q(eps sqrt t) exp(-t v) dt,   q(y) = 1 - sqrt(pi) y erfcx(y)

(``laplace.OffsetRatioDrift``). The noise is sampled. F is odd in each gradient, so the sum over lags collapses to

    N_ij = E[W_i W_j'],   W_i = g_s sum_m a_m / (sqrt v_{s+m} + eps),   corr(xi, xi') = Khat_ij.

In units of a typical gradient S_i = sigma_i unit(R) / sqrt b only e_i = eps / S_i matters, and

    (1 + e) W = g sum_m a_m / ((1 - t) sqrt v + t),   t = e / (1 + e) in [0, 1],

runs from Adam at t = 0 to SGD at t = 1. It is sampled at a few t for the correlations rho of ``RHO`` and written as
sum_k rho^k M_k (``size_kernels``). Residuals without noise, or with Gaussian noise, have one shape at every R; for
other laws the M_k are interpolated over log R.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.residual_law import noise_scale, typical_residual
from sdelimit.limits.response import Correlated
from sdelimit.limits.sampled.gradient_histories import estimates, residuals, weighted_sum
from sdelimit.limits.sampled.kernel_family import EXPONENTS, KernelTable, at_risk, interpolate_kernels, kernel_table
from sdelimit.limits.sampled.laplace_transform import OffsetRatioDrift
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.tabulated import NODES
from sdelimit.limits.sampled.weights import Weights
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64

SAMPLES = 500_000
"""Gradients drawn at each risk, and 8 times as many where one risk is enough."""
POINTS = 14
CHEBYSHEV = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
"""Points of 2 y - 1, y = sqrt e / (1 + sqrt e), where kernels are sampled: e from 1e-5 to 1e5."""


class AdamEpsLimit(ScaleDependentLimit):
    """phi(sigma; R) and N(R) of Adam with eps > 0, for any noise law and batch size."""

    b1: float
    b2: float
    eps: float
    noise: NoiseLaw
    batch_size: int = eqx.field(static=True)
    exponents: tuple[int, ...] = eqx.field(static=True, default=EXPONENTS)

    def coefficients(self, R, sigma):
        shape = _shape(self.b1, self.b2, self.noise, self.batch_size)
        unit = typical_residual(self.noise, R) / math.sqrt(self.batch_size)
        phi = shape.drift(R, self.eps / sigma) / sigma
        return phi, shape.kernels(np.log(2 * R / shape.origin**2), self.eps / (unit * sigma))

    def bend(self, R, sigma, r):
        """That of Adam without eps, times how much of its drift is left."""
        rule = RatioRule(Weights(0.0, 1 - self.b1, self.b1), Weights(0.0, 1 - self.b2, self.b2), 2)
        shape = _shape(self.b1, self.b2, self.noise, self.batch_size)
        left = shape.drift(R, self.eps / sigma) / rule.drift(self.noise, [R], self.batch_size)[0]
        table = Correlated(rule, self.noise, self.batch_size).table((R, R))
        return left * (evaluate_in_float64(lambda x: table.mean_factor(R, x), np.clip(r, -1, 1)) - 1)

    def risk_range(self, sigma):
        size = self.eps * math.sqrt(self.batch_size)
        scales = [size / sigma.max(), size / sigma.min(), noise_scale(self.noise)]
        return 1e-8 * min(scales) ** 2, 1e8 * max(scales) ** 2


class Shape(NamedTuple):
    """What does not depend on eps: the drift, and at each log(2R / origin^2) of ``x`` the kernels of (1 + e) W on the
    grid of t.
    """

    drift: OffsetRatioDrift
    origin: float
    x: Float[np.ndarray, " n"]
    table: KernelTable

    def kernels(self, x: float, e: Float[np.ndarray, " s"]) -> Float[np.ndarray, "k s s"]:
        """M_k(e_i, e_j) at one risk."""
        log_size, correlations = (at_risk(self.x, values, x) for values in self.table)
        root = np.sqrt(e)
        B = chebyshev_interpolation((root - 1) / (root + 1))
        return interpolate_kernels(correlations, B, np.exp(B @ log_size) / (1 + e))


def chebyshev_interpolation(x: Float[np.ndarray, " s"]) -> Float[np.ndarray, "s t"]:
    """The matrix from values at ``CHEBYSHEV`` to values at ``x`` in [-1, 1]."""
    transform = np.polynomial.chebyshev.chebvander(CHEBYSHEV, POINTS - 1)
    return np.polynomial.chebyshev.chebvander(x, POINTS - 1) @ np.linalg.inv(transform)


@memoized
def _shape(b1, b2, noise, batch_size) -> Shape:
    """The tables of one rule, noise law and batch size."""
    a, w = Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2)
    drift, origin = OffsetRatioDrift(a, w, noise, batch_size), noise_scale(noise)
    if isinstance(noise, (NoNoise, Gaussian)):
        x, table = np.zeros(1), _gaussian_kernels(a, w, batch_size)
    else:
        x, table = NODES, sample_kernels(a, w, noise, np.exp(NODES) * origin**2 / 2, batch_size, SAMPLES)
    return Shape(drift, origin, x, table)


@memoized
def _gaussian_kernels(a, w, batch_size):
    return sample_kernels(a, w, NoNoise(), np.array([0.5]), batch_size, 8 * SAMPLES)


def sample_kernels(a: Weights, w: Weights, noise: NoiseLaw, R: Float[np.ndarray, " n"], batch_size: int, samples: int):
    """The kernels of (1 + e) W on the grid of t at the risks ``R``."""
    y = (1 + CHEBYSHEV) / 2
    t = np.append(y**2 / (y**2 + (1 - y) ** 2), 1.0)
    memory = max(1 / (1 - a.decay), 1 / (1 - w.decay))

    def evaluate(draws, s, unit):
        del unit
        return _products(draws, s, typical_residual(noise, s**2 / 2) / math.sqrt(batch_size), t, a, w)

    rho = RHO[1:]
    C = np.array([mean for mean, _ in estimates(evaluate, noise, R, batch_size, memory, samples, 0)])
    if np.isfinite(noise.second_moment):
        # E[g g'] = rho at t = 1 is known: a control variate for all t.
        C = C - np.outer(t, t) * (C[..., -1:, -1:] - rho[:, None, None])
    return kernel_table(rho, C[..., :-1, :-1])


@jit
def _products(draws, s, unit, t, a, w):
    """E[(1 + e_i) W_i (1 + e_j) W_j'] at RHO[1:], (r, t, t), from one group of histories, gradients in units of S."""
    radius = residuals(draws.z, draws.eps, s, 1.0).radius / draws.z.shape[0] / unit
    rho = jnp.asarray(RHO[1:], jnp.float32)[:, None]
    g = radius[:, None] * (rho * draws.xi[:, None] + jnp.sqrt(1 - rho**2) * draws.other[:, None])
    root = jnp.sqrt(weighted_sum(w, g**2))
    transpose = jax.linear_transpose(lambda x: weighted_sum(a, x), g)
    effects = jax.lax.map(lambda t: g * transpose(1 / ((1 - t) * root + t))[0], jnp.asarray(t, g.dtype))
    i = effects[:, :, -1]
    return jnp.einsum("iTn,jTrn->rij", i, effects) / (i.shape[1] * i.shape[2])
