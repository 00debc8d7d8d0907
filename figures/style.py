"""What the figures share: sizes, axes and how runs are drawn."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdelimit.results.plot import COLOURS

__all__ = ["COLOURS", "TIME", "correlated", "draw_runs", "panels"]

TIME = "time t = steps / d"


def panels(columns, rows=1, width=4.6, height=3.6):
    """(figure, flat list of axes with a light grid)."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        axis.grid(alpha=0.25, which="major", linewidth=0.5)
    return figure, axes


def draw_runs(axis, runs, colour, label=None, points=17):
    """Median and 10-90% range of runs at a few times."""
    some = np.unique(np.linspace(0, runs.t.size - 1, points).astype(int))
    low, middle, high = (q[some] for q in runs.quantile((0.1, 0.5, 0.9)))
    axis.errorbar(
        runs.t[some], middle, yerr=[middle - low, high - middle], color=colour, fmt="o", markersize=3,
        markerfacecolor="white", elinewidth=0.8, capsize=1.6, label=label,
    )  # fmt: skip


def correlated(covariance, spread=2.0, seed=0):
    """The covariance with coordinates rescaled by factors between 1/spread and spread."""
    factors = np.exp(np.random.default_rng(seed).uniform(-np.log(spread), np.log(spread), covariance.d))
    return covariance.scaled(factors)
