"""SGD: phi = 1, psi = 2 P(R) / b, M = I, N = K (theory: section 1; arXiv:2308.08977)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.exact.step_fluctuations import sgd_fluctuations
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


class GradientLimit(Limit):
    """The limit of steps along the gradient of a batch."""

    batch_size: int = eqx.field(static=True, default=1)

    @property
    def gradient_batch(self):
        # Not of a limit that was made from this one by putting other coefficients in.
        own = type(self.phi) is UnitDrift and type(self.psi) is ResidualVariance
        return self.batch_size if own else None


def sgd_limit(noise: NoiseLaw, batch_size: int) -> Limit:
    """Limit of SGD. NoLimitError if the label noise has infinite variance: SGD then has no risk curve."""
    variance = noise.second_moment
    if not np.isfinite(variance):
        raise NoLimitError(
            f"noise must have finite variance for SGD, got {noise} with E[eps^2] = {variance}",
            "SGD's steps are proportional to the residual, so its mean risk is infinite after one step. "
            "Rules that bound the residual (sign_sgd, clipping) have a limit under this noise.",
        )
    b = float(batch_size)
    return GradientLimit(
        UnitDrift(),
        ResidualVariance(float(variance), b),
        0,
        ("rho",),
        fluctuations=sgd_fluctuations(noise, batch_size),
        batch_size=batch_size,
    )
