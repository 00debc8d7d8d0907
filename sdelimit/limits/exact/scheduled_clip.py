"""Gradient-norm clipping at C(t) sqrt(tr K): the limit of ``clip_norm.py`` with t a scalar of the law.

The threshold is read at the present t, so that phi = mu(R, C(t)) and the noise is nu(R, C(t)) K (theory: section 8).
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from sdelimit.limits.exact.clip_norm import ClipCoefficients, clip_coefficients, clipping
from sdelimit.limits.exact.step_fluctuations import Fluctuation, fluctuation_of_sample
from sdelimit.limits.law import CLOCK, ScalarLaw
from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.jit import by_computation_in
from sdelimit.numerics.memo import memoized

LARGEST = 1e100
"""Thresholds beyond it count as this one: their squares are finite, and they clip nothing."""
WIDEST, STEP = 6.0, 0.5
"""Range and spacing of the table of fluctuations in log(C / L) and log(s / n)."""


class RelativeFluctuations(eqx.Module):
    """(s^2 gamma / psi, length_variance, coupling) over log(C / L) and log(s / n); constant outside.

    n is the noise's scale and L = (s^2 + n^2)^(1/2) a residual's, with s = (2R)^(1/2).
    """

    scale: float
    values: Float[np.ndarray, "3 n n"]

    def __call__(self, R, C, psi) -> Fluctuation:
        size = jnp.sqrt(2 * R + self.scale**2)
        place = [(x + WIDEST) / STEP for x in (jnp.log(C / size), jnp.log(jnp.sqrt(2 * R) / self.scale))]
        relative, length_variance, coupling = (
            map_coordinates(jnp.asarray(table), place, order=1, mode="nearest") for table in self.values
        )
        return Fluctuation(relative * psi / (2 * R), length_variance, coupling)


class ScheduledClipLimit(ScalarLaw):
    """phi = mu(R, C(t)), psi = nu(R, C(t)), scalar t.

    Attributes:
        coefficients: mu and nu as functions of R and C.
        threshold: C as a function of t that JAX can trace.
        fluctuations: of steps, as a function of R, C and nu.
    """

    coefficients: ClipCoefficients
    threshold: Callable
    fluctuations: RelativeFluctuations
    power: int = eqx.field(static=True, default=0)
    basis: tuple[str, ...] = eqx.field(static=True, default=("rho",))

    def initial_scalars(self):
        return np.zeros(1)

    def relaxation(self, q):
        return jnp.full(1, CLOCK), jnp.full(1, 1 / CLOCK)

    def at(self, m) -> Float[Array, ""]:
        """C at the time m."""
        return jnp.minimum(self.threshold(m[0]), LARGEST)

    def drift_coefficients(self, R, m):
        return self.coefficients.drift(R, self.at(m))[None]

    def noise_coefficients(self, R, m):
        return self.coefficients.noise(R, self.at(m))[None]

    def fluctuations_at(self, R, m):
        return self.fluctuations(R, self.at(m), self.noise_coefficients(R, m)[0])


def scheduled_clip_limit(threshold: Callable, noise: NoiseLaw, batch_size: int) -> ScheduledClipLimit:
    """Limit of gradient-norm clipping at ``threshold``(t) sqrt(tr K), for any noise law and batch size.

    ``threshold`` is read as it is now. Batches of two and more under noise that is not Gaussian use quasi-Monte Carlo,
    with an error below 1e-3.
    """
    coefficients = clip_coefficients(noise, batch_size)
    return ScheduledClipLimit(coefficients, by_computation_in(threshold), relative_fluctuations(noise, batch_size))


@memoized
def relative_fluctuations(noise: NoiseLaw, batch_size: int) -> RelativeFluctuations:
    """The fluctuations of a step at any risk and threshold."""
    sample, scale = residual_sample(noise, batch_size, 2**13), noise_scale(noise)
    grid = np.arange(-WIDEST, WIDEST + STEP / 2, STEP)
    values = np.empty((3, grid.size, grid.size))
    for j, s in enumerate(scale * np.exp(grid)):
        for i, C in enumerate(np.hypot(s, scale) * np.exp(grid)):
            psi, found = fluctuation_of_sample(clipping(C), *sample, s**2 / 2)
            values[:, i, j] = found[0] / psi, *found[1:]
    return RelativeFluctuations(scale, values)
