"""Stochastic gradient descent."""

import optax

from sdelimit.limits.exact.sgd import sgd_limit
from sdelimit.numerics.memo import memoized
from sdelimit.optimizers.formula import GradientUpdate
from sdelimit.optimizers.optimizer import Optimizer, of_noise


@memoized
def sgd() -> Optimizer:
    """SGD: u = g. The limit has phi = 1 and noise 2P(R) K / b (theory: section 1; arXiv:2308.08977).

    Needs label noise of finite variance; stable for eta < 2d / tr K.

    >>> import sdelimit as sl
    >>> sl.sgd().name
    'sgd'
    """
    transform = optax.identity()
    return Optimizer("sgd", transform, of_noise(sgd_limit), needs_variance=True, formula=GradientUpdate(transform))
