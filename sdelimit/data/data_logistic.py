"""A logistic regression problem made from the rows of a data set."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit

from sdelimit.covariance.dense import from_data
from sdelimit.data.row_stream import OfRows
from sdelimit.numerics.floors import TINY
from sdelimit.problem.single_index import LogisticRegression
from sdelimit.support import arguments as check

ALWAYS, NEVER = -1.0, 2.0
"""In place of a uniform number in (0, 1), below which P(y = 1) is never or always: labels that are given."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class DataLogisticRegression(OfRows, LogisticRegression):
    """Logistic regression on the rows of a data set, whose labels are y = 1 or -1.

    K = X'X/n, so ``solve_ode`` and everything else that takes a ``LogisticRegression`` gives the theory of *Gaussian
    features* with this K whose labels are random with P(y = 1) = sigma(<x, theta*>), fresh at every step: beyond
    t = n/d, where the rows end, a ``LimitWarning`` says that no run gets there. ``simulate`` draws the data's own pairs
    (x, y): every run takes the rows in its own random order, each at most once.

    Theory and runs report one and the same function of the overlaps theta' K theta and theta' K theta*, which are those
    of the data: ``risk`` is the excess risk, and ``error_rate`` the probability of a wrong guess, *of the model*, for
    Gaussian features and labels that follow theta*. It is 0 at theta*. That of the rows themselves is ``mean_loss``.
    The two differ as far as the rows are not Gaussian and their labels not logistic; what the comparison of runs
    with theory tests is the motion of theta.

    Made by ``from_arrays(X, y, model="logistic")`` and the loaders of ``sl.data``.

    Args:
        X: (n, d) features, used as they are. The model has no intercept.
        y: (n,) labels, 1 or -1, or 1 or 0; both must occur.
        theta_star: (d,) target.
        theta0: (d,) initial point; default 0.
        name: what figures and tables call the data.

    Attributes:
        X: (n, d) features.
        y: (n,) labels, 1.0 or -1.0.
        name: as given, or None.
        covariance, theta0, theta_star: as for ``LogisticRegression``.

    Raises:
        TypeError, ValueError: naming the argument, for a wrong shape, a non-finite entry or other labels.
    """

    X: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    name: str | None

    def __init__(self, X, y, theta_star, theta0=None, name=None):
        X = check.array("X", X, ndim=2)
        y = signs("y", y, X.shape[0])
        theta_star = check.array("theta_star", theta_star, shape=(X.shape[1],))
        object.__setattr__(self, "X", check.read_only(X))
        object.__setattr__(self, "y", check.read_only(y))
        object.__setattr__(self, "name", name if name is None else check.text("name", name))
        super().__init__(from_data(X, center=False), theta0=theta0, theta_star=theta_star)

    def _arguments(self):
        return {"n": str(self.n)}

    @property
    def label_of_rows(self):
        """Numbers that make the label of each row, as uniform ones make that of a fresh sample."""
        return np.where(self.y > 0, ALWAYS, NEVER)

    def mean_loss(self, theta) -> float:
        """The mean over the rows of ln(1 + exp(-y <x, theta>)), for theta of shape (d,)."""
        theta = check.array("theta", theta, shape=(self.d,))
        return float(np.mean(np.logaddexp(0.0, -self.y * (self.X @ theta))))

    def gaussian(self) -> LogisticRegression:
        """The problem with Gaussian features of the same K, and random labels of theta*."""
        return LogisticRegression(self.covariance, theta0=self.theta0, theta_star=self.theta_star)


def signs(name: str, y, n: int) -> Float[np.ndarray, " n"]:
    """Labels 1 and -1, or 1 and 0, or True and False, as 1.0 and -1.0. TypeError or ValueError for others."""
    y = np.asarray(y)
    y = check.array(name, y.astype(np.float64) if y.dtype == bool else y, shape=(n,))
    found = np.unique(y)
    if found.size != 2 or found[1] != 1 or found[0] not in (0, -1):
        raise ValueError(
            f"{name} must be labels 1 and -1, or 1 and 0, both of which occur, for a logistic regression, got "
            f"{found.size} different numbers from {found[0]:.4g} to {found[-1]:.4g}: "
            f"{name} == c tells one class c from the rest"
        )
    return np.where(y == 1, 1.0, -1.0)


def maximum_likelihood(X, y, ridge: float) -> Float[np.ndarray, " d"]:
    """The minimum of mean ln(1 + exp(-y <x, theta>)) + ridge (tr K / d) |theta|^2 / 2, K = X'X/n, y = 1 or -1.

    ValueError unless ``ridge`` > 0. RuntimeError if it is not found to 1e-6 of the gradient at theta = 0.
    """
    n, d = X.shape
    penalty = ridge * np.mean(X**2)

    def value(theta):
        score = X @ theta
        return np.mean(np.logaddexp(0.0, -y * score)) + penalty * theta @ theta / 2

    def gradient(theta):
        return X.T @ (-y * expit(-y * (X @ theta))) / n + penalty * theta

    def times_hessian(theta, direction):
        p = expit(X @ theta)
        return X.T @ (p * (1 - p) * (X @ direction)) / n + penalty * direction

    scale = np.linalg.norm(gradient(np.zeros(d)))
    found = minimize(
        value, np.zeros(d), jac=gradient, hessp=times_hessian, method="trust-ncg",
        options={"gtol": 1e-10 * scale + TINY, "maxiter": 1000},
    ).x  # fmt: skip
    rest = np.linalg.norm(gradient(found))
    if not rest <= 1e-6 * scale:
        raise RuntimeError(
            f"theta* was not found: the gradient of the penalized loss is {rest:.3g}, {scale:.3g} at theta = 0; a "
            f"larger ridge than {ridge:g} makes it easier"
        )
    return found
