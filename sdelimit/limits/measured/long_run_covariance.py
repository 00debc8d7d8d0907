"""Sums over lags of products of a rule's directions, from chains run in blocks, with controls of known mean.

Lags are summed over blocks of B steps: with F_k the sum of F over block k,

    E[F_k (F'_{k-1} + F'_k + F'_{k+1})] / B

weighs the lags |m| <= B by one and tapers to zero at 2B; B is the rule's window, so the rest vanishes.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.noise_kernel import RHO

CHAIN_RHO = RHO[1:]
"""Correlations with the chain proper, which is the last of them. (kappa(0) = 0 for an odd rule.)"""
_MEAN_ABS = np.sqrt(2 / np.pi)  # E|xi| = E[sign(xi) xi]
_PAIRS = tuple((i, j) for i in range(4) for j in range(i, 4))


class MeanAndError(NamedTuple):
    """A value and its standard error."""

    value: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]


class BlockSums(NamedTuple):
    """Sums over each block of steps, one column a chain; leading axis: blocks. q gradient sizes, k correlations.

    The controls are C_0 = sign(xi), and C_j = w_j(r) xi for three functions w_j, the last of which is r. Being
    independent over time, odd, and of known covariance given r, they have known means and are correlated with F.
    """

    update: Float[Array, "blocks k q n"]  # F of the chain at each rho
    tangent: Float[Array, "blocks q n"]  # dF/dh
    score: Float[Array, "blocks n"]  # zeta xi
    sign: Float[Array, "blocks k n"]  # C_0 of the chain at each rho
    linear: Float[Array, "blocks 2 3 n"]  # C_1, C_2, C_3 of the chain at rho = 1 and of the one at rho = 0
    covariance: Float[Array, "blocks 10 n"]  # of the pairs of weights, w_0 = 1
    drift: Float[Array, "blocks 4 n"]  # zeta w_j E[C_j xi] / w_j


def contributions(updates, tangent, r, zeta, correlated, xi, independent) -> BlockSums:
    """What one step of every chain adds."""
    weights = jnp.stack([jnp.ones_like(r), r / jnp.sqrt(0.5 + r**2), jnp.minimum(r, 4.0), r])
    return BlockSums(
        update=updates,
        tangent=tangent,
        score=zeta * xi,
        sign=jnp.sign(jnp.concatenate([correlated, xi[None]])),
        linear=jnp.stack([weights[1:] * xi, weights[1:] * independent]),
        covariance=jnp.stack([weights[i] * weights[j] for i, j in _PAIRS]),
        drift=zeta * weights * np.array([_MEAN_ABS, 1.0, 1.0, 1.0])[:, None],
    )


class Products(NamedTuple):
    """Averages over time for each chain, and controls of mean zero."""

    tangent: Float[np.ndarray, "q n"]
    stein: Float[np.ndarray, "q n"]
    stein_controls: Float[np.ndarray, "4 n"]
    kappa: Float[np.ndarray, "k q q n"]
    kappa_controls: Float[np.ndarray, "k 10 n"]
    square: Float[np.ndarray, "1 n"]  # r^2


def products(sums: BlockSums, block: int) -> Products:
    """Lag sums of F F', F zeta xi and of the controls, from block sums."""
    inner = slice(1, -1)

    def average(x):
        return x.mean(axis=0) / block

    def lags(x, y):
        return average(x[inner] * (y[:-2] + y[1:-1] + y[2:]))

    def past(x, y):
        return average(x[inner] * (y[:-2] + y[1:-1]))

    own = [sums.sign[:, -1], *sums.linear[:, 0].swapaxes(0, 1)]
    controls = []
    for k, rho in enumerate(CHAIN_RHO):
        mixed = rho * sums.linear[:, 0] + np.sqrt(1 - rho**2) * sums.linear[:, 1]
        other = [sums.sign[:, k], *mixed.swapaxes(0, 1)]
        known = [_covariance(i, j, rho) * average(sums.covariance[inner, p]) for p, (i, j) in enumerate(_PAIRS)]
        controls.append([lags(own[i], other[j]) - mean for (i, j), mean in zip(_PAIRS, known, strict=True)])
    return Products(
        average(sums.tangent[inner]),
        past(sums.update[:, -1], sums.score[:, None]),
        np.array([past(own[j], sums.score) - average(sums.drift[inner, j]) for j in range(4)]),
        _pair_lags(sums.update) / block,
        np.array(controls),
        average(sums.covariance[inner, -1:]),
    )


def _pair_lags(update: Float[np.ndarray, "blocks k q n"]) -> Float[np.ndarray, "k q q n"]:
    """Mean over blocks of F_i (sum of F'_j over three blocks), over both orders and both (i, j) and (j, i)."""
    by_chain = np.ascontiguousarray(update.transpose(1, 3, 2, 0))
    middle, around = by_chain[..., 1:-1], by_chain[..., :-2] + by_chain[..., 1:-1] + by_chain[..., 2:]
    total = middle[-1] @ around.swapaxes(-1, -2) + around[-1] @ middle.swapaxes(-1, -2)
    return (total + total.swapaxes(-1, -2)).transpose(0, 2, 3, 1) / (4 * middle.shape[-1])


def _covariance(i, j, rho):
    """E[C_i C'_j] / (w_i w_j) at correlation rho: C_0 is a sign, the others are linear."""
    if i == j == 0:
        return 2 / np.pi * np.arcsin(rho)
    return _MEAN_ABS * rho if 0 in (i, j) else rho


def control_variate_mean(values: Float[np.ndarray, "*shape n"], controls: Float[np.ndarray, "c n"]) -> MeanAndError:
    """Means over independent chains and their standard errors, after regression on controls of mean zero."""
    c, n = controls.shape
    design = np.concatenate([np.ones((1, n)), controls]).T
    flat = values.reshape(-1, n).T
    # With many right-hand sides the pseudo-inverse is far quicker than numpy.linalg.lstsq.
    size = np.maximum(np.linalg.norm(design, axis=0), np.finfo(float).tiny)
    fit = (np.linalg.pinv(design / size, rcond=1e-9) @ flat) / size[:, None]
    error = np.sqrt(np.sum((flat - design @ fit) ** 2, axis=0) / (n - c - 1) / n)
    return MeanAndError(fit[0].reshape(values.shape[:-1]), error.reshape(values.shape[:-1]))
