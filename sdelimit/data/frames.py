"""Features and labels in arrays or in data frames, with whatever is no number named by its column."""

import numbers

import numpy as np
from jaxtyping import Float

from sdelimit.support import arguments as check


def features(name: str, X) -> tuple[Float[np.ndarray, "n d"], tuple[str, ...] | None]:
    """``X`` as a finite array, and the names of its columns if it is a data frame.

    Raises TypeError or ValueError, naming the argument and the column, for texts, and missing or infinite numbers.
    """
    if not _is_frame(X):
        return check.array(name, X, ndim=2), None
    names = tuple(str(column) for column in X.columns)
    if len(names) == 0 or len(X) == 0:
        raise ValueError(f"{name} must not be empty, got a data frame of shape {X.shape}")
    columns = [_numbers(f"{name}, column {text!r}", X.iloc[:, i]) for i, text in enumerate(names)]
    return np.column_stack(columns), names


def labels(name: str, y) -> np.ndarray:
    """``y`` as an array (n,): also one that is given as a column (n, 1), a Series, or a data frame of one column.

    Raises TypeError or ValueError, naming the argument (and the column), for more columns, and for texts and missing
    numbers in a Series or data frame: what arrays hold is not looked at.
    """
    if _is_frame(y):
        if y.shape[1] != 1:
            raise ValueError(f"{name} must have one column, got the columns {[str(c) for c in y.columns][:10]}")
        return _numbers(f"{name}, column {str(y.columns[0])!r}", y.iloc[:, 0])
    if hasattr(y, "iloc"):
        return _numbers(name if y.name is None else f"{name}, column {str(y.name)!r}", y)
    try:
        given = np.asarray(y)
    except ValueError as error:
        raise TypeError(f"{name} must be an array of real numbers, got {check.describe(y)}") from error
    return given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given


def _is_frame(value):
    """Whether a value is a data frame of pandas (or of what has its interface): pandas itself is not needed."""
    return hasattr(value, "columns") and hasattr(value, "iloc")


def _numbers(what, column) -> Float[np.ndarray, " n"]:
    """The numbers of a Series."""
    values = np.asarray(column)
    if values.dtype.kind not in "fiubO":
        raise TypeError(f"{what} must hold real numbers, got {column.dtype}")
    missing = np.asarray(column.isna(), bool)
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} must not miss numbers: that of row {row} (label {column.index[row]!r}) is missing")
    if values.dtype.kind == "O":
        for row, value in enumerate(values):
            if not isinstance(value, (numbers.Real, np.bool_)):
                raise TypeError(f"{what} must hold real numbers, got {check.describe(value)} in row {row}")
    return check.array(what, values.astype(np.float64))
