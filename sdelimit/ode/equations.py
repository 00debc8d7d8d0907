"""The risk ODE of a limit on a problem."""

from sdelimit.limits.law import Operators, operators_of
from sdelimit.modes.decoupled import Modes, coordinates
from sdelimit.ode.matrix import matrix_system
from sdelimit.ode.modes import mode_system
from sdelimit.ode.system import System


def risk_system(problem, limit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``."""
    operators = operators_of(problem, limit)
    return system_on(problem, operators, coordinates(problem, operators), times, rtol, atol, eta)


def system_on(problem, operators: Operators, current: Modes | None, times, rtol, atol, eta) -> System:
    """The same in the coordinates ``current`` that decouple it, or where there are none for E[delta delta']."""
    if current is None:
        return matrix_system(problem, operators, times, rtol, atol, eta)
    return mode_system(current, operators.law, problem.d, times, rtol, atol, eta)
