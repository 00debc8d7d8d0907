"""The risk ODE (theory: sections 1-3)."""

from dataclasses import replace

import jax
import numpy as np

from sdelimit.limits.law import without_memory
from sdelimit.limits.single_index.spread import knows_spread
from sdelimit.ode.alignment import check_alignment, with_alignment
from sdelimit.ode.bands import Spread
from sdelimit.ode.limit_curve import is_too_long, solve_limit, solve_step_by_step
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.regression import Regression
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.trust import with_drift_error
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

    for the mean and the covariance of delta: O(d) a step for diagonal K, one d x d product otherwise up to d = 64, and
    beyond (or over long horizons) products with vectors only, in modes without covariances between them (less than 1%
    of the risk, 2% where fluctuations carry all of it), by an exponential integrator too: some 60 steps whatever the
    horizon. SGD's mean step is linear in delta always; there its
    steps of finite length along dominant directions are what counts, and its mean risk is computed step by step
    (section 15). SGD with momentum has a second number in each mode (section 16); a memory of few steps that it would
    take many more to follow is left out where that costs less than 0.1%.

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
            estimated to be more than 1% off, if K is diagonal or d <= 5000; the result says so in ``.aligned``, and the
            estimate is in ``.drift_error``.
        finite_d: for SGD, its momentum forms and DANA, the mean risk after each step of finite size instead of the
            limit: exact at every d for Gaussian features. One learning rate at a time, in t_max d steps; those of plain
            SGD at a constant rate beyond 8192 by an integrator, to 1e-4 of the risk.

    Returns:
        A ``RiskCurve``. A risk that grows beyond all bounds is reported in ``.status`` and
        ``.diverged_at`` and by a ``DivergenceWarning``; the curve is infinite from there on. All warnings are
        also in ``.warnings``. ``.std`` and ``.quantile(q)`` are those of the risk of single runs, computed when asked
        for.

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
    problem = check_problem(problem, Regression)
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    rtol, save_modes = check_rtol(rtol), check.flag("save_modes", save_modes, optional=True)
    aligned, finite_d = check.flag("aligned", aligned, optional=True), check.flag("finite_d", finite_d)
    with jax.ensure_compile_time_eval():
        limit = optimizer.limit(problem, batch_size)
    rate = LearningRate.of(lr)
    doubts = *rate.doubts(times[-1], problem.d), *optimizer.doubts(times[-1], problem.d)
    given = {"batch_size": batch_size, "rtol": rtol, "atol": atol, "save_modes": save_modes}
    if finite_d:
        _require_linear(optimizer, limit, aligned)
        curve = solve_step_by_step(problem, optimizer, limit, rate.require_concrete("finite_d=True"), times, save_modes)
        return with_limit_warnings(replace(with_drift_error(curve, limit), warnings=doubts), limit)
    check_alignment(optimizer, limit, aligned)
    # Where features are correlated the memory is part of the response: the law of averages need not be followed there.
    first = without_memory(limit) if aligned is not False and is_too_long(problem, limit, rate, times) else limit
    curve = solve_limit(problem, optimizer, first, rate, times, **given)
    if rate.traced:
        if aligned:
            raise TypeError("aligned must be None or False where JAX traces lr, got True")
        return curve
    curve, _ = with_alignment(curve, limit, rate, aligned, given)
    if first is not limit and not np.all(curve.aligned | np.isfinite(curve.diverged_at)):
        curve, _ = with_alignment(
            solve_limit(problem, optimizer, limit, rate, times, **given), limit, rate, aligned, given
        )
    if not limit.reads_overlaps or knows_spread(limit.undecayed):
        curve = replace(curve, spread=Spread(problem, optimizer, limit, rate, times, rtol, atol))
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


def check_rtol(rtol) -> float:
    """``rtol`` if it is a number in (0, 1); otherwise a TypeError or ValueError."""
    rtol = check.real("rtol", rtol, positive=True)
    if rtol >= 1:
        raise ValueError(f"rtol must be < 1, got {rtol:g}")
    return rtol
