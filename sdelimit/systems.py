"""Which equations belong to which kind of limit."""

from sdelimit import ode_matrix, ode_memory, ode_modes, sde_matrix, sde_memory, sde_modes
from sdelimit.limits.base import Limit
from sdelimit.limits.long_memory import MemoryLimit
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.system import System


def risk_system(problem, limit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``."""
    build = _choose(limit, ode_modes.mode_system, ode_matrix.scale_dependent_system, ode_memory.memory_system)
    return build(problem, limit, times, rtol, atol, eta)


def path_stepper(problem, limit, theory):
    """``(advance, state, fastest)`` for the SDE.

    ``advance(states, keys, index, dt, eta)`` takes a chunk of steps of all paths and gives their states and risks;
    ``state`` is one path's at t = 0; ``fastest`` is the largest decay rate where eta phi = 1.
    """
    build = _choose(limit, sde_modes.mode_stepper, sde_matrix.scale_dependent_stepper, sde_memory.memory_stepper)
    return build(problem, limit, theory)


def _choose(limit, plain, scale_dependent, memory):
    for kind, choice in ((Limit, plain), (ScaleDependentLimit, scale_dependent), (MemoryLimit, memory)):
        if isinstance(limit, kind):
            return choice
    raise TypeError(f"limit must be a Limit, a MemoryLimit or a ScaleDependentLimit, got {type(limit).__name__}")
