"""signSGD: phi(R) = 2 sqrt(2/pi) p_l(0), psi = 1, M = D^-1, N = (2/pi) arcsin(Khat).

Theory: sections 2 and 10; arXiv:2411.12135.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from sdelimit.limits.exact.step_fluctuations import SignFluctuations, sampled_fluctuations
from sdelimit.limits.limit import Limit
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.response import Aside, Correlated
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.precision import evaluate_in_float64


class SignDrift(eqx.Module):
    """phi(R) = (2/pi) E[exp(-eps^2 / (4R))] / sqrt(2R) = 2 sqrt(2/pi) p_l(0)."""

    noise: NoiseLaw

    def __call__(self, R):
        return (2 / jnp.pi) * self.noise.gaussian_factor(1 / (4 * R)) / jnp.sqrt(2 * R)


class GaussianBatchSignDrift(eqx.Module):
    """phi_b(R) = sqrt(2/pi) sqrt(2) Gamma((b+1)/2) / Gamma(b/2) / sqrt(2P), for Gaussian residuals."""

    noise_variance: float
    batch_size: float

    def __call__(self, R):
        b = self.batch_size
        ratio = jnp.exp(gammaln((b + 1) / 2) - gammaln(b / 2))
        return 2 / jnp.sqrt(jnp.pi) * ratio / jnp.sqrt(2 * R + self.noise_variance)


class UnitNoise(eqx.Module):
    """psi(R) = 1."""

    def __call__(self, R):
        return jnp.ones((1,), jnp.asarray(R).dtype)


def sign_limit(noise: NoiseLaw, batch_size: int) -> Limit:
    """Limit of signSGD, for any noise law and batch size."""
    gaussian = isinstance(noise, (NoNoise, Gaussian))
    if batch_size > 1 and not gaussian:
        phi = _batch_drift_table(noise, batch_size)
        log_R = np.arange(-16.0, 16.0, 0.5) + 2 * np.log(noise_scale(noise))
        fluctuations = sampled_fluctuations(np.reciprocal, noise, batch_size, log_R, 2 / np.pi)
    else:
        phi = GaussianBatchSignDrift(noise.second_moment, float(batch_size)) if batch_size > 1 else SignDrift(noise)
        fluctuations = SignFluctuations(phi, noise.second_moment if gaussian else 0.0, float(batch_size))
    correlated = Aside(Correlated(SignedRule(Weights(1.0, 0.0, 0.0)), noise, batch_size))
    return Limit(phi, UnitNoise(), 1, ("arcsin",), fluctuations=fluctuations, correlated=correlated)


def batch_sign_drift(noise: NoiseLaw, batch_size: int, R):
    """phi_b(R) for batch size b >= 2 and any noise, by one-dimensional quadrature.

    phi_b = sqrt(2/pi) (1/s) E[sum_j l_j z_j / sqrt(sum_j l_j^2)] (theory: section 10). Integrating by parts
    in each z_j gives (b-1) sqrt(2/pi) E[(sum_j l_j^2)^(-1/2)], and with
    A^(-1/2) = pi^(-1/2) int_0^inf t^(-1/2) exp(-t A) dt the b residuals separate:

        phi_b = (b-1) sqrt(2)/pi int_0^inf t^(-1/2) (E[exp(-t l^2)])^b dt.

    The trapezoid rule in log t converges geometrically. ``R`` is a positive number or array.
    """
    step = 0.125
    u = jnp.arange(-110.0, 80.0, step)

    def at(R):
        t = jnp.exp(u) / (2 * R)
        variance_ratio = 1 + 2 * t * (2 * R)
        mean_exponential = noise.gaussian_factor(t / variance_ratio) / jnp.sqrt(variance_ratio)
        integral = jnp.sum(jnp.sqrt(t) * mean_exponential**batch_size) * step
        return (batch_size - 1) * jnp.sqrt(2.0) / jnp.pi * integral

    return jax.lax.map(at, R)


def _batch_drift_table(noise, batch_size) -> LogLogTable:
    unit = noise_scale(noise)
    log_R = np.arange(-55.0, 55.05, 0.1)
    values = evaluate_in_float64(lambda R: batch_sign_drift(noise, batch_size, R), unit**2 * np.exp(log_R))
    return LogLogTable(log_R + 2 * np.log(unit), np.log(np.maximum(values, TINY)))
