"""What there is to choose from: every optimizer, noise law, covariance, schedule, model and data set, from the code."""

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

from sdelimit import covariance, data, noise, optimizers, schedules
from sdelimit.experiments import specs
from sdelimit.experiments.spec_text import NO_DEFAULT, parameters
from sdelimit.problem import multi_output, single_index
from sdelimit.problem.random_features import power_law_random_features
from sdelimit.problem.regression import Regression


class Entry(NamedTuple):
    """One thing that can be chosen.

    Attributes:
        name: what a text calls it; of what no text can say, its name in Python.
        parameters: {name: default}; ``NO_DEFAULT`` for those that must be given.
        description: the first sentence of its docstring.
        example: a text that works; None where no text can say it.
    """

    name: str
    parameters: dict
    description: str
    example: str | None

    @property
    def signature(self) -> str:
        """'df, scale' or 'b1=0.9, b2=0.99', or ''."""
        return ", ".join(name if value is NO_DEFAULT else f"{name}={value}" for name, value in self.parameters.items())


class Kind(NamedTuple):
    """One list of the catalogue.

    Attributes:
        option: where its texts go on the command line.
        texts: {name: function}.
        beside: what else the option takes.
        prefix: where Python has them.
        public: {name: function or class} of all there is in Python.
        given: parameters that a text cannot say.
        optional: parameters that a text may leave out, beside those with defaults.
    """

    option: str
    texts: dict[str, Callable]
    beside: str
    prefix: str
    public: dict[str, Callable]
    given: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def _public(room, *left_out):
    """What a room offers, but base classes and what takes problems."""
    return {name: getattr(room, name) for name in room.__all__ if name not in left_out}


def _models():
    found = [pair for room in (single_index, multi_output) for pair in inspect.getmembers(room, inspect.isclass)]
    left_out = Regression, multi_output.MultiOutput
    classes = [(name, one) for name, one in found if issubclass(one, Regression) and one not in left_out]
    return dict(classes) | {power_law_random_features.__name__: power_law_random_features}


KINDS = {
    "optimizers": Kind(
        "--optimizer",
        specs.OPTIMIZERS,
        "every rule takes weight_decay=0.1 too; my_module.my_function:1.5 is a function that returns an optimizer",
        "sl",
        _public(optimizers, "Optimizer", "as_optimizer"),
    ),
    "noises": Kind(
        "--noise", specs.NOISES, "or a .npy or .csv file of samples", "sl.noise", _public(noise, "NoiseLaw")
    ),
    "covariances": Kind(
        "--covariance",
        specs.COVARIANCES,
        "or a .npy or .csv file of K or its diagonal; block, dense, diagonal and files bring their own d",
        "sl.covariance",
        _public(covariance, "Covariance", "as_covariance"),
        given=specs.DIMENSION,
    ),
    "schedules": Kind(
        "--lr",
        specs.SCHEDULES,
        "or a number; OPTIMIZER=... is for one rule; t_max is the horizon unless it is given",
        "sl.schedules",
        _public(schedules),
        optional=("t_max",),
    ),
    "models": Kind("--model", specs.MODELS, "", "sl", _models(), given=specs.COMMON),
    "data": Kind(
        "--data", {}, "a file, as sl.data.from_file reads it", "sl.data", _public(data, "solve_ode", "covers")
    ),
}
"""By the word that ``sdelimit list`` takes."""


def entries(what: str) -> list[Entry]:
    """What a text can say, then what only Python can. ``what`` is one of ``KINDS``."""
    kind = KINDS[what]
    said = [_entry(name, make, kind) for name, make in kind.texts.items()]
    made = {getattr(make, "func", make) for make in kind.texts.values()} | {
        single_index.PhaseRetrieval,
        multi_output.SoftmaxRegression,
    }
    return said + [
        Entry(f"{kind.prefix}.{name}", _defaults(make), first_sentence(make), None)
        for name, make in kind.public.items()
        if make not in made
    ]


def _entry(name, make, kind):
    own = parameters(make, kind.given)
    needed = {key: parameter for key, parameter in own.items() if key not in kind.optional}
    defaults = _defaults(make, kind.given) | {key: None for key in kind.optional if key in own}
    return Entry(name, defaults, first_sentence(getattr(make, "func", make)), specs.example(name, needed))


def _defaults(make, given=()):
    own = parameters(make, given)
    return {f"{STARS.get(p.kind, '')}{name}": p.default for name, p in own.items()}


STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def first_sentence(thing) -> str:
    """The first sentence of a docstring, without double backticks and references to sections of the documentation."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    text = re.sub(r"\s*\(theory: [^)]*\)", "", paragraph).replace("``", "")
    return re.split(r"(?<=[^.\s]\.)\s+(?=[A-Z])", text)[0]
