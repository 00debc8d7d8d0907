"""Noise of any symmetric or asymmetric density."""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import integrate, special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _log_grid, _logistic_grid
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.support import arguments as check


class Density(NoiseLaw):
    """eps with the probability density ``pdf``, integrated by adaptive quadrature.

    ``pdf`` maps a NumPy array to a NumPy array and must integrate to one over ``support``. Pass
    ``second_moment`` (``float("inf")`` for heavy tails) when known; it is integrated otherwise. ``points``
    lists places where the density is sharp or jumps, for the quadrature to look at.

    Raises TypeError or ValueError if ``pdf`` is not a function that maps an array to finite values >= 0 of its
    shape and integrates to 1 over ``support``, or ``support`` not an interval.
    """

    pdf: Callable = eqx.field(static=True)
    moment: float
    quartic: float
    table: LogLogTable
    quantiles: Float[np.ndarray, " n"]
    levels: Float[np.ndarray, " n"]

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
        self.moment = (
            quadrature.moment(2)
            if second_moment is None
            else check.real("second_moment", second_moment, nonnegative=True, allow_inf=True)
        )
        self.quartic = quadrature.moment(4) if np.isfinite(self.moment) else np.inf
        self.table = quadrature.gaussian_factor_table()
        self.quantiles, self.levels = quadrature.quantiles()

    def sample(self, key, shape, dtype=jnp.float32):
        levels, quantiles = jnp.asarray(self.levels, dtype), jnp.asarray(self.quantiles, dtype)
        return jnp.interp(jax.random.uniform(key, shape, dtype), levels, quantiles)

    def gaussian_factor(self, a):
        return self.table(a)

    def quadrature(self, n=256):
        x, step = _logistic_grid(n)
        weights = special.expit(x) * special.expit(-x) * step
        return np.interp(special.expit(x), self.levels, self.quantiles), weights / weights.sum()

    @property
    def second_moment(self):
        return self.moment

    @property
    def fourth_moment(self):
        return self.quartic

    @property
    def density_at_zero(self):
        return float(np.asarray(self.pdf(np.zeros(1)))[0])


class _Quadrature:
    """Adaptive quadrature against a density: sinh-spaced nodes resolve both the centre and the tails."""

    def __init__(self, pdf, low, high, points):
        self.pdf, self.points = pdf, points
        self.low, self.high = np.arcsinh(low), np.arcsinh(high)
        self.low, self.high = max(self.low, -60.0), min(self.high, 60.0)
        total = self.integrate(lambda e: 1.0)
        if not np.isfinite(total) or abs(total - 1) > 1e-5:
            raise ValueError(f"pdf must integrate to 1 over its support, got {total:.6g}")

    def density(self, e):
        e = np.atleast_1d(np.asarray(e, np.float64))
        try:
            value = np.asarray(self.pdf(e), np.float64)
        except (TypeError, ValueError, IndexError) as error:
            raise TypeError(f"pdf must map an array to an array of its shape; it raised {error}") from error
        if value.shape != e.shape:
            raise ValueError(f"pdf must map an array of shape {e.shape} to one of that shape, got {value.shape}")
        if not np.all(np.isfinite(value)) or np.any(value < 0):
            raise ValueError(f"pdf must be finite and >= 0, got {value.ravel()[0]:g} near {float(np.ravel(e)[0]):g}")
        return value

    def integrate(self, function, low=None, high=None):
        low, high = self.low if low is None else low, self.high if high is None else high
        if not low < high:
            return 0.0
        centres = np.arcsinh(self.points)
        around = np.concatenate([[0.0], *([sign * 10.0**k] for k in range(-5, 1) for sign in (-1, 1))])
        points = np.unique(np.concatenate([np.add.outer(centres, around).ravel(), np.arange(-60.0, 61.0)]))
        points = points[(points > low) & (points < high)]
        value, _ = integrate.quad_vec(
            lambda u: self.density(np.sinh(u))[0] * np.cosh(u) * function(np.sinh(u)),
            low, high, points=points, epsabs=1e-13, epsrel=1e-11, norm="max", limit=4000,
        )  # fmt: skip
        return value

    def moment(self, power):
        # Integrals between growing cut-offs (in arcsinh e) fall geometrically if the tail is integrable.
        edges = np.arange(0.0, 61.0, 5.0)
        rings = [
            self.integrate(lambda e: e**power, max(self.low, -hi), max(self.low, -lo))
            + self.integrate(lambda e: e**power, min(self.high, lo), min(self.high, hi))
            for lo, hi in itertools.pairwise(edges)
        ]
        before, last = rings[-2:]
        if last <= 1e-9 * sum(rings):
            return float(sum(rings))
        ratio = last / before
        return float(sum(rings) + last * ratio / (1 - ratio)) if ratio < 0.999 else np.inf

    def gaussian_factor_table(self):
        log_a = _log_grid()
        a = np.exp(log_a)
        return LogLogTable(log_a, np.log(np.maximum(self.integrate(lambda e: np.exp(-a * e**2)), TINY)))

    def quantiles(self):
        u = np.unique(np.concatenate([np.linspace(self.low, self.high, 20001), np.arcsinh(self.points)]))
        e = np.sinh(u)
        middle = self.density(np.sinh((u[:-1] + u[1:]) / 2)) * np.cosh((u[:-1] + u[1:]) / 2)
        ends = self.density(e) * np.cosh(u)
        mass = np.diff(u) * (ends[:-1] + 4 * middle + ends[1:]) / 6
        levels = np.concatenate([[0.0], np.cumsum(mass)])
        keep = np.concatenate([[True], np.diff(levels) > 0])
        return e[keep], levels[keep] / levels[-1]
