"""Adam, NAdam, RMSprop and S3 with their memories resolved, from the first step on (theory: section 17).

The denominator of such a rule is noise, stationary whatever the risk did, plus an average of the squared risk's
signal. So its stationary coefficients hold at the risk that it remembers:

    phi_k = gamma(k) phi(R_remembered),      N = kappa(rho; R) / phi(R)^2 / gamma(k + 1/(1 - b1))^2

after k steps, with gamma(k) = c(k) / c(infinity) from histories of k gradients. Only the drift of the first steps is
lower; the noise has its size at once.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.law import Law
from sdelimit.limits.limit import Limit
from sdelimit.limits.memory import FilteredLaw, Gains, RememberedRisk, UnfilteredLaw
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.truncated_history import ratio_drifts
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.memo import memoized

LONGEST_RATE = 2000.0
"""d (1 - b) from which on a memory is so short that its limit takes it to be: its effects are below eta phi lambda over
this."""
MEMORIES = 12
"""Memories after which a history counts as stationary."""
SPACING = 0.2
"""Of the table in log k."""
SMALLEST = 1e-12
FOREVER = 10**9


class RatioGains(eqx.Module):
    """Gains of F_k = sum_{j<k} a_j g_-j / (sum_{j<k} w_j |g_-j|^p)^(1/p).

    Attributes:
        stationary: the limit for a short memory.
        remembered: the risk that the denominator remembers.
        newest, past, lower: p0 / phi, p1 / phi and gamma, of k.
        horizon: k from which on all is stationary.
        ahead: steps by which the noise is ahead of the drift.
        filter_rate: d (1 - b1).
        d: dimension.
    """

    saturates: ClassVar[bool] = False
    stationary: Limit
    remembered: RememberedRisk
    newest: LogLogTable
    past: LogLogTable
    lower: LogLogTable
    horizon: float
    ahead: float
    filter_rate: float
    d: float

    def initial_scalars(self):
        return self.remembered.initial()

    def relaxation(self, q):
        return self.remembered.relaxation(q[0] / 2)

    def gains(self, q, m, eta=0.0):
        R, (t, E) = q[0] / 2, m
        k = 1 + self.d * t
        now, later = jnp.minimum(k, self.horizon), jnp.minimum(k + self.ahead, self.horizon)
        phi = self.stationary.phi(self.remembered(R, t, E))
        noise = self.stationary.psi(R) / self.stationary.phi(R) ** 2 / self.lower(later) ** 2
        filled = -jnp.expm1(-self.filter_rate * t)
        return Gains(self.newest(now) * phi, self.past(now) * phi, filled, noise, jnp.zeros_like(noise))


def ratio_memory_limit(
    rule: RatioRule, correction: Callable, noise: NoiseLaw, batch_size: int, d: float, short: Law | None = None
):
    """The law of ``rule`` in dimension d with its memories resolved, or the plain one where they are short.

    Args:
        rule: the rule.
        correction: k -> (first, past, denominator): after k steps the rule's numerator is first g + past y with y the
            average of older gradients that starts at zero, and its denominator that many times the one whose weights
            sum to one.
        noise: law of the label noise.
        batch_size: samples per step.
        d: dimension.
        short: the law that takes memories to be short, where that is not the limit for fixed hyper-parameters.
    """
    stationary = tabulated_limit(rule, noise, batch_size)
    momentum, forgets = d * (1 - rule.a.decay), d * (1 - rule.w.decay)
    filters = rule.a.past * rule.a.decay > 0
    unfiltered = not filters or momentum > LONGEST_RATE
    if unfiltered and forgets > LONGEST_RATE:
        return stationary
    gains = RatioGains(
        replace(stationary, correlated=Aside(None), errors=None),
        RememberedRisk(-d * np.log(rule.w.decay)),
        *_start_tables(rule, correction, batch_size),
        ahead=1 / (1 - rule.a.decay) if filters else 1.0,
        filter_rate=momentum if filters else 0.0,
        d=float(d),
    )
    short = stationary if short is None else short
    if unfiltered:
        return UnfilteredLaw(gains, short, stationary.basis)
    return FilteredLaw(gains, momentum, short, stationary.basis)


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


def _total(weights: Weights, k):
    """sum_{j<k} of the weights."""
    return weights.now + weights.past * (1 - weights.decay**k) / (1 - weights.decay)
