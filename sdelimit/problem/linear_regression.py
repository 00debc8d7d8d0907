"""The linear-regression problem that every optimizer here is run on."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sdelimit.problem.losses import LeastSquares, Loss
from sdelimit.problem.multi_output import MultiOutput, MultiOutputRegression, has_outputs
from sdelimit.problem.regression import Regression, excess_risk
from sdelimit.support import arguments as check

__all__ = ["LinearRegression", "check_problem", "excess_risk"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LinearRegression(Regression):
    """Streaming linear regression: x ~ N(0, K), y = <x, theta*> + eps (theory: section 0).

    The risk is the excess risk R(theta) = 1/2 (theta - theta*)' K (theta - theta*).

    Args:
        covariance: a ``sl.covariance`` object, a symmetric positive semidefinite (d, d) array, or a (d,)
            array of variances.
        noise: a ``sl.noise`` law, or a frozen continuous distribution of SciPy, ``scipy.stats.t(3)``; default none.
        theta0: (d,) initial point; default 0.
        theta_star: (d,) target; default drawn from N(0, I/d) with ``seed``.
        seed: seed of the default target.

    A (d, m) ``theta_star`` or ``theta0``, or a ``sl.noise.MultivariateGaussian``, makes a ``MultiOutputRegression``
    with m outputs instead.

    Raises:
        TypeError, ValueError: naming the argument, for a wrong type or shape, a non-finite entry, a
            covariance that is not symmetric positive semidefinite, or one that is zero.
    """

    loss: ClassVar[Loss] = LeastSquares()

    @classmethod
    def _instead(cls, covariance=None, noise=None, theta0=None, theta_star=None, seed=0):
        if cls is LinearRegression and has_outputs(noise, theta0, theta_star):
            return MultiOutputRegression(covariance, noise, theta0, theta_star, seed)
        return None

    def __repr__(self):
        inputs = f"d={self.d}, covariance={type(self.covariance).__name__}{self._noise_text()}"
        return f"<{type(self).__name__}, {inputs}, R(0)={self.initial_risk:.4g}>"

    @classmethod
    def from_spectrum(cls, eigenvalues, target_energies, noise=None, *, seed: int = 0) -> "LinearRegression":
        """A problem of which only the spectrum of K and theta*'s part along each eigenvector q_i are known.

        All that rules linear in the gradient, and clipping by its norm, depend on: their curves are those of any K with
        these eigenvalues. Coordinatewise rules depend on the eigenvectors too and are refused.

        Args:
            eigenvalues: (d,) eigenvalues of K, >= 0, in any order.
            target_energies: (d,) squares (q_i' theta*)^2, >= 0; theta0 is zero.
            noise: a ``sl.noise`` law; default none.
            seed: seed that ``seed=`` of other functions adds to.

        Raises:
            TypeError, ValueError: naming the argument, for a wrong type or shape, or a negative or non-finite entry.
        """
        eigenvalues = check.array("eigenvalues", eigenvalues, ndim=1)
        energies = check.array("target_energies", target_energies, shape=eigenvalues.shape)
        for name, value in (("eigenvalues", eigenvalues), ("target_energies", energies)):
            if np.any(value < 0):
                raise ValueError(f"{name} must be >= 0, got a smallest value of {value.min():g}")
        with np.errstate(over="ignore"):
            trace = eigenvalues.sum()
        if not 0 < trace < np.inf:
            raise ValueError(f"eigenvalues must have a finite sum > 0, got {trace:g}")
        return SpectralRegression(eigenvalues, noise, theta_star=np.sqrt(energies), seed=seed)

    @property
    def irreducible_risk(self) -> float:
        """E[eps^2] / 2, what label noise adds to the risk of any theta; infinite for noise of infinite variance."""
        return float(self.noise.second_moment) / 2

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


class SpectralRegression(LinearRegression):
    """What ``LinearRegression.from_spectrum`` makes: K is diagonal in coordinates that are not the rule's own."""

    def require_isotropic(self, name: str, limit):
        """ValueError unless a rule with this limit acts alike in all coordinates."""
        if getattr(limit, "power", None) != 0:
            raise ValueError(
                f"problem must be made of a covariance for {name}, got one from_spectrum: the rule acts on each "
                "coordinate, so that eigenvectors matter; sgd (with momentum too), dana and clip_norm need only the "
                "spectrum"
            )


def check_problem(problem, models: type | tuple = LinearRegression) -> LinearRegression:
    """``problem`` if it is one of ``models``; otherwise a TypeError."""
    if isinstance(problem, models):
        return problem
    if isinstance(problem, Regression):
        kind = "several outputs" if isinstance(problem, MultiOutput) else "other losses"
        raise TypeError(
            f"problem must be a LinearRegression, got a {type(problem).__name__}: this is not known for {kind}"
        )
    raise TypeError(f"problem must be a LinearRegression, got {check.describe(problem)}")
