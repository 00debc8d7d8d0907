"""The learning rate at which one rule drifts as another does (theory: section 5)."""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import without_memory
from sdelimit.numerics.precision import x64
from sdelimit.ode.equations import risk_system
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.ode.system import System, Tolerances
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import with_limit_warnings
from sdelimit.schedules import LearningRate, Schedule, corners_of
from sdelimit.support import arguments as check

POINTS = 1025
RTOL = 1e-7


class ScaledSchedule(Schedule):
    """``schedule`` times a positive factor whose logarithm is linear in sqrt t between points, constant beyond."""

    schedule: Callable
    root_t: Float[np.ndarray, " n"]
    log_factor: Float[np.ndarray, " n"]

    def __call__(self, t):
        factor = jnp.interp(jnp.sqrt(t), jnp.asarray(self.root_t), jnp.asarray(self.log_factor))
        return self.schedule(t) * jnp.exp(factor)

    def corners(self, end):
        return corners_of(self.schedule, end)


class MatchedDriftSystem(System):
    """A rule's equations with the learning rate set by a wanted drift g(t): eta = g(t) / phi at the current state."""

    rule: System
    decay: Float[np.ndarray, " d"]
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances

    def initial(self):
        return self.rule.initial()

    def phi(self, y):
        """The rule's drift coefficient."""
        return self.rule.observe(1.0, y, False)["phi"]

    def field(self, eta, y):
        return self.rule.field(eta / self.phi(y), y)

    def risk(self, y):
        return self.rule.risk(y)

    def observe(self, eta, y, save_modes):
        return self.rule.observe(eta / self.phi(y), y, save_modes)


def match_schedule(
    problem: LinearRegression,
    from_optimizer: Optimizer,
    to_optimizer: Optimizer,
    lr,
    t_max: float,
    *,
    match: str = "effective_lr",
    batch_size: int = 1,
) -> Schedule:
    """The schedule that gives ``to_optimizer`` the drift that ``from_optimizer`` has with ``lr``.

        eta_to(t) phi_to(R_to(t)) = eta_from(t) phi_from(R_from(t)),

    each rule along its own risk curve: R_from solves its risk ODE with ``lr``, and R_to the one of ``to_optimizer``
    with the schedule that is returned, which is computed in one solve with eta_to = g(t) / phi_to(R). From SGD it is
    eta_sgd(t) / phi(R_t); what is left between the two curves is preconditioning and gradient noise, not step size.

    Args:
        problem: the regression problem.
        from_optimizer: the rule whose drift is wanted.
        to_optimizer: the rule that is to have it.
        lr: eta_from, a number or a JAX-traceable function of t.
        t_max: horizon in t = steps/d; beyond it the ratio eta_to / eta_from stays what it is there.
        match: "effective_lr" matches eta phi, whatever the preconditioners M of the two drifts eta phi M K delta are.
            "mean_decay" matches eta phi tr(M K), the mean decay rate of the modes: the same drift also if all
            coordinates have one variance other than 1. The two agree if M is the same or K has unit diagonal.
            For a rule that depends on scale phi is the mean over coordinates weighted by sigma_i^2, and M = I.
        batch_size: samples per step, of both rules.

    Returns:
        A schedule, for ``lr=`` of every solver.

    Raises:
        TypeError, ValueError: naming the argument; ValueError if either rule's risk diverges before ``t_max``, with
            the time.

    Source: theory section 5; arXiv:2411.12135.
    """
    problem = check_problem(problem)
    rules = as_optimizer(from_optimizer, "from_optimizer"), as_optimizer(to_optimizer, "to_optimizer")
    t_max = check.real("t_max", t_max, positive=True)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    check.choice("match", match, ("effective_lr", "mean_decay"))
    lr = LearningRate.single(lr).require_concrete("match_schedule")
    root_t = np.linspace(0.0, np.sqrt(t_max), POINTS)
    limits = [without_memory(rule.limit(problem, batch_size)) for rule in rules]
    source = _source(problem, rules[0], limits[0], lr, root_t**2, batch_size)
    factor = 1.0 if match == "effective_lr" else _mean_rate(problem, limits[0]) / _mean_rate(problem, limits[1])
    wanted = LearningRate.single(ScaledSchedule(lr.schedule, root_t, np.log(factor * source.phi)))
    phi = _phi_at_matched_drift(problem, rules[1], limits[1], wanted, source)
    return ScaledSchedule(lr.schedule, root_t, np.log(factor * source.phi / phi))


def _source(problem, optimizer, limit, lr, times, batch_size):
    """The curve whose drift is to be matched."""
    curve = solve_limit(problem, optimizer, limit, lr, times, batch_size=batch_size, rtol=RTOL, save_modes=False)
    if np.isfinite(curve.diverged_at):
        raise ValueError(f"lr must keep from_optimizer's risk finite up to t_max, but {optimizer.name} {curve.status}")
    doubts = *lr.doubts(times[-1], problem.d), *optimizer.doubts(times[-1], problem.d)
    return with_limit_warnings(replace(curve, warnings=doubts), limit)


def _mean_rate(problem, limit):
    """tr(M K) / d."""
    return np.mean(problem.covariance.std ** (2 - (limit.power or 0)))


def _phi_at_matched_drift(problem, optimizer, limit, wanted, source):
    """phi_to along the curve on which eta_to phi_to is ``wanted``."""
    rule = risk_system(problem, limit, source.t, RTOL, None, source.lr)
    system = MatchedDriftSystem(rule, rule.decay, rule.times, rule.tolerances)
    with x64():
        out = integrate(wanted, system, Stepping.along(wanted.scan(source.t), *optimizer.scans(source.t)), False)
    if out["finished"]:
        return out["phi"]
    where = f"t = {out['end_time']:.4g} (risk {out['end_risk']:.3g})"
    if not out["blown_up"] and out["end_time"] > 0:
        raise RuntimeError(f"match_schedule took {MAX_STEPS} steps and reached only {where}; take a shorter t_max")
    if out["end_risk"] < rule.tolerances.ceiling:
        raise ValueError(f"to_optimizer cannot follow this drift: {optimizer.name} has none (phi = 0) at {where}")
    raise ValueError(
        f"to_optimizer cannot follow this drift: the risk of {optimizer.name} diverges at {where}. "
        "A smaller lr or a shorter t_max may help"
    )
