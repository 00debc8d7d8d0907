"""Figures of a sweep: heat maps over (learning rate, another axis), and best learning rates. No computation."""

import textwrap

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sdelimit.experiments.best import GROUP, best_rates, seed_means
from sdelimit.experiments.cell import with_means
from sdelimit.results.plot import NotebookFigure, legend_below, style_of
from sdelimit.support import arguments as check

AXES = GROUP[1:]
LABELS = {"d": "dimension", "covariance": "covariance", "noise": "label noise", "batch_size": "batch size",
          "model": "model"}  # fmt: skip
PLAIN = "model", "linear"
"""What titles need not say."""
KINDS = {"theory": "theory (ODE)", "run": "runs (mean)"}
FAR = 1e3
"""Risks more than so many times the lowest of every row of a heat map have a colour of their own, beyond the scale."""
COLOUR_MAP = colormaps["cividis"].with_extremes(over="#E59866")


def plot_sweep(sweep, axis=None) -> dict[str, Figure]:
    """{name: figure}: for each choice of the other axes a heat map and the best learning rates."""
    done = with_means(sweep.rows)
    values = {name: list(dict.fromkeys(row[name] for row in done)) for name in AXES}
    if not done:
        raise ValueError("a figure needs at least one cell that is done, got none")
    if not _has_risk(done):
        raise ValueError(f"no cell has a risk to draw: the column reason of {sweep.folder / 'table.csv'} says why")
    axis = check.choice("axis", max(AXES, key=lambda name: len(values[name])) if axis is None else axis, AXES)
    others = [name for name in AXES if name != axis]
    choices = list(dict.fromkeys(tuple(row[name] for name in others) for row in done))
    figures = {}
    for i, choice in enumerate(choices):
        rows = [row for row in done if tuple(row[name] for name in others) == choice]
        fixed = dict(zip(others, choice, strict=True))
        named = [f"{LABELS[name]} = {value}" for name, value in fixed.items() if (name, value) != PLAIN]
        title = ", ".join([*named, f"t = {sweep.settings['t_max']:g}"])
        suffix = f"-{i + 1}" if len(choices) > 1 else ""
        if not _has_risk(rows):
            continue
        figures[f"heat-map{suffix}"] = heat_maps(rows, axis, values[axis], title)
        if len(values[axis]) > 1:
            figures[f"best-lr{suffix}"] = best_lr_curves(rows, axis, title)
        else:
            figures[f"risk{suffix}"] = risk_curves(rows, f"{LABELS[axis]} = {values[axis][0]}, {title}")
    return figures


def _has_risk(rows):
    """Whether one rate has a risk for every seed."""
    return any(mean[kind] is not None for own in seed_means(rows).values() for mean in own.values() for kind in KINDS)


def heat_maps(rows, axis, axis_values, title) -> Figure:
    """Risk at t_max by colour over (lr, ``axis``): a column for each optimizer; theory above, runs below."""
    means = seed_means(rows)
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows))
    rates = {o: list(dict.fromkeys(row["lr"] for row in rows if row["optimizer"] == o)) for o in optimizers}
    kinds = [kind for kind in KINDS if any(m[kind] is not None for own in means.values() for m in own.values())]
    size = max(len(r) for r in rates.values())
    figure = NotebookFigure(
        (1.6 + len(optimizers) * max(3.0, 0.5 * size + 1), 1.4 + len(kinds) * max(1.5, 0.45 * len(axis_values) + 0.9))
    )
    panels = figure.subplots(len(kinds), len(optimizers), squeeze=False)
    grids = {(kind, o): _grid(means, kind, o, axis, axis_values, rates[o]) for kind in kinds for o in optimizers}
    finite = np.concatenate([g[np.isfinite(g) & (g > 0)] for g, _ in grids.values()])
    top = _highest_colour([grid for grid, _ in grids.values()])
    norm = LogNorm(finite.min(), top * (1 + 1e-9)) if finite.size else LogNorm(0.1, 1)
    image = None
    for panel, ((kind, o), (grid, missing)) in zip(panels.ravel(), grids.items(), strict=True):
        image = _heat_map(panel, grid, missing, norm)
        panel.set_title(f"{o}: {KINDS[kind]}", fontsize=10)
        panel.set_xticks(range(len(rates[o])), [_rate(lr) for lr in rates[o]], rotation=60, fontsize=8)
        panel.set_yticks(range(len(axis_values)), [str(v) for v in axis_values], fontsize=8)
        panel.set(xlabel="learning rate", ylabel=LABELS[axis])
    extend = "max" if finite.size and finite.max() > top else "neither"
    bar = figure.colorbar(image, ax=panels, label="excess risk R(t)", fraction=0.05, extend=extend)
    bar.ax.tick_params(which="both", labelsize=8)
    _title(figure, title)
    handles = _heat_map_legend()
    if extend == "max":
        handles.append(Patch(color=COLOUR_MAP.get_over(), label=f"more than {FAR:.0f} times the lowest"))
    legend_below(figure, handles, [handle.get_label() for handle in handles])
    return figure


def _highest_colour(grids) -> float:
    """The largest risk up to ``FAR`` times the lowest one at that value of the axis at which it is largest."""
    risks = np.concatenate(grids, axis=1)
    known = np.isfinite(risks) & (risks > 0)
    lowest = np.min(risks, axis=1, where=known, initial=np.inf)[known.any(axis=1)]
    return np.max(risks, where=known & (risks <= FAR * np.max(lowest, initial=0.0)), initial=0.0)


def _grid(means, kind, optimizer, axis, axis_values, rates):
    """(risk, whether there is none) as arrays (axis values, rates)."""
    risk, missing = np.full((2, len(axis_values), len(rates)), np.nan)
    place = GROUP.index(axis)
    for group, own in means.items():
        if group[0] == optimizer:
            for lr, mean in own.items():
                at = axis_values.index(group[place]), rates.index(lr)
                risk[at] = np.nan if mean[kind] is None else mean[kind]
                missing[at] = mean[kind] is None
    return risk, missing == 1


def _heat_map(panel, risk, missing, norm):
    image = panel.imshow(np.where(np.isfinite(risk), risk, np.nan), norm=norm, cmap=COLOUR_MAP, aspect="auto")
    for y, x in np.argwhere(np.isinf(risk)):
        panel.add_patch(matplotlib.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, **_DIVERGED))
    for y, x in np.argwhere(missing):
        panel.plot(x, y, **_MISSING)
    for y, row in enumerate(risk):
        if np.isfinite(row).any():
            panel.plot(int(np.nanargmin(np.where(np.isfinite(row), row, np.nan))), y, **_BEST)
    return image


_DIVERGED = {"facecolor": "0.85", "edgecolor": "0.45", "hatch": "///", "linewidth": 0}
_MISSING = {"marker": "x", "color": "0.3", "linestyle": "none"}
_BEST = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": "black", "linestyle": "none"}


def _heat_map_legend():
    return [
        Line2D([], [], **_BEST, label="lowest in its row"),
        Patch(**_DIVERGED, label="diverged"),
        Line2D([], [], **_MISSING, label="no theory, no mean, or failed"),
    ]


def best_lr_curves(rows, axis, title) -> Figure:
    """The best learning rate, and the risk it gives, along ``axis``: lines are theory, points are runs."""
    best = best_rates(rows)
    figure = NotebookFigure((8.6, 4.2))
    panels = figure.subplots(1, 2)
    values = list(dict.fromkeys(entry[axis] for entry in best))
    numeric = axis in ("d", "batch_size")
    where = {value: value if numeric else i for i, value in enumerate(values)}
    for i, optimizer in enumerate(dict.fromkeys(entry["optimizer"] for entry in best)):
        own = [entry for entry in best if entry["optimizer"] == optimizer]
        at = [where[entry[axis]] for entry in own]
        for panel, name in zip(panels, ("lr", "risk"), strict=True):
            theory, run = ([_number(entry[f"{kind}_best_{name}"]) for entry in own] for kind in KINDS)
            _line_and_points(panel, at, theory, run, i, optimizer)
    for panel, label in zip(panels, ("best learning rate", "excess risk R(t) at the best rate"), strict=True):
        panel.set(yscale="log", xscale="log" if numeric else "linear", xlabel=LABELS[axis], ylabel=label)
        panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        panel.set_xticks(list(where.values()), [str(v) for v in values], rotation=0 if numeric else 20)
        _log_grid(panel)
    _outside_legend(figure, panels[0], title)
    return figure


def risk_curves(rows, title) -> Figure:
    """Risk at t_max against the learning rate: lines are theory, points are runs with two standard errors."""
    figure = NotebookFigure((5.6, 4.2))
    panel = figure.subplots()
    for i, (group, rates) in enumerate(seed_means(rows).items()):
        means = [mean for mean in rates.values() if mean["lr_start"]]
        means.sort(key=lambda mean: mean["lr_start"])
        theory, run = ([_number(mean[kind]) for mean in means] for kind in KINDS)
        errors = [2 * _number(mean["error"]) for mean in means]
        _line_and_points(panel, [mean["lr_start"] for mean in means], theory, run, i, group[0], errors)
    panel.set(xscale="log", yscale="log", xlabel="learning rate at t = 0", ylabel="excess risk R(t)")
    _log_grid(panel)
    _outside_legend(figure, panel, title)
    return figure


def _line_and_points(panel, at, theory, run, i, label, errors=None):
    """Later points are smaller, so that those that coincide all show."""
    colour, marker, stroke = style_of(i)
    if np.isfinite(theory).any():
        panel.plot(
            at, theory, marker=".", linestyle=stroke, color=colour, linewidth=1.8, label=f"{label}: {KINDS['theory']}"
        )
    if np.isfinite(run).any():
        panel.errorbar(
            at, run, yerr=errors, fmt=marker, color=colour, markerfacecolor="none", markersize=max(10 - 2 * i, 4),
            elinewidth=0.9, capsize=2, label=f"{label}: {KINDS['run']}",
        )  # fmt: skip


def _log_grid(panel):
    panel.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatterSciNotation(minor_thresholds=(1.2, 0.5)))
    panel.tick_params(which="both", labelsize=8)
    panel.grid(alpha=0.25, which="both", linewidth=0.5)


def _outside_legend(figure, panel, title):
    handles, labels = panel.get_legend_handles_labels()
    _title(figure, title)
    legend_below(figure, handles, labels)


def _title(figure, text):
    figure.suptitle(textwrap.fill(text, int(11 * figure.get_figwidth())), fontsize=10)


def _number(value):
    """Schedules, missing and diverged values are left out of curves."""
    return value if isinstance(value, float) and np.isfinite(value) else np.nan


def _rate(lr):
    return f"{lr:.3g}" if isinstance(lr, float) else lr
