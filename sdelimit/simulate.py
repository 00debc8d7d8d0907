"""The finite-dimensional experiment: one-pass runs, many at once, all rules on one data stream."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from sdelimit import _rng
from sdelimit import _validation as check
from sdelimit._checkpoint import checkpoint_of
from sdelimit._jit import jit
from sdelimit._precision import is_traced, precision
from sdelimit._times import time_grid
from sdelimit.optimizers.base import as_optimizer
from sdelimit.problem import LinearRegression, check_problem
from sdelimit.results import RiskCurves, mark_divergence
from sdelimit.schedules import as_schedules, evaluate

CHUNK_BYTES = 256 * 2**20
MAX_CHUNK = 256


def simulate(
    problem: LinearRegression,
    optimizer,
    lr,
    t_max=None,
    *,
    n_runs: int = 64,
    seed: int = 0,
    t=None,
    batch_size: int = 1,
    dtype=np.float32,
    sharpness: bool = False,
    chunk_steps: int | None = None,
    progress: bool | None = None,
    checkpoint=None,
):
    """Run the optimizer itself: fresh samples x ~ N(0, K), y = <x, theta*> + eps at every step.

    A problem made from data (``sl.data``) gives its own rows instead, each at most once, in random order.

        g_k = (1/b) sum_j (<x_j, theta_k> - y_j) x_j,    theta_{k+1} = theta_k - (eta(k/d) / d) u_k(g_k)

    All runs, learning rates and optimizers advance together and see the same samples, so differences
    between optimizers or learning rates of one call are paired. Run i of seed s is the same path, up to
    floating-point rounding, whatever ``n_runs``, ``chunk_steps``, the other optimizers or learning rates.

    Args:
        problem: the regression problem.
        optimizer: a rule such as ``sl.sign_sgd()``, or a list of them.
        lr: eta: a number, a JAX-traceable function of t = k/d, or a (m,) array of numbers. With a list of
            optimizers also a list with one of these for each.
        t_max: horizon in t = steps/d; the run takes round(t_max * d) steps.
        n_runs: independent runs.
        seed: seed of samples and label noise.
        t: times to record at, rounded to whole steps; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step.
        dtype: float32 (default) or float64 arithmetic; the random numbers are the same.
        sharpness: also record the directional sharpness u' K u / |u|^2 of the step taken at each time
            (arXiv:2306.00204): see ``.sharpness`` and ``.mean_sharpness`` of the result.
        chunk_steps: steps whose samples are drawn at once; default fits 256 MiB.
        progress: show a progress bar; default only on a terminal.
        checkpoint: path of a file that keeps what is done, so that the same call goes on after an interruption and
            gives bitwise the same result on the same backend. Saved at chunk boundaries, as often as 5% of the time
            allows, and at the end; a finished one gives its result at once. Never unpickled.

    Returns:
        ``RiskCurves`` with ``.risk`` of shape (n_runs, n), or (m, n_runs, n) for m learning rates; a list of
        them for a list of optimizers. ``.t`` holds the recorded steps divided by d. Diverged runs are
        infinite from the first recorded time at which they had diverged, named in ``.status`` and by a
        ``DivergenceWarning``.

    Raises:
        TypeError, ValueError: naming the argument; in particular t_max for a problem made from data with fewer
            rows than the run needs, and checkpoint for a file of another run or a folder that cannot be written.

    Source: theory section 0; arXiv:2411.12135.
    """
    problem = check_problem(problem)
    several = isinstance(optimizer, (list, tuple))
    optimizers = (
        [as_optimizer(o, f"optimizer[{i}]") for i, o in enumerate(optimizer)] if several else [as_optimizer(optimizer)]
    )
    if not optimizers:
        raise ValueError("optimizer must name at least one rule, got an empty list")
    n_runs = check.integer("n_runs", n_runs, minimum=1)
    seed = check.seed("seed", seed)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    sharpness, progress = check.flag("sharpness", sharpness), check.flag("progress", progress, optional=True)
    _require_range(problem, dtype)
    check.integer("t_max (or the last t) times d", np.rint(time_grid(t_max, t)[-1] * problem.d), minimum=0)
    d = problem.d
    steps = np.unique(np.rint(time_grid(t_max, t) * d).astype(np.int64))
    if steps[-1] < 1:
        raise ValueError(f"t_max (or the last t) must reach one step, 1/d = {1 / d:g}")
    etas = _learning_rates(lr, len(optimizers), several, np.arange(steps[-1] + 1) / d)
    chunk_steps = _chunk_length(chunk_steps, steps[-1] + 1, n_runs * batch_size * d * np.dtype(dtype).itemsize)
    saved = checkpoint_of(
        checkpoint, problem, optimizers, lr=etas, t=steps, n_runs=n_runs, seed=seed, batch_size=batch_size,
        dtype=np.dtype(dtype).name, sharpness=sharpness, chunk_steps=chunk_steps,
    )  # fmt: skip
    with precision(dtype):
        measured = _run(
            problem, optimizers, etas, steps, n_runs, seed, batch_size, dtype, sharpness, chunk_steps, progress, saved
        )
    results = []
    for rule, eta, (risk, *sharp) in zip(optimizers, etas, measured, strict=True):
        curves = RiskCurves(
            t=steps / d,
            risk=risk,
            lr=eta[..., steps],
            diverged_at=np.full(risk.shape[:-1], np.inf),
            status="ok",
            kind="simulation",
            problem=problem,
            optimizer=rule,
            batch_size=batch_size,
            seed=seed,
            curvature=sharp[0] if sharpness else None,
            squared_length=sharp[1] if sharpness else None,
            details={"device": jax.devices()[0].device_kind, "dtype": np.dtype(dtype).name},
        )
        results.append(mark_divergence(curves))
    return results if several else results[0]


def _require_range(problem, dtype):
    """dtype is one of two, and wide enough for the problem's risk."""
    kind = getattr(dtype, "__name__", dtype)
    if not isinstance(kind, (str, np.dtype)) or str(kind) not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {check.describe(dtype)}")
    with np.errstate(over="ignore"):
        size = np.float32(problem.initial_risk)
    if np.dtype(dtype) == np.float32 and (not 1e-30 < size < 1e30) and problem.initial_risk > 0:
        raise ValueError(
            f"dtype must be float64 for a problem with initial risk {problem.initial_risk:g}, "
            "out of float32's safe range"
        )


def _learning_rates(lr, count, several, times):
    """For each optimizer an (m, steps) or (steps,) array of eta(k/d)."""
    each = lr if several and isinstance(lr, (list, tuple)) else [lr] * count
    if len(each) != count:
        raise ValueError(f"lr must have one entry for each of the {count} optimizers, got {len(each)}")
    values = []
    for one in each:
        schedule, batched = as_schedules(one)
        eta = np.repeat(schedule.value[:, None], times.size, axis=1) if batched else evaluate(schedule, times)
        if is_traced(eta):
            raise TypeError("lr must be concrete in simulate, which JAX cannot differentiate; got a traced value")
        values.append(eta)
    return values


def _chunk_length(chunk_steps, slots, bytes_per_step):
    """Steps per chunk: as equal as possible, so that little of the last chunk is wasted."""
    if chunk_steps is None:
        chunk_steps = int(np.clip(CHUNK_BYTES // (3 * bytes_per_step), 1, MAX_CHUNK))
    chunks = -(-slots // check.integer("chunk_steps", chunk_steps, minimum=1))
    return int(-(-slots // chunks))


def _run(problem, optimizers, etas, steps, n_runs, seed, batch_size, dtype, sharpness, length, progress, saved):
    """For each optimizer the risk and, if asked, u' K u and |u|^2 at the recorded steps: (m or nothing, n_runs, n)."""
    d, slots = problem.d, int(steps[-1]) + 1
    rules = tuple(o.rule(problem, batch_size) for o in optimizers)
    theta_star, delta0 = (v.astype(dtype) for v in (problem.theta_star, problem.delta0))
    rates = [np.atleast_2d(eta).T / d for eta in etas]
    state = tuple(_initial(rule, delta0, theta_star, r.shape[1], n_runs) for rule, r in zip(rules, rates, strict=True))
    keys = jax.vmap(partial(_rng.run_key, seed))(jnp.arange(n_runs, dtype=jnp.uint32))
    stream = problem.stream(keys, (slots - 1) * batch_size)
    take = np.zeros(slots + length, bool)
    take[steps] = True
    first, state, collected = saved.resume(state, [[] for _ in rules])
    with tqdm(
        total=slots - 1,
        initial=min(first, slots - 1),
        unit="step",
        disable=None if progress is None else not progress,
        leave=False,
    ) as bar:
        for start in range(first, slots, length):
            chunk = slice(start, start + length)
            # Past the end, and in the last slot, the rate is zero: the state no longer moves.
            rate = tuple(_padded(r[: slots - 1][chunk], length).astype(dtype) for r in rates)
            index = np.arange(start, start + length, dtype=np.uint32)
            state, measured = _advance(
                rules, batch_size, sharpness, problem.covariance, stream, theta_star, state, keys, index,
                take[chunk], rate,
            )  # fmt: skip
            for kept, values in zip(collected, measured, strict=True):
                kept.append([np.asarray(value)[take[chunk]] for value in values])
            saved.keep(start + length, state, collected, last=start + length >= slots)
            bar.update(min(length, slots - 1 - start))
    return [
        tuple(_runs_first(parts, eta.ndim) for parts in zip(*kept, strict=True))
        for kept, eta in zip(collected, etas, strict=True)
    ]


def _runs_first(parts, ndim):
    """Chunks of (steps, m, n_runs) as one float64 array (m, n_runs, n), without m for a single learning rate."""
    joined = np.moveaxis(np.concatenate(parts), 0, -1).astype(np.float64)
    return joined if ndim == 2 else joined[0]


def _initial(rule, delta0, theta_star, m, n_runs):
    """(delta, optimizer state), each with leading axes (m, n_runs)."""

    def repeated(leaf):
        return jnp.broadcast_to(leaf, (m, n_runs, *jnp.shape(leaf)))

    return jax.tree.map(repeated, (jnp.asarray(delta0), rule.init(jnp.asarray(delta0 + theta_star))))


def _padded(rate, length):
    return np.concatenate([rate, np.zeros((length - rate.shape[0], rate.shape[1]))])


@jit
def _advance(rules, batch_size, sharpness, covariance, stream, theta_star, state, keys, index, take, rate):
    """Advance every rule by one chunk of steps.

    Gives the new state and, for each rule, what is measured: the risk before each step and, if asked, u' K u and
    |u|^2 of the step, each (steps, m, n_runs), where ``take``; zero elsewhere.
    """
    dtype = theta_star.dtype
    x, eps = stream.draw(index, batch_size, dtype)

    def measure(delta, direction):
        risk = jnp.sum(delta * covariance.apply(delta), axis=-1) / 2
        if not sharpness:
            return (risk,)
        return risk, jnp.sum(direction * covariance.apply(direction), axis=-1), jnp.sum(direction**2, axis=-1)

    def step(state, inputs):
        x, eps, index, take, rate = inputs
        sample = _Sample(x, eps, theta_star, keys, index)
        moved, measured = [], []
        for rule, (delta, rule_state), r in zip(rules, state, rate, strict=True):
            direction, rule_state = _direction(rule, sample, delta, rule_state)
            nothing = (jnp.zeros(delta.shape[:-1], dtype),) * (1 + 2 * sharpness)
            measured.append(jax.lax.cond(take, measure, lambda *_, nothing=nothing: nothing, delta, direction))
            moved.append((delta - r[:, None, None] * direction, rule_state))
        return tuple(moved), tuple(measured)

    return jax.lax.scan(step, state, (x, eps, index, take, rate))


class _Sample(NamedTuple):
    """What all runs see at one step: x (n_runs, b, d), eps (n_runs, b), and the keys for a rule's own randomness."""

    x: jax.Array
    eps: jax.Array
    theta_star: jax.Array
    keys: jax.Array
    index: jax.Array


def _direction(rule, sample, delta, rule_state):
    """u_k and the new state of one rule, for delta of shape (m, n_runs, d)."""
    x, eps, theta_star = sample.x, sample.eps, sample.theta_star
    if x.shape[1] == 1:
        residual = jnp.sum(delta * x[:, 0], axis=-1) - eps[:, 0]
        gradient = residual[..., None] * x[:, 0]
    else:
        residual = jnp.einsum("mrd,rbd->mrb", delta, x) - eps
        gradient = jnp.einsum("mrb,rbd->mrd", residual, x) / x.shape[1]
    if not isinstance(rule, optax.GradientTransformationExtraArgs):
        return jax.vmap(jax.vmap(rule.update))(gradient, rule_state, delta + theta_star)

    def update(gradient, rule_state, theta, x, eps, key):
        """Rules that ask for more get the loss on this step's samples and a key."""

        def loss_fn(theta):
            return jnp.mean((x @ (theta - theta_star) - eps) ** 2) / 2

        return rule.update(gradient, rule_state, theta, loss_fn=loss_fn, key=key)

    own = jax.vmap(lambda key: jax.random.fold_in(_rng.step_key(key, sample.index), 2))(sample.keys)
    over_runs = jax.vmap(update)
    over_rates = jax.vmap(over_runs, in_axes=(0, 0, 0, None, None, None))
    return over_rates(gradient, rule_state, delta + theta_star, x, eps, own)
