"""Drift coefficients by a Laplace transform, without sampling (theory: section 6).

For a rule that divides by the root of a quadratic form in the gradient history,

    V^(-1/2) = pi^(-1/2) int_0^inf t^(-1/2) exp(-t V) dt,    V = sum_j w_j X_j^2,

the expectation over the history factorizes, because the X_j are independent, and

    phi = (k / sqrt(pi)) int t^(-1/2) sum_j a_j D(t w_j) prod_{i != j} chi(t w_i) dt,    chi(t) = E exp(-t X^2).

- rules sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2): X = |l| xi, D(t) = E[xi^2 (sum_i l_i z_i / s) exp(-t X^2)], k = 1;
- rules sign(sum_j a_j g_-j): given the residuals the sum is Gaussian, so X = |l|, w_j = a_j^2,
  D(t) = E[(sum_i l_i z_i / s) exp(-t X^2)] and k = sqrt(2/pi).

Here l = (l_1..l_b) are the residuals of one batch, l_i = s z_i - eps_i. All that is needed of the label
noise is its Gaussian factor G, because with A(t) = E exp(-t l^2) = G(t / (1 + 2 t s^2)) / sqrt(1 + 2 t s^2)

    E[l z exp(-t l^2)] / s = A + 2 t A'(t) = A (1 + 2 dlogG/dlog a) / (1 + 2 t s^2),    a = t / (1 + 2 t s^2).
"""

import numpy as np
import scipy
from jaxtyping import Float
from scipy import special
from scipy.interpolate import make_interp_spline

from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64

STEP = 0.1
LOW, HIGH = -110.0, 60.0
LOG_XI_SQUARE = STEP * np.arange(-760, 48)


def ratio_drift(a: Weights, w: Weights, noise: NoiseLaw, R, batch_size: int = 1) -> Float[np.ndarray, "..."]:
    """phi(R) of F = sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2), for ``R`` > 0 of any shape."""
    return _each(R, lambda risk: _ratio_drift(a, w, noise, float(risk), batch_size))


@memoized(size=1024)
def _ratio_drift(a, w, noise, R, batch_size):
    return _integrate(a, w, *_gradient_transform(noise, R, batch_size), R)


@memoized(size=64)
def _gradient_transform(noise, R, batch_size):
    """What all rules share at one risk."""
    return with_xi(*residual_transform(noise, batch_size)(R))


class OffsetRatioDrift:
    """phi(R) of F = sum_j a_j g_-j / ((sum_j w_j g_-j^2)^(1/2) + e), the g_j of a coordinate with sigma = 1.

    The Laplace transform of pi^(-1/2) t^(-1/2) q(e sqrt t), q(y) = 1 - sqrt(pi) y erfcx(y), is 1 / (sqrt V + e), so
    q is all that e > 0 adds to the integral over t. As e -> infinity, e phi -> sum_j a_j.
    """

    def __init__(self, a: Weights, w: Weights, noise: NoiseLaw, batch_size: int = 1):
        self.a, self.w, self.batch_size = a, w, batch_size
        self.transform = residual_transform(noise, batch_size)

    def __call__(self, R: float, e: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        log_t, step, values = _over_history(self.a, self.w, *with_xi(*self.transform(R)))
        thin = max(1, int(STEP / step))
        root = np.exp(log_t[::thin] / 2)
        # |(l_1 .. l_b)| xi is b times the gradient of the batch mean.
        y = self.batch_size * np.asarray(e)[:, None] / np.sqrt(2 * R) * root
        return offset_factor(y) @ (root * values[::thin]) * (thin * step) / np.sqrt(2 * np.pi * R)


def offset_factor(y: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """q(y) = 1 - sqrt(pi) y erfcx(y) for y >= 0, which tends to 1 / (2 y^2)."""
    far = np.maximum(y, 30.0) ** -2 / 2
    return np.where(y < 30, 1 - np.sqrt(np.pi) * y * special.erfcx(y), far * (1 - 3 * far * (1 - 5 * far)))


def signed_drift(b: Weights, noise: NoiseLaw, R, batch_size: int = 1) -> Float[np.ndarray, "..."]:
    """phi(R) of F = sign(sum_j b_j g_-j), for ``R`` > 0 of any shape.

    b_j^2 is geometric from j = 1 on, with the ratio decay^2.
    """
    w = b.squares
    transform = residual_transform(noise, batch_size)
    return _each(R, lambda risk: np.sqrt(2 / np.pi) * _integrate(b, w, *transform(risk), risk))


def _each(R, function):
    R = np.asarray(R, np.float64)
    return np.array([function(risk) for risk in R.ravel()]).reshape(R.shape)


class _ResidualTransform:
    """(x, log chi, D / chi) on a grid of x = log(t s^2), for X = |l|: chi = A^b, D = b (A + 2 t A') A^(b-1)."""

    x = np.arange(LOW + LOG_XI_SQUARE[0], HIGH + STEP / 2, STEP)

    def __init__(self, noise, batch_size):
        self.batch_size = batch_size
        # A spline of log G, because automatic derivatives of some closed forms (erfcx) lose all digits.
        self.unit = noise_scale(noise)
        log_a = np.arange(self.x[0] - 40, 40.05, STEP)
        factor = evaluate_in_float64(noise.gaussian_factor, np.exp(log_a) / self.unit**2)
        self.log_G = make_interp_spline(log_a, np.log(np.maximum(factor, TINY)), k=5)

    def __call__(self, R):
        grow = 1 + 2 * np.exp(self.x)
        log_a = self.x - np.log(grow) - np.log(2 * R / self.unit**2)
        log_A = self.log_G(log_a) - np.log(grow) / 2
        ratio = (1 + 2 * self.log_G(log_a, nu=1)) / grow
        return self.x, self.batch_size * log_A, self.batch_size * ratio


residual_transform = memoized(_ResidualTransform, size=16)


def with_xi(x, log_A, ratio):
    """The same for X = |l| xi: E_xi f(t xi^2) is a convolution in log t, and converges geometrically."""
    kernel = STEP * np.exp(LOG_XI_SQUARE / 2 - np.exp(LOG_XI_SQUARE) / 2) / np.sqrt(2 * np.pi)
    n = LOG_XI_SQUARE.size
    chi = np.convolve(np.exp(log_A), kernel[::-1], mode="valid")
    D = np.convolve(ratio * np.exp(log_A), (kernel * np.exp(LOG_XI_SQUARE))[::-1], mode="valid")
    return x[: x.size - n + 1] - LOG_XI_SQUARE[0], np.log(chi), D / chi


def _integrate(a: Weights, w: Weights, x, log_chi, ratio, R):
    """(1/s) pi^(-1/2) int t^(-1/2) sum_j a_j (D/chi)(t w_j) prod_i chi(t w_i) dt, by the trapezoid rule in log t."""
    return integrate_over_history(a, w, x, log_chi, ratio) / np.sqrt(2 * np.pi * R)


def integrate_over_history(a: Weights, w: Weights, x, log_chi, ratio) -> float:
    """int t^(-1/2) sum_j a_j (D/chi)(t w_j) prod_i chi(t w_i) dt from log chi and D / chi at t = exp(x)."""
    log_t, step, values = _over_history(a, w, x, log_chi, ratio)
    return np.sum(np.exp(log_t / 2) * values) * step


def _over_history(a: Weights, w: Weights, x, log_chi, ratio):
    """(log t, its step, sum_j a_j (D/chi)(t w_j) prod_i chi(t w_i)) with t in units of 1 / s^2.

    With t w_past = exp(y) and y on a grid whose step divides -log(decay), the sums over lags are recursions.
    """
    log_chi, ratio = make_interp_spline(x, log_chi, k=5), make_interp_spline(x, ratio, k=5)
    low, high = max(LOW, x[0]), x[-1]
    if w.decay == 0 or w.past == 0:
        y = np.arange(low, high, STEP)
        return y - np.log(w.first), STEP, np.exp(log_chi(y)) * a.first * ratio(y)
    stride = int(np.ceil(-np.log(w.decay) / STEP))
    step = -np.log(w.decay) / stride
    rows = int((high - low) / step) // stride
    y = high - step * np.arange(rows * stride)[::-1]
    shift = np.log(w.first / w.past)
    older = lag_sum(log_chi(y).reshape(rows, stride), 1.0, 0.0)
    mean_older = lag_sum(ratio(y).reshape(rows, stride), a.decay, ratio(low) / (1 - a.decay))
    newest = np.clip(y + shift, low, high)
    total = log_chi(newest) + older
    mean = a.first * ratio(newest) + a.past * a.decay * mean_older
    return y - np.log(w.past), step, np.exp(total) * mean


def lag_sum(values, decay, before):
    """sum_{j >= 1} decay^(j-1) values[row - j], with ``before`` the value of that sum in the first row."""
    start = np.full((1, values.shape[1]), before)
    sums, _ = scipy.signal.lfilter([0.0, 1.0], [1.0, -decay], values, axis=0, zi=start)
    return sums.ravel()
