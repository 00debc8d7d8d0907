"""Sign-based methods."""

import numpy as np
import optax

from sdelimit.limits.exact.sign import sign_limit
from sdelimit.limits.sampled.sign_memory import sign_memory_limit
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights
from sdelimit.optimizers.formula import ScaleFreeUpdate, SignUpdate
from sdelimit.optimizers.named import named
from sdelimit.optimizers.optimizer import Optimizer, decay_rate, of_noise, of_scores
from sdelimit.support import arguments as check


@named
def sign_sgd() -> Optimizer:
    """signSGD: u = sign(g), entrywise.

    The limit has M = D^-1, phi(R) = 2 sqrt(2/pi) p_l(0) and noise (2/pi) arcsin(Khat) (theory: section 2;
    arXiv:2411.12135). Works under any label noise, of infinite variance too.

    >>> import sdelimit as sl
    >>> sl.sign_sgd().name
    'sign_sgd'
    """
    transform = optax.scale_by_sign()
    limit = of_scores("sign_sgd", of_noise(sign_limit), SignedRule(Weights(1.0, 0.0, 0.0)))
    return Optimizer("sign_sgd", transform, limit, formula=SignUpdate(transform))


@named
def signum(beta: float = 0.9, memory: str = "auto") -> Optimizer:
    """Signum: m = beta m + g; u = sign(m). Also called signSGD with momentum.

    Args:
        beta: decay of the momentum, in [0, 1); 0 is signSGD.
        memory: which law describes the momentum. "auto": its memory resolved, of any length compared with d and from
            the first step on (theory: section 17). "fixed": beta stays fixed as d grows, right if 1/(1-beta) << d.

    Raises:
        ValueError: naming the argument.

    Source: arXiv:1802.04434; theory: section 6.

    >>> import sdelimit as sl
    >>> float(sl.limit_coefficients(sl.signum(0.9), sl.noise.NoNoise()).phi(0.5).round(4))
    3.5036
    """
    beta = decay_rate("beta", beta)
    rule = SignedRule(Weights(0.0, 1.0, beta))
    transform = optax.chain(optax.trace(beta), optax.scale_by_sign())
    settings = {"beta": beta} | ({} if memory == "auto" else {"memory": memory})
    return Optimizer(
        "signum",
        transform,
        limit_with_memory(rule, memory),
        settings,
        memory=1 / (1 - beta),
        formula=ScaleFreeUpdate(transform),
    )


@named
def lion(b1: float = 0.9, b2: float = 0.99, memory: str = "auto") -> Optimizer:
    """Lion: u = sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g.

    In the limit u = sign(sum_j b_j g_-j) with b_0 = 1-b1 and b_j = b1 (1-b2) b2^(j-1).

    Args:
        b1: weight of the momentum in the direction, in [0, 1).
        b2: decay of the momentum, in (0, 1).
        memory: "auto" or "fixed", as for ``signum``.

    Raises:
        ValueError: naming the argument.

    Source: arXiv:2302.06675; theory: section 6.

    >>> import sdelimit as sl
    >>> float(sl.limit_coefficients(sl.lion(0.9, 0.99), sl.noise.NoNoise()).phi(0.5).round(4))
    8.1602
    """
    b1, b2 = decay_rate("b1", b1), decay_rate("b2", b2)
    if b2 == 0:
        raise ValueError("b2 must lie in (0, 1), got 0")
    older = b1 * (1 - b2) / b2
    rule = SignedRule(Weights(1 - b1 - older, older, b2))
    limit = limit_with_memory(rule, memory)
    settings = {"b1": b1, "b2": b2} | ({} if memory == "auto" else {"memory": memory})
    transform = optax.scale_by_lion(b1=b1, b2=b2)
    return Optimizer("lion", transform, limit, settings, memory=1 / (1 - b2), formula=ScaleFreeUpdate(transform))


def limit_with_memory(rule: SignedRule, memory: str):
    """(problem, batch_size) -> the limit of ``rule``: with its memory resolved where d is finite and it is "auto"."""
    check.choice("memory", memory, ("auto", "fixed"))
    without_memory = of_noise(tabulated_limit, rule)

    def limit(problem, batch_size):
        if memory == "fixed" or np.isinf(problem.d):
            return without_memory(problem, batch_size)
        return sign_memory_limit(rule, problem, batch_size)

    return of_scores("sign of an average", limit, rule)
