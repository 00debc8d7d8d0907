"""Which optimizer, and which learning rate, for a problem and a horizon."""

import textwrap
import warnings
from dataclasses import dataclass, replace

import numpy as np

from sdelimit.analysis.best_lr import BestLearningRate, best_constant_lr, check_start
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.ode.solve import solve_ode
from sdelimit.optimizers.adaptive import adam, rmsprop
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import lion, sign_sgd, signum
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.regression import Regression
from sdelimit.problem.single_index import SingleIndex
from sdelimit.results.stored import Stored
from sdelimit.results.text import align, rule_labels
from sdelimit.results.trust import DivergenceWarning, LimitWarning
from sdelimit.support import arguments as check
from sdelimit.support.brief import WIDTH, brief, shorten
from sdelimit.support.progress import progress_bar

NEAR = np.geomspace(0.5, 2.0, 9)
"""Learning rates, relative to the best by the linear drift, that are tried where features are correlated."""


@dataclass(frozen=True, eq=False)
class Recommendation(Stored):
    """Rules at their best learning rates, the best first. ``print(result.table())``; ``result.plot()``.

    Attributes:
        problem: what they were compared on.
        horizon: t at which their risks count.
        choices: for each rule its best learning rate, risk and curve, by ascending risk.
        no_theory: the rules that have no limit on this problem, or no best learning rate, and why.
        batch_size: samples per step.
    """

    problem: Regression
    horizon: float
    choices: tuple[BestLearningRate, ...]
    no_theory: dict[str, str]
    batch_size: int = 1

    def __repr__(self):
        title = f"best learning rates up to t = {self.horizon:.4g} on {brief(self.problem)}"
        return shorten([title, *align(self._rows()).splitlines()])

    @property
    def optimizer(self) -> Optimizer:
        """The rule with the lowest risk."""
        return self.choices[0].curve.optimizer

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return self.choices[0].lr

    @property
    def doubts(self) -> dict[str, tuple[str, ...]]:
        """By the name of the rule, why its numbers are not to be relied on; rules without doubts are left out."""
        pairs = ((label, choice.curve.warnings) for label, choice in zip(self._labels(), self.choices, strict=True))
        return {label: tuple(dict.fromkeys(map(str, texts))) for label, texts in pairs if texts}

    def table(self) -> str:
        """One line for each rule, and below them the doubts, as text."""
        notes = [f"{label}: {text}" for label, texts in self.doubts.items() for text in texts]
        notes += [f"{name}: no theory: {reason}" for name, reason in self.no_theory.items()]
        lines = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes]
        return "\n".join([align(self._rows()), *([""] if lines else []), *lines])

    def plot(self, path=None):
        """Figure of each rule's risk at its best learning rate; saved to ``path`` (one or several) if given."""
        from sdelimit.results.plot import plot_curves, save_figure

        curves = [choice.curve for choice in self.choices]
        labels = [f"{label}, lr {c.lr:.3g}" for label, c in zip(self._labels(), self.choices, strict=True)]
        return save_figure(plot_curves(curves, labels=labels, band=False), path)

    def _labels(self):
        rules = [choice.curve.optimizer for choice in self.choices]
        labels = rule_labels(rules)
        return [labels[repr(rule)] for rule in rules]

    def _rows(self):
        lowest = self.choices[0].risk
        rows = [("optimizer", "best lr", f"risk at t = {self.horizon:.4g}", "over the best", "doubts")]
        for label, choice in zip(self._labels(), self.choices, strict=True):
            doubts = str(len(set(choice.curve.warnings))) if choice.curve.warnings else "none"
            ratio = f"{choice.risk / lowest:.3g}" if lowest > 0 else "-"
            rows.append((label, f"{choice.lr:.3g}", f"{choice.risk:.4g}", ratio, doubts))
        return rows

    def _variables(self):
        names = np.array(self._labels(), dtype=object)
        numbers = {"lr": [c.lr for c in self.choices], "risk": [c.risk for c in self.choices]}
        doubts = [len(set(c.curve.warnings)) for c in self.choices]
        columns = {"optimizer": names, **{k: np.array(v) for k, v in numbers.items()}, "doubts": np.array(doubts)}
        return {name: (("optimizer",), values) for name, values in columns.items()}

    def _attributes(self):
        return {"problem": brief(self.problem), "horizon": f"{self.horizon:.6g}", "table": self.table()}

    def _figure(self):
        return self.plot()


def recommend(
    problem: Regression, optimizers=None, *, horizon=None, batch_size: int = 1, progress: bool | None = None
) -> Recommendation:
    """Each rule at its best constant learning rate, by the risk ODE, with the reasons to doubt its numbers.

    The learning rate is that of ``best_constant_lr``. Where features are correlated with the residual, which
    ``solve_ode`` notices, those up to a factor 2 around it are compared by the law that takes it into account.

    Args:
        problem: any problem, of ``sl.data`` too.
        optimizers: a rule or a list of rules; default ``sgd``, ``sgd`` with momentum 0.9, ``sign_sgd``, ``signum``,
            ``lion``, ``rmsprop`` and ``adam`` with their default numbers.
        horizon: t = steps/d at which the risk counts; default one pass over the rows of a problem that has rows.
        batch_size: samples per step.
        progress: whether to show a bar; default on a terminal.

    Returns:
        ``Recommendation`` with ``.optimizer`` and ``.lr`` of the best, ``.choices``, ``.doubts``, ``.no_theory``,
        ``.table()`` and ``.plot()``.

    Raises:
        TypeError, ValueError: naming the argument; ValueError if no rule has a limit.

    Source: theory sections 1 and 4.

    >>> import sdelimit as sl
    >>> found = sl.recommend(sl.LinearRegression(sl.covariance.identity(200)), [sl.sgd(), sl.sign_sgd()], horizon=2.0)
    >>> [choice.curve.optimizer.name for choice in found.choices]
    ['sgd', 'sign_sgd']
    """
    problem = check_problem(problem, (LinearRegression, SingleIndex))
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    if horizon is None:
        horizon = problem.longest_run(batch_size)
        if not np.isfinite(horizon):
            raise ValueError("horizon must be given for a problem of endless samples, t = steps/d, got None")
    horizon = check.real("horizon", horizon, positive=True)
    if optimizers is None:
        optimizers = [sgd(), sgd(momentum=0.9), sign_sgd(), signum(), lion(), rmsprop(), adam()]
    rules = [as_optimizer(rule) for rule in (optimizers if isinstance(optimizers, list | tuple) else [optimizers])]
    if not rules:
        raise ValueError("optimizers must hold one or more rules, got none")
    check_start(problem)
    choices, no_theory = [], {}
    with progress_bar(check.flag("progress", progress, optional=True), len(rules), "rule", leave=False) as bar:
        for rule in rules:
            try:
                choices.append(_best(problem, rule, horizon, batch_size))
            except NoLimitError as error:
                no_theory[repr(rule)] = error.reason
            except (ValueError, RuntimeError) as error:  # of this rule: the arguments are checked
                no_theory[repr(rule)] = str(error)
            bar.update()
    if not choices:
        raise ValueError(f"optimizers must have a limit on this problem: {'; '.join(no_theory.values())}")
    choices.sort(key=lambda choice: choice.risk)
    return Recommendation(problem, horizon, tuple(choices), no_theory, batch_size)


def _best(problem, rule, horizon, batch_size) -> BestLearningRate:
    """``best_constant_lr`` whose curve is that of ``solve_ode``, without warnings given: they are in the curve."""
    with warnings.catch_warnings():
        for category in (LimitWarning, DivergenceWarning):
            warnings.simplefilter("ignore", category)
        found = best_constant_lr(problem, rule, t_max=horizon, batch_size=batch_size)
        curve = solve_ode(problem, rule, found.lr, t_max=horizon, batch_size=batch_size)
        lr = found.lr
        if np.any(curve.aligned):
            near = solve_ode(problem, rule, lr * NEAR, t_max=horizon, batch_size=batch_size)
            lr = float(lr * NEAR[np.argmin(near.risk[:, -1])])
            curve = solve_ode(problem, rule, lr, t_max=horizon, batch_size=batch_size)
    return replace(found, lr=lr, risk=float(curve.risk[-1]), curve=curve)
