"""Directional sharpness in the limit and along simulated runs."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

PROBLEM = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(300, 0.6)), sl.noise.Laplace(0.4))
K = PROBLEM.covariance.to_dense()


def test_sgd_and_sign_sgd_have_the_sharpness_of_their_noise():
    """tr(K^2) / tr K, and tr(K K_sigma) / d."""
    signs = 2 / np.pi * np.arcsin(PROBLEM.covariance.correlation())
    assert sl.directional_sharpness(PROBLEM, sl.sgd()) == pytest.approx(np.sum(K * K) / np.trace(K))
    assert sl.directional_sharpness(PROBLEM, sl.sign_sgd()) == pytest.approx(np.sum(K * signs) / 300)


def test_sharpness_along_runs_is_that_of_the_limit():
    rules = [sl.sgd(), sl.sign_sgd()]
    t = np.linspace(0.25, 1.0, 40)
    for rule, runs in zip(rules, sl.simulate(PROBLEM, rules, 0.3, t=t, n_runs=64, sharpness=True), strict=True):
        limit = sl.directional_sharpness(PROBLEM, rule)
        measured = runs.curvature.sum() / runs.squared_length.sum()
        per_run = runs.curvature.sum(axis=1) / runs.squared_length.sum(axis=1)
        error = per_run.std() / np.sqrt(64)
        assert 4 * error < 0.05 * limit
        assert abs(measured - limit) < 4 * error + 5 / 300 * limit


@pytest.mark.slow
def test_memory_leaves_the_noise_of_signs_its_shape():
    """Given the residuals Signum's directions are signs of Gaussian sums, so E[F F'] = (2/pi) arcsin."""
    sign = sl.directional_sharpness(PROBLEM, sl.sign_sgd())
    assert sl.directional_sharpness(PROBLEM, sl.signum(0.9), batch_size=2) == pytest.approx(sign, rel=0.01)


@pytest.mark.long
def test_a_long_memory_of_squares_leaves_the_sharpness_of_scaled_gradients():
    """Adam without momentum and with b2 near 1: F is a scaled gradient, E[F F'] = rho, up to O(1 - b2)."""
    scaled = np.sum(K * PROBLEM.covariance.correlation()) / 300
    assert sl.directional_sharpness(PROBLEM, sl.adam(0.0, 0.99)) == pytest.approx(scaled, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [sl.adam(0.9, 0.95), sl.signum(0.9), sl.clip_coordinate(0.5)], ids=lambda r: r.name)
def test_sharpness_of_other_rules(rule):
    """Averaging gradients leaves the mean update a share (1 + b1) / (1 - b1) / d of |u|^2, 19 / d for b1 = 0.9."""
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(1000, 0.6)), sl.noise.Laplace(0.4))
    runs = sl.simulate(problem, rule, 0.1, t=np.linspace(0.25, 1.0, 60), n_runs=32, sharpness=True)
    limit = sl.directional_sharpness(problem, rule, runs.mean.mean())
    per_run = runs.curvature.sum(axis=1) / runs.squared_length.sum(axis=1)
    error = per_run.std() / np.sqrt(32)
    assert abs(runs.curvature.sum() / runs.squared_length.sum() - limit) < 4 * error + 19 / 1000 * limit < 0.05 * limit
