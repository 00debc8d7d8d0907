"""Which equations belong to a limit that is not a plain ``Limit``."""

from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.ode_matrix import scale_dependent_system
from sdelimit.system import System


def special_system(problem, limit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``."""
    if isinstance(limit, ScaleDependentLimit):
        return scale_dependent_system(problem, limit, times, rtol, atol, eta)
    raise TypeError(f"limit must be a Limit or ScaleDependentLimit, got {type(limit).__name__}")
