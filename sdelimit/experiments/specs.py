"""Short texts for models, covariances, noise laws, optimizers and schedules, as the command line takes them.

``name:argument,argument,key=value`` means the Python call ``name(argument, argument, key=value)``; arguments
are numbers, True/False, or [lists] of numbers; of models also words.
"""

import ast
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
from sdelimit.numerics.floors import TINY
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.regression import Regression
from sdelimit.problem.single_index import (
    LogisticRegression,
    PhaseRetrieval,
    PoissonRegression,
    ProbitRegression,
    RobustRegression,
)
from sdelimit.support import arguments as check
from sdelimit.support.files import is_file, load_array


def _functions(room, *others):
    """The public functions of a room by name, but ``others``."""
    public = ((name, getattr(room, name)) for name in room.__all__)
    return {name: value for name, value in public if inspect.isfunction(value) and value not in others}


def _snake_case(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


COVARIANCES = {
    name: make for name, make in _functions(covariance).items() if next(iter(inspect.signature(make).parameters)) == "d"
}
"""Those made of a dimension and numbers."""
OTHER_NOISES = "NoiseLaw", "NoNoise", "Density", "Empirical"
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


START = 1
"""Beside the seed, of theta0."""
MODELS = {
    _snake_case(model.__name__).removesuffix("_regression"): model
    for model in (LinearRegression, LogisticRegression, ProbitRegression, PoissonRegression)
} | {"phase": phase, **{loss: partial(RobustRegression, loss=loss) for loss in ("huber", "absolute")}}
"""Problems by name: 'linear', 'logistic', ..., and robust regression by its losses."""
COMMON = tuple(inspect.signature(LinearRegression).parameters)
"""Arguments that are no part of a model's text: covariance, noise, theta0, theta_star, seed."""
OPTIMIZERS = _functions(optimizers, optimizers.from_optax, optimizers.as_optimizer)
"""Those made of numbers."""
HORIZON_SCHEDULES = {"cosine": schedules.cosine, "linear": schedules.linear}
SCHEDULES = {"constant": schedules.constant, "inverse_sqrt": schedules.inverse_sqrt, **HORIZON_SCHEDULES}


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
        if text != "none" and not self.takes_noise:
            raise ValueError(
                f"{name} must be none for the model {self.text!r}, whose labels are random by themselves or have no "
                f"noise, got {text!r}"
            )


def parse_model(text: str) -> Model:
    """A class of problems: 'linear', 'logistic:hard', 'logistic:soft', 'probit', 'huber:0.5', ..."""
    make, args, kwargs = _parse("model", text, MODELS, words=True)
    fixed = getattr(make, "keywords", {})
    names = [name for name in inspect.signature(make).parameters if name not in (*COMMON, *fixed)]
    if len(args) > len(names):
        raise ValueError(f"model: {text!r} must have at most {len(names)} argument(s), got {len(args)}")
    options = dict(zip(names, args, strict=False))
    wrong = [name for name in kwargs if name not in names[len(args) :]]
    if wrong:
        raise ValueError(f"model: {text!r} must name each of its arguments {names} once at most, got {wrong[0]!r}")
    model = Model(text, make, options | kwargs)
    _call("model", text, model.problem, (np.ones(1), noise.NoNoise()), {})
    return model


def parse_covariance(text: str, d: int):
    """A covariance in dimension ``d``: 'ar1:0.5', 'power_law:0.7,rotate=True', or a .npy/.csv file of K or diag K."""
    if is_file(text):
        return covariance.as_covariance(load_array(text, "covariance"))
    function, args, kwargs = _parse("covariance", text, COVARIANCES)
    return _call("covariance", text, function, (d, *args), kwargs)


def parse_noise(text: str):
    """A noise law: 'student_t:2,0.3', 'none', or a .npy/.csv file of samples."""
    if is_file(text):
        return noise.Empirical(load_array(text, "noise").ravel())
    function, args, kwargs = _parse("noise", text, NOISES)
    return _call("noise", text, function, args, kwargs)


def parse_target(text: str, d: int, seed: int):
    """theta*: 'dense' (drawn from N(0, I/d) with ``seed``), 'e3' for the third unit vector, 'sparse:5', or a file.

    'sparse:K' has K entries K^(-1/2), at coordinates that are drawn with ``seed``; None stands for 'dense'.
    """
    if is_file(text):
        return load_array(text, "target").ravel()
    name, _, count = text.partition(":")
    unit = re.fullmatch(r"e([0-9]+)", text)
    if unit:
        return np.eye(1, d, _place("target", text, unit[1], d) - 1)[0]
    if name == "sparse":
        k = _place("target", text, count, d)
        target = np.zeros(d)
        target[np.random.default_rng(seed).choice(d, k, replace=False)] = k**-0.5
        return target
    if text == "dense":
        return None
    raise ValueError(f"target: {text!r} must be dense, e1 (or e2, ...), sparse:K, or a .npy/.csv file")


def _place(what, text, number, d):
    """``number`` as an integer from 1 to d."""
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= d):
        raise ValueError(f"{what}: {text!r} must have an integer from 1 to d = {d}, got {number!r}")
    return int(number)


def parse_optimizer(text: str):
    """An optimizer: 'sign_sgd', 'signum:0.9', or 'my_rules.toy:0.5' for the function ``toy`` of a module my_rules.

    The module is looked for in the current folder too. Every rule takes a weight_decay: 'signum:0.9,weight_decay=0.1'.
    """
    name, _, _ = text.partition(":")
    options = {name: _imported(name)} if "." in name else OPTIMIZERS
    function, args, kwargs = _parse("optimizer", text, options)
    own = "weight_decay" in inspect.signature(function).parameters
    decay = 0.0 if own else kwargs.pop("weight_decay", 0.0)
    made = optimizers.as_optimizer(_call("optimizer", text, function, args, kwargs), f"optimizer: {text!r}")
    return _call("optimizer", text, made.with_weight_decay, (decay,), {}) if decay != 0 else made


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
    function, args, kwargs = _parse("lr", text, SCHEDULES)
    if function in HORIZON_SCHEDULES.values() and len(args) < 2:
        kwargs = {"t_max": t_max, **kwargs}
    return _call("lr", text, function, args, kwargs)


def _parse(what, text, options, words=False):
    """(function, arguments, keyword arguments); ``words`` are texts without quotes."""
    name, _, arguments = text.partition(":")
    check.choice(what, name, options)
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(call, ast.Call) or any(k.arg is None for k in call.keywords):
            raise ValueError("not a list of arguments")
        args = tuple(_literal(a, words) for a in call.args)
        kwargs = {k.arg: _literal(k.value, words) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what}: cannot read the arguments of {text!r}; write name:1.5,key=2") from error
    return options[name], args, kwargs


def _literal(node, words):
    return node.id if words and isinstance(node, ast.Name) else ast.literal_eval(node)


def _call(what, text, function, args, kwargs):
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"{what}: {text!r}: {str(error).replace('__init__() ', '')}") from error
    except ValueError as error:
        raise ValueError(f"{what}: {text!r}: {error}") from error
