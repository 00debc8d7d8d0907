"""Directional sharpness u' H u / |u|^2 of update directions (theory: section 12; arXiv:2306.00204)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.limits.law import operators_of, without_memory
from sdelimit.limits.measured.forgetting_time import measure_memory
from sdelimit.limits.measured.scalar_gradients import unit_residuals
from sdelimit.limits.noise_kernel import GENERAL_BASIS, RHO, fit_kernel, kernel_basis
from sdelimit.limits.single_index.law import problem_law
from sdelimit.limits.single_index.sampled import one_time_kernel
from sdelimit.modes.dense import correlation_of
from sdelimit.modes.structured import structured_modes
from sdelimit.numerics import normals
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import evaluate_in_float64, precision
from sdelimit.ode.matrix import matrices_of
from sdelimit.optimizers.optimizer import as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.single_index import SingleIndex
from sdelimit.support import arguments as check

CHAINS = 1024
STEPS = 256


def directional_sharpness(problem: LinearRegression, optimizer, risk=None, batch_size: int = 1, *, overlaps=None):
    """The limit of u' H u / |u|^2 for one update u, when d is large, H the Hessian of the risk.

    For least squares H is K, and |u|^2 is made of noise, so the limit is

        tr(K N) / tr(N),    N_ij = E[u_i u_j] at one step:

    tr(K^2)/tr K for SGD and norm clipping, tr(K K_sigma)/d for signs; for a rule with memory N is D^0 times the kernel
    E[F F'] of one time (not its sum over lags), sampled from scalar histories.

    On problems with two overlaps the Hessian is E[l_u x x'], l_u the derivative of l = dloss/du in u:
    h1 K and a part of rank two in the plane of K theta and K theta*, which a step does not meet when d is large. The
    limit is h1 times that, h1 = E[l_u] at the overlaps: negative where the risk bends down, as at saddles of phase
    retrieval.

    Args:
        problem: the regression problem, or one of two overlaps such as ``LogisticRegression``.
        optimizer: the rule.
        risk: for least squares, the risk R > 0 at which to evaluate, a number or an array; default the initial risk.
            Only rules whose kernel changes with R depend on it.
        batch_size: samples per step.
        overlaps: for problems with two overlaps, where to evaluate: (..., 3), theta' K theta, theta' K theta* and
            theta*' K theta* as in ``curve.overlaps``; default those at theta0.

    Returns:
        float64 of the shape of ``risk``, or of ``overlaps`` without its last axis. ``simulate(..., sharpness=True)``
        measures the same along runs of least squares, as ``.mean_sharpness``.

    Raises:
        TypeError, ValueError: naming the argument; in particular for SGD with momentum, whose average of gradients is
            not made of noise alone.
    """
    problem = check_problem(problem, (LinearRegression, SingleIndex))
    optimizer, batch_size = as_optimizer(optimizer), check.integer("batch_size", batch_size, minimum=1)
    limit = optimizer.limit(problem, batch_size)
    if isinstance(problem, SingleIndex):
        if risk is not None:
            raise ValueError(
                f"risk must be None on a {type(problem).__name__}, whose Hessian depends on overlaps: write overlaps=, "
                f"got {check.describe(risk)}"
            )
        return _at_overlaps(problem, optimizer, limit, overlaps)
    if overlaps is not None:
        raise ValueError(f"overlaps must be None on a LinearRegression, got {check.describe(overlaps)}")
    risks = check.array("risk", problem.initial_risk if risk is None else risk)
    if np.any(risks <= 0):
        raise ValueError(f"risk must be > 0, got a smallest value of {risks.min():g}")
    limit = without_memory(limit).undecayed
    _require_noise(optimizer, limit)
    kernel = _one_time_kernel(problem, optimizer, limit, float(risks.max()), batch_size)
    return np.array([_at(problem, limit, kernel, R) for R in risks.ravel()]).reshape(risks.shape)


def _require_noise(optimizer, limit):
    """ValueError for a rule whose steps are not made of noise."""
    if limit.resolves_memory:
        raise ValueError(
            f"optimizer must take steps that are made of noise, got {optimizer.name}, whose average of gradients may "
            "be long enough to consist of the mean gradient as well; simulate(..., sharpness=True) measures it"
        )


def _at_overlaps(problem, optimizer, limit, overlaps):
    """``directional_sharpness`` on a single-index problem."""
    B22, limit = problem.target_variance, limit.undecayed
    _require_noise(optimizer, limit)
    if overlaps is None:
        S2, X = (np.asarray(x) for x in problem.initial_overlaps)
    else:
        given = check.array("overlaps", overlaps)
        if given.ndim == 0 or given.shape[-1] != 3 or not np.allclose(given[..., 2], B22, rtol=1e-6):
            raise ValueError(
                f"overlaps must be rows of theta' K theta, theta' K theta* and theta*' K theta* = {B22:.6g}, got "
                f"{check.describe(overlaps)}"
            )
        if np.any(given[..., 0] * B22 < given[..., 1] ** 2 * (1 - 1e-9) - 1e-12):
            raise ValueError(
                "overlaps must have (theta' K theta*)^2 <= theta' K theta theta*' K theta*, got larger ones"
            )
        S2, X = np.maximum(given[..., 0] - 2 * given[..., 1] + B22, 0.0), given[..., 1] - B22
    rule = limit.source.value.rule
    found = [_of_state(problem, limit, rule, *state) for state in zip(S2.ravel(), X.ravel(), strict=True)]
    return np.array(found).reshape(S2.shape)


def _of_state(problem, limit, rule, S2, X):
    bend, basis, weights = problem.moments_at(S2, X)[0], ("rho",), np.ones(1)
    if limit.power:
        kernel = one_time_kernel(rule, problem_law(problem, limit.batch_size, S2, X))
        basis, weights = GENERAL_BASIS, fit_kernel(RHO, kernel)
    return bend * _weighted_curvature(problem, limit.power, basis, weights)


def _at(problem, limit, kernel, R):
    covariance = problem.covariance
    if limit.power is None:
        operators = operators_of(problem, limit)
        b = evaluate_in_float64(operators.law.noise_coefficients, R, np.zeros(0))
        if covariance.is_diagonal:
            noise = b @ operators.noise_diagonals()
            return float(noise @ covariance.std**2 / noise.sum())
        made = matrices_of(problem, operators)
        moving, variance = covariance.std > 0, covariance.std**2
        traces = np.einsum("qii->qi", made.noise)[:, moving] @ (1 / variance[moving])
        return float(b @ made.noise_power / (b @ traces))
    basis, weights = (("rho",), np.ones(1)) if limit.power == 0 else kernel(R)
    return _weighted_curvature(problem, limit.power, basis, weights)


def _weighted_curvature(problem, power, basis, weights):
    """tr(K N) / tr(N) of N = sum_q weights_q N_q."""
    curvatures = problem.cached(("curvatures", power, basis), lambda: _curvatures(problem, power, basis))
    std = problem.covariance.std
    return float(weights @ curvatures / (np.sum(weights) * np.sum(std[std > 0] ** (2 - 2 * power))))


def _curvatures(problem, power, basis):
    """tr(K N_q), which is sum_i lambda_i c_qi in any modes."""
    found = structured_modes(problem.covariance, power, basis, problem.delta0[None])
    if found is not None:
        return found.forcing @ found.decay
    khat, K = correlation_of(problem.covariance), problem.covariance.to_dense()
    outer = problem.covariance.std ** (1 - power)
    return np.array([np.sum(K * kernel_basis(name, khat) * outer[:, None] * outer[None, :]) for name in basis])


def _one_time_kernel(problem, optimizer, limit, largest_risk, batch_size):
    """R -> (basis, weights) of E[F F'](rho) at one time."""
    if limit.basis == ("rho",):
        return lambda R: (limit.basis, np.ones(1))  # all lags have the one shape
    rule = optimizer.rule(problem, batch_size)
    if limit.power is None or isinstance(rule.init(jnp.zeros(1)), optax.EmptyState):
        none = np.zeros(0)  # no memory: one time is all there is
        return lambda R: (limit.basis, evaluate_in_float64(limit.noise_coefficients, R, none))
    burn_in = np.int32(measure_memory(rule, problem.noise, largest_risk, batch_size).burn_in)

    def sample_kernel(R):
        with precision(np.float32):
            products = _sample(rule, problem.noise, float(np.sqrt(2 * R)), batch_size, burn_in)
        return GENERAL_BASIS, fit_kernel(RHO, np.asarray(products, np.float64))

    return sample_kernel


@jit
def _sample(rule, noise, s, batch_size, burn_in):
    """E[F F'] at the correlations ``RHO``, over chains that share l, and over time once the start is forgotten."""

    def gradients(step):
        key_l, key_xi, key_other = jax.random.split(normals.step_key(normals.run_key(0, 4), step), 3)
        size, _ = unit_residuals(noise, s, batch_size, key_l, (CHAINS,))
        xi, other = (jax.random.normal(key, (CHAINS,), jnp.float32) for key in (key_xi, key_other))
        rho = jnp.asarray(RHO, jnp.float32)[:, None]
        return size * (rho * xi + jnp.sqrt(1 - rho**2) * other)

    def update(state, step):
        direction, state = rule.update(gradients(step), state, jnp.zeros((RHO.size, CHAINS), jnp.float32))
        return state, jnp.mean(direction * direction[-1], axis=-1)

    state = rule.init(jnp.zeros((RHO.size, CHAINS), jnp.float32))
    state = jax.lax.fori_loop(0, burn_in, lambda step, state: update(state, step)[0], state)
    _, products = jax.lax.scan(update, state, burn_in + jnp.arange(STEPS))
    return jnp.mean(products, axis=0)
