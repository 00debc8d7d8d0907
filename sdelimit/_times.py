"""The times at which curves are evaluated, and the learning rate along them."""

import jax
import numpy as np
from jaxtyping import Float

from sdelimit import _validation as check

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
