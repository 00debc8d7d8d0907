"""One adaptive solve of any ``System``, and where its steps must be short."""

from typing import NamedTuple, Self

import diffrax
import numpy as np
from jaxtyping import Float

from sdelimit.numerics.jit import by_computation_in, jit
from sdelimit.numerics.precision import is_traced
from sdelimit.ode.cacheable import diffeqsolve
from sdelimit.ode.system import System
from sdelimit.schedules import BREAKS, SCAN, LearningRate, Scan

MAX_STEPS = 100_000


class Stepping(NamedTuple):
    """Where steps must not be long: what the error estimate cannot know of eta(t) and other functions of t.

    Attributes:
        longest: longest step; None for a constant learning rate.
        breaks: times at which a step must end, infinity where unused; None without any.
    """

    longest: float | None
    breaks: Float[np.ndarray, " k"] | None

    @classmethod
    def along(cls, *scans: Scan) -> Self:
        """Steps of at most 1% of the horizon, that end where a function jumps; where too often, short steps."""
        changing = [scan for scan in scans if not scan.is_constant]
        if not changing:
            return cls(None, None)
        end = changing[0].t[-1]
        breaks = np.unique(np.concatenate([scan.breaks for scan in changing]))
        if breaks.size > BREAKS:
            return cls(end / SCAN, None)
        if not breaks.size:
            return cls(end / 100, None)
        size = next(size for size in SHARED_BREAKS if size >= breaks.size)
        return cls(end / 100, np.pad(breaks, (0, size - breaks.size), constant_values=np.inf))


SHARED_BREAKS = (64, 1024, BREAKS)
"""Ends of steps are padded to one of these numbers; see ``shared_size``."""


def integrate(lr: LearningRate, system: System, stepping: Stepping, save_modes) -> dict:
    """One curve, by an adaptive method, as the arrays that make a ``RiskCurve``; NumPy's unless JAX is tracing.

    For m learning rates m curves: the arrays have a leading axis.
    """
    n, d = system.times.size, system.decay.size
    several = lr.count is not None
    schedule, solve = by_computation_in(lr.schedule), _integrate_many if several else _integrate
    system = system.with_shared_shapes()
    out = solve(schedule, system, stepping, save_modes, differentiable=lr.traced or is_traced((schedule, system)))
    if not is_traced(out):
        out = {name: np.asarray(value) for name, value in out.items()}

    def unpad(name, value):
        if name in ENDS:
            return value
        value = value[:, :n] if several else value[:n]
        return value[..., :d] if name == "modes" and save_modes else value

    return {name: unpad(name, value) for name, value in out.items()}


ENDS = ("end_time", "end_risk", "finished", "blown_up")
"""What ``integrate`` gives that is not along the times."""


@jit
def _integrate(schedule, system, stepping, save_modes, differentiable):
    def observe(t, y, args):
        eta = schedule(t) + 0.0 * t
        return {"risk": system.risk(y), "lr": eta, **system.observe(eta, y, save_modes)}

    end_of = diffrax.SubSaveAt(t1=True, fn=lambda t, y, args: system.risk(y))
    saved = diffrax.SubSaveAt(ts=system.times, fn=observe), end_of
    solution = _solution(schedule, system, stepping, saved, differentiable)
    out, end = solution.ys
    return {
        **out,
        "end_time": solution.ts[1][-1],
        "end_risk": end[-1],
        "finished": solution.result == diffrax.RESULTS.successful,
        "blown_up": solution.result == diffrax.RESULTS.event_occurred,
    }


def _solution(schedule, system, stepping, saved, differentiable):
    """What diffrax finds, with the parts ``saved``; a program that nothing differentiates is made in half the time."""
    limits = system.tolerances
    controller = diffrax.PIDController(rtol=limits.rtol, atol=limits.atol, dtmax=stepping.longest)
    if stepping.breaks is not None:
        controller = diffrax.ClipStepSizeController(controller, jump_ts=stepping.breaks)
    return diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: system.field(schedule(t), y)),
        system.solver(),
        t0=0.0,
        t1=system.times[-1],
        dt0=None,
        y0=system.initial(),
        args=(schedule, system),
        saveat=diffrax.SaveAt(subs=list(saved)),
        adjoint=diffrax.RecursiveCheckpointAdjoint() if differentiable else diffrax.ForwardMode(),
        stepsize_controller=controller,
        event=diffrax.Event(lambda t, y, args, **_: system.diverged(schedule(t), t, y)),
        max_steps=MAX_STEPS,
        throw=False,
    )


@jit
def states(schedule, system, stepping):
    """The states of one curve at the system's times, a leading axis; infinite from a divergence on."""
    return _solution(schedule, system, stepping, [diffrax.SubSaveAt(ts=system.times)], False).ys[0]


@jit
def _integrate_many(schedule, system, stepping, save_modes, differentiable):
    return system.many(lambda one: _integrate.__wrapped__(one, system, stepping, save_modes, differentiable), schedule)
