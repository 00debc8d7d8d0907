"""Regression problems made from real data, and a risk curve that does not assume Gaussian features."""

from sdelimit.data.cifar import cifar10
from sdelimit.data.files import from_file
from sdelimit.data.images import digits, natural_patches
from sdelimit.data.problem import DataRegression, from_arrays
from sdelimit.data.rules import covers
from sdelimit.data.solve import solve_ode

__all__ = ["DataRegression", "cifar10", "covers", "digits", "from_arrays", "from_file", "natural_patches", "solve_ode"]
