"""Problems from .npz, .npy and CSV files."""

import numpy as np

from sdelimit.data.data_regression import DataRegression, from_arrays
from sdelimit.support import arguments as check
from sdelimit.support.files import FileError, as_path, load_array, reading


def from_file(path, **options) -> DataRegression:
    """The regression problem of a data file.

    Args:
        path: an .npz file with arrays X (n, d) and y (n,), or a .npy or .csv file (numbers separated by commas) of
            shape (n, d + 1) whose last column is y. Nothing in it is unpickled.
        options: as for ``from_arrays``.

    Raises:
        TypeError, ValueError: naming the file and what is wrong: missing, of another kind, of a wrong shape, with an
            entry that is not finite or a constant column.
    """
    path = as_path("path", path)
    try:
        return from_arrays(*_arrays(path), **options)
    except FileError:
        raise
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _arrays(path):
    check.choice("path: data file type", path.suffix, (".npz", ".npy", ".csv"))
    if path.suffix == ".npz":
        return _from_npz(path)
    table = load_array(str(path), "data")
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"data must be a table (n, d + 1) whose last column is y, got shape {table.shape}")
    return table[:, :-1], table[:, -1]


def _from_npz(path):
    with reading("path", path, "is not an .npz file of arrays"), np.load(path, allow_pickle=False) as file:
        if {"X", "y"} <= set(file.files):
            return file["X"], file["y"]
        names = sorted(file.files)
    raise ValueError(f"data must hold arrays X and y, got {names}")
