"""The learning rate along a solve: looked at before solving, and where steps must end because of it."""

import numpy as np

from sdelimit.numerics.precision import is_traced
from sdelimit.ode.integrate import BREAKS, Stepping
from sdelimit.schedules import Constant, evaluate

SCAN = 4096
"""Points at which a learning rate that changes is looked at before solving."""


def learning_rates(schedule, batched, times):
    """eta on a fine grid of [0, times[-1]], checked, and how to step along it."""
    if isinstance(schedule, Constant):
        value = schedule.value
        return value if is_traced(value) or batched else np.array([float(value)]), Stepping(None, None)
    grid = np.unique(np.concatenate([np.linspace(0.0, times[-1], SCAN), times]))
    eta = evaluate(schedule, grid)
    longest = times[-1] / 100
    if is_traced(eta):
        return eta, Stepping(longest, None)
    # A jump between two grid points: steps end on both sides of it.
    jumps = np.flatnonzero(np.abs(np.diff(eta)) > 0.02 * max(eta.max(), 1e-300))
    if jumps.size > BREAKS // 2:
        return eta, Stepping(times[-1] / SCAN, None)
    if not jumps.size:
        return eta, Stepping(longest, None)
    edges = np.unique(np.concatenate([grid[jumps], grid[jumps + 1]]))
    return eta, Stepping(longest, np.concatenate([edges, np.full(BREAKS - edges.size, np.inf)]))


def _rates(schedule, batched, times):
    """eta at ``times``, (n,) or (m, n)."""
    if batched:
        return np.repeat(np.asarray(schedule.value, np.float64)[:, None], times.size, axis=1)
    return evaluate(schedule, times)
