"""The settings of a sweep: checked before any work, as plain numbers and texts that identify it."""

import itertools
from typing import NamedTuple

import numpy as np

from sdelimit.experiments import specs
from sdelimit.experiments.rows import are_rows, input_texts, problem_of_rows, rows_text
from sdelimit.support import arguments as check
from sdelimit.support.files import as_path, describe_inputs

RANGE = {"from", "to", "points"}
MOST_STEPS = 2**31
LARGEST_RATE = float(np.finfo(np.float32).max)
"""Runs count steps in 32 bits, and have learning rates in single precision."""


EARLIER = {"model": "linear"}
"""Settings that sweeps and cells of earlier versions do not name, and what they were."""


class Cell(NamedTuple):
    """One point of the grid, in the order in which the axes are nested; the last changes fastest."""

    d: int
    covariance: str
    model: str
    noise: str
    batch_size: int
    seed: int
    optimizer: str
    lr: float | str


def grid_settings(
    *,
    optimizer,
    lr,
    t_max,
    d=None,
    covariance=None,
    model="linear",
    noise=None,
    data=None,
    label=None,
    batch_size=1,
    seed=0,
    n_runs=16,
    points=41,
) -> dict:
    """The settings of a sweep as JSON has them. TypeError or ValueError naming the argument that is wrong."""
    t_max = check.real("t_max", t_max, positive=True)
    d, covariance, noise = _source(d, covariance, noise, data, label, model)
    optimizers = _values("optimizer", optimizer, _text)
    settings = {
        "d": _values("d", d, lambda name, value: check.integer(name, value, minimum=1)),
        "covariance": _values("covariance", covariance, _text),
        "model": _values("model", model, _text),
        "noise": _values("noise", noise, _text),
        "batch_size": _values("batch_size", batch_size, lambda name, value: check.integer(name, value, minimum=1)),
        "seed": _values("seed", seed, check.seed),
        "optimizer": optimizers,
        "lr": _rates(lr, optimizers, t_max),
        "t_max": t_max,
        "points": check.integer("points", points, minimum=2),
        "n_runs": check.integer("n_runs", n_runs, minimum=0),
    }
    for text in optimizers:
        specs.parse_optimizer(text)
    if data is None:
        _require_made_up(settings)
    else:
        for size in settings["batch_size"]:
            problem_of_rows(covariance, settings["model"][0], noise).require_rows(t_max, size)
    if t_max * min(settings["d"]) < 1:
        raise ValueError(f"t_max must reach one step, 1/d = {1 / min(settings['d']):g}, got {t_max:g}")
    steps = t_max * max(settings["d"])
    if not np.isfinite(steps) or (settings["n_runs"] and steps >= MOST_STEPS):
        raise ValueError(f"t_max times d must be < {MOST_STEPS} steps, got {t_max:g} times {max(settings['d'])}")
    inputs = describe_inputs(*input_texts(settings["covariance"], settings["noise"]))
    return settings | {"inputs": {name: recorded["sha256"] for name, recorded in inputs.items()}}


def _source(d, covariance, noise, data, label, model):
    """(d, covariance, noise) as they are given, or from the file of rows that takes their place."""
    if data is None:
        if label is not None:
            raise ValueError("label is the column of labels in data, and there is no data")
        if d is None:
            raise TypeError("d must be given, the dimension or several, unless data brings it")
        return d, "identity" if covariance is None else covariance, "none" if noise is None else noise
    for name, value in (("d", d), ("covariance", covariance), ("noise", noise)):
        if value is not None:
            raise ValueError(f"data brings its own {name}; leave one of them out")
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    data, label = str(as_path("data", data)), None if label is None else check.text("label", label)
    sizes = {problem_of_rows(data, text, rows_text(label)).d for text in _values("model", model, _text)}
    return sizes.pop(), data, rows_text(label)


def _require_made_up(settings):
    """ValueError unless problems exist with these covariances, models and noise laws."""
    for text in settings["noise"]:
        if are_rows(text):
            raise ValueError(f"noise must be a law, got {text!r}: data=FILE makes a sweep of rows")
        _require_variance(text)
    for own in map(specs.parse_model, settings["model"]):
        for text in settings["noise"]:
            own.require_noise("noise", text)
    for text in settings["covariance"]:
        _require_dimensions(text, settings["d"])


def cells(settings) -> list[Cell]:
    """All cells of the grid; cells that share a problem follow each other."""
    axes = [settings[name] for name in Cell._fields[:-2]]
    pairs = [(optimizer, lr) for optimizer in settings["optimizer"] for lr in settings["lr"][optimizer]]
    return [Cell(*rest, *pair) for *rest, pair in itertools.product(*axes, pairs)]


def require_settings(settings: dict):
    """ValueError if these are not settings of a sweep as ``grid_settings`` makes them."""
    scalars = {"t_max": float, "points": int, "n_runs": int}
    kinds = dict.fromkeys((*Cell._fields[:-1],), list) | {"lr": dict, "inputs": dict} | scalars
    for name, kind in kinds.items():
        if type(settings.get(name)) is not kind:
            raise ValueError(f"its settings have the {name} {check.describe(settings.get(name))}")
    numbers, texts = ("d", "batch_size", "seed"), ("covariance", "model", "noise", "optimizer")
    parts = dict.fromkeys(numbers, int) | dict.fromkeys(texts, str)
    for name, kind in parts.items():
        if not settings[name] or any(type(value) is not kind for value in settings[name]):
            raise ValueError(f"its settings have the {name} {check.describe(settings[name])}")
    for name in settings["optimizer"]:
        rates = settings["lr"].get(name)
        if not isinstance(rates, list) or any(type(value) not in (float, str) for value in rates):
            raise ValueError(f"its settings have the lr {check.describe(rates)} for {name}")


def _values(name, value, parse) -> list:
    """One value or several as a list of different ones."""
    several = isinstance(value, (list, tuple, range)) or (isinstance(value, np.ndarray) and value.ndim)
    given = list(value) if several else [value]
    values = [parse(name, v) for v in given]
    if not values:
        raise ValueError(f"{name} must hold at least one value, got none")
    repeated = [v for i, v in enumerate(values) if v in values[:i]]
    if repeated:
        raise ValueError(f"{name} must hold different values, got {repeated[0]!r} twice")
    return values


def _text(name, value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text as on the command line, like 'ar1:0.5', got {check.describe(value)}")
    return value


def _rates(lr, optimizers, t_max) -> dict[str, list]:
    """The learning rates of each optimizer."""

    def parse(name, value):
        rate = (
            specs.parse_schedule(value, t_max) if isinstance(value, str) else check.real(name, value, nonnegative=True)
        )
        if not isinstance(rate, float):
            return value
        if rate > LARGEST_RATE:
            raise ValueError(f"lr must be <= {LARGEST_RATE:.3g}, the largest number in single precision, got {rate:g}")
        return rate

    if not isinstance(lr, dict) or lr.keys() <= RANGE:
        rates = _values("lr", _range(lr), parse)
        return {name: rates for name in optimizers}
    wrong = [key for key in lr if not isinstance(key, str)]
    if wrong:
        raise TypeError(f"lr must have optimizers as its keys, got {check.describe(wrong[0])}")
    spelt = {name: specs.canonical(name) for name in (*optimizers, *lr)}
    names = {key: [o for o in optimizers if spelt[key] in (spelt[o], spelt[o].partition(":")[0])] for key in lr}
    for key, named in names.items():
        if not named:
            raise ValueError(f"lr: {key!r} is not one of the optimizers{check.nearest(key, optimizers)}")
    rates = {name: _values("lr", _range(lr[key]), parse) for key, named in names.items() for name in named}
    missing = [name for name in optimizers if name not in rates]
    if missing:
        raise ValueError(f"lr must have learning rates for every optimizer, got none for {missing[0]!r}")
    return rates


def _range(lr):
    """{from, to, points} as that many rates in equal ratios, to six digits; anything else as it is."""
    if not isinstance(lr, dict):
        return lr
    if lr.keys() != RANGE:
        raise ValueError(f"lr must be numbers, or a table of from, to and points, got the keys {sorted(map(str, lr))}")
    low, high = (check.real(f"lr.{name}", lr[name], positive=True) for name in ("from", "to"))
    return [float(f"{x:.6g}") for x in np.geomspace(low, high, check.integer("lr.points", lr["points"], minimum=1))]


def _require_variance(text):
    """The noise law exists, and its variance is a number or infinite."""
    try:
        return specs.parse_noise(text).second_moment
    except OverflowError as error:
        raise ValueError(f"noise: the variance of {text!r} is beyond the floating-point range") from error


def _require_dimensions(text, dimensions):
    """The covariance exists in every dimension; what is wrong with one is wrong in the smallest."""
    size = specs.parse_covariance(text, min(dimensions)).d
    wrong = [d for d in dimensions if d != size]
    if specs.brings_dimension(text) and wrong:
        raise ValueError(f"covariance: {text} holds a matrix with d = {size}, got d = {wrong[0]}")
