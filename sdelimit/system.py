"""What the risk ODEs of all kinds of limits have in common."""

from dataclasses import replace
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit import _validation as check
from sdelimit._jit import jit, pinned
from sdelimit._precision import is_traced

MAX_STEPS = 100_000
SHARED_TIMES = 8
"""Numbers of times are rounded up to a multiple of this."""
BLOW_UP = 1e12


class System(eqx.Module):
    """An autonomous system dy/dt = field(eta(t), y) with a risk; all numbers, so another problem reuses compiled code.

    Attributes:
        decay: (d,) weights lambda_i of the saved energies m_i: R = 1/2 sum_i lambda_i m_i.
        times: (n,) times to evaluate at.
        tolerances: see ``tolerances``.
    """

    decay: eqx.AbstractVar[Float[np.ndarray, " d"]]
    times: eqx.AbstractVar[Float[np.ndarray, " n"]]
    tolerances: eqx.AbstractVar["Tolerances"]

    def initial(self):
        """y at t = 0, a pytree of arrays."""
        raise NotImplementedError

    def field(self, eta, y):
        """dy/dt."""
        raise NotImplementedError

    def risk(self, y) -> Float[Array, ""]:
        """R."""
        raise NotImplementedError

    def observe(self, eta, y, save_modes: bool) -> dict:
        """What a ``RiskCurve`` keeps beside risk and lr: 'modes', 'phi' and 'slope'."""
        raise NotImplementedError

    def solver(self):
        """The diffrax solver; its ``args`` are (schedule, system)."""
        return diffrax.Tsit5()

    def compressed(self, problem) -> "System":
        """A smaller system with the same risk, if there is one; ``problem`` keeps what does not depend on the lr."""
        return self

    def padded(self) -> "System":
        """The same system in a shape that others share, so that they share its compiled code."""
        extra = -self.times.size % SHARED_TIMES
        return replace(self, times=np.pad(self.times, (0, extra), mode="edge")) if extra else self

    def many(self, function, schedules):
        """``function`` over the leading axis of ``schedules``."""
        return jax.vmap(function)(schedules)

    def positive(self, R):
        """R where the coefficients can be evaluated."""
        return jnp.clip(R, self.tolerances.floor, self.tolerances.ceiling)


class Tolerances(eqx.Module):
    """Relative tolerance, absolute tolerance on each share of the risk, smallest and largest risk."""

    rtol: float
    atol: float
    floor: float
    ceiling: float


def tolerances(risk0, noise_risk, d, rtol, atol, eta) -> Tolerances:
    """As ``solve_ode`` promises: atol is 1e-10 times the risk at the start or that of one unit of noise.

    ``noise_risk`` is the risk that noise adds in unit time at eta = 1.
    """
    step = max(largest_rate(eta), 1e-12)
    scale = max(risk0, step**2 * noise_risk, 1e-290)
    atol = 1e-10 * scale if atol is None else check.real("atol", atol, positive=True)
    return Tolerances(rtol, atol / d, 1e-30 * scale, BLOW_UP * scale)


def largest_rate(eta) -> float:
    """The largest learning rate, taken to be 1 where JAX traces it."""
    return 1.0 if is_traced(eta) else float(np.max(eta))


class Stepping(NamedTuple):
    """Where steps must not be long: what the error estimate cannot know of eta(t).

    Attributes:
        longest: longest step; None for a constant learning rate.
        breaks: (BREAKS,) times at which a step must end, infinity where unused; None without any.
    """

    longest: float | None
    breaks: Float[np.ndarray, " k"] | None


BREAKS = 64


def integrate(schedule, system: System, stepping: Stepping, save_modes, batched: bool = False) -> dict:
    """One curve, by an adaptive method, as the arrays that make a ``RiskCurve``; NumPy's unless JAX is tracing.

    ``batched``: one for each entry of the schedule's leading axis.
    """
    n, d = system.times.size, system.decay.size
    schedule = jax.tree.map(lambda leaf: pinned(leaf) if callable(leaf) else leaf, schedule)
    out = (_integrate_many if batched else _integrate)(schedule, system.padded(), stepping, save_modes)
    if not is_traced(out):
        out = {name: np.asarray(value) for name, value in out.items()}

    def unpadded(name, value):
        if name in ENDS:
            return value
        value = value[:, :n] if batched else value[:n]
        return value[..., :d] if name == "modes" and save_modes else value

    return {name: unpadded(name, value) for name, value in out.items()}


ENDS = ("end_time", "end_risk", "finished", "blown_up")
"""What ``integrate`` gives that is not along the times."""


@jit
def _integrate(schedule, system, stepping, save_modes):
    limits = system.tolerances

    def observe(t, y, args):
        eta = schedule(t) + 0.0 * t
        return {"risk": system.risk(y), "lr": eta, **system.observe(eta, y, save_modes)}

    controller = diffrax.PIDController(rtol=limits.rtol, atol=limits.atol, dtmax=stepping.longest)
    if stepping.breaks is not None:
        controller = diffrax.ClipStepSizeController(controller, jump_ts=stepping.breaks)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: system.field(schedule(t), y)),
        system.solver(),
        t0=0.0,
        t1=system.times[-1],
        dt0=None,
        y0=system.initial(),
        args=(schedule, system),
        saveat=diffrax.SaveAt(
            subs=[
                diffrax.SubSaveAt(ts=system.times, fn=observe),
                diffrax.SubSaveAt(t1=True, fn=lambda t, y, args: system.risk(y)),
            ]
        ),
        stepsize_controller=controller,
        event=diffrax.Event(lambda t, y, args, **_: ~(system.risk(y) < limits.ceiling)),
        max_steps=MAX_STEPS,
        throw=False,
    )
    out, end = solution.ys
    return {
        **out,
        "end_time": solution.ts[1][-1],
        "end_risk": end[-1],
        "finished": solution.result == diffrax.RESULTS.successful,
        "blown_up": solution.result == diffrax.RESULTS.event_occurred,
    }


@jit
def _integrate_many(schedule, system, stepping, save_modes):
    return system.many(lambda one: _integrate.__wrapped__(one, system, stepping, save_modes), schedule)
