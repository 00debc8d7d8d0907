"""Regression problems made from real data, and a risk curve that does not assume Gaussian features."""

from sdelimit.data.cifar import cifar10
from sdelimit.data.data_logistic import DataLogisticRegression
from sdelimit.data.data_regression import DataRegression, from_arrays
from sdelimit.data.from_file import from_file
from sdelimit.data.images import digits, natural_patches
from sdelimit.data.row_ode import solve_ode
from sdelimit.data.row_rules import covers

__all__ = [
    "DataLogisticRegression",
    "DataRegression",
    "cifar10",
    "covers",
    "digits",
    "from_arrays",
    "from_file",
    "natural_patches",
    "solve_ode",
]


def __dir__():
    return __all__
