"""The kind of an optax transformation, from its updates on random gradients.

The theory of section 6 covers rules u = F(g_0, g_-1, ...) that act on each coordinate by itself, do not look
at the parameters, are odd, and forget. ``inspect_rule`` checks each of these and names the first that fails.
"""

from dataclasses import dataclass, field

import numpy as np
import optax

from sdelimit.limits.measured.forgetting_time import CHAINS, TOLERANCE, Memory, measure_memory
from sdelimit.limits.measured.scalar_gradients import joint_trajectory, random_gradients, trajectory
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.precision import precision
from sdelimit.support import arguments as check

SCALES = (0.1, 10.0, 1000.0)


STEPS = 64


@dataclass(frozen=True)
class ProbeReport:
    """The properties of a rule that ``inspect_rule`` checks.

    Attributes:
        kind: "scale_free" (u unchanged when all gradients of a coordinate are multiplied by a constant),
            "degree_1" (u multiplied by the same constant) or "scale_dependent".
        memory: for noiseless Gaussian residuals and gradients of size one.
        odd: F(-g) = -F(g).
        linear: u = sum_j a_j g_-j.
        gain: sum_j a_j if linear, else None.
        scale_error: relative change of u at 0.1, 10 and 1000 times the gradients, {kind: largest}.
    """

    kind: str
    memory: Memory
    odd: bool
    linear: bool
    gain: float | None
    scale_error: dict = field(default_factory=dict)


def inspect_rule(transform: optax.GradientTransformation, seed: int = 0) -> ProbeReport:
    """Classify ``transform``; ValueError with the reason if its updates fall outside the theory.

    Refused: rules that mix coordinates, look at the parameters, are random, are not odd, give non-finite or
    zero updates, ascend, or never forget (AdaGrad, step-count schedules).
    """
    if not isinstance(transform, optax.GradientTransformation):
        raise TypeError(
            f"transform must be an optax.GradientTransformation such as optax.scale_by_adam(), "
            f"got {check.describe(transform)}"
        )
    with precision(np.float64):
        gradients = random_gradients(seed, STEPS, CHAINS)
        updates = _first_updates(transform, gradients)
        _require_no_parameters(transform, gradients, updates)
        _require_coordinatewise(transform, gradients, updates)
        _require_odd(transform, gradients, updates)
        _require_descent(transform, seed)
    linear = _is_additive(transform, seed)
    memory = measure_memory(transform, NoNoise(), 0.5, 1, seed)
    errors = _scale_errors(transform, memory, seed)
    kind = next((kind for kind, error in errors.items() if error < TOLERANCE), "scale_dependent")
    linear = linear and kind == "degree_1"
    return ProbeReport(kind, memory, True, linear, _gain(transform, memory) if linear else None, errors)


def _first_updates(transform, gradients):
    try:
        updates = np.asarray(trajectory(transform, gradients, np.zeros(gradients.shape[1])))
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(
            f"transform must work as update(gradient, state, params), got {type(error).__name__}: {error}"
        ) from error
    if not np.all(np.isfinite(updates)):
        raise ValueError("transform gives non-finite updates on random gradients")
    if not np.any(updates):
        raise ValueError("transform gives zero updates on random gradients: there is nothing to compute")
    return updates


def _require_no_parameters(transform, gradients, updates):
    params = 10 * np.random.default_rng(1).standard_normal(gradients.shape[1])
    error = _relative(trajectory(transform, gradients, params), updates)
    if error > TOLERANCE:
        raise ValueError(
            f"transform must not depend on the parameters, but its updates change by {error:.2g} of their size with "
            "them: weight decay and trust ratios have no limit here"
        )


def _require_coordinatewise(transform, gradients, updates):
    scales = 10.0 ** np.linspace(-1, 3, gradients.shape[1])
    params = np.zeros(gradients.shape[1])
    alone, joint = (np.asarray(run(transform, gradients * scales, params)).T for run in (trajectory, joint_trajectory))
    error = max(_relative(u, v) for u, v in zip(joint, alone, strict=True))
    if error > TOLERANCE:
        raise ValueError(
            f"transform must act on each coordinate by itself, but a coordinate's update changes by {error:.2g} of its "
            "size in company: rules that use norms over coordinates (global-norm clipping, trust ratios) or draw "
            "random numbers have no coordinatewise limit"
        )


def _require_odd(transform, gradients, updates):
    error = _relative(-np.asarray(trajectory(transform, -gradients, np.zeros(gradients.shape[1]))), updates)
    if error > TOLERANCE:
        raise ValueError(
            f"transform must be odd, F(-g) = -F(g), but F(g) + F(-g) is {error:.2g} of the size of F: "
            "its mean update does not vanish at the optimum"
        )


def _require_descent(transform, seed):
    gradients = random_gradients(seed, STEPS, CHAINS, shift=0.5)
    updates = np.asarray(trajectory(transform, gradients, np.zeros(CHAINS)))
    if np.mean(updates) < -0.01 * np.sqrt(np.mean(updates**2)):
        raise ValueError(
            "transform must point along the gradient, but its mean update points against it: pass the direction "
            "(scale_by_..., not the full optimizer, which multiplies by -learning_rate) and give the rate as lr="
        )


def _is_additive(transform, seed):
    """F(g + g') = F(g) + F(g')."""
    one, two = random_gradients(seed, STEPS, CHAINS), random_gradients(seed + 1, STEPS, CHAINS)
    params = np.zeros(CHAINS)
    with precision(np.float64):
        both, first, second = (np.asarray(trajectory(transform, g, params)) for g in (one + two, one, two))
    return _relative(first + second, both) < TOLERANCE


def _scale_errors(transform, memory, seed):
    """Largest relative change of u (scale_free) and of u / scale (degree_1), after the start-up."""
    steps = 2 ** int(np.ceil(np.log2(memory.burn_in + STEPS)))
    gradients, params = random_gradients(seed, steps, CHAINS // 2), np.zeros(CHAINS // 2)
    with precision(np.float64):
        base, *scaled = (
            np.asarray(joint_trajectory(transform, c * gradients, params))[-STEPS:] for c in (1.0, *SCALES)
        )
    return {
        "scale_free": max(_relative(u, base) for u in scaled),
        "degree_1": max(_relative(u / c, base) for u, c in zip(scaled, SCALES, strict=True)),
    }


def _gain(transform, memory):
    """sum_j a_j: the answer to a constant unit gradient."""
    with precision(np.float64):
        steps = np.ones((8 * memory.burn_in + STEPS, 1))
        return float(joint_trajectory(transform, steps, np.zeros(1))[-1, 0])


def _relative(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return float(np.sqrt(np.mean((one - other) ** 2)) / max(np.sqrt(np.mean(other**2)), np.finfo(float).tiny))
