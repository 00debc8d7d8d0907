"""The identity plus a few strong directions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.covariance.base import Covariance
from sdelimit.support import arguments as check


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
