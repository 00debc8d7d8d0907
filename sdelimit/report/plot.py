"""Figures of results. No computation, and no change of matplotlib's global state."""

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sdelimit.numerics.integers import ceil_div
from sdelimit.report.text import BAND, describe_panel, rule_labels
from sdelimit.results.summary import describe_lr

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""The Okabe-Ito palette: distinguishable with any colour vision."""


def plot_reports(reports, path=None) -> Figure:
    """One panel for each model and noise law: ODE line, 10-90% band of the SDE or the ODE, median and range of runs.

    The range is from 10 to 90%.

    Args:
        reports: ``Report`` objects, or objects with ``theory`` None where a rule has no limit.
        path: file name(s) to save to; the suffix chooses the format.

    Returns:
        A matplotlib ``Figure``, which Jupyter displays. It is not registered with pyplot.
    """
    panels = {}
    for report in reports:
        panels.setdefault(describe_panel(report.runs.problem), []).append(report)
    columns = min(len(panels), 3)
    rows = ceil_div(len(panels), columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    labels = rule_labels(r.runs.optimizer for r in reports)
    names = list(labels)
    for axis, (title, group) in zip(axes, panels.items(), strict=False):
        for report in group:
            rule = repr(report.runs.optimizer)
            draw_report(axis, report, COLOURS[names.index(rule) % len(COLOURS)], labels[rule])
        axis.set(title=title, xlabel="time t = steps / d", ylabel="excess risk R(t)", yscale="log")
        axis.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatterSciNotation(minor_thresholds=(1.2, 0.5)))
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
    for axis in axes[len(panels) :]:
        axis.remove()
    handles = {}
    for axis in axes[: len(panels)]:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=_columns(figure, handles),
        frameon=False,
        fontsize=LEGEND_SIZE,
    )
    for name in [path] if isinstance(path, str) or hasattr(path, "__fspath__") else (path or []):
        figure.savefig(name, dpi=150)
    return figure


def draw_report(axis, report, colour, name=None):
    """ODE line, band and run quantiles of one report on a matplotlib axis; ``name`` is what to call the rule."""
    runs = report.runs
    label = f"{name or runs.optimizer.name}, lr {describe_lr(runs.lr)}"
    if report.paths is not None:
        low, high = (_finite(q) for q in report.paths.quantile(BAND))
        axis.fill_between(
            report.paths.t, low, high, color=colour, alpha=0.22, linewidth=0, label=f"{label}: SDE 10-90%"
        )
    elif report.theory is not None and (band := theory_band(report.theory)) is not None:
        axis.fill_between(
            report.theory.t, *map(_finite, band), color=colour, alpha=0.22, linewidth=0, label=f"{label}: ODE 10-90%"
        )
    if report.theory is not None:
        theory, style = report.theory, "-" if report.theory.kind == "ODE" else "--"
        axis.plot(theory.t, _finite(theory.risk), style, color=colour, linewidth=1.8, label=f"{label}: {theory.kind}")
    some = np.unique(np.linspace(0, runs.t.size - 1, 21).astype(int))
    low, middle, high = (_finite(q)[some] for q in runs.quantile((BAND[0], 0.5, BAND[1])))
    axis.errorbar(
        runs.t[some], middle, yerr=[middle - low, high - middle], color=colour, fmt="o", markersize=3.2,
        markerfacecolor="white", elinewidth=0.9, capsize=1.8,
        label=f"{label}: {runs.risk.shape[0]} runs, median and 10-90%",
    )  # fmt: skip


def theory_band(theory):
    """The 10 and 90% quantiles of single runs around a curve; None where they are not known."""
    if not theory.has_spread:
        return None
    try:
        return theory.quantile(BAND)
    except ValueError:  # too large for d x d matrices, where only these would tell
        return None


def _finite(values):
    """Diverged values are left out of the drawing."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


LEGEND_SIZE = 9
"""In points."""
WIDTH_OF_TEXT, WIDTH_OF_HANDLE = 0.6, 4.5
"""Of a letter, and of a line with the space around it, in units of ``LEGEND_SIZE``: neither is wider."""


def _columns(figure, labels) -> int:
    """As many columns of a legend as fit into the figure, at most 3."""
    longest = max(map(len, labels), default=0)
    width = LEGEND_SIZE / 72 * (WIDTH_OF_TEXT * longest + WIDTH_OF_HANDLE)
    return int(np.clip(figure.get_figwidth() / width, 1, min(len(labels), 3) or 1))
