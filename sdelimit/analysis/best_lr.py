"""The best constant learning rate, for a horizon or for a target risk."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq, minimize_scalar

from sdelimit.analysis.equilibrium import balance_of
from sdelimit.limits.law import reads_overlaps, without_memory
from sdelimit.numerics.floors import HUGE
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.regression import Regression
from sdelimit.problem.single_index import SingleIndex
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.stored import Stored
from sdelimit.schedules import LearningRate
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid
from sdelimit.support.brief import brief_fields

GRID, SPAN, SHIFT = 33, 1e4, 1e3
"""Learning rates on a grid, the ratio of largest to smallest, and the factor by which it moves if its end is best."""
MAX_SHIFTS = 6
ACCURACY = 1e-3
"""Accuracy of log lr."""
LONGEST = 4.0**20
"""Longest horizon in which a target must be reached."""


@dataclass(frozen=True, eq=False)
class BestLearningRate(Stored):
    """The best constant learning rate.

    Attributes:
        lr: the learning rate eta.
        risk: R(t_max), or the target.
        time: t_max, or the first t at which the risk is down to the target.
        curve: the risk curve at ``lr``, up to ``time``.
        tried: (k,) learning rates of the first search, ascending.
        values: (k,) final risk, or time to the target, of each: infinite if it diverged, or did not reach the target
            in the time in which the best did.
    """

    lr: float
    risk: float
    time: float
    curve: RiskCurve
    tried: Float[np.ndarray, " k"]
    values: Float[np.ndarray, " k"]

    __repr__ = brief_fields

    def _variables(self):
        return {"lr": (("lr",), self.tried), "value": (("lr",), self.values)}


def best_constant_lr(
    problem: Regression,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    t_max=None,
    target_risk=None,
    batch_size: int = 1,
) -> BestLearningRate | tuple[BestLearningRate, ...]:
    """The constant learning rate with the lowest risk at ``t_max``, or the one that is first down to ``target_risk``.

    Either ``t_max`` or ``target_risk`` is given. The risk ODE is solved for a grid of learning rates around the one
    that would hold the initial (or the target) risk stationary, which moves until the best is inside it; Brent's
    method then finds the minimum between its neighbours to 0.1%.

    Args:
        problem: the regression problem, with any loss.
        optimizer: the rule, or a list of rules: then the result is a tuple with one entry for each, in their order.
        t_max: horizon in t = steps/d.
        target_risk: risk to reach, below the initial one.
        batch_size: samples per step.

    Raises:
        TypeError, ValueError: naming the argument; ValueError for a target that no learning rate reaches.
    """
    if isinstance(optimizer, list | tuple):
        given = {"t_max": t_max, "target_risk": target_risk, "batch_size": batch_size}
        return tuple(best_constant_lr(problem, one, **given) for one in _some(optimizer))
    problem, optimizer = check_problem(problem, (LinearRegression, SingleIndex)), as_optimizer(optimizer)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    if (t_max is None) == (target_risk is None):
        raise ValueError("t_max or target_risk must be given, and not both")
    check_start(problem)
    if target_risk is None:
        t_max = check.real("t_max", t_max, positive=True)
        return best_for_horizon(problem, optimizer, optimizer.limit(problem, batch_size), batch_size, t_max)
    target_risk = check.real("target_risk", target_risk, positive=True)
    if target_risk >= problem.initial_risk:
        raise ValueError(f"target_risk must be below the initial risk {problem.initial_risk:.6g}, got {target_risk:g}")
    goal = _Target(problem, optimizer, optimizer.limit(problem, batch_size), batch_size, target_risk)
    return _best(goal, target_risk)


def _some(rules):
    """``rules``, or a ValueError if there are none."""
    if not rules:
        raise ValueError("optimizer must be a rule or a list of one or more, got none")
    return rules


def check_start(problem):
    """ValueError where there is no risk to reduce."""
    if problem.initial_risk == 0:
        raise ValueError("problem must start at a positive risk for a learning rate to be best, got 0")


def best_for_horizon(problem, optimizer, limit, batch_size, t_max) -> BestLearningRate:
    """``best_constant_lr`` for the horizon ``t_max``, with the ``limit`` of ``optimizer`` on ``problem``."""
    return _best(_Horizon(problem, optimizer, limit, batch_size, t_max), problem.initial_risk)


def _best(goal, around) -> BestLearningRate:
    """The best for ``goal``, searched around the learning rate whose stationary risk is ``around``."""
    tried, values = _search(goal, 10 * _holding(goal, around))
    lr = _refine(goal, tried, values)
    time = goal.time(lr)
    curve = with_limit_warnings(goal.curves(lr, time), goal.limit)
    return BestLearningRate(lr, float(curve.risk[-1]), time, curve, tried, values)


def _holding(goal, risk) -> float:
    """The learning rate at which the risk stays at ``risk``, or for losses of which that is not known, a guess."""
    if reads_overlaps(goal.limit):
        return 1.0
    return float(evaluate_in_float64(balance_of(goal.problem, without_memory(goal.limit)).learning_rate, risk))


class _Goal:
    """The objective of the search, to be minimized."""

    def __init__(self, problem, optimizer, limit, batch_size):
        self.problem, self.optimizer, self.limit, self.batch_size = problem, optimizer, limit, batch_size

    def curves(self, lr, t_max) -> RiskCurve:
        """Risk curves for a number or array; those that diverge lose, without warning."""
        return solve_limit(
            self.problem, self.optimizer, self.limit, LearningRate.of(lr), time_grid(t_max, None),
            batch_size=self.batch_size, save_modes=False,
        )  # fmt: skip


class _Horizon(_Goal):
    """The risk at t_max."""

    def __init__(self, problem, optimizer, limit, batch_size, t_max):
        super().__init__(problem, optimizer, limit, batch_size)
        self.t_max = t_max

    def values(self, lrs):
        return self.curves(lrs, self.t_max).risk[:, -1]

    def value(self, lr):
        return float(self.curves(lr, self.t_max).risk[-1])

    def time(self, lr):
        return self.t_max


class _Target(_Goal):
    """The time to the target; the horizon grows until a learning rate gets there, and then fits the fastest."""

    def __init__(self, problem, optimizer, limit, batch_size, target):
        super().__init__(problem, optimizer, limit, batch_size)
        self.target, self.horizon = target, 1.0

    def values(self, lrs):
        while True:
            curves = self.curves(lrs, self.horizon)
            times = np.array([first_passage(curves.select(i), self.target) for i in range(len(lrs))])
            if self.horizon / 20 < times.min() < np.inf:
                self.horizon = 2 * times.min()
                return times
            if self.horizon > LONGEST:
                raise ValueError(
                    f"target_risk must be within reach, but by t = {self.horizon:.3g} no learning rate tried brings "
                    f"{self.optimizer.name} from {self.problem.initial_risk:.4g} to {self.target:g}"
                )
            self.horizon = 4 * self.horizon if times.min() == np.inf else 2 * times.min()

    def value(self, lr):
        """The time; beyond the horizon a value that grows with log(risk / target), for the minimizer to follow."""
        curve = self.curves(lr, self.horizon)
        time = first_passage(curve, self.target)
        return time if np.isfinite(time) else self.horizon * (1 + np.log(min(curve.risk.min(), HUGE) / self.target))

    def time(self, lr):
        return self.value(lr)


def first_passage(curve: RiskCurve, target: float) -> float:
    """The first t at which the risk of a single curve is down to ``target``; infinite if it never is."""
    reached = curve.risk <= target
    if not reached.any():
        return np.inf
    i = int(np.argmax(reached))
    if i == 0:
        return float(curve.t[0])
    between = slice(i - 1, i + 1)
    cubic = CubicHermiteSpline(curve.t[between], curve.risk[between], curve.slope[between])
    return float(brentq(lambda t: cubic(t) - target, *curve.t[between]))


def _search(goal, top):
    """A grid of learning rates with the best one inside, and their values."""
    for _ in range(MAX_SHIFTS):
        lrs = np.geomspace(top / SPAN, top, GRID)
        values = goal.values(lrs)
        best = int(np.argmin(values))
        if 0 < best < GRID - 1:
            return lrs, values
        top = top * SHIFT if best else top / SHIFT
    raise ValueError(
        f"optimizer {goal.optimizer.name} has no best constant learning rate on this problem: the search ended at "
        f"{lrs[best]:.3g}, still improving"
    )


def _refine(goal, tried, values):
    best = int(np.argmin(values))
    found = minimize_scalar(
        lambda log_lr: np.log(min(goal.value(float(np.exp(log_lr))), HUGE)),
        bounds=np.log(tried[[best - 1, best + 1]]),
        method="bounded",
        options={"xatol": ACCURACY},
    )
    return float(np.exp(found.x))
