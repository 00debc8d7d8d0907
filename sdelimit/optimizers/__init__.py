"""Named optimizers: each an optax transformation (the rule) with its high-dimensional limit."""

from sdelimit.optimizers.adaptive import adam, nadam, rmsprop, s3
from sdelimit.optimizers.base import Optimizer, as_optimizer
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import lion, sign_sgd, signum

__all__ = ["Optimizer", "adam", "as_optimizer", "lion", "nadam", "rmsprop", "s3", "sgd", "sign_sgd", "signum"]

NAMED = ("sgd", "sign_sgd", "signum", "lion", "rmsprop", "adam", "nadam", "s3")
"""The optimizers that the command line knows by name."""
