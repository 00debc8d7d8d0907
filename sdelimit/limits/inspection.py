"""What kind of rule an optax transformation is, found by feeding it small random gradients.

The theory of section 6 covers rules u = F(g_0, g_-1, ...) that act on each coordinate by itself, do not look
at the parameters, are odd, and forget. ``inspect_rule`` checks each of these and names the first that fails.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from sdelimit import _rng
from sdelimit import _validation as check
from sdelimit._jit import jit
from sdelimit._precision import precision
from sdelimit.noise import NoiseLaw, NoNoise

TOLERANCE = 1e-3
"""Differences below this fraction of the root-mean-square update count as none: an eps of 1e-8 passes."""

HORIZONS = (512, 4096, 32768)
"""Lengths of the histories tried, in steps; a rule must forget within half of the longest."""

SCALES = (0.1, 10.0, 1000.0)
CHAINS = 256
STEPS = 64


@dataclass(frozen=True)
class Memory:
    """How long a rule remembers, in steps.

    Attributes:
        burn_in: after so many steps the starting state and the earlier gradients no longer matter.
        window: E[F_t F_{t+m}] vanishes for m > window. Often much shorter than ``burn_in``: a second moment
            remembers the size of a gradient, not its sign.
    """

    burn_in: int
    window: int


@dataclass(frozen=True)
class ProbeReport:
    """What ``inspect_rule`` found.

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


def measure_memory(
    transform, noise: NoiseLaw, R: float, batch_size: int, seed: int = 0, sizes: tuple[float, ...] = (1.0,)
) -> Memory:
    """How long the rule remembers gradients of the given sizes and law of residuals; ValueError if for ever.

    Three copies see the same gradients after different pasts: none, a random past, and its negative. The
    first two differ until ``burn_in``, the last two until ``window``. Where copies never meet exactly (the
    jumps of Yogi keep them apart) ``burn_in`` is half a horizon over whose second half the mean |u| of the
    copies agrees.
    """
    law = noise, np.sqrt(2.0 * R), batch_size, _rng.run_key(seed, 1)
    return longest([_memory_at(transform, law, float(size)) for size in sizes])


def longest(memories: Iterable[Memory]) -> Memory:
    """What is long enough for all of them."""
    memories = list(memories)
    return Memory(max(m.burn_in for m in memories), max(m.window for m in memories))


def _memory_at(transform, law, gradient_size) -> Memory:
    with precision(np.float64):
        for horizon in HORIZONS:
            profile = _forgetting(transform, gradient_size, *law, horizon)
            past, sign, size, drift, drift_se = (np.asarray(x) for x in profile)
            if not np.isfinite(size):
                raise ValueError("transform gives non-finite updates on random gradients of a long history")
            burn_in, window = (_last(x > TOLERANCE * size) for x in (past, sign))
            if max(burn_in, window) <= horizon // 2:
                return Memory(burn_in, window)
            stationary = abs(drift) + 2 * drift_se < 3 * TOLERANCE
            if stationary and horizon > HORIZONS[0] and window <= horizon // 2:
                return Memory(horizon // 2, window)
    raise ValueError(
        f"transform must forget its past: after {horizon // 2} steps updates that follow different pasts still "
        f"differ by {past[horizon // 2 :].max() / size:.2g} of their size. It accumulates for ever (AdaGrad, AMSGrad), "
        "follows a step count (pass a schedule as lr= instead), or has averages too long for a fixed limit"
    )


def unit_residuals(noise, s, batch_size, key, shape):
    """(r, zeta) of independent batches: the gradient is r xi, and moving along delta by h changes it by h r zeta.

    r = |(l_1..l_b)| / b and zeta = sum_i l_i z_i / |(l_1..l_b)| (theory: section 6), z_i replaced by its mean given l_i
    and the Gaussian component N(m_i, v_i) that eps_i comes from: l_i = (s^2 + v_i)^(1/2) q_i - m_i, and
    E[z_i | l_i] = s q_i / (s^2 + v_i)^(1/2). Of order s where v_i is, so that a drift of order s drowns in no noise.
    """
    return reduced(*residuals(noise, s, batch_size, key, shape))


def residuals(noise, s, batch_size, key, shape):
    """(q, m, v, s) of batches: standard normals, means and variances, (batch_size, *shape) each."""
    key_q, key_noise = jax.random.split(key)
    q = jax.random.normal(key_q, (batch_size, *shape))
    return q, *noise.sample_components(key_noise, (batch_size, *shape), q.dtype), s


def reduced(q, mean, variance, s):
    """(r, zeta); see ``unit_residuals``."""
    width = jnp.sqrt(s**2 + variance)
    residual = width * q - mean
    largest = jnp.max(jnp.abs(residual), axis=0)
    direction = residual / jnp.where(largest > 0, largest, 1.0)
    length = jnp.sqrt(jnp.sum(direction**2, axis=0))
    zeta = jnp.sum(direction * (s / width) * q, axis=0) / jnp.where(length > 0, length, 1.0)
    return largest * length / q.shape[0], zeta


def nonzero_normal(key, shape):
    """Standard normals, never exactly zero: rules without eps divide by them."""
    value = jax.random.normal(key, shape)
    return jnp.where(value == 0, jnp.finfo(value.dtype).eps, value)


@jit
def trajectory(transform, gradients: Float[Array, "T n"], params: Float[Array, " n"]) -> Float[Array, "T n"]:
    """The updates of n independent coordinates, each given to the rule alone as an array of shape (1,)."""

    def alone(gradients, param):
        def step(state, gradient):
            update, state = transform.update(gradient[None], state, param[None])
            return state, update[0]

        return jax.lax.scan(step, transform.init(param[None]), gradients)[1]

    return jax.vmap(alone, in_axes=(1, 0), out_axes=1)(gradients, params)


@jit
def together(transform, gradients, params):
    """The updates of n coordinates given to the rule as one array of shape (n,): what a coordinatewise rule allows."""

    def step(state, gradient):
        update, state = transform.update(gradient, state, params)
        return state, update

    return jax.lax.scan(step, transform.init(params), gradients)[1]


def random_gradients(seed, steps, n, shift=0.0):
    """Gradients r (xi + shift) of scalar histories with r = |z|, xi and z standard normal."""
    random = np.random.default_rng(seed)
    return np.abs(random.standard_normal((steps, n))) * (random.standard_normal((steps, n)) + shift)


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
    spread = 10.0 ** np.linspace(-1, 3, gradients.shape[1])
    params = np.zeros(gradients.shape[1])
    alone, company = (np.asarray(run(transform, gradients * spread, params)).T for run in (trajectory, together))
    error = max(_relative(u, v) for u, v in zip(company, alone, strict=True))
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
        base, *scaled = (np.asarray(together(transform, c * gradients, params))[-STEPS:] for c in (1.0, *SCALES))
    return {
        "scale_free": max(_relative(u, base) for u in scaled),
        "degree_1": max(_relative(u / c, base) for u, c in zip(scaled, SCALES, strict=True)),
    }


def _gain(transform, memory):
    """sum_j a_j: the answer to a constant unit gradient."""
    with precision(np.float64):
        steps = np.ones((8 * memory.burn_in + STEPS, 1))
        return float(together(transform, steps, np.zeros(1))[-1, 0])


@jit
def _forgetting(transform, gradient_size, noise, s, batch_size, key, horizon):
    """Differences over time between histories with different pasts, and the size of an update.

    Returns (horizon,) root-mean-square differences u(past) - u(no past) and (u(past) - u(-past)) / 2, the
    root-mean-square update, and over the second half the relative difference of mean |u| with its error.
    """
    key_r, key_xi = jax.random.split(key)
    chains = min(CHAINS, 2**21 // horizon)
    r, _ = unit_residuals(noise, s, batch_size, key_r, (2 * horizon, chains))
    gradients = gradient_size * r / jnp.median(r) * nonzero_normal(key_xi, r.shape)
    past, future = gradients[:horizon], gradients[horizon:]
    params = jnp.zeros(chains)
    fresh = together(transform, future, params)
    after = together(transform, gradients, params)[horizon:]
    flipped = together(transform, jnp.concatenate([-past, future]), params)[horizon:]
    size = jnp.sqrt(jnp.mean(after**2))
    late = slice(horizon // 2, None)
    excess = jnp.mean(jnp.abs(fresh[late]) - jnp.abs(after[late]), axis=0) / jnp.mean(jnp.abs(after[late]))
    rms = [jnp.sqrt(jnp.mean(difference**2, axis=1)) for difference in (fresh - after, (after - flipped) / 2)]
    return *rms, size, jnp.mean(excess), jnp.std(excess) / np.sqrt(chains)


def _relative(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return float(np.sqrt(np.mean((one - other) ** 2)) / max(np.sqrt(np.mean(other**2)), np.finfo(float).tiny))


def _last(condition):
    """One past the last index where ``condition`` holds."""
    hits = np.flatnonzero(condition)
    return int(hits[-1]) + 1 if hits.size else 0
