"""Noise of any symmetric or asymmetric density."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _log_grid, _logistic_grid
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.support import arguments as check


class Density(NoiseLaw):
    """eps with the probability density ``pdf``, integrated by adaptive quadrature and sampled by inverse transform.

    ``pdf`` maps a NumPy array to a NumPy array and must integrate to one over ``support``. Pass
    ``second_moment`` (``float("inf")`` for heavy tails) when known; it is integrated otherwise. Its mass is looked
    for at all distances from 0, and found where it is at least about 1e-6 of its distance wide; ``points`` lists places
    where it is sharper, for the quadrature to look at.

    Raises TypeError or ValueError if ``pdf`` is not a function that maps an array to finite values >= 0 of its
    shape and integrates to 1 over ``support``, ``support`` not an interval, or ``second_moment`` not that of ``pdf``.
    """

    pdf: Callable = eqx.field(static=True)
    moment: float
    quartic: float
    table: LogLogTable
    quantiles: Float[np.ndarray, " n"]
    logits: Float[np.ndarray, " n"]

    def __init__(self, pdf, support=(-np.inf, np.inf), second_moment=None, points=()):
        if not callable(pdf):
            raise TypeError(f"pdf must be a function of an array, got {check.describe(pdf)}")
        if not isinstance(support, (tuple, list)) or len(support) != 2:
            raise TypeError(f"support must be a pair of numbers, got {check.describe(support)}")
        low, high = (check.real("support", end, allow_inf=True) for end in support)
        if not low < high:
            raise ValueError(f"support must be an interval (low, high), got ({low:g}, {high:g})")
        if not isinstance(points, (tuple, list)) and np.ndim(points) != 1:
            raise TypeError(f"points must be a sequence of numbers, got {check.describe(points)}")
        inner = [p for p in check.array("points", [0.0] if len(points) == 0 else points, ndim=1) if low < p < high]
        self.pdf = pdf
        quadrature = _Quadrature(pdf, low, high, inner)
        self.moment = quadrature.moment(2)
        if second_moment is not None:
            given = check.real("second_moment", second_moment, nonnegative=True, allow_inf=True)
            if quadrature.ends_before_cut(2) and not abs(given - self.moment) <= 0.01 * self.moment:
                raise ValueError(f"second_moment must be that of pdf, which is {self.moment:.6g}, got {given:.6g}")
            self.moment = given
        self.quartic = quadrature.moment(4) if np.isfinite(self.moment) else np.inf
        self.table = quadrature.gaussian_factor_table()
        self.quantiles, self.logits = quadrature.quantiles()

    def sample(self, key, shape, dtype=jnp.float32):
        logits, quantiles = jnp.asarray(self.logits, dtype), jnp.asarray(self.quantiles, dtype)
        bits = jax.random.bits(key, shape, jnp.uint32)
        # Of P and of 1 - P all digits: a float32 in (0, 1) has few of the upper tail, and none of the lower one at 0.
        below, above = (jnp.log((part.astype(dtype) + 0.5) * 2.0**-32) for part in (bits, ~bits))
        return jnp.interp(below - above, logits, quantiles)

    def gaussian_factor(self, a):
        return self.table(a)

    def quadrature(self, n=256):
        x, step = _logistic_grid(n)
        weights = special.expit(x) * special.expit(-x) * step
        return np.interp(x, self.logits, self.quantiles), weights / weights.sum()

    @property
    def second_moment(self):
        return self.moment

    @property
    def fourth_moment(self):
        return self.quartic

    @property
    def density_at_zero(self):
        return float(np.asarray(self.pdf(np.zeros(1)))[0])


NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)
FARTHEST = 60.0
"""Largest |u|, where eps = sinh(u): 6e25."""
GRADED = np.concatenate([[0.0], *(sign * 10.0 ** np.arange(-16, 0.01, 0.125) for sign in (-1, 1))])
"""Distances from 0 and from given points at which panels end: exp(-a eps^2) is smooth between them for every a."""
UNIFORM = np.arange(-FARTHEST, FARTHEST + 0.1, 0.25)
RTOL, LEAST, NARROWEST = 1e-10, 1e-290, 1e-14
"""A panel is halved until that changes its mass by less than the first fraction, where it is more than the second and
the panel wider than the third (of 1 + |u|)."""
PARTS = 16
"""Parts of a panel between which quantiles are interpolated."""
RINGS = np.arange(0.0, FARTHEST + 1, 5.0)
"""|u| at which the growth of a moment with the cut-off is looked at."""


class _Quadrature:
    """Adaptive quadrature against a density, in u = arcsinh(eps), which resolves both the centre and the tails.

    Gauss's rule on panels that are halved where the density changes. One evaluation of it serves every integral: the
    nodes ``e`` have the masses ``mass``, each (panels, 10), and the panels the ``edges``, (panels, 2).
    """

    def __init__(self, pdf, low, high, points):
        self.pdf = pdf
        low, high = max(np.arcsinh(low), -FARTHEST), min(np.arcsinh(high), FARTHEST)
        around = np.add.outer(np.append(np.arcsinh(points), 0.0), GRADED).ravel()
        places = np.concatenate([UNIFORM, around, [low, high]])
        self._take(places, low, high)
        if abs(self.total - 1) > 1e-5:
            self._take(np.concatenate([places, self._where_positive(low, high)]), low, high)
        if not abs(self.total - 1) <= 1e-5:
            raise ValueError(
                f"pdf must integrate to 1 over its support, got {self.total:.6g}; points= says where it is narrow"
            )

    def _take(self, places, low, high):
        """Panels between ``places``, halved where they must be, and their masses."""
        edges = np.unique(np.clip(places, low, high))
        left, right = edges[:-1], edges[1:]
        mass, done = self._masses(left, right), []
        while left.size:
            middle = (left + right) / 2
            halves = self._masses(left, middle), self._masses(middle, right)
            whole, both = mass.sum(axis=1), halves[0].sum(axis=1) + halves[1].sum(axis=1)
            tolerance = np.maximum(RTOL, self._rounding(left, right, mass))
            coarse = (np.abs(both - whole) > tolerance * both) & (np.maximum(both, whole) > LEAST)
            coarse &= right - left > NARROWEST * (1 + np.abs(left))
            done.append((left[~coarse], right[~coarse], mass[~coarse]))
            left, right = (
                np.concatenate(pair) for pair in ((left[coarse], middle[coarse]), (middle[coarse], right[coarse]))
            )
            mass = np.concatenate([half[coarse] for half in halves])
        left, right, mass = (np.concatenate(parts) for parts in zip(*done, strict=True))
        order = np.argsort(left)
        self.edges, self.mass = np.stack([left, right], axis=1)[order], mass[order]
        self.e = np.sinh(self._nodes(*self.edges.T))
        self.total = float(self.mass.sum())

    @staticmethod
    def _nodes(left, right):
        return (left + right)[:, None] / 2 + (right - left)[:, None] / 2 * NODES

    def _masses(self, left, right):
        u = self._nodes(left, right)
        return (right - left)[:, None] / 2 * WEIGHTS * self.density(np.sinh(u).ravel()).reshape(u.shape) * np.cosh(u)

    @staticmethod
    def _rounding(left, right, mass):
        """Relative errors of panels from the rounding of u, by how steep the density is."""
        logs = np.log(np.maximum(mass / WEIGHTS, TINY))
        return 4 * np.finfo(float).eps * (1 + np.abs(left)) / (right - left) * np.ptp(logs, axis=1)

    def _where_positive(self, low, high):
        """Ends of the stretches in which the density is positive on a fine grid, and places inside of them."""
        fine = np.concatenate(
            [np.linspace(-FARTHEST, -20, 2**16), np.linspace(-20, 20, 2**20), np.linspace(20, FARTHEST, 2**16)]
        )
        u = np.unique(np.clip(fine, low, high))
        positive = np.concatenate([[False], self.density(np.sinh(u)) > 0, [False]])
        first, last = np.flatnonzero(np.diff(positive.astype(int))).reshape(-1, 2).T
        ends = zip(u[np.maximum(first - 1, 0)], u[np.minimum(last, u.size - 1)], strict=True)
        return np.concatenate([np.zeros(0), *(np.linspace(a, b, 65) for a, b in ends)])

    def density(self, e):
        """The density at ``e`` (n,), checked."""
        try:
            with np.errstate(under="ignore"):
                value = np.asarray(self.pdf(e), np.float64)
        except (TypeError, ValueError, IndexError) as error:
            raise TypeError(f"pdf must map an array to an array of its shape; it raised {error}") from error
        if value.shape != e.shape:
            raise ValueError(f"pdf must map an array of shape {e.shape} to one of that shape, got {value.shape}")
        bad = ~np.isfinite(value) | (value < 0)
        if bad.any():
            at = int(np.argmax(bad))
            raise ValueError(f"pdf must be finite and >= 0, got {value[at]:g} near {e[at]:g}")
        return value

    def _rings(self, power):
        """E[eps^power] between growing cut-offs."""
        parts = np.sum(self.mass * self.e**power, axis=1) / self.total
        ring = np.searchsorted(RINGS, np.abs(self.edges.mean(axis=1))) - 1
        return np.bincount(ring, parts, minlength=RINGS.size - 1)

    def ends_before_cut(self, power) -> bool:
        """Whether nothing of the moment is beyond the last cut-off."""
        rings = self._rings(power)
        return bool(rings[-1] <= 1e-9 * rings.sum())

    def moment(self, power) -> float:
        """E[eps^power]. Between the cut-offs it falls geometrically if the tail is integrable."""
        rings = self._rings(power)
        before, last = rings[-2:]
        if self.ends_before_cut(power):
            return float(rings.sum())
        ratio = last / before if before > 0 else np.inf
        return float(rings.sum() + last * ratio / (1 - ratio)) if ratio < 0.999 else np.inf

    def gaussian_factor_table(self):
        log_a, mass, squares = _log_grid(), self.mass.ravel() / self.total, self.e.ravel() ** 2
        used = mass > 0
        with np.errstate(under="ignore"):
            factor = np.array([mass[used] @ np.exp(-a * squares[used]) for a in np.exp(log_a)])
        return LogLogTable(log_a, np.log(np.maximum(factor, TINY)))

    def quantiles(self):
        """Quantiles, and log P / (1 - P) at them."""
        splits = np.linspace(0.0, 1.0, PARTS + 1)
        u = self.edges[:, :1] + (self.edges[:, 1:] - self.edges[:, :1]) * splits
        u = np.append(u[:, :-1].ravel(), self.edges[-1, 1])
        mass = self._masses(u[:-1], u[1:]).sum(axis=1)
        below, above = np.append(0.0, np.cumsum(mass)), np.append(np.cumsum(mass[::-1])[::-1], 0.0)
        inside = (below > TINY) & (above > TINY)
        logits = np.log(below[inside]) - np.log(above[inside])
        # Where no mass is, the last place of one part and the first of the next have one level.
        kept = np.append(True, np.diff(logits) > 0) | np.append(np.diff(logits) > 0, True)
        return np.sinh(u[inside][kept]), logits[kept]
