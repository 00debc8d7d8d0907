"""The modes of AR(1) correlations in closed form: O(d log d) work, O(d) memory.

K_ij = rho^|i-j| has a tridiagonal inverse, whose eigenvectors are sampled sines. For rho >= 0 and k = 1..d

    v_j = sin((j + 1) omega_k + theta_k),                 j = 0..d-1,
    (d + 1) omega_k + 2 theta_k = k pi,                   theta = arg(1 - rho exp(-i omega)),
    lambda_k = (1 - rho^2) / (1 - 2 rho cos omega_k + rho^2).

For rho < 0 they are those of |rho| times (-1)^j; b(Khat) changes its signs likewise, because b is odd.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float

from sdelimit.limits.noise_kernel import kernel_basis


class Sines(NamedTuple):
    """Frequency, phase and squared length of the eigenvectors, and their eigenvalues, ascending; all (d,)."""

    omega: Float[np.ndarray, " d"]
    theta: Float[np.ndarray, " d"]
    square: Float[np.ndarray, " d"]
    eigenvalues: Float[np.ndarray, " d"]


def sines(d: int, rho: float) -> Sines:
    """Eigenvectors and eigenvalues for 0 <= rho < 1."""

    def phase(omega):
        return np.arctan2(rho * np.sin(omega), 1 - rho + 2 * rho * np.sin(omega / 2) ** 2)

    # (d + 1) omega + 2 theta increases from 0 to (d + 1) pi, with a slope of at least d.
    target = np.pi * np.arange(d, 0, -1)
    low = np.maximum(target - 2 * np.arcsin(rho), 0.0) / (d + 1)
    high = np.minimum((target + 2 * np.arcsin(rho)) / (d + 1), np.pi)
    for _ in range(60):
        middle = (low + high) / 2
        above = (d + 1) * middle + 2 * phase(middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    theta = phase((low + high) / 2)
    omega = (target - 2 * theta) / (d + 1)
    square = (d + np.sin(2 * theta + omega) / np.sin(omega)) / 2
    return Sines(omega, theta, square, (1 - rho) * (1 + rho) / ((1 - rho) ** 2 + 4 * rho * np.sin(omega / 2) ** 2))


def coordinates(eigenvectors: Sines, rho: float, v: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """Q' v: sum_j v_j sin((j + 1) omega_k + theta_k) over the length of the sine; rho of either sign."""
    alternating = v if rho >= 0 else v * (-1.0) ** np.arange(v.size)
    sums = exponential_sums(np.concatenate([[0.0], alternating]), eigenvectors.theta)
    return (np.exp(1j * eigenvectors.theta) * sums).imag / np.sqrt(eigenvectors.square)


def forcing(eigenvectors: Sines, rho: float, name: str) -> Float[np.ndarray, " d"]:
    """The diagonal of Q' b(Khat) Q, sum_m b(rho^|m|) A_m / A_0 over lags -d < m < d, for rho >= 0.

    A_m = sum_j v_j v_(j+m) = ((d - m) cos(m omega) + sin((m + 1) omega + 2 theta) / sin(omega)) / 2.
    """
    if name == "rho":
        return eigenvectors.eigenvalues
    d = eigenvectors.theta.size
    lags = np.arange(d + 1)
    kernel = np.where(lags < d, kernel_basis(name, rho**lags), 0.0)
    weighted = exponential_sums((d - lags) * kernel, eigenvectors.theta).real
    plain = exponential_sums(kernel, eigenvectors.theta) * np.exp(1j * (2 * eigenvectors.theta + eigenvectors.omega))
    return (weighted + plain.imag / np.sin(eigenvectors.omega)) / eigenvectors.square - 1


def exponential_sums(h: Float[np.ndarray, " d+1"], theta: Float[np.ndarray, " d"]) -> Complex[np.ndarray, " d"]:
    """sum_j h_j exp(i j omega_k), j = 0..d, at omega_k = (k pi - 2 theta_k) / (d + 1), k = d..1.

    With u_j = 1 - 2j/(d + 1) in (-1, 1] the phase is j k pi/(d + 1) + theta_k (u_j - 1): a fast Fourier transform,
    but for exp(i theta_k u_j), whose Taylor series needs at most 27 terms as |theta| <= pi/2.
    """
    size = h.size
    u = 1 - 2 * np.arange(size) / size
    factor = np.exp(-1j * theta)
    total, order = np.zeros(theta.size, complex), 0
    while np.max(np.abs(factor)) > 1e-17:
        total += factor * scipy.fft.rfft(h, 2 * size)[size - 1 : 0 : -1].conj()
        h, order = h * u, order + 1
        factor = factor * (1j * theta / order)
    return total
