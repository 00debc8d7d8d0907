"""The variance of steps along their mean for rules with memory, without sampling (theory: section 17).

A gradient of length L moves delta along v, the direction of the mean step, by T = tau D(L) in all steps together, where
tau = sum_j l_j z_j, and it changes by B(L) what the other gradients of the same histories do, whose steps are divided
by it too. All but a few percent of the long-run variance of T is that of tau D(L) + B(L), a function of one batch:

    gamma = Var(alpha D + B / s) - E[D^2 sum_j l_j^2 / V_j],    alpha = sum_j l_j q_j / V_j^(1/2),

for residuals l_j = m_j + V_j^(1/2) q_j. The covariance of steps is kappa(Khat) + gamma v v'. With the Laplace
transforms of limits/sampled/laplace_transform.py, chi_L(t) that of one gradient of length L, chi its mean and eta_L(t)
the part of chi_L that its own direction sees,

    D = k pi^(-1/2) int t^(-1/2) sum_m a_m (eta_L / chi)(t w_m) prod_i chi(t w_i) dt,
    B = k pi^(-1/2) int t^(-1/2) [sum_m f(t w_m) sum_j a_j h(t w_j) - sum_m a_m (f h)(t w_m)] prod_i chi(t w_i) dt,

f = chi_L / chi - 1 and h the mean of tau eta_L / (s chi). So gamma = -phi^2 for signs, and -phi^2 / 2 where the memory
is long and residuals are Gaussian.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator, make_interp_spline

from sdelimit.limits.exact.step_fluctuations import Fluctuation
from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.limits.sampled.laplace_transform import LOW, STEP, lag_sum, residual_transform, with_xi
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.memo import memoized

NODES = np.array([-16.0, -10.0, -7.0, -5.0, -3.5, -2.0, -1.0, 0.0, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0, 16.0])
"""log(2R / noise scale^2) at which gamma is computed where its shape depends on R."""
FINE = 0.25
LENGTHS = 48
"""Lengths of a gradient at which D and B are computed."""
LARGEST = 700.0
"""Exponents beyond it overflow."""


class RelativeSpread(eqx.Module):
    """gamma / phi^2 over log R, constant outside of the table."""

    log_R: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]

    def __call__(self, R: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.interp(jnp.log(R), jnp.asarray(self.log_R), jnp.asarray(self.values))


class ScaledFluctuations(eqx.Module):
    """gamma = phi^2 times a ``RelativeSpread``; steps whose length does not vary for long."""

    phi: eqx.Module
    relative: RelativeSpread

    def __call__(self, R) -> Fluctuation:
        return Fluctuation(self.relative(R) * self.phi(R) ** 2, jnp.zeros_like(R), jnp.zeros_like(R))


@memoized
def relative_spread(rule, noise: NoiseLaw, batch_size: int) -> RelativeSpread:
    """gamma / phi^2 at every risk, of a scale-free ``rule`` that gives its ``weights``."""
    if isinstance(noise, (NoNoise, Gaussian)):  # the residuals have one shape
        return RelativeSpread(np.zeros(1), np.full(1, at_one_risk(rule, NoNoise(), 0.5, batch_size)))
    grid = NODES + 2 * np.log(noise_scale(noise)) - np.log(2)
    values = [at_one_risk(rule, noise, float(np.exp(x)), batch_size) for x in grid]
    fine = np.arange(grid[0], grid[-1] + FINE / 2, FINE)
    return RelativeSpread(fine, PchipInterpolator(grid, values)(fine))


def at_one_risk(rule, noise: NoiseLaw, R: float, batch_size: int) -> float:
    """gamma / phi^2 at one risk."""
    a, w, signs = rule.weights
    transform = residual_transform(noise, batch_size)(R)
    means, variances, q = residual_sample(noise, batch_size)
    root = np.sqrt(2 * R + variances)
    l = means + root * q  # noqa: E741
    log_length = np.log(np.sqrt(np.sum(l**2, axis=1) / (2 * R)))
    nodes = np.linspace(log_length.min(), log_length.max(), LENGTHS)
    effects = _effects(a, w, transform if signs else with_xi(*transform), signs, nodes)
    D, B = (make_interp_spline(nodes, values, k=3)(log_length) for values in effects)
    along = np.sum(l * q / root, axis=1) * D
    gamma = np.var(along + B) - np.mean(D**2 * np.sum((l / root) ** 2, axis=1))
    return float(gamma / np.mean(along) ** 2)


def _effects(a: Weights, w: Weights, transform, signs: bool, log_length: Float[np.ndarray, " n"]):
    """D and B at lengths in units of s, (n,) each, up to one factor; t in units of 1 / s^2."""
    x, log_chi, ratio = transform
    log_chi, ratio = make_interp_spline(x, log_chi, k=5), make_interp_spline(x, ratio, k=5)
    low, high = max(LOW, x[0]), x[-1]
    if w.decay * w.past == 0:  # the gradient alone: int t^(-1/2) eta_L(t) dt
        return np.exp(-log_length), np.zeros(log_length.size)
    stride = int(np.ceil(-np.log(w.decay) / STEP))
    rows = int((high - low) * stride / -np.log(w.decay)) // stride
    y = high + np.log(w.decay) / stride * np.arange(rows * stride)[::-1]
    newest = np.clip(y + np.log(w.first / w.past), low, high)
    # Functions of t w_m at the newest gradient and at the older ones, whose sums over lags are recursions.
    at = [(log_chi(u), ratio(u), u) for u in (newest, y)]

    def weighted(values, before=0.0):
        """sum_m a_m f(t w_m)."""
        return a.first * values[0] + a.past * a.decay * lag_sum(values[1].reshape(rows, stride), a.decay, before)

    def total(values):
        """sum_m f(t w_m) of f that vanish at small t."""
        return values[0] + lag_sum(values[1].reshape(rows, stride), 1.0, 0.0)

    measure = np.exp(total([one for one, _, _ in at]) + y / 2)
    mean = weighted([h for _, h, _ in at], ratio(low) / (1 - a.decay))
    D, B = np.zeros(log_length.size), np.zeros(log_length.size)
    for i, length in enumerate(log_length):
        lone = [_of_one_length(u + 2 * length, signs) for _, _, u in at]
        own = [np.exp(np.clip(eta - one, -LARGEST, LARGEST)) for (_, eta), (one, _, _) in zip(lone, at, strict=True)]
        f = [np.expm1(np.clip(chi - one, -LARGEST, LARGEST)) for (chi, _), (one, _, _) in zip(lone, at, strict=True)]
        D[i] = measure @ weighted(own, 1 / (1 - a.decay))
        B[i] = measure @ (total(f) * mean - weighted([f[j] * at[j][1] for j in range(2)]))
    return D, B


def _of_one_length(log_square, signs):
    """log chi_L and log eta_L at t L^2 = exp(log_square)."""
    if signs:
        log_chi = -np.exp(np.minimum(log_square, LARGEST))
        return log_chi, log_chi
    log_chi = -np.log1p(2 * np.exp(log_square)) / 2
    return log_chi, 3 * log_chi
