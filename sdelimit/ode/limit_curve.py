"""The risk curve of one law on one problem, by the ODE or step by step (theory: sections 1-3, 15 and 16)."""

import warnings
from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import numpy as np

from sdelimit.limits.law import operators_of, reads_overlaps
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64, is_traced, x64
from sdelimit.ode.aligned import slopes
from sdelimit.ode.aligned_modes import closure_system
from sdelimit.ode.differentiate import as_jax_operation
from sdelimit.ode.equations import risk_system
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.ode.modes import EXPLICIT_REACH
from sdelimit.ode.recursion import solve_recursion
from sdelimit.ode.system import largest_rate
from sdelimit.results.curves import RiskCurve
from sdelimit.results.trust import LimitWarning
from sdelimit.schedules import LearningRate

MOST_SAVED = 2**22
MOST_MODES = 2**10
WIDENINGS = 12
"""Times that tables of coefficients are made to reach further, each time by a factor."""
CHECKED, TABLE_ERROR = 33, 3e-4
"""States along a curve at which rough tables are checked, and the relative error they may have."""


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
    if reads_overlaps(limit):
        given = {"batch_size": batch_size, "rtol": rtol, "atol": atol, "save_modes": save_modes}
        return _solve_overlaps(problem, optimizer, limit, lr, times, given)
    if response is None:
        system = risk_system(problem, limit, times, rtol, atol, scan.eta)
    else:
        system = closure_system(problem, operators_of(problem, limit).law, response, times, rtol, atol, scan.eta)
    decay = system.decay
    system, save_modes = _saving(problem, system, lr, save_modes)
    solve, own = partial(_solve, lr=lr, system=system, save_modes=save_modes), optimizer.scans(times)
    if lr.traced:
        out = as_jax_operation(solve, lr.schedule, lambda schedule: _stepping_of(lr, schedule, scan, own, times))
        return _curve(out, times, decay, problem, optimizer, batch_size, np.inf, "not checked: traced by JAX")
    aligned = response is not None if lr.count is None else np.full(lr.count, response is not None)
    out = solve(lr.schedule, Stepping.along(scan, *own))
    if np.any(out["blown_up"]):  # the solver saved nothing from there on
        out["lr"] = lr.at(times)
    diverged_at, status = _report(out, times[-1], lr, optimizer)
    if response is not None and not problem.covariance.is_diagonal:
        out["slope"] = slopes(times, out["risk"])
    return replace(_curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status), aligned=aligned)


def is_too_long(problem, limit, lr: LearningRate, times) -> bool:
    """Whether a memory would be followed in more steps than a solve may take, for the fastest mode's sake.

    For laws that resolve a memory; the fastest mode is taken at the initial risk and at a millionth of it.
    """
    if not limit.resolves_memory or lr.traced or limit.reads_overlaps or limit.gradient_batch is not None:
        return False
    short = limit.without_memory.undecayed
    if short.power is None or short.size > 1:
        return False
    scalars, risks = jnp.asarray(short.initial_scalars()), max(problem.initial_risk, TINY_RISK) * np.array([1.0, 1e-6])
    phi = max(float(evaluate_in_float64(lambda R: short.effective_rates(2 * R[None], scalars)[0], R)) for R in risks)
    fastest = 2 * largest_rate(lr.scan(times).eta) * phi * modes(problem, short).decay.max()
    return times[-1] * fastest > EXPLICIT_REACH * MAX_STEPS / 2


def _saving(problem, system, lr, save_modes):
    """The system, of fewer modes where they are not saved, and whether they are."""
    size = system.decay.size
    if save_modes is None:
        save_modes = system.times.size * size * (lr.count or 1) <= MOST_SAVED
    if not save_modes and size > MOST_MODES:
        system = system.with_few_modes(problem)
    return system, save_modes


def _solve_overlaps(problem, optimizer, limit, lr, times, given):
    """``solve_limit`` for laws that read two overlaps, with tables that reach and hold along the curve."""
    if lr.traced:
        raise TypeError(f"lr must not be traced by JAX on a {type(problem).__name__}, got a traced one")
    if limit.is_rough:
        limit = refined_limit(problem, optimizer, limit, lr, times, given)
    rates = [lr] if not isinstance(limit, list) else [LearningRate.of(float(v)) for v in lr.at(times[:1])[:, 0]]
    laws = limit if isinstance(limit, list) else [limit]
    outs = [_reaching(problem, optimizer, *one, times, given) for one in zip(laws, rates, strict=True)]
    if isinstance(limit, list):
        out = {name: np.stack([one[name] for one, _ in outs]) for name in outs[0][0]}
    else:
        out = outs[0][0]
    out |= _risks(problem, laws[0], times, out)
    if np.any(out["blown_up"]):
        out["lr"] = lr.at(times)
    diverged_at, status = _report(out, times[-1], lr, optimizer, "delta' K delta / 2 =")
    found = _curve(out, times, outs[0][1], problem, optimizer, given["batch_size"], diverged_at, status)
    return replace(found, aligned=False if lr.count is None else np.zeros(lr.count, bool))


def _reaching(problem, optimizer, limit, lr, times, given):
    """``_out_of_overlaps`` with tables that reach as far as the curve goes."""
    for _ in range(WIDENINGS):
        found = _out_of_overlaps(problem, optimizer, limit, lr, times, given)
        wider = limit.widened(_distance(found[0]["overlaps"][..., 0]))
        if wider is limit or np.any(found[0]["blown_up"]):
            break
        limit = wider
    return found


def _out_of_overlaps(problem, optimizer, limit, lr, times, given):
    """What ``integrate`` gives, and the decay rates of the modes."""
    scan = lr.scan(times)
    system = risk_system(problem, limit, times, given["rtol"], given["atol"], scan.eta)
    decay = system.decay
    system, save_modes = _saving(problem, system, lr, given["save_modes"])
    stepping = Stepping.along(scan, *optimizer.scans(times))
    return _solve(lr.schedule, stepping, lr=lr, system=system, save_modes=save_modes), decay


def refined_limit(problem, optimizer, limit, lr, times, given):
    """``limit`` with tables that reach as far as the curve goes, and that are right along it; a list for several lr.

    Rough tables are compared with coefficients computed without them at the states of the curve they give, and what
    they miss is added as a function of time: again and again until nothing changes, since the error of a curve is that
    of a function that the curve it came from hardly changes. LimitWarning if that does not settle.
    """
    given = {**given, "save_modes": False}
    for _ in range(0 if limit.reaches_all else WIDENINGS):
        out, _ = _out_of_overlaps(problem, optimizer, limit, lr, times, given)
        wider = limit.widened(_distance(out["overlaps"][..., 0]))
        if np.any(out["blown_up"]):
            return limit
        if wider is limit:
            break
        limit = wider
    if not limit.is_rough:
        return limit
    if lr.count is not None:
        rates = [LearningRate.of(float(value)) for value in lr.at(times[:1])[:, 0]]
        return [refined_limit(problem, optimizer, limit, one, times, given) for one in rates]
    t = times[-1] * np.linspace(0.0, 1.0, CHECKED) ** 2
    for _ in range(limit.rounds):
        out, _ = _out_of_overlaps(problem, optimizer, limit, lr, t, given)
        if np.any(out["blown_up"]):
            return limit
        better, error = limit.missed(t, *np.moveaxis(out["overlaps"], -1, 0))
        if error < TABLE_ERROR:
            return limit
        limit = better
    warnings.warn(
        f"solve_ode({optimizer.name}): coefficients tabulated for {type(problem).__name__} still change by {error:.1%} "
        f"after {limit.rounds} rounds of computing them anew along the curve",
        LimitWarning,
        stacklevel=4,
    )
    return limit


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


def _report(out, horizon, lr, optimizer, what="risk"):
    """(diverged_at, status) from a finished solve; raises if it stopped short."""
    statuses, times = [], []
    ends = (np.atleast_1d(out[k]) for k in ("finished", "blown_up", "end_time", "end_risk"))
    for i, (finished, blown_up, t, risk) in enumerate(zip(*ends, strict=True)):
        if finished:
            statuses.append("ok")
            times.append(np.inf)
        elif blown_up:
            start = np.ravel(lr.initial)[i]
            statuses.append(f"diverged at t = {t:.4g}: {what} {risk:.3g} (lr {start:g} at t = 0)")
            times.append(float(t))
        else:
            raise RuntimeError(
                f"solve_ode({optimizer.name}) took {MAX_STEPS} steps and reached only t = {t:.4g} of "
                f"{horizon:g} ({what} {risk:.4g}); a larger rtol, a smaller lr, a shorter horizon or, "
                "for rules that have it, memory='fixed' needs fewer"
            )
    return (np.array(times), tuple(statuses)) if lr.count is not None else (times[0], statuses[0])


def largest_distance(curve) -> float:
    """The largest sd(u - u*) along a curve with overlaps."""
    B11, B12, B22 = np.moveaxis(curve.overlaps, -1, 0)
    return _distance(B11 - 2 * B12 + B22)


def _distance(S2):
    return float(np.sqrt(np.max(S2, where=np.isfinite(S2), initial=0.0)))


def _risks(problem, law, times, out):
    """The problem's own risk along curves of overlaps, and its slope."""
    risk, overlaps = problem.observed(law.known_overlaps(out["overlaps"]))
    return {"risk": risk, "slope": slopes(times, risk), "overlaps": overlaps}


def _residual(problem, risk):
    """P = R + E[eps^2] / 2, positive."""
    return np.maximum(risk + problem.noise.second_moment / 2, TINY_RISK**0.5)


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
        fluctuation=_largest(out["variance"] / _residual(problem, out["risk"]) ** 2) if "variance" in out else 0.0,
        diverged_at=diverged_at,
        status=status,
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
    )
