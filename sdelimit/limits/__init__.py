"""High-dimensional limits of update rules: drift coefficient phi(R) and noise kernel kappa(rho; R)."""

from sdelimit.limits.base import CoefficientErrors, Limit, kernel_basis
from sdelimit.limits.coefficients import LimitCoefficients, limit_coefficients
from sdelimit.limits.laplace import Weights
from sdelimit.limits.ratio import RatioRule
from sdelimit.limits.sgd import sgd_limit
from sdelimit.limits.sign import sign_limit
from sdelimit.limits.signed import SignedRule
from sdelimit.limits.tabulated import tabulated_limit

__all__ = [
    "CoefficientErrors",
    "Limit",
    "LimitCoefficients",
    "RatioRule",
    "SignedRule",
    "Weights",
    "kernel_basis",
    "limit_coefficients",
    "sgd_limit",
    "sign_limit",
    "tabulated_limit",
]
