"""Theory alone: tables and figures of limits without runs."""

from dataclasses import dataclass

import numpy as np

from sdelimit.optimizers import Optimizer
from sdelimit.problem.regression import Regression
from sdelimit.report.fitted import fitted
from sdelimit.results.curves import RiskCurve
from sdelimit.results.summary import describe_lr
from sdelimit.results.text import LINEAR, describe_model, describe_panel, rule_labels


@dataclass(frozen=True, eq=False)
class Limit:
    """The limit of one rule on one problem.

    Attributes:
        problem, optimizer: of what.
        curve: the risk curve; None if the rule has no limit there.
        status: "ok", what diverged, or why there is no limit.
    """

    problem: Regression
    optimizer: Optimizer
    curve: RiskCurve | None
    status: str


HEADER = ("optimizer", "model", "noise", "d", "lr", "R(0)", "R(t)", "at t", "status")


def names_of(limits) -> list[str]:
    """What to call each: the rule's name, distinct, and the kind of its theory where that is not the ODE."""
    labels = rule_labels(limit.optimizer for limit in limits)
    kinds = [None if limit.curve is None or limit.curve.kind == "ODE" else limit.curve.kind for limit in limits]
    names = [labels[repr(limit.optimizer)] for limit in limits]
    return [name if kind is None else f"{name} ({kind})" for name, kind in zip(names, kinds, strict=True)]


def format_limits(limits, width: int | None = None) -> str:
    """A table of risks at the first and the last time, one row each, no wider than ``width`` if that is given."""
    rows = [_row(limit, name) for limit, name in zip(limits, names_of(limits), strict=True)]
    if not any(describe_model(limit.problem) for limit in limits):
        rows, header = [row[:1] + row[2:] for row in rows], HEADER[:1] + HEADER[2:]
    else:
        header = HEADER
    return fitted([header, *rows], width)


def _row(limit, name):
    problem, curve = limit.problem, limit.curve
    given = (name, describe_model(problem) or LINEAR, repr(problem.noise), str(problem.d))
    if curve is None:
        return (*given, "-", "-", "-", "-", limit.status)
    last = "diverged" if not np.isfinite(curve.risk[-1]) else f"{curve.risk[-1]:.4g}"
    return (*given, describe_lr(curve.lr), f"{curve.risk[0]:.4g}", last, f"{curve.t[-1]:.4g}", limit.status)


def limit_numbers(limits) -> list[dict]:
    """The curves as dictionaries of lists, in order; None for those without a limit."""
    return [
        {
            "rule": name,
            "optimizer": repr(limit.optimizer),
            "model": describe_model(limit.problem) or LINEAR,
            "noise": repr(limit.problem.noise),
            "d": limit.problem.d,
            "status": limit.status,
            **({} if limit.curve is None else _arrays(limit.curve)),
        }
        for limit, name in zip(limits, names_of(limits), strict=True)
    ]


def _arrays(curve):
    found = {name: getattr(curve, name).tolist() for name in ("t", "risk", "lr", "phi")}
    return found if curve.overlaps is None else found | {"alignment": curve.alignment.tolist()}


def plot_limits(limits):
    """One panel for each model and noise law, one line for each rule; a matplotlib ``Figure``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sdelimit.results.plot import COLOURS

    panels, names = {}, names_of(limits)
    for limit, name in zip(limits, names, strict=True):
        panels.setdefault(describe_panel(limit.problem), []).append((limit, name))
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}
    for axis, (title, group) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for limit, name in group:
            if limit.curve is not None:
                shown = np.where(np.isfinite(limit.curve.risk), limit.curve.risk, np.nan)
                axis.plot(limit.curve.t, shown, color=colours[name], label=name)
        axis.set(title=title, xlabel="time t = steps / d", ylabel="excess risk R(t)", yscale="log")
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    return figure
