"""Methods that divide by a running average of gradient powers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.limits.exact.long_memory_adam import long_memory_adam_limit, quasi_stationary_adam_limit
from sdelimit.limits.multi_output.law import smallest_output_slope, softmax_law
from sdelimit.limits.residual_law import typical_residual
from sdelimit.limits.sampled.adam_eps import AdamEpsLimit
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.ratio_memory import ratio_memory_limit
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights
from sdelimit.limits.single_index.law import overlap_law, smallest_slope
from sdelimit.noise.gaussian import NoNoise
from sdelimit.optimizers.formula import AdamUpdate, ScaleFreeUpdate
from sdelimit.optimizers.named import named
from sdelimit.optimizers.optimizer import (
    ByModel,
    Optimizer,
    decay_rate,
    of_noise,
    overlap_limit,
    refusal,
    softmax_limit,
)
from sdelimit.support import arguments as check

TINY = 1e-20
"""Stands in for eps = 0 in the rules: no effect on any gradient above it, and 0/0 becomes 0."""
SLOW_STEPS, SLOW_SHARE = 20, 8
"""A second moment is slow if it remembers more steps than this and more than this fraction of d."""
NEGLIGIBLE = 1e-4
"""An eps below so many times the smallest typical gradient is none."""
LOWEST_RISK = 1e-6
"""Without label noise gradients are taken to matter until the risk has fallen by that factor."""


def smallest_gradient(problem, batch_size: int, lowest_risk: float = LOWEST_RISK) -> float:
    """min_i sigma_i times a typical residual at the lowest risk, over sqrt(b)."""
    lowest = lowest_risk * problem.initial_risk if isinstance(problem.noise, NoNoise) else 0.0
    return float(np.min(problem.covariance.std)) * typical_residual(problem.noise, lowest) / np.sqrt(batch_size)


def is_negligible(eps: float, problem, batch_size: int) -> bool:
    """Whether ``eps`` is so far below the gradients of ``problem`` that it changes no direction."""
    return eps <= NEGLIGIBLE * smallest_gradient(problem, batch_size)


@named
def adam(
    b1: float = 0.9, b2: float = 0.99, eps: float = 0.0, memory: str = "auto", bias_correction: bool = True
) -> Optimizer:
    """Adam: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; u = mhat / (sqrt(vhat) + eps).

    The hats are Adam's bias corrections, divisions by 1 - b1^k and 1 - b2^k. For eps = 0 the limit has M = D^-1; phi
    is exact and kappa sampled (theory: section 6). As b2 -> 1 both tend to those of SGD divided by the residual's
    standard deviation, the conjecture of arXiv:2411.12135. For eps > 0 the rule is not scale-free: coordinate i is
    Adam's or SGD's (with u = m / eps) as its gradients are larger or smaller than eps, and the risk ODE is that of a
    d x d matrix unless K is diagonal (theory: section 9). An eps below 1e-4 times the smallest typical gradient
    changes no direction by more than about that fraction, and the limit is that for eps = 0. That gradient is min_i
    sigma_i / sqrt(b) times the label noise's standard deviation (its scale where the variance is infinite), or
    without noise the residual once the risk has fallen by 10^6. A coordinate of zero variance has no gradient at all,
    and eps then always counts.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1), and not 0 unless b1 is.
        eps: added to sqrt(vhat), >= 0.
        memory: which law describes the moments (eps = 0 or negligible). "auto": both memories resolved, of any length
            compared with d and from the first step on (theory: section 17). "fixed": b1 and b2 stay fixed as d grows,
            right if 1/(1-b1), 1/(1-b2) << d, and so for d -> infinity. "long": d (1 - b2) stays fixed and b1
            (theory: section 11), right if 1/(1-b2) is comparable to d and 1/(1-b1) is not.
            What is asked of a limit without reference to a run (effects, stationary risks, schedules that match)
            and features correlated with the residual have "long" for "auto" if 1/(1-b2) > max(20, d/8) and the
            label noise has finite variance, else "fixed".
        bias_correction: whether moments are divided by 1 - b^k. Without, ``memory`` must be "auto", or d infinite.

    Raises:
        ValueError: naming the argument.

    Source: arXiv:1412.6980.

    >>> import sdelimit as sl
    >>> float(sl.limit_coefficients(sl.adam(0.9, 0.99), sl.noise.Gaussian(1.0)).phi(1.5).round(4))
    0.4903
    """
    b1, b2 = _moment_decays(b1, b2)
    eps = check.real("eps", eps, nonnegative=True)
    if eps > check.LARGEST:
        check.scale("eps", eps)
    check.choice("memory", memory, ("auto", "fixed", "long"))
    if memory == "long" and eps > 0:
        raise ValueError(f"memory must be 'auto' or 'fixed' for eps > 0, got 'long' with eps = {eps:g}")
    bias_correction = check.flag("bias_correction", bias_correction)
    if not bias_correction and (memory != "auto" or eps > 0):
        raise ValueError(f"bias_correction must be True for memory={memory!r}, eps={eps:g}, got False")
    make = optax.scale_by_adam if bias_correction else scale_by_uncorrected_adam
    transform = make(b1=b1, b2=b2, eps=eps or TINY)
    rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)
    scale_free_limit = of_noise(tabulated_limit, rule)

    def limit(problem, batch_size):
        if not is_negligible(eps, problem, batch_size):
            return AdamEpsLimit(b1, b2, eps, problem.noise, batch_size)
        finite = np.isfinite(problem.noise.second_moment)
        slow = 1 / (1 - b2) > max(SLOW_STEPS, problem.d / SLOW_SHARE) and finite
        if np.isfinite(problem.d) and (memory == "long" or (memory == "auto" and slow)):
            short = long_memory_adam_limit(problem.d * (1 - b2), problem.noise, batch_size)
        else:
            short = scale_free_limit(problem, batch_size)
        if memory != "auto" or np.isinf(problem.d):
            return short
        start = partial(_adam_start if bias_correction else _uncorrected_adam_start, b1=b1, b2=b2)
        return ratio_memory_limit(rule, start, problem, batch_size, short)

    def with_small_eps(law, smallest):
        """(problem, batch_size) -> ``law`` of the rule where eps is negligible beside gradients of the ``smallest``."""

        def limit_on_problem(problem, batch_size):
            if memory == "long":
                raise refusal("adam with memory='long'", problem)
            if eps > 0 and eps > NEGLIGIBLE * np.min(problem.covariance.std) * smallest(problem, batch_size):
                raise refusal(f"adam with eps = {eps:g}", problem)
            return law(rule, problem, batch_size)

        return limit_on_problem

    settings = {"b1": b1, "b2": b2, "eps": eps, "memory": memory}
    if not bias_correction:
        settings["bias_correction"] = False
    formula = AdamUpdate(transform, b1=b1, b2=b2, eps=eps or TINY, scale_free=eps == 0)
    if not bias_correction:
        formula = ScaleFreeUpdate(transform)
    return Optimizer(
        "adam",
        transform,
        ByModel(
            "adam",
            limit,
            with_small_eps(overlap_law, smallest_slope),
            with_small_eps(softmax_law, smallest_output_slope),
        ),
        settings,
        memory=1 / (1 - b1),
        size_memory=1 / (1 - b2),
        formula=formula,
    )


@named
def adamw(
    b1: float = 0.9, b2: float = 0.999, eps: float = 0.0, weight_decay: float = 1e-2, memory: str = "auto"
) -> Optimizer:
    """AdamW: theta <- theta - (eta/d) (u + omega theta) with Adam's u; ``adam(...).with_weight_decay(omega)``.

    Args:
        b1, b2, eps, memory: as of ``adam``.
        weight_decay: omega >= 0.

    Raises:
        TypeError, ValueError: naming the argument.

    Source: arXiv:1711.05101.

    >>> import sdelimit as sl
    >>> sl.adamw(weight_decay=0.1).name
    'adamw'
    """
    return adam(b1, b2, eps, memory).with_weight_decay(weight_decay)


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; u = m / (sqrt(v) + eps), as an optax transformation."""

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros

    def update(g, state, params=None):
        del params
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state[0], g)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state[1], g)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), m, v), (m, v)

    return optax.GradientTransformation(init, update)


def _uncorrected_adam_start(k, b1, b2):
    """The same without."""
    return np.full_like(k, 1 - b1), np.full_like(k, b1), np.sqrt(1 - b2**k)


def _adam_start(k, b1, b2):
    """Weights of the newest and of older gradients, and the denominator, after k steps with bias correction."""
    total = 1 - b1**k
    return (1 - b1) / total, b1 / total, np.ones_like(k)


@named
def nadam(b1: float = 0.9, b2: float = 0.99, memory: str = "auto") -> Optimizer:
    """NAdam, as in optax: Adam's moments, u = (b1 mhat + (1-b1) ghat) / sqrt(vhat).

    The limit is Adam's with a_j = (1-b1) 1{j=0} + b1 (1-b1) b1^j (theory: section 6).

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1), and not 0 unless b1 is.
        memory: "auto" or "fixed", as for ``adam``.

    Raises:
        ValueError: naming the argument.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.

    >>> import sdelimit as sl
    >>> float(sl.limit_coefficients(sl.nadam(0.9, 0.99), sl.noise.NoNoise()).phi(0.5).round(4))
    0.9803
    """
    b1, b2 = _moment_decays(b1, b2)
    rule = RatioRule(Weights(1 - b1, b1 * (1 - b1), b1), Weights(0.0, 1 - b2, b2), 2)
    transform = optax.scale_by_adam(b1=b1, b2=b2, eps=TINY, nesterov=True)
    limit = _limit_of(rule, partial(_nadam_start, b1=b1), memory)
    settings = {"b1": b1, "b2": b2} | _unless_auto(memory)
    memories = {"memory": 1 / (1 - b1), "size_memory": 1 / (1 - b2)}
    return Optimizer("nadam", transform, limit, settings, **memories, formula=ScaleFreeUpdate(transform))


def _moment_decays(b1, b2):
    b1, b2 = decay_rate("b1", b1), decay_rate("b2", b2)
    if b1 > 0 and b2 == 0:
        raise ValueError(f"b2 must be > 0 when b1 > 0, got b2 = 0, b1 = {b1:g}: steps m / |g| have no finite variance")
    return b1, b2


@named
def rmsprop(b2: float = 0.9, memory: str = "auto") -> Optimizer:
    """RMSprop: v = b2 v + (1-b2) g^2; u = g / sqrt(vhat).

    vhat = v / (1 - b2^k) is bias-corrected, so that the rule is near its stationary regime from the first step;
    without that the first steps are up to 1/sqrt(1-b2) too long (theory: section 7).

    Args:
        b2: decay of the second moment, in [0, 1).
        memory: "auto" or "fixed", as for ``adam``.

    Raises:
        ValueError: naming the argument.

    Source: Tieleman & Hinton, "Lecture 6.5 - RMSprop", 2012; theory: section 6.

    >>> import sdelimit as sl
    >>> float(sl.limit_coefficients(sl.rmsprop(0.9), sl.noise.NoNoise()).phi(0.5).round(4))
    0.866
    """
    b2 = decay_rate("b2", b2)
    rule = RatioRule(Weights(1.0, 0.0, 0.0), Weights(0.0, 1 - b2, b2), 2)
    transform = optax.scale_by_rms(decay=b2, eps=TINY, eps_in_sqrt=False, bias_correction=True)
    settings = {"b2": b2} | _unless_auto(memory)
    limit, formula = _limit_of(rule, _rmsprop_start, memory), ScaleFreeUpdate(transform)
    return Optimizer("rmsprop", transform, limit, settings, size_memory=1 / (1 - b2), formula=formula)


def _rmsprop_start(k):
    return np.ones_like(k), np.zeros_like(k), np.ones_like(k)


def _nadam_start(k, b1):
    """With the corrections of optax: the average as it will be a step later."""
    later = 1 - b1 ** (k + 1)
    return (1 - b1) * (b1 / later + 1 / (1 - b1**k)), b1**2 / later, np.ones_like(k)


def _s3_start(k, beta, p):
    return np.full_like(k, 1 - beta**2), np.full_like(k, beta**2), (1 - beta ** (k + 1)) ** (1 / p)


def _limit_of(rule: RatioRule, start, memory: str):
    """(problem, batch_size) -> the limit of ``rule``; see ``ratio_memory_limit`` for ``start``."""
    check.choice("memory", memory, ("auto", "fixed"))

    def limit(problem, batch_size):
        if memory == "fixed" or np.isinf(problem.d):
            return tabulated_limit(rule, problem.noise, batch_size)
        return ratio_memory_limit(rule, start, problem, batch_size)

    known = rule.p == 2 and rule.w.now == 0  # on several outputs
    return ByModel("this rule", limit, overlap_limit(rule), softmax_limit(rule) if known else None)


def _unless_auto(memory: str) -> dict:
    """What ``memory`` adds to the settings of a rule."""
    return {} if memory == "auto" else {"memory": memory}


@named
def s3(beta: float = 0.9, p: float = 3.0, memory: str = "auto") -> Optimizer:
    """S3: m = beta m + (1-beta) g; n = beta m + (1-beta) g; v, b likewise with |g|^p; u = n / b^(1/p).

    Every entry of u lies in [-1, 1]. Moments start at zero, without bias correction, as in the paper.

    Args:
        beta: decay of both moments, in [0, 1).
        p: power of the denominator, >= 1.
        memory: "auto" or "fixed", as for ``adam``.

    Raises:
        ValueError: naming the argument.

    Source: arXiv:2507.06464; theory: section 6.

    >>> import sdelimit as sl
    >>> round(float(sl.limit_coefficients(sl.s3(0.9, 3), sl.noise.NoNoise()).phi(0.5)), 2)
    0.74
    """
    beta, p = decay_rate("beta", beta), check.real("p", p)
    if p < 1:
        raise ValueError(f"p must be >= 1, got {p:g}")
    nesterov = Weights(1 - beta, beta * (1 - beta), beta)
    transform = scale_by_s3(beta, p)
    limit = _limit_of(RatioRule(nesterov, nesterov, p), partial(_s3_start, beta=beta, p=p), memory)
    settings, steps = {"beta": beta, "p": p} | _unless_auto(memory), 1 / (1 - beta)
    formula = ScaleFreeUpdate(transform)
    return Optimizer("s3", transform, limit, settings, memory=steps, size_memory=steps, formula=formula)


def scale_by_s3(beta: float, p: float) -> optax.GradientTransformation:
    """The S3 direction n / b^(1/p) as an optax transformation; 0 where all gradients so far are 0.

    The state holds v^(1/p), and powers are those of |g| and v^(1/p) over the larger of the two: p-th powers of
    gradients alone leave floating point, those of 1e4 for p = 10 and of 1e-14 for p = 3 in float32.
    """
    power = int(p) if p == int(p) else p

    def average(mean, new):
        return jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, mean, new)

    def roots(root_v, g):
        """New v^(1/p) and b^(1/p)."""
        size = jnp.maximum(root_v, jnp.abs(g))
        safe = jnp.where(size > 0, size, 1)
        old, new = (root_v / safe) ** power, (jnp.abs(g) / safe) ** power
        v = beta * old + (1 - beta) * new
        return size * v ** (1 / p), size * (beta * v + (1 - beta) * new) ** (1 / p)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros

    def update(g, state, params=None):
        del params
        m = average(state[0], g)
        both = jax.tree.map(roots, state[1], g)
        root_v, root_b = jax.tree.transpose(jax.tree.structure(g), jax.tree.structure((0, 0)), both)
        n = average(m, g)
        direction = jax.tree.map(lambda n, b: jnp.where(b > 0, n / jnp.where(b > 0, b, 1), 0.0), n, root_b)
        return direction, (m, root_v)

    return optax.GradientTransformation(init, update)


@named
def long_memory_adam(b1: float, b2: float) -> Optimizer:
    """Adam (eps = 0) described by its long-memory limit, in which c2 = d (1 - b2) stays fixed as d grows.

    The same rule as ``adam(b1, b2)``, for b2 so close to one that 1 / (1 - b2) is comparable to d (0.999 for d of
    a thousand). Then v_i / sigma_i^2 follows the risk with a lag, dV/dt = c2 (2P(R) - V), and with the bias
    correction Vhat = V / (1 - exp(-c2 t)) the limit has M = D^-1, phi = 1 / sqrt(Vhat) and noise
    (2P / Vhat) Khat (theory: section 11; arXiv:1412.6980). Needs label noise of finite variance; where its
    fourth moment is infinite the limit is reached slowly (4% off at d = 1024 for Student-t(3)).
    For d -> infinity at fixed b2 it is that limit with V = 2P(R). 0 <= ``b1`` < 1 and 0 < ``b2`` < 1.

    Raises TypeError or ValueError if they do not lie there.

    >>> import sdelimit as sl
    >>> sl.long_memory_adam(0.9, 0.999).hyperparameters
    {'b1': 0.9, 'b2': 0.999}
    """
    b1, b2 = check.real("b1", b1, nonnegative=True), check.real("b2", b2, positive=True)
    for name, value in (("b1", b1), ("b2", b2)):
        if value >= 1:
            raise ValueError(f"{name} must be < 1, got {value:g}")
    transform = optax.scale_by_adam(b1=b1, b2=b2, eps=0.0)

    def limit(problem, batch_size):
        if np.isinf(problem.d):
            return quasi_stationary_adam_limit(problem.noise, batch_size)
        return long_memory_adam_limit(problem.d * (1 - b2), problem.noise, batch_size)

    return Optimizer(
        "long_memory_adam",
        transform,
        limit,
        {"b1": b1, "b2": b2},
        memory=1 / (1 - b1),
        formula=AdamUpdate(transform, b1=b1, b2=b2, eps=0.0, scale_free=True),
    )
