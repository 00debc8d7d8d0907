"""What single runs do beyond the noise matrix: closed forms and tables against residuals drawn one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl
from sdelimit.limits.exact.step_fluctuations import SignFluctuations, sampled_fluctuations, sgd_fluctuations
from sdelimit.numerics.precision import evaluate_in_float64

R, V, N = 0.3, 0.5, 2_000_000
S = np.sqrt(2 * R)
NOISE = sl.noise.Gaussian(V)


def by_drawing(weight, batch_size, factor=1.0):
    """gamma, spread and coupling as limits/fluctuations.py defines them, and the standard error of each."""
    z, eps = np.random.default_rng(0).standard_normal((2, 20, N // 20, batch_size))
    residual = S * z - V * eps
    length = np.sqrt(np.sum(residual**2, axis=-1)) / batch_size
    w = weight(length)
    T, E = np.sqrt(factor) * w * np.mean(residual * z, axis=-1), (w * length) ** 2
    psi = E.mean(axis=1)
    gamma = (np.var(T, axis=1) - factor * psi) / S**2
    spread = np.var(E, axis=1) / psi**2
    coupling = (np.mean(T * E, axis=1) - T.mean(axis=1) * psi) / (S * psi)
    columns = np.stack([gamma, spread, coupling])
    return columns.mean(axis=1), columns.std(axis=1, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_sgd_are_moments_of_gaussian_residuals(batch_size):
    expected, error = by_drawing(np.ones_like, batch_size)
    assert np.all(error < 0.01 * np.abs(expected))
    found = np.array(evaluate_in_float64(sgd_fluctuations(NOISE, batch_size), R))
    assert np.all(np.abs(found - expected) < 4 * error)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_signs_come_from_the_drift_and_the_batch(batch_size):
    """With w = 1/|l| all steps are as long as each other, and T^2 carries 2/pi; a batch of one has only -phi^2."""
    expected, error = by_drawing(np.reciprocal, batch_size, 2 / np.pi)
    phi = sl.limit_coefficients(sl.sign_sgd(), NOISE, batch_size).limit.phi
    found = np.array(evaluate_in_float64(SignFluctuations(phi, V**2, float(batch_size)), R))
    assert error[0] < 0.01 * abs(expected[0])
    assert abs(found[0] - expected[0]) < 4 * error[0]
    np.testing.assert_allclose(found[1:], 0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_clipping_are_tabulated(batch_size):
    def weight(length):
        return np.minimum(1.0, 0.7 / length)

    expected, error = by_drawing(weight, batch_size)
    table = sampled_fluctuations(weight, NOISE, batch_size, np.log([R / 2, R, 2 * R]))
    found = np.array(evaluate_in_float64(table, R))
    assert np.all(np.abs(found - expected) < 4 * error + 4e-3)


def test_those_of_sgd_do_not_jump_where_a_diffusion_cannot():
    """Without a fourth moment the risk moves by jumps: only the finite part is left."""
    gamma, spread, coupling = sgd_fluctuations(sl.noise.StudentT(3.0, 0.5), 2)(jnp.asarray(R))
    assert gamma == 0.5 and spread == 0 and coupling == 0
