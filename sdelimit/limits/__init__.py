"""High-dimensional limits of update rules: drift coefficient phi(R) and noise kernel kappa(rho; R)."""

from sdelimit.limits.exact.sgd import sgd_limit
from sdelimit.limits.exact.sign import sign_limit
from sdelimit.limits.limit import CoefficientErrors, Limit
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights

__all__ = [
    "CoefficientErrors",
    "Limit",
    "NoLimitError",
    "RatioRule",
    "SignedRule",
    "Weights",
    "kernel_basis",
    "sgd_limit",
    "sign_limit",
    "tabulated_limit",
]
