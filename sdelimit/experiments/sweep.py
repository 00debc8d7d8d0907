"""Theory and experiment over a grid of settings, in a folder that survives any interruption."""

import contextlib
import importlib.util
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from sdelimit.experiments import cell as cell_file
from sdelimit.experiments import folder as sweep_folder
from sdelimit.experiments.best import best_rates
from sdelimit.experiments.executor import LostError, outcomes, processes, warn_lost
from sdelimit.experiments.grid import cells, grid_settings
from sdelimit.experiments.rows import input_texts
from sdelimit.results.stored import Tabled
from sdelimit.results.text import align
from sdelimit.support import arguments as check
from sdelimit.support.brief import brief_fields
from sdelimit.support.files import describe_inputs, folder_lock, read_npz, reading
from sdelimit.support.progress import progress_bar
from sdelimit.support.versions import version_info

TABLE_SECONDS = 60.0
"""The table is brought up to date this often while cells are computed."""


@dataclass(frozen=True, eq=False)
class Sweep(Tabled):
    """What a sweep's folder holds.

    Attributes:
        folder: the folder: ``table.csv``, ``cells/*.npz`` and ``sweep.json``.
        settings: the grid and everything else that the numbers depend on.
        rows: a dictionary for each cell that is done, in the order of the grid: its settings; ``theory_risk``,
            R(t_max) of the risk ODE; ``run_risk``, ``run_standard_error``, ``run_q10`` and ``run_q90`` of the runs
            there; ``max_relative_error`` between the two over all times (as ``compare``); ``status``: "ok",
            "no theory", "diverged" or "failed"; and ``reason``. None where there is no number.
        total: cells of the grid.
    """

    folder: Path
    settings: dict
    rows: tuple[dict, ...]
    total: int

    __repr__ = brief_fields

    def _variables(self):
        names = cell_file.COLUMNS
        return {name: (("cell",), _column([row[name] for row in self.rows])) for name in names}

    def curves(self, cell: int) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The curves that a cell has: t, lr, theory_risk and theory_phi of shape (n,), run_risk (n_runs, n).

        Models other than "linear" have theory_overlaps (n, 3) and run_overlaps (n_runs, n, 3) too.

        ``theory_aligned``, a bool of shape (), is ``.aligned`` of the theory: whether features were taken to be
        correlated with the residual. Cells of earlier versions lack it.
        """
        cell = check.integer("cell", cell, minimum=0)
        if not any(row["cell"] == cell for row in self.rows):
            raise ValueError(f"cell must be one of the {len(self.rows)} that are done, got {cell}")
        path = cell_file.cell_path(self.folder, cell)
        with reading("cell", path):
            arrays = read_npz(path)
        arrays.pop("settings", None)
        return arrays

    def best(self) -> list[dict]:
        """The learning rate with the lowest risk at t_max, by theory and by the runs, for each other setting.

        Risks are means over the seeds; a rate that diverged for any seed has risk infinity. ``theory_at_edge`` and
        ``run_at_edge`` say that the best is the smallest or largest rate tried, so that a better one may lie outside.
        Runs whose mean risk does not exist (SGD under noise of infinite variance) have no best rate: None.
        """
        return best_rates(cell_file.with_means(self.rows))

    def table(self) -> str:
        """``best`` as an aligned text table, with a count of the cells by status."""
        counts = {}
        for row in self.rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        parts = [f"{n} {status}" for status, n in counts.items()] + [f"{self.total - len(self.rows)} to do"]
        bests = self.best()
        columns = [name for name in bests[0] if "edge" not in name] if bests else []
        lines = [[_short(best[name]) for name in columns] for best in bests]
        text = align([columns, *lines]) + "\n\n" if lines else ""
        if not all(map(cell_file.has_mean, self.rows)):
            text += "No best rate by runs (-) where the noise has infinite variance and with it the mean risk.\n\n"
        return f"{text}{self.total} cells: {', '.join(parts)}"

    def plot(self, axis: str | None = None) -> dict:
        """Figures by name: heat maps of the risk over (lr, ``axis``), and the best learning rate along ``axis``.

        ``axis`` is "d", "covariance", "noise", "batch_size" or "model"; default the one with the most values.
        """
        from sdelimit.experiments.plot import plot_sweep

        return plot_sweep(self, axis)


def sweep(
    out,
    *,
    optimizer,
    lr,
    t_max,
    d=None,
    covariance=None,
    model="linear",
    noise=None,
    data=None,
    label=None,
    batch_size=1,
    seed=0,
    n_runs: int = 16,
    points: int = 41,
    force: bool = False,
    retry_failed: bool = False,
    parquet: bool = False,
    progress: bool | None = None,
    workers: int | None = None,
    executor=None,
) -> Sweep:
    """Solve the risk ODE and run the optimizer for every combination of the given values.

    Each cell is written to ``out`` whole or not at all, as soon as it is done. The same call goes on after an
    interruption of any kind (Ctrl-C, a killed process, a full disk), and ends with the same table as without it. A
    cell that diverges, has no theory or fails is recorded with the reason, and the others go on. Cells of one seed
    share their samples, so that optimizers and learning rates are paired.

    Args:
        out: folder, made if need be. If it holds a sweep, that must be the same one, by the same versions of sdelimit,
            JAX, NumPy and optax on the same kind of device.
        optimizer: one text, or several, as on the command line: "sign_sgd", "adam:0.9,0.95".
        lr: eta: numbers or schedules ("cosine:0.5"); {"from": 0.1, "to": 10, "points": 9} for rates in equal ratios;
            or a dictionary of any of these, one for each optimizer.
        t_max: horizon t = steps/d.
        d: dimension, or several.
        covariance, noise: texts, or several: "ar1:0.5", "student_t:1.5,0.3", or a file of numbers; default "identity"
            and "none".
        data: a file of rows in place of ``d``, ``covariance`` and ``noise``, as for ``sl.data.from_file``. In the table
            it is the covariance, and the noise is "rows".
        label: the column of ``data`` that holds the labels: its name or number; default the last.
        model: a text, or several: "linear", "logistic:hard", "logistic:soft", "probit", "poisson", "phase",
            "huber:0.5", "absolute". Beside linear, huber and absolute, noise must be "none".
        batch_size: samples per step, or several.
        seed: seed of target and samples, or several.
        n_runs: simulated runs in each cell; 0 for theory alone.
        points: times at which curves are kept.
        force: discard what the folder holds of any sweep, and start again.
        retry_failed: compute cells again whose status is "failed".
        parquet: write ``table.parquet`` too, which needs pyarrow.
        progress: show cells done and time left; default only on a terminal.
        workers: processes that compute cells, each with one thread; default this process alone, with all threads that
            JAX takes. A script needs ``if __name__ == "__main__":`` around it, as for all processes of Python.
        executor: in place of ``workers`` whatever has ``submit`` as ``concurrent.futures`` do: that of a Dask client
            (``Client(address).get_executor()``), of mpi4py, or processes of your own. Its workers need the same
            versions and the same input files at the same paths. It is not shut down.

    The table is the same whoever computes the cells. This process writes them, each as soon as it comes, so that what a
    worker has returned is never lost; a cell whose worker is lost (killed, say) is computed in this process, with a
    warning.

    Returns:
        A ``Sweep``; ``out`` holds ``table.csv``, one line a cell, and ``cells/*.npz``.

    Raises:
        TypeError, ValueError: naming the argument, before any work: for a wrong value, or a folder that cannot be
            written, is too full, or belongs to another sweep; or later, if an input file changes while cells are
            computed: all before it are kept.
        RuntimeError: if another process works on the folder.
        OSError: if a result cannot be written; all cells before it are kept.
    """
    force, retry_failed = check.flag("force", force), check.flag("retry_failed", retry_failed)
    parquet, progress = check.flag("parquet", parquet), check.flag("progress", progress, optional=True)
    workers = _checked_workers(workers, executor)
    settings = json.loads(json.dumps(grid_settings(
        optimizer=optimizer, lr=lr, t_max=t_max, d=d, covariance=covariance, model=model, noise=noise, data=data,
        label=label,
        batch_size=batch_size, seed=seed, n_runs=n_runs, points=points,
    )))  # fmt: skip
    if parquet and importlib.util.find_spec("pyarrow") is None:
        raise ValueError('parquet needs pyarrow, which is not installed: pip install "sdelimit[parquet]"')
    folder = sweep_folder.make_folder(out, settings, force)
    with folder_lock("out", folder):
        identity = sweep_folder.claim_folder(folder, settings, force)
        with contextlib.nullcontext(executor) if workers is None else processes(workers) as pool:
            rows = _run(folder, identity, retry_failed, progress, pool)
        if parquet:
            sweep_folder.write_parquet(folder, rows)
    return Sweep(folder, settings, tuple(rows), len(rows))


def read_sweep(folder) -> Sweep:
    """The sweep in a folder, finished or not, from the files of its cells.

    Raises:
        TypeError, ValueError: if ``folder`` holds no sweep.
    """
    folder, settings, rows = sweep_folder.read_folder(folder)
    return Sweep(folder, settings, tuple(rows), len(cells(settings)))


def _checked_workers(workers, executor) -> int | None:
    """``workers`` if it is None or a number >= 1 without an ``executor``, which has ``submit``."""
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must have submit(function, *arguments), got {check.describe(executor)}")
    if workers is None:
        return None
    if executor is not None:
        raise ValueError("workers must be None with an executor, which has its own")
    return check.integer("workers", workers, minimum=1)


def _run(folder, identity, retry_failed, progress, executor):
    """All rows, those of the folder as they are; the others are computed here, or by the executor."""
    settings = identity["settings"]
    plan, rows = cells(settings), sweep_folder.load_rows(folder, identity)
    if retry_failed:
        rows = {index: row for index, row in rows.items() if row["status"] != "failed"}
    to_do = [(index, cell) for index, cell in enumerate(plan) if index not in rows]
    common = {name: settings[name] for name in ("t_max", "points", "n_runs")} | version_info()
    found = _here(to_do, settings) if executor is None else _elsewhere(to_do, identity, executor)
    written = time.monotonic()
    with progress_bar(progress, len(plan), "cell", initial=len(rows), smoothing=0.05) as bar, contextlib.closing(found):
        try:
            for index, row, arrays in found:
                record = {**plan[index]._asdict(), **common, "inputs": _unchanged_inputs(plan[index], settings)}
                _save(folder, index, row, arrays, record)
                rows[index] = row
                bar.update()
                if time.monotonic() - written > TABLE_SECONDS:
                    sweep_folder.write_table(folder, _in_order(rows))
                    written = time.monotonic()
            sweep_folder.write_table(folder, _in_order(rows))
        except (KeyboardInterrupt, ValueError):
            _write_table_from_files(folder, identity)
            raise
    return _in_order(rows)


def _here(to_do, settings):
    """(index, row, arrays) of each cell, computed in this process."""
    for index, cell in to_do:
        _unchanged_inputs(cell, settings)
        row, arrays = cell_file.run_cell(index, cell, settings, cell_file.shared_problem_of)
        yield index, row, arrays


def _elsewhere(to_do, identity, executor):
    """(index, row, arrays) of each cell as an executor returns it, then of those that it has lost.

    ValueError if a worker has other versions.
    """
    settings, lost, cells_of = identity["settings"], {}, dict(to_do)

    def tasks():
        for index, cell in to_do:
            places = {name: found["path"] for name, found in _unchanged_inputs(cell, settings).items()}
            yield index, (index, cell, settings, places)

    with contextlib.closing(outcomes(executor, tasks())) as found:
        for index, outcome in found:
            if isinstance(outcome, LostError):
                lost[index] = outcome
                continue
            row, arrays, versions = outcome
            if versions != identity["versions"]:
                raise ValueError(
                    f"executor: its workers must have the versions of this process, {identity['versions']}, and have "
                    f"{versions}"
                )
            yield index, row, arrays
    warn_lost(lost)
    yield from _here([(index, cells_of[index]) for index in sorted(lost)], settings)


def _write_table_from_files(folder, identity):
    """The table of what is on the disk: an interruption may come between a cell's file and its row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the damaged cells were named at the start
        sweep_folder.write_table(folder, _in_order(sweep_folder.load_rows(folder, identity)))


def _unchanged_inputs(cell, settings):
    """The input files of a cell as they are recorded. ValueError if one is not what it was when the sweep began."""
    kept = "the cells that are done are kept, and with the file as it was the same call goes on"
    try:
        inputs = describe_inputs(*input_texts([cell.covariance], [cell.noise]))
    except OSError as error:
        raise ValueError(f"the input file {error.filename} cannot be read: {error.strerror}; {kept}") from error
    for name, recorded in inputs.items():
        if recorded["sha256"] != settings["inputs"][name]:
            raise ValueError(f"the input file {name} has changed since the sweep began; {kept}")
    return inputs


def _save(folder, index, row, arrays, record):
    try:
        cell_file.save_cell(cell_file.cell_path(folder, index), row, arrays, record)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cell {index} cannot be written to {folder}: {error.strerror}; all before it are kept, and the same call "
            "goes on from here",
        ) from error


def _in_order(rows):
    return [rows[index] for index in sorted(rows)]


def _column(values):
    """Numbers, NaN where there is none; texts and mixtures as they are."""
    if all(value is None or isinstance(value, int | float) for value in values) and None in values:
        values = [np.nan if value is None else value for value in values]
    kinds = {type(value) for value in values}
    return np.array(values, dtype=None if len(kinds) == 1 and str not in kinds else object)


def _short(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
