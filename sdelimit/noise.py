"""Label-noise laws.

With residual l = s z - eps, z ~ N(0, 1) and s = sqrt(2R), everything a limit needs from the law of eps
is its *Gaussian factor*

    G(a) = E[exp(-a eps^2)],        a > 0,

because the density of the residual at zero is p_l(0) = G(1 / (2 s^2)) / (s sqrt(2 pi)) and
E[exp(-t l^2)] = G(t / (1 + 2 t s^2)) / sqrt(1 + 2 t s^2) (theory: sections 2, 6 and 10). Each law gives
G in closed form or as a table made once by quadrature.
"""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jss
import numpy as np
from jaxtyping import Array, Float
from scipy import integrate, special

from sdelimit import _validation as check
from sdelimit._precision import evaluate_in_float64
from sdelimit._table import LogLogTable

LARGEST_DF = 1e8
"""Degrees of freedom up to which Student-t is computed as such; its density at zero then loses digits."""

__all__ = [
    "Cauchy",
    "Density",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Laplace",
    "NoNoise",
    "NoiseLaw",
    "StudentT",
    "TwoPoint",
    "Uniform",
]


class NoiseLaw(eqx.Module):
    """The law of the label noise eps. Immutable; a JAX pytree of its parameters.

    Subclasses give ``sample``, ``gaussian_factor``, ``quadrature``, ``second_moment``, ``fourth_moment`` and
    ``density_at_zero``.
    """

    def sample(self, key, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "..."]:
        """Independent draws of eps of the given shape."""
        raise NotImplementedError

    def gaussian_factor(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """G(a) = E[exp(-a eps^2)] for a > 0; JAX-traceable and differentiable."""
        raise NotImplementedError

    def quadrature(self, n: int = 256) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Nodes e_k and weights w_k with sum_k w_k f(e_k) close to E f(eps) for bounded smooth f; k <= n.

        Continuous laws that are symmetric have nodes at all scales, from far below to far above that of eps:
        P(|eps| < e) = 1 / (1 + exp(-x)) with x equally spaced (the trapezoid rule, which converges geometrically).
        """
        raise NotImplementedError

    def components(self, n: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """eps as a mixture of Gaussians: weights, means and variances (0 for a point mass), each (k,), k <= n.

        Then l = s z - eps is a mixture of N(-mean, s^2 + variance). Gaussian scale mixtures (Student-t, Cauchy,
        Laplace) are given as such, which stays accurate however small s is; other laws by ``quadrature``.
        """
        nodes, weights = self.quadrature(n)
        return weights, nodes, np.zeros_like(nodes)

    def sample_components(self, key, shape: tuple[int, ...], dtype=jnp.float32):
        """Means and variances of the Gaussians of which eps is a mixture, drawn as the mixture draws them.

        eps = mean + sqrt(variance) N(0, 1) has the law of ``sample``. A law that is no mixture gives eps itself, and 0.
        """
        return self.sample(key, shape, dtype), jnp.zeros((), dtype)

    @property
    def second_moment(self) -> float:
        """E[eps^2], possibly infinite."""
        raise NotImplementedError

    @property
    def fourth_moment(self) -> float:
        """E[eps^4], possibly infinite."""
        raise NotImplementedError

    @property
    def density_at_zero(self) -> float:
        """f(0) of eps itself: infinite if eps has an atom at zero, 0 if it has no mass near it."""
        raise NotImplementedError

    def __repr__(self):
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in self._arguments}
        texts = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={_short(v)}" for k, v in shown.items()]
        return f"{type(self).__name__}({', '.join(texts)})"

    @property
    def _arguments(self):
        return set(inspect.signature(type(self).__init__).parameters)

    def residual_density(self, s) -> Float[np.ndarray, "..."]:
        """Density at zero of l = s z - eps, p_l(0) = G(1/(2 s^2)) / (s sqrt(2 pi)), for s > 0.

        Takes and returns NumPy arrays (float64). Theory: section 2. Raises ValueError unless every
        ``s`` is finite and positive.
        """
        s = check.array("s", s)
        if np.any(s <= 0):
            raise ValueError(f"s must be > 0, got a smallest value of {s.min():g}")
        factor = evaluate_in_float64(self.gaussian_factor, 1 / (2 * s**2))
        return factor / (s * np.sqrt(2 * np.pi))


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
        self.std = check.real("std", std, positive=True)

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


class StudentT(NoiseLaw):
    """eps = scale * T, T Student-t with ``df`` degrees of freedom; infinite variance if df <= 2.

    With x = df scale^2 a, G(a) = x^(df/2) Gamma((df+1)/2) / Gamma(df/2) U((df+1)/2, df/2 + 1, x), U being
    Tricomi's function (theory: section 2). It is tabulated as the same integral over the Gamma law that makes T a
    mixture of Gaussians, which stays accurate where implementations of U lose digits or overflow.

    Raises TypeError or ValueError if ``df`` or ``scale`` is not a finite number > 0, or ``df`` too large to differ
    from Gaussian noise.
    """

    df: float = eqx.field(static=True)
    scale: float
    table: LogLogTable

    def __init__(self, df: float, scale: float):
        self.df = check.real("df", df, positive=True)
        if self.df > LARGEST_DF:
            raise ValueError(f"df must be <= {LARGEST_DF:g}, beyond which it is Gaussian(scale), got {self.df:g}")
        self.scale = check.real("scale", scale, positive=True)
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
        self.scale = check.real("scale", scale, positive=True)

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
        self.scale = check.real("scale", scale, positive=True)

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


class Uniform(NoiseLaw):
    """eps uniform on [-half_width, half_width].

    Raises TypeError or ValueError if ``half_width`` is not a finite number > 0.
    """

    half_width: float

    def __init__(self, half_width: float):
        self.half_width = check.real("half_width", half_width, positive=True)

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
        self.magnitude = check.real("magnitude", magnitude, positive=True)

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
        spread = 1 + 2 * a * self.stds**2
        return jnp.sum(self.weights / jnp.sqrt(spread) * jnp.exp(-a * self.means**2 / spread), axis=-1)

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


class Empirical(NoiseLaw):
    """eps drawn uniformly from the given samples (residuals of a fit, say).

    Raises TypeError or ValueError if ``samples`` is not a finite array of shape (n,).
    """

    samples: Float[np.ndarray, " m"]
    scale: float
    table: LogLogTable | None

    def __init__(self, samples):
        self.samples = check.array("samples", samples, ndim=1)
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
        # Means of n equal shares of the sorted samples.
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


class Density(NoiseLaw):
    """eps with the probability density ``pdf``, integrated by adaptive quadrature.

    ``pdf`` maps a NumPy array to a NumPy array and must integrate to one over ``support``. Pass
    ``second_moment`` (``float("inf")`` for heavy tails) when known; it is integrated otherwise. ``points``
    lists places where the density is sharp or jumps, for the quadrature to look at.

    Raises TypeError or ValueError if ``pdf`` is not a function that maps an array to finite values >= 0 of its
    shape and integrates to 1 over ``support``, or ``support`` not an interval.
    """

    pdf: Callable = eqx.field(static=True)
    moment: float
    quartic: float
    table: LogLogTable
    quantiles: Float[np.ndarray, " n"]
    levels: Float[np.ndarray, " n"]

    def __init__(self, pdf, support=(-np.inf, np.inf), second_moment=None, points=()):
        if not callable(pdf):
            raise TypeError(f"pdf must be a function of an array, got {check.describe(pdf)}")
        if not isinstance(support, (tuple, list)) or len(support) != 2:
            raise TypeError(f"support must be a pair of numbers, got {check.describe(support)}")
        low, high = (check.real("support", end, allow_inf=True) for end in support)
        if not low < high:
            raise ValueError(f"support must be an interval (low, high), got ({low:g}, {high:g})")
        if not isinstance(points, (tuple, list)) and np.ndim(points) != 1:
            raise TypeError(f"points must be a sequence of numbers, got {check.describe(points)}")
        inner = [p for p in check.array("points", [0.0] if len(points) == 0 else points, ndim=1) if low < p < high]
        self.pdf = pdf
        quadrature = _Quadrature(pdf, low, high, inner)
        self.moment = (
            quadrature.moment(2)
            if second_moment is None
            else check.real("second_moment", second_moment, nonnegative=True, allow_inf=True)
        )
        self.quartic = quadrature.moment(4) if np.isfinite(self.moment) else np.inf
        self.table = quadrature.gaussian_factor_table()
        self.quantiles, self.levels = quadrature.quantiles()

    def sample(self, key, shape, dtype=jnp.float32):
        levels, quantiles = jnp.asarray(self.levels, dtype), jnp.asarray(self.quantiles, dtype)
        return jnp.interp(jax.random.uniform(key, shape, dtype), levels, quantiles)

    def gaussian_factor(self, a):
        return self.table(a)

    def quadrature(self, n=256):
        x, step = _logistic_grid(n)
        weights = special.expit(x) * special.expit(-x) * step
        return np.interp(special.expit(x), self.levels, self.quantiles), weights / weights.sum()

    @property
    def second_moment(self):
        return self.moment

    @property
    def fourth_moment(self):
        return self.quartic

    @property
    def density_at_zero(self):
        return float(np.asarray(self.pdf(np.zeros(1)))[0])


def _short(value) -> str:
    if isinstance(value, np.ndarray):
        return f"<{value.size} values, rms {np.sqrt(np.mean(value**2)):.4g}>" if value.size > 8 else str(value.tolist())
    return getattr(value, "__name__", repr(value))


def _erfcx(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(x^2) erfc(x) for x >= 0. JAX's own returns 0 for 26.56 < x < 26.63 in float64 (jax 0.10)."""
    y = 1 / (2 * jnp.maximum(x, 25.0) ** 2)
    series = 1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y * (1 - 9 * y))))
    return jnp.where(x < 25.0, jss.erfcx(jnp.minimum(x, 25.0)), series / (jnp.maximum(x, 25.0) * np.sqrt(np.pi)))


def _log_grid() -> Float[np.ndarray, " n"]:
    """Grid of log a, in units where the noise has scale one: 1e-26 < a < 1e26."""
    return np.arange(-60.0, 60.05, 0.1)


def _logistic_grid(n: int):
    """``n`` equally spaced x, and their spacing, for integrals over v = 1 / (1 + exp(-x)) in (0, 1)."""
    x = np.linspace(-32.0, 32.0, n)
    return x, x[1] - x[0]


def _symmetric_quadrature(quantile, n: int):
    """Nodes and weights of a symmetric law from the quantile of |eps| at v, given with w = 1 - v."""
    x, step = _logistic_grid(max(n // 2, 2))
    v, w = special.expit(x), special.expit(-x)
    magnitude, weights = quantile(v, w), v * w * step / 2
    return np.concatenate([-magnitude[::-1], magnitude]), np.concatenate([weights[::-1], weights]) / (2 * weights.sum())


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


@functools.lru_cache(maxsize=64)
def _student_table(df: float) -> LogLogTable:
    # T^2 = df N^2 / (2 gamma), gamma ~ Gamma(df/2), and E exp(-b N^2) = (1 + 2b)^(-1/2).
    log_a = _log_grid()
    gamma, weights = _gamma_quadrature(df / 2, 1024)
    return LogLogTable(log_a, np.log(np.sum(weights / np.sqrt(1 + np.exp(log_a)[:, None] * df / gamma), axis=1)))


def _empirical_table(samples: Float[np.ndarray, " m"]) -> LogLogTable:
    log_a = _log_grid()
    squares = samples**2
    log_g = [special.logsumexp(-np.exp(x) * squares) - np.log(squares.size) for x in log_a]
    return LogLogTable(log_a, np.array(log_g))


class _Quadrature:
    """Adaptive quadrature against a density: sinh-spaced nodes resolve both the centre and the tails."""

    def __init__(self, pdf, low, high, points):
        self.pdf, self.points = pdf, points
        self.low, self.high = np.arcsinh(low), np.arcsinh(high)
        self.low, self.high = max(self.low, -60.0), min(self.high, 60.0)
        total = self.integrate(lambda e: 1.0)
        if not np.isfinite(total) or abs(total - 1) > 1e-5:
            raise ValueError(f"pdf must integrate to 1 over its support, got {total:.6g}")

    def density(self, e):
        e = np.atleast_1d(np.asarray(e, np.float64))
        try:
            value = np.asarray(self.pdf(e), np.float64)
        except (TypeError, ValueError, IndexError) as error:
            raise TypeError(f"pdf must map an array to an array of its shape; it raised {error}") from error
        if value.shape != e.shape:
            raise ValueError(f"pdf must map an array of shape {e.shape} to one of that shape, got {value.shape}")
        if not np.all(np.isfinite(value)) or np.any(value < 0):
            raise ValueError(f"pdf must be finite and >= 0, got {value.ravel()[0]:g} near {float(np.ravel(e)[0]):g}")
        return value

    def integrate(self, function, low=None, high=None):
        low, high = self.low if low is None else low, self.high if high is None else high
        if not low < high:
            return 0.0
        centres = np.arcsinh(self.points)
        around = np.concatenate([[0.0], *([sign * 10.0**k] for k in range(-5, 1) for sign in (-1, 1))])
        points = np.unique(np.concatenate([np.add.outer(centres, around).ravel(), np.arange(-60.0, 61.0)]))
        points = points[(points > low) & (points < high)]
        value, _ = integrate.quad_vec(
            lambda u: self.density(np.sinh(u))[0] * np.cosh(u) * function(np.sinh(u)),
            low, high, points=points, epsabs=1e-13, epsrel=1e-11, norm="max", limit=4000,
        )  # fmt: skip
        return value

    def moment(self, power):
        # Integrals between growing cut-offs (in arcsinh e) fall geometrically if the tail is integrable.
        edges = np.arange(0.0, 61.0, 5.0)
        rings = [
            self.integrate(lambda e: e**power, max(self.low, -hi), max(self.low, -lo))
            + self.integrate(lambda e: e**power, min(self.high, lo), min(self.high, hi))
            for lo, hi in itertools.pairwise(edges)
        ]
        before, last = rings[-2:]
        if last <= 1e-9 * sum(rings):
            return float(sum(rings))
        ratio = last / before
        return float(sum(rings) + last * ratio / (1 - ratio)) if ratio < 0.999 else np.inf

    def gaussian_factor_table(self):
        log_a = _log_grid()
        a = np.exp(log_a)
        return LogLogTable(log_a, np.log(np.maximum(self.integrate(lambda e: np.exp(-a * e**2)), 1e-300)))

    def quantiles(self):
        u = np.unique(np.concatenate([np.linspace(self.low, self.high, 20001), np.arcsinh(self.points)]))
        e = np.sinh(u)
        middle = self.density(np.sinh((u[:-1] + u[1:]) / 2)) * np.cosh((u[:-1] + u[1:]) / 2)
        ends = self.density(e) * np.cosh(u)
        mass = np.diff(u) * (ends[:-1] + 4 * middle + ends[1:]) / 6
        levels = np.concatenate([[0.0], np.cumsum(mass)])
        keep = np.concatenate([[True], np.diff(levels) > 0])
        return e[keep], levels[keep] / levels[-1]
