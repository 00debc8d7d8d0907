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

from sdelimit.limits.law import CLOCK, Law, ScalarLaw
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


class Residuals(eqx.Module):
    """Moments of the label noise and the batch, which the spread of single runs depends on."""

    second_moment: float
    fourth_moment: float
    batch_size: float

    @classmethod
    def of(cls, noise, batch_size: int) -> "Residuals | None":
        """Those under a law, None if it has no fourth moment."""
        moments = float(noise.second_moment), float(noise.fourth_moment)
        return cls(*moments, float(batch_size)) if np.all(np.isfinite(moments)) else None

    def along_mean(self, R):
        """Gamma = -(1 - Var(l^2) / (4 (2P)^2)) / b, of rules that remember for long (theory: section 17).

        A rule whose steps do not depend on the size of gradients sees of l z, the length along the mean of a gradient,
        only what its own average of sizes does not take out again.
        """
        s2, m2, m4 = 2 * R, self.second_moment, self.fourth_moment
        variance = 3 * s2**2 + 6 * s2 * m2 + m4 - (s2 + m2) ** 2
        return -(1 - variance / (4 * (s2 + m2) ** 2)) / self.batch_size


class _MemoryLaw(Law):
    """What the laws below have in common.

    Attributes:
        rule: the gains.
        stationary: the law for a memory that is short and has lasted for ever.
        residuals: for the spread of single runs; None if the label noise has no fourth moment.
    """

    resolves_memory: ClassVar[bool] = True

    @property
    def kurtosis(self):
        return self.rule.kurtosis

    def along_mean(self, R):
        return None if self.residuals is None else self.residuals.along_mean(R)

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
    residuals: Residuals | None
    basis: tuple[str, ...] = eqx.field(static=True)

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
        """N of the first kernel."""
        return self.rule.gains(q, m, eta).noise[0]


class UnfilteredLaw(_MemoryLaw, ScalarLaw):
    """The same where the filter forgets so much faster than the risk moves that y_i = lambda_i w_i."""

    rule: Remembering
    stationary: Law
    residuals: Residuals | None
    basis: tuple[str, ...] = eqx.field(static=True)

    def drift_coefficients(self, R, m):
        return self.rule.gains(2 * R[None], m).drift[None]

    def noise_coefficients(self, R, m):
        gains = self.rule.gains(2 * R[None], m)
        return gains.drift**2 * gains.noise + gains.rest


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
