"""No noise, Gaussian noise, and mixtures of Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _symmetric_quadrature
from sdelimit.support import arguments as check


class NoNoise(NoiseLaw):
    """eps = 0."""

    def sample(self, key, shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype)

    def gaussian_factor(self, a):
        return jnp.ones_like(a)

    def quadrature(self, n=256):
        return np.zeros(1), np.ones(1)

    @property
    def second_moment(self):
        return 0.0

    @property
    def fourth_moment(self):
        return 0.0

    @property
    def density_at_zero(self):
        return np.inf


class Gaussian(NoiseLaw):
    """eps ~ N(0, std^2).

    Raises TypeError or ValueError if ``std`` is not a finite number > 0.
    """

    std: float

    def __init__(self, std: float):
        self.std = check.scale("std", std)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.std * jax.random.normal(key, shape, dtype)

    def sample_components(self, key, shape, dtype=jnp.float32):
        return jnp.zeros((), dtype), jnp.asarray(self.std**2, dtype)

    def gaussian_factor(self, a):
        return 1 / jnp.sqrt(1 + 2 * a * self.std**2)

    def quadrature(self, n=256):
        def quantile(v, w):
            return np.sqrt(2) * self.std * np.where(v < 0.5, special.erfinv(v), special.erfcinv(w))

        return _symmetric_quadrature(quantile, n)

    def components(self, n=256):
        return np.ones(1), np.zeros(1), np.array([self.std**2])

    @property
    def second_moment(self):
        return self.std**2

    @property
    def fourth_moment(self):
        return 3 * self.std**4

    @property
    def density_at_zero(self):
        return 1 / (np.sqrt(2 * np.pi) * self.std)


class GaussianMixture(NoiseLaw):
    """eps ~ sum_k weights[k] N(means[k], stds[k]^2); a zero std is an atom.

    Raises TypeError or ValueError unless all are finite (k,) arrays, ``weights`` >= 0 with sum 1 and ``stds`` >= 0.
    """

    weights: Float[np.ndarray, " k"]
    means: Float[np.ndarray, " k"]
    stds: Float[np.ndarray, " k"]

    def __init__(self, weights, means, stds):
        self.weights = check.array("weights", weights, ndim=1)
        self.means = check.array("means", means, shape=self.weights.shape)
        self.stds = check.array("stds", stds, shape=self.weights.shape)
        if np.any(self.weights < 0) or abs(self.weights.sum() - 1) > 1e-6:
            raise ValueError(f"weights must be >= 0 and sum to 1, got {self.weights} with sum {self.weights.sum():g}")
        if np.any(self.stds < 0):
            raise ValueError(f"stds must be >= 0, got a smallest value of {self.stds.min():g}")
        drawn = self.weights > 0
        largest = float(np.max(np.maximum(np.abs(self.means), self.stds)[drawn]))
        if largest > 0:
            check.scale("means and stds: the largest of them", largest)

    def sample(self, key, shape, dtype=jnp.float32):
        key_component, key_normal = jax.random.split(key)
        mean, variance = self.sample_components(key_component, shape, dtype)
        return mean + jnp.sqrt(variance) * jax.random.normal(key_normal, shape, dtype)

    def sample_components(self, key, shape, dtype=jnp.float32):
        edges = jnp.cumsum(jnp.asarray(self.weights, dtype))[:-1]
        component = jnp.searchsorted(edges, jax.random.uniform(key, shape, dtype), side="right")
        return jnp.asarray(self.means, dtype)[component], jnp.asarray(self.stds, dtype)[component] ** 2

    def gaussian_factor(self, a):
        a = jnp.asarray(a)[..., None]
        variance_ratio = 1 + 2 * a * self.stds**2
        return jnp.sum(self.weights / jnp.sqrt(variance_ratio) * jnp.exp(-a * self.means**2 / variance_ratio), axis=-1)

    def quadrature(self, n=256):
        pieces = [
            self._component_nodes(m, v, n // self.weights.size) for m, v in zip(self.means, self.stds, strict=True)
        ]
        nodes = np.concatenate([e for e, _ in pieces])
        return nodes, np.concatenate([w * p for w, (_, p) in zip(self.weights, pieces, strict=True)])

    @staticmethod
    def _component_nodes(mean, std, n):
        nodes, weights = Gaussian(std).quadrature(max(n, 2)) if std > 0 else NoNoise().quadrature()
        return mean + nodes, weights

    def components(self, n=256):
        return self.weights, self.means, self.stds**2

    @property
    def second_moment(self):
        return float(np.sum(self.weights * (self.means**2 + self.stds**2)))

    @property
    def fourth_moment(self):
        m2, v2 = self.means**2, self.stds**2
        return float(np.sum(self.weights * (m2**2 + 6 * m2 * v2 + 3 * v2**2)))

    @property
    def density_at_zero(self):
        atoms = self.stds == 0
        if np.any(self.weights[atoms & (self.means == 0)] > 0):
            return np.inf
        w, m, v = self.weights[~atoms], self.means[~atoms], self.stds[~atoms]
        return float(np.sum(w * np.exp(-(m**2) / (2 * v**2)) / (v * np.sqrt(2 * np.pi))))
