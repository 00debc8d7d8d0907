"""The rules that the fused kernel knows, on one array of gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from sdelimit.optimizers.formula import AdamUpdate, GradientUpdate, SignUpdate
from sdelimit.optimizers.optimizer import Optimizer


class FusedRule(NamedTuple):
    """``direction(gradient, state, corrections)`` gives u and the new state, ``n_state`` arrays like the gradient.

    ``corrections`` holds 1 - b^(k+1) at step k for each b of ``decays``.
    """

    direction: Callable
    n_state: int = 0
    decays: tuple[float, ...] = ()
    settings: tuple[float, ...] = ()


def fused_rule(optimizer: Optimizer) -> FusedRule | None:
    """The rule of ``optimizer``, if it is one of those that the kernel knows.

    Adam needs eps > 0: the coordinates that pad a block have zero gradients, and their direction must be 0.
    """
    match optimizer.formula:
        case GradientUpdate():
            return FusedRule(_sgd)
        case SignUpdate():
            return FusedRule(_sign_sgd)
        case AdamUpdate(b1=b1, b2=b2, eps=eps) if eps > 0:
            return FusedRule(_adam, n_state=2, decays=(b1, b2), settings=(b1, b2, eps))
    return None


def _sgd(gradient, state, corrections):
    return gradient, state


def _sign_sgd(gradient, state, corrections):
    return jnp.sign(gradient), state


def _adam(gradient, state, corrections, b1, b2, eps):
    m = b1 * state[0] + (1 - b1) * gradient
    v = b2 * state[1] + (1 - b2) * gradient * gradient
    return (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + eps), (m, v)
