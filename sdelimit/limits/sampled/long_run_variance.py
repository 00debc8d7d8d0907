"""Mean and long-run variance of updates where a feature is correlated with the residual (theory: section 15)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.sampled.gradient_histories import estimates, residuals
from sdelimit.numerics.jit import jit

SAMPLES = 1_000_000
"""Gradients drawn at each correlation."""
DEGREE = 4
"""Of the polynomial in G^2 that smooths what was sampled."""


def variance_ratio(
    rule, noise, R: float, batch_size: int, memory: float, r: Float[np.ndarray, " n"], G: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """k(r) / k(0): the variance of a long average of updates at correlation r over that at r = 0.

    ``rule.direction`` acts on circular histories. Sampled at every other r with common random numbers, and smoothed
    by a polynomial in the square of the mean response ``G`` at r, which it follows closely: for signs it is 1 - G^2.
    """
    sampled = np.append(0.0, r[::2])

    def evaluate(draws, s, unit):
        return tuple(_variance(draws, s, unit, rule, one) for one in sampled)

    ((variances, _),) = estimates(evaluate, noise, [R], batch_size, memory, SAMPLES, 0)
    found = np.array(variances[1:]) / variances[0]
    powers = np.arange(1, DEGREE + 1)
    coefficients = np.linalg.lstsq(G[::2, None] ** (2 * powers), found - 1, rcond=None)[0]
    return np.maximum(1 + G[:, None] ** (2 * powers) @ coefficients, 0.0)


def sampled_response(rule, like, noise, R: float, batch_size: int, memory: float, r, G) -> Float[np.ndarray, " n"]:
    """The mean response of ``rule`` at r, in any unit, from ``G``, that of the rule ``like``, and their sampled ratio.

    Both are sampled at every other r with common random numbers, each history with its mirror image (xi and -xi),
    so that noise of order one cancels from a mean of order r; their ratio is smoothed by a polynomial in r^2.
    """
    sampled = r[1::2]

    def evaluate(draws, s, unit):
        return tuple(
            (mean_update(draws, s, unit, rule, one), mean_update(draws, s, unit, like, one)) for one in sampled
        )

    ((means, _),) = estimates(evaluate, noise, [R], batch_size, memory, SAMPLES, 0)
    own, other = np.array(means).T
    powers = 2 * np.arange(DEGREE + 1)
    coefficients = np.linalg.lstsq(sampled[:, None] ** powers, own / other, rcond=None)[0]
    return G * (r[:, None] ** powers @ coefficients)


@jit
def mean_update(draws, s, unit, rule, r):
    """The mean update at correlation r, with histories and their mirror images."""
    l = residuals(draws.z, draws.eps, s, unit)  # noqa: E741
    own, mirrored = (r * l.slope + jnp.sqrt(1 - r**2) * l.radius * xi for xi in (draws.xi, -draws.xi))
    return jnp.mean(jnp.mean(rule.direction(own), axis=0) + jnp.mean(rule.direction(mirrored), axis=0)) / 2


@jit
def _variance(draws, s, unit, rule, r):
    """Variance over histories of the sum of updates, per step."""
    l = residuals(draws.z, draws.eps, s, unit)  # noqa: E741
    g = r * l.slope + jnp.sqrt(1 - r**2) * l.radius * draws.xi
    return draws.xi.shape[0] * jnp.var(jnp.mean(rule.direction(g), axis=0), ddof=1)
