"""CIFAR-10 from a folder of its Python batches."""

import pickle

import numpy as np

from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression, from_arrays
from sdelimit.support import arguments as check
from sdelimit.support.files import as_path, reading

PIXELS = 3072
CLASSES = 10


def cifar10(folder, classes=(0, 1), **options) -> DataRegression | DataLogisticRegression:
    """Tell two classes of CIFAR-10, or two groups of them, apart, y = 1 or -1.

    The images are those of the batches ``data_batch_*`` in ``folder``.
    The folder is what the archive "CIFAR-10 python version" unpacks to (``cifar-10-batches-py``). The files are
    pickles, which could run any code; only the arrays, numbers, texts, lists and dictionaries that such a batch is
    made of are let in. K of the 3072 pixels takes 75 MB; ``random_features=1000`` is the usual choice.

    Args:
        folder: path of the folder.
        classes: the labels, 0 to 9, of y = 1 and of y = -1: two of them, or two groups of them, such as
            ((0, 1, 8, 9), (2, 3, 4, 5, 6, 7)), machines and animals.
        options: as for ``from_arrays``.

    Returns:
        What ``from_arrays`` makes of one row for each image of these classes: of two, 10,000 of the whole training set.

    Raises:
        TypeError, ValueError: naming the argument: for a folder without batches, a file that is not one, or one that
            holds anything else.
    """
    first, second = _groups(classes)
    paths = sorted(as_path("folder", folder).glob("data_batch_*"))
    if not paths:
        raise ValueError(f"folder must hold CIFAR-10's Python batches data_batch_1, ..., got none in {folder}")
    images, labels = (np.concatenate(parts) for parts in zip(*map(_read_batch, paths), strict=True))
    for label in (*first, *second):
        if not np.any(labels == label):
            raise ValueError(f"classes must occur in the data, got {label}, of which {folder} has no image")
    chosen = np.isin(labels, (*first, *second))
    options = {"name": f"CIFAR-10, classes {classes[0]} or {classes[1]}", **options}
    return from_arrays(images[chosen] / 255, np.where(np.isin(labels[chosen], first), 1.0, -1.0), **options)


def _groups(classes):
    """The labels of y = 1 and those of y = -1."""
    if not isinstance(classes, (tuple, list)) or len(classes) != 2:
        raise ValueError(f"classes must be two labels, as (0, 1), or two groups of them, got {check.describe(classes)}")
    groups = [group if isinstance(group, (tuple, list)) else (group,) for group in classes]
    first, second = (tuple(check.integer("classes", label, minimum=0) for label in group) for group in groups)
    if not (first and second) or len({*first, *second}) < len(first + second) or max(first + second) >= CLASSES:
        raise ValueError(f"classes must be different labels from 0 to 9, got {first} and {second}")
    return first, second


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays and built-in containers, numbers and texts; refuses every other class or function."""

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            return _empty_array
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch does")


def _latin1(text, encoding):
    """Bytes as Python 2 text is pickled by Python 3."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _empty_array(kind, shape, code):
    """What NumPy's pickles start from; their state fills it."""
    return np.ndarray((0,), np.uint8)


def _read_batch(path):
    """(images (k, 3072), labels (k,)) of one file."""
    # A damaged pickle can raise anything.
    with reading("folder", path, "is not a CIFAR-10 batch", damage=Exception), open(path, "rb") as file:
        batch = _ArraysOnly(file, encoding="bytes").load()
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
        raise ValueError(f"folder: {path} is not a CIFAR-10 batch: it must be a dictionary with data and labels")
    images, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (PIXELS,):
        raise ValueError(f"folder: data of {path} must be bytes of shape (k, {PIXELS}), got {_kind(images)}")
    labels = check.array(f"labels of {path}", labels, shape=(images.shape[0],))
    return images, labels


def _kind(value):
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
