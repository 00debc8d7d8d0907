"""Figures of reports. No computation, and no change of matplotlib's global state."""

import numpy as np

from sdelimit.numerics.integers import ceil_div
from sdelimit.results.plot import (
    LEGEND_SIZE,
    WIDTH,
    NotebookFigure,
    draw_curve,
    entries_of,
    finish_panel,
    legend_below,
    require_axes,
    save_figure,
    style_of,
    with_rate,
)
from sdelimit.results.text import describe_panel, rule_labels


def plot_reports(reports, path=None, ax=None):
    """One panel for each model and noise law: ODE line, 10-90% band of the SDE or the ODE, median and range of runs.

    The range is from 10 to 90%. Panels in a row share their axis of the risk.

    Args:
        reports: ``Report`` objects, or objects with ``theory`` None where a rule has no limit.
        path: file name(s) to save to; the suffix chooses the format.
        ax: axes of matplotlib to draw one panel into, with its legend; default a new figure.

    Returns:
        A matplotlib ``Figure``, which Jupyter displays, and its ``show()`` too. It is not registered with pyplot. With
        ``ax``, ``ax``.

    Raises ValueError if ``ax`` is given for several panels, TypeError if it is no axes.
    """
    panels = {}
    for report in reports:
        panels.setdefault(describe_panel(report.runs.problem), []).append(report)
    require_axes(ax)
    if ax is not None and len(panels) != 1:
        raise ValueError(f"ax must be None for reports of {len(panels)} problems, which have a panel each")
    columns = min(len(panels), 3)
    rows = ceil_div(len(panels), columns)
    figure = NotebookFigure((WIDTH * columns, 3.9 * rows + 0.5)) if ax is None else ax.figure
    axes = [ax] if ax else np.atleast_1d(figure.subplots(rows, columns, squeeze=False, sharey="row")).ravel()
    labels = rule_labels(r.runs.optimizer for r in reports)
    styles = {rule: style_of(i) for i, rule in enumerate(labels)}
    for axis, (title, group) in zip(axes, panels.items(), strict=False):
        for report in group:
            rule = repr(report.runs.optimizer)
            draw_report(axis, report, styles[rule], labels[rule])
        finish_panel(axis, title)
    for axis in axes[len(panels) :]:
        axis.remove()
    axes = axes[: len(panels)]
    for i, axis in enumerate(axes):
        if i % columns:  # the axis of the risk is that of the first in the row
            axis.set_ylabel("")
    entries = entries_of(axes)
    if ax is None:
        legend_below(figure, entries.values(), entries.keys())
    else:
        ax.legend(entries.values(), entries.keys(), frameon=False, fontsize=LEGEND_SIZE)
    save_figure(figure, path)
    return figure if ax is None else ax


def draw_report(axis, report, style, name=None):
    """ODE line, band and run quantiles of one report on a matplotlib axis; ``name`` is what to call the rule."""
    runs, theory = report.runs, report.theory
    label = with_rate(name or runs.optimizer.name, runs)
    if report.paths is not None:
        draw_curve(axis, report.paths, style, label)
    if theory is not None:
        draw_curve(axis, theory, style, label, band=report.paths is None)
    draw_curve(axis, runs, style, label)
