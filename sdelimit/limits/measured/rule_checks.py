"""The kind of an optax transformation, from its updates on random gradients.

The theory of section 6 covers rules u = F(g_0, g_-1, ...) that act on each coordinate by itself, do not look
at the parameters, are odd, do not change with the step count, and forget. ``inspect_rule`` checks each of these and
names the first that fails.
"""

import re
from dataclasses import dataclass, field

import jax
import numpy as np
import optax

from sdelimit.limits.measured.forgetting_time import CHAINS, TOLERANCE, Memory, averaging_time, measure_memory
from sdelimit.limits.measured.scalar_gradients import (
    joint_trajectory,
    random_gradients,
    trajectory,
    trajectory_along,
)
from sdelimit.limits.measured.step_counts import (
    Counters,
    StartUp,
    SteadyRule,
    count_steps,
    keep_types,
    require_no_schedule,
    start_up_of,
    steady_rule,
    whole_periods,
)
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.precision import precision
from sdelimit.support import arguments as check

SCALES = (0.1, 10.0, 1000.0)


STEPS = 64
PARAMETERS = 1000.0
"""Size of the parameters that must not matter: a weight decay of 1e-5 changes updates of order one by 1%."""
FASTEST_GROWTH = 1.02
"""Largest power of the gradients' size with which updates may grow."""
LONGEST_START = 1e6
"""Squared length of the first updates together, in units of a later one, beyond which they decide the risk."""
SMALL_SIZES = 10.0 ** np.arange(-1.0, -6.5, -0.5)
COORDINATES = 32
LARGEST_EPS_ERROR = 0.01
"""Relative change of updates by an eps that is left out."""
FIRST_STEPS, MANY, HEAVIEST = 32, 4096, 0.05
"""Steps and updates among which single ones are looked for that dwarf all others."""


@dataclass(frozen=True)
class ProbeReport:
    """The properties of a rule that ``inspect_rule`` checks.

    Attributes:
        kind: "scale_free" (u unchanged when all gradients of a coordinate are multiplied by a constant),
            "degree_1" (u multiplied by the same constant) or "scale_dependent".
        memory: for noiseless Gaussian residuals and gradients of size one.
        odd: F(-g) = -F(g).
        linear: u = sum_j a_j g_-j, with weights that may change from step to step in a cycle.
        gain: if linear the mean over a cycle of A = sum_m (effect of a gradient m steps later), else None.
        noise_gain: the mean of A^2.
        scale_error: relative change of u at 0.1, 10 and 1000 times the gradients, {kind: largest}.
        growth: the power of the gradients' size with which updates grow where gradients are large.
        averaging: steps over which gradients are averaged, 1/(1-beta) for momentum.
        start_up: how the first steps differ from later ones.
        scale_free_from: gradient size below which a scale-free rule is none, 0 if there is no such size.
        rule: the transformation long after its start, which is what is run to measure it.
    """

    kind: str
    memory: Memory
    odd: bool
    linear: bool
    gain: float | None
    noise_gain: float | None = None
    scale_error: dict = field(default_factory=dict)
    growth: float = 0.0
    averaging: float = 1.0
    start_up: StartUp = field(default_factory=StartUp)
    scale_free_from: float = 0.0
    rule: SteadyRule | None = None


def inspect_rule(transform: optax.GradientTransformation, seed: int = 0) -> ProbeReport:
    """Classify ``transform``; ValueError with the reason if its updates fall outside the theory.

    Refused: what ``check_rule`` refuses, rules that never forget (AdaGrad), change with the step count (schedules), or
    begin with steps out of all proportion.
    """
    counters = check_rule(transform, seed)
    steady = steady_rule(transform, counters)
    memory = measure_memory(steady, NoNoise(), 0.5, 1, seed)
    require_no_schedule(steady, counters, memory.burn_in, seed)
    errors, growth = _scale_errors(steady, memory, seed)
    kind = next((kind for kind, error in errors.items() if error < TOLERANCE), "scale_dependent")
    linear = kind == "degree_1" and _is_additive(steady, seed)
    if linear:
        gain, noise_gain, averaging = _linear_response(steady, memory)
    else:
        gain, noise_gain, averaging = None, None, averaging_time(steady, memory, seed)
    start = start_up_of(transform, steady, memory.burn_in, averaging, seed)
    if start.noise > LONGEST_START:
        raise ValueError(
            f"transform must begin with steps like the later ones, but the squares of its first steps add up to "
            f"{start.noise:.2g} later ones (does it divide by a state that starts at zero, or shrink its steps?): they "
            "decide the risk, and the limit does not know them"
        )
    smallest = scale_free_from(steady, memory.burn_in, seed) if kind == "scale_free" else 0.0
    return ProbeReport(
        kind, memory, True, linear, gain, noise_gain, errors, growth, averaging, start, smallest, steady
    )  # fmt: skip


def check_rule(transform: optax.GradientTransformation, seed: int = 0) -> Counters:
    """The step counters of ``transform``; ValueError with the reason if a few updates show that it has no limit.

    Refused: rules that ask for more than a gradient, mix coordinates, look at the parameters, are random, are not odd,
    give non-finite or zero updates, grow faster than the gradient, take steps without a variance, or ascend.
    """
    if not isinstance(transform, optax.GradientTransformation):
        raise TypeError(
            f"transform must be an optax.GradientTransformation such as optax.scale_by_adam(), "
            f"got {check.describe(transform)}"
        )
    rule = keep_types(transform)
    with precision(np.float64):
        _require_plain(rule, random_gradients(seed, 2, 4))
        counters = count_steps(transform)
        gradients = random_gradients(seed, max(STEPS, 4 * counters.period), CHAINS)
        updates = _first_updates(rule, gradients)
        _require_no_parameters(rule, gradients, updates)
        _require_coordinatewise(rule, gradients, updates)
        _require_odd(rule, gradients, updates)
        _require_slow_growth(rule, gradients)
        _require_variance(rule, seed, counters.period)
        _require_descent(rule, seed, len(gradients))
    return counters


def _require_plain(rule, gradients):
    """ValueError unless update(gradient, state, params) works on vectors of any length."""
    wanted = "transform must turn a vector of gradients into one of updates"
    try:
        shape = jax.eval_shape(lambda g: rule.update(g, rule.init(g), g)[0], gradients[0]).shape
        if shape == gradients[0].shape:
            for run in (trajectory, joint_trajectory):
                run(rule, gradients, np.zeros(gradients.shape[1]))
    except Exception as error:  # of a rule's own code, which may raise anything
        raise ValueError(f"{wanted}, {_failure(error)}") from error
    if shape != gradients[0].shape:
        raise ValueError(
            f"{wanted}, but this one gives shape {shape} for shape {gradients[0].shape}: it measures something, or "
            "looks for the gradient of each sample of a batch (differential privacy), and has no limit here"
        )


WANTED = {
    "value": "the loss",
    "value_fn": "the loss as a function",
    "grad": "the gradient",
    "obj_fn": "the loss as a function",
    "loss_fn": "the loss as a function",
    "key": "a random key",
}
"""What rules ask for beside the gradient, by the names of optax."""


def _failure(error) -> str:
    """Why a rule did not run, in words of our own; what it said itself is the cause of the ValueError."""
    said = " ".join(str(error).split())
    names = re.findall(r"'(\w+)'", said) if "keyword-only argument" in said else re.findall(r"^(\w+) must be", said)
    if names:
        what = " and ".join(dict.fromkeys(WANTED.get(name, f"'{name}'") for name in names))
        return f"but this one also asks for {what}: line searches and rules that look at the loss have no limit here"
    if "structure" in said or "key mismatch" in said:
        return "but this one's state changes its structure after the first step, which no compiled loop can run"
    if "fast" in said:
        return "but this one steps pairs of fast and slow parameters (lookahead), which have no limit here"
    if isinstance(error, IndexError) or "axis" in said or "batch" in said:
        return (
            "but this one looks for more dimensions: rules that need the gradient of each sample of a batch "
            "(differential privacy), or matrices, have no limit here"
        )
    return "but this one fails on it: rules for matrices of weights or other structures have no limit here"


def _first_updates(rule, gradients):
    updates = np.asarray(trajectory(rule, gradients, np.zeros(gradients.shape[1])))
    if not np.all(np.isfinite(updates)):
        raise ValueError("transform gives non-finite updates on random gradients")
    if not np.any(updates):
        raise ValueError(
            f"transform gives zero updates on {len(gradients)} random gradients: there is nothing to compute"
        )
    return updates


def _require_no_parameters(rule, gradients, updates):
    params = PARAMETERS * np.random.default_rng(1).standard_normal(gradients.shape)
    moved = np.asarray(trajectory_along(rule, gradients, params))
    error = _relative(moved, updates)
    if error <= TOLERANCE:
        return
    change = moved - updates
    decay = np.sum(change * params) / np.sum(params**2)
    if _relative(decay * params, change) < 0.01:
        raise ValueError(
            f"transform must not depend on the parameters, but it adds {decay:.3g} times them to the update: only "
            "weight decay towards zero that does not change from step to step has a limit. Pass the direction, without "
            "its rate and sign: optax.chain(scale_by_..., optax.add_decayed_weights(...))"
        )
    raise ValueError(
        f"transform must not depend on the parameters, but its updates change by {error:.2g} of their size with "
        "them: weight decay, trust ratios, averages or distances of parameters (prodigy, SAM, schedule_free) have no "
        "limit here"
    )


def _require_coordinatewise(rule, gradients, updates):
    scales = 10.0 ** np.linspace(-1, 3, gradients.shape[1])
    params = np.zeros(gradients.shape[1])
    alone, joint = (np.asarray(run(rule, gradients * scales, params)).T for run in (trajectory, joint_trajectory))
    error = max(_relative(u, v) for u, v in zip(joint, alone, strict=True))
    if error > TOLERANCE:
        raise ValueError(
            f"transform must act on each coordinate by itself, but a coordinate's update changes by {error:.2g} of its "
            "size in company: rules that use norms over coordinates (global-norm clipping, trust ratios) or draw "
            "random numbers have no coordinatewise limit"
        )


def _require_odd(rule, gradients, updates):
    error = _relative(-np.asarray(trajectory(rule, -gradients, np.zeros(gradients.shape[1]))), updates)
    if error > TOLERANCE:
        raise ValueError(
            f"transform must be odd, F(-g) = -F(g), but F(g) + F(-g) is {error:.2g} of the size of F: "
            "its mean update does not vanish at the optimum"
        )


def _require_slow_growth(rule, gradients):
    params = np.zeros(gradients.shape[1])
    updates = [np.asarray(joint_trajectory(rule, scale * gradients, params)) for scale in SCALES[-2:]]
    growth = _growth(*updates)
    if growth > FASTEST_GROWTH:
        raise ValueError(
            f"transform must not grow faster than the gradient, but its updates grow like |g|^{growth:.2g}: a few "
            "large gradients then decide the mean risk (moments that it needs grow without bounds), and runs diverge"
        )


def _growth(large, larger):
    """The power of the gradients' size with which updates grow between the two largest of ``SCALES``."""
    rms = [np.sqrt(np.mean(u**2)) for u in (large, larger)]
    return float(np.log(rms[1] / rms[0]) / np.log(SCALES[-1] / SCALES[-2])) if min(rms) > 0 else 0.0


def _require_variance(rule, seed, period):
    """E[u^4] / E[u^2]^2 of n updates is about n if they have no second moment, and 9 for u = g."""
    gradients = random_gradients(seed, max(FIRST_STEPS, period), MANY)
    updates = np.asarray(joint_trajectory(rule, gradients, np.zeros(MANY)))
    square = np.mean(updates**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = np.nan_to_num(np.mean(updates**4, axis=1) / square**2, posinf=MANY)
    if peak.max() > HEAVIEST * MANY:
        step = int(np.argmax(peak))
        raise ValueError(
            f"transform must take steps of finite variance, but at step {step + 1} some updates are "
            f"{np.max(np.abs(updates[step])) / np.sqrt(square[step]):.2g} times their root mean square: it divides by "
            "what can be zero (a denominator without the newest gradient, as in ACProp) or multiplies its steps (Rprop)"
        )


def _require_descent(rule, seed, steps):
    gradients = random_gradients(seed, steps, CHAINS, shift=0.5)
    updates = np.asarray(trajectory(rule, gradients, np.zeros(CHAINS)))
    if np.mean(updates) < -0.01 * np.sqrt(np.mean(updates**2)):
        raise ValueError(
            "transform must point along the gradient, but its mean update points against it: pass the direction "
            "(scale_by_..., not the full optimizer, which multiplies by -learning_rate) and give the rate as lr="
        )


def _is_additive(rule, seed):
    """F(g + g') = F(g) + F(g')."""
    steps = whole_periods(STEPS, rule)
    one, two = random_gradients(seed, steps, CHAINS), random_gradients(seed + 1, steps, CHAINS)
    params = np.zeros(CHAINS)
    with precision(np.float64):
        both, first, second = (np.asarray(joint_trajectory(rule, g, params)) for g in (one + two, one, two))
    return _relative(first + second, both) < TOLERANCE


def _scale_errors(rule, memory, seed):
    """Largest relative change of u (scale_free) and of u / scale (degree_1), after the start-up; and the growth."""
    last = whole_periods(STEPS, rule)
    steps = whole_periods(2 ** int(np.ceil(np.log2(memory.burn_in + last))), rule)
    gradients, params = random_gradients(seed, steps, CHAINS // 2), np.zeros(CHAINS // 2)
    with precision(np.float64):
        base, *scaled = (
            np.asarray(joint_trajectory(rule, c * gradients, params))[-last:] for c in (1.0, *SCALES)
        )  # fmt: skip
    errors = {
        "scale_free": max(_relative(u, base) for u in scaled),
        "degree_1": max(_relative(u / c, base) for u, c in zip(scaled, SCALES, strict=True)),
    }
    return errors, _growth(*scaled[-2:])


def scale_free_from(rule, burn_in: int, seed: int = 0) -> float:
    """The smallest gradient size down to which a rule that is scale free at size one is so: where its eps begins to
    count, and 0 if it does so nowhere above 1e-6.
    """
    last = whole_periods(STEPS, rule)
    steps = whole_periods(2 ** int(np.ceil(np.log2(burn_in + last))), rule)
    gradients, params = random_gradients(seed, steps, COORDINATES), np.zeros(COORDINATES)
    with precision(np.float64):
        base, *smaller = (
            np.asarray(joint_trajectory(rule, size * gradients, params))[-last:] for size in (1.0, *SMALL_SIZES)
        )
    changed = [size for size, u in zip(SMALL_SIZES, smaller, strict=True) if _relative(u, base) > LARGEST_EPS_ERROR]
    return max(changed, default=0.0)


def _linear_response(rule, memory):
    """E[A], E[A^2] and the mean lag plus one, A the sum of the answer to a unit gradient at each phase of a cycle."""
    period = rule.period
    lead = whole_periods(memory.burn_in + 1, rule)  # a first gradient may count differently
    steps = whole_periods(lead + period + 8 * memory.burn_in + STEPS, rule)
    impulses = np.zeros((steps, period))
    impulses[lead : lead + period] = np.eye(period)
    with precision(np.float64):
        answer = np.asarray(joint_trajectory(rule, impulses, np.zeros(period)))[lead:]
    effect = answer.sum(axis=0)
    lags = np.arange(len(answer))[:, None] - np.arange(period)
    lag = float(np.sum(lags * answer) / np.sum(effect))
    return float(np.mean(effect)), float(np.mean(effect**2)), 1.0 + max(lag, 0.0)


def _relative(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return float(np.sqrt(np.mean((one - other) ** 2)) / max(np.sqrt(np.mean(other**2)), np.finfo(float).tiny))
