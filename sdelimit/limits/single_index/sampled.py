"""Drift and kernels of rules that no integral gives, from histories drawn (theory: sections 6 and 20).

S3 divides by the p-th root of an average of |g|^p. Histories of Lambda are drawn from its histogram, and with
m(Lambda) = E[l Q | Lambda] a gradient is Lambda xi and moves by m along Q:

    E[F Q] = E[sum_j dF/dg_j m_j],      kappa(rho) = E[W W'],

W the total effect of one gradient. The drift is sampled beside that of the same rule with p = 2, whose drift is
known exactly, on the same histories: their ratio, of vectors in the plane of z and u* as complex numbers, has little
noise and changes slowly with the state.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.gradient_histories import Draws, Residuals, shape_for
from sdelimit.limits.sampled.ratio import RatioRule, direction_slope, kernel_products, mean, total_weight
from sdelimit.limits.single_index import coefficients
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import precision
from sdelimit.problem.state_table import Grid, at_states

SAMPLES = 400_000
"""Gradients drawn at each state, the same random numbers at all."""


class Sampled(NamedTuple):
    """What histories gave at one state.

    Attributes:
        ratio: of the drift to that of the rule with p = 2.
        kappa: (r,) at ``RHO``.
        error: the larger of the standard errors of |ratio| and kappa(1), relative.
    """

    ratio: complex
    kappa: Float[np.ndarray, " r"]
    error: float


class SampledTable(NamedTuple):
    """``Sampled`` at the states of a coarse grid, and between them.

    Attributes:
        grid: the states.
        values: (2 + r, n, a): real and imaginary part of the ratio, and kappa.
        error: the largest.
    """

    grid: Grid
    values: Float[np.ndarray, "v n a"]
    error: float

    def at(self, s, c):
        """The ratio and kappa, (n,) and (r, n), at states (n,)."""
        found = at_states(self.grid, self.values, np.log(s), c)
        return found[0] + 1j * found[1], found[2:]


def is_sampled(rule) -> bool:
    """Whether ``rule`` is one of those."""
    if not isinstance(rule, RatioRule) or rule.a.past * rule.a.decay == rule.w.past * rule.w.decay == 0:
        return False
    return rule.p != 2 or rule.w.now != 0


def sampled_table(rule: RatioRule, grid: Grid, laws) -> SampledTable:
    """The table from the ``laws`` at the states of ``grid``."""
    found = sample(rule, laws)
    rows = [[one.ratio.real, one.ratio.imag, *one.kappa] for one in found]
    values = np.array(rows).T.reshape(2 + RHO.size, grid.log_s.size, grid.c.size)
    return SampledTable(grid, values, max(one.error for one in found))


def sample(rule: RatioRule, laws, samples: int = SAMPLES, seed: int = 0) -> list[Sampled]:
    """Ratios and kernels at each law."""
    memory = max(1 / (1 - rule.a.decay), 1 / (1 - rule.w.decay))
    steps, chains, groups = shape_for(memory, 1, samples)
    values = [[] for _ in laws]
    with precision(np.float32):
        for group in range(groups):
            rng = np.random.default_rng((seed, group))
            uniform = rng.random((steps, chains))
            xi, other = rng.standard_normal((2, steps, chains)).astype(np.float32)
            for kept, law in zip(values, laws, strict=True):
                kept.append([np.asarray(x, np.float64) for x in _sample(rule, *_drawn(law, uniform), xi, other)])
    return [_sampled(*(np.stack(column) for column in zip(*kept, strict=True))) for kept in values]


def _sampled(kappa, drift, reference) -> Sampled:
    """From groups of histories: (g, r), (g, 2), (g, 2)."""
    own, known = (x[:, 0] + 1j * x[:, 1] for x in (drift, reference))
    ratio, groups = own.mean() / known.mean(), len(own)
    size = kappa[:, -1].std(ddof=1) / kappa[:, -1].mean(), np.std(own - ratio * known, ddof=1) / abs(own.mean())
    return Sampled(complex(ratio), kappa.mean(axis=0), float(max(size) / np.sqrt(groups)))


def _drawn(law, uniform):
    """Lambda, E[l z | Lambda] and E[l u* | Lambda] / sd(u*), float32 arrays of the shape of ``uniform``."""
    weight = np.maximum(law.weight, 0.0)
    cumulated = np.cumsum(weight)
    bins = np.minimum(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"), weight.size - 1)
    safe = np.where(weight > 0, weight, 1.0) / cumulated[-1]
    rows = np.sqrt(law.square), law.across / safe, law.along / safe
    return tuple(row.astype(np.float32)[bins] for row in rows)


@jit
def _sample(rule, radius, across, along, xi, other):
    """kappa at ``RHO``, and E[F Q] along both directions of the rule and of that with p = 2."""
    draws = Draws(None, None, xi, other, None)
    kappa = kernel_products(radius, draws, lambda g: total_weight(rule, g))
    known = replace(rule, p=2)
    slopes = [
        jnp.stack([mean(direction_slope(one, Residuals(radius, along_q), xi)) for along_q in (across, along)])
        for one in (rule, known)
    ]
    return kappa, *slopes


def one_time_kernel(rule, law, samples: int = SAMPLES, seed: int = 0) -> Float[np.ndarray, " r"]:
    """E[F F'] of one time at ``RHO``, whatever its unit: exact for signs, else sampled."""
    remembers = isinstance(rule, RatioRule) and (rule.a.past * rule.a.decay or rule.w.past * rule.w.decay)
    if not remembers:
        return 2 / np.pi * np.arcsin(RHO)  # given the law of l, signs of averages too are signs of normal variables
    memory = max(1 / (1 - rule.a.decay), 1 / (1 - rule.w.decay))
    steps, chains, groups = shape_for(memory, 1, samples)
    total = 0.0
    with precision(np.float32):
        for group in range(groups):
            rng = np.random.default_rng((seed, group))
            radius, *_ = _drawn(law, rng.random((steps, chains)))
            xi, other = rng.standard_normal((2, steps, chains)).astype(np.float32)
            total = total + np.asarray(_products(rule, radius, xi, other), np.float64)
    return total / groups


@jit
def _products(rule, radius, xi, other):
    """E[F F'] at ``RHO``."""
    own = rule.direction(radius * xi)
    others = [rule.direction(radius * (rho * xi + np.sqrt(1 - rho**2) * other)) for rho in RHO[1:-1]]
    return jnp.stack([jnp.zeros(()), *(jnp.mean(own * one) for one in others), jnp.mean(own * own)])


def scaled_drifts(rule: RatioRule, laws, ratio) -> Float[np.ndarray, "n 2"]:
    """E[F Q] along z and u* / sd(u*) at each law, from that of p = 2 and the ratio, (n,)."""
    known = np.array([coefficients.drift(replace(rule, p=2), law) for law in laws])
    found = ratio * (known[:, 0] + 1j * known[:, 1])
    return np.stack([found.real, found.imag], axis=1)
