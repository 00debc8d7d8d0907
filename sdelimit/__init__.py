"""sdelimit: exact high-dimensional risk curves of stochastic optimizers on linear regression."""

from sdelimit import covariance, data, noise, schedules
from sdelimit.compare import Report, compare
from sdelimit.limits import limit_coefficients
from sdelimit.ode import solve_ode
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
from sdelimit.results import DivergenceWarning, LimitWarning, RiskCurve, RiskCurves
from sdelimit.sde import solve_sde
from sdelimit.sharpness import directional_sharpness
from sdelimit.simulate import simulate

__all__ = [
    "DivergenceWarning",
    "LimitWarning",
    "LinearRegression",
    "Optimizer",
    "Report",
    "RiskCurve",
    "RiskCurves",
    "adam",
    "clip_coordinate",
    "clip_norm",
    "compare",
    "covariance",
    "data",
    "directional_sharpness",
    "from_optax",
    "limit_coefficients",
    "lion",
    "long_memory_adam",
    "nadam",
    "noise",
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
]
