"""What `sdelimit` offers, and where it is: type checkers and the package itself read it here."""

from . import covariance, data, noise, schedules
from .analysis.best_lr import BestLearningRate, best_constant_lr
from .analysis.coefficients import limit_coefficients
from .analysis.directional_sharpness import directional_sharpness
from .analysis.effects.four_effects import Effects, effects
from .analysis.matched_schedule import match_schedule
from .analysis.optimal_clipping import OptimalClipping, optimal_clipping
from .analysis.optimal_schedule import OptimizedSchedule, optimize_schedule
from .analysis.recommend import Recommendation, recommend
from .analysis.scaling.scaling_law import ScalingLaw, scaling_law
from .analysis.stationary import convergence_rate, max_stable_lr, stationary_risk
from .analysis.weight_decay import BestWeightDecay, best_weight_decay
from .experiments.explore import Explorer, explore
from .experiments.rerun import Rerun, rerun
from .experiments.sweep import Sweep, read_sweep, sweep
from .ode.solve import solve_ode
from .optimizers import (
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
from .problem.linear_regression import LinearRegression
from .problem.multi_output import MultiOutputRegression, SoftmaxRegression
from .problem.random_features import power_law_random_features
from .problem.single_index import (
    LogisticRegression,
    PhaseRetrieval,
    PoissonRegression,
    ProbitRegression,
    RobustRegression,
    SingleIndex,
)
from .report.comparison import Report, compare
from .results.curves import DivergenceWarning, LimitWarning, RiskCurve, RiskCurves
from .results.stored import load
from .sde.solve import solve_sde
from .simulation.simulate import simulate
from .support.compiled import enable_cache

__all__ = [
    "BestLearningRate",
    "BestWeightDecay",
    "DivergenceWarning",
    "Effects",
    "Explorer",
    "LimitWarning",
    "LinearRegression",
    "LogisticRegression",
    "MultiOutputRegression",
    "OptimalClipping",
    "OptimizedSchedule",
    "Optimizer",
    "PhaseRetrieval",
    "PoissonRegression",
    "ProbitRegression",
    "Recommendation",
    "Report",
    "Rerun",
    "RiskCurve",
    "RiskCurves",
    "RobustRegression",
    "ScalingLaw",
    "SingleIndex",
    "SoftmaxRegression",
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
    "explore",
    "from_optax",
    "limit_coefficients",
    "lion",
    "load",
    "long_memory_adam",
    "match_schedule",
    "max_stable_lr",
    "nadam",
    "noise",
    "optimal_clipping",
    "optimize_schedule",
    "power_law_random_features",
    "read_sweep",
    "recommend",
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

__version__: str
