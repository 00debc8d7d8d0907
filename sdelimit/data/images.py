"""Problems from the image files that scikit-learn ships: no network."""

import numpy as np

from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression, balanced_rows, from_arrays
from sdelimit.support import arguments as check


def natural_patches(size: int = 17, n: int = 20_000, seed: int = 0, **options) -> DataRegression:
    """Predict the centre pixel of a natural-image patch from all its others: d = size^2 - 1.

    Square patches at random places of the two photographs that scikit-learn ships, in grey. From each patch, centre
    included, the mean of its other pixels is subtracted, and it is divided by their standard deviation (contrast
    normalization, which takes out most of the differences in |x| between patches); flat patches, with a standard
    deviation below 1% of white, are not drawn. Labels have unit variance.

    Args:
        size: side of a patch in pixels, odd, 3 to 101.
        n: patches, all different.
        seed: seed of their places.
        options: as for ``from_arrays``.

    Returns:
        A ``DataRegression`` with n rows.

    Raises:
        ImportError: without scikit-learn (the ``data`` extra). TypeError, ValueError: naming the argument.
    """
    size, n = check.integer("size", size, minimum=3), check.integer("n", n, minimum=2)
    seed = check.seed("seed", seed)
    if size % 2 == 0 or size > 101:
        raise ValueError(f"size must be odd, so that a patch has a centre, and at most 101, got {size}")
    images = [image.mean(axis=2) / 255 for image in _datasets().load_sample_images().images]
    patches = _normalize(images, size, np.random.default_rng(seed))
    patches = np.concatenate([block for block in _take(patches, n)])
    middle = size**2 // 2
    y = patches[:, middle]
    return from_arrays(np.delete(patches, middle, axis=1), y / y.std(), **{"name": "natural patches", **options})


def digits(digit: int | None = None, **options) -> DataRegression | DataLogisticRegression:
    """Tell odd from even handwritten digits, or one digit from the rest, y = 1 or -1: 1797 images of 8 x 8 pixels.

    The pixels that are the same in all images are left out: d = 61 with all of them. Try ``random_features=512``, and
    ``digits(3, model="logistic", balance=True)``.

    Args:
        digit: the digit, 0 to 9, of y = 1; default all odd ones.
        options: as for ``from_arrays``.

    Raises ImportError without scikit-learn (the ``data`` extra), ValueError for a digit that is none.
    """
    if digit is not None and check.integer("digit", digit, minimum=0) > 9:
        raise ValueError(f"digit must be at most 9, got {digit}")
    balance = check.flag("balance", options.get("balance", False))
    seed = check.seed("seed", options.get("seed", 0))
    X, y = _datasets().load_digits(return_X_y=True)
    y = np.where(y % 2 == 1 if digit is None else y == digit, 1.0, -1.0)
    used = X[balanced_rows(y, seed)] if balance else X
    kinds = "odd or even digits" if digit is None else f"digit {digit} or another"
    return from_arrays(X[:, used.std(axis=0) > 0], y, **{"name": kinds, **options})


LEAST_CONTRAST = 0.01


def _normalize(images, size, rng):
    """Normalized patches of all places in a random order, (k, size^2) at a time."""
    views = [np.lib.stride_tricks.sliding_window_view(image, (size, size)) for image in images]
    sizes = [v.shape[0] * v.shape[1] for v in views]
    places = rng.permutation(sum(sizes))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    for chosen in np.array_split(places, max(1, places.size // 4096)):
        which = np.searchsorted(edges, chosen, side="right") - 1
        patches = np.empty((chosen.size, size**2))
        for i, view in enumerate(views):
            place = chosen[which == i] - edges[i]
            patches[which == i] = view[place // view.shape[1], place % view.shape[1]].reshape(-1, size**2)
        around = np.delete(patches, size**2 // 2, axis=1)
        contrast = around.std(axis=1, keepdims=True)
        patches -= around.mean(axis=1, keepdims=True)
        textured = contrast[:, 0] > LEAST_CONTRAST
        yield patches[textured] / contrast[textured]


def _take(blocks, n):
    """The first ``n`` rows of ``blocks``."""
    found = 0
    for block in blocks:
        yield block[: n - found]
        found += len(block)
        if found >= n:
            return
    raise ValueError(f"n must be at most {found}, the patches of enough contrast, got {n}")


def _datasets():
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("scikit-learn is needed for its images: pip install 'sdelimit[data]'") from error
    return datasets
