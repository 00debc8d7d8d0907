"""How Adam, NAdam, RMSprop and S3 answer correlated features, with memories resolved (theory: sections 15 and 17).

With f = s r the mean gradient of a coordinate over sigma_i, the rule filters f and divides by what it remembers of the
size of gradients, the risk Rbar and the square Q of the coordinate's own f:

    E u = gamma(k, rho) phi(Rbar) g(rbar; Rbar) (p0 f + p1 y),
    rbar^2 = Q / (2 Rbar),    rho^2 = Q / (2 Rbar + E eps^2),
    dy/dt = c (f - y),    dQ/dt = c2 (f^2 - Q),    dRbar/dt = c2 (R - Rbar),

Q and Rbar with bias correction. Where nothing changes this is G(r) = phi(R) s r g(r; R). gamma(k, rho) is the mean
update of histories of k gradients over that of long ones: lower than 1 for a feature that is not correlated, and up to
1.7 for one that is, as the first step of all these rules is a sign.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline, PchipInterpolator

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.response import Averages, Response, ResponseTable, clipped_normal
from sdelimit.limits.sampled.mean_response import ratio_transform
from sdelimit.limits.sampled.truncated_history import ratio_means
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite

START_NODES = 15
"""Of rho, uniform in arcsin rho."""
SPACING = 0.2
"""Of the table in log k."""
MEMORIES = 12
"""Memories after which a history counts as stationary."""
FOREVER = 10**9
SMALLEST_RHO = 0.01
"""That stands for 0 in quotients of odd functions."""
SMALLEST_MEAN = 1e-8
"""|r| below which E[r g] / r is the slope."""


class StartTable(eqx.Module):
    """gamma(k, rho) / gamma(k, 0): cubics in arcsin rho and in log k.

    Attributes:
        of_log_k: log k -> (START_NODES - 1, 4) cubic coefficients, the highest power first.
        horizon: k from which on all is stationary.
    """

    of_log_k: PiecewisePolynomial
    horizon: float

    def __call__(self, k, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        coefficients = self.of_log_k(jnp.log(jnp.minimum(k, self.horizon)))
        u = jnp.arcsin(jnp.clip(rho, 0.0, 1.0)) * (2 / np.pi * (START_NODES - 1))
        cell = jnp.clip(jnp.floor(u), 0, START_NODES - 2).astype(jnp.int32)
        a, b, c, e = jnp.moveaxis(coefficients[cell], -1, 0)
        x = u - cell
        return ((a * x + b) * x + c) * x + e


@memoized
def start_table(a: Weights, w: Weights, batch_size: int) -> StartTable:
    """That of sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2), without label noise: with Gaussian noise only rho matters."""
    memory = max(1 / (1 - a.decay), 1 / (1 - w.decay))
    log_k = np.arange(0.0, np.log(MEMORIES * memory) + SPACING, SPACING)
    steps = np.unique(np.rint(np.exp(log_k)).astype(int))
    angles = np.linspace(0.0, np.pi / 2, START_NODES)
    rho = np.append(SMALLEST_RHO, np.sin(angles[1:]))
    transforms = (ratio_transform(r, NoNoise(), 0.5, batch_size) for r in rho)
    means = np.array([ratio_means(a, w, transform, [*steps, FOREVER]) for transform in transforms])
    gamma = means[:, :-1] / means[:, -1:]
    factor = PchipInterpolator(np.log(steps), (gamma / gamma[:1]).T, extrapolate=True)(log_k)
    cubics = CubicSpline(np.arange(START_NODES), factor, axis=1, bc_type=((1, np.zeros(log_k.size)), "not-a-knot"))
    values = np.moveaxis(cubics.c, (0, 1, 2), (2, 1, 0))
    slopes = PchipInterpolator(log_k, values)(log_k, nu=1)
    return StartTable(cubic_hermite(log_k, values, slopes), float(np.exp(log_k[-1])))


class RatioResponse(Response):
    """The response with memory; ``extra`` holds (t, Rbar), Q and y, the last two for each coordinate.

    Fluctuations of r that outlast the memory are part of Q as they are, of shorter ones only the mean square is: of
    fluctuations that decay at the rate a, the share c2 / (c2 + 2 a).

    Attributes:
        table: g and k of long histories.
        start: gamma(k, rho) / gamma(k, 0).
        gains: the rule's ``RatioGains``.
    """

    table: ResponseTable
    start: StartTable
    gains: eqx.Module

    def initial(self, d):
        return jnp.asarray(self.gains.remembered.initial()), jnp.zeros(d), jnp.zeros(d if self.gains.filters else 0)

    def relaxation(self, extra, R, mean, variance):
        rate, target = self.gains.remembered.relaxation(R)
        filters = self.gains.filters
        rates = rate, self.gains.remembered.rate, self.gains.filter_rate if filters else 0.0
        return rates, (target, 2 * R * (mean**2 + variance), jnp.sqrt(2 * R) * mean if filters else jnp.zeros(0))

    def rate(self, law, extra, R):
        newest, past, filled, Rbar = self._moment(extra, R)
        return (newest + past * filled) * law.drift_coefficients(Rbar, jnp.zeros(0))[0]

    def lasting(self, fading):
        return self.gains.remembered.rate / (self.gains.remembered.rate + 2 * fading)

    def settled(self, law, mean_R, mean_square, R, r, fading):
        share, f, none = self.lasting(fading), jnp.sqrt(2 * R) * r, jnp.zeros(0)
        Rbar = mean_R + share * (R - mean_R)
        square = jnp.clip(mean_square + share * (f**2 - mean_square), 0.0, 2 * Rbar)
        factor, lasting = self._factors(law, jnp.asarray(self.gains.horizon), R, r, Rbar, square)
        # What fades within the memory leaves the size of the gradient, (2P + f^2) / b, as it is.
        now = law.noise_coefficients(R, none).sum() / law.drift_coefficients(R, none)[0] ** 2
        passing = factor**2 * now * (1 + f**2 / (2 * R + self.gains.unit))
        return factor * f, share * lasting + (1 - share) * passing

    def _moment(self, extra, R):
        """p0 / phi, p1 / phi, the filled share of the filter, and Rbar."""
        (t, E), gains = extra[0], self.gains
        k = jnp.minimum(1 + gains.d * t, gains.horizon)
        filled = -jnp.expm1(-gains.filter_rate * t) if gains.filters else jnp.ones(())
        return gains.newest(k), gains.past(k), filled, gains.remembered(R, t, E)

    def _factors(self, law: ScalarLaw, t, R, r, Rbar, square) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """gamma / gamma(k, 0) phi g of what is remembered, and the noise in u that goes with it, over (p0 + p1)^2."""
        none, gains = jnp.zeros(0), self.gains
        k = 1 + gains.d * t
        size = square / (2 * Rbar + gains.unit)
        g = self.table.mean_factor(Rbar, jnp.sqrt(square / (2 * Rbar)))
        factor = law.drift_coefficients(Rbar, none)[0] * g * self.start(k, jnp.sqrt(size))
        now, variance = self.table.factors(R, r)
        later = k + gains.ahead
        rho = jnp.sqrt(2 * R * r**2 / (2 * R + gains.unit))
        now = law.drift_coefficients(R, none)[0] * now * self.start(later, rho)
        now = now * gains.lower(jnp.minimum(later, gains.horizon))
        return factor, (factor / now) ** 2 * variance * law.noise_coefficients(R, none).sum()

    def at(self, law, extra, R, r):
        newest, past, filled, Rbar = self._moment(extra, R)
        f = jnp.sqrt(2 * R) * r
        square = jnp.clip(self.gains.remembered(f**2, extra[0][0], extra[1]), 0.0, 2 * Rbar)
        factor, noise = self._factors(law, extra[0][0], R, r, Rbar, square)
        older = extra[2] if self.gains.filters else f
        return factor * (newest * f + past * older), (newest + past * filled) ** 2 * noise

    def averages(self, law, extra, R, mean, variance, fading=0.0):
        newest, past, filled, Rbar = self._moment(extra, R)
        points, s = clipped_normal(mean, variance), jnp.sqrt(2 * R)
        r = points.r
        expected = 2 * R * (mean**2 + variance)
        square = self.gains.remembered(expected, extra[0][0], extra[1]) + self.lasting(fading) * (
            2 * R * r**2 - expected
        )
        factor, noise = self._factors(law, extra[0][0], R, r, Rbar, jnp.clip(square, 0.0, 2 * Rbar))
        now, slope = points.mean(factor * r), points.slope(factor * r)
        central = jnp.abs(mean) > SMALLEST_MEAN
        per_mean = jnp.where(central, now / jnp.where(central, mean, 1.0), slope)
        older = extra[2] if self.gains.filters else s * mean
        total = newest + past * filled
        return Averages(per_mean * (newest * s * mean + past * older), s * total * slope, total**2 * points.mean(noise))
