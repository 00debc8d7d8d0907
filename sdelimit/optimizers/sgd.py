"""Stochastic gradient descent, plain and with a memory of past gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from sdelimit.limits.exact.sgd import sgd_limit
from sdelimit.limits.exact.sgd_momentum import dana_limit, momentum_limit
from sdelimit.limits.single_index.momentum import overlap_dana_limit, overlap_momentum_limit
from sdelimit.optimizers.formula import GradientUpdate
from sdelimit.optimizers.named import named
from sdelimit.optimizers.optimizer import ByModel, Optimizer, decay_rate, of_noise, of_scores
from sdelimit.schedules import Constant, LearningRate
from sdelimit.support import arguments as check


@named
def sgd(*, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """SGD: u = g, or with momentum beta u = m, m = beta m + g; Nesterov's u = g + beta m with the new m.

    The limit of plain SGD has phi = 1 and noise 2P(R) K / b (theory: section 1; arXiv:2308.08977). It needs label noise
    of finite variance and is stable for eta < 2d / tr K. With momentum the average of gradients is a second number of
    each mode, however long it is compared with d (theory: section 16). As in ``optax.sgd`` and PyTorch m adds gradients
    up, so that lr acts like lr / (1 - momentum) without momentum.

    Args:
        momentum: beta, in [0, 1).
        nesterov: whether u looks ahead.

    Raises:
        TypeError, ValueError: naming the argument.

    >>> import sdelimit as sl
    >>> sl.sgd().name, sl.sgd(momentum=0.9).name
    ('sgd', 'sgd_momentum')
    >>> problem = sl.LinearRegression(sl.covariance.identity(100))
    >>> round(sl.max_stable_lr(problem, sl.sgd(momentum=0.9)), 6)  # 2 (1 - 0.9)
    0.2
    """
    momentum, nesterov = decay_rate("momentum", momentum), check.flag("nesterov", nesterov)
    if momentum == 0:
        transform = optax.identity()
        limit = of_scores("sgd", of_noise(sgd_limit), None)
        return Optimizer("sgd", transform, limit, needs_variance=True, formula=GradientUpdate(transform))
    name = "sgd_nesterov" if nesterov else "sgd_momentum"
    return momentum_optimizer(name, optax.trace(momentum, nesterov=nesterov), momentum, nesterov)


def momentum_optimizer(name, transform, beta, nesterov=False, scale=1.0, debias=False) -> Optimizer:
    """The optimizer with ``momentum_limit``, which is that of ``transform``."""

    def limit(problem, batch_size):
        return momentum_limit(beta, nesterov, scale, debias, problem, batch_size)

    def single_index(problem, batch_size):
        return overlap_momentum_limit(beta, nesterov, scale, debias, problem, batch_size)

    given = {"momentum": beta, "nesterov": nesterov}
    if scale != 1 or debias:
        given |= {"scale": scale, "debias": debias}
    limit = ByModel(name, limit, single_index)
    return Optimizer(name, transform, limit, given, memory=1 / (1 - beta), needs_variance=True)


@named
def dana(g2, g3, delta, g1=1.0) -> Optimizer:
    """DANA: y = (1 - delta/d) y + g1 g; u = g2 g + (g3/d) y, with the new y.

    A memory of d / delta gradients beside the newest one, with step sizes eta g2 and eta g3 of their own. Each of the
    four is a number >= 0 or a function of t = steps/d that JAX can trace, such as those of ``sl.schedules``:
    ``delta=lambda t: 4 / (1 + t)`` remembers longer and longer. In the limit the memory is a second number of each
    mode (theory: section 16).

    Args:
        g2: weight of the newest gradient.
        g3: weight of the memory.
        delta: rate at which it forgets, per unit of t; less than d.
        g1: weight with which a gradient enters it. Only g1 g3 matters while both are constant.

    Raises:
        TypeError, ValueError: naming the argument.

    >>> import sdelimit as sl
    >>> sl.dana(g2=0.2, g3=1.0, delta=4.0).name
    'dana'
    """
    given = {"g2": g2, "g3": g3, "delta": delta, "g1": g1}
    functions = {name: _coefficient(name, value) for name, value in given.items()}
    schedules = {name: f.schedule for name, f in functions.items()}

    def limit(problem, batch_size):
        return dana_limit(**schedules, problem=problem, batch_size=batch_size)

    def single_index(problem, batch_size):
        return overlap_dana_limit(**schedules, problem=problem, batch_size=batch_size)

    def rule(problem, batch_size):
        return _dana(*schedules.values(), problem.d)

    numbers = {name: f.value for name, f in schedules.items() if isinstance(f, Constant)}
    changing = tuple(f for f in functions.values() if not isinstance(f.schedule, Constant))
    limit = ByModel("dana", limit, single_index)
    return Optimizer("dana", rule, limit, numbers, needs_variance=True, scheduled=changing)


def _coefficient(name, value):
    """A function of t. TypeError or ValueError unless ``value`` is a number >= 0 or a function of t >= 0 at t = 0."""
    checked = LearningRate.single(value, name).require_concrete("dana")
    checked.at(np.zeros(1))
    return checked


class DanaState(NamedTuple):
    """Steps taken and y / d."""

    count: Int[Array, ""]
    memory: Float[Array, "..."]


def _dana(g2, g3, delta, g1, d) -> optax.GradientTransformation:
    def init(params):
        return DanaState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(gradient, state, params=None):
        t = state.count / d
        now, later, rate, into = (f(t) for f in (g2, g3, delta, g1))
        memory = jax.tree.map(lambda y, g: ((1 - rate / d) * y + into / d * g).astype(y.dtype), state.memory, gradient)
        direction = jax.tree.map(lambda y, g: (now * g + later * y).astype(g.dtype), memory, gradient)
        return direction, DanaState(state.count + 1, memory)

    return optax.GradientTransformation(init, update)
