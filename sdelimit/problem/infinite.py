"""Problems of infinite dimension, for coefficients that depend on the noise only."""

from dataclasses import dataclass
from typing import ClassVar

from sdelimit.noise.base import NoiseLaw


@dataclass(frozen=True)
class UnitVariances:
    """Of a covariance: coordinates of mean variance tr K / d = 1."""

    mean_variance: ClassVar[float] = 1.0


@dataclass(frozen=True)
class InfiniteProblem:
    """A problem of infinite dimension and unit variances: only its noise matters.

    In place of a ``LinearRegression`` it asks an optimizer for its limit at fixed hyper-parameters as d -> infinity,
    ``optimizer.limit(InfiniteProblem(noise), batch_size)``. It has what limits read of a problem, and no more.
    """

    noise: NoiseLaw
    d: ClassVar[float] = float("inf")
    covariance: ClassVar[UnitVariances] = UnitVariances()
