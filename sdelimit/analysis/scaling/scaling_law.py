"""Curves of loss over compute for many model sizes, and what they say together."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import optax
from jaxtyping import Float

from sdelimit.analysis.scaling.frontier import Exponent, crossings, exponent, on_grid
from sdelimit.analysis.scaling.size_curve import SCHEDULES, SizeCurve, rates_of, size_curve
from sdelimit.analysis.scaling.store import opened
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import check_problem
from sdelimit.results.stored import Stored
from sdelimit.results.text import align
from sdelimit.support import arguments as check
from sdelimit.support.brief import brief_fields
from sdelimit.support.progress import progress_bar

POINTS = 20
"""Points of the frontier in a factor of 10 of compute."""


@dataclass(frozen=True, eq=False)
class ScalingLaw(Stored):
    """Loss against compute for several model sizes.

    Attributes:
        optimizer: the rule, that of the largest d if it depends on d.
        curves: what was computed for each d, ascending.
        compute: (n,) compute, from where the smallest model has taken a step to the horizon.
        losses: (k, n) for each d the loss at the best of its learning rates for that compute, NaN outside its range.
        frontier: (n,) the smallest of them: the loss that this compute buys.
        optimal_size: (n,) the d that has it.
        best_lr: (n,) its learning rate (the peak of a schedule).
        crossings: (3, c) compute, size and loss where one size is overtaken by one twice as large.
        loss_exponent: slope of log loss over log compute along the crossings, with the error of the fit window.
        size_exponent: the same of log size.
        warnings: reasons to doubt a curve that did not diverge, each once, with its d.
    """

    optimizer: Optimizer
    curves: tuple[SizeCurve, ...]
    compute: Float[np.ndarray, " n"]
    losses: Float[np.ndarray, "k n"]
    frontier: Float[np.ndarray, " n"]
    optimal_size: Float[np.ndarray, " n"]
    best_lr: Float[np.ndarray, " n"]
    crossings: Float[np.ndarray, "3 c"]
    loss_exponent: Exponent
    size_exponent: Exponent
    warnings: tuple[str, ...]

    __repr__ = brief_fields

    def _variables(self):
        along = {"frontier": self.frontier, "optimal_size": self.optimal_size, "best_lr": self.best_lr}
        return {
            "d": (("d",), np.array([curve.d for curve in self.curves])),
            "compute": (("compute",), self.compute),
            "loss": (("d", "compute"), self.losses),
            **{name: (("compute",), values) for name, values in along.items()},
        }

    def table(self) -> str:
        """One line for each size, and the exponents, as aligned text."""
        rows = [["d", "steps", "best loss", "at lr", "irreducible", "optimal from", "to"]]
        for curve in self.curves:
            own = self.compute[self.optimal_size == curve.d]
            part = [f"{own.min():.3g}", f"{own.max():.3g}"] if own.size else ["-", "-"]
            best = curve.best
            last = int(np.nanargmin(best)) if np.isfinite(best).any() else 0
            rows.append([
                str(curve.d), f"{curve.steps[-1]:.3g}", f"{best[last]:.4g}", f"{curve.best_rate[last]:.3g}",
                f"{curve.irreducible:.4g}", *part,
            ])  # fmt: skip
        text = f"{self.optimizer.name}: loss ~ compute^({self.loss_exponent}), size ~ compute^({self.size_exponent})"
        return f"{align(rows)}\n\n{text}, from {self.crossings.shape[1]} crossings"

    def plot(self):
        """A figure of loss against compute: a line for each size, the frontier, the crossings and their fit."""
        from sdelimit.analysis.scaling.plot import plot_scaling

        return plot_scaling([self])


def scaling_law(
    family: Callable,
    optimizer: Optimizer | Callable,
    ds,
    *,
    lrs=None,
    horizon: float = 1e8,
    schedule: str = "constant",
    compute_per_step: Callable | None = None,
    batch_size: int = 1,
    out=None,
    progress: bool | None = None,
) -> ScalingLaw:
    """Solve the risk of a family of problems for many model sizes, and find the compute-optimal frontier.

    Every size has curves of the loss R + E[eps^2]/2 along log-spaced numbers of steps, one for each learning rate, by
    ``solve_ode``: for SGD and its momentum forms the mean after each step of finite size (``finite_d``), for signs and
    Adam with features correlated with the residual where the linear law is more than 1% off. The frontier is the least
    loss that each amount of compute buys; its exponents are fitted where the curve of one size is overtaken by that of
    the next at least twice as large.

    Args:
        family: a function d -> ``LinearRegression``, such as
            ``lambda d: sl.power_law_random_features(4 * d, d, alpha=1.0, beta=0.7)``.
        optimizer: the rule, or a function d -> rule where its numbers depend on d, as those of ``dana`` do.
        ds: model sizes, two or more; exponents need three pairs a factor of 2 apart: four sizes in ratios of 2, or five
            in ratios of the root of 2.
        lrs: learning rates eta to choose from at every size and compute: numbers, or a function of the problem that
            gives them. Default: for SGD a quarter of the rate that holds the initial risk, 0.5 d / tr K without noise
            (less for batches where one direction is steep);
            for other rules 12 from that rate down to a thousandth of it.
        horizon: the largest compute.
        schedule: "constant", "inverse_sqrt" (eta / sqrt(1 + t)), or "wsd" (constant, then linearly to zero in the last
            fifth; only the end of such a run counts, and runs of three lengths in a factor of 10 are solved).
        compute_per_step: a function of d; default batch_size d.
        batch_size: samples per step.
        out: a folder that keeps the curves of each size as soon as they are done: the same call goes on after an
            interruption.
        progress: show sizes done and time left; default only on a terminal.

    Raises:
        TypeError, ValueError: naming the argument.

    Source: arXiv:2405.15074; theory section 21.

    >>> import sdelimit as sl
    >>> family = lambda d: sl.power_law_random_features(4 * d, d, alpha=1.0, beta=0.3, deterministic=True)
    >>> law = sl.scaling_law(family, sl.sgd(), ds=[50, 100, 200, 400], horizon=1e6)
    >>> bool((law.frontier[1:] <= law.frontier[:-1] * 1.001).all())
    True
    """
    if not callable(family):
        raise TypeError(f"family must be a function d -> LinearRegression, got {check.describe(family)}")
    ds = sizes_of(ds)
    depends_on_d = callable(optimizer) and not isinstance(optimizer, (Optimizer, optax.GradientTransformation))
    rules = [as_optimizer(optimizer(d) if depends_on_d else optimizer) for d in ds]
    horizon = check.real("horizon", horizon, positive=True)
    schedule = check.choice("schedule", schedule, SCHEDULES)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    progress = check.flag("progress", progress, optional=True)
    costs = [_cost(compute_per_step, d, batch_size) for d in ds]
    curves = []
    with opened(out) as store, progress_bar(progress, len(ds), "size") as bar:
        for d, rule, cost in zip(ds, rules, costs, strict=True):
            problem = check_problem(family(d))
            if problem.d != d:
                raise ValueError(
                    f"family must give a problem of the dimension it is asked for, got {problem.d} for {d}"
                )
            limit = rule.limit(problem, batch_size)
            if not np.isfinite(problem.irreducible_risk):
                raise ValueError(f"family must have label noise of finite variance for a loss, got {problem.noise}")
            rates = rates_of(problem, limit, lrs)
            settings = {"schedule": schedule, "batch_size": batch_size, "cost": cost, "horizon": horizon}
            compute = partial(size_curve, problem, rule, limit, rates, **settings)
            curves.append(store.get(problem, rule, rates, settings, compute))
            bar.update()
    return law_of(rules[-1], curves)


def sizes_of(ds) -> list[int]:
    """Model sizes in ascending order."""
    values = check.array("ds", ds, ndim=1)
    if np.any(values != np.rint(values)):
        raise ValueError(f"ds must be whole numbers, got {values}")
    sizes = sorted(check.integer("ds", int(d), minimum=1) for d in values)
    if len(set(sizes)) < len(sizes) or len(sizes) < 2:
        raise ValueError(f"ds must be two or more different sizes, got {sizes}")
    return sizes


def _cost(compute_per_step, d, batch_size) -> float:
    if compute_per_step is None:
        return float(d * batch_size)
    if not callable(compute_per_step):
        raise TypeError(f"compute_per_step must be a function of d, got {check.describe(compute_per_step)}")
    return check.real("compute_per_step(d)", compute_per_step(d), positive=True)


def law_of(optimizer, curves) -> ScalingLaw:
    """What the curves of all sizes say together."""
    low = min(curve.cost * curve.steps[0] for curve in curves)
    high = max(curve.cost * curve.steps[-1] for curve in curves)
    compute = np.geomspace(low, high, int(np.ceil(POINTS * np.log10(high / low))) + 1)
    losses = np.stack([on_grid(c.steps, c.best, compute / c.cost) for c in curves])
    known = np.where(np.isnan(losses), np.inf, losses)
    first = np.argmin(known, axis=0)
    found = np.isfinite(known.min(axis=0))
    frontier = np.where(found, known.min(axis=0), np.nan)
    sizes = np.where(found, np.array([float(c.d) for c in curves])[first], np.nan)
    rates = np.array([_nearest_rate(curves[i], f) for i, f in zip(first, compute, strict=True)])
    met = crossings(*zip(*((c.d, c.cost, c.steps, c.best) for c in curves), strict=True))
    texts = tuple(f"d = {c.d}: {text}" for c in curves for text in c.warnings)
    return ScalingLaw(
        optimizer, tuple(curves), compute, losses, frontier, sizes, np.where(found, rates, np.nan), met,
        exponent(met[0], met[2]), exponent(met[0], met[1]), texts,
    )  # fmt: skip


def _nearest_rate(curve, compute):
    return curve.best_rate[np.argmin(np.abs(np.log(curve.steps * curve.cost / compute)))]
