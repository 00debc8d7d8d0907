"""S-Adam: Adam's steps times a scalar that is small where the loss is curved (theory: section 8).

With tau^2 = tr K / d, the difference quotient of the loss of one sample along a random unit direction u_i is

    D_i = (f(theta + h u_i) - f(theta)) / h = l tau n_i + h tau^2 n_i^2 / 2,    n_i ~ N(0, 1),

and rho = Var_i(D_i) / (E_i[D_i^2] + eps) gives the weight w = exp(-brake rho) of the whole step. It depends on the
shared residual only, so with F Adam's direction

    phi = (1/s) E[w_0 dF/dh],    kappa(rho) = sum_m E[w_0 F_0 w_m F'_m] = E[W W'],
    W_s = g_s sum_m a_m w_{s+m} / b_{s+m}.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.noise_kernel import Estimate
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.gradient_histories import estimates, residuals
from sdelimit.limits.sampled.ratio import RatioRule, direction_slope, kernel_products, mean, total_weight
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.floors import TINY_FLOAT32
from sdelimit.numerics.jit import jit


@dataclass(frozen=True)
class SAdamRule(RatioRule):
    """u = exp(-brake rho) F, F a ratio rule with p = 2; ``tau`` = sqrt(tr K / d)."""

    scale_free: ClassVar[bool] = False
    responds: ClassVar[bool] = False
    samples: ClassVar[int] = 500_000

    brake: float
    probe_scale: float
    n_probes: int
    tau: float

    def unit(self, noise: NoiseLaw) -> float:
        """The residual at which the two terms of D_i are comparable, or the noise if that is larger."""
        return max(noise_scale(noise) if noise.second_moment > 0 else 0.0, self.probe_scale * self.tau)

    def estimates(self, noise: NoiseLaw, R, batch_size: int, samples: int, seed: int = 0) -> list[Estimate]:
        """phi(R) and kappa(rho; R) for each ``R``; phi is F's exact drift times a sampled mean weight."""
        R = np.asarray(R, np.float64)
        memory = max(1 / (1 - self.a.decay), 1 / (1 - self.w.decay))
        sampled = estimates(lambda *given: _sample(*given, self), noise, R, batch_size, memory, samples, seed)
        drifts = self.drift(noise, R, batch_size)
        found = []
        for drift, ((kappa, weighted, plain), (kappa_se, difference_se, _)) in zip(drifts, sampled, strict=True):
            mean_weight = weighted / plain
            found.append(Estimate(float(drift * mean_weight), float(drift * difference_se / plain), kappa, kappa_se))
        return found


@jit
def _sample(draws, s, unit, rule):
    """kappa at ``RHO``, and the slope along the drift with and without the weight."""
    right = residuals(draws.z, draws.eps, s, unit)
    left = residuals(-draws.z, draws.eps, s, unit)
    w, w_left = (weight(s * z - draws.eps, draws.key, rule) for z in (draws.z, -draws.z))
    kappa = kernel_products(right.radius, draws, lambda g: total_weight(rule, g, w[:, None]))
    slope, slope_left = (direction_slope(rule, r, draws.xi) for r in (right, left))
    return kappa, mean(w * slope + w_left * slope_left) / 2, mean(slope + slope_left) / 2


def weight(l, key, rule):  # noqa: E741
    """w = exp(-brake rho) for batches of residuals l of shape (b, *n)."""
    n = jax.random.normal(key, (rule.n_probes, *l.shape), jnp.float32)
    D = jnp.mean(rule.tau * l * n + rule.probe_scale * rule.tau**2 * n**2 / 2, axis=1)
    return jnp.exp(-rule.brake * irregularity(D))


def irregularity(D):
    """rho = Var(D) / (E[D^2] + eps) over the first axis, whatever the size of D; eps only guards 0/0."""
    largest = jnp.max(jnp.abs(D), axis=0)
    D = D / jnp.where(largest > 0, largest, 1)
    square = jnp.mean(D**2, axis=0)
    return (square - jnp.mean(D, axis=0) ** 2) / jnp.maximum(square, TINY_FLOAT32)
