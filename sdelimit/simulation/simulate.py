"""The finite-dimensional experiment: one-pass runs, many at once, all rules on one data stream."""

import jax
import numpy as np
import optax

from sdelimit.numerics.floors import TINY_FLOAT32
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.normals import ROUNDS
from sdelimit.numerics.precision import precision
from sdelimit.optimizers.optimizer import as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, SpectralRegression, check_problem
from sdelimit.problem.regression import Regression
from sdelimit.results.curves import RiskCurves, mark_divergence
from sdelimit.schedules import LearningRate
from sdelimit.simulation import fused, loop, scan
from sdelimit.simulation.checkpoint import checkpoint_of
from sdelimit.simulation.gradient_units import gradient_units
from sdelimit.simulation.run_plan import Experiment
from sdelimit.simulation.sharding import RunSharding
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid

CHUNK_STEPS = 256
PATHS = {"plain": scan, "fused": fused}


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
    generator: str = "threefry",
    path: str = "auto",
    chunk_steps: int | None = None,
    progress: bool | None = None,
    checkpoint=None,
) -> RiskCurves:
    """Run the optimizer itself: fresh samples x ~ N(0, K), y = <x, theta*> + eps at every step.

    A problem made from data (``sl.data``) gives its own rows instead, each at most once, in random order.

        g_k = (1/b) sum_j (<x_j, theta_k> - y_j) x_j,    theta_{k+1} = theta_k - (eta(k/d) / d) u_k(g_k)

    All runs, learning rates and optimizers advance together and see the same samples, so differences
    between optimizers or learning rates of one call are paired. Run i of seed s is the same path, up to
    floating-point rounding, whatever ``n_runs``, ``chunk_steps``, the other optimizers or learning rates.

    Runs are spread over ``jax.devices()``, in equal shares. In a job of several processes that has called
    ``jax.distributed.initialize()``, every process makes the same call and gets the whole result. JAX takes a CPU for
    one device; with ``JAX_NUM_CPU_DEVICES=8`` in the environment it takes it for eight.

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
        generator: of the normals. "threefry" (20 rounds) or "fast" (13 rounds, the fewest that pass all tests of its
            authors). Both give the same numbers on every device, up to rounding.
        path: "plain" works for everything. "fused" is a GPU kernel that keeps each run on chip, for sgd, sign_sgd and
            adam with a diagonal or AR(1) covariance, batch_size 1 and d up to 8192; on CPU it is interpreted, slowly,
            to check it. "auto" takes it on a GPU wherever it applies. The runs are the same; ``details["path"]`` of
            the result names the one taken.
        chunk_steps: steps between two looks at the progress bar; default 256.
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
    problem = check_problem(problem, Regression)
    # An optax transformation is a tuple too: ``as_optimizer`` says what to write instead.
    several = isinstance(optimizer, (list, tuple)) and not isinstance(optimizer, optax.GradientTransformation)
    optimizers = (
        [as_optimizer(o, f"optimizer[{i}]") for i, o in enumerate(optimizer)] if several else [as_optimizer(optimizer)]
    )
    if not optimizers:
        raise ValueError("optimizer must name at least one rule, got an empty list")
    n_runs = check.integer("n_runs", n_runs, minimum=1)
    seed = check.seed("seed", seed)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    sharpness, progress = check.flag("sharpness", sharpness), check.flag("progress", progress, optional=True)
    if sharpness and not isinstance(problem, LinearRegression):
        raise ValueError(f"sharpness must be False on a {type(problem).__name__}, got True")
    if isinstance(problem, SpectralRegression):
        for rule in optimizers:
            rule.limit(problem, batch_size)  # refuses rules that act on coordinates, which are not known
    _require_range(problem, dtype)
    check.integer("t_max (or the last t) times d", np.rint(time_grid(t_max, t)[-1] * problem.d), minimum=0)
    d = problem.d
    steps = np.unique(np.rint(time_grid(t_max, t) * d).astype(np.int64))
    if steps[-1] < 1:
        raise ValueError(f"t_max (or the last t) must reach one step, 1/d = {1 / d:g}")
    rates = _learning_rates(lr, len(optimizers), several)
    for rule in optimizers:
        rule.scans(steps / d)
    doubts = [
        (*rate.require_times(steps[-1] / d, d), *rule.require_times(steps[-1] / d, d))
        for rate, rule in zip(rates, optimizers, strict=True)
    ]
    experiment = Experiment(
        problem=problem,
        optimizers=tuple(optimizers),
        etas=tuple(rate.at(np.arange(steps[-1] + 1) / d) for rate in rates),
        units=gradient_units(problem, tuple(optimizers), batch_size, dtype),
        steps=steps,
        n_runs=n_runs,
        seed=seed,
        batch_size=batch_size,
        dtype=dtype,
        sharpness=sharpness,
        generator=check.choice("generator", generator, ROUNDS),
        chunk_steps=_chunk_length(chunk_steps, steps[-1] + 1),
        progress=progress,
    )
    sharding = RunSharding(n_runs)
    taken = _path(path, experiment, sharding.device.platform)
    if checkpoint is not None and jax.process_count() > 1:
        raise ValueError(f"checkpoint must be None in a job of several processes, got {check.describe(checkpoint)}")
    saved = checkpoint_of(
        checkpoint, problem, optimizers, batch_size, lr=experiment.etas, t=steps, n_runs=n_runs, seed=seed,
        dtype=np.dtype(dtype).name, sharpness=sharpness, chunk_steps=experiment.chunk_steps, generator=generator,
        taken=taken,
    )  # fmt: skip
    with saved.locked(), precision(dtype):
        measured = loop.run(PATHS[taken], experiment, sharding, saved)
    details = {
        "device": sharding.device.device_kind,
        "devices": sharding.n_devices,
        "dtype": np.dtype(dtype).name,
        "generator": generator,
        "path": taken,
    }
    results = []
    for i, own in enumerate(measured):
        # A warning of divergence names the caller of this function.
        results.append(mark_divergence(_curves(experiment, i, *own, details=details, warnings=doubts[i])))
    return results if several else results[0]


def _curves(e, i, *values, details, warnings):
    """The result of optimizer i."""
    risk, overlaps, rest = e.problem.recorded(values)
    curvature, squared_length = rest or (None, None)
    return RiskCurves(
        t=e.steps / e.problem.d,
        risk=risk,
        lr=e.etas[i][..., e.steps],
        diverged_at=np.full(risk.shape[:-1], np.inf),
        status="ok",
        kind="simulation",
        problem=e.problem,
        optimizer=e.optimizers[i],
        batch_size=e.batch_size,
        seed=e.seed,
        overlaps=overlaps,
        curvature=curvature,
        squared_length=squared_length,
        details=details,
        warnings=warnings,
    )


def _path(path, experiment, platform):
    """The path to take: the one asked for, which must cover the experiment, or the best that does."""
    check.choice("path", path, ("auto", *PATHS))
    if path == "plain" or (path == "auto" and platform != "gpu"):
        return "plain"
    obstacle = fused.obstacle(experiment)
    if path == "fused" and obstacle:
        raise ValueError(f"path: 'fused' needs {obstacle}; 'plain' and 'auto' run everything")
    return "plain" if obstacle else "fused"


def _require_range(problem, dtype):
    """dtype is one of two, and wide enough for the problem's risk."""
    kind = getattr(dtype, "__name__", dtype)
    if not isinstance(kind, (str, np.dtype)) or str(kind) not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {check.describe(dtype)}")
    with np.errstate(over="ignore"):
        size = np.float32(problem.initial_risk)
    if np.dtype(dtype) == np.float32 and (not TINY_FLOAT32 < size < 1 / TINY_FLOAT32) and problem.initial_risk > 0:
        raise ValueError(
            f"dtype must be float64 for a problem with initial risk {problem.initial_risk:g}, "
            "out of float32's safe range"
        )


def _learning_rates(lr, count, several):
    """The learning rates of each optimizer."""
    each = lr if several and isinstance(lr, (list, tuple)) else [lr] * count
    if len(each) != count:
        raise ValueError(f"lr must have one entry for each of the {count} optimizers, got {len(each)}")
    return [LearningRate.of(one).require_concrete("simulate") for one in each]


def _chunk_length(chunk_steps, slots):
    """Steps per compiled call: as equal as possible, so that little of the last one is wasted."""
    longest = CHUNK_STEPS if chunk_steps is None else check.integer("chunk_steps", chunk_steps, minimum=1)
    chunks = ceil_div(slots, longest)
    return int(ceil_div(slots, chunks))
