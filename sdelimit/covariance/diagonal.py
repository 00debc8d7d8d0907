"""Diagonal K."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.covariance.base import Covariance
from sdelimit.support import arguments as check


class Diagonal(Covariance):
    """K = diag(values)."""

    values: Float[np.ndarray, " d"]

    @property
    def d(self):
        return self.values.shape[0]

    @property
    def is_diagonal(self):
        return True

    @property
    def std(self):
        return np.sqrt(self.values)

    def sample(self, z):
        return z * jnp.sqrt(jnp.asarray(self.values, z.dtype))

    def apply(self, v):
        return v * jnp.asarray(self.values, v.dtype)

    def to_dense(self):
        return np.diag(self.values)

    def correlation(self):
        return np.eye(self.d)

    def _scaled(self, s):
        return Diagonal(self.values * s**2)


def identity(d: int) -> Covariance:
    """K = I in dimension ``d``.

    Raises TypeError or ValueError if ``d`` is not a whole number >= 1.
    """
    return _diagonal(np.ones(check.integer("d", d, minimum=1)))


def diagonal(values) -> Covariance:
    """K = diag(values), values >= 0 of shape (d,).

    Raises TypeError or ValueError if ``values`` is not a finite (d,) array or has a negative entry.
    """
    values = check.array("values", values, ndim=1)
    if np.any(values < 0):
        raise ValueError(f"values must be >= 0, got a smallest value of {values.min():g}")
    return _diagonal(values)


def _diagonal(values):
    return Diagonal(check.read_only(values))
