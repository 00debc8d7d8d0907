"""Noise of bounded size."""

import jax
import jax.numpy as jnp
import jax.scipy.special as jss
import numpy as np

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _symmetric_quadrature
from sdelimit.support import arguments as check


class Uniform(NoiseLaw):
    """eps uniform on [-half_width, half_width].

    Raises TypeError or ValueError if ``half_width`` is not a finite number > 0.
    """

    half_width: float

    def __init__(self, half_width: float):
        self.half_width = check.scale("half_width", half_width)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.half_width * jax.random.uniform(key, shape, dtype, minval=-1.0, maxval=1.0)

    def gaussian_factor(self, a):
        x = self.half_width * jnp.sqrt(a)
        return jnp.sqrt(jnp.pi) / 2 * jss.erf(x) / x

    def quadrature(self, n=256):
        return _symmetric_quadrature(lambda v, w: self.half_width * v, n)

    @property
    def second_moment(self):
        return self.half_width**2 / 3

    @property
    def fourth_moment(self):
        return self.half_width**4 / 5

    @property
    def density_at_zero(self):
        return 1 / (2 * self.half_width)


class TwoPoint(NoiseLaw):
    """eps = +magnitude or -magnitude, each with probability 1/2.

    Raises TypeError or ValueError if ``magnitude`` is not a finite number > 0.
    """

    magnitude: float

    def __init__(self, magnitude: float):
        self.magnitude = check.scale("magnitude", magnitude)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.magnitude * jax.random.rademacher(key, shape, dtype)

    def gaussian_factor(self, a):
        return jnp.exp(-a * self.magnitude**2)

    def quadrature(self, n=256):
        return np.array([-self.magnitude, self.magnitude]), np.array([0.5, 0.5])

    @property
    def second_moment(self):
        return self.magnitude**2

    @property
    def fourth_moment(self):
        return self.magnitude**4

    @property
    def density_at_zero(self):
        return 0.0
