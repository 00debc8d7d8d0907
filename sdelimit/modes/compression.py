"""A few hundred modes in place of millions (theory: section 3).

The risk depends on the modes only through sums of f(lambda_i) with fixed weights: exp(-lambda s) weighted by the
initial risk of each mode, and its integrals over the clock s = 2 int eta phi dt weighted by the noise that each mode
gets. On an octave [a, 2a] such an f is nearly a polynomial, for it is bounded in the ellipse around [a, 2a] that
touches 0. So n Chebyshev points an octave take the place of its modes, with the weight of each mode distributed over
them by Lagrange's polynomials, up to errors that fall as (3 + sqrt 8)^-n.
"""

import numpy as np
from jaxtyping import Float

from sdelimit.numerics.floors import TINY

POINTS = 14
"""Chebyshev points an octave."""
RATE = 3 + 8**0.5
ERROR = 4 * RATE ** (1 - POINTS) / (RATE - 1)
"""The largest error of exp(-lambda s) at any s: 9e-11 of a mode's initial risk."""
NOISE_ERROR = 4 * 2**0.5 * RATE ** (1 - POINTS) / (RATE - 1)
"""The largest error of an integral of exp(-lambda u) over 0 < u < s, relative to it: 1.3e-10."""
OCTAVES = 60
"""Modes slower than 2^-60 = 1e-18 of the fastest are put in one interval that ends at zero; errors are as stated for s
at which these modes have not moved."""
BLOCK = 1 << 15
"""Modes worked on at once, so that their arrays fit into cache."""


def compress(decay: Float[np.ndarray, " d"], weights: Float[np.ndarray, "p d"]):
    """(k,) nodes and (p, k) weights with sum_i weights_qi f(decay_i) = sum_j new_qj f(nodes_j).

    Holds for f(lambda) = exp(-lambda s) up to ``ERROR`` sum_i |weights_qi| at every s >= 0. Octaves of at most
    ``POINTS`` modes keep them, so k <= min(d, POINTS (OCTAVES + 1)); condition numbers of 10^6 and 10^12 give k of at
    most 280 and 560. Source: Trefethen, Approximation Theory and Approximation Practice, theorem 8.2.
    """
    octave = np.minimum(np.log2(decay.max() / np.maximum(decay, TINY)), OCTAVES).astype(np.int32)
    count = np.bincount(octave, minlength=OCTAVES + 1)
    sparse = count[octave] <= POINTS
    crowded = np.flatnonzero(count > POINTS)
    high = decay.max() * 2.0**-crowded
    low = np.where(crowded < OCTAVES, high / 2, 0.0)
    row = np.searchsorted(crowded, np.arange(OCTAVES + 1)).astype(np.int32)
    moments = np.zeros((len(weights), POINTS, crowded.size))
    for start in range(0, decay.size, BLOCK):
        part = slice(start, start + BLOCK)
        moving = ~sparse[part]
        r = row[octave[part][moving]]
        x = (2 * decay[part][moving] - high[r] - low[r]) / (high[r] - low[r])
        _add_moments(moments, r, x, weights[:, part][:, moving])
    points = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    order = np.arange(POINTS)
    lagrange = (2 - (order == 0)) / POINTS * np.cos(order * np.arccos(points)[:, None])  # Lagrange from Chebyshev
    nodes = (high + low) / 2 + (high - low) / 2 * points[:, None]
    new = (lagrange @ moments).reshape(len(weights), -1)
    return np.concatenate([nodes.ravel(), decay[sparse]]), np.concatenate([new, weights[:, sparse]], axis=1)


def _add_moments(moments, row, x, weights):
    """moments[q, k, r] += sum of weights_qi T_k(x_i) over the modes i of row r."""
    before, now = x, np.ones_like(x)  # T_-1 = T_1 = x and T_0 = 1
    for k in range(POINTS):
        for q, w in enumerate(weights):
            moments[q, k] += np.bincount(row, weights=w * now, minlength=moments.shape[2])
        before, now = now, 2 * x * now - before
