"""Problems of infinite dimension, for coefficients that depend on the noise only."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sdelimit.noise.base import NoiseLaw
from sdelimit.support import arguments as check


@dataclass(frozen=True)
class UnitVariances:
    """Of a covariance: coordinates of variance 1."""

    mean_variance: ClassVar[float] = 1.0
    std: ClassVar[np.ndarray] = check.read_only(np.ones(1))


@dataclass(frozen=True)
class InfiniteProblem:
    """A problem of infinite dimension and unit variances: only its noise matters.

    In place of a ``LinearRegression`` it asks an optimizer for its limit at fixed hyper-parameters as d -> infinity,
    ``optimizer.limit(InfiniteProblem(noise), batch_size)``. It has what limits read of a problem, and no more.
    """

    noise: NoiseLaw
    d: ClassVar[float] = float("inf")
    initial_risk: ClassVar[float] = 0.5
    covariance: ClassVar[UnitVariances] = UnitVariances()

    def require_isotropic(self, name: str, limit):
        """Every rule is known here."""
