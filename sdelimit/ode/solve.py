"""The risk ODE (theory: sections 1-3)."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np

from sdelimit.limits.law import operators_of
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import is_traced, x64
from sdelimit.ode.aligned import aligned_system, slopes
from sdelimit.ode.differentiate import as_jax_operation
from sdelimit.ode.equations import risk_system
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.ode.recursion import solve_recursion
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.trust import LARGEST_DRIFT_ERROR, with_drift_error
from sdelimit.schedules import LearningRate
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid


def solve_ode(
    problem: LinearRegression,
    optimizer: Optimizer,
    lr,
    t_max=None,
    *,
    t=None,
    batch_size: int = 1,
    rtol: float = 1e-6,
    atol: float | None = None,
    save_modes: bool | None = None,
    aligned: bool | None = None,
    finite_d: bool = False,
) -> RiskCurve:
    """The deterministic limit of the risk when d is large.

    Solves, in the modes w of theory section 3 and with R = 1/2 sum_i lambda_i E[w_i^2],

        d E[w_i^2]/dt = -2 eta phi(R) lambda_i E[w_i^2] + (eta^2/d) sum_q psi_q(R) c_qi

    in float64 and adaptive steps: Tsitouras 5(4), or where the fastest mode would keep its steps short (more than 100
    of them) an exponential integrator that takes the decay exp(-2 lambda_i int eta phi) exactly and pays for changes
    of R only. Without ``save_modes``, more than 1024 modes are compressed to a few hundred (280 for a condition
    number of 10^6, 560 for 10^12), which moves the risk by at most 1e-10 of its initial value and 1.3e-10 of itself.

    That law takes features to be nearly uncorrelated with the residual, as for dense targets. For sparse targets, or
    covariances with few dominant directions, a scale-free rule's mean step is a function G of the correlations
    r_i = (K delta)_i / (sigma_i sqrt(2R)) instead (theory: section 15),

        dm/dt = -eta E G(r),    dV/dt = -eta (A V + V A') + (eta^2/d) N,    R = (m'Km + tr KV)/2,

    for the mean and the covariance of delta: O(d) a step for diagonal K, one d x d product otherwise. SGD's mean step
    is linear in delta always; there its steps of finite length along dominant directions are what counts, and its mean
    risk is computed step by step (section 15). SGD with momentum has a second number in each mode (section 16); a
    memory of few steps that it would take many more to follow is left out where that costs less than 0.1%.

    Args:
        problem: the regression problem.
        optimizer: the rule, for example ``sl.sign_sgd()``.
        lr: eta; a step moves theta by eta/d. A number, a JAX-traceable function of t, or a (m,) array of
            numbers solved together.
        t_max: horizon, in t = steps/d.
        t: times to evaluate at; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step.
        rtol: relative tolerance of each step, in the root mean square over modes.
        atol: absolute tolerance on the risk; default 1e-10 times the initial risk or what noise adds to it in unit
            time, whichever is larger.
        save_modes: keep the (n, d) mode energies in the result; default while they are at most 2^22 numbers.
        aligned: whether features may be correlated with the residual. Default: where the linear drift of the risk is
            estimated to be more than 1% off, if K is diagonal or d <= 2048; the result says so in ``.aligned``, and the
            estimate is in ``.drift_error``.
        finite_d: for SGD, its momentum forms and DANA, the mean risk after each step of finite size instead of the
            limit: exact at every d for Gaussian features. One learning rate at a time, in t_max d steps.

    Returns:
        A ``RiskCurve``. A risk that grows beyond all bounds is reported in ``.status`` and
        ``.diverged_at`` and by a ``DivergenceWarning``; the curve is infinite from there on. All warnings are
        also in ``.warnings``.

    Differentiable in reverse mode with respect to ``lr``, by the law without correlations: inside ``jax.grad`` or
    ``jax.jit`` the arrays of the result are JAX arrays of the surrounding precision, while the solve itself stays in
    float64.

    Raises:
        TypeError, ValueError: naming the argument; in particular for SGD with infinite-variance noise and
            for a coordinate of zero variance under a rule with M = D^-1.
        RuntimeError: if the step limit is reached, with the time reached.

    Warns:
        DivergenceWarning: if the risk leaves all bounds. LimitWarning: if the limit is not to be relied on: for a
            momentum or a denominator too long for d, a start unlike later steps, a batch comparable to d, an lr beyond
            the edge of stability, label noise without the moment that it needs, features correlated with the residual
            where ``aligned`` is not used, coefficients sampled too crudely, an lr that seems to count steps, or a
            horizon beyond the last of a data set's rows.

    Source: arXiv:2411.12135 (signSGD), arXiv:2308.08977 (SGD).
    """
    problem = check_problem(problem)
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    rtol, save_modes = check_rtol(rtol), check.flag("save_modes", save_modes, optional=True)
    aligned, finite_d = check.flag("aligned", aligned, optional=True), check.flag("finite_d", finite_d)
    with jax.ensure_compile_time_eval():
        limit = optimizer.limit(problem, batch_size)
    rate = LearningRate.of(lr)
    doubts = *rate.require_times(times[-1], problem.d), *optimizer.doubts(times[-1], problem.d)
    given = {"batch_size": batch_size, "rtol": rtol, "atol": atol, "save_modes": save_modes}
    if finite_d:
        _require_linear(optimizer, limit, aligned)
        curve = solve_step_by_step(problem, optimizer, limit, rate.require_concrete("finite_d=True"), times, save_modes)
        return with_limit_warnings(replace(with_drift_error(curve, limit), warnings=doubts), limit)
    curve = solve_limit(problem, optimizer, limit, rate, times, **given)
    if rate.traced:
        if aligned:
            raise TypeError("aligned must be None or False where JAX traces lr, got True")
        return curve
    curve, _ = with_alignment(curve, limit, rate, aligned, given)
    return with_limit_warnings(replace(curve, warnings=doubts), limit)


def _require_linear(optimizer, limit, aligned):
    """ValueError unless the mean risk of ``optimizer`` has a recursion."""
    if limit.gradient_batch is None:
        raise ValueError(
            f"finite_d must be False for {optimizer.name}: only if a rule is linear in the gradient (sgd, with "
            "momentum too, and dana) do its second moments after a step follow from those before it"
        )
    if aligned is False:
        raise ValueError(
            "aligned must be None or True with finite_d=True, which takes correlated features into account"
        )


def with_alignment(curve, limit, lr, aligned, given):
    """(curve, response): solved with correlated features for the learning rates that need it, all, or none (None).

    The law of correlated features takes memories to be short.
    """
    curve = with_drift_error(curve, limit)
    if aligned is False:
        return curve, None
    problem, diverged = curve.problem, np.isfinite(curve.diverged_at)
    needed = np.atleast_1d((aligned or curve.drift_error > LARGEST_DRIFT_ERROR) & ~diverged)
    if not needed.any():
        return curve, None
    chosen = lr if lr.count is None else LearningRate.of(np.atleast_2d(curve.lr)[needed, 0])
    response, limit = None, limit.without_memory
    if limit.gradient_batch is not None:
        kept = curve.modes is not None if given["save_modes"] is None else given["save_modes"]
        new = solve_step_by_step(problem, curve.optimizer, limit, chosen, curve.t, kept)
    elif aligned or problem.covariance.is_diagonal or problem.d <= LARGEST_ALIGNED:
        risks = curve.risk[(curve.risk > 0) & np.isfinite(curve.risk)]
        known = limit.power == 1 and limit.responds
        response = limit.response((risks.min() / MARGIN, risks.max() * MARGIN)) if known else None
        if response is None and aligned:
            raise ValueError(
                f"aligned must be None or False for {curve.optimizer.name}, whose response to features that are "
                "correlated with the residual is not known, got True"
            )
        if response is None:
            return curve, None
        new = solve_limit(problem, curve.optimizer, limit, chosen, curve.t, response=response, **given)
    else:
        return curve, None
    if lr.count is not None:
        return _merge(curve, new, needed), response
    return replace(new, drift_error=curve.drift_error), response


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


def _merge(curve, new, rows):
    """``curve`` with the learning rates ``rows`` taken from ``new``."""
    arrays = {name: np.array(getattr(curve, name)) for name in ("risk", "lr", "phi", "slope", "diverged_at")}
    arrays["saturation"] = np.full(rows.size, curve.saturation)
    for name, value in arrays.items():
        value[rows] = getattr(new, name)
    statuses = np.array(curve.status, dtype=object)
    statuses[rows] = new.status
    modes = None
    if curve.modes is not None and new.modes is not None:
        modes = np.array(curve.modes)
        modes[rows] = new.modes
    return replace(curve, **arrays, modes=modes, status=tuple(statuses), aligned=rows)


def check_rtol(rtol) -> float:
    """``rtol`` if it is a number in (0, 1); otherwise a TypeError or ValueError."""
    rtol = check.real("rtol", rtol, positive=True)
    if rtol >= 1:
        raise ValueError(f"rtol must be < 1, got {rtol:g}")
    return rtol


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
    if response is None:
        system = risk_system(problem, limit, times, rtol, atol, scan.eta)
    else:
        system = aligned_system(problem, operators_of(problem, limit).law, response, times, rtol, atol, scan.eta)
    decay = system.decay
    if save_modes is None:
        save_modes = times.size * decay.size * (lr.count or 1) <= MOST_SAVED
    if not save_modes and decay.size > MOST_MODES:
        system = system.with_few_modes(problem)
    solve = partial(
        _solve, lr=lr, system=system, stepping=Stepping.along(scan, *optimizer.scans(times)), save_modes=save_modes
    )
    if lr.traced:
        out = as_jax_operation(solve, lr.schedule)
        return _curve(out, times, decay, problem, optimizer, batch_size, np.inf, "not checked: traced by JAX")
    aligned = response is not None if lr.count is None else np.full(lr.count, response is not None)
    out = solve(lr.schedule)
    if np.any(out["blown_up"]):  # the solver saved nothing from there on
        out["lr"] = lr.at(times)
    diverged_at, status = _report(out, times[-1], lr, optimizer)
    if response is not None and not problem.covariance.is_diagonal:
        out["slope"] = slopes(times, out["risk"])
    return replace(_curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status), aligned=aligned)


MOST_SAVED = 2**22
MOST_MODES = 2**10
LARGEST_ALIGNED = 2048
"""Largest d at which products of d x d matrices are taken without being asked for."""
MARGIN = 4.0
"""Responses are tabulated from the smallest risk of the linear law over this to its largest times this."""


def _solve(schedule, *, lr, system, stepping, save_modes):
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
        saturation=_largest(out["saturation"]) if "saturation" in out else 0.0,
        diverged_at=diverged_at,
        status=status,
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
    )
