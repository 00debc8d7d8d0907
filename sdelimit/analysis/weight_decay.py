"""The weight decay with the lowest risk."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from sdelimit.analysis.stationary import stationary_risk_of
from sdelimit.limits.law import moment_pairs, operators_of, without_memory
from sdelimit.limits.weight_decay import decayed_limit
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.stored import Stored
from sdelimit.results.trust import stationary_drift_error, warn_of_correlations
from sdelimit.schedules import LearningRate
from sdelimit.support import arguments as check

GRID = np.geomspace(1e-8, 1e4, 61)
"""Weight decays tried first, relative to the mean rate phi lambda at which the rule itself acts."""
ACCURACY = 1e-6
"""Accuracy of log omega."""


@dataclass(frozen=True)
class BestWeightDecay(Stored):
    """The best weight decay of one rule at one learning rate.

    Attributes:
        weight_decay: omega; 0 if any decay makes a finite horizon worse, infinite if the risk falls with it for ever,
            so that theta = 0 is best.
        risk: the stationary risk there, or R(t_max).
        undecayed: the same without decay.
    """

    weight_decay: float
    risk: float
    undecayed: float

    def _variables(self):
        return {name: (("case",), np.array([getattr(self, name)])) for name in ("weight_decay", "risk", "undecayed")}


def best_weight_decay(
    problem: LinearRegression, optimizer: Optimizer, lr: float, *, t_max=None, batch_size: int = 1
) -> BestWeightDecay:
    """The decoupled weight decay omega with the lowest stationary risk, or the lowest risk at ``t_max``.

    With the modes w*_i of theta* and q_i = phi(R) lambda_i + omega the risk settles at

        R = 1/2 sum_i lambda_i [omega^2 w*_i^2 / q_i^2 + (eta/2d) c_i / q_i],

    what decay takes from the target and what it leaves of the noise. The first grows with omega^2 and the second falls
    with omega, so some decay is always better than none. For K = I it is eta kappa phi / (4 phi |theta*|^2 - eta
    kappa), infinite where that is negative. A grid of omega is followed by Brent's method.

    Args:
        problem: the regression problem.
        optimizer: the rule, without decay.
        lr: eta > 0, a constant.
        t_max: horizon in t = steps/d; default infinitely long.
        batch_size: samples per step.

    Raises:
        TypeError, ValueError: naming the argument.

    Warns:
        LimitWarning: as ``stationary_risk``.

    Source: theory section 19.

    >>> import sdelimit as sl
    >>> problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(1.0))
    >>> best = sl.best_weight_decay(problem, sl.sgd(), lr=0.1)
    >>> bool(best.risk < sl.stationary_risk(problem, sl.sgd(), lr=0.1))
    True
    """
    problem, optimizer = check_problem(problem), as_optimizer(optimizer)
    eta = check.real("lr", lr, positive=True)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    limit = optimizer.limit(problem, batch_size)
    if limit.has_target:
        raise ValueError(f"optimizer must have no weight decay of its own, got {optimizer.name}")
    if t_max is None:
        limit = without_memory(limit)
        risk_of = lambda limit: stationary_risk_of(problem, optimizer, limit, eta)  # noqa: E731
    else:
        times = np.array([0.0, check.real("t_max", t_max, positive=True)])
        rate = LearningRate.of(eta)
        given = {"batch_size": batch_size, "rtol": 1e-8, "save_modes": False}
        risk_of = lambda limit: float(solve_limit(problem, optimizer, limit, rate, times, **given).risk[-1])  # noqa: E731

    def risk(log_omega):
        return risk_of(decayed_limit(limit, float(np.exp(log_omega)), False, optimizer.name))

    undecayed = risk_of(limit)
    log_omega = np.log(GRID * _mean_rate(problem, limit))
    found = np.array([risk(x) for x in log_omega])
    best = int(np.nanargmin(found))
    if best == 0:
        return BestWeightDecay(0.0, undecayed, undecayed)
    if best == GRID.size - 1:
        return BestWeightDecay(np.inf, problem.risk(np.zeros(problem.d)), undecayed)
    near = log_omega[max(best - 1, 0)], log_omega[best + 1]
    answer = minimize_scalar(risk, bounds=near, method="bounded", options={"xatol": ACCURACY})
    if t_max is None:
        decayed = decayed_limit(limit, float(np.exp(answer.x)), False, optimizer.name)
        warn_of_correlations(optimizer, stationary_drift_error(problem, decayed, eta, float(answer.fun)), tried=True)
    return BestWeightDecay(float(np.exp(answer.x)), float(answer.fun), undecayed)


def _mean_rate(problem, limit) -> float:
    """phi lambda, averaged over the modes, at the risk of the start."""
    law = operators_of(problem, without_memory(limit)).law
    q = np.zeros(len(moment_pairs(law.size)))
    q[0] = 2 * max(problem.initial_risk, problem.covariance.mean_variance)
    phi = evaluate_in_float64(law.effective_rates, q, law.initial_scalars())
    return float(np.mean(phi) * problem.covariance.mean_variance)
