"""Spectrum and target of power-law random features in the limit of many features (theory: section 21).

K = W'HW with W_jk ~ N(0, 1/d) is a sum of d-dimensional rank-one matrices h_j w_j w_j'. Its Stieltjes transform
m(z) = tr(K - z)^-1 / d obeys -1/m = z - (1/d) sum_j h_j / (1 + h_j m). With s = -1/m that is

    z(s) = s (1 - (1/d) sum_j h_j / (h_j - s)),

and z is real along the curve s = u + i w, w > 0, where

    (1/d) sum_j h_j^2 / |h_j - s|^2 = 1:

for each u at most one w, and z increases along it. So eigenvalues lie at z(s), with density Im m / pi, and the energy
lambda (q'theta*)^2 that they carry has the density of Im sum_j h_j b_j^2 s / (z (h_j - s)) / pi; what is left of
sum_j h_j b_j^2 is v^2 = sum_j kappa h_j b_j^2 / (h_j + kappa) with sum_j h_j / (h_j + kappa) = d.
"""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from sdelimit.numerics.floors import TINY

HEAD = 400
"""Variances that are taken one by one; the sum over the others is an integral."""
PANELS, ORDER = 24, 8
"""Gauss-Legendre panels in log j of that integral, and points of each."""
ACROSS = 32
"""Points of the curve across what an isolated variance makes of the spectrum."""
FINE = 5.0
"""Points of the curve in the width of such a part, where parts have just met."""
RIPPLED = 4
"""Parts that have met are still seen up to this many times the index of the first that did."""
PER_OCTAVE = 48
"""Points of the curve in a factor of 2 of u elsewhere."""
NEWTON = 40
TOGETHER = 32
"""Gaps between variances that are looked at together."""
CHUNK = 2**23
"""Numbers of one array of a sum over variances."""


def spectrum_of_sketch(
    v: int, d: int, alpha: float, beta: float
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], float]:
    """Eigenvalues of K, largest first, the squared components of theta* along their vectors, and v^2."""
    j, weight = _nodes(v, d, alpha)
    h, energy = j ** (-2 * alpha), weight * j ** (-2 * (alpha + beta))
    kappa = _root(lambda x: np.sum(weight * h / (h + x)) / d - 1, h.min() * 1e-3, h.sum() + h.max())
    residual = float(np.sum(energy * kappa / (h + kappa)))
    found = [_cells(*_along(s, h, weight, energy, d), count) for s, count in _curve(h, weight, d)]
    eigenvalues, carried = map(np.concatenate, zip(*found, strict=True))
    carried *= (np.sum(energy) - residual) / carried.sum()
    return eigenvalues, carried / eigenvalues, residual


def _nodes(v, d, alpha):
    """j and weights for sums over j = 1..v: whole numbers first, then the points of an integral up to v + 1/2."""
    head = min(v, max(HEAD, int(4 * alpha * np.sqrt(d))))
    j = np.arange(1.0, head + 1)
    if head == v:
        return j, np.ones(v)
    x, w = np.polynomial.legendre.leggauss(ORDER)
    edges = np.linspace(np.log(head + 0.5), np.log(v + 0.5), PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    tail = np.exp((edges[:-1, None] + half * (x + 1)).ravel())
    return np.concatenate([j, tail]), np.concatenate([np.ones(head), (half * w).ravel() * tail])


def _root(function, low, high):
    """The x in (low, high) where ``function``, which falls, is zero; found in log x."""
    return float(np.exp(brentq(lambda x: function(np.exp(x)), np.log(low), np.log(high), xtol=1e-14, rtol=1e-14)))


def _curve(h, weight, d):
    """The points s = u + i w of every part of the spectrum, in the direction of falling u, and its eigenvalues."""
    own = weight == 1  # variances one by one: only those can have a part of their own
    single = h[own]
    top = single[0] * (1 + _root(lambda x: _square(single[0] * (1 + x), h, weight, d) - 1, 1e-9, 1e6))
    low = -_root(lambda x: _square(-x, h, weight, d) - 1, h.min() * 1e-6, 1e6 * np.sum(weight * h))
    parts, edge, first = [], top, single.size
    for k in range(single.size - 1):
        if k % TOGETHER == 0:
            gaps, smallest = _gaps(single[k : k + TOGETHER + 1], h, weight, d)
        gap = gaps[k % TOGETHER]
        if smallest[k % TOGETHER] >= 1 or k + 1 >= d:
            first = k + 1
            break
        above = brentq(lambda u: _square(u, h, weight, d) - 1, gap, single[k] * (1 - 1e-12))
        middle, half = (edge + above) / 2, (edge - above) / 2
        parts.append((middle + half * np.cos(np.linspace(0.0, np.pi, ACROSS)[1:-1]), 1))
        edge = brentq(lambda u: _square(u, h, weight, d) - 1, single[k + 1] * (1 + 1e-12), gap)
    rippled = single[min(RIPPLED * first, single.size) - 1]
    steps = int(np.ceil(np.log(max(edge / rippled, 1.0)) * np.sqrt(d) * FINE)) + 1
    near = np.exp(np.linspace(np.log(edge), np.log(min(rippled, edge)), steps))
    width = near[-1] - low
    rest = low + np.exp(np.linspace(np.log(width), np.log(1e-6 * -low), int(PER_OCTAVE * np.log2(width / -low) + 500)))
    parts.append((np.concatenate([near[:-1], rest]), d - len(parts)))
    return [(_lifted(u, h, weight, d), count) for u, count in parts]


def _square(u, h, weight, d):
    """(1/d) sum_j h_j^2 / (h_j - u)^2."""
    return float(np.sum(weight * (h / (h - u)) ** 2)) / d


def _gaps(single, h, weight, d):
    """Where ``_square`` is smallest between two variances that follow each other, and what it is there."""
    upper, lower = single[:-1].copy(), single[1:].copy()
    for _ in range(60):
        u = (upper + lower) / 2
        slope = _sums(lambda x, h, weight: weight * h**2 / (h - x) ** 3, u, h, weight)
        upper, lower = np.where(slope > 0, u, upper), np.where(slope > 0, lower, u)
    return u, _sums(lambda x, h, weight: weight * (h / (h - x)) ** 2, u, h, weight) / d


def _sums(function, x, h, weight):
    """sum_j function(x, h_j, weight_j) for each x, some at a time."""
    size = max(CHUNK // h.size, 1)
    return np.concatenate([
        np.sum(function(x[i : i + size, None], h, weight), axis=1) for i in range(0, x.size, size)
    ])  # fmt: skip


def _lifted(u, h, weight, d):
    """s = u + i w with (1/d) sum_j h_j^2 / |h_j - s|^2 = 1; w = 0 beyond the edges.

    1 over that sum is a concave function of w^2, so that Newton's method from below never passes the root.
    """

    def one(x, h, weight):
        gap = (h - x[:, :1]) ** 2
        y = np.maximum(np.max(h**2 * np.minimum(weight, 1.0) / d - gap, axis=1), 0.0)
        for _ in range(NEWTON):
            part = weight * h**2 / (gap + y[:, None] + TINY)
            total, slope = np.sum(part, axis=1), np.sum(part / (gap + y[:, None] + TINY), axis=1)
            change = (total / d - 1) * total / slope
            y, last = np.maximum(y + change, 0.0), y
            if np.all(np.abs(y - last) <= 1e-12 * y):
                break
        return y[:, None]

    return u + 1j * np.sqrt(_sums(lambda x, h, weight: one(x, h, weight), u, h, weight))


def _along(s, h, weight, energy, d):
    """z along the points s, the density of eigenvalues times d, and that of the energies they carry."""
    z = s.real - _sums(lambda x, h, weight: (weight * h * x / (h - x)).real, s, h, weight) / d
    carried = _sums(lambda x, h, energy: energy * x / (h - x), s, h, energy)
    return z, d * (-1 / s).imag / np.pi, np.maximum((carried / z).imag / np.pi, 0.0)


def _cells(z, density, energies, count):
    """Mean eigenvalue and energy of each of ``count`` equal shares of one part of the spectrum, the largest first."""
    shares = _cumulative(density, -z)
    shares *= count / shares[-1]
    kept = np.concatenate([[True], np.diff(shares) > 1e-12 * count])
    at = np.arange(count + 1.0)

    def of_cells(values):
        return np.diff(PchipInterpolator(shares[kept], _cumulative(values, -z)[kept])(np.minimum(at, shares[kept][-1])))

    mass = of_cells(density)
    return of_cells(density * z) / mass, of_cells(energies)


def _cumulative(values, x):
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(x))])
