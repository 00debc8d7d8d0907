"""Theory against experiment, in numbers."""

import textwrap
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.numerics.floors import HUGE
from sdelimit.report.fitted import fitted
from sdelimit.results.curves import RiskCurve, RiskCurves
from sdelimit.results.stored import Stored
from sdelimit.results.summary import describe_lr, describe_result
from sdelimit.results.text import BAND, LINEAR, describe_model, describe_noise, rule_labels
from sdelimit.support import arguments as check


@dataclass(frozen=True, eq=False)
class Report(Stored):
    """How far a theory curve is from simulated runs.

    Attributes:
        theory: the risk ODE's solution.
        runs: the simulated runs.
        paths: the SDE's paths, or None.
        relative_error: (n,) |mean of runs - theory| / theory at ``runs.t``; infinite where one of them has
            diverged, zero where both have.
        max_relative_error: the largest of them.
        worst_time: the time of the largest.
        standard_error: Monte-Carlo standard error of the mean there, relative to the theory.
        coverage: fraction of runs inside the SDE's 10-90% band, averaged over t > 0 (0.8 if the laws agree);
            None without paths.
        status: "ok", or what diverged, when and at what value.
    """

    theory: RiskCurve
    runs: RiskCurves
    paths: RiskCurves | None
    relative_error: Float[np.ndarray, " n"]
    max_relative_error: float
    worst_time: float
    standard_error: float
    coverage: float | None
    status: str

    def __repr__(self):
        return self.table()

    def _variables(self):
        runs, paths = self.runs, self.paths
        inside = np.clip(runs.t, self.theory.t[0], self.theory.t[-1])
        found = {"t": runs.t, "lr": runs.lr, "ode_risk": self.theory.at(inside), "run_mean": runs.mean}
        found |= {"run_standard_error": runs.standard_error, "relative_error": self.relative_error}
        found |= dict(zip(("run_q10", "run_q50", "run_q90"), runs.quantile((BAND[0], 0.5, BAND[1])), strict=True))
        if paths is not None:
            bands = dict(zip(("sde_q10", "sde_q90"), paths.quantile(BAND), strict=True))
            found |= {name: np.interp(runs.t, paths.t, _cap(edge)) for name, edge in bands.items()}
        return {name: (("t",), values) for name, values in found.items()}

    def _figure(self):
        return self.plot()

    def _attributes(self):
        return {**describe_result(self.runs), "kind": "report", "status": self.status, "table": self.table()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of theory, runs and paths."""
        return tuple(text for part in (self.theory, self.runs, self.paths) if part for text in part.warnings)

    def table(self) -> str:
        """The report as one row of an aligned text table."""
        return format_table([self])

    def plot(self, path=None, ax=None):
        """Figure of ODE line, band and run quantiles; saved to ``path`` if given.

        The band is that of the paths, without paths that of ``theory.quantile``, where it is known.

        Args:
            path: file name(s) to save to; the suffix chooses the format.
            ax: axes of matplotlib to draw into; default a new figure.

        Returns:
            The ``Figure``, which Jupyter displays, by ``.show()`` too; with ``ax``, ``ax``.
        """
        from sdelimit.report.plot import plot_reports

        return plot_reports([self], path, ax)


@dataclass(frozen=True, eq=False)
class RunsOnly:
    """Simulated runs of a rule that has no limit under its noise law, with the reason."""

    runs: RiskCurves
    status: str
    theory: None = None
    paths: None = None


def compare(theory: RiskCurve, runs: RiskCurves, paths: RiskCurves | None = None) -> Report:
    """Compare the ODE with the mean of simulated runs, and the SDE's band with their spread.

    The error is sup over t of |mean of runs - R(t)| / R(t), at the runs' times; theory at other times is
    interpolated by the cubic that matches R and dR/dt. The mean of runs differs from the theory by O(1/d)
    plus its own Monte-Carlo error, which the report gives.

    Args:
        theory: from ``solve_ode``, for one learning rate.
        runs: from ``simulate``, for one learning rate.
        paths: from ``solve_sde``, optional; adds the coverage of its 10-90% band.

    Raises:
        TypeError, ValueError: naming the argument, if it is of the wrong kind, holds several learning rates,
            belongs to another dimension, batch size or learning rate, or its times do not cover the runs'.
    """
    if not isinstance(theory, RiskCurve):
        raise TypeError(f"theory must be a RiskCurve from solve_ode, got {check.describe(theory)}")
    for name, value, kind in (("runs", runs, "simulation"), ("paths", paths, "sde")):
        if value is None and name == "paths":
            continue
        if not isinstance(value, RiskCurves) or value.kind != kind:
            solver = {"simulation": "simulate", "sde": "solve_sde"}[kind]
            raise TypeError(f"{name} must be the RiskCurves of {solver}, got {check.describe(value)}")
        if value.problem.d != theory.problem.d:
            raise ValueError(f"{name} must be of theory's dimension {theory.problem.d}, got {value.problem.d}")
    for name, value in (("theory", theory), ("runs", runs), ("paths", paths)):
        if value is not None and np.ndim(value.lr) > 1:
            raise ValueError(f"{name} must hold one learning rate, got {len(value.lr)}: choose one with .select(i)")
    _require_same_settings(theory, runs, paths)
    # Runs record whole steps, which may lie up to half a step outside the theory's times.
    inside = np.clip(runs.t, theory.t[0], theory.t[-1])
    expected = theory.at(inside if np.max(np.abs(inside - runs.t)) < 1 / theory.problem.d else runs.t)
    error = _relative_error(runs.mean, expected)
    worst = int(np.argmax(error))
    finite = np.isfinite(expected[worst])
    return Report(
        theory=theory,
        runs=runs,
        paths=paths,
        relative_error=error,
        max_relative_error=float(error[worst]),
        worst_time=float(runs.t[worst]),
        standard_error=float(runs.standard_error[worst] / expected[worst]) if finite else 0.0,
        coverage=None if paths is None else _coverage(runs, paths),
        status=_status(theory, runs, paths),
    )


def _require_same_settings(theory, runs, paths):
    """Curves of different batch sizes or learning rates are not comparable."""
    for name, value in (("runs", runs), ("paths", paths)):
        if value is None:
            continue
        if value.batch_size != theory.batch_size:
            raise ValueError(f"{name} must have theory's batch_size {theory.batch_size}, got {value.batch_size}")
        for at, t in ((0, value.t[0]), (-1, value.t[-1])):
            expected = np.interp(t, theory.t, theory.lr)
            if abs(value.lr[at] - expected) > 0.05 * theory.lr.max():
                raise ValueError(
                    f"{name} must have theory's learning rate, {expected:.4g} at t = {t:.4g}, got {value.lr[at]:.4g}"
                )


def _status(theory, runs, paths):
    parts = [("ODE", theory), ("runs:", runs), *([("SDE:", paths)] if paths is not None else [])]
    return "; ".join(f"{name} {part.status}" for name, part in parts if part.status != "ok") or "ok"


def _relative_error(mean, expected):
    both = np.isfinite(mean) & np.isfinite(expected)
    scale = np.where(both & (expected > 0), expected, 1.0)
    gap = np.abs(np.where(both, mean, 0.0) - np.where(both, expected, 0.0)) / scale
    return np.where(both, gap, np.where(np.isfinite(mean) == np.isfinite(expected), 0.0, np.inf))


def _coverage(runs, paths):
    later = runs.t > 0
    if not later.any():
        return None
    low, high = (np.interp(runs.t, paths.t, _cap(edge)) for edge in paths.quantile(BAND))
    inside = (_cap(runs.risk) >= low) & (_cap(runs.risk) <= high)
    return float(inside[:, later].mean())


def _cap(risk):
    return np.minimum(risk, HUGE)


HEADER = ("optimizer", "noise", "d", "runs", "lr", "max rel. error", "at t", "MC s.e.", "in 10-90% band", "status")


def format_table(reports, width: int | None = None) -> str:
    """Reports as an aligned text table, one row each; with the model, where one is not linear regression.

    In at most ``width`` columns, if that is given: statuses are then short, and what they leave out is under the table.
    """
    labels = rule_labels(r.runs.optimizer for r in reports)
    rows, models = [_row(r, labels) for r in reports], [describe_model(r.runs.problem) for r in reports]
    notes = []
    if width is not None:
        short = [_short_status(report) for report in reports]
        notes = [
            textwrap.fill(f"{row[0]}, {row[1]}: {row[-1]}", width, subsequent_indent="    ")
            for row, status in zip(rows, short, strict=True)
            if status != row[-1]
        ]
        rows = [(*row[:-1], status) for row, status in zip(rows, short, strict=True)]
    header = HEADER
    if any(models):
        header = (*HEADER[:1], "model", *HEADER[1:])
        rows = [(row[0], model or LINEAR, *row[1:]) for model, row in zip(models, rows, strict=True)]
    return "\n\n".join([fitted([header, *rows], width), *(["\n".join(notes)] if notes else [])])


def _short_status(report) -> str:
    """'diverged at t=1.2', the first of theory, runs and paths; 'no limit'; or the status."""
    if report.theory is None:
        return "no limit"
    parts = [part for part in (report.theory, report.runs, report.paths) if part is not None]
    first = min(float(np.min(part.diverged_at)) for part in parts)
    return f"diverged at t={first:.3g}" if np.isfinite(first) else report.status


def report_numbers(reports) -> list[dict]:
    """The numbers of the table as dictionaries, in order; None where there is none."""
    labels = rule_labels(r.runs.optimizer for r in reports)
    return [_numbers(report, labels) for report in reports]


def _numbers(report, labels):
    runs, theory = report.runs, report.theory
    numbers = {
        "rule": _name(report, labels[repr(runs.optimizer)]),
        "optimizer": repr(runs.optimizer),
        "model": describe_model(runs.problem) or LINEAR,
        "noise": repr(runs.problem.noise),
        "d": runs.problem.d,
        "runs": runs.risk.shape[0],
        "lr": [float(runs.lr[0]), float(runs.lr[-1])],
        "t": float(runs.t[-1]),
        "theory_risk": None if theory is None else float(theory.risk[-1]),
        "run_mean": float(runs.mean[-1]),
        "run_standard_error": float(runs.standard_error[-1]),
        "status": report.status,
    }
    if theory is not None:
        names = ("max_relative_error", "worst_time", "standard_error", "coverage")
        numbers |= {name: getattr(report, name) for name in names}
    return numbers


def _row(report, labels):
    runs = report.runs
    inputs = (
        _name(report, labels[repr(runs.optimizer)]),
        describe_noise(runs.problem),
        str(runs.problem.d),
        str(runs.risk.shape[0]),
        describe_lr(runs.lr),
    )
    if report.theory is None:
        return (*inputs, "no limit", "-", "-", "-", report.status)
    if not (np.isfinite(report.theory.risk).all() and np.isfinite(runs.risk).all()):
        return (*inputs, "diverged", "-", "-", "-", report.status)
    return (
        *inputs,
        f"{report.max_relative_error:.2%}",
        f"{report.worst_time:.3g}",
        f"{report.standard_error:.2%}" if np.isfinite(report.standard_error) else "-",
        "-" if report.coverage is None else f"{report.coverage:.0%}",
        report.status,
    )


def _name(report, label):
    """What to call the rule, and the theory's where another limit is used for it."""
    rule = report.runs.optimizer.name
    limit = rule if report.theory is None else report.theory.optimizer.name
    if report.theory is not None and report.theory.kind != "ODE":
        return f"{label} ({report.theory.kind})"
    return label if limit == rule else f"{label} ({limit} limit)"
