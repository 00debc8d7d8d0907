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
    """exp of many small matrices at once: the series of each divided by 2^s, squared s times; of 2 x 2 a closed form.

    s is what the largest of them needs. (``jax.scipy.linalg.expm``, mapped, computes all its orders and solves for each
    matrix.)
    """
    if matrices.shape[-1] == 2:
        return _exponentials_of_pairs(matrices)
    largest = jnp.max(jnp.sum(jnp.abs(matrices), axis=-1))
    squarings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(largest, 1e-9))) + 2, 0, MOST_SQUARINGS).astype(jnp.int32)
    scaled = matrices / 2.0**squarings
    identity = jnp.broadcast_to(jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)
    total = identity
    for n in range(TERMS, 0, -1):
        total = identity + _product(scaled, total) / n
    return jax.lax.fori_loop(0, squarings, lambda _, power: _product(power, power), total)


def _exponentials_of_pairs(M):
    """exp(M) = e^m (C I + S (M - m I)), m = tr M / 2, D = -det(M - m I), C = cosh(D^1/2), S = sinh(D^1/2) / D^1/2.

    Where D < 0 these are a cosine and a sine. e^m is multiplied in before anything is large.
    """
    mean = (M[..., 0, 0] + M[..., 1, 1]) / 2
    half = (M[..., 0, 0] - M[..., 1, 1]) / 2
    square = half**2 + M[..., 0, 1] * M[..., 1, 0]
    small = jnp.abs(square) < 1e-6
    root = jnp.sqrt(jnp.where(small, 1.0, jnp.abs(square)))
    # exp overflows, as ``exponentials`` does, only where the matrix itself is far beyond any step.
    up, down, middle = (jnp.exp(jnp.minimum(x, 700.0)) for x in (mean + root, mean - root, mean))
    even = jnp.where(square > 0, (up + down) / 2, middle * jnp.cos(root))
    odd = jnp.where(square > 0, (up - down) / 2, middle * jnp.sin(root)) / root
    even = jnp.where(small, middle * (1 + square / 2), even)
    odd = jnp.where(small, middle * (1 + square / 6), odd)
    a, d = even + odd * half, even - odd * half
    return jnp.stack([jnp.stack([a, odd * M[..., 0, 1]], -1), jnp.stack([odd * M[..., 1, 0], d], -1)], -2)


def _product(a, b):
    """a b of small matrices, entry by entry: one vectorized operation each."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
