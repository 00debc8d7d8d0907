"""Gaussians of random variance: Student-t, Cauchy, Laplace."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jss
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.quadrature import _log_grid, _symmetric_quadrature
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.memo import memoized
from sdelimit.support import arguments as check

SMALLEST_DF = 0.2
"""Degrees of freedom from which quantiles at 1e-16 of the tail can be held: 1e80 here."""
LARGEST_DF = 1e8
"""Degrees of freedom up to which Student-t is computed as such; its density at zero then loses digits."""


class StudentT(NoiseLaw):
    """eps = scale * T, T Student-t with ``df`` degrees of freedom; infinite variance if df <= 2.

    With x = df scale^2 a, G(a) = x^(df/2) Gamma((df+1)/2) / Gamma(df/2) U((df+1)/2, df/2 + 1, x), U being
    Tricomi's function (theory: section 2). It is tabulated as the same integral over the Gamma law that makes T a
    mixture of Gaussians, which stays accurate where implementations of U lose digits or overflow.

    Raises TypeError or ValueError if ``df`` or ``scale`` is not a finite number > 0, ``df`` too large to differ
    from Gaussian noise, or either beyond floating point: ``df`` < 0.2, ``scale`` outside of [1e-25, 1e25].
    """

    df: float = eqx.field(static=True)
    scale: float
    table: LogLogTable

    def __init__(self, df: float, scale: float):
        self.df = check.real("df", df, positive=True)
        if self.df < SMALLEST_DF:
            raise ValueError(f"df must be >= {SMALLEST_DF:g}, below which |eps| leaves floating point, got {self.df:g}")
        if self.df > LARGEST_DF:
            raise ValueError(f"df must be <= {LARGEST_DF:g}, beyond which it is Gaussian(scale), got {self.df:g}")
        self.scale = check.scale("scale", scale)
        self.table = _student_table(self.df)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.scale * jax.random.t(key, self.df, shape, dtype)

    def sample_components(self, key, shape, dtype=jnp.float32):
        gamma = jax.random.gamma(key, self.df / 2, shape, dtype)
        return jnp.zeros((), dtype), self.scale**2 * self.df / (2 * jnp.maximum(gamma, jnp.finfo(dtype).tiny))

    def gaussian_factor(self, a):
        return self.table(a * self.scale**2)

    def quadrature(self, n=256):
        return _symmetric_quadrature(lambda v, w: self.scale * _student_magnitude(self.df, v, w), n)

    def components(self, n=256):
        # T^2 = df / (2 gamma) times a squared normal, gamma ~ Gamma(df/2).
        gamma, weights = _gamma_quadrature(self.df / 2, n)
        return weights, np.zeros_like(gamma), self.scale**2 * self.df / (2 * gamma)

    @property
    def second_moment(self):
        return self.scale**2 * self.df / (self.df - 2) if self.df > 2 else np.inf

    @property
    def fourth_moment(self):
        nu, c = self.df, self.scale
        return 3 * nu**2 * c**4 / ((nu - 2) * (nu - 4)) if nu > 4 else np.inf

    @property
    def density_at_zero(self):
        log_f = special.gammaln((self.df + 1) / 2) - special.gammaln(self.df / 2)
        return float(np.exp(log_f) / (np.sqrt(self.df * np.pi) * self.scale))


class Cauchy(NoiseLaw):
    """eps = scale * standard Cauchy (Student-t with one degree of freedom); infinite variance.

    Raises TypeError or ValueError if ``scale`` is not a finite number > 0.
    """

    scale: float

    def __init__(self, scale: float):
        self.scale = check.scale("scale", scale)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.scale * jax.random.cauchy(key, shape, dtype)

    def sample_components(self, key, shape, dtype=jnp.float32):
        normal = jax.random.normal(key, shape, dtype)
        return jnp.zeros((), dtype), (self.scale / jnp.maximum(jnp.abs(normal), 1e-10)) ** 2

    def gaussian_factor(self, a):
        return _erfcx(self.scale * jnp.sqrt(a))

    def quadrature(self, n=256):
        return _symmetric_quadrature(lambda v, w: self.scale * _student_magnitude(1.0, v, w), n)

    def components(self, n=256):
        gamma, weights = _gamma_quadrature(0.5, n)
        return weights, np.zeros_like(gamma), self.scale**2 / (2 * gamma)

    @property
    def second_moment(self):
        return np.inf

    @property
    def fourth_moment(self):
        return np.inf

    @property
    def density_at_zero(self):
        return 1 / (np.pi * self.scale)


class Laplace(NoiseLaw):
    """eps with density exp(-|e| / scale) / (2 scale).

    Raises TypeError or ValueError if ``scale`` is not a finite number > 0.
    """

    scale: float

    def __init__(self, scale: float):
        self.scale = check.scale("scale", scale)

    def sample(self, key, shape, dtype=jnp.float32):
        return self.scale * jax.random.laplace(key, shape, dtype)

    def sample_components(self, key, shape, dtype=jnp.float32):
        return jnp.zeros((), dtype), 2 * self.scale**2 * jax.random.exponential(key, shape, dtype)

    def gaussian_factor(self, a):
        x = 1 / (2 * self.scale * jnp.sqrt(a))
        return jnp.sqrt(jnp.pi) * x * _erfcx(x)

    def quadrature(self, n=256):
        return _symmetric_quadrature(lambda v, w: -self.scale * np.where(v < 0.5, np.log1p(-v), np.log(w)), n)

    def components(self, n=256):
        # eps^2 = 2 scale^2 gamma times a squared normal, gamma exponential.
        gamma, weights = _gamma_quadrature(1.0, n)
        return weights, np.zeros_like(gamma), 2 * self.scale**2 * gamma

    @property
    def second_moment(self):
        return 2 * self.scale**2

    @property
    def fourth_moment(self):
        return 24 * self.scale**4

    @property
    def density_at_zero(self):
        return 1 / (2 * self.scale)


def _erfcx(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(x^2) erfc(x) for x >= 0. JAX's own returns 0 for 26.56 < x < 26.63 in float64 (jax 0.10)."""
    y = 1 / (2 * jnp.maximum(x, 25.0) ** 2)
    series = 1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y * (1 - 9 * y))))
    return jnp.where(x < 25.0, jss.erfcx(jnp.minimum(x, 25.0)), series / (jnp.maximum(x, 25.0) * np.sqrt(np.pi)))


def _student_magnitude(df: float, v, w):
    """Quantile of |T| at v = 1 - w: T^2 = df q / (1 - q) with q ~ Beta(1/2, df/2)."""
    below = special.betaincinv(0.5, df / 2, np.minimum(v, 0.5))
    above = special.betaincinv(df / 2, 0.5, np.minimum(w, 0.5))
    return np.sqrt(df * np.where(v < 0.5, below / (1 - below), (1 - above) / above))


def _gamma_quadrature(shape: float, n: int):
    """Nodes and weights for Gamma(shape, 1): the trapezoid rule in the logarithm, tails of 1e-16 cut off."""
    low = (
        (np.log(1e-16) + special.gammaln(shape + 1)) / shape if shape < 1 else np.log(special.gammaincinv(shape, 1e-16))
    )
    u = np.linspace(low, np.log(special.gammainccinv(shape, 1e-16)), n)
    log_weights = shape * u - np.exp(u) - special.gammaln(shape) + np.log(u[1] - u[0])
    weights = np.exp(log_weights)
    return np.exp(u), weights / weights.sum()


@memoized
def _student_table(df: float) -> LogLogTable:
    # T^2 = df N^2 / (2 gamma), gamma ~ Gamma(df/2), and E exp(-b N^2) = (1 + 2b)^(-1/2).
    log_a = _log_grid()
    gamma, weights = _gamma_quadrature(df / 2, 1024)
    return LogLogTable(log_a, np.log(np.sum(weights / np.sqrt(1 + np.exp(log_a)[:, None] * df / gamma), axis=1)))
