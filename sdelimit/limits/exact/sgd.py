"""SGD: phi = 1, psi = 2 P(R) / b, M = I, N = K (theory: section 1; arXiv:2308.08977)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.exact.step_fluctuations import sgd_fluctuations
from sdelimit.limits.law import LinearStep
from sdelimit.limits.limit import Limit
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.noise.base import NoiseLaw


class UnitDrift(eqx.Module):
    """phi(R) = 1."""

    def __call__(self, R):
        return jnp.ones_like(R)


class ResidualVariance(eqx.Module):
    """psi(R) = 2 P(R) / b = (2R + E[eps^2]) / b."""

    noise_variance: float
    batch_size: float

    def __call__(self, R):
        return (2 * R + self.noise_variance)[None] / self.batch_size


class Gain(eqx.Module):
    """phi(R) = gain: the effect of a gradient on all updates together."""

    gain: float

    def __call__(self, R):
        return self.gain * jnp.ones_like(R)


class AmplifiedVariance(eqx.Module):
    """psi(R) = gain^2 2 P(R) / b."""

    gain: float
    variance: ResidualVariance

    def __call__(self, R):
        return self.gain**2 * self.variance(R)


class GradientLimit(Limit):
    """The limit of steps along the gradient of a batch."""

    batch_size: int = eqx.field(static=True, default=1)

    @property
    def gradient_batch(self):
        # Not of a limit that was made from this one by putting other coefficients in.
        own = type(self.phi) is UnitDrift and type(self.psi) is ResidualVariance
        return self.batch_size if own else None

    def step(self, g, t):
        g = jnp.reshape(g, 1)
        return LinearStep(jnp.eye(1), -g[None], -g)


def noise_variance(noise: NoiseLaw) -> float:
    """E[eps^2]. NoLimitError if it is infinite: SGD, with momentum too, then has no risk curve."""
    variance = noise.second_moment
    if not np.isfinite(variance):
        raise NoLimitError(
            f"noise must have finite variance for SGD, got {noise} with E[eps^2] = {variance}",
            "SGD's steps are proportional to the residual, so its mean risk is infinite after one step. "
            "Rules that bound the residual (sign_sgd, clipping) have a limit under this noise.",
        )
    return float(variance)


def amplified_limit(gain: float, variance: float, batch_size: int) -> Limit:
    """Limit of steps linear in past gradients, of total weight ``gain``, whose memory is too short to count."""
    return Limit(Gain(gain), AmplifiedVariance(gain, ResidualVariance(variance, float(batch_size))), 0, ("rho",))


def sgd_limit(noise: NoiseLaw, batch_size: int) -> Limit:
    """Limit of SGD. NoLimitError if the label noise has infinite variance: SGD then has no risk curve."""
    return GradientLimit(
        UnitDrift(),
        ResidualVariance(noise_variance(noise), float(batch_size)),
        0,
        ("rho",),
        fluctuations=sgd_fluctuations(noise, batch_size),
        batch_size=batch_size,
    )
