"""An optimizer is a rule and a limit."""

import copyreg
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import optax

from sdelimit.limits.law import Law
from sdelimit.limits.limit import Limit
from sdelimit.limits.measured.step_counts import StartUp
from sdelimit.limits.multi_output.decoupled import decoupled_law
from sdelimit.limits.multi_output.law import no_output_limit, softmax_law
from sdelimit.limits.single_index.law import no_limit, overlap_law
from sdelimit.limits.weight_decay import decayed_limit
from sdelimit.numerics.memo import memoized
from sdelimit.optimizers.formula import UpdateFormula
from sdelimit.optimizers.named import Call
from sdelimit.problem.multi_output import MultiOutputRegression, SoftmaxRegression
from sdelimit.problem.single_index import SingleIndex
from sdelimit.schedules import LearningRate, Scan
from sdelimit.support import arguments as check
from sdelimit.support.html import as_html
from sdelimit.support.structure import may_be_called

DECAYED = {"adam": "adamw", "nadam": "nadamw"}
"""What rules with decoupled weight decay are called, where they have names of their own."""


@dataclass(frozen=True)
class ByModel:
    """The limit of one rule on each kind of problem: (problem, batch_size) -> limit.

    Attributes:
        name: of the rule.
        linear: its limit on a ``LinearRegression``, and on what stands for one of infinite dimension.
        single_index: its limit on a ``SingleIndex`` problem; None if that is not known.
        softmax: its limit on a ``SoftmaxRegression``; None if that is not known.
    """

    name: str
    linear: Callable[..., Limit]
    single_index: Callable[..., Law] | None = None
    softmax: Callable[..., Law] | None = None

    def __call__(self, problem, batch_size):
        if isinstance(problem, MultiOutputRegression):
            return decoupled_law(self.name, self.linear, problem, batch_size)
        if isinstance(problem, SoftmaxRegression):
            if self.softmax is None:
                raise no_output_limit(self.name, problem)
            return self.softmax(problem, batch_size)
        if not isinstance(problem, SingleIndex):
            limit = self.linear(problem, batch_size)
            problem.require_isotropic(self.name, limit)
            return limit
        if self.single_index is None:
            raise no_limit(self.name, problem)
        return self.single_index(problem, batch_size)


@dataclass(frozen=True, eq=False)
class Optimizer:
    """One update rule: its optax transformation and its limit.

    Attributes:
        name: what tables and legends call it.
        transform: the rule, an ``optax.GradientTransformation`` that turns a gradient into the direction
            u_k; a step is theta <- theta - (eta(k/d) / d) u_k. A rule whose constants depend on the problem
            (clipping at C sqrt(tr K)) is a function (problem, batch_size) -> GradientTransformation instead.
        limit: (problem, batch_size) -> limit, what the rule does to the risk when d is large. It reads of the problem
            what the limit depends on: ``problem.noise``, for a few rules ``problem.d`` or
            ``problem.covariance.mean_variance`` too. ``of_noise`` makes it of a function of (noise, batch_size).
        hyperparameters: the numbers that made it.
        memory: steps over which the rule averages gradients, 1/(1-beta) for momentum beta. The limit holds once
            memory / d is short compared with 1 / (eta phi lambda_max) (theory: section 7).
        size_memory: steps over which it remembers the size of gradients, 1/(1-b2) for RMSprop; the limit needs them
            much fewer than d. 1 where the limit takes account of d itself, as that of Adam does.
        start_up: by how many later steps' worth of drift and of noise the first steps together differ from later ones,
            which the limit leaves out: measured for rules from optax, none for named ones.
        needs_variance: whether steps are proportional to gradients, so that label noise of infinite variance makes
            the mean risk infinite.
        scheduled: the numbers of the rule that are functions of t. Solvers check them over their horizon, end steps
            where they jump, and say so where one seems to count steps.
        formula: what ``transform`` computes, for the rules that the fused kernel or ``sl.data.solve_ode`` knows; None
            for any other rule. Another transformation put in by ``dataclasses.replace`` leaves it behind.
        call: what made it, ``sl.adam(0.9, 0.99)``, from which ``repr`` and pickles are; None for rules made by hand, by
            ``from_optax`` or by ``dataclasses.replace``.
    """

    name: str
    transform: optax.GradientTransformation | Callable[..., optax.GradientTransformation]
    limit: Callable[..., Limit] = field(repr=False)
    hyperparameters: dict = field(default_factory=dict)
    memory: float = 1.0
    needs_variance: bool = False
    size_memory: float = 1.0
    start_up: StartUp = field(default_factory=StartUp)
    scheduled: tuple[LearningRate, ...] = field(default=(), repr=False)
    formula: UpdateFormula | None = field(default=None, repr=False)
    call: Call | None = field(default=None, init=False, repr=False)

    def __repr__(self):
        """The call that made it, ``adam(b1=0.9, b2=0.99)``; of any other rule its name and numbers."""
        if self.call is not None and self.call.function is Optimizer.with_weight_decay:
            rule, rate, coupled = self.call.arguments.values()
            return f"{rule!r}.with_weight_decay({rate!r}{', coupled=True' * coupled})"
        if self.call is not None:
            return str(self.call)
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.hyperparameters.items())})"

    def _repr_html_(self) -> str:
        """What Jupyter shows: a table of what it is."""
        numbers = ", ".join(f"{name} = {value!r}" for name, value in self.hyperparameters.items())
        averages = {"gradients averaged over": self.memory, "their sizes over": self.size_memory}
        facts = {name: f"{steps:.4g} steps" for name, steps in averages.items() if steps > 1}
        return as_html({"rule": repr(self), "numbers": numbers, **facts})

    def __reduce__(self):
        """By the call that made it; of any other rule all that it holds, which only cloudpickle takes."""
        if self.call is not None:
            return self.call, ()
        return copyreg.__newobj__, (Optimizer,), dict(vars(self))

    def __eq__(self, other):
        """Whether equal calls made both; any other rule is equal to itself only."""
        if self is other or not isinstance(other, Optimizer) or self.call is None:
            return self is other
        return self.call == other.call

    def __hash__(self):
        return hash(self.name)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __post_init__(self):
        check.text("name", self.name)
        if not isinstance(self.transform, optax.GradientTransformation) and not callable(self.transform):
            raise TypeError(
                "transform must be an optax.GradientTransformation or a function (problem, batch_size) -> one, "
                f"got {check.describe(self.transform)}"
            )
        if not callable(self.limit):
            raise TypeError(f"limit must be a function of (problem, batch_size), got {check.describe(self.limit)}")
        by_model = self.limit if isinstance(self.limit, ByModel) else ByModel(self.name, self.limit)
        object.__setattr__(self, "limit", replace(by_model, name=self.name))
        check.real("memory", self.memory, positive=True)
        check.flag("needs_variance", self.needs_variance)
        check.real("size_memory", self.size_memory, positive=True)
        if not isinstance(self.start_up, StartUp):
            raise TypeError(f"start_up must be a StartUp, got {check.describe(self.start_up)}")
        if not (isinstance(self.scheduled, tuple) and all(isinstance(f, LearningRate) for f in self.scheduled)):
            raise TypeError(f"scheduled must be a tuple of functions of t, got {check.describe(self.scheduled)}")
        if self.formula is not None and not isinstance(self.formula, UpdateFormula):
            raise TypeError(f"formula must be an UpdateFormula or None, got {check.describe(self.formula)}")
        if self.formula is not None and self.formula.transform is not self.transform:
            object.__setattr__(self, "formula", None)

    def rule(self, problem, batch_size: int) -> optax.GradientTransformation:
        """The rule as it acts on ``problem``."""
        if isinstance(self.transform, optax.GradientTransformation):
            return self.transform
        return self.transform(problem, batch_size)

    def scans(self, times) -> tuple[Scan, ...]:
        """The functions of t that the rule follows from 0 to times[-1]. Raises ValueError if one has a wrong sign."""
        return tuple(_with_late_clock(function.scan(times)) for function in self.scheduled)

    def require_times(self, end: float, d: int) -> tuple[str, ...]:
        """Reasons to think that one is not what it is read as up to t = ``end``: for ``.warnings`` of runs."""
        return tuple(text for function in self.scheduled for text in function.require_times(end, d))

    def with_weight_decay(self, weight_decay: float, *, coupled: bool = False) -> "Optimizer":
        """The same rule with weight decay: theta <- theta - (eta/d) (u + omega theta), as AdamW is to Adam.

        Decoupled decay has a limit for every rule: the means of the modes no longer fade but are pulled towards
        theta = 0 (theory: section 19). Decay of a rule that has one already is added to it.

        Args:
            weight_decay: omega >= 0. It acts at rate eta omega per unit of t = steps/d, so that in a step theta loses
                the fraction eta omega / d.
            coupled: whether decay enters the gradient instead, g + omega theta (L2 regularization, PyTorch's SGD):
                for rules that are linear in the gradient, SGD with or without momentum. Without momentum both are one.

        Raises:
            TypeError, ValueError: naming the argument; ValueError from solvers for ``coupled`` decay of other rules.

        Source: arXiv:1711.05101.

        >>> import sdelimit as sl
        >>> sl.sign_sgd().with_weight_decay(0.1).name
        'sign_sgd_decay'
        """
        rate = check.real("weight_decay", weight_decay, nonnegative=True)
        coupled = check.flag("coupled", coupled)
        if rate == 0:
            return self
        decayed = _decayed(self, rate, coupled)
        if decayed.call is None and self.call is not None:
            arguments = {"self": self, "weight_decay": rate, "coupled": coupled}
            object.__setattr__(decayed, "call", Call(Optimizer.with_weight_decay, arguments))
        return decayed

    def doubts(self, end: float, d: int) -> tuple[str, ...]:
        """The same for solvers that take steps of their own, and may miss what a function does between them."""
        return tuple(text for function in self.scheduled for text in function.doubts(end, d))


may_be_called(Optimizer.with_weight_decay)


@memoized
def _decayed(optimizer: Optimizer, rate: float, coupled: bool) -> Optimizer:
    """``with_weight_decay`` for rate > 0: one object for one rule and decay, so that compiled code is found again."""
    decay = optax.add_decayed_weights(rate)

    def limit(problem, batch_size):
        return decayed_limit(optimizer.limit(problem, batch_size), rate, coupled, optimizer.name)

    def chained(rule):
        return optax.chain(decay, rule) if coupled else optax.chain(rule, decay)

    def rule(problem, batch_size):
        return chained(optimizer.rule(problem, batch_size))

    fixed, own = isinstance(optimizer.transform, optax.GradientTransformation), optimizer.hyperparameters
    kept = optimizer.name if "weight_decay" in own else f"{optimizer.name}_decay"
    settings = {**own, "weight_decay": own.get("weight_decay", 0.0) + rate}
    return replace(
        optimizer,
        name=DECAYED.get(optimizer.name, kept),
        transform=chained(optimizer.transform) if fixed else rule,
        limit=ByModel(optimizer.name, limit, limit, limit),
        hyperparameters={**settings, "coupled": True} if coupled else settings,
        formula=None,
    )


LATE = 1e-9
"""The clock of a law, a scalar that is solved for, is less than this fraction of t off."""


def _with_late_clock(scan: Scan) -> Scan:
    """Steps that end behind a jump too, once the clock of the law has passed it."""
    return scan._replace(breaks=np.unique(np.concatenate([scan.breaks, scan.breaks * (1 + LATE)])))


def of_noise(limit, *settings):
    """(problem, batch_size) -> limit(*settings, problem.noise, batch_size): of the problem only its noise matters."""

    def limit_on_problem(problem, batch_size):
        return limit(*settings, problem.noise, batch_size)

    return limit_on_problem


def refusal(name: str, problem):
    """What is raised for a rule without a limit on a problem whose gradient depends on scores."""
    return (no_output_limit if isinstance(problem, SoftmaxRegression) else no_limit)(name, problem)


def overlap_limit(rule):
    """(problem, batch_size) -> the limit of ``rule`` on single-index problems, its memory short; None is SGD."""

    def limit_on_problem(problem, batch_size):
        return overlap_law(rule, problem, batch_size)

    return limit_on_problem


def softmax_limit(rule):
    """(problem, batch_size) -> the limit of ``rule`` on softmax regressions, its memory short; None is SGD."""

    def limit_on_problem(problem, batch_size):
        return softmax_law(rule, problem, batch_size)

    return limit_on_problem


def of_scores(name: str, linear, rule) -> ByModel:
    """The limits of a ``rule``, None for SGD, that has one on every problem whose gradient depends on scores."""
    return ByModel(name, linear, overlap_limit(rule), softmax_limit(rule))


def as_optimizer(value, name: str = "optimizer") -> Optimizer:
    """``value`` if it is an Optimizer; otherwise a TypeError that says how to make one."""
    if isinstance(value, (optax.GradientTransformation, optax.MultiSteps)):
        raise TypeError(
            f"{name} must be an optimizer such as sl.sign_sgd(), got an optax transformation: write sl.from_optax(...) "
            "around it, without learning rate and sign (optax.scale_by_adam(), not optax.adam(1e-3))"
        )
    if callable(value) and not isinstance(value, Optimizer):
        raise TypeError(f"{name} must be an optimizer such as sl.sign_sgd(), got the function itself: call it")
    if not isinstance(value, Optimizer):
        raise TypeError(f"{name} must be an optimizer such as sl.sign_sgd(), got {check.describe(value)}")
    return value


def decay_rate(name: str, value) -> float:
    """``value`` as a float in [0, 1); otherwise a TypeError or ValueError that names it."""
    value = check.real(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value:g}")
    return value
