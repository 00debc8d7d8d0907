"""Learning-rate schedules eta(t) of continuous time t = k/d.

Each is callable on a JAX scalar and a pytree of its numbers, so the ODE can be differentiated with
respect to them and another set of numbers reuses the compiled solver. Any JAX-traceable function of t
does as well.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.jit import is_number
from sdelimit.numerics.precision import is_traced, x64
from sdelimit.support import arguments as check

__all__ = ["constant", "cosine", "inverse_sqrt", "linear", "log_linear", "piecewise_constant", "warmup"]


class Schedule(eqx.Module):
    """eta(t)."""

    def __call__(self, t: Float[Array, ""]) -> Float[Array, ""]:
        raise NotImplementedError


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


class Linear(Schedule):
    start: float | Array
    end: float | Array
    t_max: float | Array

    def __call__(self, t):
        return self.start + (self.end - self.start) * jnp.clip(t / self.t_max, 0.0, 1.0)


class PiecewiseConstant(Schedule):
    boundaries: Float[Array, " k"]
    values: Float[Array, " k+1"]

    def __call__(self, t):
        return jnp.asarray(self.values)[jnp.searchsorted(jnp.asarray(self.boundaries), t, side="right")]


class LogLinear(Schedule):
    times: Float[Array, " k"]
    log_values: Float[Array, " k"]

    def __call__(self, t):
        return jnp.exp(jnp.interp(t, jnp.asarray(self.times), jnp.asarray(self.log_values)))


class InverseSqrt(Schedule):
    start: float | Array
    t_scale: float | Array

    def __call__(self, t):
        return self.start / jnp.sqrt(1 + t / self.t_scale)


class Warmup(Schedule):
    schedule: Callable
    t_warmup: float | Array

    def __call__(self, t):
        return jnp.minimum(t / self.t_warmup, 1.0) * self.schedule(t)


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


def warmup(schedule, t_warmup) -> Schedule:
    """``schedule`` (a number or a function of t) times a linear ramp from 0 to 1 over ``t_warmup``.

    Raises TypeError or ValueError if ``schedule`` is neither a number >= 0 nor a function of t that JAX can trace,
    or ``t_warmup`` is not > 0.
    """
    return Warmup(as_schedule(schedule, "schedule"), _number("t_warmup", t_warmup, positive=True))


def as_schedule(lr, name: str = "lr") -> Callable:
    """A number as a constant schedule; a function of t as it is, after checking that JAX can trace it."""
    if callable(lr):
        with x64():
            try:
                out = jax.eval_shape(lr, jax.ShapeDtypeStruct((), jnp.float64))
            except Exception as error:
                raise _untraceable(name, error) from error
            if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
                shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", type(out).__name__)
                raise TypeError(f"{name} must return a real number, got shape {shape} and dtype {dtype}")
        try:
            # Its numbers are traced; the rest names the compiled solver.
            hash(tuple(jax.tree.leaves(eqx.partition(lr, is_number)[1])))
        except TypeError:
            return lambda t: lr(t)
        return lr
    return Constant(_number(name, lr, nonnegative=True))


def as_schedules(lr):
    """(schedule, False) for a number or function; (schedule with array leaves, True) for an array of numbers."""
    if callable(lr):
        return as_schedule(lr), False
    if is_traced(lr):
        value = lr if hasattr(lr, "ndim") else jnp.stack([jnp.asarray(x) for x in lr])
        if value.ndim > 1:
            raise ValueError(f"lr must be a number or a (m,) array, got shape {value.shape}")
        return Constant(value), value.ndim == 1
    if not isinstance(lr, (list, tuple)) and np.ndim(lr) == 0:
        return as_schedule(lr), False
    values = check.array("lr", lr, ndim=1)
    if np.any(values < 0):
        raise ValueError(f"lr must be >= 0, got a smallest value of {values.min():g}")
    return Constant(values), True


def evaluate(schedule: Callable, t: Float[np.ndarray, " n"], name: str = "lr") -> Float[np.ndarray, " n"]:
    """eta at the times ``t`` in float64; ValueError if one of them is negative or not finite."""
    with x64():
        values = jax.vmap(schedule)(jnp.asarray(t, jnp.float64))
    if is_traced(values):
        return values
    values = np.asarray(values, np.float64)
    bad = ~np.isfinite(values) | (values < 0)
    if np.any(bad):
        first = int(np.argmax(bad))
        raise ValueError(f"{name} must be finite and >= 0 at every t, got {values[first]:g} at t = {t[first]:g}")
    return values


def _number(name, value, **bounds):
    return value if is_traced(value) else check.real(name, value, **bounds)


def _untraceable(name, error):
    return TypeError(
        f"{name} must be a number or a function of t that JAX can trace (jax.numpy, no Python branches on t); "
        f"tracing it raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    )
