"""How many steps a rule remembers, measured on its own update."""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.measured.scalar_gradients import (
    joint_trajectory,
    nonzero_normal,
    random_gradients,
    unit_residuals,
)
from sdelimit.limits.measured.step_counts import period_of, whole_periods
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics import normals
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import precision

TOLERANCE = 1e-3
"""Differences below this fraction of the root-mean-square update count as none: an eps of 1e-8 passes."""

HORIZONS = (512, 4096, 32768)
"""Lengths of the histories that are run, in steps; a rule must forget within half of the longest."""


CHAINS = 256
SHRINKS = 0.9
"""A rule whose updates are so much shorter after twice the time accumulates: AdaGrad's are 0.71."""
FORGETS = 0.7
"""A memory that falls by that factor over half the longest horizon is taken to fall exponentially."""
RESPONSE_SHIFT = 0.05
"""The step in the mean gradient, in standard deviations, whose answer shows how long gradients are averaged."""
RESPONSES = 2**23
"""Chains times steps by which the answer is measured."""


@dataclass(frozen=True)
class Memory:
    """How long a rule remembers, in steps.

    Attributes:
        burn_in: after so many steps the starting state and the earlier gradients no longer matter.
        window: E[F_t F_{t+m}] vanishes for m > window. Often much shorter than ``burn_in``: a second moment
            remembers the size of a gradient, not its sign.
        size: steps over which the rule remembers sizes, 1/(1-beta) where these are averaged with decay beta; 1 where
            it remembers them for no longer than signs.
    """

    burn_in: int
    window: int
    size: float = 1.0


def measure_memory(
    transform, noise: NoiseLaw, R: float, batch_size: int, seed: int = 0, sizes: tuple[float, ...] = (1.0,)
) -> Memory:
    """How long the rule remembers gradients of the given sizes and law of residuals; ValueError if too long.

    Three copies see the same gradients after different pasts: none, a random past, and its negative. The
    first two differ until ``burn_in``, the last two until ``window``. Where copies never meet exactly (the
    jumps of Yogi keep them apart) ``burn_in`` is half a horizon over whose second half the mean |u| of the
    copies agrees. A rule that acts every k-th step is seen at the same phase in all copies.
    """
    law = noise, np.sqrt(2.0 * R), batch_size, normals.run_key(seed, 1)
    return longest([_memory_at(transform, law, float(size)) for size in sizes])


def longest(memories: Iterable[Memory]) -> Memory:
    """What is long enough for all of them."""
    memories = list(memories)
    return Memory(*(max(getattr(m, name) for m in memories) for name in ("burn_in", "window", "size")))


def _memory_at(transform, law, gradient_size) -> Memory:
    period = period_of(transform)
    with precision(np.float64):
        for horizon in HORIZONS:
            horizon = whole_periods(horizon, transform)
            profile = _forgetting(transform, gradient_size, *law, horizon)
            past, sign, size, drift, drift_se, later = (np.asarray(x) for x in profile)
            if not np.isfinite(size):
                raise ValueError("transform gives non-finite updates on random gradients of a long history")
            burn_in, window = (_last(x > TOLERANCE * size) for x in (past, sign))
            if period > 1:
                burn_in, window = (whole_periods(steps, transform) + period for steps in (burn_in, window))
            if max(burn_in, window) <= horizon // 2:
                return Memory(burn_in, window, _size_memory(past, burn_in, window, size))
            stationary = abs(drift) + 2 * drift_se < 3 * TOLERANCE
            if stationary and horizon > HORIZONS[0] and window <= horizon // 2:
                return Memory(horizon // 2, window, _size_memory(past, horizon // 2, window, size))
    raise ValueError(
        f"transform must forget its past: after {horizon // 2} steps updates that follow different pasts still "
        f"differ by {past[horizon // 2 :].max() / size:.2g} of their size. {_why_it_remembers(past, later)}"
    )


def _size_memory(past, burn_in, window, size) -> float:
    """1/(1-beta) from the time in which the memory of sizes falls from ten times ``TOLERANCE`` to it."""
    if burn_in <= 2 * window + 1:
        return 1.0
    slow = _last(past > 10 * TOLERANCE * size)
    return max(1.0, float((burn_in - slow) / np.log(10)))


def _why_it_remembers(past, later) -> str:
    """What kind of memory it is: a sum, an average too long, or a maximum."""
    half = past.size // 2
    early, late = (
        np.sqrt(np.mean(past[part] ** 2)) for part in (slice(half - half // 8, half), slice(-half // 8, None))
    )
    if later < SHRINKS:
        return (
            f"Its updates also shrink for ever (to {later:.2g} of their length in twice the time): it accumulates all "
            "gradients, as AdaGrad does, and has no limit of fixed learning rate"
        )
    if late < FORGETS * early:
        steps = half / np.log(early / late)
        return (
            f"It does forget, with a memory of about {steps:.2g} steps, but more is not probed: d would have to be "
            "much larger than that. Take averages of a shorter memory (a smaller decay, such as b2=0.99)"
        )
    return (
        "It keeps a maximum (AMSGrad), a sum or ever longer averages of its past, or follows a step count (pass a "
        "schedule as lr= instead)"
    )


@jit
def _forgetting(transform, gradient_size, noise, s, batch_size, key, horizon):
    """Differences over time between histories with different pasts, and the size of an update.

    Returns (horizon,) root-mean-square differences u(past) - u(no past) and (u(past) - u(-past)) / 2, the
    root-mean-square update, over the second half the relative difference of mean |u| with its error, and the
    length of late updates of the copy with a past in units of those half as late.
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
    quarter = horizon // 4
    later = jnp.sqrt(jnp.mean(after[-quarter:] ** 2) / jnp.mean(fresh[-quarter:] ** 2))
    return *rms, size, jnp.mean(excess), jnp.std(excess) / np.sqrt(chains), later


def _last(condition):
    """One past the last index where ``condition`` holds."""
    hits = np.flatnonzero(condition)
    return int(hits[-1]) + 1 if hits.size else 0


def averaging_time(transform, memory: Memory, seed: int = 0) -> float:
    """Steps over which the rule averages gradients: 1 + the mean lag of its answer, 1/(1-beta) for momentum.

    All gradients are moved by a small step, after which E[u_t] rises to a new value; the mean lag is the sum of what is
    missing.
    """
    if memory.window <= 1:
        return 1.0
    window = whole_periods(max(memory.window, 8), transform)
    lead, steps = whole_periods(memory.burn_in, transform), 2 * window
    chains = int(np.clip(RESPONSES // (lead + steps), 256, 8192))
    gradients = random_gradients(seed, lead + steps, chains)
    step = RESPONSE_SHIFT * np.abs(np.random.default_rng(seed + 1).standard_normal((steps, chains)))
    with precision(np.float64):
        up, down = (np.asarray(_after(transform, gradients, sign * step, lead)) for sign in (1, -1))
    answer = (up - down) / 2
    final = np.mean(answer[window:])
    return 1.0 + max(0.0, float(np.sum(1 - answer[:window] / final)))


@jit
def _after(transform, gradients, step, lead):
    """Mean updates from step ``lead`` on, where ``step`` is added to the gradients."""
    moved = gradients.at[lead:].add(step)
    return jnp.mean(joint_trajectory(transform, moved, jnp.zeros(gradients.shape[1]))[lead:], axis=1)
