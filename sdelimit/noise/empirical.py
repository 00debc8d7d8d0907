"""Noise drawn from given samples."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _log_grid
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.support import arguments as check


class Empirical(NoiseLaw):
    """eps drawn uniformly from the given samples (residuals of a fit, say).

    Raises TypeError or ValueError if ``samples`` is not a finite array of shape (n,).
    """

    samples: Float[np.ndarray, " m"]
    scale: float
    table: LogLogTable | None

    def __init__(self, samples):
        self.samples = check.array("samples", samples, ndim=1)
        largest = float(np.abs(self.samples).max())
        if largest > 0:
            check.scale("samples: the largest |sample|", largest)
        self.scale = float(np.sqrt(np.mean(self.samples**2)))
        self.table = None if self.scale == 0 else _empirical_table(np.abs(self.samples) / self.scale)

    def sample(self, key, shape, dtype=jnp.float32):
        index = jax.random.randint(key, shape, 0, self.samples.shape[0], dtype=jnp.int32)
        return jnp.asarray(self.samples, dtype)[index]

    def gaussian_factor(self, a):
        return jnp.ones_like(a) if self.table is None else self.table(a * self.scale**2)

    def quadrature(self, n=256):
        if self.samples.size <= n:
            return self.samples, np.full(self.samples.size, 1 / self.samples.size)
        # Means of n groups of equal size of the sorted samples.
        edges = np.linspace(0, self.samples.size, n + 1).astype(int)
        counts = np.diff(edges)
        return np.add.reduceat(np.sort(self.samples), edges[:-1]) / counts, counts / self.samples.size

    @property
    def second_moment(self):
        return float(np.mean(self.samples**2))

    @property
    def fourth_moment(self):
        return float(np.mean(self.samples**4))

    @property
    def density_at_zero(self):
        return np.inf if np.any(self.samples == 0) else 0.0


def _empirical_table(samples: Float[np.ndarray, " m"]) -> LogLogTable:
    log_a = _log_grid()
    squares = samples**2
    log_g = [special.logsumexp(-np.exp(x) * squares) - np.log(squares.size) for x in log_a]
    return LogLogTable(log_a, np.array(log_g))
