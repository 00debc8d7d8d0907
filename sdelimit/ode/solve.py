"""The risk ODE (theory: sections 1-3)."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np

from sdelimit.numerics.precision import x64
from sdelimit.ode.differentiate import as_jax_operation
from sdelimit.ode.equations import risk_system
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import RiskCurve, with_limit_warnings
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
) -> RiskCurve:
    """The deterministic limit of the risk when d is large.

    Solves, in the modes w of theory section 3 and with R = 1/2 sum_i lambda_i E[w_i^2],

        d E[w_i^2]/dt = -2 eta phi(R) lambda_i E[w_i^2] + (eta^2/d) sum_q psi_q(R) c_qi

    in float64 and adaptive steps: Tsitouras 5(4), or where the fastest mode would keep its steps short (more than 100
    of them) an exponential integrator that takes the decay exp(-2 lambda_i int eta phi) exactly and pays for changes
    of R only. Without ``save_modes``, more than 1024 modes are compressed to a few hundred (280 for a condition
    number of 10^6, 560 for 10^12), which moves the risk by at most 1e-10 of its initial value and 1.3e-10 of itself.

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

    Returns:
        A ``RiskCurve``. A risk that grows beyond all bounds is reported in ``.status`` and
        ``.diverged_at`` and by a ``DivergenceWarning``; the curve is infinite from there on. All warnings are
        also in ``.warnings``.

    Differentiable in reverse mode with respect to ``lr``: inside ``jax.grad`` or ``jax.jit`` the arrays of
    the result are JAX arrays of the surrounding precision, while the solve itself stays in float64.

    Raises:
        TypeError, ValueError: naming the argument; in particular for SGD with infinite-variance noise and
            for a coordinate of zero variance under a rule with M = D^-1.
        RuntimeError: if the step limit is reached, with the time reached.

    Warns:
        DivergenceWarning: if the risk leaves all bounds. LimitWarning: if the limit is not to be relied on: for a
            momentum or a denominator too long for d, a start unlike later steps, a batch comparable to d, an lr beyond
            the edge of stability, label noise without the moment that it needs, or coefficients sampled too crudely.

    Source: arXiv:2411.12135 (signSGD), arXiv:2308.08977 (SGD).
    """
    problem = check_problem(problem)
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    rtol, save_modes = check_rtol(rtol), check.flag("save_modes", save_modes, optional=True)
    with jax.ensure_compile_time_eval():
        limit = optimizer.limit(problem, batch_size)
    rate = LearningRate.of(lr)
    curve = solve_limit(
        problem, optimizer, limit, rate, times, batch_size=batch_size, rtol=rtol, atol=atol, save_modes=save_modes
    )
    return curve if rate.traced else with_limit_warnings(curve, limit)


def check_rtol(rtol) -> float:
    """``rtol`` if it is a number in (0, 1); otherwise a TypeError or ValueError."""
    rtol = check.real("rtol", rtol, positive=True)
    if rtol >= 1:
        raise ValueError(f"rtol must be < 1, got {rtol:g}")
    return rtol


def solve_limit(
    problem, optimizer, limit, lr: LearningRate, times, *, batch_size=1, rtol=1e-6, atol=None, save_modes=None
) -> RiskCurve:
    """``solve_ode`` for the ``limit`` of ``optimizer`` on ``problem``, without its checks and its warnings.

    For callers that need the limit themselves, so that the optimizer is asked for it once; ``times`` from
    ``time_grid``. A divergence is named in ``.status``; ``with_limit_warnings`` adds warnings.
    """
    scan = lr.scan(times)
    system = risk_system(problem, limit, times, rtol, atol, scan.eta)
    decay = system.decay
    if save_modes is None:
        save_modes = times.size * decay.size * (lr.count or 1) <= MOST_SAVED
    if not save_modes and decay.size > MOST_MODES:
        system = system.with_few_modes(problem)
    solve = partial(_solve, lr=lr, system=system, stepping=Stepping.along(scan), save_modes=save_modes)
    if lr.traced:
        out = as_jax_operation(solve, lr.schedule)
        return _curve(out, times, decay, problem, optimizer, batch_size, np.inf, "not checked: traced by JAX")
    out = solve(lr.schedule)
    if np.any(out["blown_up"]):  # the solver saved nothing from there on
        out["lr"] = lr.at(times)
    diverged_at, status = _report(out, system, lr, optimizer)
    return _curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status)


MOST_SAVED = 2**22
MOST_MODES = 2**10


def _solve(schedule, *, lr, system, stepping, save_modes):
    """Curves in float64 from concrete inputs; ``schedule`` is that of ``lr``, perhaps with other numbers."""
    with x64():
        return integrate(replace(lr, schedule=schedule), system, stepping, save_modes)


def _report(out, system, lr, optimizer):
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
                f"{system.times[-1]:g} (risk {risk:.4g}); a larger rtol, a smaller lr or a shorter horizon needs fewer"
            )
    return (np.array(times), tuple(statuses)) if lr.count is not None else (times[0], statuses[0])


def _curve(out, times, decay, problem, optimizer, batch_size, diverged_at, status):
    return RiskCurve(
        t=times,
        risk=out["risk"],
        modes=out["modes"] if out["modes"].ndim == out["risk"].ndim + 1 else None,
        decay=decay,
        lr=out["lr"],
        phi=out["phi"],
        slope=out["slope"],
        diverged_at=diverged_at,
        status=status,
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
    )
