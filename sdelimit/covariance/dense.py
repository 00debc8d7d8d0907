"""K as a full matrix, and covariances made from data or from their eigenvalues."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.covariance.base import Covariance
from sdelimit.covariance.diagonal import _diagonal
from sdelimit.numerics.floors import TINY
from sdelimit.support import arguments as check


class Dense(Covariance):
    """Any symmetric positive semidefinite matrix, with a factor F: K = F F'."""

    matrix: Float[np.ndarray, "d d"]
    factor: Float[np.ndarray, "d d"]

    @property
    def d(self):
        return self.matrix.shape[0]

    @property
    def std(self):
        return np.sqrt(np.diag(self.matrix))

    def sample(self, z):
        return z @ jnp.asarray(self.factor, z.dtype).T

    def apply(self, v):
        return v @ jnp.asarray(self.matrix, v.dtype)

    def to_dense(self):
        return self.matrix

    def _scaled(self, s):
        return Dense(self.matrix * s[:, None] * s[None, :], self.factor * s[:, None])


def power_law(d: int, exponent: float, rotate: bool = False, seed: int = 0) -> Covariance:
    """Eigenvalues lambda_i = i^-exponent, i = 1..d; in the coordinate axes, or rotated at random.

    ``rotate=True`` uses a Haar-random orthogonal matrix drawn from ``seed``.

    Raises TypeError or ValueError if ``d`` is not a whole number >= 1, ``exponent`` not a finite number, ``rotate``
    not a flag or ``seed`` not an integer in [0, 2^32).
    """
    d = check.integer("d", d, minimum=1)
    values = np.arange(1, d + 1, dtype=np.float64) ** -check.real("exponent", exponent)
    seed = check.seed("seed", seed)
    if not check.flag("rotate", rotate):
        return _diagonal(values)
    u = _haar(d, seed)
    return _with_factor(_symmetric((u * values) @ u.T), u * np.sqrt(values))


def dense(K) -> Covariance:
    """Any symmetric positive semidefinite (d, d) matrix.

    Raises TypeError or ValueError if ``K`` is not one: shape, finite entries, symmetry and sign, to 1e-6.
    """
    return _dense(K, "K")


def from_data(X, center: bool = True) -> Covariance:
    """Empirical covariance of the rows of ``X`` (n, d): Xc' Xc / n, Xc centred unless ``center=False``.

    Raises TypeError or ValueError if ``X`` is not a finite (n, d) array, or ``center`` not a flag.
    """
    X = check.array("X", X, ndim=2)
    if check.flag("center", center):
        X = X - X.mean(axis=0)
    return _dense(X.T @ X / X.shape[0], "X")


def as_covariance(value, name: str = "covariance") -> Covariance:
    """A covariance as it is, a (d, d) array as ``dense``, a (d,) array as ``diagonal``.

    Raises TypeError or ValueError, calling it ``name``, if it is none of these or not positive semidefinite.
    """
    if isinstance(value, Covariance):
        if type(value) is Covariance:
            raise TypeError(f"{name} must be a covariance from sdelimit.covariance, got their base class")
        return value
    matrix = check.array(name, value, ndim=(1, 2))
    if matrix.ndim == 2:
        return _dense(matrix, name)
    if np.any(matrix < 0):
        raise ValueError(f"{name} must be >= 0 when given as a diagonal, got a smallest value of {matrix.min():g}")
    return _diagonal(matrix)


def _dense(K, name: str) -> Covariance:
    K = check.array(name, K, ndim=2)
    if K.shape[0] != K.shape[1]:
        raise ValueError(f"{name} must be a square (d, d) matrix, got shape {K.shape}")
    size = np.max(np.abs(K))
    skew = np.max(np.abs(K - K.T))
    if skew > 1e-6 * size:
        raise ValueError(f"{name} must be symmetric, got |K - K'| up to {skew:g}")
    K = _symmetric(K)
    try:
        return _with_factor(K, np.linalg.cholesky(K))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(K)
    if values[0] < -1e-6 * max(values[-1], TINY):
        raise ValueError(f"{name} must be positive semidefinite, got a smallest eigenvalue of {values[0]:g}")
    return _with_factor(K, vectors * np.sqrt(np.maximum(values, 0)))


def _with_factor(K, factor):
    return Dense(check.read_only(K), check.read_only(factor))


def _symmetric(K):
    return (K + K.T) / 2


def _haar(d: int, seed: int) -> Float[np.ndarray, "d d"]:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return q * np.sign(np.diag(r))
