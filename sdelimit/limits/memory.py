"""Laws of rules that filter gradients for a time comparable to d (theory: section 17).

A rule with memory moves theta by

    u_k = p0 g_k + p1 y_(k-1) + zeta_k,      y_k = beta y_(k-1) + (1 - beta) g_k,

where y is the filtered gradient, zeta noise of short memory, and the gains p0, p1 multiply the newest gradient and the
filtered older ones. In the modes, per unit of time and with c = d (1 - beta),

    dw_i = -eta (p0 lambda_i w_i + p1 y_i) dt + ...,      dy_i = c (lambda_i w_i - y_i) dt + ...,

and the noise of gradients, of covariance N, enters both: that of (w, y) is N times the square of (eta p0, -c), that of
zeta eta^2 Z for w alone. Everything starts at zero, so that the start-up is part of the solution. As c -> infinity the
law tends to the plain one with phi = p0 + p1 and noise (p0 + p1)^2 N + Z.
"""

from dataclasses import replace
from typing import ClassVar, NamedTuple, Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.exact.step_fluctuations import Fluctuation
from sdelimit.limits.law import CLOCK, Law, ScalarLaw
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.spread_along_mean import RelativeSpread
from sdelimit.numerics.precision import evaluate_in_float64


class Gains(NamedTuple):
    """What a rule does at one moment: p0, p1, the mean of the filter's weights, N and Z by kernel."""

    newest: Float[Array, ""]
    past: Float[Array, ""]
    filled: Float[Array, ""]
    noise: Float[Array, " q"]
    rest: Float[Array, " q"]

    @property
    def drift(self):
        """phi: p0 + p1 times the share of the filter's weights that has been filled."""
        return self.newest + self.past * self.filled


class Remembering(Protocol):
    """A rule in terms of gains, with the scalars that they need."""

    kurtosis: float
    """k4 of the signal where gains fall as it grows; 0 where they do not."""

    def saturation(self, q, m) -> Float[Array, ""]:
        """As of a ``Law``."""

    def initial_scalars(self) -> Float[np.ndarray, " s"]:
        """The scalars at t = 0."""

    def relaxation(self, q):
        """r and target(q) of dm/dt = r (target - m), as of a ``Law``."""

    def gains(self, q, m, eta=0.0) -> Gains:
        """The gains at overlaps q and scalars m; the rest of the noise depends on the learning rate eta too."""

    @property
    def response_remembers(self) -> bool:
        """As of a ``Law``."""

    def with_response(self, risks: tuple[float, float]):
        """As of a ``Law``, where ``response_remembers``."""


class RememberedRisk(eqx.Module):
    """Scalars (t, E): the time, and E with dE/dt = rate (R - E), so that E / (1 - exp(-rate t)) is a past mean of R."""

    rate: float

    def initial(self):
        return np.zeros(2)

    def relaxation(self, R):
        return jnp.stack([CLOCK, self.rate]), jnp.stack([1 / CLOCK, R])

    def __call__(self, R, t, E):
        """The mean of the risk so far, with weights exp(-rate age); R itself at the start."""
        x = self.rate * t
        started = x > 1e-9
        return jnp.where(started, E / -jnp.expm1(-jnp.where(started, x, 1.0)), R)


class _MemoryLaw(Law):
    """What the laws below have in common.

    Attributes:
        rule: the gains.
        stationary: the law for a memory that is short and has lasted for ever.
        correlated: the rule's ``Correlated`` response.
        relative_spread: of steps along their mean, in units of phi^2; None if unknown, or before ``with_spread``.
    """

    resolves_memory: ClassVar[bool] = True

    @property
    def kurtosis(self):
        return self.rule.kurtosis

    def with_spread(self):
        return replace(self, relative_spread=self.correlated.value.relative_spread())

    @property
    def fluctuations(self):
        return None if self.relative_spread is None else self.fluctuations_at

    def initial_scalars(self):
        return self.rule.initial_scalars()

    def relaxation(self, q):
        return self.rule.relaxation(q)

    def saturation(self, q, m):
        return self.rule.saturation(q, m)

    @property
    def without_memory(self):
        return self.stationary

    @property
    def response_remembers(self):
        return self.rule.response_remembers

    def with_response(self, risks):
        return self.rule.with_response(risks) if self.response_remembers else super().with_response(risks)

    @property
    def power(self):
        return self.stationary.power

    @property
    def errors(self):
        return self.stationary.errors

    def on(self, problem):
        law = replace(self, stationary=self.stationary.on(problem).law)
        return super(_MemoryLaw, law).on(problem)


class FilteredLaw(_MemoryLaw):
    """A rule whose steps follow the filtered gradient: the state of a mode is (w, y).

    Attributes:
        rate: c = d (1 - beta), at which the filter forgets.
    """

    size: ClassVar[int] = 2
    rule: Remembering
    rate: float
    stationary: Law
    basis: tuple[str, ...] = eqx.field(static=True)
    correlated: Aside = eqx.field(static=True)
    relative_spread: RelativeSpread | None = None

    def drift(self, eta, q, m):
        gains, c = self.rule.gains(q, m), self.rate
        zero = jnp.zeros(())
        constant = jnp.stack([jnp.stack([zero, -eta * gains.past]), jnp.stack([zero, zero - c])])
        linear = jnp.stack([jnp.stack([-eta * gains.newest, zero]), jnp.stack([zero + c, zero])])
        return constant, linear[None]

    def noise(self, eta, q, m):
        gains = self.rule.gains(q, m, eta)
        step = jnp.stack([eta * gains.newest, jnp.zeros(()) - self.rate])
        alone = jnp.array([[1.0, 0.0], [0.0, 0.0]])
        shared = gains.noise[:, None, None] * jnp.outer(step, step)
        return shared + eta**2 * gains.rest[:, None, None] * alone

    def effective_rates(self, q, m):
        return self.rule.gains(q, m).drift[None]

    def gradient_noise(self, eta, q, m):
        return self.rule.gains(q, m, eta).noise[0]

    def fluctuations_at(self, R, m):
        zero = jnp.zeros_like(R)
        return Fluctuation(self.relative_spread(R), zero, zero)


class UnfilteredLaw(_MemoryLaw, ScalarLaw):
    """The same where the filter forgets so much faster than the risk moves that y_i = lambda_i w_i."""

    rule: Remembering
    stationary: Law
    basis: tuple[str, ...] = eqx.field(static=True)
    correlated: Aside = eqx.field(static=True)
    relative_spread: RelativeSpread | None = None

    def drift_coefficients(self, R, m):
        return self.rule.gains(2 * R[None], m).drift[None]

    def noise_coefficients(self, R, m):
        gains = self.rule.gains(2 * R[None], m)
        return gains.drift**2 * gains.noise + gains.rest

    def fluctuations_at(self, R, m):
        zero = jnp.zeros_like(R)
        return Fluctuation(self.relative_spread(R) * self.drift_coefficients(R, m)[0] ** 2, zero, zero)


LARGEST_KURTOSIS = 3.0
"""Of sparser signals these laws say nothing: their features are correlated with the residual."""


def signal_kurtosis(problem) -> float:
    """k4 = E x^4 / (3 (E x^2)^2) of x_i = (K delta_0)_i / sigma_i, weighted by sigma_i; at most LARGEST_KURTOSIS."""
    std = problem.covariance.std
    x = problem.cached("signal", lambda: _signal(problem))
    square = np.average(x**2, weights=std)
    if square == 0:
        return 1.0
    return float(min(np.average(x**4, weights=std) / (3 * square**2), LARGEST_KURTOSIS))


def _signal(problem) -> Float[np.ndarray, " d"]:
    """(K delta_0)_i / sigma_i."""
    Kdelta = evaluate_in_float64(problem.covariance.apply, problem.delta0)
    return np.divide(Kdelta, problem.covariance.std, out=np.zeros(problem.d), where=problem.covariance.std > 0)
