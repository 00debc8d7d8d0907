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


LOGIT = sl.LogisticRegression(heteroscedastic(sl.covariance.ar1(300, 0.6)))
SIGNS = 2 / np.pi * np.arcsin(LOGIT.covariance.correlation())
CURVED = LOGIT.covariance.to_dense()


@pytest.mark.long
def test_the_hessian_of_logistic_regression_is_flatter_than_the_features():
    """E[sigma'(u)] times the sharpness of least squares, by a quadrature of its own."""
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    bend = lambda variance: weight @ (1 / (4 * np.cosh(np.sqrt(variance) * x / 2) ** 2)) / np.sqrt(2 * np.pi)  # noqa: E731
    start = bend(max(LOGIT.theta0 @ CURVED @ LOGIT.theta0, 0.0))
    features = np.sum(CURVED * CURVED) / np.trace(CURVED)
    assert sl.directional_sharpness(LOGIT, sl.sgd()) == pytest.approx(start * features, rel=1e-6)
    assert sl.directional_sharpness(LOGIT, sl.clip_norm(0.3)) == pytest.approx(start * features, rel=1e-6)
    signs = sl.directional_sharpness(LOGIT, sl.sign_sgd())
    assert signs == pytest.approx(start * np.sum(CURVED * SIGNS) / 300, rel=1e-3)
    curve = sl.solve_ode(LOGIT, sl.sgd(), lr=0.5, t=[0.0, 1.0, 2.0])
    along = sl.directional_sharpness(LOGIT, sl.sgd(), overlaps=curve.overlaps)
    np.testing.assert_allclose(
        along, features * np.array([bend(max(row[0], 0.0)) for row in curve.overlaps]), rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("make", [sl.LogisticRegression, sl.PhaseRetrieval])
def test_steps_of_fresh_samples_meet_the_hessian_of_their_loss(make, signs):
    """u' H u / |u|^2, u the gradient of a sample and H the mean of l_u x x' over others; up to O(1/d).

    Cubic gradients of phase retrieval lean so much to large scores that this is 12% at d = 300.
    """
    d, rng = 300, np.random.default_rng(0)
    target, other = rng.standard_normal((2, d)) / np.sqrt(d)
    problem = make(heteroscedastic(sl.covariance.ar1(d, 0.6)), theta_star=target, theta0=0.6 * target + 0.8 * other)
    root = np.linalg.cholesky(problem.covariance.to_dense())
    x, steps = rng.standard_normal((100_000, d)) @ root.T, rng.standard_normal((4000, d)) @ root.T
    u, (v, u_star) = x @ problem.theta0, (steps @ problem.theta0, steps @ problem.theta_star)
    if make is sl.LogisticRegression:
        bend, slope = (
            1 / (4 * np.cosh(u / 2) ** 2),
            1 / (1 + np.exp(-v)) - (rng.random(4000) < 1 / (1 + np.exp(-u_star))),
        )
    else:
        bend, slope = 12 * u**2 - 4 * (x @ problem.theta_star) ** 2, 4 * v * (v**2 - u_star**2)
    hessian = (x * bend[:, None]).T @ x / len(x)
    step = slope[:, None] * steps
    step = np.sign(step) if signs else step
    curvature, length = np.einsum("ni,ij,nj->n", step, hessian, step), np.sum(step**2, axis=1)
    ratio = curvature.sum() / length.sum()
    error = np.std(curvature - ratio * length) / np.sqrt(4000) / length.mean()
    found = sl.directional_sharpness(problem, sl.sign_sgd() if signs else sl.sgd())
    assert error < 0.03 * abs(found)
    assert abs(ratio - found) < 4 * error + (10 if make is sl.LogisticRegression else 40) / d * abs(found)


@pytest.mark.slow
def test_adam_with_a_long_memory_of_squares_scales_gradients_of_logistic_regression_too():
    scaled = np.sum(CURVED * LOGIT.covariance.correlation()) / 300 * LOGIT.initial_moments[0]
    assert sl.directional_sharpness(LOGIT, sl.adam(0.0, 0.99)) == pytest.approx(scaled, rel=0.03)
