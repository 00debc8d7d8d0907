"""Adam, NAdam, RMSprop and S3 with their memories resolved, from the first step on (theory: section 17).

The denominator of such a rule is noise, stationary whatever the risk did, plus an average of the squared risk's
signal. So its stationary coefficients hold at the risk that it remembers:

    phi_k = gamma(k) phi(R_remembered),      N = kappa(rho; R) / phi(R)^2 / gamma(k + 1/(1 - b1))^2

after k steps, with gamma(k) = c(k) / c(infinity) from histories of k gradients. Only the drift of the first steps is
lower; the noise has its size at once.

A gradient's signal adds to the denominator, so that the mean update at a correlation r with the residual is G(r) =
G'(0) r (1 - a r^2 + ...). Over correlations of mean square C, spread over all features like a Gaussian, that divides
the gains by 1 + 3 a C, and for another kurtosis k4 by 1 + 3 a k4 C. With S = sum_i E[y_i^2] without its own noise,
dS/dt = 2 c (sum_i lambda_i E[w_i y_i] - S), and W the filled share of the filter, C = S / (W^2 (2R + unit) tr D).
"""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.law import Law
from sdelimit.limits.limit import Limit
from sdelimit.limits.memory import FilteredLaw, Gains, RememberedRisk, UnfilteredLaw, signal_kurtosis
from sdelimit.limits.noise_kernel import SPLIT_BASIS
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.ratio_response import FOREVER, MEMORIES, SPACING, RatioResponse, start_table
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.truncated_history import ratio_drifts
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.memo import memoized

LONGEST_RATE = 2000.0
"""d (1 - b) from which on a memory is so short that its limit takes it to be: its effects are below eta phi lambda over
this."""
SMALLEST = 1e-12


class RatioGains(eqx.Module):
    """Gains of F_k = sum_{j<k} a_j g_-j / (sum_{j<k} w_j |g_-j|^p)^(1/p).

    Attributes:
        stationary: the limit for a short memory.
        remembered: the risk that the denominator remembers.
        newest, past, lower: p0 / phi, p1 / phi and gamma, of k.
        horizon: k from which on all is stationary.
        ahead: steps by which the noise is ahead of the drift.
        filter_rate: d (1 - b1), None without momentum.
        bend: 3 a / tr D.
        kurtosis: k4 of the signal over coordinates, 0 without momentum.
        unit: variance of the label noise, the square of its scale where that is infinite.
        d: dimension.
        correlated: the rule's ``Correlated`` response, where it is known.
    """

    stationary: Limit
    remembered: RememberedRisk
    newest: LogLogTable
    past: LogLogTable
    lower: LogLogTable
    horizon: float
    ahead: float
    filter_rate: float | None
    bend: float
    kurtosis: float
    unit: float
    d: float
    correlated: Aside = eqx.field(static=True, default=Aside(None))

    @property
    def filters(self):
        """Whether there is momentum to resolve."""
        return self.filter_rate is not None

    @property
    def response_remembers(self):
        return self.correlated.value is not None

    def with_response(self, risks):
        found = self.correlated.value
        start = start_table(found.rule.a, found.rule.w, found.batch_size)
        gains = replace(self, correlated=Aside(None))
        return self.stationary, RatioResponse(found.table(risks), start, gains)

    def initial_scalars(self):
        return np.append(self.remembered.initial(), [0.0] * self.filters)

    def relaxation(self, q):
        rate, target = self.remembered.relaxation(q[0] / 2)
        if not self.filters:
            return rate, target
        return jnp.append(rate, 2 * self.filter_rate), jnp.append(target, q[1])

    def saturation(self, q, m):
        """3 a k4 C."""
        if not self.filters:
            return jnp.zeros(())
        R, t, S = q[0] / 2, m[0], m[2]
        filled = -jnp.expm1(-self.filter_rate * t)
        started = filled > 1e-6
        signal = jnp.where(started, jnp.maximum(S, 0.0) / jnp.where(started, filled, 1.0) ** 2, 0.0)
        return self.kurtosis * self.bend * signal / (2 * R + self.unit)

    def gains(self, q, m, eta=0.0):
        R, t, E = q[0] / 2, m[0], m[1]
        k = 1 + self.d * t
        now, later = jnp.minimum(k, self.horizon), jnp.minimum(k + self.ahead, self.horizon)
        phi = self.stationary.phi(self.remembered(R, t, E))
        noise = self.stationary.psi(R) / self.stationary.phi(R) ** 2 / self.lower(later) ** 2
        filled = jnp.ones(())
        if self.filters:
            phi = phi / (1 + self.saturation(q, m))
            filled = -jnp.expm1(-self.filter_rate * t)
        return Gains(self.newest(now) * phi, self.past(now) * phi, filled, noise, jnp.zeros_like(noise))


def ratio_memory_limit(rule: RatioRule, correction: Callable, problem, batch_size: int, short: Law | None = None):
    """The law of ``rule`` on ``problem`` with its memories resolved, or the plain one where they are short.

    Args:
        rule: the rule.
        correction: k -> (first, past, denominator): after k steps the rule's numerator is first g + past y with y the
            average of older gradients that starts at zero, and its denominator that many times the one whose weights
            sum to one.
        problem: the regression problem.
        batch_size: samples per step.
        short: the law that takes memories to be short, where that is not the limit for fixed hyper-parameters.
    """
    noise, d = problem.noise, problem.d
    stationary = tabulated_limit(rule, noise, batch_size)
    split = tabulated_limit(rule, noise, batch_size, basis=SPLIT_BASIS)
    momentum, forgets = d * (1 - rule.a.decay), d * (1 - rule.w.decay)
    filters = rule.a.past * rule.a.decay > 0
    unfiltered = not filters or momentum > LONGEST_RATE
    if unfiltered and forgets > LONGEST_RATE:
        return stationary
    gains = RatioGains(
        replace(split, correlated=Aside(None), errors=None),
        RememberedRisk(-d * np.log(rule.w.decay)),
        *_start_tables(rule, correction, batch_size),
        ahead=1 / (1 - rule.a.decay) if filters else 1.0,
        filter_rate=None if unfiltered else momentum,
        kurtosis=0.0 if unfiltered else signal_kurtosis(problem),
        bend=3 * _bend(rule, batch_size) / float(problem.covariance.std.sum()),
        unit=float(noise.second_moment if np.isfinite(noise.second_moment) else noise_scale(noise) ** 2),
        d=float(d),
        correlated=stationary.correlated,
    )
    short = stationary if short is None else short
    if unfiltered:
        return UnfilteredLaw(gains, short, split.basis, stationary.correlated)
    return FilteredLaw(gains, momentum, short, split.basis, stationary.correlated)


@memoized
def _start_tables(rule: RatioRule, correction: Callable, batch_size: int):
    """(p0 / phi, p1 / phi, gamma, horizon) of k."""
    memory = max(1 / (1 - rule.a.decay), 1 / (1 - rule.w.decay))
    log_k = np.arange(0.0, np.log(MEMORIES * memory) + SPACING, SPACING)
    steps = np.unique(np.rint(np.exp(log_k)).astype(int))
    drift = ratio_drifts(rule.a, rule.w, batch_size, [*steps, FOREVER])
    drift *= np.sqrt(_total(rule.w, np.append(steps, FOREVER))) / _total(rule.a, np.append(steps, FOREVER))
    gamma = np.exp(PchipInterpolator(np.log(steps), np.log(drift[:-1] / drift[-1]), extrapolate=True)(log_k))
    first, past, denominator = correction(np.exp(log_k))
    tables = gamma * first / denominator, gamma * past / denominator, gamma
    return *(LogLogTable(log_k, np.log(np.maximum(table, SMALLEST))) for table in tables), float(np.exp(log_k[-1]))


@memoized
def _bend(rule: RatioRule, batch_size: int) -> float:
    """a, of G(r) = G'(0) r (1 - a r^2 + ...) without label noise."""
    r = np.array([0.02, 0.12])
    slopes = replace(rule, p=2).response(NoNoise(), 0.5, batch_size, r) / r
    return float((1 - slopes[1] / slopes[0]) / (r[1] ** 2 - r[0] ** 2))


def _total(weights: Weights, k):
    """sum_{j<k} of the weights."""
    return weights.now + weights.past * (1 - weights.decay**k) / (1 - weights.decay)
