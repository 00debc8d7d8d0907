"""Learning-rate schedules eta(t) of continuous time t = k/d.

Each is callable on a JAX scalar and a pytree of its numbers, so the ODE can be differentiated with
respect to them and another set of numbers reuses the compiled solver. Any JAX-traceable function of t
does as well. A function of the number of steps, as optax's schedules are, becomes one of t by ``of_steps``.
``LearningRate`` is what the solvers make of all these, or of a number.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.jit import is_number
from sdelimit.numerics.precision import is_traced, x64
from sdelimit.support import arguments as check

__all__ = [
    "constant",
    "cosine",
    "inverse_sqrt",
    "linear",
    "log_linear",
    "of_steps",
    "piecewise_constant",
    "warmup",
    "wsd",
]


def __dir__():
    return __all__


class Schedule(eqx.Module):
    """eta(t)."""

    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        raise NotImplementedError

    def corners(self, end: float) -> "Corners":
        """Where it jumps or bends up to t = ``end``; its numbers are known."""
        return Corners(np.zeros(0), complete=True)


class Corners(NamedTuple):
    """Times at which a function of t jumps or bends, and whether that is all of them."""

    times: Float[np.ndarray, " k"]
    complete: bool


def corners_of(function: Callable, end: float) -> Corners:
    """What is known of the corners of a function of t that may be no ``Schedule``."""
    return function.corners(end) if isinstance(function, Schedule) else Corners(np.zeros(0), complete=False)


class Constant(Schedule):
    value: float | Array

    def __call__(self, t):
        return self.value + 0.0 * t


class Cosine(Schedule):
    start: float | Array
    end: float | Array
    t_max: float | Array

    def __call__(self, t):
        fraction = jnp.clip(t / self.t_max, 0.0, 1.0)
        return self.end + (self.start - self.end) * (1 + jnp.cos(jnp.pi * fraction)) / 2

    def corners(self, end):
        return Corners(np.atleast_1d(self.t_max), complete=True)


class Linear(Schedule):
    start: float | Array
    end: float | Array
    t_max: float | Array

    def __call__(self, t):
        return self.start + (self.end - self.start) * jnp.clip(t / self.t_max, 0.0, 1.0)

    def corners(self, end):
        return Corners(np.atleast_1d(self.t_max), complete=True)


class PiecewiseConstant(Schedule):
    boundaries: Float[Array, " k"]
    values: Float[Array, " k+1"]

    def __call__(self, t):
        return jnp.asarray(self.values)[jnp.searchsorted(jnp.asarray(self.boundaries), t, side="right")]

    def corners(self, end):
        return Corners(np.asarray(self.boundaries), complete=True)


class LogLinear(Schedule):
    times: Float[Array, " k"]
    log_values: Float[Array, " k"]

    def __call__(self, t):
        return jnp.exp(jnp.interp(t, jnp.asarray(self.times), jnp.asarray(self.log_values)))

    def corners(self, end):
        return Corners(np.asarray(self.times), complete=True)


class InverseSqrt(Schedule):
    start: float | Array
    t_scale: float | Array

    def __call__(self, t):
        return self.start / jnp.sqrt(1 + t / self.t_scale)


class WSD(Schedule):
    value: float | Array
    t_max: float | Array
    decay: float | Array

    def __call__(self, t):
        return self.value * jnp.clip((self.t_max - t) / (self.decay * self.t_max), 0.0, 1.0)

    def corners(self, end):
        return Corners(np.array([self.t_max * (1 - self.decay), self.t_max]), complete=True)


class Warmup(Schedule):
    schedule: Callable
    t_warmup: float | Array

    def __call__(self, t):
        return jnp.minimum(t / self.t_warmup, 1.0) * self.schedule(t)

    def corners(self, end):
        times, complete = corners_of(self.schedule, end)
        return Corners(np.append(times, self.t_warmup), complete)


class OfSteps(Schedule):
    schedule: Callable
    d: float

    def __call__(self, t):
        k = t * self.d
        whole = jnp.round(k)
        # k / d * d is k but for rounding, which must not lead to the other side of a jump.
        return 1.0 * self.schedule(jnp.where(jnp.abs(k - whole) < WHOLE, whole, k))

    def corners(self, end):
        """Those of one rate for each step; of a function, which may jump at any step, none is known."""
        if not isinstance(self.schedule, Rates):
            return Corners(np.zeros(0), complete=False)
        return Corners(self.schedule.corners() / self.d, complete=True)


class Rates(eqx.Module):
    """rates[k] at k = 0, 1, ..., straight lines between them, and the last one beyond."""

    rates: Float[np.ndarray, " k"]

    def __call__(self, k):
        return jnp.interp(k, jnp.arange(self.rates.shape[0], dtype=k.dtype), jnp.asarray(self.rates))

    def corners(self) -> Float[np.ndarray, " c"]:
        """The k between which the lines run straight, or curve so little that they may be taken for one curve."""
        rates = np.asarray(self.rates)
        bend = np.abs(np.diff(rates, 2, prepend=rates[0], append=rates[-1]))
        return np.flatnonzero(bend > BEND * rates.max())


def constant(value) -> Schedule:
    """eta(t) = value.

    Raises TypeError or ValueError if a concrete ``value`` is not a finite number >= 0.
    """
    return Constant(_number("value", value, nonnegative=True))


def cosine(start, t_max, end=0.0) -> Schedule:
    """Half a cosine from ``start`` at t = 0 to ``end`` at ``t_max``, then ``end``.

    Raises TypeError or ValueError if a concrete number here is not finite or has the wrong sign: ``start``, ``end``
    >= 0, ``t_max`` > 0.
    """
    return Cosine(
        _number("start", start, nonnegative=True),
        _number("end", end, nonnegative=True),
        _number("t_max", t_max, positive=True),
    )


def linear(start, t_max, end=0.0) -> Schedule:
    """A straight line from ``start`` at t = 0 to ``end`` at ``t_max``, then ``end``.

    Raises TypeError or ValueError if a concrete number here is not finite or has the wrong sign: ``start``, ``end``
    >= 0, ``t_max`` > 0.
    """
    return Linear(
        _number("start", start, nonnegative=True),
        _number("end", end, nonnegative=True),
        _number("t_max", t_max, positive=True),
    )


def piecewise_constant(boundaries, values) -> Schedule:
    """values[i] between boundaries[i-1] and boundaries[i] (increasing); len(values) = len(boundaries) + 1.

    Raises TypeError or ValueError for arrays of other shapes, ``boundaries`` that are not > 0 and increasing, or
    ``values`` that are not finite and >= 0.
    """
    if not is_traced((boundaries, values)):
        boundaries = check.array("boundaries", boundaries, ndim=1)
        values = check.array("values", values, shape=(boundaries.shape[0] + 1,))
        if np.any(np.diff(boundaries) <= 0) or boundaries[0] <= 0:
            raise ValueError(f"boundaries must be > 0 and increasing, got {boundaries}")
        if np.any(values < 0):
            raise ValueError(f"values must be >= 0, got a smallest value of {values.min():g}")
    return PiecewiseConstant(boundaries, values)


def log_linear(times, values) -> Schedule:
    """Through the points (times[i], values[i]), log eta running straight between them and constant outside.

    ``times`` >= 0 and increasing, ``values`` > 0, both (k,).

    Raises TypeError or ValueError if they are not so.
    """
    if is_traced((times, values)):
        return LogLinear(times, jnp.log(values))
    times = check.array("times", times, ndim=1)
    values = check.array("values", values, shape=times.shape)
    if np.any(np.diff(times) <= 0) or times[0] < 0:
        raise ValueError(f"times must be >= 0 and increasing, got {times}")
    if np.any(values <= 0):
        raise ValueError(f"values must be > 0, got a smallest value of {values.min():g}")
    return LogLinear(times, np.log(values))


def inverse_sqrt(start, t_scale=1.0) -> Schedule:
    """eta(t) = start / sqrt(1 + t / t_scale).

    Raises TypeError or ValueError if a concrete number here is not finite or has the wrong sign: ``start`` >= 0,
    ``t_scale`` > 0.
    """
    return InverseSqrt(_number("start", start, nonnegative=True), _number("t_scale", t_scale, positive=True))


def wsd(value, t_max, decay=0.2) -> Schedule:
    """Warm-up-stable-decay without its warm-up: ``value``, then a straight line to zero in the last part of ``t_max``.

    ``decay`` is that part, as a fraction. ``warmup(wsd(...), t_warmup)`` has all three.

    Raises TypeError or ValueError if a concrete number here is not finite or has the wrong sign: ``value`` >= 0,
    ``t_max`` > 0, 0 < ``decay`` <= 1.

    Source: arXiv:2404.06395.
    """
    decay = _number("decay", decay, positive=True)
    if not is_traced(decay) and decay > 1:
        raise ValueError(f"decay must be at most 1, the whole of t_max, got {decay:g}")
    return WSD(_number("value", value, nonnegative=True), _number("t_max", t_max, positive=True), decay)


def warmup(schedule, t_warmup) -> Schedule:
    """``schedule`` (a number or a function of t) times a linear ramp from 0 to 1 over ``t_warmup``.

    Raises TypeError or ValueError if ``schedule`` is neither a number >= 0 nor a function of t that JAX can trace,
    or ``t_warmup`` is not > 0.
    """
    return Warmup(LearningRate.single(schedule, "schedule").schedule, _number("t_warmup", t_warmup, positive=True))


def of_steps(schedule, d) -> Schedule:
    """eta(t) = schedule(t d): what a schedule that counts steps is in t = steps/d.

    Args:
        schedule: a function of the number of steps k = 0, 1, ... that JAX can trace, such as optax's schedules, or a
            (k,) array of one learning rate for each step (straight between steps, the last one beyond them). As
            everywhere here the rates are eta, of which a step takes eta/d: rates of an optax optimizer are eta/d, and
            become eta when multiplied by d.
        d: dimension of the problem that it is for.

    Raises TypeError or ValueError if ``schedule`` is neither, has rates that are not finite and >= 0, or ``d`` is not
    an integer > 0.

    >>> import optax
    >>> import sdelimit as sl
    >>> eta = sl.schedules.of_steps(optax.cosine_decay_schedule(0.5, decay_steps=4000), d=500)
    >>> [round(float(eta(t)), 4) for t in (0.0, 4.0, 8.0)]
    [0.5, 0.25, 0.0]
    """
    d = check.integer("d", d, minimum=1)
    if not callable(schedule):
        rates = check.array("schedule", schedule, ndim=1)
        if np.any(rates < 0):
            raise ValueError(f"schedule must be >= 0, got a smallest value of {rates.min():g}")
        return OfSteps(Rates(check.read_only(rates)), float(d))
    return OfSteps(_function("schedule", schedule)[0], float(d))


WHOLE = 1e-6
"""A number of steps this near to an integer is that integer."""
MANY = 32
"""An array of at least so many learning rates, one for each step of the horizon, is not a batch of them."""
STILL, MOVING, FAINT = 0.02, 0.5, 0.1
"""A schedule that changes by less than the first fraction of its size up to t and by more than the second up to t d, or
is below the third of what it settles at by t d, seems to be written in steps."""
BEND = 0.02
"""A change of slope from one step to the next by more than this fraction of the largest rate is a corner."""
SCAN, SEARCH = 2**12, 2**15
"""Points at which a learning rate that changes is evaluated before solving, and where its jumps must be looked for."""
PART = 0.25
"""Steps end where a function has gone up and down by so much of its largest value, so that they miss no part of it."""
BREAKS = 2**14
"""So many ends of steps at most; where more would be needed, steps are short instead."""
MOVED = 1e-4
"""Points twice as fine must not move the integrals of eta and eta^2 by more than this fraction of them."""


class Scan(NamedTuple):
    """eta at times close enough to show how large it gets, and where it jumps.

    Attributes:
        t: (k,) times from 0 to the horizon; 0 alone for a constant learning rate.
        eta: (k,) eta there, (m, 1) for m constants; traced by JAX if the learning rate is.
        breaks: (b,) times at which the steps of a solver must end, increasing.
    """

    t: Float[np.ndarray, " k"]
    eta: Float[np.ndarray, "*m k"]
    breaks: Float[np.ndarray, " b"]

    @property
    def is_constant(self) -> bool:
        return self.t.size == 1


@dataclass(frozen=True, eq=False)
class LearningRate:
    """The ``lr`` argument of a public function, or another function of t, checked by ``of`` or ``single``.

    Attributes:
        schedule: eta as a function of one t, which JAX can trace; its numbers are the leaves of a pytree.
        name: the argument that it came as, for messages.
        count: m for m constants solved together, (m,) values of a ``Constant``; None for one learning rate.
        traced: whether JAX is tracing it: its numbers are not known here.
    """

    schedule: Callable
    name: str
    count: int | None
    traced: bool

    positive: ClassVar[bool] = False
    """Whether 0 is refused."""

    @classmethod
    def of(cls, lr, name: str = "lr") -> Self:
        """A number, a function of t, or a (m,) array of numbers.

        Raises TypeError or ValueError, naming the argument, for anything else, for numbers that are not finite and
        >= 0, and for a function that JAX cannot trace or whose value is not a real number.
        """
        traced = not callable(lr) and is_traced(lr)
        if callable(lr) or not (traced or isinstance(lr, (list, tuple)) or np.ndim(lr)):
            return cls.single(lr, name)
        if not traced:
            values = check.array(name, lr, ndim=1)
            if np.any(values < 0):
                raise ValueError(f"{name} must be >= 0, got a smallest value of {values.min():g}")
            return cls(Constant(check.read_only(values)), name, values.size, traced=False)
        value = lr if hasattr(lr, "ndim") else jnp.stack([jnp.asarray(x) for x in lr])
        if value.ndim > 1:
            raise ValueError(f"{name} must be a number or a (m,) array, got shape {value.shape}")
        return cls(Constant(value), name, value.size if value.ndim else None, traced=True)

    @classmethod
    def single(cls, lr, name: str = "lr") -> Self:
        """A number or a function of t. Raises as ``of``, and TypeError for an array."""
        if callable(lr):
            if counts_steps(lr):
                raise TypeError(
                    f"{name} must be a function of t = steps/d, got an optax schedule, which is one of the number of "
                    f"steps: write {name}=sl.schedules.of_steps(schedule, d)"
                )
            schedule, traced = _function(name, lr)
            return cls(schedule, name, None, traced)
        return cls(Constant(_number(name, lr, nonnegative=True)), name, None, is_traced(lr))

    def require_concrete(self, where: str) -> Self:
        """Itself. Raises TypeError if JAX is tracing it."""
        if self.traced:
            raise TypeError(
                f"{self.name} must be concrete in {where}, which JAX cannot differentiate as it can solve_ode; "
                "got a traced value"
            )
        return self

    def require_one_concrete(self, where: str) -> Self:
        """Itself. Raises TypeError if it is several learning rates, or JAX is tracing it."""
        if self.traced or self.count is not None:
            raise TypeError(
                f"{self.name} must be one concrete number or function of t in {where}; "
                f"call it once for each {self.name}"
            )
        return self

    def at(self, t: Float[np.ndarray, " n"]) -> Float[np.ndarray, "*m n"]:
        """eta at the times ``t`` in float64, (n,), or (m, n) for m learning rates; a JAX array if it is traced.

        Raises ValueError if one of them is negative or not finite.
        """
        constant = isinstance(self.schedule, Constant)
        if constant and not self.traced:
            eta = np.repeat(np.asarray(self.schedule.value, np.float64)[..., None], t.size, axis=-1)
            return check.read_only(eta)
        with x64():
            eta = jax.vmap(self.schedule, out_axes=-1)(jnp.asarray(t, jnp.float64))
        if self.traced:
            return eta
        eta = np.asarray(eta, np.float64)
        bad = ~np.isfinite(eta) | (eta <= 0 if self.positive else eta < 0)
        if np.any(bad):
            first, least = int(np.argmax(bad)), ">" if self.positive else ">="
            raise ValueError(
                f"{self.name} must be finite and {least} 0 at every t, got {eta[first]:g} at t = {t[first]:g}"
            )
        return eta

    def require_times(self, end: float, d: int) -> tuple[str, ...]:
        """Reasons to think that it is not what it is read as up to t = ``end`` in dimension ``d``: for ``.warnings``.

        A function that hardly changes up to ``end``, but would up to as many steps, counts steps. Raises ValueError
        for an array of one learning rate for each step, which would be read as so many problems.
        """
        steps = round(end * d)
        if self.count is not None and self.count >= MANY and self.count in (steps, steps + 1):
            raise ValueError(
                f"{self.name} has as many entries, {self.count}, as the horizon t = {end:g} has steps in d = {d}; "
                "an array is a batch of constant learning rates, each solved by itself. One rate for each step is "
                f"{self.name}=sl.schedules.of_steps(rates, d={d})"
            )
        if self.traced or isinstance(self.schedule, (Constant, OfSteps)):
            return ()
        near, far = self._values(end), self._values(end * d)
        largest, peak = near.max(initial=0.0), far.max(initial=0.0)
        # What still grows at the far end is a growing function of t.
        settled = peak > 0 and self._values(end * d / 2).max(initial=0.0) > (1 - STILL) * peak
        if largest - near.min(initial=largest) < STILL * largest and peak - far.min(initial=peak) > MOVING * peak:
            seen = f"hardly changes up to t = {end:g}, but would by {1 - far.min() / peak:.0%} up to {end * d:g}"
        elif settled and largest < FAINT * peak:
            seen = f"reaches {largest:.3g} up to t = {end:g}, but would {peak:.3g} up to {end * d:g}"
        else:
            return ()
        return (
            f"{self.name} {seen}, the number of steps: it is read as a function of t = steps/d; if it counts steps, "
            f"write {self.name}=sl.schedules.of_steps(schedule, d={d})",
        )

    def _values(self, end):
        """The finite values of eta on [0, end], on a grid that is fine at both ends."""
        t = end * np.unique(np.concatenate([np.linspace(0.0, 1.0, 257), np.geomspace(1e-4, 1.0, 65)]))
        with x64():
            eta = np.asarray(jax.vmap(self.schedule)(jnp.asarray(t, jnp.float64)), np.float64)
        return eta[np.isfinite(eta)]

    @property
    def initial(self) -> Float[np.ndarray, "*m"]:
        """eta at t = 0."""
        return self.at(np.zeros(1))[..., 0]

    def scan(self, times: Float[np.ndarray, " n"]) -> Scan:
        """eta on a fine grid from 0 to times[-1] that holds ``times``, and where it jumps. Raises as ``at``.

        A schedule that knows its corners says where. Those of any other function are found where it changes between
        neighbours of a grid, by bisection; what it does between two of them and undoes is not seen (``unresolved``).
        """
        if isinstance(self.schedule, Constant):
            # A traced value as it is: what is computed from it would become part of the program that JAX traces.
            eta = self.schedule.value if self.traced else self.at(np.zeros(1))
            return Scan(np.zeros(1), eta, np.zeros(0))
        end = times[-1]
        if self.traced:
            t = np.unique(np.concatenate([np.linspace(0.0, end, SCAN), times]))
            return Scan(t, self._on(t), np.zeros(0))
        corners, complete = corners_of(self.schedule, end)
        corners = corners[(corners > 0) & (corners < end)]
        t = np.unique(np.concatenate([np.linspace(0.0, end, SCAN if complete else SEARCH + 1), times, corners]))
        eta = self._on(t)
        if complete:
            return Scan(t, eta, np.unique(corners))
        jumps = self._jumps(t, eta)
        grid = np.unique(np.concatenate([t, jumps, np.nextafter(jumps, 0.0)]))
        breaks = np.unique(np.concatenate([corners, jumps, _parts(grid, self._on(grid), jumps)]))
        return Scan(grid, self._on(grid), breaks[(breaks > np.finfo(float).eps * end) & (breaks < end)])

    def _on(self, t):
        """``at``, padded so that grids of nearby sizes share compiled code."""
        return self.at(np.pad(t, (0, -t.size % SCAN), mode="edge"))[..., : t.size]

    def _jumps(self, t, eta):
        """The first time behind every jump that shows between neighbours of ``t``, to rounding."""
        change = np.abs(np.diff(eta))
        at = np.flatnonzero(change > JUMP * np.maximum(eta[1:], eta[:-1]))
        at = at[np.argsort(-change[at])[:BREAKS]]
        low, high, below, above = t[at], t[at + 1], eta[at], eta[at + 1]
        for _ in range(60):
            middle = (low + high) / 2
            value = self._on(middle) if at.size else middle
            first = np.abs(value - below) >= np.abs(above - value)
            low, below = np.where(first, low, middle), np.where(first, below, value)
            high, above = np.where(first, middle, high), np.where(first, value, above)
        real = np.abs(above - below) > change[at] / 2
        return np.unique(high[real])

    def unresolved(self, end: float) -> tuple[str, ...]:
        """For ``.warnings`` of a solver that takes steps of its own up to t = ``end``: that it may miss parts of it."""
        if self.traced or isinstance(self.schedule, Constant) or corners_of(self.schedule, end).complete:
            return ()
        t, eta, _ = self.scan(np.array([end]))
        both = np.sort(np.concatenate([t, (t[1:] + t[:-1]) / 2]))
        finer = self._on(both)
        moved = max(
            abs(np.trapezoid(finer**p, both) / max(np.trapezoid(eta**p, t), np.finfo(float).tiny) - 1) for p in (1, 2)
        )
        if moved <= MOVED:
            return ()
        return (
            f"{self.name} changes within {end / SEARCH:.2g}, too fast to be followed: points twice as close move the "
            f"integral of it or of its square by {moved:.2g} of itself; sl.schedules.piecewise_constant knows its "
            "boundaries",
        )

    def doubts(self, end: float, d: int) -> tuple[str, ...]:
        """``require_times`` and ``unresolved``."""
        return *self.require_times(end, d), *self.unresolved(end)


JUMP = 0.02
"""A change from one point to the next by more than this fraction of the larger value may be a jump."""


def _parts(t, eta, jumps):
    """Times between which ``eta`` changes by at most ``PART`` of its largest value, where it does not jump."""
    change = np.abs(np.diff(eta))
    change[np.isin(t[1:], jumps)] = 0.0
    done = np.concatenate([[0.0], np.cumsum(change)]) / max(eta.max(), np.finfo(float).tiny) / PART
    crossing = np.flatnonzero(np.diff(np.floor(done)))
    steep = crossing[np.diff(done)[crossing] > 1]
    return np.concatenate([t[crossing + 1], t[steep]])


class PositiveFunction(LearningRate):
    """A number of a rule that is a function of t and > 0, such as a clipping threshold."""

    positive = True


def counts_steps(function) -> bool:
    """Whether it is one of optax's schedules, which are functions of the number of steps."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    module, name = (getattr(function, key, None) or "" for key in ("__module__", "__qualname__"))
    return module.startswith("optax.") and "schedule" in module and not name.startswith("constant_schedule.")


def _function(name, lr):
    """(a function of t as it is to be compiled, whether JAX is tracing what it computes with)."""
    with x64():
        try:
            # Anew: JAX keeps what it traced of a function, which may read variables that change.
            operations, out = jax.make_jaxpr(lambda t: lr(t), return_shape=True)(jax.ShapeDtypeStruct((), jnp.float64))
        except Exception as error:
            raise TypeError(
                f"{name} must be a number or a function of t that JAX can trace (jax.numpy, no Python branches on t); "
                f"tracing it raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", type(out).__name__)
        raise TypeError(f"{name} must return a real number, got shape {shape} and dtype {dtype}")
    traced = is_traced((lr, operations.consts))
    try:
        # Its numbers are traced; the rest names the compiled solver.
        hash(tuple(jax.tree.leaves(eqx.partition(lr, is_number)[1])))
    except TypeError:
        return lambda t: lr(t), traced
    return lr, traced


def _number(name, value, **bounds):
    return value if is_traced(value) else check.real(name, value, **bounds)
