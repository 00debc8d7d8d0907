"""Rules that count their steps: bias corrections, updates given every k-th step, schedules.

The limit is that of a rule whose start is long past, and it has no room for one that changes with the number of steps.
``count_steps`` finds the counters in a rule's state, ``steady_rule`` starts the rule with its counters far along, and
``require_no_schedule`` and ``start_up_of`` tell a bias correction, which undoes the start from zero, from a schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.measured.scalar_gradients import joint_trajectory, random_gradients
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import precision

WATCHED = 1024
"""Steps over which counters are watched: cycles of a third of that, and shorter ones, are found."""
FAR = 10**7
"""A number of steps after which the start is long past."""
COUNTS = 160
"""Step counts at which the rule is asked for the same update."""
COORDINATES = 64
TOLERANCE = 2e-3
"""Relative change of an update with the step count that counts as none."""
SETTLED, LARGEST_CHANGE = 32, 0.1
"""A bias correction keeps the mean update within that fraction after so many steps: Adam's own is 4% off."""
BLOCK = 3.0
"""Length of the blocks over which first updates are added up, in averaging times."""
SHIFT = 1.0
"""Mean gradient, in standard deviations, in whose direction the updates of the start are measured."""


class SteadyRule(NamedTuple):
    """A rule that starts with its step counters far along, and whose state keeps the types that it starts with.

    ``init`` and ``update`` are those of an optax transformation; ``period`` is the number of steps after which a rule
    that acts every k-th step repeats itself, 1 for others.
    """

    init: Callable
    update: Callable
    period: int


@dataclass(frozen=True)
class Counters:
    """Which leaves of a rule's state count steps for ever, and the common period of those that run in cycles."""

    advancing: tuple[int, ...]
    period: int


class StartUp(NamedTuple):
    """How the first steps differ from later ones, in units of a later step.

    Attributes:
        drift: sum over steps of E[u_t] / E[u] - 1 under gradients of mean ``SHIFT``.
        noise: sum over blocks of a few averaging times of E[S^2] / E[S^2 later] - 1, S the sum of a block's updates
            under gradients of mean zero, times the length of a block.
    """

    drift: float = 0.0
    noise: float = 0.0


def period_of(transform) -> int:
    """The number of steps after which a rule repeats itself."""
    return getattr(transform, "period", 1)


def whole_periods(steps: int, transform) -> int:
    """``steps`` rounded up to a multiple of the rule's period."""
    return period_of(transform) * ceil_div(steps, period_of(transform))


def count_steps(transform) -> Counters:
    """The integers in a rule's state that only grow, and the period of those that come back."""
    with precision(np.float64):
        found = np.asarray(_integers(transform, random_gradients(0, WATCHED, 1)))
        leaves = jax.tree.leaves(transform.init(jnp.zeros(1)))
    where = [i for i, leaf in enumerate(leaves) if _is_counter(leaf)]
    advancing, period = [], 1
    for index, values in zip(where, found.T, strict=True):
        if np.all(values == values[0]):
            continue
        if np.all(np.diff(values) >= 0):
            advancing.append(index)
            continue
        cycles = (p for p in range(2, WATCHED // 3) if np.array_equal(values[p:], values[:-p]))
        period = int(np.lcm(period, next(cycles, 1)))
    return Counters(tuple(advancing), period)


def keep_types(transform) -> SteadyRule:
    """The rule itself, its update and state of the types that its gradient and its first state have."""

    def update(gradient, state, params=None):
        direction, new = transform.update(gradient, state, params)
        return direction.astype(gradient.dtype), jax.tree.map(_like, new, state)

    return SteadyRule(transform.init, update, 1)


def steady_rule(transform, counters: Counters) -> SteadyRule:
    """The rule long after its start: every counter that only grows begins at ``FAR``."""

    def init(params):
        return _set_counters(transform.init(params), counters.advancing, FAR)

    return SteadyRule(init, keep_types(transform).update, counters.period)


def require_no_schedule(steady: SteadyRule, counters: Counters, burn_in: int, seed: int = 0) -> None:
    """ValueError if the update changes with the step count once the start no longer matters.

    One state, reached after 2 ``burn_in`` steps, answers the same gradient under many step counts.
    """
    if not counters.advancing:
        return
    start = whole_periods(max(2 * burn_in, 64), steady)
    gradients = random_gradients(seed, start + steady.period, COORDINATES)
    first = max(2 * burn_in, 1)
    counts = np.unique(np.concatenate([first + np.arange(32), np.geomspace(first, FAR, COUNTS).astype(np.int64)]))
    with precision(np.float64):
        updates = np.asarray(_under_counts(steady, counters.advancing, counts, gradients[:start], gradients[start:]))
    updates = updates.reshape(counts.size, -1)
    if not np.all(np.isfinite(updates)):
        raise ValueError("transform gives non-finite updates after many steps")
    length = np.sqrt(np.mean(updates**2, axis=1))
    change = np.sqrt(np.mean((updates - updates[-1]) ** 2, axis=1)) / max(length.max(), np.finfo(float).tiny)
    if change.max() > TOLERANCE:
        worst = int(np.argmax(change))
        _refuse_schedule(
            f"updates at steps {counts[worst]} and {FAR} have the lengths {length[worst]:.3g} and {length[-1]:.3g}"
        )


def start_up_of(transform, steady: SteadyRule, burn_in: int, averaging: float, seed: int = 0) -> StartUp:
    """How the first steps differ from later ones; ValueError if that is a schedule's doing and no bias correction's.

    The rule from its own start and the rule long after it see the same gradients, and so agree to the last digit once
    the start is forgotten.
    """
    steps = whole_periods(2 ** int(np.ceil(np.log2(burn_in + 64))), steady)
    chains = int(np.clip(2**20 // steps, 64, 1024))
    rules = [(keep_types(transform), True), (steady, True), (steady, False)]
    found = []
    for shift in (0.0, SHIFT):
        gradients, params = random_gradients(seed, 2 * steps, chains, shift=shift), np.zeros(chains)
        with precision(np.float64):
            runs = [joint_trajectory(rule, gradients[steps:] if fresh else gradients, params) for rule, fresh in rules]
            found.append([np.asarray(run)[-steps:] for run in runs])
    (own, _, late), (own_shifted, counted, late_shifted) = found
    if not (np.all(np.isfinite(own)) and np.all(np.isfinite(own_shifted))):
        raise ValueError("transform gives non-finite updates on random gradients of a long history")
    block = min(whole_periods(int(np.ceil(BLOCK * averaging)) if averaging > 1 else 1, steady), steps)
    first, after = (np.mean(_block_sums(run, block) ** 2, axis=1) for run in (own, late))
    noise = float(block * np.sum(first - after) / np.mean(after))
    drift = float(np.sum(np.mean(own_shifted - late_shifted, axis=1)) / np.mean(late_shifted))
    _require_even_start(*(np.mean(run, axis=1) for run in (own_shifted, counted, late_shifted)), steady.period)
    return StartUp(drift, noise)


def _block_sums(updates, block):
    whole = len(updates) // block * block
    return updates[:whole].reshape(-1, block, updates.shape[1]).sum(axis=1)


def _require_even_start(own, counted, late, period):
    """ValueError if the step count keeps the start, over windows [k, 2k), from being like later steps.

    A bias correction brings the mean updates of the start, ``own``, nearer to ``late`` than they are without it, in
    ``counted``; a warm-up takes them away.
    """
    begin = max(SETTLED, period)
    while begin < own.size:
        window = slice(begin, 2 * begin)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio, without = (np.mean(run[window]) / np.mean(late[window]) for run in (own, counted))
            apart, apart_without = (abs(np.log(r)) if r > 0 else np.inf for r in (ratio, without))
        if apart > LARGEST_CHANGE and not apart <= apart_without + LARGEST_CHANGE:
            _refuse_schedule(f"updates around step {begin} are {ratio:.3g} times later ones")
        begin *= 2


def _refuse_schedule(what):
    raise ValueError(
        f"transform must not change with the step count, but {what}: schedules, warm-ups and decays belong in lr=, "
        "a function of t = steps / d (lr=lambda t: schedule(t * d)); take them out of the transformation"
    )


def _is_counter(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.integer) and jnp.shape(leaf) == ()


def _like(new, old):
    return jnp.asarray(new, jnp.result_type(old))


def _set_counters(state, advancing, count):
    leaves, structure = jax.tree.flatten(state)
    for index in advancing:
        dtype = jnp.result_type(leaves[index])
        leaves[index] = jnp.minimum(count, jnp.iinfo(dtype).max // 2).astype(dtype)
    return jax.tree.unflatten(structure, leaves)


@jit
def _integers(transform, gradients: Float[Array, "T 1"]):
    """The scalar integers of the state after each step, (T, k)."""
    update = keep_types(transform).update

    def step(state, gradient):
        _, state = update(gradient, state, jnp.zeros(1))
        counters = [leaf.astype(jnp.int64) for leaf in jax.tree.leaves(state) if _is_counter(leaf)]
        return state, jnp.stack(counters) if counters else jnp.zeros(0, jnp.int64)

    return jax.lax.scan(step, transform.init(jnp.zeros(1)), gradients)[1]


@jit
def _under_counts(rule, advancing, counts, before, after):
    """The updates of one state, reached by the gradients ``before``, under each of ``counts``: (c, period, n)."""
    params = jnp.zeros(before.shape[1])

    def step(state, gradient):
        direction, state = rule.update(gradient, state, params)
        return state, direction

    state, _ = jax.lax.scan(step, rule.init(params), before)
    return jax.lax.map(lambda count: jax.lax.scan(step, _set_counters(state, advancing, count), after)[1], counts)
