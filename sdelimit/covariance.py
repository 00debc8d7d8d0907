"""Structured covariance matrices K of the data x ~ N(0, K).

Each covariance can turn white noise z into x, apply K to a vector, give the standard deviations
sigma_i = sqrt(K_ii), and write itself out as a dense matrix. Only the dense one does d x d work per sample.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from sdelimit import _validation as check

__all__ = [
    "Covariance",
    "ar1",
    "as_covariance",
    "block",
    "dense",
    "diagonal",
    "from_data",
    "identity",
    "power_law",
    "spiked",
]


class Covariance(eqx.Module):
    """A d x d covariance matrix K. Immutable; a JAX pytree of its parameters."""

    @property
    def d(self) -> int:
        """Dimension."""
        raise NotImplementedError

    @property
    def is_diagonal(self) -> bool:
        """True if K is diagonal by construction."""
        return False

    @property
    def std(self) -> Float[np.ndarray, " d"]:
        """sigma_i = sqrt(K_ii)."""
        raise NotImplementedError

    def sample(self, z: Float[Array, "... d"]) -> Float[Array, "... d"]:
        """x ~ N(0, K) from white noise z ~ N(0, I), along the last axis."""
        raise NotImplementedError

    def apply(self, v: Float[Array, "... d"]) -> Float[Array, "... d"]:
        """K v, along the last axis."""
        raise NotImplementedError

    def to_dense(self) -> Float[np.ndarray, "d d"]:
        """K as a NumPy array."""
        raise NotImplementedError

    def correlation(self) -> Float[np.ndarray, "d d"]:
        """Khat = D^-1 K D^-1 with unit diagonal, D = diag(sigma)."""
        k, std = self.to_dense(), self.std
        khat = np.clip(k / std[:, None] / std[None, :], -1.0, 1.0)
        np.fill_diagonal(khat, 1.0)
        return khat

    @property
    def trace(self) -> float:
        """tr K."""
        return float(np.sum(self.std**2))

    def scaled(self, s) -> "Covariance":
        """The covariance of the rescaled data s_i x_i: diag(s) K diag(s).

        ``s`` is a positive number or a (d,) array of positive numbers.
        """
        factors = check.array("s", s, ndim=(0, 1))
        if factors.ndim == 1 and factors.shape != (self.d,):
            raise ValueError(f"s must be a number or have shape ({self.d},), got {factors.shape}")
        if np.any(factors <= 0):
            raise ValueError(f"s must be > 0, got a smallest value of {factors.min():g}")
        return self._scaled(np.broadcast_to(factors, (self.d,)).copy())

    def _scaled(self, s):
        return Scaled(self, s)


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


class AR1(Covariance):
    """K_ij = rho^|i-j|, sampled by its recursion in blocks: O(d) work and memory."""

    rho: float
    innovation: float
    """sqrt(1 - rho^2), in float64: float32 would lose it near |rho| = 1."""
    size: int = eqx.field(static=True)

    @property
    def d(self):
        return self.size

    @property
    def std(self):
        return np.ones(self.size)

    def sample(self, z):
        innovations = jnp.concatenate([z[..., :1], self.innovation * z[..., 1:]], axis=-1)
        return _recursion(self.rho, innovations.astype(z.dtype))

    def apply(self, v):
        # sum_j rho^|i-j| v_j: a forward and a backward recursion, counting v_i once.
        return _recursion(self.rho, v) + _recursion(self.rho, v[..., ::-1])[..., ::-1] - v

    def to_dense(self):
        return scipy.linalg.toeplitz(float(self.rho) ** np.arange(self.size))


class Spiked(Covariance):
    """K = I + U diag(strengths) U' with orthonormal columns U: O(d k) work."""

    strengths: Float[np.ndarray, " k"]
    directions: Float[np.ndarray, "d k"]

    @property
    def d(self):
        return self.directions.shape[0]

    @property
    def std(self):
        return np.sqrt(1 + np.sum(self.strengths * self.directions**2, axis=1))

    def sample(self, z):
        return self._along(z, jnp.sqrt(1 + self.strengths) - 1)

    def apply(self, v):
        return self._along(v, self.strengths)

    def _along(self, v, weights):
        u = jnp.asarray(self.directions, v.dtype)
        return v + ((v @ u) * jnp.asarray(weights, v.dtype)) @ u.T

    def to_dense(self):
        return np.eye(self.d) + (self.directions * self.strengths) @ self.directions.T


class Block(Covariance):
    """Block-diagonal K."""

    blocks: tuple[Covariance, ...]

    @property
    def d(self):
        return sum(block.d for block in self.blocks)

    @property
    def is_diagonal(self):
        return all(block.is_diagonal for block in self.blocks)

    @property
    def std(self):
        return np.concatenate([block.std for block in self.blocks])

    def sample(self, z):
        return self._each(lambda block, part: block.sample(part), z)

    def apply(self, v):
        return self._each(lambda block, part: block.apply(part), v)

    def _each(self, function, v):
        edges = np.cumsum([block.d for block in self.blocks])[:-1].tolist()
        parts = jnp.split(v, edges, axis=-1)
        return jnp.concatenate([function(b, p) for b, p in zip(self.blocks, parts, strict=True)], axis=-1)

    def to_dense(self):
        return scipy.linalg.block_diag(*[block.to_dense() for block in self.blocks])


class Scaled(Covariance):
    """diag(s) K diag(s)."""

    base: Covariance
    s: Float[np.ndarray, " d"]

    @property
    def d(self):
        return self.base.d

    @property
    def is_diagonal(self):
        return self.base.is_diagonal

    @property
    def std(self):
        return self.base.std * self.s

    def sample(self, z):
        return self.base.sample(z) * jnp.asarray(self.s, z.dtype)

    def apply(self, v):
        s = jnp.asarray(self.s, v.dtype)
        return s * self.base.apply(s * v)

    def to_dense(self):
        return self.base.to_dense() * self.s[:, None] * self.s[None, :]

    def correlation(self):
        return self.base.correlation()

    def _scaled(self, s):
        return Scaled(self.base, self.s * s)


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


def ar1(d: int, rho: float) -> Covariance:
    """K_ij = rho^|i-j| with -1 < rho < 1: a stationary first-order autoregression along the coordinates.

    Raises TypeError or ValueError if ``d`` is not a whole number >= 1, or ``rho`` not a number strictly between -1
    and 1.
    """
    rho = check.real("rho", rho)
    if not -1 < rho < 1:
        raise ValueError(f"rho must lie strictly between -1 and 1, got {rho:g}")
    return AR1(rho, float(np.sqrt((1 - rho) * (1 + rho))), check.integer("d", d, minimum=1))


def spiked(d: int, strengths, seed: int = 0) -> Covariance:
    """K = I + sum_k strengths[k] u_k u_k' with random orthonormal u_k drawn from ``seed``; strengths > -1.

    Raises TypeError or ValueError if ``d`` is not a whole number >= 1, ``strengths`` not a finite number or (k,)
    array with k <= d and entries > -1, or ``seed`` not an integer in [0, 2^32).
    """
    d = check.integer("d", d, minimum=1)
    strengths = np.atleast_1d(check.array("strengths", strengths, ndim=(0, 1)))
    if np.any(strengths <= -1):
        raise ValueError(f"strengths must be > -1 for K to be positive definite, got {strengths.min():g}")
    if strengths.size > d:
        raise ValueError(f"strengths must have at most d = {d} entries, got {strengths.size}")
    normals = np.random.default_rng(check.seed("seed", seed)).standard_normal((d, strengths.size))
    return Spiked(strengths, np.linalg.qr(normals)[0])


def block(*blocks) -> Covariance:
    """Block-diagonal K from covariances, (m, m) matrices or (m,) diagonals.

    Raises TypeError or ValueError that names the block, if it is not one of these, or if there is none.
    """
    if not blocks:
        raise ValueError("blocks must hold at least one covariance, got none")
    return Block(tuple(as_covariance(b, name=f"blocks[{i}]") for i, b in enumerate(blocks)))


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
    if values[0] < -1e-6 * max(values[-1], 1e-300):
        raise ValueError(f"{name} must be positive semidefinite, got a smallest eigenvalue of {values[0]:g}")
    return _with_factor(K, vectors * np.sqrt(np.maximum(values, 0)))


def _diagonal(values):
    return Diagonal(check.frozen(values))


def _with_factor(K, factor):
    return Dense(check.frozen(K), check.frozen(factor))


def _symmetric(K):
    return (K + K.T) / 2


def _haar(d: int, seed: int) -> Float[np.ndarray, "d d"]:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return q * np.sign(np.diag(r))


def _recursion(rho, v: Float[Array, "... d"], m: int = 64) -> Float[Array, "... d"]:
    """y_i = rho y_{i-1} + v_i along the last axis, y_{-1} = 0.

    Blocks of m entries: a triangular Toeplitz product within a block, a scalar recursion on the last
    entry between blocks. O(d m) multiplications, all of them in matrix products.
    """
    d = v.shape[-1]
    blocks = -(-d // m)
    padding = [(0, 0)] * (v.ndim - 1) + [(0, blocks * m - d)]
    pieces = jnp.pad(v, padding).reshape(*v.shape[:-1], blocks, m)
    lag = jnp.arange(m)[:, None] - jnp.arange(m)[None, :]
    kernel = jnp.where(lag >= 0, _power(rho, jnp.maximum(lag, 0)), 0).astype(v.dtype)
    within = pieces @ kernel.T
    carry = _power(rho, m).astype(v.dtype)
    ends = jnp.moveaxis(within[..., -1], -1, 0)
    _, incoming = jax.lax.scan(lambda last, own: (carry * last + own, last), jnp.zeros_like(ends[0]), ends)
    incoming = jnp.moveaxis(incoming, 0, -1)[..., None]
    y = within + incoming * _power(rho, jnp.arange(1, m + 1)).astype(v.dtype)
    return y.reshape(*v.shape[:-1], blocks * m)[..., :d]


def _power(rho, exponent):
    """rho ** exponent for integer exponents >= 0 and rho of either sign or zero."""
    return jnp.sign(rho) ** exponent * jnp.abs(rho) ** exponent
