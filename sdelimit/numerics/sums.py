"""Sums along the last axis, written so that XLA vectorizes them on CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PARTIAL_SUMS = 16
"""Enough float32 sums to fill a CPU's vector registers."""


def dot(a: Float[Array, "... d"], b: Float[Array, "... d"]) -> Float[Array, "..."]:
    """sum_i a_i b_i as ``PARTIAL_SUMS`` sums of every 16th term, which are then added.

    XLA keeps the order of a floating-point sum, so that a single one takes a few clock cycles for each element; sums
    side by side vectorize, and are closer to exact. A simulation makes one for every residual and every risk:
    "simulate / its own draws" in benchmarks/simulate.py.
    """
    product = a * b
    whole = product.shape[-1] // PARTIAL_SUMS * PARTIAL_SUMS
    columns = product[..., :whole].reshape(*product.shape[:-1], whole // PARTIAL_SUMS, PARTIAL_SUMS)
    return jnp.sum(jnp.sum(columns, axis=-2), axis=-1) + jnp.sum(product[..., whole:], axis=-1)


def products(a: Float[Array, "runs m d"], b: Float[Array, "runs n d"]) -> Float[Array, "runs m n"]:
    """sum_i a_ri b_ri for each run: a matrix product where there are several sums to make, ``dot`` for single ones."""
    if a.shape[1] == b.shape[1] == 1:
        return dot(a, b)[..., None]
    return jnp.einsum("rmd,rnd->rmn", a, b, precision=jax.lax.Precision.HIGHEST)
