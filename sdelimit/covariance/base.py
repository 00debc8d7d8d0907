"""What every covariance matrix K can do, and a covariance with rescaled coordinates."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.support import arguments as check


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

    @property
    def mean_variance(self) -> float:
        """tr K / d."""
        return self.trace / self.d

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
