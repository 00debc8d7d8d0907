"""The rules that the fused kernel knows, on one array of gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from sdelimit.optimizers.adaptive import TINY, adam
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import sign_sgd


class FusedRule(NamedTuple):
    """``direction(gradient, state, corrections)`` gives u and the new state, ``n_state`` arrays like the gradient.

    ``corrections`` holds 1 - b^(k+1) at step k for each b of ``decays``.
    """

    direction: Callable
    n_state: int = 0
    decays: tuple[float, ...] = ()
    settings: tuple[float, ...] = ()


def fused_rule(optimizer: Optimizer) -> FusedRule | None:
    """The rule of ``optimizer``, if it is one of those that the kernel knows."""
    if optimizer is sgd():
        return FusedRule(_sgd)
    if optimizer is sign_sgd():
        return FusedRule(_sign_sgd)
    settings = optimizer.hyperparameters
    if optimizer.name == "adam" and _update_of(optimizer) == _update_of(adam()):
        b1, b2, eps = settings["b1"], settings["b2"], settings["eps"] or TINY
        return FusedRule(_adam, 2, (b1, b2), (b1, b2, eps))
    return None


def _update_of(optimizer):
    return optimizer.transform.update.__qualname__


def _sgd(gradient, state, corrections):
    return gradient, state


def _sign_sgd(gradient, state, corrections):
    return jnp.sign(gradient), state


def _adam(gradient, state, corrections, b1, b2, eps):
    m = b1 * state[0] + (1 - b1) * gradient
    v = b2 * state[1] + (1 - b2) * gradient * gradient
    return (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + eps), (m, v)
