"""Which equations belong to which kind of limit."""

from sdelimit.limits.limit import Limit, MemoryLimit
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.ode import matrix, memory, modes
from sdelimit.ode.system import System


def risk_system(problem, limit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``."""
    build = _choose(limit, modes.mode_system, matrix.scale_dependent_system, memory.memory_system)
    return build(problem, limit, times, rtol, atol, eta)


def _choose(limit, plain, scale_dependent, memory):
    for kind, choice in ((Limit, plain), (ScaleDependentLimit, scale_dependent), (MemoryLimit, memory)):
        if isinstance(limit, kind):
            return choice
    raise TypeError(f"limit must be a Limit, a MemoryLimit or a ScaleDependentLimit, got {type(limit).__name__}")
