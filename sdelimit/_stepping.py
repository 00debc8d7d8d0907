"""Pieces shared by the SDE steppers."""

import jax
import jax.numpy as jnp

from sdelimit import _rng


def mean_decay(x):
    """(1 - exp(-x)) / x, the mean of exp(-x u) over u in [0, 1]."""
    safe = jnp.where(x > 1e-8, x, 1.0)
    return jnp.where(x > 1e-8, -jnp.expm1(-safe) / safe, 1.0)


def normals(keys, index, shape):
    """Standard normals of the given shape for every path at step ``index``."""
    return jax.vmap(lambda key: jax.random.normal(_rng.step_key(key, index), shape, jnp.float64))(keys)


def applied(factor, z):
    """F z for the vectors in the rows of ``z``; a (d,) factor is diagonal."""
    return factor * z if factor.ndim == 1 else z @ factor.T
