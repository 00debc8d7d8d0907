"""The mean update of a feature that is correlated with the residual, without sampling (theory: section 15).

A feature x of unit variance with correlation r to the noiseless residual z ~ N(0, 1) has gradients g = l x, summed over
a batch, l = s z - eps, x = r z + sqrt(1 - r^2) xi. Their characteristic function chi(t) = E exp(i t g) is elementary
for each Gaussian component N(m, v) of eps, with w^2 = s^2 + v and rho = r s / w:

    chi(t) = exp(-t^2 m^2 / (2 D)) / sqrt(D),    D = 1 - 2 i t w rho + t^2 w^2 (1 - rho^2),

and the gradients of different steps are independent, so that

- E sign(sum_j b_j g_-j) = (2/pi) int_0^inf Im prod_j chi(b_j t) dt / t;
- E[sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2)] is the Laplace integral of ``laplace_transform`` with
  E exp(-u g^2) = E_xi Re chi(sqrt(2 u) xi) and E[g exp(-u g^2)] = E_xi Im chi'(sqrt(2 u) xi).
"""

import numpy as np
import scipy
from jaxtyping import Complex, Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.sampled.laplace_transform import LOG_XI_SQUARE, STEP, integrate_over_history
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw

COMPONENTS = 64
"""Gaussian components of the noise."""
ROUNDING = 1e-11
"""Expectations below this are lost in rounding errors of sums of terms of order 1."""
LOG_T = np.arange(-60.0, 60.0 + STEP / 2, STEP)
"""log(t s), for rules that take a sign."""
LOG_U = np.arange(-80.0 + LOG_XI_SQUARE[0], 60.0 + STEP / 2, STEP)
"""log(u s^2), for rules that divide by a root."""


def signed_response(
    b: Weights, noise: NoiseLaw, R: float, batch_size: int, r: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """G(r) = E sign(sum_j b_j g_-j) at the risk ``R``."""
    components = _components(noise, R)
    if b.past * b.decay == 0 and batch_size == 1:
        return np.array([_sign_of_product(rho, *components) for rho in r])
    return np.array([_sign_of_sum(b, rho, components, batch_size) for rho in r])


def ratio_response(
    a: Weights, w: Weights, noise: NoiseLaw, R: float, batch_size: int, r: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """G(r) = E[sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2)] at the risk ``R``."""
    components = _components(noise, R)
    return np.array([_ratio(a, w, rho, components, batch_size) for rho in r])


def _components(noise, R):
    """Weights, means and variances of eps in units of s = sqrt(2R)."""
    weights, means, variances = noise.components(COMPONENTS)
    return weights, means / np.sqrt(2 * R), variances / (2 * R)


def characteristic(
    log_t: Float[np.ndarray, " k"], r: float, weights, means, variances, batch_size: int = 1
) -> tuple[Complex[np.ndarray, " k"], Complex[np.ndarray, " k"]]:
    """chi(t) and t chi'(t) of a batch's sum of l x, in units of s."""
    t = np.exp(log_t)[:, None]
    width = np.sqrt(1 + variances)
    real, imaginary = t**2 * (width**2 - r**2), -2j * t * r
    D = 1 + imaginary + real
    slope = imaginary + 2 * real
    exponent = -(t**2) * means**2 / (2 * D)
    chi = np.exp(exponent) / np.sqrt(D) * weights
    change = chi * (exponent * (2 - slope / D) - slope / (2 * D))
    chi, change = chi.sum(axis=1), change.sum(axis=1)
    return chi**batch_size, batch_size * chi ** (batch_size - 1) * change


def _sign_of_product(r, weights, means, variances):
    """E sign(l x) = (2/pi) int_0^arcsin(rho) exp(-m^2 / (2 w^2 cos^2 a)) da for each component."""
    width = np.sqrt(1 + variances)
    angle = np.arcsin(np.minimum(r / width, 1.0))
    x, gauss = np.polynomial.legendre.leggauss(40)
    a = angle[:, None] * (1 + x) / 2
    ratio = (means / width)[:, None] / np.maximum(np.cos(a), np.finfo(float).tiny)
    return float(2 / np.pi * weights @ (angle * (np.exp(-np.minimum(ratio**2 / 2, 700.0)) @ gauss) / 2))


def _sign_of_sum(b, r, components, batch_size):
    if b.past * b.decay == 0:
        chi, _ = characteristic(LOG_T, r, *components, batch_size)
        return 2 / np.pi * np.sum(chi.imag) * STEP
    stride = int(np.ceil(-np.log(b.decay) / STEP))
    step = -np.log(b.decay) / stride
    rows = int((LOG_T[-1] - LOG_T[0]) / step) // stride
    y = LOG_T[-1] - step * np.arange(rows * stride)[::-1]
    chi, _ = characteristic(LOG_T, r, *components)
    # The logarithm of chi is followed continuously from chi(0) = 1.
    parts = batch_size * np.stack([np.log(np.abs(chi)), np.unwrap(np.angle(chi))], axis=1)
    spline = make_interp_spline(LOG_T, parts, k=5)

    def log_chi(at):
        return spline(np.clip(at, LOG_T[0], LOG_T[-1])) @ np.array([1, 1j])

    older = scipy.signal.lfilter([0.0, 1.0], [1.0, -1.0], log_chi(y).reshape(rows, stride), axis=0).ravel()
    return 2 / np.pi * np.sum(np.exp(older + log_chi(y + np.log(b.first / b.past))).imag) * step


def ratio_transform(r: float, noise: NoiseLaw, R: float, batch_size: int):
    """(log u, log E exp(-u g^2), E[g exp(-u g^2)] / E exp(-u g^2)), u and g in units of s, at the correlation r."""
    return _transform(r, _components(noise, R), batch_size)


def _ratio(a, w, r, components, batch_size):
    x, log_even, ratio = _transform(r, components, batch_size)
    return integrate_over_history(a, w, x, log_even, ratio) / np.sqrt(np.pi)


def _transform(r, components, batch_size):
    log_t = (LOG_U + np.log(2)) / 2
    chi, change = characteristic(log_t, r, *components, batch_size)
    kernel = STEP * np.exp(LOG_XI_SQUARE / 2 - np.exp(LOG_XI_SQUARE) / 2) / np.sqrt(2 * np.pi)
    even = np.convolve(chi.real, kernel[::-1], mode="valid")
    odd = np.convolve(change.imag * np.exp(-log_t), kernel[::-1], mode="valid")
    x = LOG_U[: even.size] - LOG_XI_SQUARE[0]
    log_even, log_ratio = _continued(even, odd)
    return x, log_even, np.exp(log_ratio)


def _continued(even, odd):
    """Logarithms of ``even`` and ``odd`` / ``even``, both positive, as powers of u where rounding errors take over."""
    lost = (even < ROUNDING) | (odd < ROUNDING * odd.max())
    lost[: np.argmax(odd)] = False  # small odd moments at small u are exact
    end = np.argmax(lost) if lost.any() else even.size
    logs = np.log(np.stack([even[:end], odd[:end]]))
    beyond = np.arange(1, even.size - end + 1)
    tail = logs[:, -1:] + (logs[:, -1:] - logs[:, -2:-1]) * beyond
    even, odd = np.concatenate([logs, tail], axis=1)
    return even, odd - even
