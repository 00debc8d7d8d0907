"""sdelimit: exact high-dimensional risk curves of stochastic optimizers on linear regression."""

from sdelimit import covariance, noise, schedules
from sdelimit.compare import Report, compare
from sdelimit.limits import limit_coefficients
from sdelimit.ode import solve_ode
from sdelimit.optimizers import Optimizer, from_optax, sgd, sign_sgd
from sdelimit.problem import LinearRegression
from sdelimit.results import DivergenceWarning, RiskCurve, RiskCurves
from sdelimit.sde import solve_sde
from sdelimit.simulate import simulate

__all__ = [
    "DivergenceWarning",
    "LinearRegression",
    "Optimizer",
    "Report",
    "RiskCurve",
    "RiskCurves",
    "compare",
    "covariance",
    "from_optax",
    "limit_coefficients",
    "noise",
    "schedules",
    "sgd",
    "sign_sgd",
    "simulate",
    "solve_ode",
    "solve_sde",
]
