"""A regression problem made from the rows of a data set."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.covariance.dense import from_data
from sdelimit.data.data_logistic import DataLogisticRegression, maximum_likelihood, signs
from sdelimit.data.frames import features, labels
from sdelimit.data.row_stream import OfRows
from sdelimit.noise.empirical import Empirical
from sdelimit.numerics.floors import TINY
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.support import arguments as check

SMALL_RIDGE = 1e-3
"""Penalty of a logistic fit unless another is asked for, in units of the mean variance of the features."""
INTERPOLATED = 1e-6
"""Root mean square of residuals, as a fraction of that of labels, up to which a fit has none."""
LEAST_SHARE = 0.4
"""Fraction of the rows that the smaller class may have without a warning."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class DataRegression(OfRows, LinearRegression):
    """Linear regression on the rows of a data set: y = X theta* + eps, with the residuals eps as label noise.

    K = X'X/n and the noise law is that of the residuals, so ``solve_ode`` and everything else that takes a
    ``LinearRegression`` gives the theory of *Gaussian features* with this K and noise, independent of each other and
    fresh at every step: beyond t = n/d, where the rows end, a ``LimitWarning`` says that no run gets there.
    ``simulate`` draws the data's own pairs (x, eps): every run takes the rows in its own random order, each at most
    once. ``sl.data.solve_ode`` predicts those runs from the data itself, without assuming that they are Gaussian.
    The risk is R(theta) = 1/2 (theta - theta*)' K (theta - theta*), the excess of the data's mean loss over that of
    the least-squares fit.

    Made by ``from_arrays`` and the loaders of ``sl.data``.

    Args:
        X: (n, d) features, used as they are.
        residuals: (n,) y - X theta*.
        theta_star: (d,) target.
        theta0: (d,) initial point; default 0.
        name: what figures and tables call the data.

    Attributes:
        X: (n, d) features.
        residuals: (n,) label noise of each row.
        name: as given, or None.
        covariance, noise, theta0, theta_star: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument, for a wrong shape or a non-finite entry.

    Source: arXiv:2411.12135, which compares its limit with runs on CIFAR-10 and text in this way.
    """

    X: Float[np.ndarray, "n d"]
    residuals: Float[np.ndarray, " n"]
    name: str | None

    def __init__(self, X, residuals, theta_star, theta0=None, name=None):
        X = check.array("X", X, ndim=2)
        residuals = check.array("residuals", residuals, shape=(X.shape[0],))
        theta_star = check.array("theta_star", theta_star, shape=(X.shape[1],))
        object.__setattr__(self, "X", check.read_only(X))
        object.__setattr__(self, "residuals", check.read_only(residuals))
        object.__setattr__(self, "name", name if name is None else check.text("name", name))
        super().__init__(from_data(X, center=False), Empirical(residuals), theta0, theta_star)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Whether there are few columns, and whether the fit leaves no residuals."""
        labels = self.X @ self.theta_star + self.residuals
        if np.mean(self.residuals**2) > INTERPOLATED**2 * np.mean(labels**2):
            return super().doubts
        return (
            f"the rows are interpolated (n = {self.n}, d = {self.d}): the fit leaves no residuals, so that label noise "
            "is 0 and the risk, that of the rows, says nothing of others; more rows, fewer columns or ridge > 0 help",
            *super().doubts,
        )

    @property
    def label_of_rows(self):
        """The residual of each row."""
        return self.residuals

    @property
    def sign_covariance(self) -> Float[np.ndarray, "d d"]:
        """E[sign(x) sign(x)'] over the rows: signSGD's noise, in place of (2/pi) arcsin(Khat)."""
        return self.cached("sign_covariance", lambda: _read_only_mean_product(np.sign(self.X), np.sign(self.X)))

    @property
    def sign_cross_covariance(self) -> Float[np.ndarray, "d d"]:
        """E[sign(x) x'] over the rows; sqrt(2/pi) D^-1 K for Gaussian features."""
        return self.cached("sign_cross_covariance", lambda: _read_only_mean_product(np.sign(self.X), self.X))

    def gaussian(self) -> LinearRegression:
        """The problem with Gaussian features of the same K, and the residuals as independent label noise."""
        return LinearRegression(self.covariance, self.noise, self.theta0, self.theta_star)


def _read_only_mean_product(left, right):
    return check.read_only(left.T @ right / left.shape[0])


def from_arrays(
    X,
    y,
    *,
    model: str = "linear",
    balance: bool = False,
    center: bool = True,
    scale: bool = True,
    random_features: int | None = None,
    activation=None,
    ridge: float | None = None,
    theta0=None,
    seed: int = 0,
    name: str | None = None,
) -> DataRegression | DataLogisticRegression:
    """The regression problem of a data set, as arXiv:2411.12135 makes it of CIFAR-10 and text.

    Columns are centred and scaled to unit variance, then theta* = (K + ridge (tr K / d) I)^-1 X'y/n with K = X'X/n
    (the shortest least-squares solution where K is singular and ridge = 0) and the label noise is what is left,
    eps = y - X theta*.

    With ``model="logistic"`` the labels are two classes and theta* is the maximum-likelihood fit with a penalty,

        theta* = argmin  mean_i ln(1 + exp(-y_i <x_i, theta>)) + ridge (tr K / d) |theta|^2 / 2.

    Without a penalty there is no theta* where a plane through the mean separates the classes, which is the more usual
    the larger d/n is: the likelihood then increases with |theta| for ever. Runs have no penalty and are drawn to larger
    |theta| than theory, the less the smaller ``ridge`` is. The model has no intercept. Centring takes its place where
    the classes have about the same number of rows, as ``balance`` makes them; otherwise a rule that is not linear in
    the gradient, signSGD or Adam, is pulled aside by the skewness of the features, which Gaussian ones do not have.

    Args:
        X: (n, d) features: an array, or a DataFrame of pandas, whose columns errors name.
        y: (n,) labels, numbers: an array, a Series, or one column of an array or DataFrame; for ``model="logistic"``
            1 and -1, or 1 and 0: ``y == c`` tells one class c from the rest.
        model: "linear" or "logistic".
        balance: for ``model="logistic"``, take only as many rows of the larger class as the smaller one has, drawn
            from ``seed``.
        center: subtract the means of the columns and, for the linear model, of the labels.
        scale: divide each column by its root mean square (after centring, its standard deviation).
        random_features: if given, replace the prepared X by this many features f(X W), W with independent N(0, 1/d)
            entries drawn from ``seed``, and centre and scale those.
        activation: f, a function of an array, entry by entry, such as ``np.tanh``; default ReLU, max(x, 0).
        ridge: regularization of theta*, relative to the mean variance tr K / d; default 0 for the linear model and
            0.001 for the logistic one, where it must be > 0. In the linear model with ridge > 0 the residuals are
            correlated with the features: the Gaussian theory ignores that, ``sl.data.solve_ode`` does not.
        theta0: initial point; default 0.
        seed: seed of the random features and of ``balance``.
        name: what figures and tables call the data.

    Returns:
        A ``DataRegression``, or for ``model="logistic"`` a ``DataLogisticRegression``.

    Raises:
        TypeError, ValueError: naming the argument: for shapes that do not match, a non-finite entry, labels that the
            model does not have, or a column that is constant (zero, without ``center``).
        RuntimeError: if the search for the maximum of the likelihood does not end.

    Warns:
        UserWarning: if one of two classes has less than 40% of the rows.

    >>> import numpy as np
    >>> import sdelimit as sl
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> problem = sl.data.from_arrays(X, X[:, 0] > 0)
    >>> problem.d, problem.n
    (5, 200)
    """
    X, names = features("X", X)
    return problem_of(
        X, labels("y", y), names, model=model, balance=balance, center=center, scale=scale, ridge=ridge, theta0=theta0,
        random_features=random_features, activation=activation, seed=seed, name=name,
    )  # fmt: skip


def problem_of(
    X,
    y,
    names=None,
    *,
    model="linear",
    balance=False,
    center=True,
    scale=True,
    random_features=None,
    activation=None,
    ridge=None,
    theta0=None,
    seed=0,
    name=None,
) -> DataRegression | DataLogisticRegression:
    """``from_arrays``, of arrays whose columns have ``names``; None for 0, 1, ..."""
    X = check.array("X", X, ndim=2)
    name = name if name is None else check.text("name", name)
    logistic = check.choice("model", model, ("linear", "logistic")) == "logistic"
    y = signs("y", y, X.shape[0]) if logistic else _numbers("y", y, X.shape[0])
    ridge = (SMALL_RIDGE if logistic else 0.0) if ridge is None else check.real("ridge", ridge, nonnegative=True)
    if logistic and ridge == 0:
        raise ValueError("ridge must be > 0 for a logistic model: separable classes have no theta* without, got 0")
    seed = check.seed("seed", seed)
    if check.flag("balance", balance):
        if not logistic:
            raise ValueError("balance must be False for the linear model, which has no classes, got True")
        kept = balanced_rows(y, seed)
        X, y = X[kept], y[kept]
    elif logistic and min(np.mean(y > 0), np.mean(y < 0)) < LEAST_SHARE:
        warnings.warn(_unequal(y), stacklevel=3)
    center, scale = check.flag("center", center), check.flag("scale", scale)
    if activation is not None and not callable(activation):
        raise TypeError(f"activation must be a function of an array, as np.tanh, got {check.describe(activation)}")
    if activation is not None and random_features is None:
        raise ValueError("activation is of random features: give random_features too, their number")
    X = _center_and_scale(X, center, scale, "X", names)
    if random_features is not None:
        rng = np.random.default_rng(seed)
        shape = X.shape[1], check.integer("random_features", random_features, minimum=1)
        X = _activated(X @ rng.standard_normal(shape) / np.sqrt(shape[0]), _relu if activation is None else activation)
        X = _center_and_scale(X, center, scale, "random features")
    if logistic:
        return DataLogisticRegression(X, y, maximum_likelihood(X, y, ridge), theta0, name)
    y = y - y.mean() if center else y
    theta_star = _least_squares(X, y, ridge)
    return DataRegression(X, y - X @ theta_star, theta_star, theta0, name)


def _numbers(name, y, n):
    """Labels of a linear regression."""
    y = np.asarray(y)
    return check.array(name, y.astype(np.float64) if y.dtype == bool else y, shape=(n,))


def balanced_rows(y, seed):
    """The rows of the smaller class and as many of the larger one, in their order."""
    classes = sorted((np.flatnonzero(y > 0), np.flatnonzero(y < 0)), key=len)
    some = np.random.default_rng([seed, BALANCE]).choice(classes[1], classes[0].size, replace=False)
    return np.sort(np.concatenate([classes[0], some]))


BALANCE = 1
"""Beside the seed, of the rows that are drawn."""


def _unequal(y):
    return (
        f"y has {np.sum(y > 0)} rows of one class and {np.sum(y < 0)} of the other, and the logistic model has no "
        "intercept: theory will be far from the runs of rules such as signSGD and Adam. balance=True takes as many "
        "rows of each"
    )


def _relu(x):
    return np.maximum(x, 0.0)


def _activated(X, activation):
    """activation(X), checked."""
    return check.array("activation(X W)", activation(X), shape=X.shape)


def _center_and_scale(X, center, scale, name, names=None):
    X = X - X.mean(axis=0) if center else X
    size = np.sqrt(np.mean(X**2, axis=0))
    largest = np.max(np.abs(X), initial=0.0) if not center else np.max(size)
    flat = size <= 1e-12 * max(largest, TINY)
    if np.any(flat):
        kind, first = "constant" if center else "zero", int(np.argmax(flat))
        raise ValueError(
            f"{name} must not have a {kind} column, which no rule can learn from: column "
            f"{first if names is None else repr(names[first])} is "
            f"({flat.sum()} of {flat.size} are); drop it"
        )
    return X / size if scale else X


def _least_squares(X, y, ridge):
    K, moment = X.T @ X / X.shape[0], X.T @ y / X.shape[0]
    values, vectors = np.linalg.eigh(K)
    values = values + ridge * np.trace(K) / K.shape[0]
    inverse = np.where(values > 1e-10 * values[-1], 1 / np.maximum(values, TINY), 0.0)
    return vectors @ (inverse * (vectors.T @ moment))
