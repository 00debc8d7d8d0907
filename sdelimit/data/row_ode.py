"""The risk curve on given data, predicted from the data."""

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from sdelimit.data import row_stepper
from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression
from sdelimit.data.row_rules import rule_on_data
from sdelimit.numerics.floors import BLOW_UP, TINY_RISK
from sdelimit.optimizers.optimizer import as_optimizer
from sdelimit.results.curves import RiskCurve
from sdelimit.results.trust import with_warnings
from sdelimit.schedules import LearningRate
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid

MAX_STEPS = 10_000
LARGEST_SHARE = 0.3
"""Fraction of the rows that a run may use without a warning."""


def solve_ode(problem, optimizer, lr, t_max=None, *, t=None, batch_size: int = 1, tolerance: float = 0.02) -> RiskCurve:
    """The mean risk of one-pass runs over the rows of ``problem``, without assuming Gaussian features.

    Where ``sl.solve_ode`` needs only K and the law of the residuals, this uses every row (x_i, eps_i): delta is taken
    as Gaussian with mean m and covariance C, and the drift and noise of the rule at N(m, C) are averages over the
    rows, with the residual of row i distributed as N(<x_i, m> - eps_i, x_i' C x_i). So features that are not Gaussian,
    residuals that depend on the features, and a K with a few dominant directions are all accounted for, as is that
    each row is used only once. For SGD the equations are exact up to O(eta/d); for signSGD and norm clipping they
    assume that the average over delta of a row's step is that of a Gaussian delta; for Adam, also that its second
    moment averages many gradients. Of the data, signSGD uses E[sign(x) sign(x)'] and the averages E[erf(.) sign(x)]
    and E[2 p(0) sign(x) x'] that become phi(R) sqrt(pi/2) E[sign(x) x'] for Gaussian residuals.

    Each row being used once makes the noise of slow modes smaller, by up to twice the fraction of the rows used so far.
    That is accounted for to first order in eta, and a ``LimitWarning`` says where it is not enough: more than 30% of
    the rows used.

    Args:
        problem: from ``sl.data.from_arrays`` or a loader of ``sl.data``.
        optimizer: ``sl.sgd()``, ``sl.sign_sgd()``, ``sl.clip_norm(C)``, or ``sl.adam(b1, b2)`` with a long memory.
        lr: eta: a number or a JAX-traceable function of t.
        t_max: horizon, in t = steps/d; at most n / (d batch_size).
        t: times to evaluate at; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step; 1 for signSGD and norm clipping.
        tolerance: largest relative change of the risk in a step that a first-order method would miss. The method is
            of second order. A step costs O(n d^2).

    Returns:
        A ``RiskCurve`` of kind "data ODE", without modes; ``compare`` and the plots take it. ``.decay`` is sigma_i^2;
        ``.phi`` is 1 for SGD, 2 sqrt(2/pi) p_l(0) for signSGD, P(|g| < C sqrt(tr K)) for norm clipping, and for Adam
        the mean over coordinates of sigma_i / sqrt(vhat_i) weighted by sigma_i^2.

    Raises:
        TypeError, ValueError: naming the argument; in particular for a rule or batch size that it does not cover and
            for more samples than the data have rows.
        RuntimeError: if the step limit is reached.

    Warns:
        DivergenceWarning: if the risk leaves all bounds. LimitWarning: if more than 30% of the rows are used, if
            there are fewer than 25 columns, or if the rows are interpolated.

    Source: for Gaussian features it is the limit of arXiv:2411.12135; the equations are in ``data/row_stepper.py``.
    """
    if not isinstance(problem, DataRegression):
        if isinstance(problem, DataLogisticRegression):
            raise TypeError("problem must be a linear model: from rows with logistic labels theory is sl.solve_ode's")
        raise TypeError(f"problem must come from sl.data, as sl.data.from_arrays(X, y), got {check.describe(problem)}")
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    tolerance = check.real("tolerance", tolerance, positive=True)
    problem.require_rows(times[-1], batch_size)
    lr = LearningRate.of(lr)
    doubts = lr.doubts(times[-1], problem.d)
    lr = lr.require_one_concrete("sl.data.solve_ode")
    eta = lr.at(times)
    rule = rule_on_data(problem, optimizer, batch_size)
    knots, status, diverged_at = _integrate(problem, rule, lr, times[-1], tolerance)
    risk, slope, phi = _interpolate(knots, times)
    curve = RiskCurve(
        t=times, risk=risk, modes=None, decay=problem.covariance.std**2, lr=eta, phi=phi, slope=slope,
        diverged_at=diverged_at, status=status, problem=problem, optimizer=optimizer, batch_size=batch_size,
        kind="data ODE",
    )  # fmt: skip
    texts = [*doubts, *problem.doubts, *_exhaustion(problem, times[-1], batch_size)]
    return with_warnings(curve, f"sl.data.solve_ode({optimizer.name})", texts, stacklevel=3)


def _exhaustion(problem, end, batch_size) -> list[str]:
    """The warning for a run that uses too many of the rows, if it does."""
    used = end * problem.d * batch_size / problem.n
    if used <= LARGEST_SHARE:
        return []
    return [
        f"the run uses {used:.0%} of the rows; what that does to its noise is computed to first order in lr, so that "
        "at an lr near 0.3 the risk can be off by a third of that share"
    ]


def _integrate(problem, rule, lr, end, tolerance):
    """Rows (t, R, dR/dt, phi) at the steps taken, the status, and the time of divergence."""
    state = row_stepper.start(problem, problem.d if rule.rate else 0)
    ceiling = BLOW_UP * max(problem.initial_risk, problem.noise.second_moment, TINY_RISK)
    shortest = 0.1 / problem.d
    t, h, knots = 0.0, 1 / problem.d, []
    breaks = np.append(lr.scan(np.array([end])).breaks, end)

    def equations_at(state, t):
        return row_stepper.linearize(problem, rule, state, t, float(lr.at(np.array([t]))[0]))

    def knot(equations, t):
        return t, row_stepper.risk(problem, equations.state), row_stepper.slope(problem, equations), equations.phi

    for _ in range(MAX_STEPS):
        first = equations_at(state, t)
        knots.append(knot(first, t))
        if not knots[-1][1] < ceiling:
            return np.array(knots), f"diverged at t = {t:.4g}: risk {knots[-1][1]:.3g}", t
        if t >= end * (1 - 1e-12):
            return np.array(knots), "ok", np.inf
        following = breaks[np.searchsorted(breaks, t, side="right")]
        while True:
            h = min(h, following - t)
            middle = equations_at(row_stepper.advance(first, state, h / 2), t + h / 2)
            after = row_stepper.advance(middle, state, h)
            crude, fine = (row_stepper.risk(problem, s) for s in (row_stepper.advance(first, state, h), after))
            error = abs(crude - fine) / max(fine, TINY_RISK)
            taken, h = h, max(row_stepper.next_length(h, error, tolerance), shortest)
            if error <= tolerance or taken <= shortest * (1 + 1e-9):
                break
        # Behind a jump of lr, whatever rounding makes of the sum.
        state, t = after, following if taken >= following - t else t + taken
    raise RuntimeError(
        f"sl.data.solve_ode took {MAX_STEPS} steps and reached only t = {t:.4g} of {end:g}; a larger tolerance, a "
        "smaller lr or a shorter horizon needs fewer"
    )


def _interpolate(knots, times):
    """R, dR/dt and phi at ``times``; R infinite and the others 0 after the last knot."""
    t, risk, slope, phi = knots.T
    inside = times <= t[-1] * (1 + 1e-12)
    if t.size == 1:
        return risk[:1], slope[:1], phi[:1]
    curve = CubicHermiteSpline(t, risk, slope)
    return (
        np.where(inside, curve(times), np.inf),
        np.where(inside, curve(times, nu=1), 0.0),
        np.where(inside, np.interp(times, t, phi), 0.0),
    )
