"""Losses of one linear score u = <x, theta> whose labels depend on u* = <x, theta*> (theory: section 20).

What the limits and the simulator need of a loss is the gradient l = dloss/du at v = u - u*, for labels drawn given u*:
the gradient of one sample is l x.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.normal_mean import normal_quadrature
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.numerics.sums import products

SMALLEST_SLOPE = 1e-35
"""Of |l| where it has a sign: products with features stay normal numbers of float32."""
CHANGES = 6
"""Changes of sign of a loss's derivative that are looked for."""
KINKS = np.geomspace(1e-3, 1e3, 81)
"""Sizes of residuals between which an own loss may have a kink: so close that one is resolved wherever it is."""
POISSON_OUTCOMES = 96
"""Labels of which a Poisson label is made in quadrature: all of them for small rates."""


class UniformDraws(eqx.Module):
    """Uniform numbers in (0, 1), from which labels are drawn."""

    def sample(self, key, shape, dtype=jnp.float32):
        """Independent draws of the given shape."""
        return jax.random.uniform(key, shape, dtype)


class Loss(eqx.Module):
    """A loss and a law of labels; a JAX pytree of numbers.

    Subclasses give ``slope`` and, if their labels are random, ``draws``, ``label`` and ``outcomes``.

    Attributes:
        needs_target: whether l depends on u* beside v.
    """

    needs_target: ClassVar[bool] = True

    def slope(self, v: Float[Array, "..."], u_star: Float[Array, "..."], label: Float[Array, "..."]):
        """l = dloss/du at u = u* + v."""
        raise NotImplementedError

    def value(self, v, u_star, label):
        """The loss itself up to what does not depend on u, for rules that ask for it, by quadrature of its slope."""
        x, weights = np.polynomial.legendre.leggauss(16)
        at = (jnp.asarray(x, v.dtype) + 1) / 2
        slopes = self.slope(v[..., None] * at, u_star[..., None], self.label(label, u_star)[..., None])
        return v * (slopes @ jnp.asarray(weights / 2, v.dtype))

    def slopes_of(self, x, draw, theta_star, delta) -> Float[Array, "runs m b"]:
        """l of every sample, for x (runs, b, d), what was drawn for its label (runs, b) and errors (runs, m, d).

        Losses of several outputs have a row of l for each, and (runs, m, outputs d) errors.
        """
        v = products(delta, x)
        if not self.needs_target:
            return self.slope(v, None, draw[:, None])
        u_star = (x @ theta_star)[:, None]
        return self.slope(v, u_star, self.label(draw[:, None], u_star))

    def mean_value(self, x, draw, theta_star, theta) -> Float[Array, ""]:
        """The mean of ``value`` over samples x (b, d)."""
        return jnp.mean(self.value(x @ (theta - theta_star), x @ theta_star, draw))

    def draws(self, noise: NoiseLaw):
        """What a simulation draws beside features, with a method ``sample(key, shape, dtype)``."""
        return noise

    def label(self, draw: Float[Array, "..."], u_star: Float[Array, "..."]) -> Float[Array, "..."]:
        """The label that ``draw`` makes, in the form that ``slope`` takes."""
        return draw

    def outcomes(self, noise: NoiseLaw, u_star: Float[np.ndarray, " n"]):
        """Labels (K, n or 1) and their probabilities (K, n or 1), given u*."""
        return np.zeros((1, 1)), np.ones((1, 1))

    def edges(self, u_star: Float[np.ndarray, " n"], label) -> Float[np.ndarray, "E n"]:
        """The v at which l changes sign, jumps or has a kink, for one of the outcomes."""
        return np.zeros((0, u_star.size))

    def kinks(self, u_star: Float[np.ndarray, " n"], label) -> Float[np.ndarray, "E n"]:
        """Further v at which l has a kink but no change of sign."""
        return np.zeros((0, u_star.size))

    def moments(self, S2, X, B22):
        """h1, h0 and E l^2 where they are known in closed form (theory: section 20), in JAX; None otherwise."""
        return None

    @property
    def of_residual(self) -> bool:
        """Whether l depends on the residual r = v - eps alone: slope(v, u*, eps) = slope(r, 0, 0)."""
        return False

    smooth: ClassVar[bool] = True
    """Whether coefficients of scale-free rules are smooth but for theta = theta*."""

    def excess(self, S2, X, B22):
        """The excess risk where it is known in closed form; None otherwise."""
        return None

    @property
    def classifies(self) -> bool:
        """Whether sign(u) is taken for a guess of the label."""
        return False


class LeastSquares(Loss):
    """(u - y)^2 / 2 with y = u* + eps, so that l = v - eps."""

    needs_target: ClassVar[bool] = False

    def slope(self, v, u_star, label):
        return v - label

    def value(self, v, u_star, label):
        return (v - label) ** 2 / 2


class Logistic(Loss):
    """ln(1 + exp(-y u)), y = +-1 with P(y = 1) = sigma(u*); for soft labels the mean of that over y."""

    soft: bool = eqx.field(static=True)

    def slope(self, v, u_star, label):
        u = u_star + v
        if self.soft:  # sigma(u) - sigma(u*) without cancellation
            side = jnp.where(v < 0, -1.0, 1.0).astype(v.dtype)
            return side * jax.nn.sigmoid(side * u) * jax.nn.sigmoid(-side * u_star) * -jnp.expm1(-jnp.abs(v))
        # Far from the boundary sigma leaves the range of float32, but the sign of l is still that of the label.
        return -label * jnp.maximum(jax.nn.sigmoid(-label * u), SMALLEST_SLOPE)

    def draws(self, noise):
        return noise if self.soft else UniformDraws()

    def label(self, draw, u_star):
        return draw if self.soft else _signs(draw < jax.nn.sigmoid(u_star), draw)

    def outcomes(self, noise, u_star):
        if self.soft:
            return super().outcomes(noise, u_star)
        return np.array([[1.0], [-1.0]]), np.stack([special.expit(u_star), special.expit(-u_star)])

    def edges(self, u_star, label):
        return np.zeros((int(self.soft), u_star.size))

    @property
    def classifies(self):
        return True


class Probit(Loss):
    """-ln Phi(y u), y = +-1 with P(y = 1) = Phi(u*)."""

    def slope(self, v, u_star, label):
        x = label * (u_star + v)
        return -label * jnp.exp(-(x**2) / 2 - jax.scipy.special.log_ndtr(x)) * np.float32(1 / np.sqrt(2 * np.pi))

    def draws(self, noise):
        return UniformDraws()

    def label(self, draw, u_star):
        return _signs(draw < jax.scipy.special.ndtr(u_star), draw)

    def outcomes(self, noise, u_star):
        return np.array([[1.0], [-1.0]]), np.stack([special.ndtr(u_star), special.ndtr(-u_star)])

    @property
    def classifies(self):
        return True


class PoissonLoss(Loss):
    """exp(u) - Y u, Y Poisson of mean exp(u*)."""

    smooth: ClassVar[bool] = False

    def slope(self, v, u_star, label):
        return jnp.exp(u_star + v) - label

    def draws(self, noise):
        return UniformDraws()

    def label(self, draw, u_star):
        return _poisson_quantile(draw, jnp.exp(u_star))

    def outcomes(self, noise, u_star):
        rate = np.exp(u_star)
        low = np.maximum(np.floor(rate - 9 * np.sqrt(rate) - 9), 0.0)
        high = np.ceil(rate + 9 * np.sqrt(rate) + 15)
        width = np.maximum(np.ceil((high - low) / POISSON_OUTCOMES), 1.0)
        first = low + width * np.arange(POISSON_OUTCOMES)[:, None]
        p = special.pdtr(first + width - 1, rate) - np.where(first > 0, special.pdtr(first - 1, rate), 0.0)
        return first + (width - 1) / 2, p / p.sum(axis=0)

    def edges(self, u_star, label):
        return (np.log(np.maximum(label, 1e-300)) - u_star)[None]

    def moments(self, S2, X, B22):
        B11, B12 = S2 + 2 * X + B22, X + B22
        h1 = jnp.exp(B11 / 2)
        # e^{2 B11} + e^{2 B22} - 2 e^{(B11 + B22 + 2 B12) / 2} + e^{B22 / 2}
        middle = (B11 + B22 + 2 * B12) / 2
        square = jnp.exp(2 * B22) * jnp.expm1(2 * (B11 - B22)) - 2 * jnp.exp(2 * B22) * jnp.expm1(middle - 2 * B22)
        return h1, jnp.exp(B22 / 2) * jnp.expm1((B11 - B22) / 2), square + jnp.exp(B22 / 2)

    def excess(self, S2, X, B22):
        with np.errstate(over="ignore"):
            return np.exp(B22 / 2) * (np.expm1(S2 / 2 + X) - X)


class Phase(Loss):
    """(u^2 - u*^2)^2, so that l = 4 u (u^2 - u*^2): theta = 0 and -theta* are as special as theta*."""

    smooth: ClassVar[bool] = False

    def slope(self, v, u_star, label):
        u = u_star + v
        return 4 * u * v * (u + u_star)

    def edges(self, u_star, label):
        return np.stack([np.zeros_like(u_star), -u_star, -2 * u_star])

    def moments(self, S2, X, B22):
        B11, B12 = S2 + 2 * X + B22, X + B22
        h1, h2 = 12 * B11 - 4 * B22, -8 * B12
        square = 15 * B11**3 - 6 * B11**2 * B22 - 24 * B11 * B12**2 + 3 * B11 * B22**2 + 12 * B22 * B12**2
        return h1, h1 + h2, 16 * square

    def excess(self, S2, X, B22):
        # 3 B11^2 + 3 B22^2 - 2 B11 B22 - 4 B12^2 about theta*.
        return 3 * S2**2 + 12 * S2 * X + 8 * X**2 + 4 * S2 * B22


class Residual(Loss):
    """A loss of the residual r = v - eps alone; ``threshold`` is where |r| is clipped: Huber's loss.

    The least squares loss r^2 / 2 for an infinite threshold, |r| for zero.
    """

    threshold: float

    def slope(self, v, u_star, label):
        r = v - label
        return jnp.where(self.threshold > 0, jnp.clip(r, -self.threshold, self.threshold), jnp.sign(r))

    @property
    def of_residual(self):
        return True

    def edges(self, u_star, label):
        places = [0.0, -self.threshold, self.threshold] if 0 < self.threshold < np.inf else [0.0]
        return label + np.array(places)[:, None]


class OwnLoss(Loss):
    """A loss given as a function of (u, u*, eps), differentiated by JAX.

    Attributes:
        function: the loss.
        classified: whether sign(u) is taken for a guess of the label.
        additive: whether it is a function of u - u* - eps alone; then its means under label noise are exact, where the
            nodes of eps would miss a change of sign once s is smaller than their distance.
        fewer_nodes: whether label noise has fewer nodes than usual, to tell whether they are enough.
    """

    smooth: ClassVar[bool] = False
    function: Callable = eqx.field(static=True)
    classified: bool = eqx.field(static=True, default=False)
    additive: bool = eqx.field(static=True, default=False)
    fewer_nodes: bool = eqx.field(static=True, default=False)

    def __str__(self):
        own = getattr(self.function, "loss", self.function)
        return getattr(own, "__qualname__", type(own).__qualname__)

    def slope(self, v, u_star, label):
        v, u_star, label = jnp.broadcast_arrays(v, u_star, label)
        one = jax.vmap(jax.grad(self.function))
        return jnp.reshape(one(*(jnp.ravel(x) for x in (u_star + v, u_star, label))), v.shape).astype(v.dtype)

    @property
    def of_residual(self):
        return self.additive

    def grows(self) -> bool:
        """Whether dloss/du grows without bounds with the label noise."""
        eps = np.array([-1e9, -1e6, 1e6, 1e9])
        slopes = np.abs(evaluate_in_float64(self.slope, np.full(4, 0.4), np.full(4, -0.3), eps))
        return not np.all(slopes[[0, 3]] < 10 * np.maximum(slopes[1:3], 1.0))

    def outcomes(self, noise, u_star):
        nodes, weights = noise_nodes(noise, 0.75 if self.fewer_nodes else 1.0)
        return nodes[:, None], weights[:, None]

    def edges(self, u_star, label):
        return _sign_changes(self, u_star, np.broadcast_to(label, u_star.shape))

    @property
    def classifies(self):
        return self.classified


class Clipped(Loss):
    """The loss whose gradient is clipped: l where |l| < ``threshold``, and of that size beyond."""

    smooth: ClassVar[bool] = False
    loss: Loss
    threshold: float

    def slope(self, v, u_star, label):
        return jnp.clip(self.loss.slope(v, u_star, label), -self.threshold, self.threshold)

    def draws(self, noise):
        return self.loss.draws(noise)

    def label(self, draw, u_star):
        return self.loss.label(draw, u_star)

    def outcomes(self, noise, u_star):
        return self.loss.outcomes(noise, u_star)

    def edges(self, u_star, label):
        return self.loss.edges(u_star, label)

    def kinks(self, u_star, label):
        level = _Excess(self.loss, self.threshold)
        return _sign_changes(level, u_star, np.broadcast_to(label, u_star.shape))

    @property
    def of_residual(self):
        return self.loss.of_residual


class _Excess(Loss):
    """|l| - ``threshold`` in the place of a gradient, for its changes of sign."""

    loss: Loss
    threshold: float

    def slope(self, v, u_star, label):
        return jnp.abs(self.loss.slope(v, u_star, label)) - self.threshold


@memoized(size=512)
def _sign_changes(loss, u_star, label):
    """Places v, (CHANGES, n), where l changes sign or becomes 0, by a grid and bisection; 0 where there are fewer."""
    near = np.concatenate([-np.geomspace(200, 1e-4, 60), np.geomspace(1e-4, 200, 60)])
    v = np.sort(np.concatenate([near[:, None] + place for place in (0 * u_star, -u_star, -2 * u_star)]), axis=0)
    slope = partial(_slope, loss)
    values = np.sign(evaluate_in_float64(slope, v, *np.broadcast_arrays(u_star, label + 0 * v)))
    changes = values[1:] != values[:-1]
    order = np.argsort(~changes, axis=0, kind="stable")[:CHANGES]
    found = np.take_along_axis(changes, order, axis=0)
    found, order = found[found.any(axis=1)], order[found.any(axis=1)]
    low, high, left = (np.take_along_axis(a, order, axis=0) for a in (v[:-1], v[1:], values[:-1]))
    for _ in range(60):
        middle = (low + high) / 2
        same = np.sign(evaluate_in_float64(slope, middle, *np.broadcast_arrays(u_star, label + 0 * middle))) == left
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.where(found, (low + high) / 2, 0.0)


@jit
def _slope(loss, v, u_star, label):
    return loss.slope(v, u_star + 0 * v, label)


def noise_nodes(noise: NoiseLaw, part: float = 1.0):
    """Nodes and weights of eps for smooth functions, ``part`` of them; those of weight below 1e-12 are left out."""
    if isinstance(noise, NoNoise):
        return np.zeros(1), np.ones(1)
    if isinstance(noise, Gaussian):
        x, weights = normal_quadrature(int(40 * part))
        return x * np.sqrt(noise.second_moment), np.asarray(weights)
    nodes, weights = noise.quadrature(int(128 * part))
    kept = weights > 1e-12
    return nodes[kept], weights[kept] / weights[kept].sum()


def _signs(true, like):
    return jnp.where(true, 1.0, -1.0).astype(like.dtype)


def _poisson_quantile(draw, rate):
    """The smallest Y whose distribution function at ``rate`` reaches ``draw``, by bisection."""
    high = jnp.ceil(rate + 7 * jnp.sqrt(rate) + 20)
    low = jnp.full_like(rate, -1.0)

    def halve(_, bounds):
        low, high = bounds
        middle = jnp.floor((low + high) / 2)
        reached = jax.scipy.special.gammaincc(middle + 1, rate) >= draw
        return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

    return jax.lax.fori_loop(0, 24, halve, (low, high))[1]
