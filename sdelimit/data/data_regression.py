"""A regression problem made from the rows of a data set."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.covariance.dense import from_data
from sdelimit.noise.empirical import Empirical
from sdelimit.numerics.floors import TINY
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.sample_stream import Stream
from sdelimit.support import arguments as check

PERMUTATION = 3
"""Folded into a run's key for the order of its rows."""


@dataclass(frozen=True, eq=False, init=False)
class DataRegression(LinearRegression):
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

    Attributes:
        X: (n, d) features.
        residuals: (n,) label noise of each row.
        covariance, noise, theta0, theta_star: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument, for a wrong shape or a non-finite entry.

    Source: arXiv:2411.12135, which compares its limit with runs on CIFAR-10 and text in this way.
    """

    X: Float[np.ndarray, "n d"]
    residuals: Float[np.ndarray, " n"]

    def __init__(self, X, residuals, theta_star, theta0=None):
        X = check.array("X", X, ndim=2)
        residuals = check.array("residuals", residuals, shape=(X.shape[0],))
        theta_star = check.array("theta_star", theta_star, shape=(X.shape[1],))
        object.__setattr__(self, "X", check.read_only(X))
        object.__setattr__(self, "residuals", check.read_only(residuals))
        super().__init__(from_data(X, center=False), Empirical(residuals), theta0, theta_star)

    @property
    def n(self) -> int:
        """Rows."""
        return self.X.shape[0]

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

    def longest_run(self, batch_size: int) -> float:
        """n / (d batch_size): each row is used once."""
        return self.n / (self.d * batch_size)

    def require_rows(self, t_max: float, batch_size: int):
        """ValueError if a run to ``t_max`` needs more rows than there are."""
        if np.rint(t_max * self.d) * batch_size > self.n:
            raise ValueError(
                f"t_max must be at most n / (d batch_size) = {self.longest_run(batch_size):.4g} for n = {self.n} rows "
                f"of d = {self.d}, which a run uses at most once, got {t_max:g}"
            )

    def stream(self, keys, n_samples: int, generator: str = "threefry") -> "RowStream":
        """The rows, in an order of its own for every run. ValueError if a run needs more than there are.

        No normals are drawn, whatever the ``generator``.
        """
        del generator
        self.require_rows(n_samples / self.d, 1)
        with jax.ensure_compile_time_eval():
            order = jax.lax.map(lambda key: _order(key, self.n), keys)[:, :n_samples]
        return RowStream(keys, self.X, self.residuals, order)


def _order(key, n):
    return jax.random.permutation(jax.random.fold_in(key, PERMUTATION), jnp.arange(n, dtype=jnp.int32))


def _read_only_mean_product(left, right):
    return check.read_only(left.T @ right / left.shape[0])


class RowStream(Stream):
    """Rows of a data set in a fixed order for each run, ``order`` of shape (runs, samples)."""

    X: Float[np.ndarray, "n d"]
    residuals: Float[np.ndarray, " n"]
    order: jax.Array
    per_run = ("keys", "order")

    def random(self, index, batch_size):
        """The rows of the steps ``index``; steps past the last row repeat it."""
        slots = index[:, None] * batch_size + jnp.arange(batch_size, dtype=index.dtype)
        rows = self.order.T[jnp.minimum(slots, self.order.shape[1] - 1)]
        return jnp.moveaxis(rows, -1, 1)

    def features(self, random, dtype):
        return jnp.asarray(self.X, dtype)[random]

    def noise(self, index, batch_size, dtype):
        return jnp.asarray(self.residuals, dtype)[self.random(index, batch_size)]


def from_arrays(
    X,
    y,
    *,
    center: bool = True,
    scale: bool = True,
    random_features: int | None = None,
    activation=None,
    ridge: float = 0.0,
    theta0=None,
    seed: int = 0,
) -> DataRegression:
    """The regression problem of a data set, as arXiv:2411.12135 makes it of CIFAR-10 and text.

    Columns are centred and scaled to unit variance, then theta* = (K + ridge (tr K / d) I)^-1 X'y/n with K = X'X/n
    (the shortest least-squares solution where K is singular and ridge = 0) and the label noise is what is left,
    eps = y - X theta*.

    Args:
        X: (n, d) features.
        y: (n,) labels, numbers.
        center: subtract the means of the columns and of the labels.
        scale: divide each column by its root mean square (after centring, its standard deviation).
        random_features: if given, replace the prepared X by this many features f(X W), W with independent N(0, 1/d)
            entries drawn from ``seed``, and centre and scale those.
        activation: f, a function of an array, entry by entry, such as ``np.tanh``; default ReLU, max(x, 0).
        ridge: regularization of theta*, relative to the mean variance tr K / d. With ridge > 0 the residuals are
            correlated with the features: the Gaussian theory ignores that, ``sl.data.solve_ode`` does not.
        theta0: initial point; default 0.
        seed: seed of the random features.

    Raises:
        TypeError, ValueError: naming the argument: for shapes that do not match, a non-finite entry, or a column
            that is constant (zero, without ``center``).

    >>> import numpy as np
    >>> import sdelimit as sl
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> problem = sl.data.from_arrays(X, X[:, 0] > 0)
    >>> problem.d, problem.n
    (5, 200)
    """
    X = check.array("X", X, ndim=2)
    y = np.asarray(y)
    y = check.array("y", y.astype(np.float64) if y.dtype == bool else y, shape=(X.shape[0],))
    ridge, seed = check.real("ridge", ridge, nonnegative=True), check.seed("seed", seed)
    center, scale = check.flag("center", center), check.flag("scale", scale)
    if activation is not None and not callable(activation):
        raise TypeError(f"activation must be a function of an array, as np.tanh, got {check.describe(activation)}")
    if activation is not None and random_features is None:
        raise ValueError("activation is of random features: give random_features too, their number")
    X = _center_and_scale(X, center, scale, "X")
    if random_features is not None:
        rng = np.random.default_rng(seed)
        shape = X.shape[1], check.integer("random_features", random_features, minimum=1)
        X = _activated(X @ rng.standard_normal(shape) / np.sqrt(shape[0]), _relu if activation is None else activation)
        X = _center_and_scale(X, center, scale, "random features")
    y = y - y.mean() if center else y
    theta_star = _least_squares(X, y, ridge)
    return DataRegression(X, y - X @ theta_star, theta_star, theta0)


def _relu(x):
    return np.maximum(x, 0.0)


def _activated(X, activation):
    """activation(X), checked."""
    return check.array("activation(X W)", activation(X), shape=X.shape)


def _center_and_scale(X, center, scale, name):
    X = X - X.mean(axis=0) if center else X
    size = np.sqrt(np.mean(X**2, axis=0))
    largest = np.max(np.abs(X), initial=0.0) if not center else np.max(size)
    flat = size <= 1e-12 * max(largest, TINY)
    if np.any(flat):
        kind = "constant" if center else "zero"
        raise ValueError(
            f"{name} must not have a {kind} column, which no rule can learn from: column {int(np.argmax(flat))} is "
            f"({flat.sum()} of {flat.size} are); drop it"
        )
    return X / size if scale else X


def _least_squares(X, y, ridge):
    K, moment = X.T @ X / X.shape[0], X.T @ y / X.shape[0]
    values, vectors = np.linalg.eigh(K)
    values = values + ridge * np.trace(K) / K.shape[0]
    inverse = np.where(values > 1e-10 * values[-1], 1 / np.maximum(values, TINY), 0.0)
    return vectors @ (inverse * (vectors.T @ moment))
