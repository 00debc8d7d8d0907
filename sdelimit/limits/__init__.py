"""High-dimensional limits of update rules: drift coefficient phi(R) and noise kernel kappa(rho; R)."""

from sdelimit.limits.base import Limit, kernel_basis
from sdelimit.limits.coefficients import LimitCoefficients, limit_coefficients
from sdelimit.limits.sgd import sgd_limit
from sdelimit.limits.sign import sign_limit

__all__ = ["Limit", "LimitCoefficients", "kernel_basis", "limit_coefficients", "sgd_limit", "sign_limit"]
