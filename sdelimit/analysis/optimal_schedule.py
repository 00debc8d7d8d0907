"""The learning-rate schedule with the lowest final risk, by gradient descent through the risk ODE."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from sdelimit.analysis.best_lr import best_for_horizon, check_start
from sdelimit.numerics.precision import x64
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.ode.solve import check_rtol
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.stored import Stored
from sdelimit.schedules import LearningRate, LogLinear, log_linear
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid
from sdelimit.support.brief import brief_fields
from sdelimit.support.progress import progress_bar

DIVERGED = 1e3
"""Stands for the logarithm of an infinite risk."""
REACH = 12.0
"""log eta stays within this distance of where it starts."""


@dataclass(frozen=True, eq=False)
class OptimizedSchedule(Stored):
    """A schedule found by ``optimize_schedule``.

    Attributes:
        schedule: eta(t), for ``lr=`` of every solver.
        risk: its risk at t_max.
        curve: its risk curve.
        history: (k,) risk at t_max at the start and after each iteration.
        status: "converged", or why the search stopped.
    """

    schedule: LogLinear
    risk: float
    curve: RiskCurve
    history: Float[np.ndarray, " k"]
    status: str

    __repr__ = brief_fields

    def _variables(self):
        return self.curve._variables()


def optimize_schedule(
    problem: LinearRegression,
    optimizer: Optimizer,
    t_max: float,
    *,
    lr=None,
    n_knots: int = 16,
    iterations: int = 60,
    batch_size: int = 1,
    rtol: float = 1e-6,
    progress: bool | None = None,
) -> OptimizedSchedule:
    """The schedule eta(t) on [0, t_max] with the lowest R(t_max) in the limit.

    log eta is piecewise linear between ``n_knots`` equally spaced times, so eta > 0; log R(t_max) is minimized over
    its values there by L-BFGS-B with gradients of ``solve_ode``. It is not convex: what is found is never worse
    than the start, by default the best constant learning rate.

    Args:
        problem: the regression problem.
        optimizer: the rule.
        t_max: horizon in t = steps/d.
        lr: where to start: a positive number or a function of t; default ``best_constant_lr`` for this horizon.
        n_knots: values of log eta that are optimized, at least 2.
        iterations: most iterations; each takes a few solves of the ODE.
        batch_size: samples per step.
        rtol: relative tolerance of the ODE while searching.
        progress: show a progress bar; default only on a terminal.

    Raises:
        TypeError, ValueError: naming the argument; ValueError for a start at which the risk diverges.
    """
    problem, optimizer = check_problem(problem), as_optimizer(optimizer)
    t_max = check.real("t_max", t_max, positive=True)
    n_knots = check.integer("n_knots", n_knots, minimum=2)
    iterations = check.integer("iterations", iterations, minimum=1)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    rtol = check_rtol(rtol)
    progress = check.flag("progress", progress, optional=True)
    knots = np.linspace(0.0, t_max, n_knots)
    limit, times = optimizer.limit(problem, batch_size), time_grid(t_max, None)
    if lr is None:
        check_start(problem)
        lr = best_for_horizon(problem, optimizer, limit, batch_size, t_max).lr
    start = LearningRate.single(lr).require_concrete("optimize_schedule").at(knots)
    if np.any(start <= 0):
        raise ValueError(f"lr must be > 0 at every knot to start from, got {start.min():g}")

    def log_final_risk(log_lr):
        # At the times of the final curve, so that both are compiled once.
        curve = solve_limit(
            problem, optimizer, limit, LearningRate.single(LogLinear(knots, log_lr)), times,
            batch_size=batch_size, rtol=rtol, save_modes=False,
        )  # fmt: skip
        return jnp.log(curve.risk[-1])

    found, history = _descend(log_final_risk, np.log(start), iterations, progress)
    schedule = log_linear(knots, np.exp(found.x))
    rate = LearningRate.single(schedule)
    curve = solve_limit(problem, optimizer, limit, rate, times, batch_size=batch_size, save_modes=False)
    curve = with_limit_warnings(curve, limit)
    status = "converged" if found.success else str(found.message)
    return OptimizedSchedule(schedule, float(curve.risk[-1]), curve, np.exp(history), status)


def _descend(log_risk, start, iterations, progress):
    """(SciPy's result, the value at the start and after each iteration)."""
    slope = jax.value_and_grad(log_risk)

    def objective(x):
        with x64():
            value, gradient = (np.asarray(part, np.float64) for part in slope(jnp.asarray(x)))
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return DIVERGED, np.zeros_like(x)
        return float(value), gradient

    history = [objective(start)[0]]
    if history[0] == DIVERGED:
        raise ValueError("lr must keep the risk finite up to t_max to start from, but it diverges")
    with progress_bar(progress, iterations, "step", leave=False) as bar:

        def record(intermediate_result):
            history.append(float(intermediate_result.fun))
            bar.update()

        found = minimize(
            objective, start, jac=True, method="L-BFGS-B", callback=record,
            bounds=np.stack([start - REACH, start + REACH], axis=1), options={"maxiter": iterations, "ftol": 1e-8},
        )  # fmt: skip
    return found, np.array(history)
