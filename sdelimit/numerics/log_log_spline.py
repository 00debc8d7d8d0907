"""A smooth positive function of one positive variable, tabulated once in log-log coordinates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, quintic


class LogLogTable(eqx.Module):
    """Quintic spline of log f against log x on a uniform grid; straight lines outside it.

    A power law is a straight line in these coordinates, so tails that are power laws extrapolate
    exactly. Callable on JAX arrays and differentiable.
    """

    spline: PiecewisePolynomial
    slopes: Float[np.ndarray, " 2"]

    def __init__(self, log_x: Float[np.ndarray, " m"], log_f: Float[np.ndarray, " m"]):
        self.spline, self.slopes = quintic(log_x, log_f)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(self.log(jnp.log(x)))

    def log(self, log_x: Float[Array, "..."]) -> Float[Array, "..."]:
        """log f at log x."""
        return _log(self, log_x)


@jax.jit
def _log(table, log_x):
    below, above = table.spline.beyond(log_x)
    return table.spline(log_x) + below * table.slopes[0] + above * table.slopes[1]
