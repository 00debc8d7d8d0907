"""Residuals l = s z - eps and batches of them: their scale, and quasi-random samples."""

import numpy as np
import scipy
from scipy.special import ndtri

from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64


@memoized
def noise_scale(noise: NoiseLaw) -> float:
    """A length comparable to the noise: G(a) is halfway between its ends at a = 1 / length^2; 1 if eps = 0."""
    log_a = np.linspace(-300, 300, 1201)
    factor = evaluate_in_float64(noise.gaussian_factor, np.exp(log_a))
    halfway = (1 + factor[-1]) / 2
    return float(np.exp(-log_a[np.argmax(factor < halfway)] / 2)) if factor[-1] < 1 else 1.0


def residual_sample(noise: NoiseLaw, batch_size: int, size: int = 2**14):
    """Quasi-random batches of residuals: l_j = means_j + sqrt(2R + variances_j) q_j. Three (size, b) arrays."""
    weights, means, variances = noise.components()
    points = scipy.stats.qmc.Sobol(2 * batch_size, seed=0).random(size)
    index = np.minimum(np.searchsorted(np.cumsum(weights), points[:, :batch_size]), weights.size - 1)
    return -means[index], variances[index], ndtri(np.clip(points[:, batch_size:], 1e-15, 1 - 1e-15))


def typical_residual(noise: NoiseLaw, R: float) -> float:
    """A length comparable to l = s z - eps: its standard deviation where that is finite."""
    if np.isfinite(noise.second_moment):
        return float(np.sqrt(2 * R + noise.second_moment))
    return float(np.sqrt(2 * R)) + noise_scale(noise)
