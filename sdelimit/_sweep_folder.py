"""The folder of a sweep: what identifies it, its cells, its table."""

import csv
import json
import math
from pathlib import Path

from sdelimit import _validation as check
from sdelimit._cells import COLUMNS, cell_path, load_row
from sdelimit._files import as_path, remove_leftover, replacing, temporary, writable_folder
from sdelimit._grid import cells
from sdelimit._versions import numeric_versions

IDENTITY, TABLE, PARQUET = "sweep.json", "table.csv", "table.parquet"
FORMAT = 1


def make_folder(out, settings) -> Path:
    """The folder, with room for the results. ValueError if it cannot be written or is too full."""
    folder = writable_folder("out", out, sum(_largest(settings, cell.d) for cell in cells(settings)))
    return writable_folder("out", folder / "cells").parent


def claim_folder(folder, settings, force: bool):
    """Make the folder that of this sweep. ValueError if it holds anything else, unless ``force`` discards that."""
    if force:
        _discard(folder)
    identity = {"format": FORMAT, "settings": settings, "versions": numeric_versions()}
    path = folder / IDENTITY
    if path.exists():
        _require_same(folder, _read_identity(path), identity)
    elif (folder / TABLE).exists() or any((folder / "cells").glob("*.npz")):
        raise ValueError(f"out: {folder} holds results but no {IDENTITY}; choose another folder or discard them: force")
    for index in range(len(cells(settings))):
        remove_leftover(cell_path(folder, index))
    for name in (IDENTITY, TABLE, PARQUET):
        remove_leftover(folder / name)
    if not path.exists():
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(identity, indent=2) + "\n")


def read_folder(folder) -> tuple[Path, dict, list[dict]]:
    """(folder, settings, rows of the cells that are done), from the files alone."""
    folder = as_path("folder", folder)
    if not (folder / IDENTITY).is_file():
        raise ValueError(f"folder: {folder} holds no sweep: it has no {IDENTITY}")
    settings = _read_identity(folder / IDENTITY)["settings"]
    rows = [load_row(cell_path(folder, index)) for index in range(len(cells(settings)))]
    return folder, settings, [row for row in rows if row is not None]


def write_table(folder, rows):
    """One line for each cell that is done, in the order of the grid; empty where a cell has no number."""
    with replacing(folder / TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_text(row[name]) for name in COLUMNS] for row in rows)


def write_parquet(folder, rows):
    """The same table for pandas, polars and others; needs pyarrow."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    columns["lr"] = [_text(value) for value in columns["lr"]]  # a number or a schedule
    with replacing(folder / PARQUET) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _text(value):
    """Numbers to nine digits: more than float32 simulations have."""
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _largest(settings, d) -> int:
    """Bytes of a cell's file if nothing can be compressed."""
    n = min(settings["points"], math.floor(settings["t_max"] * d) + 1)
    return 8 * n * (settings["n_runs"] + 4) + 4096


def _discard(folder):
    """Remove the files of a sweep, and no others."""
    for path in [*(folder / "cells").glob("*.npz"), *(folder / name for name in (TABLE, PARQUET, IDENTITY))]:
        path.unlink(missing_ok=True)
        temporary(path).unlink(missing_ok=True)


def _read_identity(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"out: {path} is damaged: {error}") from error


def _require_same(folder, there, here):
    differences = [
        f"{name} {there.get(part, {}).get(name)} there, {here[part].get(name)} here"
        for part in ("settings", "versions")
        for name in sorted(there.get(part, {}).keys() | here[part].keys())
        if there.get(part, {}).get(name) != here[part].get(name)
    ]
    if there.get("format") != here["format"]:
        differences.append(f"format {check.describe(there.get('format'))} there, {here['format']} here")
    if differences:
        raise ValueError(
            f"out: {folder} holds a sweep of other settings or versions, which must not be mixed with this one: "
            f"{'; '.join(differences)}. Choose another folder, or discard that sweep: force"
        )
