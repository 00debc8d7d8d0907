"""Problems from .npz, .npy and CSV files."""

import numbers
import warnings
from pathlib import Path

import numpy as np

from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression, from_arrays
from sdelimit.support import arguments as check
from sdelimit.support.files import FileError, as_path, load_array, npz_names, read_npz, reading


def from_file(path, target=None, **options) -> DataRegression | DataLogisticRegression:
    """The regression problem of a data file.

    Args:
        path: an .npz file with arrays X (n, d) and y (n,), or a .npy or .csv file (numbers separated by commas) that
            holds one table. Nothing in it is unpickled.
        target: where the labels y are. An integer: the column of the table, -1 for the last, of (n, d + 1); the rest
            is X. An array (n,) or the path of a .npy or .csv file that holds one: the whole table, or X of an .npz
            file, is X. Default: y of an .npz file; of a table the last column, with a warning that says so.
        options: as for ``from_arrays``.

    Raises:
        TypeError, ValueError: naming the file and what is wrong: missing, of another kind, of a wrong shape, with an
            entry that is not finite or a constant column.

    Warns:
        UserWarning: if the last column of a table is taken for the labels without having been asked for, as it would
            be of a file of features alone.
    """
    path = as_path("path", path)
    try:
        X, y = _arrays(path, target)
        if target is None and path.suffix != ".npz":
            warnings.warn(_last_column(path, X, y), stacklevel=2)
        return from_arrays(X, y, **options)
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


def _arrays(path, target):
    """(X, y), as they are in the files."""
    check.choice("path: data file type", path.suffix, (".npz", ".npy", ".csv"))
    if path.suffix == ".npz":
        return _from_npz(path, target)
    table = load_array(str(path), "data")
    if target is not None and not _is_column(target):
        return table, _labels(target)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"data must be a table (n, d + 1) with a column of labels, got shape {table.shape}")
    column = -1 if target is None else int(target)
    if not -table.shape[1] <= column < table.shape[1]:
        raise ValueError(f"target must be a column of the table, -1 or 0 to {table.shape[1] - 1}, got {column}")
    return np.delete(table, column, axis=1), table[:, column]


def _is_column(target):
    return isinstance(target, numbers.Integral) and not isinstance(target, (bool, np.bool_))


def _labels(target):
    """The labels of an array or of a file that holds one."""
    if not isinstance(target, (str, Path)):
        return check.array("target", target, ndim=1)
    path = as_path("target", target)
    check.choice("target: data file type", path.suffix, (".npy", ".csv"))
    return load_array(str(path), "target").squeeze()


def _from_npz(path, target):
    if _is_column(target):
        raise ValueError(f"target must be the labels or their file for an .npz file, got column {target}")
    wanted = ("X", "y") if target is None else ("X",)
    with reading("path", path, "is not an .npz file of arrays"):
        names = npz_names(path)
        arrays = list(read_npz(path, [name for name in wanted if name in names]).values())
    if len(arrays) < len(wanted):
        raise ValueError(f"data must hold {'arrays X and y' if target is None else 'an array X'}, got {names}")
    return (*arrays, _labels(target)) if target is not None else arrays
