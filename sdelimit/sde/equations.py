"""The SDE steps of each kind of limit."""

from sdelimit.ode.equations import _choose
from sdelimit.sde import matrix, memory, modes


def path_stepper(problem, limit, theory):
    """``(advance, state, fastest)`` for the SDE.

    ``advance(states, keys, index, dt, eta)`` takes a chunk of steps of all paths and gives their states and risks;
    ``state`` is one path's at t = 0; ``fastest`` is the largest decay rate where eta phi = 1.
    """
    build = _choose(limit, modes.mode_stepper, matrix.scale_dependent_stepper, memory.memory_stepper)
    return build(problem, limit, theory)
