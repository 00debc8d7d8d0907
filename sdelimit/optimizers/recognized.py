"""optax transformations that are rules known by name.

The closures of a transformation hold its hyper-parameters. They propose candidates; that its updates on random
gradients are a candidate's, to seven digits, decides. ``parts`` reads the same closures for messages, and decides
nothing.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy
from jaxtyping import Float

from sdelimit.limits.measured.scalar_gradients import joint_trajectory, random_gradients
from sdelimit.limits.measured.step_counts import StartUp, keep_types
from sdelimit.numerics.precision import precision
from sdelimit.optimizers.adaptive import adam, nadam, rmsprop
from sdelimit.optimizers.clip import clip_coordinate
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.optimizers.sgd import momentum_optimizer, sgd
from sdelimit.optimizers.sign import lion, sign_sgd, signum

STEPS, COORDINATES = 192, 32
AGREES = 1e-7
"""Relative difference of updates in float64 below which two rules are one: hyper-parameters may be float32 numbers."""
LARGEST_EPS = 1e-6
"""An eps up to which rules without one of their own count as scale free, as in ``inspect_rule``."""
DEPTH = 12


class Recognized(NamedTuple):
    """A named rule and how the start of a transformation that computes the same differs from its own."""

    optimizer: Optimizer
    start_up: StartUp


def recognize(transform) -> Recognized | None:
    """The named rule whose updates are those of ``transform``, if there is one."""
    gradients = random_gradients(1, STEPS, COORDINATES) * 10.0 ** np.linspace(-4, 4, COORDINATES)
    with precision(np.float64):
        updates = np.asarray(joint_trajectory(keep_types(transform), gradients, np.zeros(COORDINATES)))
        numbers = sorted({float(value) for _, value in _numbers(transform)} | _injected(transform))
    size = np.sqrt(np.mean(updates**2, axis=0)) + np.finfo(float).tiny
    for computes, make in _candidates(numbers):
        difference = np.sqrt(np.mean((computes(gradients) - updates) ** 2, axis=0)) / size
        if np.max(difference) < AGREES:
            return make()
    return None


def parts(transform) -> list[tuple[str, dict]]:
    """The optax functions that made ``transform``, in the order of a chain, with the numbers in their closures."""
    found = []
    for function in _functions(transform):
        name, _, inner = function.__qualname__.partition(".<locals>.")
        if inner.startswith("update") and name not in CONTAINERS:
            numbers = {key: float(value) for key, value in _cells(function) if _is_number(value)}
            found.append((name, numbers))
    return found


CONTAINERS = {"chain", "named_chain", "with_extra_args_support", "stateless", "stateless_with_tree_map"}
"""What is made of other transformations or functions."""
PLAIN = {"trace", "ema", "clip", "identity"}
"""Directions whose names do not begin with scale_by_."""
LEFT_OUT = {"scale", "scale_by_schedule", "add_decayed_weights", "identity"}
"""What is no part of a direction: a learning rate, weight decay, nothing."""


def advice(transform) -> str:
    """What to write instead of a full optimizer or of a chain with a part that has no limit; '' if nothing is known."""
    known = parts(transform)
    names = {name for name, _ in known}
    if "clip_by_global_norm" in names:
        return "For SGD whose gradients are clipped by their norm write sl.clip_norm(threshold)"
    rates = [-numbers["step_size"] for name, numbers in known if name == "scale" and numbers.get("step_size", 0) < 0]
    others = {name for name in names - LEFT_OUT if name not in PLAIN and not name.startswith("scale_by_")}
    if others or not (rates or names & {"scale_by_schedule", "add_decayed_weights"}):
        return ""
    rules = [_call(name, numbers) for name, numbers in known if name not in LEFT_OUT]
    rule = f"optax.chain({', '.join(rules)})" if len(rules) > 1 else "".join(rules) or "optax.identity()"
    rate = f" (its rate {rates[0]:g} is lr={rates[0]:g} * d here, where a step is lr / d)" if rates else ""
    decays = [numbers["weight_decay"] for _, numbers in known if numbers.get("weight_decay")]
    decay = f".with_weight_decay({decays[0]:g})" if decays else ""
    return f"Write sl.from_optax({rule}){decay} and give the rate as lr={rate}"


def _call(name, numbers) -> str:
    """'optax.scale_by_adam(b1=0.9, b2=0.999)': the arguments that the function really has."""
    room = next((room for room in (optax, optax.contrib) if hasattr(room, name)), None)
    if room is None:
        return f"{name}(...)"
    takes = inspect.signature(getattr(room, name)).parameters
    given = ", ".join(f"{key}={value:g}" for key, value in numbers.items() if key in takes)
    return f"optax.{'contrib.' if room is optax.contrib else ''}{name}({given})"


# What named rules compute, in NumPy


def _average(beta, values):
    return scipy.signal.lfilter([1 - beta], [1, -beta], values, axis=0)


def _sum(beta, values):
    return scipy.signal.lfilter([1.0], [1, -beta], values, axis=0)


def _correction(beta, values, ahead=0):
    return 1 - beta ** (np.arange(1, len(values) + 1)[:, None] + ahead)


def _adam(g, b1, b2, eps):
    m, v = _average(b1, g) / _correction(b1, g), _average(b2, g**2) / _correction(b2, g)
    return m / (np.sqrt(v) + eps)


def _nadam(g, b1, b2, eps):
    m = b1 * _average(b1, g) / _correction(b1, g, 1) + (1 - b1) * g / _correction(b1, g)
    return m / (np.sqrt(_average(b2, g**2) / _correction(b2, g)) + eps)


def _rmsprop(g, b2, eps, inside, corrected):
    v = _average(b2, g**2)
    v = v / _correction(b2, g) if corrected else v
    return g / (np.sqrt(v + eps) if inside else np.sqrt(v) + eps)


def _momentum(g, beta, nesterov, scale, debias):
    m = _sum(beta, g)
    return scale * (g + beta * m if nesterov else m) / (_correction(beta, g) if debias else 1.0)


def _lion(g, b1, b2):
    m = np.concatenate([np.zeros_like(g[:1]), _average(b2, g)[:-1]])
    return np.sign(b1 * m + (1 - b1) * g)


def _candidates(numbers) -> Iterator[tuple[Callable[[Float[np.ndarray, "T n"]], Float[np.ndarray, "T n"]], Callable]]:
    """(what it computes, what makes it) of every named rule with hyper-parameters among ``numbers``."""
    decays = [number for number in numbers if 0 < number < 1]
    tiny = [0.0, *(number for number in numbers if 0 < number <= LARGEST_EPS)]
    small = [0.0, *(number for number in numbers if 0 < number <= 1)]

    def named(optimizer, start_up=StartUp()):  # noqa: B008
        return lambda: Recognized(optimizer(), start_up)

    yield (lambda g: g), named(sgd)
    yield np.sign, named(sign_sgd)
    for beta in decays:
        yield (lambda g, beta=beta: np.sign(_sum(beta, g))), named(functools.partial(signum, beta))
        for eps in tiny:
            for inside, corrected in ((False, True), (True, True), (False, False), (True, False)):
                computes = functools.partial(_rmsprop, b2=beta, eps=eps, inside=inside, corrected=corrected)
                start_up = StartUp() if corrected else uncorrected_start(beta)
                yield computes, named(functools.partial(rmsprop, beta), start_up)
    for b1 in (0.0, *decays):
        for b2 in decays:
            yield functools.partial(_lion, b1=b1, b2=b2), named(functools.partial(lion, b1, b2))
            for eps in small:
                yield functools.partial(_adam, b1=b1, b2=b2, eps=eps), named(functools.partial(adam, b1, b2, eps))
            for eps in tiny:
                yield functools.partial(_nadam, b1=b1, b2=b2, eps=eps), named(functools.partial(nadam, b1, b2))
    for beta in decays:
        factors = [1.0, *(number for number in numbers if number > 0)]
        for scale in dict.fromkeys(factor * weight for weight in (1.0, 1 - beta) for factor in factors):
            for nesterov, debias in ((False, False), (True, False), (False, True)):
                given = {"beta": beta, "nesterov": nesterov, "scale": scale, "debias": debias}
                name = "sgd_nesterov" if nesterov else "sgd_momentum"
                make = functools.partial(momentum_optimizer, name, optax.identity(), **given)
                yield functools.partial(_momentum, **given), named(make)
    for threshold in numbers:
        if threshold > 0:
            computes = functools.partial(np.clip, a_min=-threshold, a_max=threshold)
            yield computes, named(functools.partial(clip_coordinate, threshold))


def uncorrected_start(beta) -> StartUp:
    """sum over k of (1 - beta^k)^(-1/2) - 1 and of (1 - beta^k)^-1 - 1: steps divided by a root that starts at zero."""
    remaining = -np.expm1(np.log(beta) * np.arange(1, 40 / (1 - beta)))
    return StartUp(float(np.sum(remaining**-0.5 - 1)), float(np.sum(1 / remaining - 1)))


# What is in the closures of a transformation


def _is_number(value) -> bool:
    if isinstance(value, (bool, jax.core.Tracer)):
        return False
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return np.ndim(value) == 0 and (
            jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
        )
    return isinstance(value, (int, float))


def _cells(function) -> Iterator[tuple[str, object]]:
    """(name, value) of what a function holds."""
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    if code is not None:
        for name, cell in zip(code.co_freevars, closure, strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # a cell that is still empty
                continue


def _walk(value, seen, depth=DEPTH) -> Iterator[tuple[str, object]]:
    """(name, what) of every function and number reachable from ``value`` through closures and containers."""
    if depth == 0 or id(value) in seen:
        return
    if isinstance(value, (tuple, list, dict)) or callable(value):
        seen.add(id(value))
    if isinstance(value, dict):
        inside = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, (tuple, list)):
        inside = [("", one) for one in value]
    elif isinstance(value, functools.partial):
        inside = [("", value.func), *value.keywords.items(), *(("", one) for one in value.args)]
    elif inspect.ismethod(value):
        inside = [("", value.__func__), *vars(value.__self__).items()]
    elif inspect.isfunction(value):
        yield "", value
        inside = list(_cells(value))
    else:
        return
    for name, one in inside:
        if _is_number(one):
            yield name, float(one)
        else:
            yield from _walk(one, seen, depth - 1)


def _numbers(transform):
    return ((name, value) for name, value in _walk(tuple(transform), set()) if not callable(value))


def _functions(transform):
    return (value for _, value in _walk((transform.update,), set()) if callable(value))


def _injected(transform) -> set[float]:
    """The numbers of the first state: ``inject_hyperparams`` keeps those of its rule there."""
    leaves = jax.tree.leaves(transform.init(np.zeros(1)))
    return {float(leaf) for leaf in leaves if _is_number(leaf)}
