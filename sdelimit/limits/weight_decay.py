"""Weight decay: the modes of theta* as one more number of the state (theory: section 19).

Decoupled decay, theta <- theta - (eta/d) (u + omega theta), pulls the modes w_i = Q' D^(p/2) (theta - theta*) towards
those of -theta*, w*_i = Q' D^(p/2) theta*:

    dw_i = (what the rule does) - eta omega (w_i + w*_i) dt.

With v_i = (..., w*_i) that is linear in the state, and a law of any rule becomes the law of the same rule with decay.
Decay that enters the gradient (L2 regularization, g + omega theta) passes through the rule. It has a limit for rules
that are linear in the gradient, SGD and its forms with momentum: there lambda_i w_i becomes lambda_i w_i +
omega (w_i + w*_i).
"""

from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import Law, LinearStep, Operators, moment_pairs
from sdelimit.limits.no_limit import NoLimitError


class DecayedLaw(Law):
    """The law of a rule, with weight decay: its state with w*_i as the last number.

    Attributes:
        rule: the law of the rule itself.
        rate: omega.
        coupled: whether decay enters the gradient.
    """

    has_target: ClassVar[bool] = True
    rule: Law
    rate: float
    coupled: bool = eqx.field(static=True, default=False)

    @property
    def size(self):
        return self.rule.size + self._added

    @property
    def _added(self):
        """How many numbers decay adds to the state: w*_i, unless the rule's own law has it."""
        return 0 if self.rule.has_target else 1

    @property
    def reads_overlaps(self):
        return self.rule.reads_overlaps

    @property
    def batch_size(self):
        return self.rule.batch_size

    def drift_at_start(self, problem):
        """As of an ``OverlapLaw``."""
        return self.rule.drift_at_start(problem)

    @property
    def is_rough(self):
        return self.rule.is_rough

    def widened(self, largest):
        wider = self.rule.widened(largest)
        return self if wider is self.rule else replace(self, rule=wider)

    @property
    def reaches_all(self):
        return self.rule.reaches_all

    @property
    def rounds(self):
        return self.rule.rounds

    @property
    def outputs(self):
        return self.rule.outputs

    @property
    def observed_rows(self):
        return self.rule.observed_rows

    def known_overlaps(self, rows):
        return self.rule.known_overlaps(rows)

    def missed(self, t, *rows):
        """As of an ``OverlapLaw``."""
        better, error = self.rule.missed(t, *rows)
        return replace(self, rule=better), error

    @property
    def power(self):
        return self.rule.power

    @property
    def basis(self):
        return self.rule.basis

    @property
    def errors(self):
        return self.rule.errors

    @property
    def relative_error(self):
        """As of an ``OverlapLaw``."""
        return getattr(self.rule, "relative_error", 0.0)

    @property
    def fluctuations(self):
        return self.rule.fluctuations

    @property
    def kurtosis(self):
        return self.rule.kurtosis

    @property
    def needs_fourth_moment(self):
        return self.rule.needs_fourth_moment

    @property
    def resolves_memory(self):
        return self.rule.resolves_memory

    @property
    def responds(self):
        return self.rule.responds and not self.coupled

    @property
    def response_remembers(self):
        return self.rule.response_remembers

    @property
    def nonlinearity(self):
        return self.rule.nonlinearity

    @property
    def has_scalars(self):
        return self.rule.has_scalars

    @property
    def gradient_batch(self):
        return self.rule.gradient_batch

    @property
    def linear_in_gradient(self):
        return self.rule.linear_in_gradient

    @property
    def weight_decay(self):
        return 0.0 if self.coupled else self.rate

    @property
    def undecayed(self):
        return self if self.coupled else self.rule

    @property
    def without_memory(self):
        return replace(self, rule=self.rule.without_memory)

    def _own(self, q):
        """The overlaps of the rule's own numbers."""
        if not self._added:
            return q
        kept = [row for row, (_, b) in enumerate(moment_pairs(self.size)) if b < self.rule.size]
        return q[np.array(kept)]

    def _pulled(self, constant, entry, step):
        """The constant part of the drift with the pull towards -w*_i, (k + m, k + m); ``step`` is eta or eta / d.

        ``entry`` is what a unit of gradient adds to the state; m = 1 but for problems of several outputs.
        """
        m = self.outputs
        k = self.size - m
        pull = self.rate * entry[:k, None] if self.coupled else -step * self.rate * jnp.eye(k, m)
        constant = constant[:k, :k].at[:, :m].add(pull)
        return jnp.zeros((k + m, k + m)).at[:k, :k].set(constant).at[:k, k:].set(pull)

    def drift(self, eta, q, m):
        constant, linear = self.rule.drift(eta, self._own(q), m)
        constant = jnp.zeros_like(linear[0]) if constant is None else constant
        entry = self.rule.entry(eta, self._own(q), m) if self.coupled else None
        return self._pulled(constant, entry, eta), self._with_target(linear)

    def noise(self, eta, q, m):
        return self._with_target(self.rule.noise(eta, self._own(q), m))

    def effective_rates(self, q, m):
        return self.rule.effective_rates(self._own(q), m)

    def initial_state(self, w0, target=None):
        if not self._added:
            return self.rule.initial_state(w0, target)
        return np.concatenate([self.rule.initial_state(w0), target[None]])

    def initial_scalars(self):
        return self.rule.initial_scalars()

    def relaxation(self, q):
        return self.rule.relaxation(self._own(q))

    def saturation(self, q, m):
        return self.rule.saturation(self._own(q), m)

    def risk_noise(self, eta, q, m):
        return self.rule.risk_noise(eta, self._own(q), m)

    def gradient_noise(self, eta, q, m):
        return self.rule.gradient_noise(eta, self._own(q), m)

    def fluctuations_at(self, R, m):
        return self.rule.fluctuations_at(R, m)

    def with_spread(self):
        return replace(self, rule=self.rule.with_spread())

    def response(self, risks):
        return self.rule.response(risks)

    def with_response(self, risks):
        law, response = self.rule.with_response(risks)
        return replace(self, rule=law), response

    def faded(self):
        found = self.rule.faded()
        return found and (replace(self, rule=found[0]), found[1])

    def step(self, g, t):
        one = self.rule.step(g, t)
        constant = self._pulled(one.constant, one.linear[:, 0], g).at[-1, -1].set(1.0)
        return LinearStep(constant, self._with_target(one.linear), jnp.append(one.kick, 0.0))

    def _with_target(self, matrices: Float[Array, "*n k k"]) -> Float[Array, "*n l l"]:
        """The same, with no part in w*_i, which stays as it is."""
        added = (0, self._added)
        return jnp.pad(matrices, [*[(0, 0)] * (matrices.ndim - 2), added, added])

    def settled_gain(self, eta, decay):
        return self.rule.settled_gain(eta, decay)

    def stability_edge(self, decay, d, t):
        return self.rule.stability_edge(decay, d, t)

    def on(self, problem) -> Operators:
        return self.rule.on(problem).of_law(lambda law: replace(self, rule=law))


def decayed_limit(limit, rate: float, coupled: bool, name: str) -> DecayedLaw:
    """The limit of a rule with decay, from its ``limit``. NoLimitError for decay that a rule takes for a gradient."""
    if isinstance(limit, DecayedLaw) and limit.coupled == coupled:
        return DecayedLaw(limit.rule, limit.rate + rate, coupled)
    if limit.reads_overlaps and limit.linear_in_gradient and not limit.resolves_memory:
        coupled = False  # SGD without memory adds its gradient to its decay either way
    if coupled and not limit.linear_in_gradient:
        raise NoLimitError(
            f"coupled must be False for {name}: decay that enters the gradient has a limit for SGD and its momentum "
            "forms, got True (other rules divide it like the gradient, which is larger by d^(1/2))",
            "decay that enters the gradient of such a rule vanishes as d grows",
        )
    return DecayedLaw(limit, rate, coupled)
