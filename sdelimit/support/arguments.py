"""Checks shared by the public functions.

Every message names the argument, says what it got and what it needs.
"""

import difflib
import numbers

import jax
import numpy as np
from jaxtyping import Float

from sdelimit.support import arguments as check


def real(name: str, value, *, positive=False, nonnegative=False, allow_inf=False) -> float:
    """``value`` as a float, or a TypeError/ValueError that names it."""
    if isinstance(value, (bool, np.bool_)) or (
        not isinstance(value, numbers.Real) and not (hasattr(value, "shape") and np.shape(value) == ())
    ):
        raise TypeError(f"{name} must be a real number, got {describe(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a real number, got {describe(value)}") from error
    except OverflowError as error:
        raise ValueError(f"{name} must be finite in floating point, got {describe(value)}") from error
    if np.isnan(number) or (np.isinf(number) and not allow_inf):
        raise ValueError(f"{name} must be finite, got {number}")
    if positive and number <= 0:
        raise ValueError(f"{name} must be > 0, got {number:g}")
    if nonnegative and number < 0:
        raise ValueError(f"{name} must be >= 0, got {number:g}")
    return number


SMALLEST, LARGEST = 1e-25, 1e25
"""Scales of y and of thresholds that tables of coefficients reach, with all risks that may matter beside them."""


def scale(name: str, value) -> float:
    """``value`` as a float in [1e-25, 1e25], or a TypeError/ValueError that names it."""
    number = real(name, value, positive=True)
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(f"{name} must lie between {SMALLEST:g} and {LARGEST:g}: take another unit; got {number:g}")
    return number


def integer(name: str, value, *, minimum: int, below: int = 2**31) -> int:
    """``value`` as an int of at least ``minimum`` and less than ``below``, by default what 32 bits hold."""
    if isinstance(value, (bool, np.bool_)) or not (
        isinstance(value, numbers.Integral) or (isinstance(value, numbers.Real) and float(value).is_integer())
    ):
        raise TypeError(f"{name} must be an integer, got {describe(value)}")
    if int(value) < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {describe(value)}")
    if int(value) >= below:
        raise ValueError(f"{name} must be < {below}, got {describe(value)}")
    return int(value)


def flag(name: str, value, *, optional: bool = False) -> bool | None:
    """``value`` if it is True or False, or None where that is ``optional``: 'no' is not False."""
    if isinstance(value, (bool, np.bool_)) or (optional and value is None):
        return value if value is None else bool(value)
    raise TypeError(f"{name} must be True{', False or None' if optional else ' or False'}, got {describe(value)}")


def text(name: str, value) -> str:
    """``value`` if it is a text that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {describe(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty, got ''")
    return value


def array(name: str, value, *, shape: tuple | None = None, ndim: int | tuple | None = None) -> np.ndarray:
    """``value`` as a new finite float64 array of the wanted shape or number of dimensions."""
    given = _convert(name, value, value)
    if given.dtype.kind == "c":
        raise TypeError(f"{name} must be real, got complex values")
    if given.dtype.kind not in "fiu" and given.dtype != object:
        raise TypeError(f"{name} must hold real numbers, got dtype {given.dtype}")
    result = _convert(name, value, given, np.float64)
    if shape is not None and result.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {result.shape}")
    if ndim is not None and result.ndim not in np.atleast_1d(ndim):
        wanted = " or ".join(str(n) for n in np.atleast_1d(ndim))
        raise ValueError(f"{name} must have {wanted} dimension(s), got shape {result.shape}")
    if result.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {result.shape}")
    if not np.all(np.isfinite(result)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(f"{name} must be finite, got {result[where]} at index {where}")
    return result


def _convert(name, value, given, dtype=None):
    """``given`` as a new array of ``dtype``; what NumPy cannot make of it is said of the argument ``value``."""
    try:
        return np.array(given, dtype) if dtype else np.asarray(given)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of real numbers, got {describe(value)}") from error
    except OverflowError as error:
        raise ValueError(f"{name} must be finite in floating point, got {describe(value)}") from error


def read_only(value: np.ndarray) -> np.ndarray:
    """The array itself, no longer writeable, so that several objects can hold it."""
    value.flags.writeable = False
    return value


def seed(name: str, value) -> int:
    """``value`` as an int in [0, 2^32)."""
    return integer(name, value, minimum=0, below=2**32)


def choice(name: str, value: str, options) -> str:
    """``value`` if it is one of ``options``; otherwise a ValueError that suggests the nearest."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, one of {sorted(options)}, got {describe(value)}")
    if value not in options:
        raise ValueError(
            f"{name}: unknown value {value!r}{nearest(str(value), options)}; choose from {sorted(options)}"
        )
    return value


def nearest(word: str, options) -> str:
    """' (did you mean ...?)' for a misspelt word, '' if nothing is close."""
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def describe(value) -> str:
    """A short description of a wrong argument."""
    text = " ".join(repr(value).split())
    return f"{text if len(text) < 60 else text[:57] + '...'} of type {type(value).__name__}"


DEFAULT_POINTS = 200


def time_grid(t_max, t) -> Float[np.ndarray, " n"]:
    """``t`` as given, or 200 equally spaced times from 0 to ``t_max``.

    Units are t = steps / d. ValueError unless times are finite, nonnegative, increasing, and do not pass
    ``t_max`` when both are given.
    """
    if t_max is not None:
        t_max = check.real("t_max", t_max, positive=True)
    if t is None:
        if t_max is None:
            raise ValueError("t_max must be given when t is not")
        return np.linspace(0.0, t_max, DEFAULT_POINTS)
    if isinstance(t, jax.core.Tracer):
        raise TypeError("t must be a concrete array, got a traced one")
    t = np.atleast_1d(check.array("t", t, ndim=(0, 1)))
    if t[0] < 0 or np.any(np.diff(t) <= 0) or t[-1] <= 0:
        raise ValueError("t must be >= 0 and strictly increasing, and reach past 0")
    if t_max is not None and t[-1] > t_max * (1 + 1e-12):
        raise ValueError(f"t must not pass t_max = {t_max:g}, got {t[-1]:g}")
    return t
