"""How a scale-free rule answers a feature that is correlated with the residual (theory: section 15).

With r the correlation of feature i with the noiseless residual x'delta, r = (K delta)_i / (sigma_i s), s = sqrt(2R),

    E[u_i | delta] = G(r; R) = s phi(R) r g(r; R),    long-run variance of u_i = kappa(1; R) k(r; R),

g and k even in r with g = k = 1 at r = 0, where the linear law takes them to stay.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline, PchipInterpolator

from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.spread_along_mean import RelativeSpread, relative_spread
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite

GRADING, NODES = 4.0, 21
"""Nodes lie at arcsin r = (pi/2) sinh(4 u) / sinh(4), u uniform: closer where averages of signs saturate."""
U = np.linspace(0.0, 1.0, NODES)
R_NODES = np.append(np.sin(np.pi / 2 * np.sinh(GRADING * U[:-1]) / np.sinh(GRADING)), 1.0)
RISK_STEP = 1.5
"""Spacing of nodes in log R."""
WIDEST = 9.0
"""Largest |log(2R / noise scale^2)| at which a law that is not Gaussian is tabulated; constant beyond."""
LEGENDRE_X, LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(21)
FARTHEST = 6.0
"""Standard deviations beyond which a normal variable counts for nothing."""
SMALLEST_VARIANCE = 1e-12
"""Of r, below which its fluctuations change no mean."""


class Aside:
    """Something a law carries that no compiled code reads: equal to any other, so that laws share compiled code."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Aside)

    def __hash__(self):
        return 0


class Averages(eqx.Module):
    """Means over r ~ N(mean, variance) of each coordinate, (d,).

    Attributes:
        mean: E G(r).
        slope: E G'(r).
        variance: E kappa(1; R) k(r; R).
    """

    mean: Float[Array, " d"]
    slope: Float[Array, " d"]
    variance: Float[Array, " d"]


class Response(eqx.Module):
    """G and k of one rule; coordinates may carry numbers of their own, ``extra``, that relax."""

    def initial(self, d: int) -> Any:
        """``extra`` at t = 0."""
        return jnp.zeros(0)

    def relaxation(self, extra, R, mean, variance) -> tuple[Any, Any]:
        """Rates and targets of d extra / dt = rate (target - extra); a rate may be a number for a whole array."""
        return jnp.zeros(0), jnp.zeros(0)

    def rate(self, law, extra, R) -> Float[Array, ""]:
        """phi: E G' / s of features that are not correlated."""
        return law.drift_coefficients(R, jnp.zeros(0))[0]

    def averages(self, law, extra, R, mean, variance, fading=0.0) -> Averages:
        """G and k averaged over r ~ N(mean, variance), fluctuations that decay at the rate ``fading``."""
        raise NotImplementedError

    def at(self, law, extra, R, r) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """G and kappa(1; R) k at given correlations."""
        raise NotImplementedError

    def mean_factor(self, R, r: Float[Array, "..."]) -> Float[Array, "..."]:
        """g(r; R), where ``extra`` has settled."""
        raise NotImplementedError

    def settled(self, law, mean_R, mean_square, R, r, fading) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """``at`` in a stationary state of mean risk ``mean_R`` and mean f^2 = 2 R r^2, that decay at ``fading``."""
        return self.at(law, self.initial(r.shape[0]), R, r)


class ClippedNormal(eqx.Module):
    """Points and weights for means over r ~ N(mean, variance), clipped to [-1, 1].

    Attributes:
        r: (points, d), the last two rows the ends.
        weights: for E h(r).
        slopes: for E x h(r) / width = E h'(r), with r = mean + width x.
    """

    r: Float[Array, "points d"]
    weights: Float[Array, "points d"]
    slopes: Float[Array, "points d"]

    def mean(self, values):
        return jnp.sum(self.weights * values, axis=0)

    def slope(self, values):
        return jnp.sum(self.slopes * values, axis=0)


def clipped_normal(mean, variance) -> ClippedNormal:
    """By Legendre's points between the ends, so that means are smooth in ``mean`` and ``variance``."""
    width = jnp.sqrt(jnp.maximum(variance, SMALLEST_VARIANCE))
    below, above = (-1 - mean) / width, (1 - mean) / width
    low, high = jnp.maximum(below, -FARTHEST), jnp.minimum(above, FARTHEST)
    x = (low + high) / 2 + (high - low) / 2 * jnp.asarray(LEGENDRE_X)[:, None]
    inside = (high - low) / 2 * jnp.asarray(LEGENDRE_WEIGHTS)[:, None] * jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    ends = jnp.stack([ndtr(below), ndtr(-above)])
    inside = inside * (1 - ends.sum(axis=0)) / inside.sum(axis=0)
    sides = jnp.broadcast_to(jnp.array([-1.0, 1.0])[:, None], ends.shape)
    heights = sides * jnp.exp(-(jnp.stack([below, above]) ** 2) / 2) / np.sqrt(2 * np.pi)
    r = jnp.concatenate([jnp.clip(mean + width * x, -1.0, 1.0), sides])
    return ClippedNormal(r, jnp.concatenate([inside, ends]), jnp.concatenate([inside * x, heights]) / width)


class ResponseTable(Response):
    """g and k between nodes of arcsin r and log R.

    Attributes:
        of_log_R: log R -> (2, NODES - 1, 4) cubic coefficients of g and k, the highest power first.
        noise_variance: that of Gaussian noise, with which only r s / sqrt(2P) matters; 0 where the table has log R.
    """

    of_log_R: PiecewisePolynomial
    noise_variance: float

    def factors(self, R, r: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """g and k."""
        coefficients = self.of_log_R(jnp.log(R))
        r = jnp.minimum(jnp.abs(r) * jnp.sqrt(2 * R / (2 * R + self.noise_variance)), 1.0)
        u = jnp.arcsinh(jnp.arcsin(r) * (2 / np.pi * np.sinh(GRADING))) / GRADING * (NODES - 1)
        cell = jnp.clip(jnp.floor(u), 0, NODES - 2).astype(jnp.int32)
        a, b, c, e = jnp.moveaxis(coefficients[:, cell], -1, 0)
        x = u - cell
        g, k = ((a * x + b) * x + c) * x + e
        return g, jnp.maximum(k, 0.0)

    def mean_factor(self, R, r):
        return self.factors(R, r)[0]

    def at(self, law, extra, R, r):
        g, k = self.factors(R, r)
        none = jnp.zeros(0)
        G = jnp.sqrt(2 * R) * law.drift_coefficients(R, none)[0] * r * g
        return G, law.noise_coefficients(R, none).sum() * k

    def averages(self, law, extra, R, mean, variance, fading=0.0):
        points = clipped_normal(mean, variance)
        G, k = self.at(law, extra, R, points.r)
        return Averages(points.mean(G), points.slope(G), points.mean(k))


class LongMemoryResponse(Response):
    """Adam with 1 - b2 = c2/d: coordinate i divides by the root of its own V_i (theory: section 11).

    dV_i/dt = c2 (E[g_i^2] / sigma_i^2 - V_i),    E[g_i^2] / sigma_i^2 = (2P + s^2 r_i^2) / b + s^2 r_i^2,
    G = s r / sqrt(Vhat_i),    k = (2P + s^2 r^2) / (b Vhat_i),    Vhat_i = V_i / (1 - exp(-c2 t)).
    """

    forgets: float
    noise_variance: float
    batch_size: float

    def initial(self, d):
        return jnp.zeros(d), jnp.zeros(())

    def settled(self, law, mean_R, mean_square, R, r, fading):
        share = self.forgets / (self.forgets + 2 * fading)
        square = mean_square / (2 * mean_R) + share * (r**2 - mean_square / (2 * mean_R))
        Vhat = self._square(mean_R + share * (R - mean_R), square)
        return jnp.sqrt(2 * R / Vhat) * r, self._variance(R, r**2) / Vhat

    def _square(self, R, square):
        """E[g^2] / sigma^2 where E r^2 = ``square``."""
        return self._variance(R, square) + 2 * R * square

    def _variance(self, R, square):
        return (2 * R * (1 + square) + self.noise_variance) / self.batch_size

    def mean_factor(self, R, r):
        return jnp.sqrt(self._square(R, jnp.zeros(())) / self._square(R, r**2))

    def relaxation(self, extra, R, mean, variance):
        return (self.forgets, self.forgets), (self._square(R, mean**2 + variance), jnp.ones(()))

    def rate(self, law, extra, R):
        return self.averages(law, extra, R, jnp.zeros(()), jnp.zeros(())).slope.mean() / jnp.sqrt(2 * R)

    def at(self, law, extra, R, r):
        found = self.averages(law, extra, R, r, jnp.zeros_like(r))
        return found.mean, found.variance

    def averages(self, law, extra, R, mean, variance, fading=0.0):
        V, W = extra
        square = mean**2 + variance
        started = W > 0
        Vhat = jnp.where(started, V / jnp.where(started, W, 1.0), self._square(R, square))
        slope = jnp.sqrt(2 * R / Vhat)
        return Averages(slope * mean, slope, self._variance(R, square) / Vhat)


@dataclass(frozen=True, eq=False)
class Correlated:
    """The response of a rule under one noise law, made when it is asked for.

    ``rule`` has ``response(noise, R, batch_size, r)``, G in any unit, ``fluctuations(noise, R, batch_size, r, G)``, k,
    and ``steps``, how many gradients of one sign add up before the update saturates. Where not ``rule.responds`` they
    are those of a similar rule: good for an estimate of an error.
    """

    rule: Any
    noise: NoiseLaw
    batch_size: int

    def relative_spread(self) -> RelativeSpread:
        """gamma / phi^2 at all risks, of scale-free rules."""
        return relative_spread(self.rule, self.noise, self.batch_size)

    def table(self, risks: tuple[float, float]) -> ResponseTable:
        """g and k at all risks between two."""
        return response_table(self.rule, self.noise, self.batch_size, risks)

    @property
    def nonlinearity(self) -> float:
        """See ``Law``: arcsin(r) / r - 1 <= .6 r^2, and the sign of a sum of n steps follows erf(r (n/2)^(1/2))."""
        return self.batch_size * max(0.6, 0.2 * self.rule.steps)


def response_table(rule, noise: NoiseLaw, batch_size: int, risks: tuple[float, float]) -> ResponseTable:
    """The response of ``rule`` at all risks between two; see ``Correlated``."""
    if rule.scale_free and isinstance(noise, (NoNoise, Gaussian)):
        pieces = _pieces(rule, NoNoise(), batch_size, 0.5)
        constant = PiecewisePolynomial(np.float64(0.0), np.float64(1.0), pieces[None, None])
        return ResponseTable(constant, float(noise.second_moment))
    origin = 2 * np.log(noise_scale(noise)) - np.log(2)
    low, high = (np.clip(np.log(R) - origin, -WIDEST, WIDEST) / RISK_STEP for R in risks)
    low = int(np.floor(low))
    return _table_between(rule, noise, batch_size, low, max(int(np.ceil(high)), low + 2))


@memoized
def _table_between(rule, noise, batch_size, low: int, high: int) -> ResponseTable:
    """The table at the risks ``low`` to ``high`` of the grid of all risks."""
    origin = 2 * np.log(noise_scale(noise)) - np.log(2)
    grid = origin + RISK_STEP * np.arange(low, high + 1)
    values = np.array([_pieces(rule, noise, batch_size, float(np.exp(x))) for x in grid])
    return ResponseTable(cubic_hermite(grid, values, PchipInterpolator(grid, values)(grid, nu=1)), 0.0)


@memoized(size=512)
def _pieces(rule, noise, batch_size, R) -> Float[np.ndarray, "2 cells 4"]:
    """Cubics of g and k at one risk."""
    G = rule.response(noise, R, batch_size, R_NODES[1:])
    k = rule.fluctuations(noise, R, batch_size, R_NODES[1:], G)
    # The limit of G / r: G is odd, so its square's next term is seen by the first two nodes.
    (r1, r2), (q1, q2) = R_NODES[1:3], G[:2] / R_NODES[1:3]
    slope = (q1 * r2**2 - q2 * r1**2) / (r2**2 - r1**2)
    values = np.stack([np.append(1.0, G / R_NODES[1:] / slope), np.append(1.0, k)], axis=1)
    flat = [(1, np.zeros(2)), (2, np.zeros(2))]
    cubic = CubicSpline(np.arange(NODES), values, bc_type=(flat[0], "not-a-knot"))
    return np.moveaxis(cubic.c, (0, 1, 2), (2, 1, 0))
