"""Stationary risk, largest learning rate that has one, and rate of convergence (theory: sections 3, 4 and 9)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from sdelimit.analysis.correlated_stationary import correlated_stationary_risk, settled_recursion, settles
from sdelimit.analysis.equilibrium import Balance, balance_of
from sdelimit.analysis.settled_overlaps import overlap_stationary_risk
from sdelimit.limits.law import without_memory
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import x64
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.single_index import SingleIndex
from sdelimit.results.trust import LARGEST_DRIFT_ERROR, stationary_drift_error, warn_of_correlations
from sdelimit.support import arguments as check

LOWEST, HIGHEST, PER_DECADE = -40, 20, 10
"""Decades of the grid of risks below and above those of the problem, and its points in each."""
LARGEST_SAMPLED = 2048
"""Largest d at which correlated features are sampled, with (d, d) matrices, without being asked for."""
FLAT = 1e-3
"""A learning rate that grows more slowly than this power of R at the end of the grid has reached its limit."""
SAME_LOG_RISK = 1e-9
"""Risks whose logarithms differ by less count as equal."""


def stationary_risk(
    problem: LinearRegression, optimizer: Optimizer, lr, batch_size: int = 1, *, aligned: bool | None = None
):
    """The risk at which the ODE settles for a constant learning rate.

    Setting the ODE's right-hand side to zero, w_i^2 = eta psi(R).c_i / (2 d phi(R) lambda_i), so R solves

        R phi(R) = (eta/4d) sum_q psi_q(R) sum_i c_qi,

    the sum over modes with lambda_i > 0: eta kappa(1; R) tr(D) / (4d) on the right for a scale-free rule and a K of
    full rank. For a rule that depends on scale, R = (eta/4d) sum_i N_ii(R) / phi_i(R), for any K.

    Where few directions carry the risk that may be percents to tens of percents off: features are correlated with the
    residual, the risk itself fluctuates, and single steps are not small. There the balance is that of averages over
    these fluctuations (theory: section 15), and of SGD and its kin the fixed point of their recursion.

    Args:
        problem: the regression problem, or one of two overlaps such as ``LogisticRegression`` (theory: section 20):
            there a rule that is scale-free settles around c theta*, c > 1 if labels are noisy, whatever the learning
            rate, and signs of hard labels not at all (infinite).
        optimizer: the rule.
        lr: eta > 0, a number or an array.
        batch_size: samples per step.
        aligned: whether features may be correlated with the residual, as in ``solve_ode``: by default where the linear
            drift is estimated to be more than 1% off, if K is diagonal or d <= 2048. Known for sign_sgd and its kin,
            Adam, NAdam, RMSprop and S3 (unless the risk fluctuates too much), SGD, its momentum forms and DANA.

    Returns:
        A float, or an array of the shape of ``lr``. Infinite where the risk grows without bounds (SGD from
        eta = 2 b d / tr K on), and 0 where it vanishes (SGD without label noise below that). Should several
        risks balance, it is the one next to the initial risk in the direction in which the risk moves from there.

    Raises:
        TypeError, ValueError: naming the argument; as ``solve_ode`` for a rule that has no limit on ``problem``.

    Warns:
        LimitWarning: where few directions carry the risk and ``aligned`` is not used, with the size of the error.

    Source: theory section 4; arXiv:2411.12135 (signSGD), arXiv:2308.08977 (SGD).

    >>> import sdelimit as sl
    >>> problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(1.0))
    >>> round(sl.stationary_risk(problem, sl.sgd(), lr=1.0), 6)
    0.5
    """
    eta = _positive_rates(lr)
    aligned = check.flag("aligned", aligned, optional=True)
    if isinstance(problem, SingleIndex):
        law = as_optimizer(optimizer).limit(problem, check.integer("batch_size", batch_size, minimum=1))
        risks = np.array([overlap_stationary_risk(problem, law, float(rate)) for rate in eta.ravel()])
        return risks.reshape(eta.shape) if eta.ndim else float(risks[0])
    balance, grid, full = _prepare(problem, optimizer, batch_size)
    limit = without_memory(full)
    risks = np.array([_stationary_risk(balance, grid, rate, problem.initial_risk) for rate in eta.ravel()])
    errors = np.array([stationary_drift_error(problem, limit, *pair) for pair in zip(eta.ravel(), risks, strict=True)])
    if aligned is not False:
        correct = _correction(problem, optimizer, full, aligned)
        for i in np.flatnonzero((errors > LARGEST_DRIFT_ERROR) | (aligned is True)):
            risk = correct(eta.ravel()[i], risks[i])
            if not np.isnan(risk):
                risks[i], errors[i] = risk, 0.0
    warn_of_correlations(optimizer, errors.max(initial=0.0), tried=aligned is not False)
    return risks.reshape(eta.shape) if eta.ndim else float(risks[0])


def _correction(problem, optimizer, limit, aligned):
    """(learning rate, risk of the linear law) -> the stationary risk with correlated features, NaN where not known."""
    optimizer = as_optimizer(optimizer)
    if limit.gradient_batch is not None:
        return lambda eta, risk: settled_recursion(problem, limit, eta)
    if not settles(limit):
        if aligned:
            raise ValueError(
                f"aligned must be None or False for {optimizer.name}, whose stationary state with features that are "
                "correlated with the residual is not known, got True"
            )
        return lambda eta, risk: np.nan
    if not (aligned or problem.covariance.is_diagonal or problem.d <= LARGEST_SAMPLED):
        return lambda eta, risk: np.nan

    def correct(eta, risk):
        return correlated_stationary_risk(problem, limit, eta, risk, optimizer.memory) if 0 < risk < np.inf else risk

    return correct


def max_stable_lr(problem: LinearRegression, optimizer: Optimizer, batch_size: int = 1) -> float:
    """The learning rate from which on the risk grows without bounds: infinite if it settles at every one.

    R is stationary for eta(R) = 4 d R phi(R) / sum_q psi_q(R) sum_i c_qi, so this is the supremum of eta(R) over
    R: 2 b d / tr K for SGD with batch size b, infinite for rules with bounded steps (signs, Adam, clipping).

    Raises:
        TypeError, ValueError: naming the argument; as ``solve_ode`` for a rule that has no limit on ``problem``.

    Source: theory section 4.

    >>> import sdelimit as sl
    >>> sl.max_stable_lr(sl.LinearRegression(sl.covariance.identity(100)), sl.sgd())
    2.0
    """
    _, (log_R, log_eta), _ = _prepare(problem, optimizer, batch_size)
    return np.inf if _last_slope(log_R, log_eta) > FLAT else float(np.exp(log_eta.max()))


def convergence_rate(problem: LinearRegression, optimizer: Optimizer, lr, batch_size: int = 1):
    """How fast the risk settles for a constant learning rate: |R(t) - R_inf| falls like exp(-rate t) as t grows.

    The slowest eigenvalue of the ODE linearized around R_inf. Modes decay at a_i = 2 eta phi(R_inf) lambda_i and are
    coupled through R, with w_i = (eta^2 / 2d) lambda_i phi sum_q (psi_q / phi)'(R_inf) c_qi, so the rate solves

        1 = sum_i w_i / (a_i - rate).

    For small eta the coupling vanishes if the label noise has a density at zero, and what is left is theory
    section 4's 2 eta phi(R_inf) lambda_min. It does not vanish near the edge of stability of SGD, where the rate
    goes to zero, nor for sign-like rules without label noise.

    Args:
        problem: the regression problem.
        optimizer: the rule.
        lr: eta > 0, a number or an array.
        batch_size: samples per step.

    Returns:
        The rate per unit of t = steps/d, a float or an array of the shape of ``lr``; modes with lambda_i = 0, which
        never decay, are no part of the risk and do not count. The smallest real part, should the risk oscillate.

    Raises:
        TypeError, ValueError: naming the argument; ValueError also for a learning rate at which the risk does not
            settle.

    Source: theory sections 3 and 4.

    >>> import sdelimit as sl
    >>> problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(1.0))
    >>> round(sl.convergence_rate(problem, sl.sgd(), lr=1.0), 6)
    1.0
    """
    eta = _positive_rates(lr)
    balance, grid, _ = _prepare(problem, optimizer, batch_size)
    rates = np.array([_rate(balance, grid, one, problem.initial_risk) for one in eta.ravel()])
    return rates.reshape(eta.shape) if eta.ndim else float(rates[0])


def _positive_rates(lr):
    if callable(lr):
        raise TypeError(f"lr must be a number or an array: a stationary risk needs a constant one, got {lr!r}")
    eta = check.array("lr", lr)
    if np.any(eta <= 0):
        raise ValueError(f"lr must be > 0, got a smallest value of {eta.min():g}")
    return eta


def _prepare(problem, optimizer, batch_size):
    """The balance, log eta(R) on a grid of log R, and the limit."""
    problem, optimizer = check_problem(problem), as_optimizer(optimizer)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    limit = optimizer.limit(problem, batch_size)
    return *_balance_on_grid(problem, optimizer, limit), limit


def stationary_risk_of(problem, optimizer, limit, eta: float) -> float:
    """``stationary_risk`` for the ``limit`` of ``optimizer`` on ``problem``, without its checks and its warnings."""
    balance, grid = _balance_on_grid(problem, optimizer, limit)
    return _stationary_risk(balance, grid, eta, problem.initial_risk)


def _balance_on_grid(problem, optimizer, limit):
    balance = balance_of(problem, without_memory(limit))
    sizes = [size for size in (problem.initial_risk, problem.covariance.trace / problem.d) if size > 0]
    low, high = np.log10(min(sizes)) + LOWEST, np.log10(max(sizes)) + HIGHEST
    log_R = np.log(10) * np.linspace(low, high, int(PER_DECADE * (high - low)))
    log_eta = _log_learning_rates(balance, log_R)
    if np.any(np.isnan(log_eta)):
        R = np.exp(log_R[np.argmax(np.isnan(log_eta))])
        raise ValueError(f"optimizer {optimizer.name} has no finite limit coefficients at R = {R:.3g}: not a number")
    return balance, (log_R, log_eta)


def _log_learning_rates(balance: Balance, log_R) -> Float[np.ndarray, " n"]:
    with jax.ensure_compile_time_eval(), x64():
        return np.asarray(_map_over_risks(balance, jnp.asarray(log_R, jnp.float64)))


@jit
def _map_over_risks(balance, log_R):
    # TINY for a drift that underflows (two-point noise at small R) and so balances no learning rate.
    return jax.lax.map(lambda x: jnp.log(jnp.maximum(balance.learning_rate(jnp.exp(x)), TINY)), log_R)


def _last_slope(log_R, log_eta):
    return (log_eta[-1] - log_eta[-2]) / (log_R[-1] - log_R[-2])


def _stationary_risk(balance, grid, eta, initial_risk):
    """The stable root of eta(R) = ``eta`` that the risk moves to from ``initial_risk``; 0 or infinity if none."""
    log_R, log_eta = grid
    excess, start = log_eta - np.log(eta), np.log(max(initial_risk, TINY))
    rising = np.flatnonzero((excess[:-1] <= 0) & (excess[1:] > 0))
    roots = np.array([_root(balance, log_R[i : i + 2], eta) for i in rising])
    # Not interpolated: eta(R) may lie on one side of ``eta`` where its interpolation lies on the other.
    here = float(_log_learning_rates(balance, [np.clip(start, log_R[0], log_R[-1])])[0]) - np.log(eta)
    if here > 0:
        below = roots[roots <= start + SAME_LOG_RISK]
        return float(np.exp(below[-1])) if below.size else 0.0
    beyond = roots[roots >= start - SAME_LOG_RISK]
    if beyond.size:
        return float(np.exp(beyond[0]))
    slope = _last_slope(log_R, log_eta)
    return float(np.exp(log_R[-1] - excess[-1] / slope)) if slope > FLAT else np.inf


def _root(balance, bracket, eta):
    def excess(log_R):
        return float(_log_learning_rates(balance, [log_R])[0]) - np.log(eta)

    return brentq(excess, *bracket, xtol=1e-13, rtol=1e-13)


def _rate(balance, grid, eta, initial_risk):
    R = _stationary_risk(balance, grid, eta, initial_risk)
    if not np.isfinite(R):
        edge = np.exp(grid[1].max())
        raise ValueError(
            f"lr must be below {edge:.6g}, where the risk stops settling, for a convergence rate: got {eta:g}"
        )
    # Risk that vanishes does so at the rates of small R.
    return balance.slowest(eta, max(R, float(np.exp(grid[0][0]))))
