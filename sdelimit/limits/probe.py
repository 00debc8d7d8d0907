"""The limit of any coordinatewise rule, by running its own update on simulated scalar histories.

Coordinate i sees the gradients r_j xi_j (times sigma_i), with r_j shared by all coordinates and xi_j ~ N(0, 1)
correlated across them. Chains xi and rho xi + sqrt(1 - rho^2) zeta with the same r give (theory: section 6)

    phi(R)        = (1/s) d/dh E[F(r_j (xi_j + h zeta_j))] at h = 0      ("tangent")
                  = (1/s) E[F sum_j zeta_j xi_j]                         ("Stein")
    kappa(rho; R) = sum over all lags m of E[F_t F'_{t+m}].

Lags are summed over blocks of B steps: with F_k the sum of F over block k,

    E[F_k (F'_{k-1} + F'_k + F'_{k+1})] / B

weighs the lags |m| <= B by one and tapers to zero at 2B; B is the rule's window, so the rest vanishes.
"""

import warnings
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit import _rng
from sdelimit._jit import jit
from sdelimit._precision import precision
from sdelimit.limits.inspection import Memory, measure_memory, nonzero_normal, reduced, residuals, unit_residuals
from sdelimit.limits.kernel import RHO, Estimate
from sdelimit.noise import NoiseLaw, NoNoise

MAX_CHAIN_STEPS = 2**28
"""Chain-steps (chains times steps) after which a probe that is still too noisy gives up and warns."""

DISAGREEMENT = 5.0
"""Standard errors between the two estimates of phi beyond which the tangent is taken to be wrong."""

_RHO = RHO[1:]  # kappa(0) = 0 for an odd rule; the chain with rho = 1 is the chain itself
_MEAN_ABS = np.sqrt(2 / np.pi)  # E|xi| = E[sign(xi) xi]
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class ProbeWarning(UserWarning):
    """The Monte-Carlo error of a probed limit is larger than asked for."""


class Details(NamedTuple):
    """How an Estimate was made: both estimates of phi, the one chosen, the memory, the chain-steps used."""

    tangent: tuple[float, float]
    stein: tuple[float, float]
    method: str
    memory: Memory
    chain_steps: int
    relative_error: float


def probe(
    transform,
    noise: NoiseLaw,
    R: float,
    batch_size: int = 1,
    *,
    degree: int = 0,
    relative_error: float = 3e-3,
    seed: int = 0,
    memory: Memory | None = None,
    max_chain_steps: int = MAX_CHAIN_STEPS,
    details: bool = False,
):
    """phi(R) and kappa(rho; R) of a coordinatewise rule at one risk R, with Monte-Carlo standard errors.

    Args:
        transform: the rule, accepted by ``inspect_rule``.
        noise, R, batch_size: the law of the residuals.
        degree: 0 for a scale-free rule, 1 for one that is homogeneous of degree 1. Gradients are fed in units
            of the residuals, where a tiny eps does nothing.
        relative_error: wanted standard error of phi and of kappa(1), relative to their values.
        seed: same seed, same numbers.
        memory: of the rule under this noise; measured if not given.
        max_chain_steps: give up, with a ``ProbeWarning``, after so many.
        details: also return ``Details``.

    phi is the tangent estimate (automatic differentiation through the history) unless the two estimates
    disagree, as they do for rules that jump, such as sign: automatic differentiation does not see jumps, and
    the Stein form is then used. Raises ValueError if the rule never forgets under this noise, gives non-finite
    updates, or has no positive drift.
    """
    s = float(np.sqrt(2.0 * R))
    memory = memory or measure_memory(transform, noise, R, batch_size, seed)
    with precision(np.float32):
        sampler = _Sampler(transform, noise, s, batch_size, memory, seed)
        while True:
            sampler.advance()
            tangent, stein, kappa = sampler.estimates()
            phi, method = _choose(tangent, stein)
            error = float(max(phi[1] / abs(phi[0]) if phi[0] else np.inf, kappa[-1, 1] / kappa[-1, 0]))
            if error <= relative_error or sampler.chain_steps >= max_chain_steps:
                break
    if phi[0] < 3 * phi[1]:
        raise ValueError(
            f"transform must have a positive drift, but phi = {phi[0] / s:.3g} +- {phi[1] / s:.1g} at R = {R:g}: pass "
            "the direction (scale_by_..., not the full optimizer, which multiplies by -learning_rate)"
        )
    if error > relative_error:
        warnings.warn(
            f"probe stopped at a relative Monte-Carlo error of {error:.2g} > {relative_error:.2g} after "
            f"{sampler.chain_steps:.2g} chain-steps (R = {R:g}, {noise})",
            ProbeWarning,
            stacklevel=2,
        )
    size = float(sampler.unit) ** degree
    kappa = np.concatenate([np.zeros((1, 2)), kappa]) * size**2
    estimate = Estimate(phi[0] * size / s, phi[1] * size / s, kappa[:, 0], kappa[:, 1])
    if not details:
        return estimate
    tangent, stein = (tuple(x * size / s for x in pair) for pair in (tangent, stein))
    return estimate, Details(tangent, stein, method, memory, sampler.chain_steps, error)


def _choose(tangent, stein):
    """(estimate, error) of s phi and the name of the method."""
    apart = abs(tangent[0] - stein[0]) > DISAGREEMENT * np.hypot(tangent[1], stein[1])
    return (stein, "stein") if apart else (tangent, "tangent")


class _Sampler:
    """Independent chains, advanced round by round, and the averages over time of each chain."""

    def __init__(self, transform, noise, s, batch_size, memory, seed):
        block = max(8, memory.window)
        chains = int(np.clip(2**21 // block, 512, 4096))
        self.shape = int(np.clip(2048 // block, 6, 64)), block, chains
        self.transform, self.law = transform, (noise, s, batch_size)
        self.key = _rng.run_key(seed, 2)
        self.unit = float(_unit(*self.law, _rng.step_key(self.key, 0)))
        state = transform.init(jnp.zeros(chains))
        moving = jax.tree.map(jnp.zeros_like, eqx.filter(state, eqx.is_inexact_array))
        self.state = state, moving, transform.init(jnp.zeros(chains * (_RHO.size - 1)))
        self.rounds = self.averaged = 0
        self.total = None
        for _ in range(-(-memory.burn_in // (self.shape[0] * block))):
            self._run()

    @property
    def chain_steps(self) -> int:
        """Chains times steps averaged so far."""
        return self.averaged * int(np.prod(self.shape))

    def advance(self):
        """One more round, added to the averages."""
        new = products(self._run(), self.shape[1])
        self.total = new if self.total is None else jax.tree.map(np.add, self.total, new)
        self.averaged += 1

    def _run(self):
        self.rounds += 1
        key = _rng.step_key(self.key, self.rounds)
        self.state, sums = _round(self.transform, self.shape, *self.law, self.unit, key, self.state)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
        if not np.all(np.isfinite(sums.update)):
            raise ValueError("transform gives non-finite updates on random gradients of a long history")
        return sums

    def estimates(self):
        """(value, error) of s phi by tangent and by Stein, and a (k, 2) array of them for kappa."""
        pairs = 2 if _in_pairs(self.law[0]) else 1
        mean = jax.tree.map(lambda x: x.reshape(*x.shape[:-1], pairs, -1).mean(-2) / self.averaged, self.total)
        tangent = controlled_mean(mean.tangent, np.zeros((0, mean.tangent.size)))
        stein = controlled_mean(mean.stein, mean.stein_controls)
        kappa = [controlled_mean(*pair) for pair in zip(mean.kappa, mean.kappa_controls, strict=True)]
        return tangent, stein, np.array(kappa)


class BlockSums(NamedTuple):
    """Sums over each block of steps, one column a chain; leading axis: blocks.

    The controls are C_0 = sign(xi), C_1 = w_1(r) xi and C_2 = w_2(r) xi. Being independent over time, odd, and
    of known covariance given r, they carry no unknown, but they share the noise of F.
    """

    update: Float[Array, "blocks k n"]  # F of the chain at each rho
    tangent: Float[Array, "blocks n"]  # dF/dh
    score: Float[Array, "blocks n"]  # zeta xi
    sign: Float[Array, "blocks k n"]  # C_0 of the chain at each rho
    linear: Float[Array, "blocks 2 2 n"]  # C_1, C_2 of the chain at rho = 1 and of the one at rho = 0
    covariance: Float[Array, "blocks 6 n"]  # of the pairs of weights, w_0 = 1
    drift: Float[Array, "blocks 3 n"]  # zeta w_j E[C_j xi] / w_j


class Products(NamedTuple):
    """Averages over time for each chain, and controls of mean zero."""

    tangent: Float[np.ndarray, " n"]
    stein: Float[np.ndarray, " n"]
    stein_controls: Float[np.ndarray, "3 n"]
    kappa: Float[np.ndarray, "k n"]
    kappa_controls: Float[np.ndarray, "k 6 n"]


def products(sums: BlockSums, block: int) -> Products:
    """Lag sums of F F', F zeta xi and of the controls, from block sums."""
    inner = slice(1, -1)

    def average(x):
        return x.mean(axis=0) / block

    def lags(x, y):
        return average(x[inner] * (y[:-2] + y[1:-1] + y[2:]))

    def past(x, y):
        return average(x[inner] * (y[:-2] + y[1:-1]))

    own = [sums.sign[:, -1], sums.linear[:, 0, 0], sums.linear[:, 0, 1]]
    kappa, controls = [], []
    for k, rho in enumerate(_RHO):
        mixed = rho * sums.linear[:, 0] + np.sqrt(1 - rho**2) * sums.linear[:, 1]
        other = [sums.sign[:, k], mixed[:, 0], mixed[:, 1]]
        known = [_covariance(i, j, rho) * average(sums.covariance[inner, p]) for p, (i, j) in enumerate(_PAIRS)]
        kappa.append((lags(sums.update[:, -1], sums.update[:, k]) + lags(sums.update[:, k], sums.update[:, -1])) / 2)
        controls.append([lags(own[i], other[j]) - mean for (i, j), mean in zip(_PAIRS, known, strict=True)])
    return Products(
        average(sums.tangent[inner]),
        past(sums.update[:, -1], sums.score),
        np.array([past(own[j], sums.score) - average(sums.drift[inner, j]) for j in range(3)]),
        np.array(kappa),
        np.array(controls),
    )


def _covariance(i, j, rho):
    """E[C_i C'_j] / (w_i w_j) at correlation rho: C_0 is a sign, C_1 and C_2 are linear."""
    if i == j == 0:
        return 2 / np.pi * np.arcsin(rho)
    return _MEAN_ABS * rho if 0 in (i, j) else rho


def controlled_mean(values: Float[np.ndarray, " n"], controls: Float[np.ndarray, "q n"]) -> tuple[float, float]:
    """Mean over independent chains and its standard error, after regression on controls of mean zero."""
    n, q = values.size, controls.shape[0]
    design = np.concatenate([np.ones((1, n)), controls]).T
    fit = np.linalg.lstsq(design, values, rcond=1e-9)[0]
    residual = values - design @ fit
    return float(fit[0]), float(np.sqrt(np.sum(residual**2) / (n - q - 1) / n))


@jit
def _unit(noise, s, batch_size, key):
    """Median of r: the unit in which gradients are fed to the rule."""
    return jnp.median(unit_residuals(noise, s, batch_size, key, (2**14,))[0])


@jit
def _round(transform, shape, noise, s, batch_size, unit, key, state):
    """Advance every chain by ``shape`` = (blocks, block, chains) steps; (state, BlockSums)."""
    blocks, block, chains = shape

    def one_block(state, key):
        keys = jax.random.split(key)
        r, zeta, xi = _histories(noise, s, batch_size, keys, block, chains)
        zero = jax.tree.map(
            jnp.zeros_like, jax.eval_shape(partial(_contributions, transform), state, r[0], zeta[0], xi[0])[1]
        )

        def step(carry, drawn):
            state, sums = carry
            state, new = _contributions(transform, state, *drawn)
            return (state, jax.tree.map(jnp.add, sums, new)), None

        return jax.lax.scan(step, (state, zero), (r / unit, zeta, xi))[0]

    return jax.lax.scan(one_block, state, jax.random.split(key, blocks))


def _histories(noise, s, batch_size, keys, block, chains):
    """r, zeta, (block, n), and two independent xi, (block, 2, n).

    With label noise the chains come in pairs, z and -z with the same eps and xi: where s is far below the noise
    this flips zeta and leaves r nearly unchanged, so that noise of order one cancels from a drift of order s.
    """
    chains = chains // 2 if _in_pairs(noise) else chains
    z, eps = residuals(noise, batch_size, keys[0], (block, chains))
    xi = nonzero_normal(keys[1], (block, 2, chains))
    if not _in_pairs(noise):
        return *reduced(z, eps, s), xi
    both = zip(reduced(z, eps, s), reduced(-z, eps, s), strict=True)
    return *(jnp.concatenate(pair, axis=-1) for pair in both), jnp.concatenate([xi, xi], axis=-1)


def _in_pairs(noise):
    return not isinstance(noise, NoNoise)


def _contributions(transform, state, r, zeta, xi):
    """One step of every chain: (state, what it adds to BlockSums)."""
    own_state, moving, others = state
    xi, independent = xi
    rho = _RHO[:-1, None]
    correlated = rho * xi + np.sqrt(1 - rho**2) * independent
    update, tangent, own_state, moving = _differentiated(transform, own_state, moving, r * xi, r * zeta)
    other_updates, others = transform.update((r * correlated).ravel(), others, jnp.zeros(correlated.size))
    weights = jnp.stack([jnp.ones_like(r), r / jnp.sqrt(1 + r**2), jnp.minimum(r, 3.0)])
    sums = BlockSums(
        update=jnp.concatenate([other_updates.reshape(correlated.shape), update[None]]),
        tangent=tangent,
        score=zeta * xi,
        sign=jnp.sign(jnp.concatenate([correlated, xi[None]])),
        linear=jnp.stack([weights[1:] * xi, weights[1:] * independent]),
        covariance=jnp.stack([weights[i] * weights[j] for i, j in _PAIRS]),
        drift=zeta * weights * np.array([_MEAN_ABS, 1.0, 1.0])[:, None],
    )
    return (own_state, moving, others), sums


def _differentiated(transform, state, moving, gradient, direction):
    """Update and state of the rule, and their tangents, for a gradient that moves in ``direction``."""
    inexact, rest = eqx.partition(state, eqx.is_inexact_array)

    def advance(inexact, gradient):
        update, state = transform.update(gradient, eqx.combine(inexact, rest), jnp.zeros_like(gradient))
        inexact, others = eqx.partition(state, eqx.is_inexact_array)
        return (update, inexact), others

    (update, inexact), (tangent, moving), rest = jax.jvp(
        advance, (inexact, gradient), (moving, direction), has_aux=True
    )
    return update, tangent, eqx.combine(inexact, rest), moving
