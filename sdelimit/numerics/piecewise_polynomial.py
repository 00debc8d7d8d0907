"""Piecewise polynomials on a uniform grid, evaluated in JAX."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicHermiteSpline, make_interp_spline

FACTORIALS = (1, 1, 2, 6, 24, 120)


class PiecewisePolynomial(eqx.Module):
    """f(x) = sum_k c_k (x - x_i)^(m-1-k) in the cell [x_i, x_i + step] of a uniform grid; constant outside the grid.

    A pytree of numbers, callable on JAX arrays, differentiable. Values have the shape ``x.shape + shape``.

    Attributes:
        start: x_0, the left end of the grid.
        step: width of its n cells.
        coefficients: (m, n, *shape) c_k of each cell, the highest power first.
    """

    start: Float[np.ndarray, ""]
    step: Float[np.ndarray, ""]
    coefficients: Float[np.ndarray, "m n *shape"]

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return _evaluate(self, x)

    def beyond(self, x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """(min(x - left end, 0), max(x - right end, 0)): what linear continuations multiply by their slopes."""
        offset = x - self.start
        width = self.coefficients.shape[1] * self.step
        return jnp.minimum(offset, 0.0), jnp.maximum(offset - width, 0.0)


@jax.jit  # traced once for all tables of one shape: one program has dozens of them
def _evaluate(polynomial, x):
    c = jnp.asarray(polynomial.coefficients)
    n = c.shape[1]
    inside = jnp.clip(x - polynomial.start, 0.0, n * polynomial.step)
    cell = jnp.clip(jnp.floor(inside / polynomial.step), 0, n - 1).astype(jnp.int32)
    offset = inside - cell * polynomial.step
    pieces = c[:, cell]
    offset = offset.reshape(offset.shape + (1,) * (c.ndim - 2))
    return functools.reduce(lambda total, piece: total * offset + piece, pieces[1:], pieces[0])


def quintic(x: Float[np.ndarray, " m"], values: Float[np.ndarray, "m *shape"]):
    """The quintic spline through ``values`` on the uniform grid ``x``, and its slopes (2, *shape) at the ends."""
    spline = make_interp_spline(x, values, k=5)
    edges, middles = x[:-1], (x[:-1] + x[1:]) / 2
    # Taylor coefficients at the left edge of each cell; the fifth derivative is constant in it.
    derivatives = [spline(edges, nu=k) for k in range(5)] + [spline(middles, nu=5)]
    coefficients = np.stack([f / n for f, n in zip(derivatives, FACTORIALS, strict=True)][::-1])
    return PiecewisePolynomial(np.float64(x[0]), np.float64(x[1] - x[0]), coefficients), spline(x[[0, -1]], nu=1)


def cubic_hermite(
    x: Float[np.ndarray, " m"], values: Float[np.ndarray, "m *shape"], slopes: Float[np.ndarray, "m *shape"]
):
    """The cubic through ``values`` with ``slopes`` at the points of the uniform grid ``x``."""
    coefficients = CubicHermiteSpline(x, values, slopes).c
    return PiecewisePolynomial(np.float64(x[0]), np.float64(x[1] - x[0]), coefficients)
