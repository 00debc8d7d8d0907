"""The modes of K = I + U diag(s) U', U (d, k), when the bulk of its spectrum is narrow: O(d k^2) work.

S = D^(-p/2) K D^(-p/2) = D^-p + V diag(s) V', V = D^(-p/2) U, is diagonalized (Rayleigh-Ritz) on the span of
V, D^(p/2) delta and D^-p times these. The rest, the bulk, where no delta has a part, gets eigenvalues distributed like
the entries of D^-p, shifted and stretched to the exact tr S and tr S^2.

For p = 0 that is exact: the bulk is the eigenvalue 1. For p = 1 the bulk has a width of O(s/d) for random directions,
and what is left out is of third order in it. The noise uses b(Khat) = (1 - b'(0)) I + b'(0) Khat + O(Khat_ij^3), so

    c_i = (1 - b'(0)) q_i' D^(2-p) q_i + b'(0) lambda_i,

which is exact for b(r) = r and sums to the exact trace, tr D^(2-p). ``error`` says how much the risk may be off.
"""

import numpy as np
from jaxtyping import Float

from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.modes.dense import LARGEST_DENSE

SMALL = 1e-9
"""Correlation at which b(r) / r is b'(0) to rounding."""


def is_accurate(covariance, power: int, basis) -> bool:
    """Whether ``modes`` is as good as eigenvectors; where those are out of reach, within solve_ode's tolerance."""
    return error(covariance, power, basis) <= (1e-8 if covariance.d <= LARGEST_DENSE else 1e-6)


def error(covariance, power: int, basis) -> float:
    """An estimate of the relative error of the risk, the larger of two parts.

    The third power of the bulk's relative width; and, of the risk sum_i lambda_i c_i that noise adds per unit time,
    the fraction in the spikes times the error of c_i from |b(r) - b'(0) r| <= C |r|^3, at most
    C sum_i (|s|-weighted r_ii)^3.
    """
    d, s = covariance.d, np.abs(covariance.strengths)
    if d <= 4 * s.size + 4:
        return np.inf
    bulk = covariance.std ** -float(power)
    width = np.std(bulk) / np.mean(bulk)
    largest = (covariance.directions**2 @ s) / covariance.std**2
    top = min(max(float(largest.max()), 1e-3), 1.0)
    cubic = max(abs(kernel_basis(name, top) - slope(name) * top) / top**3 for name in basis)
    fraction = np.sum(1 + covariance.strengths) / np.sum(covariance.std**2)
    return float(max(width**3, fraction * cubic * np.sum(largest**3)))


def slope(name: str) -> float:
    """b'(0)."""
    return float(kernel_basis(name, SMALL) / SMALL)


def modes(covariance, power: int, basis, deltas: Float[np.ndarray, "v d"]):
    """(lambda, w of every delta, c): first those of the span, then the bulk."""
    std = covariance.std
    free = std ** -float(power)
    V, starts = covariance.directions * np.sqrt(free)[:, None], deltas / np.sqrt(free)
    values, vectors = _on_span(free, V, covariance.strengths, starts.T)
    bulk = _bulk(free, V, covariance.strengths, values)
    decay = np.concatenate([values, bulk])
    energy = np.einsum("ij,i,ij->j", vectors, std ** (2 - power), vectors)
    rest = np.sum(std ** (2 - power)) - energy.sum()
    energy = np.concatenate([energy, rest / bulk / np.sum(1 / bulk)])
    forcing = np.stack([(1 - slope(name)) * energy + slope(name) * decay for name in basis])
    return decay, np.concatenate([starts @ vectors, np.zeros((len(deltas), bulk.size))], axis=1), forcing


def _on_span(free, V, strengths, starts):
    """Ritz values and vectors of S = diag(free) + V diag(strengths) V'."""
    seeds = np.column_stack([V, starts])
    span = np.linalg.qr(np.column_stack([seeds, free[:, None] * seeds]))[0]
    overlap = V.T @ span
    values, rotation = np.linalg.eigh(span.T @ (span * free[:, None]) + overlap.T @ (strengths[:, None] * overlap))
    return values, span @ rotation


def _bulk(free, V, strengths, values):
    """Eigenvalues beside ``values``, with what these leave of tr S and tr S^2, both counted from the bulk's centre."""
    size = free.size - values.size
    centre = np.mean(free)
    spikes = strengths[:, None] * (V.T @ V)
    first = np.trace(spikes) - np.sum(values - centre)
    mixed = strengths @ (V**2).T @ (free - centre)
    second = np.sum((free - centre) ** 2) + 2 * mixed + np.sum(spikes * spikes.T) - np.sum((values - centre) ** 2)
    # tr S counts the centre d times: what is left is relative to it.
    mean, variance = first / size, max(second / size - (first / size) ** 2, 0.0)
    grid = (np.arange(size) + 0.5) / size
    shape = np.interp(grid, (np.arange(free.size) + 0.5) / free.size, np.sort(free))
    shape -= shape.mean()
    if not shape.any():
        return np.full(size, centre + mean)
    return centre + mean + shape * np.sqrt(variance / np.mean(shape**2))
