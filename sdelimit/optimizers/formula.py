"""Update rules known as formulas and not only as transformations.

The fused kernel and the theory on given data do not run an optax transformation: they need to know what it computes.
An ``Optimizer`` says so itself, in ``Optimizer.formula``; a name says nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import optax


@dataclass(frozen=True)
class UpdateFormula:
    """What ``transform`` computes; of no other transformation is anything claimed."""

    transform: optax.GradientTransformation | Callable[..., optax.GradientTransformation]


@dataclass(frozen=True)
class ScaleFreeUpdate(UpdateFormula):
    """u is the same for all gradients multiplied by one number > 0."""


@dataclass(frozen=True)
class GradientUpdate(UpdateFormula):
    """u = g."""


@dataclass(frozen=True)
class SignUpdate(ScaleFreeUpdate):
    """u = sign(g), entrywise."""


@dataclass(frozen=True)
class ClipNormUpdate(UpdateFormula):
    """u = g min(1, threshold sqrt(tr K) / |g|)."""

    threshold: float


@dataclass(frozen=True)
class AdamUpdate(UpdateFormula):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; u = mhat / (sqrt(vhat) + eps), with Adam's bias corrections.

    ``scale_free``: eps is so small, or 0, that it changes no direction.
    """

    b1: float
    b2: float
    eps: float
    scale_free: bool


def is_scale_free(formula: UpdateFormula | None) -> bool:
    """Whether u is known to be the same for all gradients multiplied by one number > 0."""
    return isinstance(formula, ScaleFreeUpdate) or (isinstance(formula, AdamUpdate) and formula.scale_free)
