"""The linear-regression problem that every optimizer here is run on."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sdelimit.problem.losses import LeastSquares, Loss
from sdelimit.problem.regression import Regression, excess_risk
from sdelimit.support import arguments as check

__all__ = ["LinearRegression", "check_problem", "excess_risk"]


@dataclass(frozen=True, eq=False, init=False)
class LinearRegression(Regression):
    """Streaming linear regression: x ~ N(0, K), y = <x, theta*> + eps (theory: section 0).

    The risk is the excess risk R(theta) = 1/2 (theta - theta*)' K (theta - theta*).

    Args:
        covariance: a ``sl.covariance`` object, a symmetric positive semidefinite (d, d) array, or a (d,)
            array of variances.
        noise: a ``sl.noise`` law; default none.
        theta0: (d,) initial point; default 0.
        theta_star: (d,) target; default drawn from N(0, I/d) with ``seed``.
        seed: seed of the default target.

    Raises:
        TypeError, ValueError: naming the argument, for a wrong type or shape, a non-finite entry, a
            covariance that is not symmetric positive semidefinite, or one that is zero.
    """

    loss: ClassVar[Loss] = LeastSquares()

    @property
    def initial_risk(self) -> float:
        """R(theta0)."""
        return self.cached("initial_risk", lambda: self._half_norm(self.delta0))

    def risk(self, theta) -> float:
        """R(theta) = 1/2 (theta - theta*)' K (theta - theta*) for theta of shape (d,)."""
        risk = self._half_norm(check.array("theta", theta, shape=(self.d,)) - self.theta_star)
        if not np.isfinite(risk):
            raise ValueError(f"theta must give a finite risk, got {risk}")
        return risk


def check_problem(problem, models: type | tuple = LinearRegression) -> LinearRegression:
    """``problem`` if it is one of ``models``; otherwise a TypeError."""
    if isinstance(problem, models):
        return problem
    if isinstance(problem, Regression):
        raise TypeError(
            f"problem must be a LinearRegression, got a {type(problem).__name__}: this is not known for other losses"
        )
    raise TypeError(f"problem must be a LinearRegression, got {check.describe(problem)}")
