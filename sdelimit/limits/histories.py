"""Stationary gradient histories of one coordinate, for estimates by sampling (theory: section 6).

A history is a circle of T steps: the moments at every step are the stationary ones, up to decay^T, with no burn-in.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit import _rng
from sdelimit._precision import precision
from sdelimit.limits.laplace import Weights

MEMORIES = 16
"""Length of a history in units of the memory 1 / (1 - decay)."""


class Residuals(NamedTuple):
    """Residuals l of one batch per step, divided by ``unit``.

    radius = |(l_1..l_b)| and slope = sum_i l_i z_i: given the residuals the gradient is g = radius * xi, and moving
    the data along delta changes it at the rate ``slope``. (A scale-free rule does not see the 1/b of the mean.)
    """

    radius: Float[Array, "T n"]
    slope: Float[Array, "T n"]


def residuals(noise, key, s, unit, shape, batch_size) -> tuple[Residuals, Residuals]:
    """Residuals l = s z - eps and their mirror images -s z - eps."""
    key_z, key_eps = jax.random.split(key)
    z = jax.random.normal(key_z, (batch_size, *shape), jnp.float32)
    eps = noise.sample(key_eps, (batch_size, *shape), jnp.float32)

    def side(z):
        # Finite cubes in float32; a scale-free rule does not see so rare a bound.
        l = jnp.clip((s * z - eps) / unit, -1e10, 1e10)  # noqa: E741
        return Residuals(jnp.sqrt(jnp.sum(l**2, axis=0)), jnp.sum(l * z, axis=0))

    return side(z), side(-z)


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


def shape_for(memory: float, batch_size: int, samples: int) -> tuple[int, int, int]:
    """(T, chains, groups) with about ``samples`` gradients in all, in 16 or more groups."""
    steps = max(64, int(np.ceil(MEMORIES * memory)))
    chains = max(16, min(2**18 // batch_size, samples // 16) // steps)
    return steps, chains, max(16, int(np.ceil(samples / (steps * chains))))


def group_means(sample, groups: int, seed: int):
    """Means and standard errors, float64, of the outputs of ``sample(key)`` over independent groups."""
    with precision(np.float32):
        keys = jax.vmap(partial(_rng.run_key, seed))(jnp.arange(groups, dtype=jnp.uint32))
        values = [jax.tree.map(lambda v: np.asarray(v, np.float64), sample(key)) for key in keys]
    stacked = jax.tree.map(lambda *v: np.stack(v), *values)
    mean = jax.tree.map(lambda v: v.mean(axis=0), stacked)
    return mean, jax.tree.map(lambda v: v.std(axis=0, ddof=1) / np.sqrt(groups), stacked)
