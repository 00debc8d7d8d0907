"""Adam with eps > 0, u = m / (sqrt v + eps): a scale-dependent limit (theory: sections 6 and 9; arXiv:1412.6980).

The history of coordinate i is g = lam sigma_i xi with lam = |(l_1 .. l_b)|_2 / b shared by all coordinates. With
m = sum_j a_j g_-j and v = sum_j w_j g_-j^2 the drift needs no sampling, because

    1 / (sqrt v + eps) = pi^(-1/2) int_0^inf t^(-1/2) q(eps sqrt t) exp(-t v) dt,   q(y) = 1 - sqrt(pi) y erfcx(y)

(``laplace.OffsetRatioDrift``). The noise is sampled. F is odd in each gradient, so the sum over lags collapses to

    N_ij = E[W_i W_j'],   W_i = g_s sum_m a_m / (sqrt v_{s+m} + eps),   corr(xi, xi') = Khat_ij.

In units of a typical gradient S_i = sigma_i unit(R) / sqrt b only e_i = eps / S_i matters, and

    (1 + e) W = g sum_m a_m / ((1 - t) sqrt v + t),   t = e / (1 + e) in [0, 1],

runs from Adam at t = 0 to SGD at t = 1. It is sampled at a few t for the correlations rho of ``RHO`` and written as
sum_k rho^k M_k, k odd, with M_k positive semidefinite (so they are in truth, by Mehler's formula) and the exact
sum of the M_k on the diagonal; interpolation over t is a congruence, which keeps both. Residuals without noise,
or with Gaussian noise, have one shape at every R; for other laws the M_k are interpolated over log R.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from sdelimit._jit import jit
from sdelimit.limits.histories import estimates, residuals, weighted_sum
from sdelimit.limits.kernel import RHO
from sdelimit.limits.laplace import OffsetRatioDrift, Weights
from sdelimit.limits.residuals import noise_scale
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.limits.tabulated import NODES, _noise_key
from sdelimit.noise import Gaussian, NoiseLaw, NoNoise

EXPONENTS = (1, 3, 5, 9, 25, 127)
"""The powers of Khat; the last one takes what is left at Khat = 1."""
SAMPLES = 500_000
"""Gradients drawn at each risk, and 8 times as many where one risk is enough."""
POINTS = 14
CHEBYSHEV = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
"""Points of 2 y - 1, y = sqrt e / (1 + sqrt e), where kernels are sampled: e from 1e-5 to 1e5."""
DIAGONAL_WEIGHT = 5.0
ITERATIONS = 1500


class AdamEpsLimit(ScaleDependentLimit):
    """phi(sigma; R) and N(R) of Adam with eps > 0, for any noise law and batch size."""

    b1: float
    b2: float
    eps: float
    noise: NoiseLaw
    batch_size: int = eqx.field(static=True)
    exponents: tuple[int, ...] = eqx.field(static=True, default=EXPONENTS)

    @property
    def key(self):
        return ("adam_eps", self.b1, self.b2, self.eps, self.batch_size)

    def coefficients(self, R, sigma):
        shape = _shape(self.b1, self.b2, self.noise, self.batch_size)
        unit = _unit(self.noise, R) / math.sqrt(self.batch_size)
        phi = shape.drift(R, self.eps / sigma) / sigma
        return phi, shape.kernels(np.log(2 * R / shape.origin**2), self.eps / (unit * sigma))

    def risk_range(self, sigma):
        size = self.eps * math.sqrt(self.batch_size)
        scales = [size / sigma.max(), size / sigma.min(), noise_scale(self.noise)]
        return 1e-8 * min(scales) ** 2, 1e8 * max(scales) ** 2


class Shape(NamedTuple):
    """What does not depend on eps: the drift, and at each log(2R / origin^2) of ``x`` the kernels on the grid of t.

    ``log_size`` are logarithms of the standard deviations of (1 + e) W, and ``correlations`` the matrices
    sum over k of which is 1 on the diagonal.
    """

    drift: OffsetRatioDrift
    origin: float
    x: Float[np.ndarray, " n"]
    log_size: Float[np.ndarray, "n t"]
    correlations: Float[np.ndarray, "n k t t"]

    def kernels(self, x: float, e: Float[np.ndarray, " s"]) -> Float[np.ndarray, "k s s"]:
        """M_k(e_i, e_j) at one risk."""
        log_size, C = (_at(self.x, values, x) for values in self[3:])
        root = np.sqrt(e)
        B = chebyshev_interpolation((root - 1) / (root + 1))
        kernels = B @ C @ B.T
        factor = np.exp(B @ log_size) / (1 + e) / np.sqrt(np.einsum("kii->i", kernels))
        return kernels * factor[:, None] * factor[None, :]


def chebyshev_interpolation(x: Float[np.ndarray, " s"]) -> Float[np.ndarray, "s t"]:
    """The matrix from values at ``CHEBYSHEV`` to values at ``x`` in [-1, 1]."""
    transform = np.polynomial.chebyshev.chebvander(CHEBYSHEV, POINTS - 1)
    return np.polynomial.chebyshev.chebvander(x, POINTS - 1) @ np.linalg.inv(transform)


def _at(nodes, values, x):
    """Values at ``x``, constant outside the nodes."""
    return values[0] if len(nodes) == 1 else PchipInterpolator(nodes, values)(np.clip(x, nodes[0], nodes[-1]))


def _unit(noise, R):
    """A typical residual: its standard deviation where that is finite."""
    if np.isfinite(noise.second_moment):
        return math.sqrt(2 * R + noise.second_moment)
    return math.sqrt(2 * R) + noise_scale(noise)


_MEMORY: dict = {}


def _shape(b1, b2, noise, batch_size) -> Shape:
    """The tables of one rule, noise law and batch size, made once."""
    key = (float(b1), float(b2), _noise_key(noise), batch_size)
    if key not in _MEMORY:
        a, w = Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2)
        drift, origin = OffsetRatioDrift(a, w, noise, batch_size), noise_scale(noise)
        if isinstance(noise, (NoNoise, Gaussian)):
            x, tables = np.zeros(1), _gaussian_kernels(a, w, batch_size)
        else:
            x, tables = NODES, sample_kernels(a, w, noise, np.exp(NODES) * origin**2 / 2, batch_size, SAMPLES)
        _MEMORY[key] = Shape(drift, origin, x, *tables)
    return _MEMORY[key]


def _gaussian_kernels(a, w, batch_size):
    key = (a, w, batch_size)
    if key not in _MEMORY:
        _MEMORY[key] = sample_kernels(a, w, NoNoise(), np.array([0.5]), batch_size, 8 * SAMPLES)
    return _MEMORY[key]


def sample_kernels(a: Weights, w: Weights, noise: NoiseLaw, R: Float[np.ndarray, " n"], batch_size: int, samples: int):
    """``log_size``, (n, t), and ``correlations``, (n, k, t, t), of ``Shape`` at the risks ``R``."""
    y = (1 + CHEBYSHEV) / 2
    t = np.append(y**2 / (y**2 + (1 - y) ** 2), 1.0)
    memory = max(1 / (1 - a.decay), 1 / (1 - w.decay))

    def evaluate(draws, s, unit):
        del unit
        return _products(draws, s, _unit(noise, s**2 / 2) / math.sqrt(batch_size), t, a, w)

    rho = RHO[1:]
    C = np.array([mean for mean, _ in estimates(evaluate, noise, R, batch_size, memory, samples, 0)])
    if np.isfinite(noise.second_moment):
        # E[g g'] = rho at t = 1 is known: a control variate for all t.
        C = C - np.outer(t, t) * (C[..., -1:, -1:] - rho[:, None, None])
    C = C[..., :-1, :-1]
    size = np.sqrt(np.einsum("nii->ni", C[:, -1]))
    C = C / (size[:, None, :, None] * size[:, None, None, :])
    return np.log(size), semidefinite_fit(rho, (C + C.swapaxes(-1, -2)) / 2)


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


def semidefinite_fit(rho: Float[np.ndarray, " r"], C: Float[np.ndarray, "n r t t"]) -> Float[np.ndarray, "n k t t"]:
    """Positive semidefinite M_k with sum_k rho^k M_k closest to C(rho); C(1) and the sum of M_k are 1 on the diagonal.

    Least squares by projected gradients with momentum, rho = 1 weighted up; the diagonal is then made exact.
    """
    design = rho[:, None] ** np.array(EXPONENTS) * np.where(rho == 1, DIAGONAL_WEIGHT, 1.0)[:, None]
    target = C * np.where(rho == 1, DIAGONAL_WEIGHT, 1.0)[:, None, None]
    gram, pull = design.T @ design, np.einsum("rk,nrij->nkij", design, target)
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    M = ahead = np.einsum("k,nij->nkij", np.full(len(EXPONENTS), 1 / len(EXPONENTS)), C[:, -1])
    for n in range(ITERATIONS):
        gradient = np.einsum("kl,nlij->nkij", gram, ahead) - pull
        values, vectors = np.linalg.eigh(ahead - step * gradient)
        new = (vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.swapaxes(-1, -2)
        ahead = new + n / (n + 3) * (new - M)
        M = new
    root = np.sqrt(np.einsum("nkii->ni", M))
    return M / (root[:, None, :, None] * root[:, None, None, :])
