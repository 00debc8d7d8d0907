"""Square roots of positive semidefinite matrices, and exponentials of many small ones."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def semidefinite_root(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """F with F F' = ``matrix``: Cholesky's, or where rounding or a null space forbids it that of the eigenvectors.

    Negative eigenvalues, which a semidefinite matrix has by rounding only, count as zero.
    """
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(np.maximum(values, 0.0))


TERMS = 12
"""Terms of the exponential series: exact to rounding for matrices of norm up to 1/4."""

MOST_SQUARINGS = 1000
"""Beyond it the exponential overflows; an infinite matrix would ask for 2^31."""


def exponentials(matrices: Float[Array, "*n k k"]) -> Float[Array, "*n k k"]:
    """exp of many small matrices at once: the series of each divided by 2^s, squared s times.

    s is what the largest of them needs. (``jax.scipy.linalg.expm``, mapped, computes all its orders and solves for each
    matrix.)
    """
    largest = jnp.max(jnp.sum(jnp.abs(matrices), axis=-1))
    squarings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(largest, 1e-9))) + 2, 0, MOST_SQUARINGS).astype(jnp.int32)
    scaled = matrices / 2.0**squarings
    identity = jnp.broadcast_to(jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)
    total = identity
    for n in range(TERMS, 0, -1):
        total = identity + _product(scaled, total) / n
    return jax.lax.fori_loop(0, squarings, lambda _, power: _product(power, power), total)


def _product(a, b):
    """a b of small matrices, entry by entry: one vectorized operation each."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
