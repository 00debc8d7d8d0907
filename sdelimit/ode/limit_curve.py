"""The risk curve of one law on one problem, by the ODE or step by step (theory: sections 1-3, 15 and 16)."""

from dataclasses import replace
from functools import partial

import numpy as np

from sdelimit.limits.law import operators_of
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import is_traced, x64
from sdelimit.ode.aligned import aligned_system, slopes
from sdelimit.ode.differentiate import as_jax_operation
from sdelimit.ode.equations import risk_system
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.ode.recursion import solve_recursion
from sdelimit.results.curves import RiskCurve, overlaps_of
from sdelimit.schedules import LearningRate

MOST_SAVED = 2**22
MOST_MODES = 2**10


def solve_limit(
    problem,
    optimizer,
    limit,
    lr: LearningRate,
    times,
    *,
    batch_size=1,
    rtol=1e-6,
    atol=None,
    save_modes=None,
    response=None,
) -> RiskCurve:
    """``solve_ode`` for the ``limit`` of ``optimizer`` on ``problem``, without its checks and its warnings.

    For callers that need the limit themselves, so that the optimizer is asked for it once; ``times`` from
    ``time_grid``. A divergence is named in ``.status``; ``with_limit_warnings`` adds warnings. With the ``response`` of
    the rule, features may be correlated with the residual.
    """
    scan = lr.scan(times)
    if limit.reads_overlaps and lr.traced:
        raise TypeError(f"lr must not be traced by JAX on a {type(problem).__name__}, got a traced one")
    if response is None:
        system = risk_system(problem, limit, times, rtol, atol, scan.eta)
    else:
        system = aligned_system(problem, operators_of(problem, limit).law, response, times, rtol, atol, scan.eta)
    decay = system.decay
    if save_modes is None:
        save_modes = times.size * decay.size * (lr.count or 1) <= MOST_SAVED
    if not save_modes and decay.size > MOST_MODES:
        system = system.with_few_modes(problem)
    solve, own = partial(_solve, lr=lr, system=system, save_modes=save_modes), optimizer.scans(times)
    if lr.traced:
        out = as_jax_operation(solve, lr.schedule, lambda schedule: _stepping_of(lr, schedule, scan, own, times))
        return _curve(out, times, decay, problem, optimizer, batch_size, np.inf, "not checked: traced by JAX")
    aligned = response is not None if lr.count is None else np.full(lr.count, response is not None)
    out = solve(lr.schedule, Stepping.along(scan, *own))
    if limit.reads_overlaps:
        wider = limit.widened(_distance(out["overlaps"][..., 0]))
        if wider is not limit and not np.any(out["blown_up"]):
            given = {"batch_size": batch_size, "rtol": rtol, "atol": atol, "save_modes": save_modes}
            return solve_limit(problem, optimizer, wider, lr, times, **given)
        out |= _risks(problem, times, out)
    if np.any(out["blown_up"]):  # the solver saved nothing from there on
        out["lr"] = lr.at(times)
    diverged_at, status = _report(out, times[-1], lr, optimizer)
    if response is not None and not problem.covariance.is_diagonal:
        out["slope"] = slopes(times, out["risk"])
    return replace(_curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status), aligned=aligned)


def solve_step_by_step(problem, optimizer, limit, lr, times, save_modes) -> RiskCurve:
    """The mean risk of a rule that is linear in the gradient by its recursion, for one or several learning rates."""
    current, law = modes(problem, limit), operators_of(problem, limit).law
    if save_modes is None:
        save_modes = times.size * current.decay.size * (lr.count or 1) <= MOST_SAVED
    rates = [lr] if lr.count is None else [LearningRate.of(float(value)) for value in lr.at(times[:1])[:, 0]]
    given = current, law, float(problem.noise.second_moment), problem.d, times
    outs = [solve_recursion(*given, rate, save_modes) for rate in rates]
    out = outs[0] if lr.count is None else {name: np.stack([one[name] for one in outs]) for name in outs[0]}
    diverged_at, status = _report(out, times[-1], lr, optimizer)
    found = _curve(out, times, current.decay, problem, optimizer, limit.gradient_batch, diverged_at, status)
    return replace(found, aligned=True if lr.count is None else np.ones(lr.count, bool))


def _stepping_of(lr, schedule, scan, own, times):
    """Where steps must end with the numbers that a traced ``lr`` has in ``schedule``; None while they are not known."""
    if schedule is None or scan.is_constant:
        return Stepping.along(scan, *own)
    try:
        return Stepping.along(replace(lr, schedule=schedule, traced=False).scan(times), *own)
    except ValueError:  # a rate that is negative or not finite: traced rates are not checked
        return Stepping.along(scan, *own)


def _solve(schedule, stepping, *, lr, system, save_modes):
    """Curves in float64 from concrete inputs; ``schedule`` is that of ``lr``, perhaps with other numbers."""
    with x64():
        return integrate(replace(lr, schedule=schedule), system, stepping, save_modes)


def _report(out, horizon, lr, optimizer):
    """(diverged_at, status) from a finished solve; raises if it stopped short."""
    statuses, times = [], []
    ends = (np.atleast_1d(out[k]) for k in ("finished", "blown_up", "end_time", "end_risk"))
    for i, (finished, blown_up, t, risk) in enumerate(zip(*ends, strict=True)):
        if finished:
            statuses.append("ok")
            times.append(np.inf)
        elif blown_up:
            start = np.ravel(lr.initial)[i]
            statuses.append(f"diverged at t = {t:.4g}: risk {risk:.3g} (lr {start:g} at t = 0)")
            times.append(float(t))
        else:
            raise RuntimeError(
                f"solve_ode({optimizer.name}) took {MAX_STEPS} steps and reached only t = {t:.4g} of "
                f"{horizon:g} (risk {risk:.4g}); a larger rtol, a smaller lr or a shorter horizon needs fewer"
            )
    return (np.array(times), tuple(statuses)) if lr.count is not None else (times[0], statuses[0])


def largest_distance(curve) -> float:
    """The largest sd(u - u*) along a curve with overlaps."""
    B11, B12, B22 = np.moveaxis(curve.overlaps, -1, 0)
    return _distance(B11 - 2 * B12 + B22)


def _distance(S2):
    return float(np.sqrt(np.max(S2, where=np.isfinite(S2), initial=0.0)))


def _risks(problem, times, out):
    """The problem's own risk along curves of overlaps, and its slope."""
    S2, X = np.moveaxis(out["overlaps"], -1, 0)
    risk = problem.risk_of(S2, X)
    return {"risk": risk, "slope": slopes(times, risk), "overlaps": overlaps_of(problem, S2, X)}


def _largest(values):
    """The largest finite value along each curve, a number for one."""
    if is_traced(values):
        return 0.0
    worst = np.max(np.where(np.isfinite(values), values, 0.0), axis=-1)
    return worst if worst.ndim else float(worst)


def _curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status):
    return RiskCurve(
        t=times,
        risk=out["risk"],
        modes=out["modes"] if out["modes"].ndim == out["risk"].ndim + 1 else None,
        decay=decay,
        lr=out["lr"],
        phi=out["phi"],
        slope=out["slope"],
        overlaps=out.get("overlaps"),
        saturation=_largest(out["saturation"]) if "saturation" in out else 0.0,
        diverged_at=diverged_at,
        status=status,
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
    )
