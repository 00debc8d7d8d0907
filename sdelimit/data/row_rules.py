"""The rules whose risk on given data can be predicted from the data."""

import numpy as np

from sdelimit.data.data_regression import DataRegression
from sdelimit.data.row_moments import Moments, clipped_moments, gradient_moments, sign_moments
from sdelimit.optimizers.adaptive import is_negligible
from sdelimit.optimizers.formula import AdamUpdate, ClipNormUpdate, GradientUpdate, SignUpdate
from sdelimit.optimizers.optimizer import as_optimizer
from sdelimit.problem.linear_regression import check_problem
from sdelimit.problem.regression import Regression
from sdelimit.support import arguments as check

LEAST_MEMORY = 50
"""Steps that Adam's second moment must remember for it to be taken as not random."""


class Gradient:
    """SGD: u is the mean gradient of a batch."""

    rate = 0.0

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def at(self, problem, state, t) -> tuple[Moments, np.ndarray]:
        """Moments of u for one sample in the batch, and what the memory relaxes to."""
        return gradient_moments(problem, state.mean, state.covariance), np.zeros(0)


class Sign:
    """signSGD with one sample a step."""

    rate = 0.0
    batch_size = 1

    def at(self, problem, state, t):
        return sign_moments(problem, state.mean, state.covariance), np.zeros(0)


class ClippedGradient:
    """SGD clipped by the gradient's norm, with one sample a step."""

    rate = 0.0
    batch_size = 1

    def __init__(self, threshold):
        self.threshold = threshold

    def at(self, problem, state, t):
        return clipped_moments(problem, state.mean, state.covariance, self.threshold), np.zeros(0)


class SlowAdam:
    """Adam whose second moment averages so many gradients that it is not random:

    u = g / sqrt(vhat_i),  dv_i/dt = c2 (E[g_i^2] - v_i),  vhat = v / (1 - exp(-c2 t)),  c2 = d (1 - b2).
    """

    def __init__(self, batch_size, rate):
        self.batch_size, self.rate = batch_size, rate

    def at(self, problem, state, t):
        drift, K, noise, _ = gradient_moments(problem, state.mean, state.covariance)
        second = np.diag(noise) / self.batch_size + drift**2
        filled = -np.expm1(-self.rate * t)
        # At t = 0 bias correction gives the second moment of the first gradients.
        v = state.memory / filled if filled > 1e-12 else second
        M = 1 / np.sqrt(v)
        std = problem.covariance.std
        phi = float(np.sum(std**3 * M) / np.sum(std**2))
        moments = Moments(M * drift, M[:, None] * K, M[:, None] * noise * M, phi)
        return moments, second


def rule_on_data(problem, optimizer, batch_size):
    """The prediction for ``optimizer``; ValueError for one that has none."""
    match optimizer.formula:
        case GradientUpdate():
            return Gradient(batch_size)
        case SignUpdate() | ClipNormUpdate() if batch_size > 1:
            raise ValueError(f"batch_size must be 1 for {optimizer.name} in sl.data.solve_ode, got {batch_size}")
        case SignUpdate():
            return Sign()
        case ClipNormUpdate():
            return ClippedGradient(optimizer.formula.threshold)
        case AdamUpdate() as adam:
            return _slow_adam(problem, optimizer, adam, batch_size)
    raise ValueError(
        f"optimizer must be sgd, sign_sgd, clip_norm or adam in sl.data.solve_ode, got {optimizer.name}"
        f"{' with a number that is a function of t' if optimizer.scheduled else ''}; "
        "sl.solve_ode has the Gaussian theory of every rule"
    )


def _slow_adam(problem, optimizer, adam, batch_size):
    if np.any(problem.covariance.std == 0):
        column = int(np.argmin(problem.covariance.std))
        raise ValueError(f"X must not have a zero column for a rule that divides by sigma_i: column {column} is")
    no_eps = adam.scale_free or is_negligible(adam.eps, problem, batch_size)
    if no_eps and 1 / (1 - adam.b2) >= LEAST_MEMORY:
        return SlowAdam(batch_size, problem.d * (1 - adam.b2))
    raise ValueError(
        f"optimizer must be Adam with eps = 0 or negligible and 1/(1-b2) >= {LEAST_MEMORY} in sl.data.solve_ode, got "
        f"{optimizer.hyperparameters}; sl.solve_ode has its Gaussian theory"
    )


def covers(problem, optimizer, batch_size: int = 1) -> bool:
    """Whether ``sl.data.solve_ode`` has a theory of ``optimizer`` on ``problem``: False if it is not made from data.

    Raises TypeError or ValueError for a wrong ``problem``, ``optimizer`` or ``batch_size``.
    """
    optimizer, batch_size = as_optimizer(optimizer), check.integer("batch_size", batch_size, minimum=1)
    if not isinstance(check_problem(problem, Regression), DataRegression):
        return False
    try:
        rule_on_data(problem, optimizer, batch_size)
    except ValueError:
        return False
    return True
