"""The SDE steps of a limit on a problem."""

from sdelimit.limits.law import operators_of
from sdelimit.modes.decoupled import noise_coordinates
from sdelimit.sde.aligned import aligned_stepper
from sdelimit.sde.matrix import matrix_stepper
from sdelimit.sde.modes import mode_stepper


def path_stepper(problem, limit, theory, answering=None):
    """``(advance, state, fastest)`` for the SDE around the mean curve ``theory``.

    ``advance(states, keys, index, dt, eta)`` takes a chunk of steps of all paths and gives their states and risks, or
    (delta' K delta / 2, delta' K theta*) for laws that read both overlaps;
    ``state`` is one path's at t = 0; ``fastest`` is the largest decay rate where eta phi = 1. With ``answering``, a
    law and the response of the rule, features may be correlated with the residual.
    """
    if answering is not None:
        law, response = answering
        return aligned_stepper(problem, operators_of(problem, law).law, response, theory)
    operators = operators_of(problem, limit)
    found = noise_coordinates(problem, operators)
    if found is None:
        return matrix_stepper(problem, operators, theory)
    return mode_stepper(problem, operators.law, *found, theory)
