"""Rooms ode, sde and simulation."""

import numpy as np
import optax

import sdelimit as sl
from bad_input.rows import CAUCHY, FLAT, HUGE, INF, NAN, ROWS, SGD, SIGN, K, P, kind, value

HEAVY = sl.LinearRegression(np.ones(4), sl.noise.StudentT(2.0, 1.0))


def odd_rate(t):
    raise TypeError("lr is my own")


SOLVERS = [
    row
    for solve in (sl.solve_ode, sl.solve_sde, sl.simulate)
    for row in (
        kind(solve, "problem must be a LinearRegression", "problem", SIGN, 0.1, 1.0),
        kind(solve, "problem must be a LinearRegression", K, SIGN, 0.1, 1.0),
        kind(solve, "optimizer must be an optimizer", P, "sign_sgd", 0.1, 1.0),
        kind(solve, "optimizer must be .* call it", P, sl.sign_sgd, 0.1, 1.0),
        kind(solve, r"optimizer must be .*write sl.from_optax\(...\) around it", P, optax.sgd(0.1), 0.1, 1.0),
        kind(solve, r"optimizer must be .*write sl.from_optax", P, optax.MultiSteps(optax.sgd(0.1), 2), 0.1, 1.0),
        value(solve, "lr must be >= 0", P, SIGN, -0.1, 1.0),
        value(solve, "lr must be finite", P, SIGN, NAN, 1.0),
        value(solve, "lr must be finite", P, SIGN, INF, 1.0),
        value(solve, "lr must be finite", P, SIGN, HUGE, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, "fast", 1.0),
        kind(solve, "lr must be a real number", P, SIGN, None, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, True, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, 0.1j, 1.0),
        kind(solve, "lr must be an array of real numbers", P, SIGN, [[0.1], [0.1, 0.2]], 1.0),
        kind(solve, "lr must be a number or a function of t that JAX can trace", P, SIGN, odd_rate, 1.0),
        value(solve, "lr must have 1 dimension", P, SIGN, [[0.1]], 1.0),
        value(solve, "lr must not be empty", P, SIGN, [], 1.0),
        value(solve, "lr must be finite and >= 0 at every t", P, SIGN, lambda t: 0.5 - t, 1.0),
        value(solve, "lr must be finite", P, SIGN, lambda t: NAN * t, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: 0.1 if t < 1 else 0.2, 1.0),
        kind(solve, "lr must return a real number", P, SIGN, lambda t: np.ones(3) * t, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda: 0.1, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: "x", 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: 1 / 0, 1.0),
        value(solve, "t_max must be given", P, SIGN, 0.1),
        value(solve, "t_max must be > 0", P, SIGN, 0.1, 0.0),
        value(solve, "t_max must be > 0", P, SIGN, 0.1, -1.0),
        value(solve, "t_max must be finite", P, SIGN, 0.1, INF),
        value(solve, "t_max must be finite", P, SIGN, 0.1, HUGE),
        kind(solve, "t_max must be a real number", P, SIGN, 0.1, "long"),
        value(solve, "t must be >= 0 and strictly increasing", P, SIGN, 0.1, t=[0.0, 0.0, 1.0]),
        value(solve, "t must be >= 0", P, SIGN, 0.1, t=[-1.0, 1.0]),
        value(solve, "t must be finite", P, SIGN, 0.1, t=[NAN]),
        value(solve, "t must not be empty", P, SIGN, 0.1, t=[]),
        value(solve, "t must have 0 or 1 dimension", P, SIGN, 0.1, t=[[0.0, 1.0]]),
        kind(solve, "t must hold real numbers", P, SIGN, 0.1, t=["now"]),
        value(solve, "t must not pass t_max", P, SIGN, 0.1, 1.0, t=[2.0]),
        value(solve, "batch_size must be >= 1", P, SIGN, 0.1, 1.0, batch_size=0),
        value(solve, "batch_size must be < 2147483648", P, SIGN, 0.1, 1.0, batch_size=1e300),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=1.5),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=True),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=None),
    )
]
ONE_SOLVER = [
    value(sl.solve_ode, "rtol must be > 0", P, SIGN, 0.1, 1.0, rtol=0.0),
    kind(sl.solve_ode, "aligned must be True, False or None", P, SIGN, 0.1, 1.0, aligned="yes"),
    kind(sl.solve_sde, "aligned must be True, False or None", P, SIGN, 0.1, 1.0, aligned=1),
    kind(sl.solve_ode, "finite_d must be True or False", P, SGD, 0.1, 1.0, finite_d="yes"),
    value(sl.solve_ode, "finite_d must be False for sign_sgd: only if", P, SIGN, 0.1, 1.0, finite_d=True),
    value(sl.solve_ode, "aligned must be None or True with", P, SGD, 0.1, 1.0, aligned=False, finite_d=True),
    value(sl.solve_ode, "noise must have finite variance", CAUCHY, sl.sgd(momentum=0.9), 0.1, 1.0, finite_d=True),
    value(sl.solve_ode, "aligned must be None or False for clip_norm", P, sl.clip_norm(1.0), 0.1, 1.0, aligned=True),
    value(sl.solve_ode, "rtol must be < 1", P, SIGN, 0.1, 1.0, rtol=1.0),
    value(sl.solve_ode, "atol must be > 0", P, SIGN, 0.1, 1.0, atol=-1.0),
    kind(sl.solve_ode, "atol must be a real number", P, SIGN, 0.1, 1.0, atol="small"),
    kind(sl.solve_ode, "save_modes must be True, False or None", P, SIGN, 0.1, 1.0, save_modes="no"),
    value(sl.solve_ode, "lr must be >= 0", P, SIGN, [0.1, -0.1], 1.0),
    value(sl.solve_ode, "noise must have finite variance for SGD.*sign_sgd, clipping", CAUCHY, SGD, 0.1, 1.0),
    value(sl.solve_ode, "noise must have finite variance", HEAVY, sl.long_memory_adam(0.5, 0.75), 0.5, 1.0),
    value(sl.solve_ode, "covariance must have positive variance in every coordinate", FLAT, SIGN, 0.1, 1.0),
    value(sl.solve_sde, "noise must have finite variance for SGD", CAUCHY, SGD, 0.1, 1.0),
    kind(sl.solve_sde, "lr must be one concrete number", P, SIGN, [0.1, 0.2], 1.0),
    value(sl.solve_sde, "n_paths must be >= 1", P, SIGN, 0.1, 1.0, n_paths=0),
    kind(sl.solve_sde, "seed must be an integer", P, SIGN, 0.1, 1.0, seed=0.5),
    value(sl.solve_sde, "step_tolerance must be > 0", P, SIGN, 0.1, 1.0, step_tolerance=0.0),
    kind(sl.solve_sde, "progress must be True, False or None", P, SIGN, 0.1, 1.0, progress="no"),
    kind(sl.simulate, r"optimizer\[1\] must be .*write sl.from_optax", P, [SIGN, optax.scale_by_sign()], 0.1, 1.0),
    value(sl.simulate, "n_runs must be >= 1", P, SIGN, 0.1, 1.0, n_runs=0),
    value(sl.simulate, "n_runs must be < 2147483648", P, SIGN, 0.1, 1.0, n_runs=HUGE),
    value(sl.simulate, "seed must be >= 0", P, SIGN, 0.1, 1.0, seed=-3),
    value(sl.simulate, "seed must be < 4294967296", P, SIGN, 0.1, 1.0, seed=2**32),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=np.float16),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=None),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=np.ones((2, 3))),
    value(sl.simulate, "chunk_steps must be >= 1", P, SIGN, 0.1, 1.0, chunk_steps=0),
    value(sl.simulate, "chunk_steps must be < 2147483648", P, SIGN, 0.1, 1.0, chunk_steps=1e300),
    value(sl.simulate, "t_max .*must reach one step", P, SIGN, 0.1, 0.1),
    value(sl.simulate, "t_max .*must be < 2147483648", P, SIGN, 0.1, 1e300),
    value(sl.simulate, "optimizer must name at least one", P, [], 0.1, 1.0),
    kind(sl.simulate, r"optimizer\[1\] must be an optimizer", P, [SIGN, "sgd"], 0.1, 1.0),
    value(sl.simulate, "lr must have one entry for each of the 2", P, [SIGN, SIGN], [0.1], 1.0),
    kind(sl.simulate, "sharpness must be True or False", P, SIGN, 0.1, 1.0, sharpness="yes"),
    kind(sl.simulate, "progress must be True, False or None", P, SIGN, 0.1, 1.0, progress="no"),
    kind(sl.simulate, "checkpoint must be a path", P, SIGN, 0.1, 1.0, checkpoint=3),
    value(sl.simulate, "checkpoint: cannot read", P, SIGN, 0.1, 1.0, checkpoint="folder"),
    value(
        sl.simulate,
        r"generator: unknown value 'treefry' \(did you mean 'threefry'\?\)",
        P,
        SGD,
        0.3,
        1.0,
        generator="treefry",
    ),
    value(sl.simulate, r"path: unknown value 'fuse' \(did you mean 'fused'\?\)", P, SGD, 0.1, 1.0, path="fuse"),
    value(sl.simulate, "t_max must be at most .* for n = 30 rows", ROWS, SGD, 0.1, 100.0),
]
SMALL = sl.LinearRegression(np.ones(4))


def fused(reason, problem=SMALL, optimizer=SGD, **options):
    """``simulate`` by the kernel that does not cover this."""
    return value(
        sl.simulate, f"path: 'fused' needs {reason}", problem, optimizer, 0.1, t=[0.5], path="fused", **options
    )


FUSED = [
    fused("batch_size 1", batch_size=2),
    fused("dtype float32", dtype=np.float64),
    fused("sharpness=False", sharpness=True),
    fused(r"sgd, sign_sgd or adam as optimizer, not \['signum'\]", optimizer=[SGD, sl.signum(0.9)]),
    fused("a diagonal or", sl.LinearRegression(sl.covariance.spiked(4, [2.0]))),
    fused("d <= 8192", sl.LinearRegression(np.ones(9000))),
    fused("Gaussian features", ROWS),
]
TABLE = [*SOLVERS, *ONE_SOLVER, *FUSED]
