"""One cell of a sweep: theory and experiment at one point of the grid, and its file."""

import json
import warnings
from pathlib import Path

import numpy as np

from sdelimit.experiments import specs
from sdelimit.experiments.grid import EARLIER, Cell
from sdelimit.experiments.rows import are_rows, problem_of_rows
from sdelimit.numerics.memo import memoized
from sdelimit.ode.solve import solve_ode
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.regression import Regression
from sdelimit.report.comparison import compare
from sdelimit.results.curves import LimitWarning
from sdelimit.results.text import BAND
from sdelimit.simulation.simulate import simulate
from sdelimit.support.files import FileError, read_npz, reading, replacing

STATUSES = ("ok", "failed", "diverged", "no theory")
NUMBERS = ("theory_risk", "run_risk", "run_standard_error", "run_q10", "run_q90", "max_relative_error")
COLUMNS = ("cell", *Cell._fields, "lr_start", *NUMBERS, "status", "reason")


def run_cell(index, cell: Cell, settings, problem_of) -> tuple[dict, dict]:
    """(row of the table, arrays) of one cell. What goes wrong is in the row's status and reason, never raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            numbers, arrays, problems = _outcome(cell, settings, problem_of)
        except OverflowError as error:
            given = ", ".join(f"{name} = {getattr(cell, name)}" for name in ("covariance", "model", "noise", "lr"))
            numbers, arrays = {}, {}
            problems = {"failed": f"a number is beyond the floating-point range with {given} ({error})"}
        except Exception as error:  # whatever it is, the other cells go on
            numbers, arrays, problems = {}, {}, {"failed": f"{type(error).__name__}: {error}"}
    said = {str(w.message): None for w in caught if isinstance(w.message, LimitWarning)}
    status = next((s for s in STATUSES[1:] if s in problems), "ok")
    row = dict.fromkeys(COLUMNS) | {"cell": index, **cell._asdict(), **numbers}
    return row | {"status": status, "reason": "; ".join([*problems.values(), *said])}, arrays


def problem_of(covariance: str, d: int, model: str, noise: str, seed: int) -> Regression:
    """The problem of a cell."""
    if are_rows(noise):
        return problem_of_rows(covariance, model, noise)
    given = specs.parse_covariance(covariance, d), specs.parse_noise(noise)
    return specs.parse_model(model).problem(*given, seed=seed)


shared_problem_of = memoized(problem_of, size=1)
"""Cells that share a problem follow each other."""


def _outcome(cell, settings, problem_of):
    """(columns, arrays, what was not as it should be by kind)."""
    rule = specs.parse_optimizer(cell.optimizer)
    lr = specs.parse_schedule(str(cell.lr), settings["t_max"])
    times = np.unique(np.rint(np.linspace(0.0, settings["t_max"], settings["points"]) * cell.d)) / cell.d
    problem = problem_of(cell.covariance, cell.d, cell.model, cell.noise, cell.seed)
    given = {"t": times}
    given["batch_size"] = cell.batch_size
    numbers, arrays, problems, curve, runs = {}, {}, {}, None, None
    try:
        curve = solve_ode(problem, rule, lr, save_modes=False, **given)
    except (ValueError, RuntimeError) as error:
        problems["no theory"] = f"theory: {error}"
    if curve is not None:
        numbers = {"lr_start": curve.lr[0], "theory_risk": curve.risk[-1]}
        arrays = {"t": curve.t, "lr": curve.lr, "theory_risk": curve.risk, "theory_phi": curve.phi}
        arrays["theory_aligned"] = np.array(curve.aligned)
        arrays |= {} if curve.overlaps is None else {"theory_overlaps": curve.overlaps}
    if settings["n_runs"]:
        runs = simulate(problem, rule, lr, n_runs=settings["n_runs"], seed=cell.seed, progress=False, **given)
        low, high = runs.quantile(BAND)
        numbers |= {"lr_start": runs.lr[0], "run_risk": runs.mean[-1], "run_standard_error": runs.standard_error[-1]}
        numbers |= {"run_q10": low[-1], "run_q90": high[-1]}
        arrays |= {"t": runs.t, "lr": runs.lr, "run_risk": runs.risk}
        arrays |= {} if runs.overlaps is None else {"run_overlaps": runs.overlaps}
    if curve is not None and runs is not None:
        numbers["max_relative_error"] = compare(curve, runs).max_relative_error
    statuses = [f"{kind}: {r.status}" for kind, r in (("theory", curve), ("runs", runs)) if r and r.status != "ok"]
    if statuses:
        problems["diverged"] = "; ".join(statuses)
    return {name: float(value) for name, value in numbers.items()}, arrays, problems


def has_mean(row) -> bool:
    """Whether the mean risk of a cell's runs exists: not where steps are proportional to noise of infinite variance."""
    return _has_mean(row["optimizer"], row["model"], row["noise"])


@memoized
def _has_mean(optimizer, model, noise):
    linear = specs.parse_model(model).make is LinearRegression
    if "." in optimizer.partition(":")[0]:  # a rule of one's own, which reading a table must not import
        return are_rows(noise) or specs.is_file(noise) or bool(np.isfinite(specs.parse_noise(noise).second_moment))
    if are_rows(noise) or not linear or not specs.parse_optimizer(optimizer).needs_variance or specs.is_file(noise):
        return True
    return bool(np.isfinite(specs.parse_noise(noise).second_moment))


def with_means(rows) -> list[dict]:
    """The rows, without run_risk where the mean risk is infinite: its sample mean does not tell which rate is best."""
    return [row if has_mean(row) else row | {"run_risk": None, "run_standard_error": None} for row in rows]


def cell_path(folder: Path, index: int) -> Path:
    """The file of a cell."""
    return folder / "cells" / f"{index:05d}.npz"


def save_cell(path, row, arrays, record):
    """The cell's curves, its row, and what is needed to repeat it."""
    settings = np.array(json.dumps({"command": "sweep cell", **record, "row": row}))
    with replacing(path) as file:
        np.savez_compressed(file, settings=settings, **arrays)


def load_row(path, index, cell: Cell, identity, then="will be computed again") -> dict | None:
    """The row of a saved cell; None if there is none, or with a warning if the file is not that cell's.

    ``identity`` has the settings and versions of the sweep; ``then`` says what happens to a damaged cell.
    """
    if not path.exists():
        return None
    try:
        with reading("cell", path):
            record = _with_earlier(json.loads(str(read_npz(path, ["settings"])["settings"])))
            reason = _what_is_wrong(record, index, cell, identity)
    except FileError as error:
        reason = "it is a folder" if path.is_dir() else f"it cannot be read: {error.problem}"
    if reason:
        warnings.warn(f"{path} is damaged and {then}: {reason}", stacklevel=2)
        return None
    return record["row"]


def _with_earlier(record):
    """A cell's record with what earlier versions did not write."""
    if isinstance(record, dict) and isinstance(record.get("row"), dict):
        return {**EARLIER, **record, "row": {**EARLIER, **record["row"]}}
    return record


def _what_is_wrong(record, index, cell, identity) -> str | None:
    """Why a file's record is not that of this cell of this sweep; None if it is."""
    for part in ("row", "versions", "inputs"):
        if not isinstance(record, dict) or not isinstance(record.get(part), dict):
            return f"it has no {part}"
    row, settings = record["row"], identity["settings"]
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        return f"its row has no {missing[0]}"
    own = cell._asdict()
    used = {name: digest for name, digest in settings["inputs"].items() if name in (cell.covariance, cell.noise)}
    versions = {name: version for name, version in identity["versions"].items() if name in record["versions"]}
    pairs = [(name, row[name], value) for name, value in {"cell": index, **own}.items()]
    wanted = own | {name: settings[name] for name in ("t_max", "points", "n_runs")}
    pairs += [(name, record.get(name), value) for name, value in wanted.items()]
    pairs += [(name, record["versions"][name], version) for name, version in versions.items()]
    pairs += [("inputs", {name: entry["sha256"] for name, entry in record["inputs"].items()}, used)]
    for name, there, here in pairs:
        if there != here:
            return f"its {name} is {there!r}, not {here!r} of this sweep"
    for name in ("lr_start", *NUMBERS):
        if not (row[name] is None or isinstance(row[name], float)):
            return f"its {name} is no number: {row[name]!r}"
    if row["status"] not in STATUSES or not isinstance(row["reason"], str):
        return f"its status or reason is none: {row['status']!r}, {row['reason']!r}"
    return None
