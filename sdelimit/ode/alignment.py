"""Whether features are correlated with the residual along a curve, and the curve then (theory: section 15)."""

from dataclasses import replace

import numpy as np

from sdelimit.limits.law import check_law
from sdelimit.ode.limit_curve import solve_limit, solve_step_by_step
from sdelimit.results.trust import LARGEST_DRIFT_ERROR, with_drift_error
from sdelimit.schedules import LearningRate

LARGEST_ALIGNED = 5000
"""Largest d at which the eigenvectors of K are computed for it without being asked for."""
MARGIN = 4.0
"""Responses are tabulated from the smallest risk of the linear law over this to its largest times this."""


def check_alignment(optimizer, limit, aligned) -> None:
    """Before anything is solved: ValueError if ``aligned`` is True and the rule has no response to correlated features.

    A rule that does not normalize each coordinate by its standard deviation has none. TypeError if ``limit`` is no law.
    """
    check_law(limit)
    known = limit.gradient_batch is not None or limit.response_remembers or limit.without_memory.power == 1
    if aligned and not known:
        raise _no_response(optimizer)


def _no_response(optimizer) -> ValueError:
    return ValueError(
        f"aligned must be None or False for {optimizer.name}, whose response to features that are "
        "correlated with the residual is not known, got True"
    )


def with_alignment(curve, limit, lr, aligned, given):
    """(curve, (law, response)): solved with correlated features for the learning rates that need it, or (curve, None).

    The law is that of a short memory; what the rule remembers is part of its response, where it is known.
    """
    curve = with_drift_error(curve, limit)
    if aligned is False:
        return curve, None
    problem, diverged = curve.problem, np.isfinite(curve.diverged_at)
    needed = np.atleast_1d((aligned or curve.drift_error > LARGEST_DRIFT_ERROR) & ~diverged)
    if not needed.any():
        return curve, None
    chosen = lr if lr.count is None else LearningRate.of(np.atleast_2d(curve.lr)[needed, 0])
    answering = None
    if limit.gradient_batch is not None:
        kept = curve.modes is not None if given["save_modes"] is None else given["save_modes"]
        new = solve_step_by_step(problem, curve.optimizer, limit, chosen, curve.t, kept)
    elif aligned or problem.covariance.is_diagonal or problem.d <= LARGEST_ALIGNED:
        risks = curve.risk[(curve.risk > 0) & np.isfinite(curve.risk)]
        law, response = limit.with_response((risks.min() / MARGIN, risks.max() * MARGIN))
        if response is None and aligned:
            raise _no_response(curve.optimizer)
        if response is None:
            return curve, None
        answering = law, response
        new = solve_limit(problem, curve.optimizer, law, chosen, curve.t, response=response, **given)
    else:
        return curve, None
    if lr.count is not None:
        return _merge(curve, new, needed), answering
    return replace(new, drift_error=curve.drift_error), answering


def _merge(curve, new, rows):
    """``curve`` with the learning rates ``rows`` taken from ``new``."""
    arrays = {name: np.array(getattr(curve, name)) for name in ("risk", "lr", "phi", "slope", "diverged_at")}
    arrays |= {name: np.full(rows.size, getattr(curve, name)) for name in ("saturation", "fluctuation")}
    for name, value in arrays.items():
        value[rows] = getattr(new, name)
    statuses = np.array(curve.status, dtype=object)
    statuses[rows] = new.status
    modes = None
    if curve.modes is not None and new.modes is not None:
        modes = np.array(curve.modes)
        modes[rows] = new.modes
    return replace(curve, **arrays, modes=modes, status=tuple(statuses), aligned=rows)
