"""Curves as files."""

import csv
import json

import numpy as np

from sdelimit.results.text import BAND, LINEAR, describe_model, rule_labels
from sdelimit.support.files import replacing

QUANTILES = (BAND[0], 0.5, BAND[1])
COLUMNS = ("noise", "optimizer", "t", "lr", "ode_risk", "phi", "run_mean", "run_standard_error",
           "run_q10", "run_q50", "run_q90", "sde_mean", "sde_q10", "sde_q50", "sde_q90", "theory",
           "model", "ode_alignment", "run_alignment", "ode_error_rate", "run_error_rate")  # fmt: skip


def write_npz(path, reports, record):
    """All curves and, as a JSON text, the settings that made them."""
    with replacing(path) as file:
        np.savez_compressed(file, settings=np.array(json.dumps(record, default=str)), **curve_arrays(reports))


def curve_arrays(reports) -> dict[str, np.ndarray]:
    """All curves: arrays named '<index>_<optimizer>_<what>'; overlaps of models that have them."""
    arrays = {}
    for index, report in enumerate(reports):
        prefix = f"{index}_{report.runs.optimizer.name}"
        arrays[f"{prefix}_rule"] = np.array(repr(report.runs.optimizer))
        arrays[f"{prefix}_noise"] = np.array(repr(report.runs.problem.noise))
        arrays[f"{prefix}_t"] = report.runs.t
        arrays[f"{prefix}_lr"] = report.runs.lr
        arrays[f"{prefix}_run_risk"] = report.runs.risk
        if report.theory is not None:
            arrays[f"{prefix}_theory"] = np.array(report.theory.kind)
            arrays[f"{prefix}_ode_risk"] = report.theory.risk
            arrays[f"{prefix}_phi"] = report.theory.phi
        if report.paths is not None:
            arrays[f"{prefix}_sde_risk"] = report.paths.risk
        for name, curves in (("run", report.runs), ("ode", report.theory), ("sde", report.paths)):
            if curves is not None and curves.overlaps is not None:
                arrays[f"{prefix}_{name}_overlaps"] = curves.overlaps
    return arrays


def write_csv(path, reports):
    """One line for each optimizer, noise law and time; empty where a rule has no limit or a model no such number.

    Of the runs, alignment and error rate are means.
    """
    with replacing(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        reports = list(reports)
        labels = rule_labels(report.runs.optimizer for report in reports)
        for report in reports:
            writer.writerows(_lines(report, labels[repr(report.runs.optimizer)]))


def _lines(report, label):
    runs, theory, paths = report.runs, report.theory, report.paths
    empty = [""] * runs.t.size
    columns = [
        [repr(runs.problem.noise)] * runs.t.size,
        [label] * runs.t.size,
        runs.t,
        runs.lr,
        *((theory.risk, theory.phi) if theory is not None else (empty, empty)),
        runs.mean,
        runs.standard_error,
        *runs.quantile(QUANTILES),
        *((paths.mean, *paths.quantile(QUANTILES)) if paths is not None else (empty,) * 4),
        [theory.kind if theory is not None else ""] * runs.t.size,
        [describe_model(runs.problem) or LINEAR] * runs.t.size,
        *(_of_overlaps(curves, name, empty) for name in ("alignment", "error_rate") for curves in (theory, runs)),
    ]
    return zip(*columns, strict=True)


def _of_overlaps(curves, name, empty):
    """A curve's ``name``, of runs the mean; empty where it has none."""
    if curves is None or curves.overlaps is None or (name == "error_rate" and not curves.problem.loss.classifies):
        return empty
    values = getattr(curves, name)
    return values.mean(axis=0) if values.ndim > 1 else values


LIMIT_COLUMNS = ("noise", "optimizer", "t", "lr", "ode_risk", "phi", "theory", "model", "ode_alignment")


def write_limits_npz(path, limits, record):
    """Theory alone: arrays named '<index>_<optimizer>_<what>' and, as a JSON text, the settings that made them."""
    arrays = {}
    for index, limit in enumerate(limits):
        prefix, curve = f"{index}_{limit.optimizer.name}", limit.curve
        arrays |= {f"{prefix}_rule": np.array(repr(limit.optimizer))}
        arrays |= {f"{prefix}_noise": np.array(repr(limit.problem.noise)), f"{prefix}_status": np.array(limit.status)}
        if curve is not None:
            arrays |= {f"{prefix}_theory": np.array(curve.kind), f"{prefix}_t": curve.t, f"{prefix}_lr": curve.lr}
            arrays |= {f"{prefix}_ode_risk": curve.risk, f"{prefix}_phi": curve.phi}
            arrays |= {} if curve.overlaps is None else {f"{prefix}_ode_overlaps": curve.overlaps}
    with replacing(path) as file:
        np.savez_compressed(file, settings=np.array(json.dumps(record, default=str)), **arrays)


def write_limits_csv(path, limits):
    """One line for each rule with a limit, noise law and time; empty where a model has no such number."""
    labels = rule_labels(limit.optimizer for limit in limits)
    with replacing(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(LIMIT_COLUMNS)
        for limit in limits:
            if limit.curve is not None:
                writer.writerows(_limit_lines(limit, labels[repr(limit.optimizer)]))


def _limit_lines(limit, label):
    curve = limit.curve
    aligned = [""] * curve.t.size if curve.overlaps is None else curve.alignment
    kind, model = curve.kind, describe_model(limit.problem) or LINEAR
    for t, lr, risk, phi, alignment in zip(curve.t, curve.lr, curve.risk, curve.phi, aligned, strict=True):
        yield repr(limit.problem.noise), label, t, lr, risk, phi, kind, model, alignment
