"""A smooth positive function of one positive variable, tabulated once in log-log coordinates."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_interp_spline


class LogLogTable(eqx.Module):
    """Quintic spline of log f against log x on a uniform grid; straight lines outside it.

    A power law is a straight line in these coordinates, so tails that are power laws extrapolate
    exactly. Callable on JAX arrays and differentiable.
    """

    start: Float[np.ndarray, ""]
    step: Float[np.ndarray, ""]
    coefficients: Float[np.ndarray, "6 n"]
    last_slope: Float[np.ndarray, ""]

    def __init__(self, log_x: Float[np.ndarray, " m"], log_f: Float[np.ndarray, " m"]):
        spline = make_interp_spline(log_x, log_f, k=5)
        edges, middles = log_x[:-1], (log_x[:-1] + log_x[1:]) / 2
        # Taylor coefficients at the left edge of each cell; the fifth derivative is constant in it.
        derivatives = [spline(edges, nu=k) for k in range(5)] + [spline(middles, nu=5)]
        factorials = [1, 1, 2, 6, 24, 120]
        self.coefficients = np.stack([f / n for f, n in zip(derivatives, factorials, strict=False)][::-1])
        self.start = np.float64(log_x[0])
        self.step = np.float64(log_x[1] - log_x[0])
        self.last_slope = np.float64(spline(log_x[-1], nu=1))

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(self.log(jnp.log(x)))

    def log(self, log_x: Float[Array, "..."]) -> Float[Array, "..."]:
        """log f at log x."""
        coefficients = jnp.asarray(self.coefficients)
        n = coefficients.shape[1]
        position = (log_x - self.start) / self.step
        cell = jnp.clip(jnp.floor(position), 0, n - 1).astype(jnp.int32)
        offset = jnp.clip(log_x - self.start, 0.0, n * self.step) - cell * self.step
        pieces = coefficients[:, cell]
        inside = pieces[0]
        for k in range(1, 6):
            inside = inside * offset + pieces[k]
        below = jnp.minimum(log_x - self.start, 0.0) * coefficients[4, 0]
        above = jnp.maximum(log_x - self.start - n * self.step, 0.0) * self.last_slope
        return inside + below + above
