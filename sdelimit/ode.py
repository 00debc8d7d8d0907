"""The risk ODE (theory: sections 1-3)."""

import warnings
from functools import partial

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sdelimit import _validation as check
from sdelimit._jit import is_number, jit
from sdelimit._precision import is_traced, x64
from sdelimit._times import time_grid
from sdelimit.limits.base import Limit
from sdelimit.modes import Modes, modes
from sdelimit.optimizers.base import Optimizer, as_optimizer
from sdelimit.problem import LinearRegression
from sdelimit.results import DivergenceWarning, RiskCurve
from sdelimit.schedules import as_schedule, constant, evaluate
from sdelimit.special import special_system
from sdelimit.system import System, integrate, integrate_many

MAX_STEPS = 100_000
BLOW_UP = 1e12


def solve_ode(
    problem: LinearRegression,
    optimizer: Optimizer,
    lr,
    t_max=None,
    *,
    t=None,
    batch_size: int = 1,
    rtol: float = 1e-6,
    atol: float | None = None,
    save_modes: bool = True,
) -> RiskCurve:
    """The deterministic limit of the risk when d is large.

    Solves, in the modes w of theory section 3 and with R = 1/2 sum_i lambda_i E[w_i^2],

        d E[w_i^2]/dt = -2 eta phi(R) lambda_i E[w_i^2] + (eta^2/d) sum_q psi_q(R) c_qi

    in float64 with an adaptive Tsitouras 5(4) method.

    Args:
        problem: the regression problem.
        optimizer: the rule, for example ``sl.sign_sgd()``.
        lr: eta; a step moves theta by eta/d. A number, a JAX-traceable function of t, or a (m,) array of
            numbers solved together.
        t_max: horizon, in t = steps/d.
        t: times to evaluate at; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step.
        rtol: relative tolerance of each step on every mode.
        atol: absolute tolerance on the risk; default 1e-10 times the initial risk.
        save_modes: keep the (n, d) mode energies in the result.

    Returns:
        A ``RiskCurve``. A risk that grows beyond all bounds is reported in ``.status`` and
        ``.diverged_at`` and by a ``DivergenceWarning``; the curve is infinite from there on.

    Differentiable in reverse mode with respect to ``lr``: inside ``jax.grad`` or ``jax.jit`` the arrays of
    the result are JAX arrays of the surrounding precision, while the solve itself stays in float64.

    Raises:
        TypeError, ValueError: naming the argument; in particular for SGD with infinite-variance noise and
            for a coordinate of zero variance under a rule with M = D^-1.
        RuntimeError: if the step limit is reached, with the time reached.

    Source: arXiv:2411.12135 (signSGD), arXiv:2308.08977 (SGD).
    """
    problem = check_problem(problem)
    optimizer = as_optimizer(optimizer)
    times = time_grid(t_max, t)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    rtol = check.real("rtol", rtol, positive=True)
    limit = optimizer.limit_of(problem, batch_size)
    schedule, batched = as_schedules(lr)
    eta = _learning_rates(schedule, batched, times)
    if isinstance(limit, Limit):
        current = modes(problem, limit)
        setup = _setup(problem, current, limit, times, rtol, atol, eta)
    else:
        setup = current = special_system(problem, limit, times, rtol, atol, eta)
    solve = partial(_solve, setup=setup, batched=batched, save_modes=save_modes)
    if is_traced((schedule, eta)):
        out = _traced(solve, schedule)
        return _curve(out, times, current, problem, optimizer, batch_size, np.inf, "not checked: traced by JAX")
    out = {name: np.asarray(value) for name, value in solve(schedule).items()}
    diverged_at, status = _report(out, setup, batched, optimizer)
    return _curve(out, times, current, problem, optimizer, batch_size, diverged_at, status)


def check_problem(problem) -> LinearRegression:
    """``problem`` if it is one; otherwise a TypeError."""
    if not isinstance(problem, LinearRegression):
        raise TypeError(f"problem must be a LinearRegression, got {check.describe(problem)}")
    return problem


def as_schedules(lr):
    """(schedule, False) for a number or function; (schedule with array leaves, True) for an array of numbers."""
    if callable(lr):
        return as_schedule(lr), False
    if is_traced(lr):
        if lr.ndim > 1:
            raise ValueError(f"lr must be a number or a (m,) array, got shape {lr.shape}")
        return constant(lr), lr.ndim == 1
    if np.ndim(lr) == 0:
        return as_schedule(lr), False
    values = check.array("lr", lr, ndim=1)
    if np.any(values < 0):
        raise ValueError(f"lr must be >= 0, got a smallest value of {values.min():g}")
    return eqx.tree_at(lambda c: c.value, constant(0.0), values), True


def _learning_rates(schedule, batched, times):
    if not batched:
        return evaluate(schedule, times)
    value = schedule.value
    return value[:, None] if is_traced(value) else np.repeat(value[:, None], times.size, axis=1)


class _Setup(eqx.Module):
    """Everything about one solve but the learning rate. All numbers, so nothing here recompiles."""

    decay: np.ndarray
    energy0: np.ndarray
    forcing: np.ndarray
    weight: np.ndarray
    limit: Limit
    times: np.ndarray
    rtol: float
    atol: float
    floor: float
    ceiling: float


def _setup(problem, current: Modes, limit, times, rtol, atol, eta) -> _Setup:
    d = problem.d
    energy0 = current.w0**2
    risk0 = float(current.decay @ energy0 / 2)
    step = 1.0 if is_traced(eta) else max(float(np.max(eta)), 1e-12)
    scale = max(risk0, step**2 / d * float(current.decay @ current.forcing[0]) / 2)
    # A mode enters the error norm through its share of the risk; modes with lambda = 0 keep a small weight.
    weight = np.maximum(current.decay, 1e-12 * current.decay.max()) / 2
    atol = 1e-10 * scale if atol is None else check.real("atol", atol, positive=True)
    floor, ceiling = 1e-30 * scale, BLOW_UP * scale
    return _Setup(current.decay, energy0, current.forcing / d, weight, limit, times, rtol, atol / d, floor, ceiling)


def _vector_field(t, shares, args):
    schedule, s = args
    eta = schedule(t)
    R = jnp.maximum(jnp.sum(s.decay * shares / s.weight) / 2, s.floor)
    forcing = s.limit.psi(R) @ s.forcing
    return -2 * eta * s.limit.phi(R) * s.decay * shares + eta**2 * s.weight * forcing


@jit
def _integrate(schedule, s: _Setup, save_modes):
    """One curve. The state is each mode's energy times ``weight``, its share of the risk."""
    risk = lambda shares: jnp.sum(s.decay * shares / s.weight, axis=-1) / 2  # noqa: E731

    def observe(t, shares, args):
        slope = jnp.sum(s.decay * _vector_field(t, shares, args) / s.weight) / 2
        R = risk(shares)
        safe = jnp.clip(R, s.floor, s.ceiling)
        kept = shares / s.weight if save_modes else jnp.zeros(())
        return {"risk": R, "modes": kept, "lr": schedule(t) + 0.0 * t, "phi": s.limit.phi(safe), "slope": slope}

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_vector_field),
        diffrax.Tsit5(),
        t0=0.0,
        t1=s.times[-1],
        dt0=None,
        y0=s.weight * s.energy0,
        args=(schedule, s),
        saveat=diffrax.SaveAt(
            subs=[
                diffrax.SubSaveAt(ts=s.times, fn=observe),
                diffrax.SubSaveAt(t1=True, fn=lambda t, shares, args: risk(shares)),
            ]
        ),
        stepsize_controller=diffrax.PIDController(rtol=s.rtol, atol=s.atol),
        event=diffrax.Event(lambda t, y, args, **_: ~(risk(y) < s.ceiling)),
        max_steps=MAX_STEPS,
        throw=False,
    )
    out, end = solution.ys
    reached = solution.ts[1][-1]
    out["end_time"], out["end_risk"] = reached, end[-1]
    out["finished"] = solution.result == diffrax.RESULTS.successful
    out["blown_up"] = solution.result == diffrax.RESULTS.event_occurred
    return out


@jit
def _integrate_many(schedule, s: _Setup, save_modes):
    """One curve for each entry of the schedule's leading axis."""
    return jax.vmap(lambda one: _integrate.__wrapped__(one, s, save_modes))(schedule)


def _solve(schedule, *, setup, batched, save_modes):
    """Curves in float64 from concrete inputs."""
    one, many = (integrate, integrate_many) if isinstance(setup, System) else (_integrate, _integrate_many)
    with x64():
        return (many if batched else one)(schedule, setup, save_modes)


def _traced(solve, schedule):
    """The same, as one operation that JAX can differentiate, batch and compile.

    The solve needs float64 whatever the surrounding precision is, so it runs as a unit with its own
    derivative rule: eagerly under ``grad``, as a host callback under ``jit`` and ``vmap``.
    """
    parameters, rebuild = _parameters(schedule)
    outer = jax.dtypes.canonicalize_dtype(np.float64)

    def forward(numbers):
        return jax.tree.map(lambda x: np.asarray(x).astype(outer), solve(rebuild(numbers)))

    def backward(numbers, cotangents):
        with x64():
            _, pull = jax.vjp(lambda n: _floats(solve(rebuild(n))), jax.tree.map(jnp.asarray, numbers))
            (gradient,) = pull(jax.tree.map(lambda c: jnp.asarray(c, jnp.float64), _floats(cotangents)))
        return jax.tree.map(lambda g, n: np.asarray(g).astype(n.dtype), gradient, numbers)

    def run(function, shapes, *arguments):
        if is_traced(arguments):
            return jax.pure_callback(function, shapes, *arguments, vmap_method="sequential")
        return jax.tree.map(jnp.asarray, function(*jax.tree.map(np.asarray, arguments)))

    with x64():
        shapes = jax.eval_shape(lambda n: solve(rebuild(n)), jax.tree.map(_shape, parameters))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, outer), shapes)

    @jax.custom_vjp
    def operation(numbers):
        return run(forward, shapes, numbers)

    def operation_backward(numbers, cotangents):
        return (run(backward, jax.tree.map(_shape, numbers), numbers, cotangents),)

    operation.defvjp(lambda numbers: (operation(numbers), numbers), operation_backward)
    return operation(parameters)


def _parameters(schedule):
    """The numbers a schedule depends on, and how to rebuild it from them.

    A pytree schedule gives its leaves; a function gives the traced values it closes over.
    """
    numbers, rest = eqx.partition(schedule, is_number)
    if jax.tree.leaves(numbers):
        return jax.tree.map(jnp.asarray, numbers), lambda n: eqx.combine(n, rest)
    with x64():
        function, closed_over = jax.closure_convert(schedule, jnp.zeros((), jnp.float64))
    return closed_over, lambda n: lambda t: function(t, *n)


def _shape(x):
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _floats(out):
    return {name: value for name, value in out.items() if name not in ("finished", "blown_up")}


def _report(out, setup, batched, optimizer):
    """(diverged_at, status) from a finished solve; warns of divergence, raises if it stopped short."""
    statuses, times = [], []
    for finished, blown_up, t, risk, eta in zip(
        *(np.atleast_1d(out[k]) for k in ("finished", "blown_up", "end_time", "end_risk")),
        np.atleast_2d(out["lr"])[:, 0],
        strict=True,
    ):
        if finished:
            statuses.append("ok")
            times.append(np.inf)
        elif blown_up:
            statuses.append(f"diverged at t = {t:.4g}: risk {risk:.3g} (lr {eta:g} at t = 0)")
            times.append(float(t))
            warnings.warn(f"solve_ode({optimizer.name}): {statuses[-1]}", DivergenceWarning, stacklevel=3)
        else:
            raise RuntimeError(
                f"solve_ode({optimizer.name}) took {MAX_STEPS} steps and reached only t = {t:.4g} of "
                f"{setup.times[-1]:g} (risk {risk:.4g}); a larger rtol, a smaller lr or a shorter horizon needs fewer"
            )
    return (np.array(times), tuple(statuses)) if batched else (times[0], statuses[0])


def _curve(out, times, current, problem, optimizer, batch_size, diverged_at, status):
    saved = out["modes"].shape[-1:] == current.decay.shape and out["modes"].ndim == out["risk"].ndim + 1
    return RiskCurve(
        t=times,
        risk=out["risk"],
        modes=out["modes"] if saved else None,
        decay=current.decay,
        lr=out["lr"],
        phi=out["phi"],
        slope=out["slope"],
        diverged_at=diverged_at,
        status=status,
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
    )
