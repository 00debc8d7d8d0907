"""The compute-optimal frontier of loss curves of several sizes, and its exponents."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

FEWEST = 3
"""Crossings that a fit needs."""
FINE = 400
"""Points in a factor of 10 of compute between which crossings are found by linear interpolation."""


class Exponent(NamedTuple):
    """A slope in logarithms, and by how much it moves with the window it is fitted in; NaN where it has none."""

    value: float
    error: float

    def __str__(self):
        return "-" if np.isnan(self.value) else f"{self.value:.3f} +- {self.error:.3f}"


def on_grid(steps: Float[np.ndarray, " n"], values: Float[np.ndarray, "*m n"], at: Float[np.ndarray, " k"]):
    """Positive values at other numbers of steps, by monotone cubics in logarithms; NaN outside and where infinite."""
    rows = np.atleast_2d(values)
    out = np.full((len(rows), at.size), np.nan)
    for row, target in zip(rows, out, strict=True):
        known = np.isfinite(row) & (row > 0)
        if known.sum() > 1:
            inside = (at >= steps[known][0]) & (at <= steps[known][-1] * (1 + 1e-12))
            curve = PchipInterpolator(np.log(steps[known]), np.log(row[known]))
            target[inside] = np.exp(curve(np.log(at[inside])))
    return out if np.ndim(values) > 1 else out[0]


def crossings(ds, costs, steps, losses) -> Float[np.ndarray, "3 c"]:
    """Compute, size and loss where the curve of one size is overtaken by that of the next at least twice as large.

    The size is the geometric mean of the two. Pairs whose curves do not cross in the range of both are left out.
    """
    found = []
    for i, d in enumerate(ds):
        larger = [j for j in range(i + 1, len(ds)) if ds[j] >= 2 * d * (1 - 1e-2)]
        if not larger:
            continue
        j = larger[0]
        low = max(costs[k] * steps[k][0] for k in (i, j))
        high = min(costs[k] * steps[k][-1] for k in (i, j))
        if high <= low:
            continue
        compute = np.geomspace(low, high, max(int(FINE * np.log10(high / low)), 2))
        ours, theirs = (np.log(on_grid(steps[k], losses[k], compute / costs[k])) for k in (i, j))
        gap = ours - theirs
        turns = np.flatnonzero((gap[:-1] <= 0) & (gap[1:] > 0))
        if turns.size:
            k = turns[-1]
            part = gap[k] / (gap[k] - gap[k + 1])
            at = np.exp(np.interp(part, (0, 1), np.log(compute[k : k + 2])))
            found.append((at, np.sqrt(d * ds[j]), np.exp(np.interp(part, (0, 1), ours[k : k + 2]))))
    return np.array(found).reshape(-1, 3).T


def exponent(compute: Float[np.ndarray, " c"], values: Float[np.ndarray, " c"]) -> Exponent:
    """The slope of log values over log compute by least squares.

    Its error is the largest distance to the slopes of windows of neighbours, half of the points and at least three, or
    the standard error of the fit where that is larger.
    """
    if compute.size < FEWEST:
        return Exponent(np.nan, np.nan)
    x, y = np.log(compute), np.log(values)
    slope, scatter = _line(x, y)
    size = max((x.size + 1) // 2, FEWEST)
    windows = [_line(x[i : i + size], y[i : i + size])[0] for i in range(x.size - size + 1)]
    return Exponent(slope, max(scatter, *(abs(one - slope) for one in windows)))


def _line(x, y):
    """Slope and its standard error."""
    (slope, constant), residuals = np.polyfit(x, y, 1), 0.0
    residuals = y - slope * x - constant
    return float(slope), float(np.sqrt(np.sum(residuals**2) / max(x.size - 2, 1) / np.sum((x - x.mean()) ** 2)))
