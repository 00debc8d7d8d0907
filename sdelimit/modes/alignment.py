"""How far features are correlated with the residual along a risk curve, and what that costs the linear law.

A rule's mean update is a function G(r_i) of the correlation r_i of feature i with the residual, and limits take its
slope at 0. That is right for dense targets and for covariances without dominant directions, where r_i is O(d^-1/2), and
wrong however large d is for sparse targets (theory: section 15). Along the solution of the linear law
the mean of delta is known,

    m = exp(-tau D^-p K) delta_0,    tau = int eta phi dt,    r_i = (K m)_i / (sigma_i s) + fluctuations,

with s = sqrt(2R). Weight decay omega pulls it towards -theta*, dm/dtau = -D^-p K m - x (m + theta*), where
x = omega / phi is taken at its mean along the curve.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special
from scipy.integrate import cumulative_trapezoid

from sdelimit.limits.law import operators_of
from sdelimit.limits.residual_law import typical_residual
from sdelimit.modes.decoupled import Modes, modes
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.jit import jit, shared_size
from sdelimit.numerics.normal_mean import normal_quadrature
from sdelimit.numerics.precision import evaluate_in_float64, x64

CLOCKS = np.concatenate([[0.0], np.geomspace(0.05, 800.0, 13)])
"""tau at which correlations are looked at, in units of 1 / (mean decay rate)."""
SHARED_CLOCKS = 7
"""They are padded to a multiple of this many; see ``shared_size``."""
MOST_FEATURES = 256
BINS = 64
"""Features whose correlations are that close, relative to the largest, are taken together."""
NEGLIGIBLE = 0.002
"""A bound on the error below which it is not computed."""
LONGEST_SPAN = 1e5
"""Decay times of the fastest mode after which a mean counts as settled: an interpolation of degree 2000."""
HERMITE_X, HERMITE_WEIGHTS = normal_quadrature(7)


def drift_error(problem, limit, t, lr, phi, risk) -> Float[np.ndarray, " k"]:
    """The relative error of the linear drift of the risk at some of the times ``t`` of its curve, (k,) of either sign:

        sum_i sigma_i E[r_i (G(r_i) - c r_i)] / (c sum_i sigma_i E[r_i^2]),    c = G'(0),

    one entry for each of ``CLOCKS`` that the curve reaches. All zero where the rule is linear, where its response is
    not known, and where a bound says that they are small. Of a law that accounts for a signal with a
    ``kurtosis`` the error is not counted that correlations of one size in every feature would make.
    """
    kurtosis, pull, limit = limit.kurtosis, limit.weight_decay, limit.without_memory.undecayed
    if limit.power is None:
        return np.array([_error_at_start(problem, limit)])
    moves = risk > 0
    if limit.power != 1 or limit.nonlinearity == 0 or not np.all(np.isfinite(risk)) or not np.all(moves[t > 0]):
        return np.zeros(1)
    if not moves.any():
        return np.zeros(1)
    risk = np.maximum(risk, risk[moves].min())
    clock = cumulative_trapezoid(lr * phi, t, initial=0.0)
    current = modes(problem, limit)
    pull *= np.trapezoid(lr, t) / clock[-1] if clock[-1] > 0 else 0.0
    reached = CLOCKS / current.decay.mean() <= clock[-1]
    R = np.interp(CLOCKS[reached] / current.decay.mean(), clock, risk)
    _, features, mean_risk = zip(*(_at_clock(problem, limit, pull, k) for k in np.flatnonzero(reached)), strict=True)
    means, mean_risk = np.stack(features), np.array(mean_risk)
    s = np.sqrt(2 * R)
    # Fluctuations of delta share what is left of the risk, spread as evenly as the features allow.
    concentration = np.sum(current.decay**2) / np.sum(current.decay) ** 2
    variance = np.maximum(1 - mean_risk / R, 0.0) * concentration
    sigma = problem.covariance.std
    r = means / s[:, None]
    square = r**2 + variance[:, None]
    weight = sigma * square
    bound = np.minimum(1.0, limit.nonlinearity * square) * weight
    counts = bound.sum(axis=1) > NEGLIGIBLE * weight.sum(axis=1)
    errors = np.zeros(R.size)
    response = limit.response((R.min(), R.max())) if counts.any() else None
    if response is None:
        return errors
    errors[counts] = _errors(response, R[counts], r[counts], variance[counts], sigma)
    if kurtosis > 0:
        even = kurtosis * weight.sum(axis=1) / sigma.sum()
        errors[counts] -= _errors(response, R[counts], np.zeros((counts.sum(), 1)), even[counts], np.ones(1))
    return errors


def _error_at_start(problem, limit) -> float:
    """The same at t = 0, for rules whose preconditioner changes with the risk.

    sum_i f_i (G_i / linear - 1) / sum_i f_i, where f_i = phi_i (K delta)_i^2 is the drift of the risk along feature i.
    Features beyond the ``MOST_FEATURES`` that contribute the most are taken to be linear.
    """
    limit = limit.undecayed
    R, sigma = problem.initial_risk, problem.covariance.std
    if R == 0:
        return 0.0
    Km = _at_start(problem)
    operators = limit.on(problem)
    drift = evaluate_in_float64(operators.law.drift_coefficients, R, np.zeros(0)) @ operators.preconditioners()
    share = drift * Km**2 / np.sum(drift * Km**2)
    r = np.divide(Km, sigma * np.sqrt(2 * R), out=np.zeros_like(Km), where=sigma > 0)
    if np.sum(share * r**2) <= NEGLIGIBLE:  # no rule here bends by more than r^2 or so
        return 0.0
    most = np.argsort(-share * r**2)[:MOST_FEATURES]
    return float(share[most] @ limit.bend(R, sigma[most], np.clip(r[most], -1.0, 1.0)))


def _at_start(problem) -> Float[np.ndarray, " d"]:
    """K delta_0."""
    return problem.cached("K delta_0", lambda: _apply(problem, problem.delta0))


def stationary_error(problem, limit, R: float) -> float:
    """The relative error of the linear drift where the risk has settled at ``R`` > 0; see ``drift_error``.

    No feature has a mean correlation there unless weight decay keeps one, but where a few directions carry the risk
    they have large fluctuations.
    """
    pull, limit = limit.weight_decay, limit.undecayed
    if limit.power != 1 or limit.nonlinearity == 0:
        return 0.0
    decay, sigma = modes(problem, limit).decay, problem.covariance.std
    features, mean_risk = np.zeros(sigma.size), 0.0
    if pull > 0:
        law = operators_of(problem, limit).law
        pull /= evaluate_in_float64(law.effective_rates, np.array([2 * R]), law.relaxation(np.array([2 * R]))[1])[0]
        features, mean_risk = _held(problem, limit, pull)
    variance = np.array([max(1 - mean_risk / R, 0.0) * np.sum(decay**2) / np.sum(decay) ** 2])
    r = features[None] / np.sqrt(2 * R)
    if 3 * limit.nonlinearity * np.average(r[0] ** 2 + variance, weights=sigma * (r[0] ** 2 + variance)) <= NEGLIGIBLE:
        return 0.0
    return float(_errors(limit.response((R, R)), np.array([R]), r, variance, sigma)[0])


def _held(problem, limit, pull):
    """(K m)_i / sigma_i and m'Km / 2 where weight decay holds the mean, (S + x) D^1/2 m = -x D^1/2 theta*."""
    current, covariance = modes(problem, limit), problem.covariance
    root = covariance.std ** (limit.power / 2)
    target = root * problem.theta_star
    if covariance.is_diagonal or current.vectors is not None:
        target = target if covariance.is_diagonal else current.vectors.T @ target
        w = -pull / (current.decay + pull) * target
        m = (w if covariance.is_diagonal else current.vectors @ w) / root
    else:
        top = current.decay.max()
        time = min(30 / pull, LONGEST_SPAN / top)  # what moves more slowly carries no risk
        m = -pull * of_covariance(covariance, root, lambda x: _filled(x + pull, time), time * top, top, target) / root
    Km = _apply(problem, m)
    return Km / covariance.std, float(m @ Km / 2)


def infinitesimal_error(current: Modes, batch_size: int, gain=1.0) -> float:
    """The relative error of the ODE of SGD for taking steps as infinitesimal, over g = eta / d (theory: section 15).

    The larger of what it loses of the decay at the start, (1 - 1/b)/2 sum_i lambda_i^3 y_i / sum_i lambda_i^2 y_i with
    y_i = w_i(0)^2, and of the noise once that has settled, (1 + 1/b)/2 sum_i lambda_i^2 / sum_i lambda_i. With the
    ``gain`` of a memory, the weight of a gradient in all updates together, in each mode: an estimate from above.
    """
    decay, y = current.decay, np.sum(np.atleast_2d(current.w0) ** 2, axis=0)
    start = np.sum(decay**3 * y) / np.sum(decay**2 * y) if y.any() else 0.0
    settled = np.sum(gain * decay**2) / np.sum(decay)
    return float(max((1 - 1 / batch_size) / 2 * np.max(gain) * start, (1 + 1 / batch_size) / 2 * settled))


def overlap_drift_error(problem, law, lr, phi) -> float:
    """The relative error of a law of two overlaps for features correlated with u and u*, at the start of a curve.

    SGD's is that of infinitesimal steps. Else about sum_i a_i min(1, n r_i^2) / sum_i a_i, with r_i the correlation of
    feature i with l, a_i = sigma_i times the square of its mean step, and n the law's ``nonlinearity``.
    """
    if law.power == 0:
        g = float(np.max(lr * phi, where=np.isfinite(lr * phi), initial=0.0)) / problem.d
        return g * infinitesimal_error(modes(problem, law), law.batch_size)
    sigma, images = problem.covariance.std, problem.cached("images of scores", lambda: _images_of_scores(problem))
    phi1, phi0, h1, h0, slope = map(np.atleast_2d, (*law.drift_at_start(problem), *problem.initial_moments))
    steps = np.abs(phi1.T @ images[0] + phi0.T @ images[1]) / sigma
    slope = np.diag(slope)[:, None]
    if not np.all(np.isfinite(slope)):  # outputs under noise of infinite variance
        pairs = zip(problem.loss.noise.marginals(), np.diag(problem.initial_overlaps[0]), strict=True)
        slope = np.array([[typical_residual(law, S / 2) ** 2] for law, S in pairs])
    gradient = (h1.T @ images[0] + h0.T @ images[1]) ** 2
    square = np.divide(gradient, sigma**2 * slope, out=np.zeros_like(gradient), where=slope > 0)
    weight = sigma * steps**2
    if not weight.sum() > 0:
        return 0.0
    return float(np.sum(weight * np.minimum(1.0, law.nonlinearity * square)) / weight.sum())


def _images_of_scores(problem):
    """K (theta0 - theta*) and K theta*, (m, d) each for m outputs."""
    scores = np.stack([np.atleast_2d(v) for v in problem.followed])
    return evaluate_in_float64(lambda v: jax.vmap(jax.vmap(problem.covariance.apply))(v), scores)


def _errors(response, R, r, variance, sigma):
    r, sigma = _binned(r, sigma)
    x = np.clip(r[:, None] + np.sqrt(variance)[:, None, None] * HERMITE_X[:, None], -1.0, 1.0)
    extra = shared_size(R.size, SHARED_CLOCKS) - R.size
    with x64():
        padded = np.pad(R, (0, extra), mode="edge"), np.pad(x, ((0, extra), (0, 0), (0, 0)))
        factor = np.asarray(_factors(response, *padded))[: R.size]
    weights = HERMITE_WEIGHTS[:, None] * sigma[:, None]
    return np.sum(weights * x**2 * (factor - 1), axis=(1, 2)) / np.sum(weights * x**2, axis=(1, 2))


def _binned(r: Float[np.ndarray, "k d"], sigma: Float[np.ndarray, " d"]):
    """Correlations of few features with the same sums of sigma_i and sigma_i r_i^2, and their sigma, (k, n) each."""
    k, d = r.shape
    if d <= BINS:
        return r, np.broadcast_to(sigma, (k, d))
    size = np.abs(r)
    top = np.maximum(size.max(axis=1, keepdims=True), TINY)
    place = (np.minimum((size * (BINS / top)).astype(int), BINS - 1) + BINS * np.arange(k)[:, None]).ravel()
    total, square = (
        np.bincount(place, weights.ravel(), BINS * k).reshape(k, BINS)
        for weights in (np.broadcast_to(sigma, (k, d)), sigma * r**2)
    )
    return np.sqrt(np.divide(square, total, out=np.zeros((k, BINS)), where=total > 0)), total


@jit
def _factors(response, R, x):
    return jax.vmap(response.mean_factor)(R, x)


def _at_clock(problem, limit, pull, index) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], float]:
    """m, (K m)_i / sigma_i and m'Km / 2 at one of ``CLOCKS``: one entry of the problem's cache for all of them."""
    known = problem.cached(("means", limit.power, pull), dict)
    if index not in known:
        m = _mean(problem, limit, pull, index)
        Km = _apply(problem, m)
        known[index] = m, Km / problem.covariance.std, float(m @ Km / 2)
    return known[index]


def _mean(problem, limit, pull, index) -> Float[np.ndarray, " d"]:
    """m = D^-1/2 [exp(-tau (S + x)) D^1/2 delta_0 - x g(S, tau) D^1/2 theta*] at one of ``CLOCKS``, x = ``pull``.

    g = (1 - exp(-tau (S + x))) / (S + x).
    """
    if index == 0:
        return problem.delta0
    current, covariance = modes(problem, limit), problem.covariance
    before, after = CLOCKS[index - 1 : index + 1] / current.decay.mean()
    root = covariance.std ** (limit.power / 2)
    if covariance.is_diagonal or current.vectors is not None:
        target = root * problem.theta_star
        target = target if covariance.is_diagonal else current.vectors.T @ target
        rates = current.decay + pull
        w = np.exp(-after * rates) * current.w0 - pull * _filled(rates, after) * target
        return (w if covariance.is_diagonal else current.vectors @ w) / root
    start, top, step = root * _at_clock(problem, limit, pull, index - 1)[0], current.decay.max(), after - before
    moved = np.exp(-step * pull) * decayed(covariance, root, step * top, top, start)
    if pull > 0:
        pulled = partial(_filled, time=step)
        moved -= pull * of_covariance(
            covariance, root, lambda rate: pulled(rate + pull), step * top, top, root * problem.theta_star
        )
    return moved / root


def _filled(rate, time):
    """(1 - exp(-rate time)) / rate."""
    return np.where(rate > 0, -np.expm1(-rate * time) / np.where(rate > 0, rate, 1.0), time)


def decayed(covariance, root, span: float, top: float, y: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """exp(-(span / top) S) y for S = K / (root root') with eigenvalues in [0, top], by Chebyshev polynomials.

    exp(-span (1 + x) / 2) = sum_k (2 - 1{k=0}) (-1)^k exp(-span/2) I_k(span/2) T_k(x), with x = 2 S / top - 1.
    """
    k = np.arange(_degree(span) + 1)
    coefficients = np.where(k > 0, 2.0, 1.0) * (-1.0) ** k * special.ive(k, span / 2)
    return _polynomial(covariance, root, top, coefficients, y)


def of_covariance(covariance, root, function, span: float, top: float, y) -> Float[np.ndarray, " d"]:
    """function(S) y for a function that changes as exp(-(span / top) S) does, by its Chebyshev interpolation."""
    on_interval = lambda x: function((x + 1) * top / 2)  # noqa: E731
    return _polynomial(covariance, root, top, np.polynomial.chebyshev.chebinterpolate(on_interval, _degree(span)), y)


def _degree(span):
    return shared_size(int(np.ceil(np.sqrt(40 * span) + 30)), 32)


def _polynomial(covariance, root, top, coefficients, y):
    with x64():
        return np.asarray(_chebyshev(covariance, root, top * (1 + 1e-10), coefficients, y))


@jit
def _chebyshev(covariance, root, top, coefficients, y) -> Float[Array, " d"]:
    def apply(v):
        return 2 / top * covariance.apply(v / root) / root - v

    def step(carry, c):
        total, before, now = carry
        after = 2 * apply(now) - before
        return (total + c * after, now, after), None

    first = apply(y)
    start = coefficients[0] * y + coefficients[1] * first, jnp.asarray(y), first
    return jax.lax.scan(step, start, coefficients[2:])[0][0]


def _apply(problem, v):
    return evaluate_in_float64(partial(_covariance_times, problem.covariance), v)


@jit
def _covariance_times(covariance, v):
    return covariance.apply(v)
