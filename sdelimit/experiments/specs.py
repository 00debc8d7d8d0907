"""Short texts for models, covariances, noise laws, optimizers and schedules, as the command line takes them.

``name:argument,argument,key=value`` means the Python call ``name(argument, argument, key=value)``; see ``spec_text``.
Names are taken in any case, with or without underscores: 'signSGD' is 'sign_sgd'.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from sdelimit import covariance, noise, optimizers, schedules
from sdelimit.experiments.spec_text import NO_DEFAULT, Call, bind, known_name, parameters, plain, read
from sdelimit.numerics.floors import TINY
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.multi_output import SoftmaxRegression
from sdelimit.problem.regression import Regression
from sdelimit.problem.single_index import (
    LogisticRegression,
    PhaseRetrieval,
    PoissonRegression,
    ProbitRegression,
    RobustRegression,
)
from sdelimit.support import arguments as check
from sdelimit.support.arguments import nearest
from sdelimit.support.files import is_file, load_array


def _functions(room, *others):
    """The public functions of a room by name, but ``others``."""
    public = ((name, getattr(room, name)) for name in room.__all__)
    return {name: value for name, value in public if inspect.isfunction(value) and value not in others}


def _snake_case(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


COVARIANCES = _functions(covariance, covariance.as_covariance, covariance.from_data)
"""Those made of numbers, most of them of the dimension d too, which is given elsewhere."""
OTHER_NOISES = "NoiseLaw", "NoNoise", "Density", "Empirical", "MultivariateGaussian"
NOISES = {"none": noise.NoNoise} | {
    _snake_case(name): getattr(noise, name) for name in noise.__all__ if name not in OTHER_NOISES
}
"""Those made of numbers: 'none', 'student_t', ..."""
OVERLAP = 0.5
"""Cosine between theta0 and theta* of phase retrieval, where 0 is a saddle."""


def phase(covariance, *, overlap=OVERLAP, theta_star=None, seed=0):
    """``PhaseRetrieval`` from a theta0 as long as theta*, with this cosine to it, and random otherwise."""
    overlap = check.real("overlap", overlap)
    if not -1 <= overlap <= 1:
        raise ValueError(f"overlap must lie in [-1, 1], got {overlap:g}")
    problem = PhaseRetrieval(covariance, theta_star=theta_star, seed=seed)
    target = problem.theta_star
    length = np.linalg.norm(target)
    across = np.random.default_rng([seed, START]).standard_normal(problem.d)
    across -= (across @ target) / (length**2 or 1.0) * target
    rest = np.sqrt(1 - overlap**2) * length / max(np.linalg.norm(across), TINY)
    theta0 = overlap * target + rest * across
    return PhaseRetrieval(covariance, theta0=theta0, theta_star=target, seed=seed)


def softmax(covariance, *, labels="hard", outputs=3, theta_star=None, seed=0):
    """``SoftmaxRegression`` with this number of classes."""
    return SoftmaxRegression(covariance, labels=labels, outputs=outputs, theta_star=theta_star, seed=seed)


START = 1
"""Beside the seed, of theta0."""
MODELS = {
    _snake_case(model.__name__).removesuffix("_regression"): model
    for model in (LinearRegression, LogisticRegression, ProbitRegression, PoissonRegression)
} | {
    "softmax": softmax,
    "phase": phase,
    **{loss: partial(RobustRegression, loss=loss) for loss in ("huber", "absolute")},
}
"""Problems by name: 'linear', 'logistic', ..., and robust regression by its losses."""
COMMON = tuple(inspect.signature(LinearRegression).parameters)
"""Arguments that are no part of a model's text: covariance, noise, theta0, theta_star, seed."""
OPTIMIZERS = _functions(optimizers, optimizers.from_optax, optimizers.as_optimizer)
"""Those made of numbers."""
SCHEDULES = _functions(schedules, schedules.of_steps)
"""Those made of numbers and other schedules; ``t_max`` is the horizon where a text does not say it."""
EXAMPLES = {
    "K": "[[2,0.5],[0.5,1]]", "b1": 0.9, "b2": 0.999, "blocks": "ar1(300,0.5),identity(300)", "boundaries": "[1,2]",
    "delta": 4, "df": 2, "exponent": 0.7, "g2": 1, "g3": 0.5, "half_width": 0.5, "magnitude": 0.5, "means": "[-1,1]",
    "rho": 0.5, "scale": 0.3, "schedule": "cosine(0.5)", "start": 0.5, "std": 0.5, "stds": "[0.2,0.2]",
    "strengths": "[4,2]", "t_warmup": 1, "threshold": 1, "times": "[0.1,1]", "value": 0.5, "values": "[1,0.5,0.25]",
    "weights": "[0.5,0.5]",
}  # fmt: skip
"""What to write for the parameters that have no default."""
OTHER_EXAMPLES = {"log_linear": {"values": "[1,0.1]"}}
"""Where one function's differs."""


def example(name: str, own: dict) -> str:
    """A text that works: the name, and a value for each parameter in ``own`` that needs one."""
    examples = EXAMPLES | OTHER_EXAMPLES.get(name, {})
    needed = [str(examples.get(key, 1)) for key, parameter in own.items() if parameter.default is NO_DEFAULT]
    return f"{name}:{','.join(needed)}" if needed else name


class Model(NamedTuple):
    """A class of problems with its own arguments.

    Attributes:
        text: as it was given.
        make: the class, or a function that makes problems.
        options: keyword arguments.
    """

    text: str
    make: Callable
    options: dict

    @property
    def takes_noise(self) -> bool:
        """Whether labels have noise beside what the model itself says."""
        return "noise" in inspect.signature(self.make).parameters

    def problem(self, covariance, noise, **given) -> Regression:
        """The problem with this covariance and label noise."""
        own = {"noise": noise} if self.takes_noise else {}
        return self.make(covariance, **own, **self.options, **given)

    def require_noise(self, name: str, text: str):
        """ValueError naming the argument ``name`` if the model cannot have the label noise ``text``."""
        if not self.takes_noise and not isinstance(parse_noise(text), noise.NoNoise):
            raise ValueError(
                f"{name} must be none for the model {self.text!r}, whose labels are random by themselves or have no "
                f"noise, got {text!r}"
            )


def parse_model(text: str) -> Model:
    """A class of problems: 'linear', 'logistic:hard', 'logistic:soft', 'probit', 'huber:0.5', ..."""
    make, _, options = _parse("model", text, MODELS, given=COMMON)
    model = Model(text, make, options)
    _made("model", text, lambda: model.problem(np.ones(1), noise.NoNoise()))
    return model


def parse_covariance(text: str, d: int):
    """A covariance in dimension ``d``: 'ar1:0.5', 'power_law:0.7,rotate=True'; or one that brings its own dimension.

    These are 'diagonal:[2,1]', 'dense:[[2,1],[1,2]]', 'block:ar1(300,0.5),[2,1]', whose blocks are covariances with
    their dimension, matrices or diagonals, and .npy/.csv files of K or its diagonal.
    """
    if is_file(text):
        return covariance.as_covariance(load_array(text, "covariance"))
    make, args, options = _parse("covariance", text, COVARIANCES, given=DIMENSION, nested=True)
    given = {} if brings_dimension(text) else {"d": d}
    return _made("covariance", text, lambda: make(*args, **given, **options))


DIMENSION = ("d",)


def brings_dimension(text: str) -> bool:
    """Whether the text of a covariance says what d is."""
    if is_file(text):
        return True
    name = known_name("covariance", text.partition(":")[0], COVARIANCES)
    return "d" not in parameters(COVARIANCES[name])


def parse_noise(text: str):
    """A noise law: 'student_t:2,0.3', 'none', or a .npy/.csv file of samples."""
    if is_file(text):
        return noise.Empirical(load_array(text, "noise").ravel())
    make, args, options = _parse("noise", text, NOISES)
    return _made("noise", text, lambda: make(*args, **options))


def parse_target(text: str, d: int, seed: int):
    """theta*: 'dense' (drawn from N(0, I/d) with ``seed``), 'e3' for the third unit vector, 'sparse:5', or a file.

    'sparse:K' has K entries K^(-1/2), at coordinates that are drawn with ``seed``; None stands for 'dense'.
    """
    if is_file(text):
        return load_array(text, "target").ravel()
    name, colon, count = text.partition(":")
    name, unit = name.lower(), re.fullmatch(r"[eE]([0-9]+)", text)
    if unit:
        return np.eye(1, d, _place("target", text, unit[1], d) - 1)[0]
    if name == "sparse":
        if not count:
            raise ValueError(f"target: {text!r} needs the number of entries that are not zero; for example sparse:5")
        k = _place("target", text, count, d)
        target = np.zeros(d)
        target[np.random.default_rng(seed).choice(d, k, replace=False)] = k**-0.5
        return target
    if name == "dense" and not colon:
        return None
    close = nearest(name, TARGETS)
    raise ValueError(f"target: {text!r} must be dense, e1 (or e2, ...), sparse:K, or a .npy/.csv file{close}")


TARGETS = ("dense", "e1", "sparse")


def _place(what, text, number, d):
    """``number`` as an integer from 1 to d."""
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= d):
        raise ValueError(f"{what}: {text!r} must have an integer from 1 to d = {d}, got {number!r}")
    return int(number)


def parse_optimizer(text: str):
    """An optimizer: 'sign_sgd', 'signum:0.9', or 'my_rules.toy:0.5' for the function ``toy`` of a module my_rules.

    The module is looked for in the current folder too. Every rule takes a weight_decay: 'signum:0.9,weight_decay=0.1'.
    """
    call = read("optimizer", text)
    if "." in call.name:
        make, args, given = _imported(call.name), call.args, dict(call.kwargs)
    else:
        make, args, given = _parse("optimizer", text, OPTIMIZERS, more=("weight_decay",))
    own = "weight_decay" in parameters(make)
    decay = 0.0 if own else given.pop("weight_decay", 0.0)
    made = _made("optimizer", text, lambda: optimizers.as_optimizer(make(*args, **given), f"optimizer: {text!r}"))
    return _made("optimizer", text, lambda: made.with_weight_decay(decay)) if decay != 0 else made


def canonical(text: str) -> str:
    """``text`` with the optimizer that it begins with in this package's spelling: 'SignSGD=0.5' is 'sign_sgd=0.5'."""
    name = re.match(r"[\w-]*", text)[0]
    found = {plain(key): key for key in OPTIMIZERS}.get(plain(name))
    return text if found is None else found + text[len(name) :]


def _imported(name):
    """The function of a dotted name. ValueError, naming the optimizer, if there is none."""
    module, _, function = name.rpartition(".")
    path = sys.path
    try:
        sys.path = [*path, os.getcwd()]
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"optimizer: cannot import {module!r} for {name!r}: {reason}") from error
    finally:
        sys.path = path
    if not callable(found):
        got = "no such name in the module" if found is None else check.describe(found)
        raise ValueError(f"optimizer: {name!r} must be a function that makes an optimizer, got {got}")
    return found


def parse_schedule(text: str, t_max: float):
    """A learning rate: '0.5', 'cosine:0.5' (to zero at the horizon), 'inverse_sqrt:0.5,1'."""
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is not None:
        return check.real("lr", number, nonnegative=True)
    make, args, options = _parse("lr", text, SCHEDULES, nested=True, known={"t_max": t_max})
    return _made("lr", text, lambda: make(*args, **options))


def _parse(what, text, options, *, given=(), more=(), nested=False, known=None):
    """(function, arguments, keyword arguments) of a text.

    Args:
        what: the argument, for errors.
        text: the text.
        options: functions by name.
        given: parameters that a text cannot say.
        more: keyword arguments beside the function's own.
        nested: whether arguments may be calls of ``options`` themselves.
        known: values for parameters of these names, where the text has none.
    """
    return _bound(what, text, read(what, text), options, given, more, nested, known or {})


def _bound(what, text, call, options, given, more, nested, known):
    name = known_name(what, call.name, options)
    make = options[name]
    own = parameters(make, given)
    extra = {key: call.kwargs[key] for key in more if key in call.kwargs and key not in own}
    call = call._replace(kwargs={key: value for key, value in call.kwargs.items() if key not in extra})
    optional = {key: own[key].replace(default=value) for key, value in known.items() if key in own}
    args, values = bind(what, text, call, own | optional, example(name, own | optional))

    def resolved(value):
        if not isinstance(value, Call):
            return value
        if not nested:
            raise ValueError(f"{what}: cannot read the arguments of {text!r}; write name:1.5,key=2")
        inner, inner_args, inner_values = _bound(what, text, value, options, (), (), True, known)
        return _made(what, text, lambda: inner(*inner_args, **inner_values))

    fill = {key: parameter.default for key, parameter in optional.items()}
    values = {key: resolved(value) for key, value in (fill | values | extra).items()}
    return make, tuple(map(resolved, args)), values


def _made(what, text, make):
    """``make()``; what is wrong with an argument is said of the text."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        if str(error).startswith(f"{what}: "):
            raise ValueError(str(error)) from error
        raise ValueError(f"{what}: {text!r}: {error}") from error
