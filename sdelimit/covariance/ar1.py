"""AR(1) correlations, K_ij = rho^|i-j|."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from sdelimit.covariance.base import Covariance
from sdelimit.numerics.integers import ceil_div
from sdelimit.support import arguments as check


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


def ar1(d: int, rho: float) -> Covariance:
    """K_ij = rho^|i-j| with -1 < rho < 1: a stationary first-order autoregression along the coordinates.

    Raises TypeError or ValueError if ``d`` is not a whole number >= 1, or ``rho`` not a number strictly between -1
    and 1.
    """
    rho = check.real("rho", rho)
    if not -1 < rho < 1:
        raise ValueError(f"rho must lie strictly between -1 and 1, got {rho:g}")
    return AR1(rho, float(np.sqrt((1 - rho) * (1 + rho))), check.integer("d", d, minimum=1))


def _recursion(rho, v: Float[Array, "... d"], m: int = 64) -> Float[Array, "... d"]:
    """y_i = rho y_{i-1} + v_i along the last axis, y_{-1} = 0.

    Blocks of m entries: a triangular Toeplitz product within a block, a scalar recursion on the last
    entry between blocks. O(d m) multiplications, all of them in matrix products.
    """
    d = v.shape[-1]
    blocks = ceil_div(d, m)
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
