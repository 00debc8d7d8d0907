"""Named optimizers: each an optax transformation (the rule) with its high-dimensional limit."""

from sdelimit.optimizers.adaptive import adam, adamw, long_memory_adam, nadam, rmsprop, s3
from sdelimit.optimizers.clip import clip_coordinate, clip_norm
from sdelimit.optimizers.from_optax import from_optax
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.optimizers.s_adam import s_adam
from sdelimit.optimizers.sgd import dana, sgd
from sdelimit.optimizers.sign import lion, sign_sgd, signum

__all__ = [
    "Optimizer",
    "adam",
    "adamw",
    "as_optimizer",
    "clip_coordinate",
    "clip_norm",
    "dana",
    "from_optax",
    "lion",
    "long_memory_adam",
    "nadam",
    "rmsprop",
    "s3",
    "s_adam",
    "sgd",
    "sign_sgd",
    "signum",
]
