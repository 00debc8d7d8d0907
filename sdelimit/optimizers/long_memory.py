"""Adam whose second moment remembers a number of steps comparable to d."""

import optax

from sdelimit import _validation as check
from sdelimit.limits.long_memory import adapted_adam_limit, long_memory_adam_limit
from sdelimit.optimizers.base import Optimizer, kept


@kept
def long_memory_adam(b1: float, b2: float) -> Optimizer:
    """Adam (eps = 0) described by its long-memory limit, in which c2 = d (1 - b2) stays fixed as d grows.

    The same rule as ``adam(b1, b2)``, for b2 so close to one that 1 / (1 - b2) is comparable to d (0.999 for d of
    a thousand). Then v_i / sigma_i^2 follows the risk with a lag, dV/dt = c2 (2P(R) - V), and with the bias
    correction Vhat = V / (1 - exp(-c2 t)) the limit has M = D^-1, phi = 1 / sqrt(Vhat) and noise
    (2P / Vhat) Khat (theory: section 11; arXiv:1412.6980). Needs label noise of finite variance; where its
    fourth moment is infinite the limit is reached slowly (4% off at d = 1024 for Student-t(3)).
    0 <= ``b1`` < 1 and 0 < ``b2`` < 1.

    Raises TypeError or ValueError if they do not lie there.

    >>> import sdelimit as sl
    >>> sl.long_memory_adam(0.9, 0.999).hyperparameters
    {'b1': 0.9, 'b2': 0.999}
    """
    b1, b2 = check.real("b1", b1, nonnegative=True), check.real("b2", b2, positive=True)
    for name, value in (("b1", b1), ("b2", b2)):
        if value >= 1:
            raise ValueError(f"{name} must be < 1, got {value:g}")

    def problem_limit(problem, batch_size):
        return long_memory_adam_limit(problem.d * (1 - b2), problem.noise, batch_size)

    return Optimizer(
        "long_memory_adam",
        optax.scale_by_adam(b1=b1, b2=b2, eps=0.0),
        adapted_adam_limit,
        {"b1": b1, "b2": b2},
        problem_limit,
        1 / (1 - b1),
    )
