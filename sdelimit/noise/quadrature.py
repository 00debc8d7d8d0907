"""Nodes and weights for expectations over a noise law."""

import numpy as np
from jaxtyping import Float
from scipy import special


def _log_grid() -> Float[np.ndarray, " n"]:
    """Grid of log a, in units where the noise has scale one: 1e-26 < a < 1e26."""
    return np.arange(-60.0, 60.05, 0.1)


def _logistic_grid(n: int):
    """``n`` equally spaced x, and their spacing, for integrals over v = 1 / (1 + exp(-x)) in (0, 1)."""
    x = np.linspace(-32.0, 32.0, n)
    return x, x[1] - x[0]


def _symmetric_quadrature(quantile, n: int):
    """Nodes and weights of a symmetric law from the quantile of |eps| at v, given with w = 1 - v."""
    x, step = _logistic_grid(max(n // 2, 2))
    v, w = special.expit(x), special.expit(-x)
    magnitude, weights = quantile(v, w), v * w * step / 2
    return np.concatenate([-magnitude[::-1], magnitude]), np.concatenate([weights[::-1], weights]) / (2 * weights.sum())
