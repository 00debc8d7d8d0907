"""The optimal clipping threshold: against a grid of thresholds, first-order conditions and closed forms."""

import numpy as np
import pytest
from scipy import special, stats
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.numerics.precision import evaluate_in_float64

pytestmark = pytest.mark.long

WEIGHTS, SCALES = np.array([0.9, 0.1]), np.array([0.3, 3.0])
HEAVY = sl.noise.GaussianMixture(WEIGHTS, [0.0, 0.0], SCALES)
LR, T_MAX = 0.6, 3.0
ISOTROPIC = sl.LinearRegression(sl.covariance.identity(100), HEAVY)
CORRELATED = sl.LinearRegression(sl.covariance.power_law(80, 0.5), HEAVY)


def coefficients(R, C):
    """mu = P(|l| < C) and nu = E[min(l^2, C^2)] of l ~ mixture of N(0, 2R + scale^2)."""
    V = 2 * R + SCALES**2
    a = np.asarray(C)[..., None] / np.sqrt(V)
    inside, pdf = special.erf(a / np.sqrt(2)), np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    nu = V * (inside - 2 * a * pdf) + np.asarray(C)[..., None] ** 2 * special.erfc(a / np.sqrt(2))
    return inside @ WEIGHTS, nu @ WEIGHTS


def at(schedule, t):
    return evaluate_in_float64(schedule, t)


@pytest.fixture(scope="module")
def isotropic():
    return sl.optimal_clipping(ISOTROPIC, LR, T_MAX)


@pytest.fixture(scope="module")
def both():
    return sl.optimal_clipping(ISOTROPIC, None, T_MAX)


def test_every_threshold_is_the_best_of_a_grid(isotropic):
    assert isotropic.status == "converged"
    grid = np.geomspace(1e-3, 1e3, 4001)
    for i in (0, 20, 90, -1):
        R, C = isotropic.curve.risk[i], at(isotropic.schedule, isotropic.curve.t[i])

        def slope(C, R=R):
            mu, nu = coefficients(R, C)
            return -2 * LR * R * mu + LR**2 / 2 * nu

        best = grid[np.argmin(slope(grid))]
        assert abs(np.log(C / best)) < 0.03
        assert slope(C) < slope(best) + 1e-4 * abs(slope(best))
        assert slope(C) == pytest.approx(isotropic.curve.slope[i], rel=1e-5)


def test_no_constant_threshold_has_a_lower_risk_on_isotropic_data(isotropic):
    R0 = ISOTROPIC.initial_risk
    for C in np.geomspace(0.1, 30.0, 10):

        def slope(t, R, C=C):
            mu, nu = coefficients(R[0], C)
            return [-2 * LR * mu * R[0] + LR**2 / 2 * nu]

        constant = solve_ivp(slope, (0, T_MAX), [R0], t_eval=isotropic.curve.t, rtol=1e-8, atol=1e-12).y[0]
        assert np.all(isotropic.curve.risk <= constant * (1 + 1e-5))
        assert isotropic.risk < 0.99 * constant[-1]


@pytest.mark.slow
def test_on_correlated_data_the_threshold_balances_the_noise_and_the_drift_at_the_edge():
    """C P(|l| > C) / p(C) = d G / (eta tr K^2) with the mean square of the gradient, G = sum_i lambda_i^2 E[w_i^2]."""
    found = sl.optimal_clipping(CORRELATED, LR, T_MAX)
    lam = np.diag(CORRELATED.covariance.to_dense())
    curve = sl.solve_ode(CORRELATED, found.optimizer, LR, t=[0.5, 1.5, 3.0])
    order = np.argsort(lam)
    for R, t, modes in zip(curve.risk, curve.t, curve.modes[:, np.argsort(curve.decay)], strict=True):
        G, C, root = modes @ lam[order] ** 2, at(found.schedule, t), np.sqrt(2 * R + SCALES**2)
        beyond, density = 2 * stats.norm.sf(C / root) @ WEIGHTS, 2 * (stats.norm.pdf(C / root) / root) @ WEIGHTS
        assert C * beyond / density == pytest.approx(CORRELATED.d * G / (LR * np.sum(lam**2)), rel=0.03)


def test_with_the_best_learning_rate_the_threshold_has_the_largest_ratio_of_drift_squared_to_noise(both, isotropic):
    assert both.status == "converged"
    grid = np.geomspace(1e-3, 1e3, 4001)
    for i in (0, 60, -1):
        R, t = both.curve.risk[i], both.curve.t[i]
        mu, nu = coefficients(R, grid)
        best = np.argmax(mu**2 / nu)
        assert abs(np.log(at(both.schedule, t) / grid[best])) < 0.05
        assert at(both.lr, t) == pytest.approx(2 * R * mu[best] / nu[best], rel=0.02)
    assert np.all(both.curve.risk[1:] < isotropic.curve.at(both.curve.t)[1:])


@pytest.mark.slow
def test_without_label_noise_nothing_is_clipped_and_the_risk_falls_like_exp_minus_t():
    quiet = sl.LinearRegression(sl.covariance.identity(100))
    found = sl.optimal_clipping(quiet, None, 2.0, n_knots=17)
    t = np.linspace(0.0, 2.0, 5)
    assert [at(found.schedule, x) for x in t] == pytest.approx([found.cap] * 5, rel=1e-6)
    assert [at(found.lr, x) for x in t] == pytest.approx([1.0] * 5, rel=1e-6)
    np.testing.assert_allclose(found.curve.at(t), quiet.initial_risk * np.exp(-t), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("lr", [LR, None, sl.schedules.cosine(1.0, T_MAX)], ids=["constant", "best", "cosine"])
def test_batches_have_thresholds_next_to_which_the_risk_falls_less(lr):
    found = sl.optimal_clipping(ISOTROPIC, lr, T_MAX, batch_size=2)
    for i in (0, 100, 180):
        R, t = found.curve.risk[i], found.curve.t[i]
        C, eta = at(found.schedule, t), at(found.lr, t)

        def slope(C, R=R, eta=eta):
            limit = sl.limit_coefficients(sl.clip_norm(float(C)), HEAVY, 2)
            mu, nu = limit.phi(R), limit.kappa(1.0, R)
            return -(mu**2) / nu if lr is None else -2 * eta * R * mu + eta**2 / 2 * nu

        near = slope(C)
        assert all(slope(C * factor) > near - 2e-3 * abs(near) for factor in (0.1, 0.5, 0.8, 1.25, 2.0, 10.0))


@pytest.mark.slow
def test_runs_with_the_optimal_threshold_follow_its_curve():
    problem = sl.LinearRegression(sl.covariance.identity(400), sl.noise.StudentT(2.5, 0.5))
    found = sl.optimal_clipping(problem, None, 2.0)
    runs = sl.simulate(problem, found.optimizer, found.lr, 2.0, n_runs=128)
    gap = np.abs(runs.mean - found.curve.at(runs.t))
    assert np.all(gap < 4 * runs.standard_error + 5 / problem.d * found.curve.at(runs.t))
