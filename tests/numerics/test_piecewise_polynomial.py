"""Piecewise polynomials in JAX against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline, make_interp_spline

from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.piecewise_polynomial import cubic_hermite, quintic
from sdelimit.numerics.precision import evaluate_in_float64, x64

X = np.linspace(-3.0, 2.0, 11)
VALUES = np.stack([np.sin(X), np.exp(X / 2), X**3], axis=1)
SLOPES = np.stack([np.cos(X), np.exp(X / 2) / 2, 3 * X**2], axis=1)
INSIDE = np.array([-3.0, -2.71, -2.5, -0.1, 0.0, 0.74, 1.999, 2.0])

MADE = {
    "quintic": (quintic(X, VALUES)[0], make_interp_spline(X, VALUES, k=5)),
    "cubic": (cubic_hermite(X, VALUES, SLOPES), CubicHermiteSpline(X, VALUES, SLOPES)),
}


@pytest.mark.parametrize("kind", MADE)
def test_inside_the_grid_it_is_scipys_spline(kind):
    ours, scipys = MADE[kind]
    np.testing.assert_allclose(evaluate_in_float64(ours, INSIDE), scipys(INSIDE), rtol=1e-12, atol=1e-12)
    assert evaluate_in_float64(ours, 0.3).shape == (3,) and evaluate_in_float64(ours, np.zeros((2, 4))).shape == (
        2,
        4,
        3,
    )


@pytest.mark.parametrize("kind", MADE)
def test_outside_it_is_constant(kind):
    ours, _ = MADE[kind]
    for far in (-3.5, -1e3, -np.inf):
        np.testing.assert_allclose(evaluate_in_float64(ours, far), VALUES[0], rtol=1e-12, atol=1e-12)
    for far in (2.5, 1e3, np.inf):
        np.testing.assert_allclose(evaluate_in_float64(ours, far), VALUES[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MADE)
def test_its_derivative_is_that_of_the_spline(kind):
    ours, scipys = MADE[kind]
    inner = INSIDE[1:-1]
    with x64():
        slope = jax.jit(jax.vmap(jax.jacfwd(ours)))
        slopes, beyond = slope(jnp.asarray(inner)), slope(jnp.repeat(jnp.array([-4.0, 3.0]), 3))
        assert not np.any(beyond)
    np.testing.assert_allclose(slopes, scipys(inner, nu=1), rtol=1e-10, atol=1e-10)


def test_distances_beyond_the_ends_are_zero_inside():
    ours = MADE["quintic"][0]
    below, above = ours.beyond(np.array([-4.0, -3.0, 0.0, 2.0, 2.5]))
    np.testing.assert_allclose(below, [-1, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(above, [0, 0, 0, 0, 0.5], atol=1e-6)


def test_the_slopes_at_the_ends_and_a_power_law_beyond_them():
    np.testing.assert_allclose(quintic(X, VALUES)[1], make_interp_spline(X, VALUES, k=5)(X[[0, -1]], nu=1))
    table = LogLogTable(X, 1.5 - 0.7 * X)
    x = np.array([1e-9, 0.1, 1.0, 5.0, 1e8])
    np.testing.assert_allclose(evaluate_in_float64(table, x), np.exp(1.5) * x**-0.7, rtol=1e-11)
