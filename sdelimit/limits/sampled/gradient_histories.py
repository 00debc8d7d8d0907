"""Stationary gradient histories of one coordinate, for estimates by sampling (theory: section 6).

A history is a circle of T steps: the moments at every step are the stationary ones, up to decay^T, with no burn-in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics import normals
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import precision

MEMORIES = 16
"""Length of a history in units of the memory 1 / (1 - decay)."""


class Draws(NamedTuple):
    """The random numbers of a group of histories, the same at every risk."""

    z: Float[Array, "b T n"]
    eps: Float[Array, "b T n"]
    xi: Float[Array, "T n"]
    other: Float[Array, "T n"]
    key: Array
    """For what a rule draws beside its gradients."""


class Residuals(NamedTuple):
    """Residuals l of one batch per step, in a common unit.

    radius = |(l_1..l_b)| and slope = sum_i l_i z_i: given the residuals the gradient is g = radius * xi, and moving
    the data along delta changes it at the rate ``slope``. (The 1/b of the mean does not matter to a scale-free rule.)
    """

    radius: Float[Array, "T n"]
    slope: Float[Array, "T n"]


@jit
def draw(key, noise, batch_size, steps, chains) -> Draws:
    """Independent z, xi, other ~ N(0, 1) and label noise."""
    keys = jax.random.split(key, 4)
    z = jax.random.normal(keys[0], (batch_size, steps, chains), jnp.float32)
    eps = noise.sample(keys[1], (batch_size, steps, chains), jnp.float32)
    xi, other = (jax.random.normal(k, (steps, chains), jnp.float32) for k in keys[2:])
    return Draws(z, eps, xi, other, jax.random.fold_in(key, 4))


def residuals(z, eps, s, unit) -> Residuals:
    """Residuals l = s z - eps, in units of ``unit``."""
    # The bound keeps cubes finite in float32; at that size the update of a scale-free rule has saturated.
    l = jnp.clip((s * z - eps) / unit, -1e10, 1e10)  # noqa: E741
    return Residuals(jnp.sqrt(jnp.sum(l**2, axis=0)), jnp.sum(l * z, axis=0))


def weighted_sum(weights: Weights, x: Float[Array, "T *n"]) -> Float[Array, "T *n"]:
    """sum_j a_j x_{t-j} with a_j = now * (j == 0) + past * decay^j, on the circle."""
    if weights.past == 0:
        return weights.now * x
    steps, decay = x.shape[0], weights.decay
    lap = jnp.asarray(decay ** np.arange(steps - 1, -1, -1) / (1 - decay**steps), x.dtype)

    def step(total, value):
        total = decay * total + value
        return total, total

    _, totals = jax.lax.scan(step, jnp.tensordot(lap, x, axes=1), x, unroll=4)
    return weights.now * x + weights.past * totals


def power_sum(weights: Weights, x: Float[Array, "T *n"], p: float) -> Float[Array, "T *n"]:
    """(sum_j a_j x_{t-j}^p)^(1/p) for x >= 0, on the circle, where p-th powers of x leave floating point."""
    power = int(p) if p == int(p) else p

    def root(a, first, b, second):
        size = jnp.maximum(first, second)
        size = jnp.where(size > 0, size, 1)
        return size * (a * (first / size) ** power + b * (second / size) ** power) ** (1 / p)

    def step(total, value):
        total = root(weights.decay, total, 1.0, value)
        return total, total

    if weights.past == 0:
        return weights.now ** (1 / p) * x
    lap, _ = jax.lax.scan(step, jnp.zeros_like(x[0]), x)
    _, totals = jax.lax.scan(step, lap, x)
    return root(weights.now, x, weights.past, totals)


def shape_for(memory: float, batch_size: int, samples: int) -> tuple[int, int, int]:
    """(T, chains, groups) with about ``samples`` gradients in all, in 16 or more groups."""
    steps = max(64, int(np.ceil(MEMORIES * memory)))
    chains = max(16, min(2**18 // batch_size, samples // 16) // steps)
    return steps, chains, max(16, int(np.ceil(samples / (steps * chains))))


def estimates(evaluate, noise, R, batch_size, memory, samples, seed):
    """Means and standard errors of ``evaluate(draws, s, unit)`` at each risk, over independent groups of histories.

    Returns a list with one (mean, standard error) pair of pytrees for each entry of ``R``. All risks share
    their random numbers.
    """
    steps, chains, groups = shape_for(memory, batch_size, samples)
    scales = np.sqrt(2 * np.asarray(R, np.float64))
    values = [[] for _ in scales]
    with precision(np.float32):
        for group in range(groups):
            draws = draw(normals.run_key(seed, group), noise, batch_size, steps, chains)
            for at_risk, s in zip(values, scales, strict=True):
                at_risk.append(_float64(evaluate(draws, float(s), float(s + noise_scale(noise)))))
    return [_mean_and_error(at_risk) for at_risk in values]


def _float64(tree):
    return jax.tree.map(lambda value: np.asarray(value, np.float64), tree)


def _mean_and_error(values):
    stacked = jax.tree.map(lambda *v: np.stack(v), *values)
    mean = jax.tree.map(lambda v: v.mean(axis=0), stacked)
    return mean, jax.tree.map(lambda v: v.std(axis=0, ddof=1) / np.sqrt(len(values)), stacked)
