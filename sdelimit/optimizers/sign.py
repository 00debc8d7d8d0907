"""Sign-based methods."""

import functools

import optax

from sdelimit.limits.sign import sign_limit
from sdelimit.optimizers.base import Optimizer


@functools.cache
def sign_sgd() -> Optimizer:
    """signSGD: u = sign(g), entrywise.

    The limit has M = D^-1, phi(R) = 2 sqrt(2/pi) p_l(0) and noise (2/pi) arcsin(Khat) (theory: section 2;
    arXiv:2411.12135). Works under any label noise, of infinite variance too.

    >>> import sdelimit as sl
    >>> sl.sign_sgd().name
    'sign_sgd'
    """
    return Optimizer("sign_sgd", optax.scale_by_sign(), sign_limit)
