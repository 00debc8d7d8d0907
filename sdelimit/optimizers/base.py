"""An optimizer is a rule and a limit."""

from collections.abc import Callable
from dataclasses import dataclass, field

import optax

from sdelimit import _validation as check
from sdelimit.limits.base import Limit
from sdelimit.noise import NoiseLaw


@dataclass(frozen=True, eq=False)
class Optimizer:
    """One update rule, seen from both sides.

    Attributes:
        name: what tables and legends call it.
        transform: the rule, an ``optax.GradientTransformation`` that turns a gradient into the direction
            u_k; a step is theta <- theta - (eta(k/d) / d) u_k.
        limit: (noise, batch_size) -> ``Limit``, what the rule does to the risk when d is large.
        hyperparameters: the numbers that made it.
    """

    name: str
    transform: optax.GradientTransformation
    limit: Callable[[NoiseLaw, int], Limit] = field(repr=False)
    hyperparameters: dict = field(default_factory=dict)


def as_optimizer(value, name: str = "optimizer") -> Optimizer:
    """``value`` if it is an Optimizer; otherwise a TypeError that says how to make one."""
    if callable(value) and not isinstance(value, Optimizer):
        raise TypeError(f"{name} must be an optimizer such as sl.sign_sgd(), got the function itself: call it")
    if not isinstance(value, Optimizer):
        raise TypeError(f"{name} must be an optimizer such as sl.sign_sgd(), got {check.describe(value)}")
    return value


def decay_rate(name: str, value) -> float:
    """``value`` as a float in [0, 1); otherwise a TypeError or ValueError that names it."""
    value = check.real(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value:g}")
    return value
