"""Figures of results. No computation, and no change of matplotlib's global state."""

import io
import textwrap
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sdelimit.numerics.integers import ceil_div
from sdelimit.report.text import BAND, describe_noise, describe_panel, rule_labels
from sdelimit.results.curves import RiskCurve, RiskCurves
from sdelimit.results.summary import describe_lr
from sdelimit.support import arguments as check

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""The Okabe-Ito palette: distinguishable with any colour vision."""
MORE_COLOURS = ("#332288", "#882255", "#117733", "#999933", "#661100", "#44AA99", "#777777", "#AA4499")
"""For more rules, from Paul Tol's palettes."""
MARKERS = "osD^vP*X<>phd8"
STROKES = ("-", (0, (7, 1.5, 1, 1.5)), (0, (1, 1)))
"""Lines of the theory of the first eight rules, of the next eight, of the others."""
FROM_ROWS = (0, (4, 2))
"""Lines of theories of another kind than the ODE's."""


class Style(NamedTuple):
    """How one rule is drawn: no two of the first hundred share all three."""

    colour: str
    marker: str
    stroke: str | tuple


def style_of(i: int) -> Style:
    """The style of rule number ``i``."""
    colours = (*COLOURS, *MORE_COLOURS)
    stroke = STROKES[min(i // len(COLOURS), len(STROKES) - 1)]
    return Style(colours[i % len(colours)], MARKERS[i % len(MARKERS)], stroke)


class NotebookFigure(Figure):
    """A figure that pyplot does not know, and that ``show()`` displays in a notebook."""

    def __init__(self, size):
        super().__init__(figsize=size, layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self):
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=100)
        return content.getvalue()

    def show(self, warn=True):
        """Display the figure where IPython runs; elsewhere matplotlib's error, since no window belongs to it."""
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            return super().show(warn)
        if get_ipython() is None:
            return super().show(warn)
        display(self)


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
    entries = _entries(axes)
    if ax is None:
        legend_below(figure, entries.values(), entries.keys())
    else:
        ax.legend(entries.values(), entries.keys(), frameon=False, fontsize=LEGEND_SIZE)
    save_figure(figure, path)
    return figure if ax is None else ax


def save_figure(figure, path=None) -> Figure:
    """``figure``, saved to ``path``, a file name or several, if given; the suffix chooses the format."""
    for name in [path] if isinstance(path, str) or hasattr(path, "__fspath__") else (path or []):
        figure.savefig(name, dpi=150)
    return figure


def plot_curves(curves, ax=None, labels=None, band=True):
    """Risk curves on one panel: theory as lines, paths as bands, runs as medians with ranges.

    Args:
        curves: a ``RiskCurve`` or ``RiskCurves``, or a sequence of them; one with an array of learning rates is drawn
            as one curve for each. Curves of the same rule, learning rate and problem share a colour.
        ax: axes of matplotlib to draw into; default a new figure.
        labels: what to call them in the legend, one text for each of ``curves`` (of one with an array of learning
            rates, one for each of those if it is the only one); default the rule, its learning rate, and what else they
            differ in. Curves with the same label share a colour.
        band: whether to draw the 10-90% range of single runs: of paths and runs their own, of the ODE that of
            ``quantile``, where it is known.

    Returns:
        A matplotlib ``Figure``, or with ``ax``, ``ax``.

    Raises TypeError or ValueError, naming the argument, for what is no curve or axes, or a wrong number of labels.
    """
    single, names = _single_curves(curves, labels)
    require_axes(ax)
    band = check.flag("band", band)
    figure = NotebookFigure((WIDTH, 4.4)) if ax is None else ax.figure
    axis = figure.subplots() if ax is None else ax
    styles = {name: style_of(i) for i, name in enumerate(dict.fromkeys(names))}
    for curve, name in zip(single, names, strict=True):
        draw_curve(axis, curve, styles[name], name, band)
    finish_panel(axis)
    entries = _entries([axis])
    if ax is None:
        legend_below(figure, entries.values(), entries.keys())
        return figure
    ax.legend(entries.values(), entries.keys(), frameon=False, fontsize=LEGEND_SIZE)
    return ax


def require_axes(ax):
    """TypeError unless ``ax`` is None or axes of matplotlib."""
    if ax is not None and not isinstance(ax, matplotlib.axes.Axes):
        raise TypeError(f"ax must be axes of matplotlib or None, got {check.describe(ax)}")


def _single_curves(curves, labels):
    """(curves of one learning rate each, the name of each)."""
    curves = [curves] if isinstance(curves, (RiskCurve, RiskCurves)) else list(curves)
    wrong = [curve for curve in curves if not isinstance(curve, (RiskCurve, RiskCurves))]
    if wrong or not curves:
        raise TypeError(f"curves must be risk curves, got {check.describe(wrong[0] if wrong else curves)}")
    single = [part for curve in curves for part in _selected(curve)]
    if labels is None:
        return single, _names(single)
    labels = [labels] if isinstance(labels, str) else [check.text("labels", label) for label in labels]
    if len(labels) == len(single):
        return single, labels
    if len(labels) != len(curves):
        raise ValueError(f"labels must be {len(curves)}, one for each of the curves, got {len(labels)}")
    pairs = zip(curves, labels, strict=True)
    return single, [_with_rate(label, part) for curve, label in pairs for part in _selected(curve)]


def _with_rate(label, curve):
    return f"{label}, learning rate {describe_lr(curve.lr)}"


def _selected(curve):
    return [curve] if np.ndim(curve.lr) < 2 else [curve.select(i) for i in range(len(curve.lr))]


def _names(curves):
    """The rule and its learning rate, and of batch size, dimension and noise those in which curves differ."""
    rules = rule_labels(curve.optimizer for curve in curves)
    parts = [(f"batch {curve.batch_size}", f"d = {curve.problem.d}", describe_noise(curve.problem)) for curve in curves]
    differing = [i for i in range(3) if len({part[i] for part in parts}) > 1]
    return [
        ", ".join([_with_rate(rules[repr(curve.optimizer)], curve), *(part[i] for i in differing)])
        for curve, part in zip(curves, parts, strict=True)
    ]


def finish_panel(axis, title=None):
    """Names and scales of the axes, and a grid."""
    if title is not None:
        axis.set_title(
            wrapped(title, axis.get_window_extent().width / axis.figure.dpi, TITLE_SIZE), fontsize=TITLE_SIZE
        )
    axis.set(xlabel="time t = steps / d", ylabel="excess risk R(t)", yscale="log")
    axis.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatterSciNotation(minor_thresholds=(1.2, 0.5)))
    axis.grid(alpha=0.25, which="both", linewidth=0.5)


def draw_report(axis, report, style, name=None):
    """ODE line, band and run quantiles of one report on a matplotlib axis; ``name`` is what to call the rule."""
    runs, theory = report.runs, report.theory
    label = _with_rate(name or runs.optimizer.name, runs)
    if report.paths is not None:
        draw_curve(axis, report.paths, style, label)
    if theory is not None:
        draw_curve(axis, theory, style, label, band=report.paths is None)
    draw_curve(axis, runs, style, label)


def draw_curve(axis, curve, style, label, band=True):
    """One curve: theory as a line with its band, paths as a band, runs as medians with bars."""
    if isinstance(curve, RiskCurve):
        if band and (edges := theory_band(curve)) is not None:
            _draw_band(axis, curve.t, edges, style, f"{label}: {curve.kind} 10-90%")
        stroke = style.stroke if curve.kind == "ODE" else FROM_ROWS
        axis.plot(
            curve.t, _finite(curve.risk), linestyle=stroke, color=style.colour, linewidth=1.8,
            label=f"{label}: {curve.kind}",
        )  # fmt: skip
    elif curve.kind == "sde" and band:
        _draw_band(axis, curve.t, curve.quantile(BAND), style, f"{label}: SDE 10-90%")
    elif curve.kind == "sde":
        axis.plot(
            curve.t, _finite(curve.quantile(0.5)), linestyle=(0, (3, 1)), color=style.colour, linewidth=1.2,
            label=f"{label}: SDE, median",
        )  # fmt: skip
    else:
        _draw_runs(axis, curve, style, label, band)


def _draw_band(axis, t, edges, style, label):
    low, high = (_finite(edge) for edge in edges)
    axis.fill_between(t, low, high, color=style.colour, alpha=0.22, linewidth=0, label=label)


def _draw_runs(axis, runs, style, label, band):
    some = np.unique(np.linspace(0, runs.t.size - 1, 21).astype(int))
    low, middle, high = (_finite(q)[some] for q in runs.quantile((BAND[0], 0.5, BAND[1])))
    axis.errorbar(
        runs.t[some], middle, yerr=[middle - low, high - middle] if band else None, color=style.colour,
        fmt=style.marker, markersize=3.2 if style.marker == "o" else 4, markerfacecolor="white", elinewidth=0.9,
        capsize=1.8, label=f"{label}: {runs.risk.shape[0]} runs, median{' and 10-90%' if band else ''}",
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


GREY = "0.35"
RUNS_HANDLE = (
    Line2D([], [], linestyle="none", marker="|", markersize=11, color=GREY),
    Line2D([], [], linestyle="none", marker="o", markersize=4, color=GREY, markerfacecolor="white"),
)
WORDS = {
    "ODE": "theory (ODE)",
    "data ODE": "theory from the rows (data ODE)",
    "ODE 10-90%": "theory of runs, 10-90% (ODE)",
    "SDE 10-90%": "theory of runs, 10-90% (SDE)",
    "SDE, median": "theory of runs, median (SDE)",
}
"""What legends call the kinds of drawing, in their order; runs come last."""


def _entries(axes) -> dict:
    """{text: handle} of a legend: one entry for each rule, by its colour, and one for each kind of drawing, in grey.

    What is drawn is labelled "rule, learning rate: kind".
    """
    rules, kinds = {}, {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            rule, _, kind = label.rpartition(": ")
            kinds.setdefault(kind, _add(rules.setdefault(rule, Line2D([], [], linestyle="none")), handle, kind))
    order = [*(kind for kind in WORDS if kind in kinds), *(kind for kind in kinds if kind not in WORDS)]
    return rules | {WORDS.get(kind, kind): kinds[kind] for kind in order}


def _add(entry, handle, kind):
    """Make the rule's ``entry`` look like a drawing of it too; the entry of all drawings of this kind."""
    if isinstance(handle, tuple):  # runs, with bars
        entry.set(color=handle[0].get_color(), marker=handle[0].get_marker(), markersize=4, markerfacecolor="white")
        return RUNS_HANDLE
    if not isinstance(handle, Line2D):
        entry.set_color(handle.get_facecolor()[0][:3])
        return Patch(color=GREY, alpha=0.22, linewidth=0)
    if kind == "ODE" or entry.get_linestyle() == "None":
        marker = entry.get_marker()
        entry.update_from(handle)
        entry.set(marker=marker, markersize=4, markerfacecolor="white")
    line = Line2D([], [])
    line.update_from(handle)
    line.set_color(GREY)
    return line


LEGEND_SIZE, TITLE_SIZE = 9, 11
"""In points."""
WIDTH = 5.2
"""Of a panel, in inches."""
WIDTH_OF_LETTER = 0.6
"""In units of the size: few letters are wider."""
ROOM = 0.5
"""Height that is meant for the legend, in inches."""


def legend_below(figure, handles, labels):
    """A legend under the panels, in as many columns as fit, at most 4; the figure grows where it needs more room."""
    labels = [wrapped(label, figure.get_figwidth() - 0.8, LEGEND_SIZE) for label in labels]
    given = {"loc": "outside lower center", "frameon": False, "fontsize": LEGEND_SIZE}
    for columns in range(min(len(labels), 4), 0, -1):
        legend = figure.legend(list(handles), labels, ncols=columns, **given)
        extent = legend.get_window_extent(figure.canvas.get_renderer())
        if columns == 1 or extent.width <= 0.98 * figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + max(0.0, extent.height / figure.dpi - ROOM))
    return legend


def wrapped(text: str, inches: float, size: float) -> str:
    """``text`` in lines of at most that width, with letters of ``size`` points."""
    letters = max(int(72 * inches / (WIDTH_OF_LETTER * size)), 8)
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, letters) or [""])
