"""Equations for the mean m and covariance C of delta in one-pass runs over the rows of a data set.

With u's moments at N(m, C) from ``data/row_moments.py`` (J its Jacobian, Sigma its noise covariance for one row),

    dm/dt = -eta E[u],
    dC/dt = -eta (J C + C J' + g + g') + (eta^2 / (d b)) Sigma,
    dg/dt = -eta g J' + (eta / n) Sigma,

R = 1/2 (m' K m + tr(K C)), n rows, b of them a step. g is the covariance of delta with the mean update on the rows
that are still unused: each row is used once, so a mean update above average on the used rows leaves one below average
on the others, and the noise is that of a bridge that ends with the data (J = 0 and constant noise give the variance
(eta^2/(d b)) t Sigma (1 - t d b / n) of a sum drawn without replacement). The update on a used row is taken not to have
changed since that row was used, which is right to first order in eta.

A step solves these equations exactly with u's moments held fixed, first at those of its start, then at those of the
midpoint that this predicts; the difference of the two risks sets its length. Moments cost O(n d^2), steps O(d^3).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.numerics.floors import TINY

SAFETY, SHRINK, GROW = 0.9, 0.3, 2.0
SMALL = 0.25
"""Norm of a matrix whose exponential is summed from its Taylor series; larger ones are halved until they are so."""


class State(NamedTuple):
    """m (d,), C (d, d), g (d, d), and the second moment v (k,) of a rule that has one."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    row_covariance: Float[np.ndarray, "d d"]
    memory: Float[np.ndarray, " k"]


def start(problem, memory_size) -> State:
    """delta = theta0 - theta*, not random."""
    d = problem.d
    return State(problem.delta0.copy(), np.zeros((d, d)), np.zeros((d, d)), np.zeros(memory_size))


def risk(problem, state) -> float:
    """E[delta' K delta] / 2."""
    K = problem.covariance.to_dense()
    return float(state.mean @ K @ state.mean + np.sum(K * state.covariance)) / 2


class LinearEquations(NamedTuple):
    """The equations with u's moments held at those of ``state``: linear in m, C and g."""

    state: State
    drift: Float[np.ndarray, " d"]
    jacobian: Float[np.ndarray, "d d"]
    noise_covariance: Float[np.ndarray, "d d"]
    """Added to C in unit time: (eta^2 / (d b)) Sigma - eta (g + g')."""
    row_covariance_rate: Float[np.ndarray, "d d"]
    """Added to g in unit time: (eta / n) Sigma."""
    target: Float[np.ndarray, " k"]
    rate: float
    eta: float
    phi: float


def linearize(problem, rule, state, t, eta) -> LinearEquations:
    """The rule's moments at ``state``."""
    moments, target = rule.at(problem, state, t)
    g = state.row_covariance
    noise = eta**2 / (problem.d * rule.batch_size) * moments.noise - eta * (g + g.T)
    rows = eta / problem.n * moments.noise
    return LinearEquations(
        state=state, drift=moments.drift, jacobian=moments.jacobian, noise_covariance=noise, row_covariance_rate=rows,
        target=target, rate=rule.rate, eta=eta, phi=moments.phi,
    )  # fmt: skip


def advance(equations: LinearEquations, state: State, h: float) -> State:
    """``state`` a time ``h`` later."""
    decay, integral, noise_integral = _propagators(equations.eta * equations.jacobian, equations.noise_covariance, h)
    drift = equations.drift + equations.jacobian @ (state.mean - equations.state.mean)
    remaining = np.exp(-equations.rate * h)
    return State(
        state.mean - equations.eta * integral @ drift,
        decay @ state.covariance @ decay.T + noise_integral,
        state.row_covariance @ decay.T + equations.row_covariance_rate @ integral.T,
        equations.target + remaining * (state.memory - equations.target),
    )


def slope(problem, equations: LinearEquations) -> float:
    """dR/dt at the state at which the equations are linearized."""
    K, C, eta = problem.covariance.to_dense(), equations.state.covariance, equations.eta
    rotation = equations.jacobian @ C
    return float(
        -eta * equations.state.mean @ K @ equations.drift
        - eta * np.sum(K * rotation)
        + np.sum(K * equations.noise_covariance) / 2
    )


def _propagators(B, S, h):
    """exp(-B h), int_0^h exp(-B s) ds, and int_0^h exp(-B s) S exp(-B' s) ds: by Taylor series, then doubling."""
    size = np.linalg.norm(B, 1) * h
    doublings = max(0, int(np.ceil(np.log2(max(size, TINY) / SMALL))))
    h = h / 2**doublings
    term = np.eye(len(B))
    decay, integral = term.copy(), h * term
    source = S * h
    noise_integral = source.copy()
    for k in range(1, 7):
        term = term @ B * (-h / k)
        decay += term
        integral += term * (h / (k + 1))
        source = B @ source * (-h / (k + 1))
        source = source + source.T
        noise_integral += source
    for _ in range(doublings):
        noise_integral += decay @ noise_integral @ decay.T
        integral += decay @ integral
        decay = decay @ decay
    return decay, integral, noise_integral


def next_length(h, error, tolerance):
    """A step length whose error should be ``tolerance``, for errors that grow like h^2."""
    return h * float(np.clip(SAFETY * np.sqrt(tolerance / max(error, TINY)), SHRINK, GROW))
