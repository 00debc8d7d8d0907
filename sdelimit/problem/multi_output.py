"""Problems of several outputs: Theta of shape (d, m), scores U = Theta' x (theory: section 22)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.noise.gaussian import NoNoise
from sdelimit.noise.multivariate import IndependentNoise, OutputNoise
from sdelimit.noise.scipy_laws import as_noise
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.output_losses import LinearOutputs, OutputLoss, Softmax
from sdelimit.problem.output_scores import MOST, softmax_errors, softmax_moments, softmax_risks
from sdelimit.problem.regression import Regression
from sdelimit.support import arguments as check


class MultiOutput(Regression):
    """A loss of the scores U = Theta' x whose labels depend on x through U* = Theta*' x: x ~ N(0, K).

    An update rule sees the d m entries of Theta as one vector, one output after the other.

    Attributes:
        outputs: m.
        loss: the loss as the limits and ``simulate`` use it.
    """

    outputs: int
    loss: OutputLoss

    def __init__(self, covariance, loss, outputs, noise=None, theta0=None, theta_star=None, seed=0):
        put = object.__setattr__
        put(self, "outputs", outputs)
        put(self, "loss", loss)
        super().__init__(covariance, noise, theta0, theta_star, seed)

    def __repr__(self):
        return f"<{self.model}, d={self.d}, outputs={self.outputs}{self._noise_text()}>"

    def _theta_shape(self):
        return (self.d, self.outputs)

    def _half_norm(self, delta):
        """tr(delta' K delta) / 2."""
        with np.errstate(over="ignore", invalid="ignore"):
            return max(float(np.sum(delta * self._times(delta))) / 2, 0.0)

    def _times(self, theta):
        """K theta, (d, m)."""
        apply = self.covariance.apply
        return evaluate_in_float64(lambda v: apply(v), theta.T).T

    @property
    def target_overlaps(self) -> Float[np.ndarray, "m m"]:
        """B22 = Theta*' K Theta*."""
        return self.cached("B22", lambda: _symmetric(self.theta_star.T @ self._target_image()))

    @property
    def initial_overlaps(self) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m m"]]:
        """S = Delta' K Delta and X = Delta' K Theta* at theta0."""
        return self.cached("initial_overlaps", lambda: self._overlaps(self.theta0))

    @property
    def initial_risk(self) -> float:
        """The excess risk at theta0."""
        return self.cached("initial_risk", lambda: float(self.risk_of(*self.initial_overlaps)))

    def risk(self, theta) -> float:
        """The excess risk at theta, (d, m)."""
        return float(self.risk_of(*self._overlaps(check.array("theta", theta, shape=(self.d, self.outputs)))))

    def _overlaps(self, theta):
        delta = theta - self.theta_star
        return _symmetric(delta.T @ self._times(delta)), delta.T @ self._target_image()

    def _target_image(self):
        return self.cached("K theta*", lambda: self._times(self.theta_star))

    def target_image(self, dtype):
        """K theta*, (m, d)."""
        return self._target_image().T.astype(dtype)

    def stacked(self, theta):
        return theta.T.ravel()

    @property
    def followed(self):
        return self.delta0.T, self.theta_star.T

    overlap_axis = -3

    def observed(self, rows):
        S, X = self._matrices(rows)
        B22 = np.broadcast_to(self.target_overlaps, S.shape)
        B12 = X + B22
        return self.risk_of(S, X), np.stack([S + X + np.swapaxes(X, -1, -2) + B22, B12, B22], axis=-3)

    def recorded(self, values):
        m = self.outputs
        count = 1 + m * (m + 1) // 2 + m * m
        with np.errstate(invalid="ignore", over="ignore"):
            risk, overlaps = self.observed(np.stack(values[1:count], axis=-1))
        return risk, overlaps, values[count:]

    def _matrices(self, rows):
        """S and X from the rows of both, (..., m (m + 1) / 2 + m^2)."""
        m = self.outputs
        S = np.zeros((*rows.shape[:-1], m, m))
        upper = np.triu_indices(m)
        S[..., upper[0], upper[1]] = S[..., upper[1], upper[0]] = rows[..., : upper[0].size]
        return S, rows[..., upper[0].size :].reshape(*rows.shape[:-1], m, m)

    def risk_of(self, S, X) -> Float[np.ndarray, "..."]:
        """The excess risk where Delta' K Delta = S and Delta' K Theta* = X, (..., m, m) each; infinite with them."""
        S, X = np.asarray(S, np.float64), np.asarray(X, np.float64)
        finite = np.isfinite(S).all(axis=(-2, -1)) & np.isfinite(X).all(axis=(-2, -1))
        risk = np.full(finite.shape, np.inf)
        risk[finite] = self._finite_risks(S[finite], X[finite])
        return risk

    def _finite_risks(self, S, X):
        """``risk_of`` for (n, m, m)."""
        raise NotImplementedError

    def alignment_of(self, S, X) -> Float[np.ndarray, "..."]:
        """tr(Theta' K Theta*) / (tr(Theta' K Theta) tr(Theta*' K Theta*))^(1/2); 0 where Theta or Theta* is."""
        S, X, B22 = (np.trace(part, axis1=-2, axis2=-1) for part in (S, X, self.target_overlaps))
        B11, B12 = S + 2 * X + B22, X + B22
        length = np.sqrt(np.maximum(B11, 0.0) * B22)
        known = np.isfinite(length) & (length > 1e-12 * B22) & (length > 0)
        return np.clip(np.divide(B12, length, out=np.zeros_like(length), where=known), -1.0, 1.0)

    def error_rate_of(self, S, X):
        """ValueError: this is no classifier."""
        raise ValueError(f"error_rate is of classifiers, not of {type(self).__name__}")


def _symmetric(matrix):
    return (matrix + matrix.T) / 2


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SoftmaxRegression(MultiOutput):
    """Softmax regression with m classes: P(y = a) is proportional to exp(<x, theta*_a>) (theory: section 22).

    The risk is the excess risk, the mean Kullback-Leibler divergence of softmax(Theta' x) from softmax(Theta*' x). It
    does not change if one vector is added to all columns of Theta.

    Args:
        covariance: as for ``LinearRegression``.
        labels: "hard" for classes, with the loss -ln p_y and its gradient x (p - e_y)'; "soft" for their
            probabilities, with the gradient x (p - p*)'.
        outputs: m >= 2; needed unless theta0 or theta_star tells.
        theta0: (d, m) initial point; default 0.
        theta_star: (d, m) target; default drawn from N(0, I/d) with ``seed``.
        seed: seed of the default target.

    Raises:
        TypeError, ValueError: naming the argument.

    >>> import sdelimit as sl
    >>> P = sl.SoftmaxRegression(sl.covariance.identity(100), outputs=3)
    >>> curve = sl.solve_ode(P, sl.sgd(), lr=0.5, t_max=1.0)
    >>> curve.overlaps.shape, bool(curve.error_rate[-1] < curve.error_rate[0])
    ((200, 3, 3, 3), True)
    """

    outputs: int
    loss: OutputLoss

    def __init__(self, covariance, *, labels="hard", outputs=None, theta0=None, theta_star=None, seed=0):
        soft = check.choice("labels", labels, ("hard", "soft")) == "soft"
        outputs = outputs_of(outputs, 2, theta0=theta0, theta_star=theta_star)
        super().__init__(covariance, Softmax(outputs, soft), outputs, None, theta0, theta_star, seed)

    def _arguments(self):
        return {"labels": "'soft'" if self.loss.soft else "'hard'"}

    def _finite_risks(self, S, X):
        return softmax_risks(S, X, self.target_overlaps)

    @property
    def initial_moments(self):
        """H1, H0 and E[l l'], (m, m) each, at theta0 (theory: section 22)."""
        given = self.target_overlaps, self.loss.soft
        return self.cached("initial_moments", lambda: softmax_moments(*self.initial_overlaps, *given))

    @property
    def initial_slope(self) -> float:
        """The root mean square of dloss/dU_a at theta0, over samples and outputs."""
        return float(np.sqrt(np.trace(self.initial_moments[2]) / self.outputs))

    @property
    def label_covariance(self) -> Float[np.ndarray, "m m"]:
        """E[diag p* - p* p*'], the Hessian of the loss in the scores at theta*."""
        zero, given = np.zeros_like(self.target_overlaps), (self.target_overlaps, self.loss.soft)
        return self.cached("label covariance", lambda: softmax_moments(zero, zero, *given)[0])

    def error_rate_of(self, S, X) -> Float[np.ndarray, "..."]:
        """P(the class of the largest score is not the label), of a fresh sample."""
        finite = np.isfinite(S).all(axis=(-2, -1)) & np.isfinite(X).all(axis=(-2, -1))
        rate = np.full(finite.shape, np.nan)
        rate[finite] = softmax_errors(S[finite], X[finite], self.target_overlaps)
        return rate


@dataclass(frozen=True, eq=False, init=False, repr=False)
class MultiOutputRegression(MultiOutput):
    """Linear regression with m outputs, y = Theta*' x + eps: what ``LinearRegression`` gives for a (d, m) target.

    The loss is |Theta' x - y|^2 / 2 and the risk the excess risk R = 1/2 tr (Theta - Theta*)' K (Theta - Theta*), a sum
    over outputs.

    Args:
        covariance: as for ``LinearRegression``.
        noise: a ``sl.noise.MultivariateGaussian`` for noise correlated between outputs, or a law of one number for
            independent noise of each; default none.
        theta0: (d, m) initial point; default 0.
        theta_star: (d, m) target; default drawn from N(0, I/d) with ``seed``.
        seed: seed of the default target.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    outputs: int
    loss: OutputLoss

    def __init__(self, covariance, noise=None, theta0=None, theta_star=None, seed=0):
        given = noise.outputs if isinstance(noise, OutputNoise) else None
        outputs = outputs_of(None, 1, noise=given, theta0=theta0, theta_star=theta_star)
        law = noise if given else IndependentNoise(NoNoise() if noise is None else as_noise(noise), outputs)
        super().__init__(covariance, LinearOutputs(outputs, law), outputs, noise, theta0, theta_star, seed)

    def _checked_noise(self, noise):
        return noise if isinstance(noise, OutputNoise) else super()._checked_noise(noise)

    def __repr__(self):
        return f"<{self.model}, d={self.d}, outputs={self.outputs}{self._noise_text()}, R(0)={self.initial_risk:.4g}>"

    @property
    def irreducible_risk(self) -> float:
        """E|eps|^2 / 2, what label noise adds to the risk of any Theta."""
        return float(np.trace(self.loss.noise.covariance)) / 2

    @property
    def initial_moments(self):
        """The coefficients of SGD, H1 and H0, and E[r r'] at theta0."""
        m, noise = self.outputs, self.loss.noise
        return np.eye(m), np.zeros((m, m)), self.initial_overlaps[0] + noise.covariance

    def risk_of(self, S, X):
        """tr S / 2; overlaps of different outputs need not be known."""
        risk = np.trace(np.asarray(S, np.float64), axis1=-2, axis2=-1) / 2
        return np.where(np.isfinite(risk), risk, np.inf)


def outputs_of(given, smallest: int, *, noise=None, theta0=None, theta_star=None) -> int:
    """The number of outputs that the arguments agree on; ValueError naming the first that does not tell or fit."""
    found = None if given is None else ("outputs", check.integer("outputs", given, minimum=smallest, below=MOST // 2))
    if noise is not None:
        found = "noise", noise
    for name, theta in (("theta_star", theta_star), ("theta0", theta0)):
        if theta is None:
            continue
        columns = check.array(name, theta, ndim=2).shape[1]
        if columns < smallest:
            raise ValueError(f"{name} must have at least {smallest} columns, one for each class, got {columns}")
        if found is not None and found[1] != columns:
            raise ValueError(f"{name} must have {found[1]} columns as {found[0]} has, got {columns}")
        found = name, columns
    if found is None:
        raise ValueError("outputs must be given, or theta_star or theta0 of shape (d, outputs), got none of them")
    return found[1]


def has_outputs(noise, theta0, theta_star) -> bool:
    """Whether the arguments of a linear regression are those of one with several outputs."""
    return isinstance(noise, OutputNoise) or any(_is_matrix(theta) for theta in (theta0, theta_star))


def _is_matrix(theta):
    try:
        return theta is not None and np.ndim(theta) == 2
    except ValueError:  # rows of different lengths, which the check of the argument names
        return False
