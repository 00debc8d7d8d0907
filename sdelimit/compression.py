"""A few hundred modes in place of millions (theory: section 3).

The risk sees the modes only through sums of f(lambda_i) against fixed weights, f(lambda) = exp(-lambda sigma) and its
integrals. Over an octave [a, 2a] such an f is a polynomial of degree n - 1 up to 2 (n/4)^n exp(-n) / n! of its largest value,
so n Chebyshev points an octave carry the weights: those of mode i are shared among them by the Lagrange polynomials.
"""

import math

import numpy as np
from jaxtyping import Float

POINTS = 12
"""Chebyshev points an octave; the relative error of every sum is below ``ERROR``."""
OCTAVES = 60
"""Modes slower than 2^-OCTAVES of the fastest share one interval that ends at zero."""
ERROR = 2 * (POINTS / 4) ** POINTS * math.exp(-POINTS) / math.factorial(POINTS)


def compress(decay: Float[np.ndarray, " d"], weights: Float[np.ndarray, "p d"]):
    """(nodes, (p, k) weights) with sum_i weights_qi f(decay_i) = sum_j new_qj f(nodes_j) up to ``ERROR``.

    Modes with decay 0 are left out: they carry no risk.
    """
    moving = decay > 0
    decay, weights = decay[moving], weights[:, moving]
    if not decay.size:
        return np.ones(1), np.zeros((weights.shape[0], 1))
    octave = np.minimum(np.floor(np.log2(decay.max() / decay)).astype(int), OCTAVES)
    unit = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    nodes, shares = [], []
    for k in np.unique(octave):
        inside = octave == k
        high = decay.max() * 2.0**-k
        low = high / 2 if k < OCTAVES else 0.0
        if np.count_nonzero(inside) <= POINTS:
            nodes.append(decay[inside])
            shares.append(weights[:, inside])
            continue
        nodes.append((high + low) / 2 + (high - low) / 2 * unit)
        shares.append(weights[:, inside] @ _lagrange(unit, (2 * decay[inside] - high - low) / (high - low)))
    return np.concatenate(nodes), np.concatenate(shares, axis=1)


def _lagrange(nodes, x) -> Float[np.ndarray, "m n"]:
    """The Lagrange polynomials of Chebyshev points at x in [-1, 1], by their expansion in Chebyshev polynomials."""
    orders = np.arange(nodes.size)
    at_nodes = np.cos(orders * np.arccos(nodes)[:, None])
    at_x = np.cos(orders * np.arccos(np.clip(x, -1.0, 1.0))[:, None])
    return (2 - (orders == 0)) / nodes.size * at_x @ at_nodes.T
