"""The loop of ``simulate`` over chunks of steps, shared by its paths."""

from functools import partial

import numpy as np

from sdelimit.numerics.integers import ceil_div
from sdelimit.simulation.checkpoint import NoCheckpoint
from sdelimit.simulation.run_plan import Experiment
from sdelimit.simulation.sharding import RunSharding
from sdelimit.support.progress import progress_bar

BLOCK_BYTES = 2 * 2**20
"""Samples drawn at once: few enough to stay in cache, many enough rows for an efficient matrix product."""
MAX_BLOCK = 32
GROUP_BYTES = 4 * 2**20
"""Samples of one step. On CPU, runs that need more go through all steps one group after another, to stay in cache."""


def run(path, e: Experiment, sharding: RunSharding, saved: NoCheckpoint):
    """For each optimizer the risk and, if asked, u' K u and |u|^2 at the recorded steps: (m or nothing, n_runs, n).

    ``path`` has ``start`` and ``chunk``: the modules ``simulation.scan`` or ``simulation.fused``.
    """
    bytes_per_run = e.batch_size * e.problem.d * np.dtype(e.dtype).itemsize
    groups = sharding.groups(GROUP_BYTES // bytes_per_run if sharding.device.platform == "cpu" else sharding.rows)
    block = min(block_length(groups[0].rows_per_device * bytes_per_run), e.chunk_steps)
    length = ceil_div(e.chunk_steps, block) * block
    streams, states = zip(*(path.start(e, group, block) for group in groups), strict=True)
    first, states, collected = saved.resume(states, [[] for _ in e.optimizers])
    with progress_bar(e.progress, e.slots - 1, "step", initial=min(first, e.slots - 1), leave=False) as bar:
        for start in range(first, e.slots, length):
            advance = partial(path.chunk, e, start, length, block)
            states, parts = zip(*map(advance, groups, streams, states), strict=True)
            for chunks, values in zip(collected, zip(*parts, strict=True), strict=True):
                chunks.append([np.concatenate(own, axis=1) for own in zip(*values, strict=True)])
            saved.keep(start + length, states, collected, last=start + length >= e.slots)
            bar.update(min(length, e.slots - 1 - start))
    return [
        tuple(_runs_first(parts, eta.ndim) for parts in zip(*chunks, strict=True))
        for chunks, eta in zip(collected, e.etas, strict=True)
    ]


def block_length(bytes_per_step: int) -> int:
    """Steps whose samples are drawn at once."""
    return int(np.clip(BLOCK_BYTES // bytes_per_step, 1, MAX_BLOCK))


def _runs_first(parts, ndim):
    """Chunks of (steps, n_runs, m) as one float64 array (m, n_runs, n), without m for a single learning rate."""
    joined = np.concatenate(parts).T.astype(np.float64, order="C")
    return joined if ndim == 2 else joined[0]
