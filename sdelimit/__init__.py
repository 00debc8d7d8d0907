"""sdelimit: exact high-dimensional risk curves of stochastic optimizers on linear regression."""

from sdelimit import covariance, data, noise, schedules
from sdelimit.best_lr import BestLearningRate, best_constant_lr
from sdelimit.compare import Report, compare
from sdelimit.effects import Effects, effects
from sdelimit.limits import limit_coefficients
from sdelimit.matching import match_schedule
from sdelimit.ode import solve_ode
from sdelimit.optimize import OptimizedSchedule, optimize_schedule
from sdelimit.optimizers import (
    Optimizer,
    adam,
    clip_coordinate,
    clip_norm,
    from_optax,
    lion,
    long_memory_adam,
    nadam,
    rmsprop,
    s3,
    s_adam,
    sgd,
    sign_sgd,
    signum,
)
from sdelimit.problem import LinearRegression
from sdelimit.rerun import Rerun, rerun
from sdelimit.results import DivergenceWarning, LimitWarning, RiskCurve, RiskCurves
from sdelimit.sde import solve_sde
from sdelimit.sharpness import directional_sharpness
from sdelimit.simulate import simulate
from sdelimit.stationary import convergence_rate, max_stable_lr, stationary_risk
from sdelimit.sweep import Sweep, read_sweep, sweep

__all__ = [
    "BestLearningRate",
    "DivergenceWarning",
    "Effects",
    "LimitWarning",
    "LinearRegression",
    "OptimizedSchedule",
    "Optimizer",
    "Report",
    "Rerun",
    "RiskCurve",
    "RiskCurves",
    "Sweep",
    "adam",
    "best_constant_lr",
    "clip_coordinate",
    "clip_norm",
    "compare",
    "convergence_rate",
    "covariance",
    "data",
    "directional_sharpness",
    "effects",
    "from_optax",
    "limit_coefficients",
    "lion",
    "long_memory_adam",
    "match_schedule",
    "max_stable_lr",
    "nadam",
    "noise",
    "optimize_schedule",
    "read_sweep",
    "rerun",
    "rmsprop",
    "s3",
    "s_adam",
    "schedules",
    "sgd",
    "sign_sgd",
    "signum",
    "simulate",
    "solve_ode",
    "solve_sde",
    "stationary_risk",
    "sweep",
]
