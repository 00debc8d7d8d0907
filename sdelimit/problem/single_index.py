"""Problems whose loss depends on x through u = <x, theta> and u* = <x, theta*> (theory: section 20)."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from scipy.special import ndtr

from sdelimit.numerics.jit import jit, shared_size
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.problem.losses import Logistic, Loss, OwnLoss, Phase, PoissonLoss, Probit, Residual
from sdelimit.problem.regression import Regression
from sdelimit.problem.score_means import FEW_LABELS, moments, panels_of_target
from sdelimit.problem.state_table import Grid, StateTable, grid_to, state_table
from sdelimit.support import arguments as check

ROOM = 4.0
"""Risks are tabulated up to this many times the largest s asked for."""
COARSE = 0.6, 8
"""Spacing and angles of tables that are checked along every curve and whose states are costly."""
SHARED_STATES = 256
"""States are padded to a multiple of this many; see ``shared_size``."""
FINE = 12
"""Points between two nodes of a table, for integrals along log s."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SingleIndex(Regression):
    """A loss of u = <x, theta> whose labels depend on x through u* = <x, theta*>: x ~ N(0, K), no intercept.

    theta* is where the labels come from. The risk is the excess risk, E loss(u) - E loss(u*): it is negative where
    theta* does not minimize the loss and theta is better.

    Args:
        covariance: as for ``LinearRegression``.
        loss: a JAX function of three numbers (u, u*, eps), or with ``label`` of two, (u, y). Its derivative in u may
            jump.
        label: a JAX function (u*, eps) -> y.
        noise: a ``sl.noise`` law of eps; default none.
        theta0, theta_star, seed: as for ``LinearRegression``.

    Attributes:
        loss: the loss as the limits and ``simulate`` use it.

    Raises:
        TypeError, ValueError: naming the argument; in particular for a loss that is no function JAX can differentiate,
            or whose derivative is not finite.

    Source: theory section 20.

    >>> import jax.numpy as jnp
    >>> import sdelimit as sl
    >>> P = sl.SingleIndex(sl.covariance.identity(100), loss=lambda u, u_star, eps: jnp.log(jnp.cosh(u - u_star - eps)))
    >>> bool(sl.solve_ode(P, sl.sign_sgd(), lr=0.5, t_max=1.0).risk[-1] < P.initial_risk)
    True
    """

    loss: Loss

    def __init__(self, covariance, loss, *, label=None, noise=None, theta0=None, theta_star=None, seed=0):
        object.__setattr__(self, "loss", loss if isinstance(loss, Loss) else _own(loss, label))
        super().__init__(covariance, noise, theta0, theta_star, seed)

    def __repr__(self):
        return f"<{self.model}, d={self.d}{self._noise_text()}>"

    def _arguments(self):
        return {"loss": str(self.loss)} if type(self) is SingleIndex else {}

    @property
    def target_variance(self) -> float:
        """B22 = theta*' K theta*, the variance of u*."""
        return self.cached("target_variance", lambda: 2 * self._half_norm(self.theta_star))

    @property
    def initial_overlaps(self) -> tuple[float, float]:
        """delta' K delta and delta' K theta* at theta0, delta = theta - theta*."""
        return self.cached("initial_overlaps", lambda: self._overlaps(self.theta0))

    @property
    def initial_risk(self) -> float:
        """The excess risk at theta0."""
        return self.cached("initial_risk", lambda: float(self.risk_of(*self.initial_overlaps)))

    @property
    def initial_slope(self) -> float:
        """The root mean square of l = dloss/du at theta0."""
        return float(np.sqrt(self.initial_moments[2]))

    @property
    def initial_moments(self) -> tuple[float, float, float]:
        """h1, h0 and E l^2 at theta0 (theory: section 20)."""
        return self.cached("initial_moments", lambda: self.moments_at(*self.initial_overlaps))

    def moments_at(self, S2: float, X: float) -> tuple[float, float, float]:
        """h1, h0 and E l^2 (theory: section 20) where delta' K delta = S2 and delta' K theta* = X."""
        s, sd = max(np.sqrt(S2), 1e-6), np.sqrt(self.target_variance)
        c = np.clip(X / (s * sd), -1 + 1e-6, 1 - 1e-6) if sd > 0 else 0.0
        found = moments(self.loss, self.noise, self.target_variance, [s], [float(c)])
        return tuple(float(part[0]) for part in found)

    def risk(self, theta) -> float:
        """The excess risk at theta, (d,)."""
        return float(self.risk_of(*self._overlaps(check.array("theta", theta, shape=(self.d,)))))

    def target_image(self, dtype):
        """K theta*."""
        return self.cached("K theta*", self._times_target).astype(dtype)

    def _overlaps(self, theta):
        K_target = self.cached("K theta*", self._times_target)
        delta = theta - self.theta_star
        return 2 * self._half_norm(delta), float(delta @ K_target)

    def _times_target(self):
        apply = self.covariance.apply
        return evaluate_in_float64(lambda v: apply(v), self.theta_star)

    def risk_of(self, S2, X) -> Float[np.ndarray, "..."]:
        """The excess risk where delta' K delta = S2 and delta' K theta* = X, arrays of one shape; infinite with S2."""
        S2, X = np.asarray(S2, np.float64), np.asarray(X, np.float64)
        finite = np.isfinite(S2) & np.isfinite(X)
        closed = self.loss.excess(np.where(finite, S2, 0.0), np.where(finite, X, 0.0), self.target_variance)
        if closed is not None:
            return np.where(finite, closed, np.inf)
        s = np.sqrt(np.max(S2, where=finite, initial=0.0))
        table = self._risk_table(max(s, np.sqrt(self.target_variance), 1e-3))
        inside = np.where(finite, S2, 0.0), np.where(finite, X, 0.0)
        padded = [np.resize(part.ravel(), shared_size(S2.size, SHARED_STATES)) for part in inside]
        ratio = evaluate_in_float64(partial(_at_states, table), *padded)[: S2.size]
        return np.where(finite, ratio.reshape(S2.shape) * inside[0], np.inf)

    def observed(self, rows):
        """The excess risk and the three overlaps from delta' K delta and delta' K theta*."""
        S2, X = np.moveaxis(rows, -1, 0)
        B22 = self.target_variance
        return self.risk_of(S2, X), np.stack([S2 + 2 * X + B22, X + B22, np.full_like(S2, B22)], axis=-1)

    def recorded(self, values):
        half, X, *rest = values
        risk, overlaps = self.observed(np.stack([2 * half, X], axis=-1))
        return risk, overlaps, rest

    def _risk_table(self, largest) -> StateTable:
        kept = self.cached("risk table", lambda: [None])
        if kept[0] is None or kept[0].largest < largest:
            kept[0] = risk_table(self.loss, self.noise, self.target_variance, ROOM * largest)
        return kept[0]

    def alignment_of(self, S2, X) -> Float[np.ndarray, "..."]:
        """The cosine theta' K theta* / (theta' K theta theta*' K theta*)^(1/2); 0 where theta or theta* is."""
        B22 = self.target_variance
        B11, B12 = S2 + 2 * X + B22, X + B22
        length = np.sqrt(np.maximum(B11, 0.0) * B22)
        known = np.isfinite(length) & (length > 1e-12 * B22) & (length > 0)
        return np.clip(np.divide(B12, length, out=np.zeros_like(length), where=known), -1.0, 1.0)

    def error_rate_of(self, S2, X) -> Float[np.ndarray, "..."]:
        """P(sign(u) is not the label), of a fresh sample; ValueError for losses that do not classify."""
        if not self.loss.classifies:
            raise ValueError(f"error_rate is of classifiers, not of {type(self).__name__}")
        cosine = self.alignment_of(np.asarray(S2, np.float64), np.asarray(X, np.float64))
        u_star, weight = panels_of_target(self.target_variance)
        # P(u > 0 | u*), for u and u* of this correlation.
        lean = cosine[..., None] / np.sqrt(np.maximum(1 - cosine[..., None] ** 2, 1e-300))
        positive = ndtr(lean * u_star / np.sqrt(max(self.target_variance, 1e-300)))
        hard = Logistic(False) if isinstance(self.loss, Logistic) else self.loss
        labels, probabilities = hard.outcomes(self.noise, u_star)
        wrong = sum(p * np.where(y > 0, 1 - positive, positive) for y, p in zip(labels, probabilities, strict=True))
        return wrong @ weight


@jit
def _at_states(table, S2, X):
    return jax.vmap(lambda a, b: table(a, b)[0])(S2, X)


@memoized
def risk_table(loss: Loss, noise, B22: float, largest: float) -> StateTable:
    """The excess risk over S2, from dE[loss] / ds = E[l v] / s = (h1 S2 + h0 X) / s along a ray from theta*."""
    sd = np.sqrt(B22)
    grid = grid_of(loss, noise, B22, largest)
    h1, h0, _ = moment_values(loss, noise, B22, grid)
    s = np.exp(grid.log_s)[:, None]
    slope = h1 + h0 * grid.c * sd / s
    return state_table(grid, _mean_along(grid.log_s, slope)[None], (0.0,), 0.0, float(sd))


def _mean_along(x, slope):
    """s^-2 int_0^s slope s' ds' at s = exp(x), (n, a), with ``slope`` constant below the first."""
    spline = make_interp_spline(x, slope, k=5)
    points, weights = np.polynomial.legendre.leggauss(FINE)
    half = np.diff(x)[:, None] / 2
    at = (x[1:] + x[:-1])[:, None] / 2 + half * points
    growth = np.exp(2 * (at - x[1:, None]))
    pieces = np.einsum("nk,nka->na", growth * half * weights, spline(at))
    out = np.empty_like(slope)
    out[0] = slope[0] / 2
    for i, piece in enumerate(pieces):
        out[i + 1] = out[i] * np.exp(2 * (x[i] - x[i + 1])) + piece
    return out


def grid_of(loss: Loss, noise, B22: float, largest: float) -> Grid:
    """The states of tables that reach to s = ``largest``: fewer where each costs a sum over many labels."""
    sd, depends = float(np.sqrt(B22)), not loss.of_residual
    labels, _ = loss.outcomes(noise, np.zeros(1))
    costly = depends and len(labels) > FEW_LABELS and type(loss).moments is Loss.moments
    return grid_to(largest, sd, depends, *(COARSE if costly else ()))


@memoized
def moment_values(loss: Loss, noise, B22: float, grid: Grid) -> Float[np.ndarray, "3 n a"]:
    """h1, h0 and E l^2 at the states of a grid (theory: section 20), in closed form where there is one."""
    s, c = grid.states
    if type(loss).moments is Loss.moments:
        found = moments(loss, noise, B22, s, c)
    else:
        closed = jax.vmap(lambda S2, X: jnp.stack(loss.moments(S2, X, B22)))
        found = evaluate_in_float64(closed, s**2, c * s * np.sqrt(B22)).T
    return np.stack([part.reshape(grid.log_s.size, grid.c.size) for part in found])


def _own(loss, label) -> OwnLoss:
    """The loss of a user's functions, checked."""
    if not callable(loss):
        raise TypeError(f"loss must be a function of (u, u*, eps), got {check.describe(loss)}")
    if label is not None and not callable(label):
        raise TypeError(f"label must be a function of (u*, eps), got {check.describe(label)}")
    function = _Labelled(loss, label) if label is not None else loss
    wanted = 2 if label is not None else 3
    try:
        inspect.signature(loss).bind(*[0.0] * wanted)
    except TypeError as error:
        names = "(u, y)" if label is not None else "(u, u*, eps)"
        raise TypeError(f"loss must be a function of {names}, got one that takes other arguments") from error
    with x64():
        try:
            values = jax.vmap(jax.grad(function))(*np.array([[0.3, -1.1, 2.0], [1.2, -0.4, 0.1], [0.2, -0.3, 0.0]]))
        except Exception as error:
            raise TypeError(
                f"loss must be a JAX function of numbers that gives a number, got one that is not: {error}"
            ) from error
    if not np.all(np.isfinite(values)):
        raise ValueError(f"loss must have a finite derivative in u, got {np.asarray(values)}")
    return OwnLoss(function, additive=_is_additive(function))


def _is_additive(function) -> bool:
    """Whether the derivative in u is one of u - u* - eps alone, at numbers of all sizes."""
    rng = np.random.default_rng(0)
    u, u_star, eps = rng.standard_normal((3, 512)) * np.geomspace(1e-3, 1e2, 512)
    slope = jax.vmap(jax.grad(function))
    with x64():
        given, alone = np.asarray(slope(u, u_star, eps)), np.asarray(slope(u - u_star - eps, 0 * u, 0 * u))
    return bool(np.allclose(given, alone, rtol=1e-6, atol=1e-9 * np.nanmax(np.abs(given), initial=0.0)))


@dataclass(frozen=True)
class _Labelled:
    """A loss of (u, y) as one of (u, u*, eps); equal to others of the same functions."""

    loss: Callable
    label: Callable

    def __call__(self, u, u_star, eps):
        return self.loss(u, self.label(u_star, eps))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LogisticRegression(SingleIndex):
    """Logistic regression: P(y = 1) = sigma(<x, theta*>), sigma(u) = 1 / (1 + exp(-u)) (theory: section 20).

    Args:
        covariance: as for ``LinearRegression``.
        labels: "hard" for labels y = +-1, with the loss ln(1 + exp(-y u)) and its gradient (sigma(u) - 1{y = 1}) x;
            "soft" for their probabilities, with the gradient (sigma(u) - sigma(u*)) x.
        theta0, theta_star, seed: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument.

    >>> import sdelimit as sl
    >>> P = sl.LogisticRegression(sl.covariance.identity(100))
    >>> curve = sl.solve_ode(P, sl.adam(0.9, 0.95), lr=0.5, t_max=1.0)
    >>> bool(curve.error_rate[-1] < curve.error_rate[0])
    True
    """

    def __init__(self, covariance, *, labels="hard", theta0=None, theta_star=None, seed=0):
        soft = check.choice("labels", labels, ("hard", "soft")) == "soft"
        super().__init__(covariance, Logistic(soft), theta0=theta0, theta_star=theta_star, seed=seed)

    def _arguments(self):
        return {"labels": "'soft'" if self.loss.soft else "'hard'"}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ProbitRegression(SingleIndex):
    """Probit regression: P(y = 1) = Phi(<x, theta*>), the loss -ln Phi(y u) (theory: section 20).

    Args:
        covariance, theta0, theta_star, seed: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    def __init__(self, covariance, *, theta0=None, theta_star=None, seed=0):
        super().__init__(covariance, Probit(), theta0=theta0, theta_star=theta_star, seed=seed)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class PoissonRegression(SingleIndex):
    """Poisson regression: Y of mean exp(<x, theta*>), the loss exp(u) - Y u (theory: section 20).

    Args:
        covariance, theta0, theta_star, seed: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    def __init__(self, covariance, *, theta0=None, theta_star=None, seed=0):
        super().__init__(covariance, PoissonLoss(), theta0=theta0, theta_star=theta_star, seed=seed)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class PhaseRetrieval(SingleIndex):
    """Phase retrieval: only u*^2 is seen, the loss is (u^2 - u*^2)^2 (theory: section 20).

    theta = 0 and every theta with theta' K theta* = 0 are saddles of the risk that the limit does not leave by
    itself: start with some overlap. Gradients are cubic, so that SGD needs small learning rates.

    Args:
        covariance, theta0, theta_star, seed: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    def __init__(self, covariance, *, theta0=None, theta_star=None, seed=0):
        super().__init__(covariance, Phase(), theta0=theta0, theta_star=theta_star, seed=seed)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class RobustRegression(SingleIndex):
    """Linear regression y = <x, theta*> + eps with a loss that bounds the influence of a residual r = u - y.

    Huber's loss is r^2 / 2 up to |r| = threshold and linear beyond; the absolute loss is |r|. Both have a limit under
    any label noise, of infinite variance too.

    Args:
        covariance: as for ``LinearRegression``.
        loss: "huber" or "absolute".
        threshold: where Huber's loss becomes linear, > 0.
        noise, theta0, theta_star, seed: as for ``LinearRegression``.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    def __init__(self, covariance, *, loss="huber", threshold=None, noise=None, theta0=None, theta_star=None, seed=0):
        if check.choice("loss", loss, ("huber", "absolute")) == "absolute":
            if threshold is not None:
                raise ValueError(f"threshold must be None for the absolute loss, got {check.describe(threshold)}")
            threshold = 0.0
        else:
            threshold = 1.0 if threshold is None else check.real("threshold", threshold, positive=True)
        super().__init__(covariance, Residual(threshold), noise=noise, theta0=theta0, theta_star=theta_star, seed=seed)

    def _arguments(self):
        if self.loss.threshold == 0:
            return {"loss": "'absolute'"}
        return {"loss": "'huber'", "threshold": f"{self.loss.threshold:g}"}
