"""Noise kernels of rules that divide by a root mean square, from the total effects of gradients (theory: section 6).

F = sum_j a_j g_-j / V^(1/2), V = sum_j w_j g_-j^2, is odd in each gradient, so the sum over lags collapses:

    kappa(rho) = sum over lags of E[F F'] = E[W W'],    W_s = g_s sum_m a_m V_{s+m}^(-1/2),    corr(xi, xi') = rho.

The weights a and w are numbers that the compiled code is given, and histories have one of few lengths: powers of four.
All rules of such a length share one program, and under Gaussian residuals the same histories.

Products of functions of the two gradients whose mean is known are control variates: given |l|,

    E[sign(xi) sign(xi')] = (2/pi) arcsin(rho),    E[sign(xi) xi'] = (2/pi)^(1/2) rho,    E[xi xi'] = rho.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.measured.long_run_covariance import control_variate_mean
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.gradient_histories import MEMORIES, Draws, draw, residuals
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics import normals
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import Memo
from sdelimit.numerics.precision import precision

CORRELATIONS = RHO[:0:-1]
"""1 and smaller; at 0 the kernel vanishes."""
SHORTEST = 64
"""Steps of the shortest history."""
GRADIENTS = 2**20
"""Gradients of a group of histories, divided by the batch size."""
TOGETHER = 2**18
"""Gradients whose denominators are in memory at once."""
BLOCKS = 128
"""Means of a group, over as many histories each, that the controls are fitted to."""
FEWEST = 128
"""Histories in all groups together, at least."""
GAUSSIAN_SHARE = 1 / 4
"""Share of the samples asked for that is drawn under Gaussian residuals: the controls are worth the rest."""
PAIRS = tuple((i, j) for i in range(4) for j in range(i, 4))


class Shape(NamedTuple):
    """Histories of ``steps`` steps, ``chains`` of them in each of ``groups`` groups."""

    steps: int
    chains: int
    groups: int

    @classmethod
    def of(cls, memory: float, batch_size: int, samples: int):
        """About ``samples`` gradients in histories of at least ``MEMORIES`` times the memory."""
        steps = SHORTEST
        while steps < MEMORIES * memory:
            steps *= 4
        chains = max(16, GRADIENTS // 2 ** int(np.ceil(np.log2(batch_size))) // steps)
        return cls(steps, chains, max(ceil_div(samples, steps * chains), ceil_div(FEWEST, chains)))


def sampled_kernels(a: Weights, w: Weights, noise: NoiseLaw, R, batch_size: int, samples: int, seed: int):
    """kappa at ``RHO`` with standard errors at each risk ``R``: (kappa, error), (r,) each."""
    if isinstance(noise, NoNoise):
        samples = int(GAUSSIAN_SHARE * samples)
    shape = Shape.of(max(1 / (1 - a.decay), 1 / (1 - w.decay)), batch_size, samples)
    unit, values, controls = noise_scale(noise), [[] for _ in R], [[] for _ in R]
    with precision(np.float32):
        numbers = [np.array([x.now, x.past, x.decay], np.float32) for x in (a, w)]
        for group in range(shape.groups):
            draws = _draws(noise, batch_size, shape, seed, group)
            for i, s in enumerate(np.sqrt(2 * np.asarray(R, np.float64))):
                given = draws, float(s), float(s + unit), shape.steps
                values[i].append(_effect_products(*given, *numbers))
                key = batch_size, shape.steps, seed, group, float(s)
                controls[i].append(_shared(CONTROLS, key, noise, lambda given=given: _controls(*given)))
    return [_fitted(*pair) for pair in zip(values, controls, strict=True)]


def _fitted(values, controls):
    """(kappa, error) at ``RHO`` from products and controls of each group."""
    values, controls = (np.concatenate([np.asarray(x, np.float64) for x in parts], -1) for parts in (values, controls))
    found = [control_variate_mean(*pair) for pair in zip(values, controls, strict=True)]
    return tuple(np.append(0.0, np.array(column)[::-1]) for column in zip(*found, strict=True))


DRAWS, CONTROLS = Memo(4), Memo(64)
"""Random numbers of the last groups under Gaussian residuals, about 40 MB, and their controls."""


def _shared(memo, key, noise, compute):
    """``compute()``; from ``memo`` where there is no noise, and it is all the same."""
    return memo.get(key, compute) if isinstance(noise, NoNoise) else compute()


def _draws(noise, batch_size, shape, seed, group) -> Draws:
    """Random numbers of one group, (T chains, 1): histories of any length are taken from them."""
    size = shape.steps * shape.chains
    key = batch_size, size, seed, group
    return _shared(DRAWS, key, noise, lambda: draw(normals.run_key(seed, group), noise, batch_size, size, 1))


@jit
def _effect_products(draws, s, unit, steps, a, w):
    """Means of W W' over blocks of histories, (r, blocks), at ``CORRELATIONS``."""
    radius = residuals(draws.z, draws.eps, s, unit).radius
    parts = _parts(steps, radius * draws.xi, radius * draws.other)
    return _blocks(jax.lax.map(lambda gradients: effect_products(*gradients, a, w), parts))


@jit
def _controls(draws, s, unit, steps):
    """Means of the controls over the same blocks, (r, 10, blocks)."""
    radius = residuals(draws.z, draws.eps, s, unit).radius
    return _blocks(jax.lax.map(lambda part: control_products(*part), _parts(steps, radius, draws.xi, draws.other)))


def _parts(steps, *arrays):
    """A group's numbers as histories, in parts that are worked on together: (parts, T, n) each."""
    chains = arrays[0].size // steps
    parts = max(1, chains // max(64, TOGETHER // steps))
    return tuple(x.reshape(parts, steps, chains // parts) for x in arrays)


def _blocks(x):
    """(parts, r, *, n) to (r, *, blocks)."""
    x = jnp.moveaxis(x, 0, -2)
    x = x.reshape(*x.shape[:-2], -1)
    return x.reshape(*x.shape[:-1], min(BLOCKS, x.shape[-1]), -1).mean(-1)


def effect_products(g: Float[Array, "T n"], independent: Float[Array, "T n"], a, w) -> Float[Array, "r n"]:
    """Mean over time of W W' for gradients g and rho g + sqrt(1 - rho^2) independent, on circles of T steps.

    ``a`` and ``w`` are (now, past, decay). Averages start from what a lap leaves, so that all steps are stationary.
    """
    steps, rho = g.shape[0], jnp.asarray(CORRELATIONS, jnp.float32)[:, None]
    other = jnp.asarray(np.sqrt(1 - CORRELATIONS**2), jnp.float32)[:, None]
    zero = jnp.zeros((rho.shape[0], g.shape[1]))

    def squares(now):
        return (rho * now[0] + other * now[1]) ** 2

    def denominators(total, now):
        square = squares(now)
        total = w[2] * total + square
        return total, jax.lax.rsqrt(w[0] * square + w[1] * total)

    def effects(carry, now):
        total, product = carry
        root, *now = now
        total = a[2] * total + root
        W = (rho * now[0] + other * now[1]) * (a[0] * root + a[1] * total)
        return (total, product + W[:1] * W), None

    before, _ = jax.lax.scan(lambda total, now: (w[2] * total + squares(now), None), zero, (g, independent))
    _, root = jax.lax.scan(denominators, before / (1 - w[2] ** steps), (g, independent))
    after, _ = jax.lax.scan(lambda total, root: (a[2] * total + root, None), zero, root, reverse=True)
    start = after / (1 - a[2] ** steps), zero
    (_, product), _ = jax.lax.scan(effects, start, (root, g, independent), reverse=True)
    return product / steps


def control_products(radius, xi, other: Float[Array, "T n"]) -> Float[Array, "r 10 n"]:
    """Mean over time of products of odd functions of the gradients of correlation 1 and rho, less their known means.

    The functions are sign(xi) and w_j(|l|) xi, w_j = 1, min(|l|, 4), |l| / (1/2 + |l|^2)^(1/2).
    """
    rho, (i, j) = CORRELATIONS[:, None], np.array(PAIRS).T
    known = np.where(i == 0, np.sqrt(2 / np.pi), 1.0) * rho
    known = jnp.asarray(np.where(i + j == 0, 2 / np.pi * np.arcsin(rho), known), jnp.float32)
    rho = jnp.asarray(rho, jnp.float32)

    def add(total, now):
        l, xi, other = now  # noqa: E741
        weights = jnp.stack([jnp.ones_like(l), jnp.ones_like(l), jnp.minimum(l, 4.0), l / jnp.sqrt(0.5 + l**2)])
        own = weights.at[0].multiply(jnp.sign(xi)).at[1:].multiply(xi)
        there = rho * xi + jnp.sqrt(1 - rho**2) * other
        others = jnp.concatenate([jnp.sign(there)[:, None], weights[1:] * there[:, None]], axis=1)
        products = (own[i] * others[:, j] + own[j] * others[:, i]) / 2
        return total + products - weights[i] * weights[j] * known[..., None], None

    zero = jnp.zeros((rho.shape[0], len(PAIRS), xi.shape[1]))
    return jax.lax.scan(add, zero, (radius, xi, other))[0] / xi.shape[0]
