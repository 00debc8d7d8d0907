"""How many steps a rule remembers, measured on its own update."""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.measured.scalar_gradients import joint_trajectory, nonzero_normal, unit_residuals
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics import normals
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import precision

TOLERANCE = 1e-3
"""Differences below this fraction of the root-mean-square update count as none: an eps of 1e-8 passes."""

HORIZONS = (512, 4096, 32768)
"""Lengths of the histories that are run, in steps; a rule must forget within half of the longest."""


CHAINS = 256


@dataclass(frozen=True)
class Memory:
    """How long a rule remembers, in steps.

    Attributes:
        burn_in: after so many steps the starting state and the earlier gradients no longer matter.
        window: E[F_t F_{t+m}] vanishes for m > window. Often much shorter than ``burn_in``: a second moment
            remembers the size of a gradient, not its sign.
    """

    burn_in: int
    window: int


def measure_memory(
    transform, noise: NoiseLaw, R: float, batch_size: int, seed: int = 0, sizes: tuple[float, ...] = (1.0,)
) -> Memory:
    """How long the rule remembers gradients of the given sizes and law of residuals; ValueError if for ever.

    Three copies see the same gradients after different pasts: none, a random past, and its negative. The
    first two differ until ``burn_in``, the last two until ``window``. Where copies never meet exactly (the
    jumps of Yogi keep them apart) ``burn_in`` is half a horizon over whose second half the mean |u| of the
    copies agrees.
    """
    law = noise, np.sqrt(2.0 * R), batch_size, normals.run_key(seed, 1)
    return longest([_memory_at(transform, law, float(size)) for size in sizes])


def longest(memories: Iterable[Memory]) -> Memory:
    """What is long enough for all of them."""
    memories = list(memories)
    return Memory(max(m.burn_in for m in memories), max(m.window for m in memories))


def _memory_at(transform, law, gradient_size) -> Memory:
    with precision(np.float64):
        for horizon in HORIZONS:
            profile = _forgetting(transform, gradient_size, *law, horizon)
            past, sign, size, drift, drift_se = (np.asarray(x) for x in profile)
            if not np.isfinite(size):
                raise ValueError("transform gives non-finite updates on random gradients of a long history")
            burn_in, window = (_last(x > TOLERANCE * size) for x in (past, sign))
            if max(burn_in, window) <= horizon // 2:
                return Memory(burn_in, window)
            stationary = abs(drift) + 2 * drift_se < 3 * TOLERANCE
            if stationary and horizon > HORIZONS[0] and window <= horizon // 2:
                return Memory(horizon // 2, window)
    raise ValueError(
        f"transform must forget its past: after {horizon // 2} steps updates that follow different pasts still "
        f"differ by {past[horizon // 2 :].max() / size:.2g} of their size. It accumulates for ever (AdaGrad, AMSGrad), "
        "follows a step count (pass a schedule as lr= instead), or has averages too long for a fixed limit"
    )


@jit
def _forgetting(transform, gradient_size, noise, s, batch_size, key, horizon):
    """Differences over time between histories with different pasts, and the size of an update.

    Returns (horizon,) root-mean-square differences u(past) - u(no past) and (u(past) - u(-past)) / 2, the
    root-mean-square update, and over the second half the relative difference of mean |u| with its error.
    """
    key_r, key_xi = jax.random.split(key)
    chains = min(CHAINS, 2**21 // horizon)
    r, _ = unit_residuals(noise, s, batch_size, key_r, (2 * horizon, chains))
    gradients = gradient_size * r / jnp.median(r) * nonzero_normal(key_xi, r.shape)
    past, future = gradients[:horizon], gradients[horizon:]
    params = jnp.zeros(chains)
    fresh = joint_trajectory(transform, future, params)
    after = joint_trajectory(transform, gradients, params)[horizon:]
    flipped = joint_trajectory(transform, jnp.concatenate([-past, future]), params)[horizon:]
    size = jnp.sqrt(jnp.mean(after**2))
    late = slice(horizon // 2, None)
    excess = jnp.mean(jnp.abs(fresh[late]) - jnp.abs(after[late]), axis=0) / jnp.mean(jnp.abs(after[late]))
    rms = [jnp.sqrt(jnp.mean(difference**2, axis=1)) for difference in (fresh - after, (after - flipped) / 2)]
    return *rms, size, jnp.mean(excess), jnp.std(excess) / np.sqrt(chains)


def _last(condition):
    """One past the last index where ``condition`` holds."""
    hits = np.flatnonzero(condition)
    return int(hits[-1]) + 1 if hits.size else 0
