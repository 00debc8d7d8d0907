"""sdelimit: exact high-dimensional risk curves of stochastic optimizers on linear regression."""

from importlib.metadata import version

from sdelimit import covariance, data, noise, schedules
from sdelimit.analysis.best_lr import BestLearningRate, best_constant_lr
from sdelimit.analysis.coefficients import limit_coefficients
from sdelimit.analysis.directional_sharpness import directional_sharpness
from sdelimit.analysis.effects.four_effects import Effects, effects
from sdelimit.analysis.matched_schedule import match_schedule
from sdelimit.analysis.optimal_clipping import OptimalClipping, optimal_clipping
from sdelimit.analysis.optimal_schedule import OptimizedSchedule, optimize_schedule
from sdelimit.analysis.scaling.scaling_law import ScalingLaw, scaling_law
from sdelimit.analysis.stationary import convergence_rate, max_stable_lr, stationary_risk
from sdelimit.analysis.weight_decay import BestWeightDecay, best_weight_decay
from sdelimit.experiments.rerun import Rerun, rerun
from sdelimit.experiments.sweep import Sweep, read_sweep, sweep
from sdelimit.ode.solve import solve_ode
from sdelimit.optimizers import (
    Optimizer,
    adam,
    adamw,
    clip_coordinate,
    clip_norm,
    dana,
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
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.random_features import power_law_random_features
from sdelimit.problem.single_index import (
    LogisticRegression,
    PhaseRetrieval,
    PoissonRegression,
    ProbitRegression,
    RobustRegression,
    SingleIndex,
)
from sdelimit.report.comparison import Report, compare
from sdelimit.results.curves import DivergenceWarning, LimitWarning, RiskCurve, RiskCurves
from sdelimit.sde.solve import solve_sde
from sdelimit.simulation.simulate import simulate
from sdelimit.support.compiled import enable_cache

__all__ = [
    "BestLearningRate",
    "BestWeightDecay",
    "DivergenceWarning",
    "Effects",
    "LimitWarning",
    "LinearRegression",
    "LogisticRegression",
    "OptimalClipping",
    "OptimizedSchedule",
    "Optimizer",
    "PhaseRetrieval",
    "PoissonRegression",
    "ProbitRegression",
    "Report",
    "Rerun",
    "RiskCurve",
    "RiskCurves",
    "RobustRegression",
    "ScalingLaw",
    "SingleIndex",
    "Sweep",
    "adam",
    "adamw",
    "best_constant_lr",
    "best_weight_decay",
    "clip_coordinate",
    "clip_norm",
    "compare",
    "convergence_rate",
    "covariance",
    "dana",
    "data",
    "directional_sharpness",
    "effects",
    "enable_cache",
    "from_optax",
    "limit_coefficients",
    "lion",
    "long_memory_adam",
    "match_schedule",
    "max_stable_lr",
    "nadam",
    "noise",
    "optimal_clipping",
    "optimize_schedule",
    "power_law_random_features",
    "read_sweep",
    "rerun",
    "rmsprop",
    "s3",
    "s_adam",
    "scaling_law",
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

__version__ = version("sdelimit")


def __dir__():
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
