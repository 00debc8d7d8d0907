"""Paths of the homogenized SDE (theory: sections 1 and 3)."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.numerics import normals
from sdelimit.numerics.precision import x64
from sdelimit.ode.alignment import check_alignment, with_alignment
from sdelimit.ode.integrate import Stepping
from sdelimit.ode.limit_curve import largest_distance, refined_limit, solve_limit
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.multi_output import MultiOutput
from sdelimit.problem.regression import Regression
from sdelimit.results.curves import RiskCurves, mark_divergence
from sdelimit.results.trust import path_warnings, with_drift_error
from sdelimit.schedules import LearningRate
from sdelimit.sde.equations import path_stepper
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid
from sdelimit.support.progress import progress_bar

CHUNK_STEPS = 64
MAX_STEPS = 100_000
REACH = 1.5
"""Coefficients are known to this many times the largest distance of the mean from theta*, for single paths."""


def solve_sde(
    problem: LinearRegression,
    optimizer: Optimizer,
    lr,
    t_max=None,
    *,
    n_paths: int = 64,
    seed: int = 0,
    t=None,
    batch_size: int = 1,
    step_tolerance: float = 0.05,
    progress: bool | None = None,
    aligned: bool | None = None,
) -> RiskCurves:
    """Random risk curves of the homogenized SDE, whose spread is that of single runs when d is large.

    In the modes w = Q' D^(p/2) delta of theory section 3,

        dw = -eta phi(R) Lambda w dt + eta sum_q sqrt(psi_q(R) / d) L_q dB_q,
        L_q L_q' = Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q,

    and R = 1/2 sum_i lambda_i w_i^2. For sgd, sign_sgd and clip_norm the noise also has what the equation above leaves
    out and the spread of R depends on: the covariance of u along its own mean, and the random length of steps (see
    sdelimit/limits/exact/step_fluctuations.py). Without it SGD's spread would be up to 50% too wide and signSGD's up
    to 30%; for other rules it is not known and left out. SGD under noise without a fourth moment has jumps that no
    diffusion shows.

    Each step takes the linear decay and the variance of every mode exactly,
    with phi, psi and eta at a midpoint predicted from the mode energies, so the mean follows the risk ODE to
    second order. float64, but the noise and its matrix products, in float32: one product for all paths a step, and one
    more for rules with that addition on a K that is not diagonal. Where the shape of the noise depends on R, paths at
    different risks are grouped, with a product for each group.

    Args:
        problem: the regression problem.
        optimizer: the rule, for example ``sl.sign_sgd()``.
        lr: eta: a number or a JAX-traceable function of t.
        t_max: horizon, in t = steps/d.
        n_paths: independent paths.
        seed: path i of seed s is the same whatever ``n_paths``.
        t: times to record at; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step.
        step_tolerance: largest relative change of the mean risk over one step, and a fifth of the largest decay
            exponent eta phi lambda_max dt of one step.
        progress: show a progress bar; default only on a terminal.
        aligned: whether features may be correlated with the residual, by default where ``solve_ode`` finds that they
            are; see there. Then delta itself is followed, dy = -eta D G(r) dt + eta (D N D / d)^(1/2) dB for
            y = D delta (theory: section 15).

    Returns:
        ``RiskCurves`` with ``.risk`` of shape (n_paths, n). Divergence is in ``.status``, reasons not to rely
        on them in ``.warnings``, issued as by ``solve_ode``.

    Raises:
        TypeError, ValueError: naming the argument, as ``solve_ode``.

    Source: arXiv:2411.12135.
    """
    problem = check_problem(problem, Regression)
    if isinstance(problem, MultiOutput):
        raise TypeError(
            f"problem must have one output for solve_sde, got a {type(problem).__name__}: paths of several outputs are "
            "not known here; solve_ode gives their mean, simulate runs"
        )
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    n_paths = check.integer("n_paths", n_paths, minimum=1)
    seed = check.seed("seed", seed)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    step_tolerance = check.real("step_tolerance", step_tolerance, positive=True)
    progress = check.flag("progress", progress, optional=True)
    aligned = check.flag("aligned", aligned, optional=True)
    lr = LearningRate.of(lr)
    doubts = *lr.doubts(times[-1], problem.d), *optimizer.doubts(times[-1], problem.d)
    lr = lr.require_one_concrete("solve_sde")
    eta = lr.at(times)
    limit = optimizer.limit(problem, batch_size)
    stepping = Stepping.along(lr.scan(times), *optimizer.scans(times))
    breaks = np.zeros(0) if stepping.breaks is None else stepping.breaks[stepping.breaks < times[-1]]
    theory, answering = _theory(problem, optimizer, limit, lr, np.union1d(times, breaks), batch_size, aligned)
    if limit.reads_overlaps:
        limit = limit.widened(REACH * largest_distance(theory))
        given = {"batch_size": batch_size, "rtol": 1e-4, "atol": None, "save_modes": False}
        limit = refined_limit(problem, optimizer, limit, lr, times, given)
    limit = limit.with_spread()
    advance, state, fastest = path_stepper(problem, limit, theory, answering)
    edges, saved = _steps(theory, times, step_tolerance, fastest, limit.weight_decay, breaks, stepping.longest)
    middle = lr.at((edges[1:] + edges[:-1]) / 2)
    with x64():
        start = problem.initial_risk
        if limit.reads_overlaps:
            start = np.array([problem.initial_overlaps[0] / 2, problem.initial_overlaps[1]])
        risk = _run(advance, state, start, np.diff(edges), middle, n_paths, seed, progress)[:, saved]
    overlaps = None
    if limit.reads_overlaps:
        risk, overlaps = problem.observed(risk * np.array([2.0, 1.0]))
    return mark_divergence(
        RiskCurves(
            t=times,
            risk=risk,
            overlaps=overlaps,
            lr=eta,
            diverged_at=np.full(n_paths, np.inf),
            status="ok",
            kind="sde",
            problem=problem,
            optimizer=optimizer,
            batch_size=batch_size,
            seed=seed,
            warnings=(*doubts, *path_warnings(theory, limit)),
            details={"steps": edges.size - 1},
        )
    )


def theory_times(times) -> Float[np.ndarray, " n"]:
    """Where the mean risk is computed for paths at ``times``: these, 0, and a thousand more."""
    return np.unique(np.concatenate([[0.0], times, np.linspace(0.0, times[-1], 1001)]))


def _theory(problem, optimizer, limit, lr, times, batch_size, aligned):
    """The mean risk on a fine grid, and the law and response of correlated features, None without.

    Warns of nothing: paths report their own.
    """
    grid = theory_times(times)
    given = {"batch_size": batch_size, "rtol": 1e-4, "save_modes": False}
    check_alignment(optimizer, limit, aligned)
    curve = solve_limit(problem, optimizer, limit, lr, grid, **given)
    if limit.gradient_batch is not None:  # of paths of SGD every step is infinitesimal
        return with_drift_error(curve, limit), None
    return with_alignment(curve, limit, lr, aligned, given)


def _steps(theory, times, tolerance, fastest, weight_decay, breaks, longest):
    """Step edges and the positions of ``times`` among them.

    The mean risk and its clock eta phi, from the ODE, say how small steps must be; steps end where eta jumps.
    """
    grid = theory.t
    finite = np.isfinite(theory.risk) & (theory.risk > 0)
    risk, slope, clock = (
        np.where(finite, a, b) for a, b in ((theory.risk, 1), (theory.slope, 0), (theory.lr * theory.phi, 0))
    )
    fastest_decay = clock * fastest + theory.lr * weight_decay
    rate = np.maximum(np.abs(slope) / risk / tolerance, fastest_decay / (5 * tolerance))
    longest = np.inf if longest is None else longest
    edges = np.unique(np.concatenate([[0.0], times, breaks]))
    pieces, total = [], 0
    for low, high in itertools.pairwise(edges):
        inside = (grid >= low) & (grid <= high)
        needed = max(rate[inside].max() if inside.any() else rate[np.searchsorted(grid, high) - 1], 1 / longest)
        count = max(int(np.ceil(min(needed * (high - low), 2.0 * MAX_STEPS))), 1)
        total += count
        if total > MAX_STEPS:
            raise RuntimeError(
                f"solve_sde needs more than {MAX_STEPS} steps by t = {high:.4g} to follow the risk and its "
                "fastest mode; a larger step_tolerance, a smaller lr or a shorter horizon needs fewer"
            )
        pieces.append(np.linspace(low, high, count + 1)[:-1])
    edges = np.concatenate([*pieces, [times[-1]]])
    return edges, np.searchsorted(edges, times)


def _run(advance, state, start, dt, eta, n_paths, seed, progress):
    """What ``advance`` gives of every path at every step edge, (n_paths, steps + 1, ...), ``start`` at the first."""
    keys = jax.vmap(partial(normals.run_key, seed))(np.arange(n_paths, dtype=np.uint32))
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (n_paths, *x.shape)), state)
    risks = [np.broadcast_to(start, (1, n_paths, *np.shape(start)))]
    with progress_bar(progress, dt.size, "step", leave=False) as bar:
        for start in range(0, dt.size, CHUNK_STEPS):
            # Steps past the end have length zero; they change nothing and are dropped.
            piece = [
                np.concatenate([a[start : start + CHUNK_STEPS], np.zeros(CHUNK_STEPS)])[:CHUNK_STEPS] for a in (dt, eta)
            ]
            index = np.arange(start, start + CHUNK_STEPS, dtype=np.uint32)
            state, risk = advance(state, keys, index, *piece)
            count = min(CHUNK_STEPS, dt.size - start)
            risks.append(np.asarray(risk)[:count])
            bar.update(count)
    return np.moveaxis(np.concatenate(risks), 0, 1)
