"""The clipping threshold at which the risk falls the fastest (theory: section 8; arXiv:2406.11733)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.analysis.best_lr import check_start
from sdelimit.limits.exact.clip_norm import ClipCoefficients, SampledBatch, clip_coefficients
from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.floors import TINY, TINY_RISK
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import x64
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.optimizers.clip import clip_norm
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.stored import Stored
from sdelimit.schedules import LearningRate, LogLinear, Schedule, log_linear
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid
from sdelimit.support.brief import brief_fields

CAP = 1e4
"""Times a typical residual at t = 0: the threshold that stands for infinity."""
LOWEST, COARSE = np.exp(-14.0), 64
"""Smallest threshold relative to a typical residual, and thresholds from there to ``CAP`` that are tried first."""
FINE, ROUNDS = 9, 4
"""Thresholds around the best one that are tried next, and how often."""
TIE = 1e-9
"""Values that differ relatively by less count as equal; of equal ones the largest threshold is taken."""
SAMPLE = 2**12
"""Residuals of a sampled batch that the search looks at: errors of the optimum are of second order in the risk."""
SETTLED, MOST = 1e-6, 40
"""Relative change of the risk at which the schedule counts as found, and most iterations."""


@dataclass(frozen=True, eq=False)
class OptimalClipping(Stored):
    """A clipping schedule found by ``optimal_clipping``.

    Attributes:
        schedule: C(t), for ``sl.clip_norm``.
        lr: eta(t) that it belongs to, for ``lr=``.
        optimizer: ``sl.clip_norm(schedule)``.
        curve: its risk curve; ``curve.t``, ``schedule`` and ``cap`` show where it clips and where it does not.
        cap: the threshold that stands for infinity.
        history: (k,) risk at t_max after each iteration.
        status: "converged", or by how much the risk still changed.
    """

    schedule: LogLinear
    lr: Schedule
    optimizer: Optimizer
    curve: RiskCurve
    cap: float
    history: Float[np.ndarray, " k"]
    status: str

    __repr__ = brief_fields

    def _variables(self):
        return {**self.curve._variables(), "threshold": (("t",), np.asarray(self.schedule(self.curve.t)))}

    @property
    def risk(self) -> float:
        """The risk at t_max."""
        return float(self.curve.risk[-1])


def optimal_clipping(
    problem: LinearRegression, lr, t_max: float, *, batch_size: int = 1, n_knots: int = 129
) -> OptimalClipping:
    """The threshold C(t) of ``sl.clip_norm`` that at each t makes dR/dt the smallest, given the risk so far.

    With mu(R, C) and nu(R, C) of norm clipping,

        dR/dt = -eta mu(R, C) G + (eta^2 / 2d) nu(R, C) tr K^2,      G = E |K (theta - theta*)|^2,

    so C minimizes (eta tr K^2 / 2d) nu - G mu. For single samples, whose residuals l have mu' = p(C), the density of
    |l|, and nu' = 2 C P(|l| > C), that is where

        C P(|l| > C) / p(C) = d G / (eta tr K^2),

    the noise of a residual at the edge weighed against its drift. Where the left side stays below the right (Gaussian
    residuals and an eta small enough: it grows to 2P) no clipping is best, and C is ``.cap``, 1e4 times a typical
    residual at t = 0.

    Under a given learning rate a small C also makes up for an eta that is too large, whatever the noise. With
    ``lr=None`` eta is optimized too, eta = d G mu / (nu tr K^2), and

        dR/dt = -(d G^2 / 2 tr K^2) mu^2 / nu,

    so that C maximizes mu^2 / nu: clipping helps if and only if that is larger than without, 1 / (2P). Under Gaussian
    noise it never is.

    It is the best choice at each t and not for a horizon. If K is a multiple of the identity the two are the same: no
    other thresholds, with the same eta, have a lower risk at any t. Otherwise a slower start can pay later.

    log C is piecewise linear between ``n_knots`` times, which are closer near t = 0; C at the knots is computed along
    the curve of the C before until the curve no longer changes, which takes a few iterations, as near the optimum the
    curve depends on C to second order only.

    Args:
        problem: the regression problem.
        lr: eta, a number or a JAX-traceable function of t; None for the best one at each t.
        t_max: horizon in t = steps/d.
        batch_size: samples per step. Batches of two and more under noise that is not Gaussian are sampled, and take
            longer.
        n_knots: times at which C is computed, at least 2.

    Raises:
        TypeError, ValueError: naming the argument; ValueError for a problem that starts at risk 0.

    Source: arXiv:2406.11733; theory section 8.

    >>> import sdelimit as sl
    >>> P = sl.LinearRegression(sl.covariance.identity(100), sl.noise.StudentT(2.5, 0.5))
    >>> best = sl.optimal_clipping(P, lr=0.5, t_max=2.0)
    >>> bool(best.risk < sl.solve_ode(P, sl.clip_norm(1.0), 0.5, 2.0).risk[-1])
    True
    """
    problem = check_problem(problem)
    t_max = check.real("t_max", t_max, positive=True)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    n_knots = check.integer("n_knots", n_knots, minimum=2)
    rate = None if lr is None else LearningRate.single(lr).require_concrete("optimal_clipping")
    check_start(problem)
    search = _Search(problem, rate, batch_size, t_max * np.linspace(0.0, 1.0, n_knots) ** 2)
    best, risk, history = search.start(), None, []
    for _ in range(MOST):
        C, eta = best
        curve = search.curve(C, eta)
        history.append(float(curve.risk[-1]))
        change = np.inf if risk is None else _change(risk, curve.risk)
        if change <= SETTLED:
            break
        risk, best = curve.risk, search.along(curve)
    if not np.isfinite(curve.risk).all():
        raise ValueError(f"lr must keep the risk finite up to t_max, but {curve.status}")
    doubts = () if rate is None else rate.doubts(t_max, problem.d)
    curve = with_limit_warnings(replace(curve, warnings=doubts), curve.optimizer.limit(problem, batch_size))
    status = "converged" if change <= SETTLED else f"the risk still changed by {change:.2g} after {MOST} iterations"
    schedule, lr = log_linear(search.knots, C), search.rate(eta).schedule
    return OptimalClipping(schedule, lr, curve.optimizer, curve, search.cap, np.array(history), status)


def _change(old, new):
    """The largest relative change of a risk; infinite if one has diverged."""
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return np.inf
    return float(np.max(np.abs(new - old) / np.maximum(old, TINY_RISK)))


class _Search:
    """Curves of given thresholds at the knots, and the best thresholds along a curve.

    Attributes:
        given: eta(t); None where it is optimized.
        knots: times.
        cap: the largest threshold.
        decay, w0, trace: the modes of K, where they start, and tr K^2.
    """

    def __init__(self, problem, given, batch_size, knots):
        self.problem, self.given, self.batch_size, self.knots = problem, given, batch_size, knots
        self.times = np.union1d(knots, time_grid(knots[-1], None))
        coefficients, noise = clip_coefficients(problem.noise, batch_size), problem.noise
        if isinstance(coefficients, SampledBatch):
            coefficients = SampledBatch(*residual_sample(noise, batch_size, SAMPLE))
        self.coefficients, self.scale = coefficients, noise_scale(noise)
        limit = clip_norm(log_linear(knots, np.ones(knots.size))).limit(problem, batch_size)
        current = modes(problem, limit)
        self.decay, self.w0, self.trace = current.decay, current.w0, float(np.sum(current.decay**2))
        self.cap = CAP * float(np.hypot(self.scale, np.sqrt(2 * problem.initial_risk)))

    def rate(self, eta) -> LearningRate:
        """The learning rate that is given, or that of ``eta`` at the knots."""
        return LearningRate.single(log_linear(self.knots, eta)) if self.given is None else self.given

    def curve(self, C, eta) -> RiskCurve:
        """The curve of thresholds C at the knots."""
        rule = clip_norm(log_linear(self.knots, C))
        limit, rate = rule.limit(self.problem, self.batch_size), self.rate(eta)
        return solve_limit(
            self.problem, rule, limit, rate, self.times, batch_size=self.batch_size, rtol=1e-8, save_modes=True
        )

    def start(self):
        """C and eta at the knots that are the best at t = 0, all the same."""
        eta = self._given(self.knots[:1])
        best = self._best(np.array([self.problem.initial_risk]), np.array([self.decay**2 @ self.w0**2]), eta)
        return tuple(np.repeat(values, self.knots.size) for values in best)

    def along(self, curve):
        """C and eta at the knots that are the best at the risks of ``curve``."""
        at = np.searchsorted(curve.t, self.knots)
        # Where the curve has diverged at the last risk before: the next one will not have.
        at = np.minimum(at, np.flatnonzero(np.isfinite(curve.risk))[-1])
        return self._best(curve.risk[at], curve.modes[at] @ curve.decay**2, self._given(self.knots))

    def _given(self, t):
        return None if self.given is None else self.given.at(t)

    def _best(self, R, G, eta):
        """C and eta, (n,) each."""
        weight = np.full(R.shape, -1.0) if eta is None else eta * self.trace / (2 * self.problem.d)
        arrays = np.maximum(R, TINY_RISK), G, weight
        with x64():
            C, mu, nu = _thresholds(self.coefficients, *arrays, self.scale, self.cap)
        C, mu, nu = (np.asarray(values) for values in (C, mu, nu))
        if eta is None:
            eta = np.maximum(self.problem.d / self.trace * G * mu / nu, TINY)
        return C, eta


@jit
def _thresholds(coefficients: ClipCoefficients, R, G, weight, scale, cap):
    """C of the smallest weight nu - G mu at each risk, or of the largest mu^2 / nu where weight < 0, with mu and nu."""

    def at(inputs):
        R, G, weight = inputs
        typical = jnp.sqrt(2 * R + scale**2)

        def value(C):
            mu, nu = coefficients.drift(R, C), coefficients.noise(R, C)
            return jnp.where(weight < 0, -(mu**2) / jnp.maximum(nu, TINY), weight * nu - G * mu)

        def best_of(candidates):
            values = jax.lax.map(value, candidates)
            least = jnp.min(values)
            return jnp.max(jnp.where(values <= least + TIE * jnp.abs(least), jnp.arange(values.size), 0))

        low, high = jnp.log(LOWEST * typical), jnp.log(cap)
        candidates = jnp.exp(jnp.linspace(low, high, COARSE))
        first = best_of(candidates)
        C, reach = candidates[first], (high - low) / (COARSE - 1)
        for _ in range(ROUNDS):
            around = C * jnp.exp(reach * jnp.linspace(-1.0, 1.0, FINE))
            C, reach = around[best_of(around)], reach * 2 / (FINE - 1)
        C = jnp.where(first == COARSE - 1, cap, jnp.minimum(C, cap))
        return C, coefficients.drift(R, C), coefficients.noise(R, C)

    return jax.lax.map(at, (R, G, weight))
