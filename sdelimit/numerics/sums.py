"""Sums along the last axis that vectorize."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LANES = 16


def dot(a: Float[Array, "... d"], b: Float[Array, "... d"]) -> Float[Array, "..."]:
    """sum_i a_i b_i as 16 partial sums, which are then added.

    A single float32 sum must be added in order, one element every few clock cycles; this is also closer to exact.
    """
    product = a * b
    whole = product.shape[-1] // LANES * LANES
    lanes = product[..., :whole].reshape(*product.shape[:-1], whole // LANES, LANES)
    return jnp.sum(jnp.sum(lanes, axis=-2), axis=-1) + jnp.sum(product[..., whole:], axis=-1)


def products(a: Float[Array, "runs m d"], b: Float[Array, "runs n d"]) -> Float[Array, "runs m n"]:
    """sum_i a_ri b_ri for each run: a matrix product where there are several sums to make, ``dot`` for single ones."""
    if a.shape[1] == b.shape[1] == 1:
        return dot(a, b)[..., None]
    return jnp.einsum("rmd,rnd->rmn", a, b, precision=jax.lax.Precision.HIGHEST)
