"""Weight decay in an optax transformation, from its updates on random gradients and parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.limits.measured.scalar_gradients import random_gradients, trajectory_along
from sdelimit.limits.measured.step_counts import keep_types
from sdelimit.numerics.precision import precision

STEPS, COORDINATES = 16, 8
PARAMETERS = 1000.0
"""Their size: a weight decay of 1e-5 changes updates of order one by 1%."""
AGREES = 1e-6
"""Relative difference below which what the parameters change is weight decay and nothing else."""


class WeightDecay(NamedTuple):
    """omega, whether it enters the gradient, and the transformation without it."""

    rate: float
    coupled: bool
    rest: optax.GradientTransformation


def weight_decay_of(transform, seed: int = 0) -> WeightDecay | None:
    """The weight decay of ``transform``: omega theta beside its update, or beside the gradient; None if there is none.

    Decay that enters the gradient counts for rules that are linear in it. A transformation that depends on the
    parameters in another way, takes them away from zero or can't be run at all has none.
    """
    rule = keep_types(transform)
    gradients = random_gradients(seed, STEPS, COORDINATES)
    params = PARAMETERS * np.random.default_rng(seed + 1).standard_normal(gradients.shape)
    zero = np.zeros_like(params)
    with precision(np.float64):
        try:
            plain, moved = (np.asarray(trajectory_along(rule, gradients, theta)) for theta in (zero, params))
        except Exception:  # of a rule's own code, which may raise anything: it is refused elsewhere, with the reason
            return None
        change = moved - plain
        if not np.all(np.isfinite(change)) or np.max(np.abs(change)) <= AGREES * np.max(np.abs(plain)):
            return None
        rate = float(np.sum(change[0] * params[0]) / np.sum(params[0] ** 2))
        if rate > 0 and _agree(change, rate * params):
            return WeightDecay(_rounded(rate), False, _without_parameters(transform))
        # Of a linear rule the first update is A_0 (g + omega theta).
        gain = float(np.sum(plain[0] * gradients[0]) / np.sum(gradients[0] ** 2))
        if gain <= 0 or rate <= 0 or not _agree(plain[0], gain * gradients[0]):
            return None
        rate /= gain
        entering = np.asarray(trajectory_along(rule, gradients + rate * params, zero))
        alone = np.asarray(trajectory_along(rule, rate * params, zero))
    if _agree(entering, moved) and _agree(plain + alone, moved):
        return WeightDecay(_rounded(rate), True, _without_parameters(transform))
    return None


def _rounded(rate):
    """Without the rounding errors of the sums that gave it."""
    return float(f"{rate:.10g}")


def _agree(one, other):
    return np.max(np.abs(one - other)) <= AGREES * np.max(np.abs(other))


def _without_parameters(transform) -> optax.GradientTransformation:
    """The same for parameters that are zero."""

    def update(gradient, state, params=None):
        return transform.update(gradient, state, jax.tree.map(jnp.zeros_like, gradient if params is None else params))

    return optax.GradientTransformation(transform.init, update)
