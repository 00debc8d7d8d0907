"""Pieces shared by the SDE steppers."""

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit import _rng


def mean_decay(x):
    """(1 - exp(-x)) / x, the mean of exp(-x u) over u in [0, 1]."""
    safe = jnp.where(x > 1e-8, x, 1.0)
    return jnp.where(x > 1e-8, -jnp.expm1(-safe) / safe, 1.0)


def normals(keys, index, shape):
    """Standard normals of the given shape for every path at step ``index``, drawn in float32."""
    draw = jax.vmap(lambda key: jax.random.normal(_rng.step_key(key, index), shape, jnp.float32))
    return draw(keys).astype(jnp.float64)


def transposed(factor):
    """F' in float32, which ``applied`` takes; the (d,) diagonal of a diagonal F as it is."""
    return factor if factor.ndim == 1 else jnp.asarray(np.ascontiguousarray(factor.T), jnp.float32)


def applied(factor, z):
    """F z for the vectors in the rows of ``z``: one float32 product with F' = ``factor`` for all of them."""
    return factor * z if factor.ndim == 1 else (z.astype(factor.dtype) @ factor).astype(z.dtype)
