"""Problems from tables in text and Parquet files, and from .npz and .npy files."""

import numbers
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression, problem_of
from sdelimit.support import arguments as check
from sdelimit.support.files import FileError, as_path, load_array, npz_names, read_npy, read_npz, reading
from sdelimit.support.tables import is_table, read_table


class _Contents(NamedTuple):
    """What a file holds: ``names`` of the columns of X (names of a header, or their numbers in the file from 1)."""

    X: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    names: tuple | None = None


def from_file(path, target=None, **options) -> DataRegression | DataLogisticRegression:
    """The regression problem of a data file.

    Args:
        path: a table: a .csv, .tsv or .txt file (and .gz of these) or a .parquet file (with the ``parquet`` extra) or
            a .npy file; or an .npz file with arrays X (n, d) and y (n,). Nothing in it is unpickled. Texts are numbers
            separated by commas, semicolons, tabs or blanks, with a header or none, maybe in double quotes; blank
            lines and lines that begin with # are ignored.
        target: where the labels y are. The name of a column, if the table has a header, or its number, 0 for the
            first and -1 for the last (as a text, too, where no column has that name); the rest is X. An array (n,) or
            the path of a file that holds one column: the whole table, or X of an .npz file, is X. Default: y of an
            .npz file; of a table the last column, with a warning that says so.
        options: as for ``from_arrays``; ``name``, which figures and tables show, is that of the file unless given.

    Raises:
        TypeError, ValueError: naming the file and what is wrong: missing, of another kind, of a wrong shape, with an
            entry that is missing, a text or not finite (its line from 1, and its column), or a constant column.
        ImportError: for Parquet without pyarrow.

    Warns:
        UserWarning: if the last column of a table is taken for the labels without having been asked for, as it would
            be of a file of features alone.
    """
    path = as_path("path", path)
    options = {"name": path.name, **options}
    try:
        X, y, names = _contents(path, target)
        if target is None and path.suffix != ".npz":
            warnings.warn(_last_column(path, X, y), stacklevel=2)
        return problem_of(X, y, names, **options)
    except FileError:
        raise
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _last_column(path, X, y):
    """What a table without a ``target`` is taken for."""
    return (
        f"{path}: the last column, number {X.shape[1]} of 0 to {X.shape[1]}, is taken for the labels y: "
        f"{np.unique(y).size} different numbers from {np.min(y):.4g} to {np.max(y):.4g}. target=-1 says that it is; "
        "for a table of features alone give the labels as target=, an array (n,) or the path of its file"
    )


KINDS = ".npz, .npy, .csv, .tsv, .txt (or .gz of these texts) or .parquet"


def _contents(path, target) -> _Contents:
    """X and y, as they are in the files."""
    if path.suffix == ".npz":
        return _from_npz(path, target)
    if path.suffix != ".npy" and not is_table(path):
        raise ValueError(f"path must be a file of type {KINDS}, got {path.name!r}")
    with reading("data", path, "does not hold an array of numbers"):
        table, names = (check.array("data", read_npy(path)), None) if path.suffix == ".npy" else read_table(path)
    if not _is_column(target, names):
        return _Contents(table, _labels(target, names), names)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"data must be a table (n, d + 1) with a column of labels, got shape {table.shape}")
    column = _column(target, names, table.shape[1])
    numbers_of = names or tuple(range(1, table.shape[1] + 1))
    return _Contents(np.delete(table, column, axis=1), table[:, column], numbers_of[:column] + numbers_of[column + 1 :])


def _is_column(target, names):
    """Whether ``target`` says which column of the table, not where else the labels are."""
    if isinstance(target, str):
        return target in (names or ()) or re.fullmatch("-?[0-9]{1,9}", target) is not None
    if target is None:
        return True
    return isinstance(target, numbers.Integral) and not isinstance(target, (bool, np.bool_))


def _column(target, names, width) -> int:
    """The number of the column from 0."""
    if isinstance(target, str) and target in (names or ()):
        if names.count(target) > 1:
            raise ValueError(f"target must be the name of one column, got {target!r}, which {names.count(target)} have")
        return names.index(target)
    column = -1 if target is None else int(target)
    if not -width <= column < width:
        raise ValueError(f"target must be a column of the table, -1 or 0 to {width - 1}, got {column}")
    return column % width


def _labels(target, names=None):
    """The labels of an array or of a file that holds one."""
    if not isinstance(target, (str, Path)):
        return check.array("target", target, ndim=1)
    path = as_path("target", target)
    if path.suffix != ".npy" and not is_table(path):
        raise ValueError(f"target: {_no_such_column(str(target), names)}")
    return load_array(str(path), "target").squeeze()


def _no_such_column(target, names):
    if names is None:
        return (
            f"{target!r} is no file of labels (.npy, .csv, .tsv, .txt or .parquet), and the data have no header to "
            "find a column of this name in; a column's number, 0 for the first, says it too"
        )
    shown = ", ".join(names[:10]) + (f", ... ({len(names)} columns)" if len(names) > 10 else "")
    return f"no column {target!r}{check.nearest(target, names)}; the table has {shown}"


def _from_npz(path, target) -> _Contents:
    if target is not None and _is_column(target, None):
        raise ValueError(f"target must be the labels or their file for an .npz file, got column {target}")
    wanted = ("X", "y") if target is None else ("X",)
    with reading("path", path, "is not an .npz file of arrays"):
        names = npz_names(path)
        arrays = list(read_npz(path, [name for name in wanted if name in names]).values())
    if len(arrays) < len(wanted):
        raise ValueError(f"data must hold {'arrays X and y' if target is None else 'an array X'}, got {names}")
    return _Contents(arrays[0], arrays[1] if target is None else _labels(target))
