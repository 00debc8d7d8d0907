"""The folder of a sweep: what identifies it, its cells, its table."""

import csv
import json
import math
import re
from pathlib import Path

from sdelimit.experiments.cell import COLUMNS, cell_path, load_row
from sdelimit.experiments.grid import EARLIER, cells, require_settings
from sdelimit.support import arguments as check
from sdelimit.support.files import as_path, reading, remove_leftover, replacing, temporary, writable_folder
from sdelimit.support.versions import numeric_versions

IDENTITY, TABLE, PARQUET = "sweep.json", "table.csv", "table.parquet"
FORMAT = 1
FIGURE = re.compile(r"(heat-map|best-lr|risk)(-[1-9]\d*)?\.(png|pdf)")
"""Names that ``report`` writes."""


def make_folder(out, settings, force: bool) -> Path:
    """The folder, with room for the results still to come. ValueError if it cannot be written or is too full."""
    folder = as_path("out", out)
    to_do = [cell for i, cell in enumerate(cells(settings)) if force or not cell_path(folder, i).exists()]
    folder = writable_folder("out", folder, sum(_largest(settings, cell.d) for cell in to_do))
    return writable_folder("out", folder / "cells").parent


def claim_folder(folder, settings, force: bool) -> dict:
    """Make the folder that of this sweep, and return what identifies it.

    ValueError if it holds anything else, unless ``force`` discards that.
    """
    if force:
        _discard(folder)
    identity = {"format": FORMAT, "settings": settings, "versions": numeric_versions()}
    path = folder / IDENTITY
    if path.exists():
        _require_same(folder, _read_identity("out", path), identity)
    elif (folder / TABLE).exists() or any((folder / "cells").glob("*.npz")):
        raise ValueError(f"out: {folder} holds results but no {IDENTITY}; choose another folder or discard them: force")
    for index in range(len(cells(settings))):
        remove_leftover(cell_path(folder, index))
        _remove_folder(cell_path(folder, index))
    for name in (IDENTITY, TABLE, PARQUET):
        remove_leftover(folder / name)
    if not path.exists():
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(identity, indent=2) + "\n")
    return identity


def load_rows(folder, identity, then="will be computed again") -> dict[int, dict]:
    """{index: row} of the cells that are done; damaged ones are left out with a warning."""
    plan = cells(identity["settings"])
    rows = {i: load_row(cell_path(folder, i), i, cell, identity, then) for i, cell in enumerate(plan)}
    return {index: row for index, row in rows.items() if row is not None}


def read_folder(folder) -> tuple[Path, dict, list[dict]]:
    """(folder, settings, rows of the cells that are done), from the files alone."""
    folder = as_path("folder", folder)
    if not (folder / IDENTITY).is_file():
        raise ValueError(f"folder: {folder} holds no sweep: it has no {IDENTITY}")
    identity = _read_identity("folder", folder / IDENTITY)
    if identity.get("format") != FORMAT:
        there = check.describe(identity.get("format"))
        raise ValueError(f"folder: {folder} holds a sweep of format {there}, and this version reads format {FORMAT}")
    rows = load_rows(folder, identity, "is left out; the sweep's command computes it again")
    return folder, identity["settings"], list(rows.values())


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
    """Remove the files of a sweep, its report's figures among them, and no others."""
    is_sweep = (folder / IDENTITY).exists() or (folder / TABLE).exists()
    figures = [path for path in folder.iterdir() if is_sweep and FIGURE.fullmatch(path.name)]
    cells_there = (folder / "cells").glob("*.npz")
    for path in [*cells_there, *figures, *(folder / name for name in (TABLE, PARQUET, IDENTITY))]:
        _remove_folder(path)
        path.unlink(missing_ok=True)
        temporary(path).unlink(missing_ok=True)


def _remove_folder(path):
    """Make room for a file where an empty folder is. ValueError if it is not empty."""
    if path.is_dir():
        try:
            path.rmdir()
        except OSError as error:
            raise ValueError(f"out: {path} is a folder, where a file of the sweep belongs; move it away") from error


def _read_identity(name, path) -> dict:
    """What ``sweep.json`` holds. ValueError naming the argument if that cannot be a sweep's."""
    advice = "choose another folder, or discard what this one holds and start again: sweep with force"
    with reading(name, path, "is damaged", advice):
        identity = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(identity, dict):
            raise ValueError(f"it holds {check.describe(identity)}")
        for part in ("settings", "versions"):
            if not isinstance(identity.get(part), dict):
                raise ValueError(f"its {part} are {check.describe(identity.get(part))}")
        identity["settings"] = {**{name: [value] for name, value in EARLIER.items()}, **identity["settings"]}
        if identity.get("format") == FORMAT:
            require_settings(identity["settings"])
    return identity


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
