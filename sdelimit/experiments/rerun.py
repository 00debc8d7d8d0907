"""Repeat a result from its file alone, and say how far the two are apart."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdelimit.experiments import cell as cell_file
from sdelimit.experiments.comparison_run import experiment_of, run_experiment
from sdelimit.experiments.curve_files import curve_arrays
from sdelimit.experiments.grid import EARLIER, Cell
from sdelimit.results.text import align
from sdelimit.support.brief import brief_fields
from sdelimit.support.files import as_path, find_input, read_npz, reading
from sdelimit.support.versions import version_info

ROUNDING = 1e-4
"""Largest relative difference that counts as rounding: float32 steps, added up over a run."""


@dataclass(frozen=True, eq=False)
class Rerun:
    """A result and its repetition.

    Attributes:
        file: the file repeated.
        settings: everything the result was made from, as the file has it.
        differences: {array: largest relative difference |a - b| / max(|a|, |b|)}; infinite if shapes, texts, or the
            places where something diverged differ, or if one of the two is missing.
        max_difference: the largest of them; infinite if there is nothing to compare.
        agrees: no difference exceeds what rounding makes, 1e-4.
        problem: why there is nothing to compare, or what went wrong in the repetition alone; "" if neither.
        changes: what is not as it was: {"jax": ("0.10.1", "0.10.2"), "device": ("cpu", "NVIDIA H100")}.
    """

    file: Path
    settings: dict
    differences: dict[str, float]
    max_difference: float
    agrees: bool
    changes: dict[str, tuple[str, str]]
    problem: str = ""

    __repr__ = brief_fields

    def table(self) -> str:
        """The differences as an aligned text table, what has changed since, and the verdict."""
        rows = [("array", "max rel. difference"), *((name, f"{x:.2g}") for name, x in self.differences.items())]
        changes = [f"{name}: {then} then, {now} now" for name, (then, now) in self.changes.items()]
        verdict = "identical" if self.max_difference == 0 else "equal up to rounding" if self.agrees else "DIFFERENT"
        verdict = f"{verdict} (largest relative difference {self.max_difference:.2g})" if self.differences else ""
        table = [align(rows), ""] if self.differences else []
        return "\n".join([*table, *changes, *filter(None, [verdict, self.problem])])


def rerun(file) -> Rerun:
    """Repeat the result in ``file`` from the settings, seeds and input files that it names.

    Args:
        file: ``curves.npz`` of ``sdelimit compare``, or a cell of a sweep (``cells/00012.npz``). Input files are looked
            for under their name, where they were, and beside ``file``; their content must not have changed. Nothing is
            unpickled or overwritten.

    Returns:
        A ``Rerun``.

    Raises:
        TypeError, ValueError: if ``file`` is not such a result, or one of its input files is missing or has changed.
    """
    path = as_path("file", file)
    record, then = _read(path)
    try:
        settings = _with_inputs(record, path.parent)
        now, row = REPEAT[record["command"]](settings)
        problem = _problem(then, record["row"], now, row) if row else ""
        then, now = (then | _numbers(record, record["row"]), now | _numbers(record, row)) if row else (then, now)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"file: the settings in {path} are not complete: {error!r}") from error
    new = now.keys() - then.keys() - LATER
    differences = {name: _difference(then.get(name), now.get(name)) for name in [*then, *new]}
    largest = max(differences.values(), default=np.inf)
    return Rerun(path, record, differences, largest, largest <= ROUNDING and not problem, _changes(record), problem)


def _read(path):
    """(settings, arrays) of a result file."""
    with reading("file", path, "is not a result of sdelimit compare or a cell of a sweep"):
        arrays = read_npz(path)
        record = json.loads(str(arrays.pop("settings")))
    if not isinstance(record, dict) or record.get("command") not in REPEAT:
        raise ValueError(f"file: {path} does not say which command made it; only {' and '.join(REPEAT)} are repeated")
    return record, arrays


def _with_inputs(record, beside):
    """The settings, with the input files where they are now."""
    found = {name: find_input(name, recorded, beside) for name, recorded in record.get("inputs", {}).items()}
    settings = dict(record)
    for key in ("covariance", "data", "label", "target"):
        settings[key] = found.get(record.get(key), record.get(key))
    noise = record["noise"]
    settings["noise"] = found.get(noise, noise) if isinstance(noise, str) else [found.get(n, n) for n in noise]
    return settings


def _repeat_compare(settings):
    return curve_arrays(run_experiment(experiment_of(settings), settings)), None


def _repeat_cell(settings):
    settings = {**EARLIER, **settings}
    cell = Cell(**{name: settings[name] for name in Cell._fields})
    row, arrays = cell_file.run_cell(0, cell, settings, cell_file.problem_of)
    return arrays, row


def _problem(then, row_then, now, row_now) -> str:
    """What keeps a cell from being compared with its repetition."""
    if then and now:
        return ""
    if then:
        return f"the repetition failed: {row_now['status']}: {row_now['reason']}"
    again = f"again {row_now['status']}: {row_now['reason']}" if not now else f"now {row_now['status']}"
    said = f"{row_then['status']}: {row_then['reason']}"
    return f"the cell has no curves ({said}), so there is nothing to compare; the repetition is {again}"


def _numbers(record, row) -> dict[str, np.ndarray]:
    """What a cell's row puts into the table, as arrays to compare; nothing if the cell has no numbers."""
    values = {name: row[name] for name in ("lr_start", *cell_file.NUMBERS) if row[name] is not None}
    if values:
        values["status"] = row["status"]
    named = [name for name in Cell._fields if name in record or name not in EARLIER]
    values |= {name: row[name] for name in named if row is record["row"] and row[name] != record[name]}
    return {f"row.{name}": np.asarray(value) for name, value in values.items()}


LATER = {"theory_aligned"}
"""Arrays that results of earlier versions lack."""
REPEAT = {"compare": _repeat_compare, "sweep cell": _repeat_cell}


def _difference(a, b) -> float:
    if a is None or b is None or a.shape != b.shape:
        return np.inf
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(a, b) else np.inf
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    finite = np.isfinite(a)
    a, b = a[finite], b[finite]
    scale = np.maximum(np.abs(a), np.abs(b))
    return float(np.max(np.abs(a - b) / np.where(scale > 0, scale, 1.0), initial=0.0))


def _changes(record):
    now = version_info()
    then = {**record.get("versions", {}), "python": record.get("python"), "device": record.get("device")}
    here = {**now["versions"], "python": now["python"], "device": now["device"]}
    return {name: (then[name], here[name]) for name in here if name in then and then[name] != here[name]}
