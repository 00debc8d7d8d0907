"""The loss of one model size along its steps, for several learning rates."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from sdelimit.analysis.equilibrium import balance_of
from sdelimit.limits.law import without_memory
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.solve import solve_ode
from sdelimit.results.curves import DivergenceWarning, LimitWarning, RiskCurve
from sdelimit.results.trust import theory_warnings
from sdelimit.schedules import inverse_sqrt, wsd
from sdelimit.support import arguments as check
from sdelimit.support.brief import brief_fields

SCHEDULES = ("constant", "inverse_sqrt", "wsd")
PER_DECADE = 16
"""Numbers of steps in a factor of 10 at which curves are kept."""
RATES, SPAN, SGD_SHARE = 12, 1e3, 0.25
"""Default learning rates: how many, the largest over the smallest, and what SGD's only one is of its largest."""
STEEPEST = 1.25
"""Large batches allow larger rates in all but the steepest direction: there eta lambda_1 / d is below half this."""
ENDS = 3
"""Lengths of warm-up-stable-decay runs in a factor of 10: only their ends count."""
FEWEST_STEPS, MOST_STEPS = 10, 2**53


@dataclass(frozen=True, eq=False)
class SizeCurve:
    """What ``scaling_law`` computes for one d.

    Attributes:
        d: model size.
        cost: compute of one step.
        steps: (n,) numbers of steps.
        rates: (m,) learning rates, of schedules their peak.
        losses: (m, n) loss for each rate, infinite where it diverged.
        irreducible: E[eps^2]/2, the part of the loss that no training removes.
        warnings: those of the solver, each once.
    """

    d: int
    cost: float
    steps: Float[np.ndarray, " n"]
    rates: Float[np.ndarray, " m"]
    losses: Float[np.ndarray, "m n"]
    irreducible: float
    warnings: tuple[str, ...] = ()

    __repr__ = brief_fields

    @property
    def best(self) -> Float[np.ndarray, " n"]:
        """The loss at the best rate for each number of steps; NaN where all diverged."""
        return np.where(np.isfinite(self.losses).any(axis=0), np.min(self.losses, axis=0), np.nan)

    @property
    def best_rate(self) -> Float[np.ndarray, " n"]:
        """That rate."""
        return np.where(np.isfinite(self.best), self.rates[np.argmin(self.losses, axis=0)], np.nan)


def size_curve(problem, optimizer, limit, rates, *, schedule, batch_size, cost, horizon) -> SizeCurve:
    """The curves of one problem up to the compute ``horizon``, which must pay for ``FEWEST_STEPS`` steps."""
    d, last = problem.d, last_step(horizon, cost, problem.d)
    given = {"batch_size": batch_size, "finite_d": limit.gradient_batch is not None, "save_modes": False}
    solve = partial(solve_ode, problem, optimizer, **given)
    if schedule == "wsd":
        steps = np.unique(np.geomspace(FEWEST_STEPS, last, _points(last / FEWEST_STEPS, ENDS)).astype(np.int64))
        runs = [[_curves(solve, wsd(rate, end / d), [end / d])[0] for end in steps] for rate in rates]
        losses = np.array([[run.loss[-1] for run in own] for own in runs])
    else:
        steps = np.unique(np.geomspace(1, last, _points(last, PER_DECADE)).astype(np.int64))
        if schedule == "constant":
            runs = [[curve] for curve in _curves(solve, rates, steps / d)]
        else:
            runs = [_curves(solve, inverse_sqrt(rate), steps / d) for rate in rates]
        losses = np.array([own[0].loss[1:] for own in runs])
    chosen = np.unique(np.argmin(losses, axis=0)[np.isfinite(losses).any(axis=0)])  # of other rates nobody hears
    texts = dict.fromkeys(text for i in chosen for run in runs[i] for text in theory_warnings(run, limit))
    lost = ~np.isfinite(losses).any(axis=0)
    if lost.any():
        texts[f"every learning rate has diverged by step {steps[np.argmax(lost)]}: smaller lrs are needed"] = None
    return SizeCurve(d, float(cost), steps.astype(float), rates, losses, problem.irreducible_risk, tuple(texts))


def last_step(horizon, cost, d) -> int:
    """The steps that the compute ``horizon`` pays for; a ValueError if they are too few."""
    last = int(min(horizon / cost, MOST_STEPS))
    if last < FEWEST_STEPS:
        raise ValueError(
            f"horizon must pay for at least {FEWEST_STEPS} steps at every size, got {horizon:g} at d = {d}, where a "
            f"step costs {cost:g}"
        )
    return last


def _points(ratio, per_decade) -> int:
    return int(np.ceil(per_decade * np.log10(ratio))) + 1


def _curves(solve, lr, times) -> list[RiskCurve]:
    """The curve of each learning rate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LimitWarning)  # those of the rates that count are asked for later
        warnings.simplefilter("ignore", DivergenceWarning)  # rates that diverge are never the best
        curve = solve(lr=lr, t=np.append(0.0, times))
    return [curve.select(i) for i in range(len(curve.status))] if curve.lr.ndim > 1 else [curve]


def rates_of(problem, limit, lrs) -> Float[np.ndarray, " m"]:
    """The learning rates to try on ``problem``: numbers, what a function makes of the problem, or the default."""
    if lrs is None:
        balance = balance_of(problem, without_memory(limit))
        around = float(evaluate_in_float64(balance.learning_rate, problem.initial_risk))
        if around <= 0:
            raise ValueError("lrs must be given where the initial risk is 0: no learning rate holds it")
        if limit.gradient_batch is None:
            return around / np.geomspace(1, SPAN, RATES)
        steepest = problem.covariance.trace / modes(problem, limit).decay.max()
        return np.array([around * SGD_SHARE * min(1.0, STEEPEST * steepest / (limit.gradient_batch + 1))])
    values = np.atleast_1d(check.array("lrs", lrs(problem) if callable(lrs) else lrs, ndim=(0, 1)))
    if np.any(values <= 0):
        raise ValueError(f"lrs must be > 0, got {values.min():g}")
    return values
