"""The settings of a sweep: checked before any work, as plain numbers and texts that identify it."""

import itertools
from typing import NamedTuple

import numpy as np

from sdelimit import _specs as specs
from sdelimit import _validation as check
from sdelimit._inputs import describe_inputs

RANGE = {"from", "to", "points"}


class Cell(NamedTuple):
    """One point of the grid, in the order in which the axes are nested; the last changes fastest."""

    d: int
    covariance: str
    noise: str
    batch_size: int
    seed: int
    optimizer: str
    lr: float | str


def grid_settings(
    *, optimizer, lr, t_max, d, covariance="identity", noise="none", batch_size=1, seed=0, n_runs=16, points=41
) -> dict:
    """The settings of a sweep as JSON has them. TypeError or ValueError naming the argument that is wrong."""
    t_max = check.real("t_max", t_max, positive=True)
    optimizers = _values("optimizer", optimizer, _text)
    settings = {
        "d": _values("d", d, lambda name, value: check.integer(name, value, minimum=1)),
        "covariance": _values("covariance", covariance, _text),
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
    for text in settings["noise"]:
        specs.parse_noise(text)
    for text in settings["covariance"]:
        _require_dimensions(text, settings["d"])
    if t_max * min(settings["d"]) < 1:
        raise ValueError(f"t_max must reach one step, 1/d = {1 / min(settings['d']):g}, got {t_max:g}")
    inputs = describe_inputs(*settings["covariance"], *settings["noise"])
    return settings | {"inputs": {name: recorded["sha256"] for name, recorded in inputs.items()}}


def cells(settings) -> list[Cell]:
    """All cells of the grid; cells that share a problem follow each other."""
    axes = [settings[name] for name in Cell._fields[:-2]]
    pairs = [(optimizer, lr) for optimizer in settings["optimizer"] for lr in settings["lr"][optimizer]]
    return [Cell(*rest, *pair) for *rest, pair in itertools.product(*axes, pairs)]


def _values(name, value, parse) -> list:
    """One value or several as a list of different ones."""
    given = list(value) if isinstance(value, (list, tuple, range, np.ndarray)) else [value]
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
        if not isinstance(value, str):
            return check.real(name, value, nonnegative=True)
        schedule = specs.parse_schedule(value, t_max)
        return schedule if isinstance(schedule, float) else value

    if not isinstance(lr, dict) or lr.keys() <= RANGE:
        rates = _values("lr", _range(lr), parse)
        return {name: rates for name in optimizers}
    names = {key: [o for o in optimizers if key in (o, o.partition(":")[0])] for key in lr}
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
        raise ValueError(f"lr must be numbers, or a table of from, to and points, got the keys {sorted(lr)}")
    low, high = (check.real(f"lr.{name}", lr[name], positive=True) for name in ("from", "to"))
    return [float(f"{x:.6g}") for x in np.geomspace(low, high, check.integer("lr.points", lr["points"], minimum=1))]


def _require_dimensions(text, dimensions):
    """The covariance exists in every dimension; what is wrong with one is wrong in the smallest."""
    size = specs.parse_covariance(text, min(dimensions)).d
    wrong = [d for d in dimensions if d != size]
    if specs.is_file(text) and wrong:
        raise ValueError(f"covariance: {text} holds a matrix with d = {size}, got d = {wrong[0]}")
