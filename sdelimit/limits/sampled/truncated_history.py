"""Mean updates of rules that have seen k gradients, without sampling (theory: section 17).

As ``laplace_transform`` for the whole past, with the sums over lags j < k only. With t w_past = exp(y) and y on a grid
whose step divides -log(decay), a sum over k lags is the difference of two sums over all of them, one shifted by k
rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.sampled.laplace_transform import STEP, lag_sum, residual_transform, with_xi
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import NoNoise

LOWEST, HIGHEST = -56.0, 56.0
"""log t between which integrands matter: below exp(-28) of their sum lies outside."""


class _Grid(NamedTuple):
    """What the sums over lags are made of, (rows, stride) at t = exp(log_t) in units of 1 / s^2."""

    log_t: Float[np.ndarray, "r s"]
    step: float
    newest: Float[np.ndarray, "r s"]
    newest_mean: Float[np.ndarray, "r s"]
    older: Float[np.ndarray, "r s"]
    older_mean: Float[np.ndarray, "r s"]
    decay: float

    def up_to(self, k: int):
        """log prod_{j<k} chi(t w_j), and the newest and older parts of sum_{j<k} a_j (D/chi)(t w_j)."""
        shift = min(k - 1, len(self.older))
        older = self.older - _shifted(self.older, shift)
        mean = self.older_mean - self.decay**shift * _shifted(self.older_mean, shift)
        return self.newest + older, self.newest_mean, mean


def _shifted(values, rows):
    """The values ``rows`` rows up; the first row above it."""
    first = np.broadcast_to(values[:1], (min(rows, len(values)), values.shape[1]))
    return np.concatenate([first, values[: max(len(values) - rows, 0)]])


def _grid(a: Weights, w: Weights, x, log_chi, ratio) -> _Grid:
    log_chi, ratio = make_interp_spline(x, log_chi, k=5), make_interp_spline(x, ratio, k=5)
    stride = int(np.ceil(-np.log(w.decay) / STEP))
    step = -np.log(w.decay) / stride
    shift = np.log(w.first / w.past)
    # The newest gradient is seen at y + shift, older ones further down.
    low, high = max(LOWEST - max(shift, 0.0), x[0]), min(HIGHEST - min(shift, 0.0), x[-1])
    rows = int((high - low) / step) // stride
    y = (high - step * np.arange(rows * stride)[::-1]).reshape(rows, stride)
    older = lag_sum(log_chi(y), 1.0, 0.0).reshape(y.shape)
    older_mean = a.past * a.decay * lag_sum(ratio(y), a.decay, ratio(low) / (1 - a.decay)).reshape(y.shape)
    newest = np.clip(y + shift, x[0], x[-1])
    return _Grid(y - np.log(w.past), step, log_chi(newest), a.first * ratio(newest), older, older_mean, a.decay)


def ratio_drifts(a: Weights, w: Weights, batch_size: int, steps: list[int]) -> Float[np.ndarray, " k"]:
    """s E[F_k g'] of F_k = sum_{j<k} a_j g_-j / (sum_{j<k} w_j g_-j^2)^(1/2) without label noise, for k in ``steps``.

    That is c(k), with phi = c(k) / s after k steps; not normalized by the sums of the weights.
    """
    return ratio_means(a, w, with_xi(*residual_transform(NoNoise(), batch_size)(0.5)), steps)


def ratio_means(a: Weights, w: Weights, transform, steps: list[int]) -> Float[np.ndarray, " k"]:
    """pi^(-1/2) int t^(-1/2) sum_{j<k} a_j (D/chi)(t w_j) prod_{i<k} chi(t w_i) dt, for k in ``steps``.

    ``transform`` is (log t, log chi, D / chi). With ``mean_response.ratio_transform`` that is E F_k at a correlation.
    """
    grid = _grid(a, w, *transform)
    root = np.exp(grid.log_t / 2)

    def drift(k):
        total, first, older = grid.up_to(k)
        return np.sum(root * np.exp(total) * (first + older)) * grid.step / np.sqrt(np.pi)

    return np.array([drift(k) for k in steps])


def signed_gains(
    b: Weights, noise: NoiseLaw, batch_size: int, R: float, steps: list[int], signal: Float[np.ndarray, "k y"]
) -> Float[np.ndarray, "2 k y"]:
    """Gains of the newest gradient and of all older ones of F_k = sign(sum_{j<k} b_j g_-j + h), for k in ``steps``.

    h is a Gaussian independent of the gradients g = l xi, of the variances in the rows of ``signal`` in units of
    s^2 = 2R, and l the root of the sum of squares of a batch of residuals: with V = sum_{j<k} b_j^2 l_j^2 + h^2,

        sqrt(2/pi) E[b_0 l_0 z_0 / sqrt(V)] / s,      sqrt(2/pi) E[sum_{0<j<k} b_j l_j z_j / sqrt(V)] / s.
    """
    w = b.squares
    grid = _grid(b, w, *residual_transform(noise, batch_size)(R))
    root = np.exp(grid.log_t / 2) * grid.step * np.sqrt(2 / np.pi) / np.sqrt(2 * np.pi * R)
    t = np.exp(grid.log_t)
    out = np.empty((2, *np.shape(signal)))
    for i, k in enumerate(steps):
        damping = np.exp(-t * np.asarray(signal)[i][:, None, None])
        total, first, older = grid.up_to(k)
        weight = root * np.exp(total)
        out[0, i] = np.tensordot(damping, weight * first, axes=2)
        out[1, i] = np.tensordot(damping, weight * older, axes=2)
    return out
