"""Which equations belong to a limit that is not a plain ``Limit``."""

from sdelimit import ode_matrix, ode_memory, sde_matrix, sde_memory
from sdelimit.limits.long_memory import MemoryLimit
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.system import System


def special_system(problem, limit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``."""
    build = _choose(limit, ode_matrix.scale_dependent_system, ode_memory.memory_system)
    return build(problem, limit, times, rtol, atol, eta)


def special_stepper(problem, limit, theory):
    """``(advance, state, fastest)`` for the SDE, as ``sde._run`` takes them; ``theory`` is the mean risk curve."""
    build = _choose(limit, sde_matrix.scale_dependent_stepper, sde_memory.memory_stepper)
    return build(problem, limit, theory)


def _choose(limit, scale_dependent, memory):
    if isinstance(limit, ScaleDependentLimit):
        return scale_dependent
    if isinstance(limit, MemoryLimit):
        return memory
    raise TypeError(f"limit must be a Limit, a MemoryLimit or a ScaleDependentLimit, got {type(limit).__name__}")
