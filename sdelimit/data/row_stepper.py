"""The law of delta along one-pass runs over the rows of a data set: its mean m, covariance C, and what closes them.

With u's moments at N(m, C) from ``moments`` (J its Jacobian, Sigma its noise covariance for one row),

    dm/dt = -eta E[u],
    dC/dt = -eta (J C + C J' + g + g') + (eta^2 / (d b)) Sigma,
    dg/dt = -eta g J' + (eta / n) Sigma,

R = 1/2 (m' K m + tr(K C)), n rows, b of them a step. The matrix g is there because each row is used once: what the
used rows had too much of, the others have too little of, so the noise is that of a bridge that ends when the data do
(J = 0 and constant noise give the variance (eta^2/(d b)) t Sigma (1 - t d b / n) of a sum drawn without replacement).
It takes the step that a used row would ask for now to be the one it asked for when it was used, which is right to first
order in eta.

A step solves these equations exactly with u's moments frozen, first at its start, then at the midpoint that this
predicts; the difference of the two risks sets its length. Moments cost O(n d^2), steps O(d^3).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.numerics.floors import TINY

SAFETY, SHRINK, GROW = 0.9, 0.3, 2.0
SMALL = 0.25
"""Norm of a matrix whose exponential is summed from its Taylor series; larger ones are halved until they are so."""


class State(NamedTuple):
    """m (d,), C (d, d), g (d, d), and the memory of a rule that has one, (k,)."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    depletion: Float[np.ndarray, "d d"]
    memory: Float[np.ndarray, " k"]


def start(problem, memory_size) -> State:
    """delta = theta0 - theta*, not random."""
    d = problem.d
    return State(problem.delta0.copy(), np.zeros((d, d)), np.zeros((d, d)), np.zeros(memory_size))


def risk(problem, state) -> float:
    """E[delta' K delta] / 2."""
    K = problem.covariance.to_dense()
    return float(state.mean @ K @ state.mean + np.sum(K * state.covariance)) / 2


class Frozen(NamedTuple):
    """The equations with u's moments frozen at ``state``."""

    state: State
    drift: Float[np.ndarray, " d"]
    jacobian: Float[np.ndarray, "d d"]
    heat: Float[np.ndarray, "d d"]
    """What is added to C in unit time."""
    loss: Float[np.ndarray, "d d"]
    """What is added to g in unit time."""
    target: Float[np.ndarray, " k"]
    rate: float
    eta: float
    phi: float


def freeze(problem, rule, state, t, eta) -> Frozen:
    """The rule's moments at ``state``."""
    moments, target = rule.at(problem, state, t)
    g = state.depletion
    heat = eta**2 / (problem.d * rule.batch_size) * moments.noise - eta * (g + g.T)
    loss = eta / problem.n * moments.noise
    return Frozen(
        state=state, drift=moments.drift, jacobian=moments.jacobian, heat=heat, loss=loss, target=target,
        rate=rule.rate, eta=eta, phi=moments.phi,
    )  # fmt: skip


def advance(frozen: Frozen, state: State, h: float) -> State:
    """``state`` a time ``h`` later."""
    decay, integral, heated = _propagators(frozen.eta * frozen.jacobian, frozen.heat, h)
    drift = frozen.drift + frozen.jacobian @ (state.mean - frozen.state.mean)
    kept = np.exp(-frozen.rate * h)
    return State(
        state.mean - frozen.eta * integral @ drift,
        decay @ state.covariance @ decay.T + heated,
        state.depletion @ decay.T + frozen.loss @ integral.T,
        frozen.target + kept * (state.memory - frozen.target),
    )


def slope(problem, frozen: Frozen) -> float:
    """dR/dt at the state where the equations are frozen."""
    K, C, eta = problem.covariance.to_dense(), frozen.state.covariance, frozen.eta
    rotation = frozen.jacobian @ C
    return float(-eta * frozen.state.mean @ K @ frozen.drift - eta * np.sum(K * rotation) + np.sum(K * frozen.heat) / 2)


def _propagators(B, S, h):
    """exp(-B h), int_0^h exp(-B s) ds, and int_0^h exp(-B s) S exp(-B' s) ds: by Taylor series, then doubling."""
    size = np.linalg.norm(B, 1) * h
    doublings = max(0, int(np.ceil(np.log2(max(size, TINY) / SMALL))))
    h = h / 2**doublings
    term = np.eye(len(B))
    decay, integral = term.copy(), h * term
    source = S * h
    heated = source.copy()
    for k in range(1, 7):
        term = term @ B * (-h / k)
        decay += term
        integral += term * (h / (k + 1))
        source = B @ source * (-h / (k + 1))
        source = source + source.T
        heated += source
    for _ in range(doublings):
        heated += decay @ heated @ decay.T
        integral += decay @ integral
        decay = decay @ decay
    return decay, integral, heated


def next_length(h, error, tolerance):
    """A step length whose error should be ``tolerance``, for errors that grow like h^2."""
    return h * float(np.clip(SAFETY * np.sqrt(tolerance / max(error, TINY)), SHRINK, GROW))
