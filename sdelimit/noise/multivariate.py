"""Label noise of several outputs: a vector eps for every sample."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.matrices import semidefinite_root
from sdelimit.support import arguments as check

ROUNDING = 1e-10
"""Negative eigenvalues, and differences between K_ab and K_ba, relative to the largest, that count as rounding."""

NEGLIGIBLE = 1e-9
"""Standard deviation of an output without noise, relative to the largest."""


class OutputNoise(eqx.Module):
    """The law of the label noise eps in R^m of a linear regression with m outputs."""

    @property
    def outputs(self) -> int:
        """m."""
        raise NotImplementedError

    def sample(self, key, shape: tuple[int, ...], dtype=jnp.float32):
        """Independent draws of eps, of shape (*shape, m)."""
        raise NotImplementedError

    def marginals(self) -> tuple[NoiseLaw, ...]:
        """The law of each output's noise."""
        raise NotImplementedError

    @property
    def covariance(self) -> Float[np.ndarray, "m m"]:
        """E[eps eps'], possibly infinite on the diagonal."""
        raise NotImplementedError


class MultivariateGaussian(OutputNoise):
    """eps ~ N(0, covariance), the noise of the outputs of one sample, correlated between them.

    Raises TypeError or ValueError unless ``covariance`` is a finite, symmetric, positive semidefinite (m, m) array.

    >>> import sdelimit as sl
    >>> sl.noise.MultivariateGaussian([[1.0, 0.5], [0.5, 1.0]])
    MultivariateGaussian(covariance=[[1.0, 0.5], [0.5, 1.0]])
    """

    matrix: Float[np.ndarray, "m m"]
    root: Float[np.ndarray, "m m"]

    def __init__(self, covariance):
        matrix = check.array("covariance", covariance, ndim=2)
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"covariance must be square, got shape {matrix.shape}")
        largest = np.abs(matrix).max()
        if np.any(np.abs(matrix - matrix.T) > ROUNDING * largest):
            raise ValueError("covariance must be symmetric, got one that is not")
        matrix = (matrix + matrix.T) / 2
        smallest = float(np.linalg.eigvalsh(matrix)[0])
        if smallest < -ROUNDING * largest:
            raise ValueError(f"covariance must be positive semidefinite, got an eigenvalue of {smallest:.3g}")
        if largest > 0:
            check.scale("covariance: the root of its largest entry", float(np.sqrt(largest)))
        self.matrix, self.root = check.read_only(matrix), check.read_only(semidefinite_root(matrix))

    def __repr__(self):
        m = len(self.matrix)
        text = str(self.matrix.tolist()) if m <= 3 else f"<{m} x {m}, trace {np.trace(self.matrix):.4g}>"
        return f"{type(self).__name__}(covariance={text})"

    @property
    def outputs(self):
        return len(self.matrix)

    @property
    def covariance(self):
        return self.matrix

    def sample(self, key, shape, dtype=jnp.float32):
        normals = jax.random.normal(key, (*shape, self.outputs), dtype)
        return jnp.einsum("...b,ab->...a", normals, jnp.asarray(self.root, dtype), precision=jax.lax.Precision.HIGHEST)

    def marginals(self):
        """Outputs without noise beside others that have some get a negligible one, so that all laws are of one kind."""
        stds = np.sqrt(np.diag(self.matrix))
        if not stds.any():
            return (NoNoise(),) * self.outputs
        return tuple(Gaussian(float(std)) for std in np.maximum(stds, NEGLIGIBLE * stds.max()))

    @property
    def second_moment(self) -> float:
        """The mean over outputs of E[eps_a^2]."""
        return float(np.trace(self.matrix)) / self.outputs

    @property
    def fourth_moment(self) -> float:
        """The mean over outputs of E[eps_a^4]."""
        return float(3 * np.mean(np.diag(self.matrix) ** 2))


class IndependentNoise(OutputNoise):
    """Every output has its own independent noise of one law."""

    law: NoiseLaw
    count: int = eqx.field(static=True)

    @property
    def outputs(self):
        return self.count

    @property
    def covariance(self):
        return np.diag(np.full(self.count, float(self.law.second_moment)))

    def sample(self, key, shape, dtype=jnp.float32):
        return self.law.sample(key, (*shape, self.count), dtype)

    def marginals(self):
        return (self.law,) * self.count
