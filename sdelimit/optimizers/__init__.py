"""Named optimizers: each an optax transformation (the rule) with its high-dimensional limit."""

from sdelimit.optimizers.base import Optimizer, as_optimizer
from sdelimit.optimizers.clip import clip_coordinate, clip_norm
from sdelimit.optimizers.long_memory import long_memory_adam
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import sign_sgd

__all__ = ["Optimizer", "as_optimizer", "clip_coordinate", "clip_norm", "long_memory_adam", "sgd", "sign_sgd"]

NAMED = ("clip_coordinate", "clip_norm", "long_memory_adam", "sgd", "sign_sgd")
"""The optimizers that the command line knows by name."""
