"""Named optimizers: each an optax transformation (the rule) with its high-dimensional limit."""

from sdelimit.optimizers.base import Optimizer, as_optimizer
from sdelimit.optimizers.custom import from_optax
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import sign_sgd

__all__ = ["Optimizer", "as_optimizer", "from_optax", "sgd", "sign_sgd"]

NAMED = ("sgd", "sign_sgd")
"""The optimizers that the command line knows by name."""
