"""Computations with K as a (d, d) matrix, refused for large d."""

import numpy as np
from jaxtyping import Float

from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.numerics.memo import memoized
from sdelimit.support import arguments as check

LARGEST_DENSE = 20_000
SHARED = 2048
"""Largest d whose eigenvectors are kept apart from the problem: 32 MiB."""


def require_dense(covariance, what: str) -> None:
    """ValueError where ``what`` would need matrices too large to be useful."""
    if covariance.d > LARGEST_DENSE and not covariance.is_diagonal:
        raise ValueError(
            f"covariance must be diagonal for d > {LARGEST_DENSE} here: {what} of a {type(covariance).__name__} "
            f"covariance need (d, d) matrices, {8 * covariance.d**2 / 2**30:.3g} GiB each at d = {covariance.d}"
        )


def correlation_of(covariance) -> Float[np.ndarray, "d d"]:
    """Khat, with zero rows for coordinates of zero variance."""
    require_dense(covariance, "the correlations")
    std = covariance.std
    if np.all(std > 0):
        return covariance.correlation()
    inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    khat = np.clip(covariance.to_dense() * inverse[:, None] * inverse[None, :], -1.0, 1.0)
    np.fill_diagonal(khat, std > 0)
    return khat


def eigenpairs(covariance, power: int) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """lambda, ascending, and Q of S = D^(-p/2) K D^(-p/2), read-only; problems with other noise share them."""
    require_dense(covariance, "the eigenvectors")
    return _shared_eigenpairs(covariance, power) if covariance.d <= SHARED else _eigenpairs(covariance, power)


def _eigenpairs(covariance, power):
    root = covariance.std ** (power / 2)
    decay, vectors = np.linalg.eigh(covariance.to_dense() / root[:, None] / root[None, :])
    return check.read_only(np.maximum(decay, 0.0)), check.read_only(vectors)


_shared_eigenpairs = memoized(_eigenpairs, size=4)


def noise_matrix(covariance, power: int, name: str) -> Float[np.ndarray, "d d"]:
    """D^(1-p/2) b(Khat) D^(1-p/2) for the kernel ``name``."""
    outer = covariance.std ** (1 - power / 2)
    return kernel_basis(name, correlation_of(covariance)) * outer[:, None] * outer[None, :]


def forcing_of(covariance, power: int, basis, vectors) -> Float[np.ndarray, "p d"]:
    """c_q, the diagonals of Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q."""
    matrices = (noise_matrix(covariance, power, name) for name in basis)
    return np.stack([np.einsum("ij,ij->j", vectors, matrix @ vectors) for matrix in matrices])
