"""Power-law random features, sampled and in the limit, and problems made of a spectrum (theory: section 21)."""

import numpy as np
import pytest

import sdelimit as sl

SKETCHES = [(400, 100, 1.0, 0.3), (400, 100, 0.7, 0.4), (300, 60, 0.4, 0.6)]


def sketch(v, d, alpha, beta, seed):
    """H^(1/2) W and H^(1/2) b."""
    j = np.arange(1.0, v + 1)
    W = np.column_stack([np.random.default_rng((seed, k)).standard_normal(v) for k in range(d)]) / np.sqrt(d)
    return j[:, None] ** -alpha * W, j ** -(alpha + beta)


@pytest.mark.parametrize("numbers", SKETCHES)
def test_target_and_noise_are_those_of_least_squares(numbers):
    """theta* and v^2 are the solution and the residual of the projection of the labels on the features."""
    problem = sl.power_law_random_features(*numbers, seed=3)
    F, a = sketch(*numbers, seed=3)
    theta, (residual,), rank, _ = np.linalg.lstsq(F, a, rcond=1e-15)
    assert rank == problem.d == numbers[1]
    np.testing.assert_allclose(problem.theta_star, theta, rtol=1e-7, atol=1e-9 * np.abs(theta).max())
    assert problem.noise.std**2 == pytest.approx(residual, rel=1e-10)
    assert problem.irreducible_risk == pytest.approx(residual / 2, rel=1e-10)
    np.testing.assert_allclose(problem.covariance.to_dense(), F.T @ F, atol=1e-14)
    assert problem.risk(np.zeros(problem.d)) + problem.irreducible_risk == pytest.approx(a @ a / 2, rel=1e-12)


def test_the_loss_of_a_curve_is_the_mean_squared_residual():
    problem = sl.power_law_random_features(200, 40, 1.0, 0.5)
    curve = sl.solve_ode(problem, sl.sgd(), 0.3 * problem.d / problem.covariance.trace, 3.0, finite_d=True)
    j = np.arange(1.0, 201)
    assert curve.loss[0] == pytest.approx(np.sum(j**-3.0) / 2, rel=1e-12)
    np.testing.assert_allclose(curve.loss - curve.risk, problem.noise.std**2 / 2, rtol=1e-10)


@pytest.mark.long
def test_the_loss_of_runs_too_but_not_of_other_losses():
    problem = sl.power_law_random_features(200, 40, 1.0, 0.5)
    runs = sl.simulate(problem, sl.sgd(), 0.1, 0.5, n_runs=2)
    np.testing.assert_allclose(runs.loss - runs.risk, problem.noise.std**2 / 2, rtol=1e-5)
    logistic = sl.solve_ode(sl.LogisticRegression(np.ones(20)), sl.sgd(), 0.1, 0.5)
    with pytest.raises(ValueError, match="loss is risk plus noise for least squares only, got a LogisticRegression"):
        logistic.loss  # noqa: B018


SLOW = pytest.mark.slow


@pytest.mark.long
@pytest.mark.parametrize(
    ("alpha", "beta"), [pytest.param(1.0, 0.3, marks=SLOW), (0.7, 0.4), pytest.param(0.4, 0.4, marks=SLOW)]
)
def test_the_limit_of_many_features_is_that_of_sampled_ones(alpha, beta):
    """The risk that is left after any time of gradient flow, and quantiles of the spectrum, at d = 1000."""
    v, d = 4000, 1000
    known = sl.power_law_random_features(v, d, alpha, beta, deterministic=True)
    eigenvalues, energies = known.covariance.std**2, known.theta_star**2
    j = np.arange(1.0, v + 1)
    assert np.sum(eigenvalues) == pytest.approx(np.sum(j ** (-2 * alpha)), rel=2e-4)
    assert known.initial_risk + known.irreducible_risk == pytest.approx(np.sum(j ** (-2 * (alpha + beta))) / 2)
    draws = [sl.power_law_random_features(v, d, alpha, beta, seed=seed) for seed in range(2)]
    sampled = []
    for one in draws:
        values, vectors = np.linalg.eigh(one.covariance.to_dense())
        sampled.append((values, (vectors.T @ one.theta_star) ** 2))
    for time in np.geomspace(1.0, 1e5, 6):
        left = eigenvalues * energies @ np.exp(-2 * eigenvalues * time)
        found = [values * energy @ np.exp(-2 * values * time) for values, energy in sampled]
        noise = 2 * known.irreducible_risk
        assert left + noise == pytest.approx(np.mean(found) + noise, rel=0.05)
    for share in (0.01, 0.1, 0.5, 0.9):
        found = np.mean([np.quantile(values, share) for values, _ in sampled])
        assert np.quantile(eigenvalues, share) == pytest.approx(found, rel=0.02)


def residual(v, d, alpha, beta, seed):
    """v^2 of one draw."""
    F, a = sketch(v, d, alpha, beta, seed)
    return np.linalg.qr(np.column_stack([F, a]), mode="r")[d, d] ** 2


@pytest.mark.parametrize(
    ("v", "d", "alpha", "beta", "draws"),
    [
        pytest.param(800, 200, 0.7, 0.4, 100, marks=pytest.mark.slow),
        pytest.param(800, 200, 0.4, 0.4, 100, marks=pytest.mark.long),
        pytest.param(4000, 1000, 1.0, 0.3, 40, marks=pytest.mark.slow),
        pytest.param(4000, 1000, 0.7, 0.4, 40, marks=pytest.mark.slow),
        pytest.param(4000, 1000, 0.4, 0.4, 40, marks=pytest.mark.slow),
    ],
)
def test_the_noise_in_the_limit_is_the_mean_of_sampled_ones(v, d, alpha, beta, draws):
    """One draw's v^2 deviates by 6% at d = 1000, the mean over W by less than 3% from the limit."""
    known = 2 * sl.power_law_random_features(v, d, alpha, beta, deterministic=True).irreducible_risk
    found = np.array([residual(v, d, alpha, beta, seed) for seed in range(draws)]) / known
    assert abs(found.mean() - 1) < 0.03 and found.std() / np.sqrt(draws) < 0.012


def test_few_features_of_equal_variances_have_the_law_of_marchenko_and_pastur():
    """alpha -> 0: K = W'W is a white Wishart matrix: edges (1 +- sqrt(v/d))^2, moments v/d and (v/d)^2 + v/d."""
    v, d = 4000, 1000
    known = sl.power_law_random_features(v, d, 1e-4, 0.6, deterministic=True)
    eigenvalues = known.covariance.std**2
    assert eigenvalues.max() == pytest.approx((1 + 2.0) ** 2, rel=0.015)
    assert eigenvalues.min() == pytest.approx((1 - 2.0) ** 2, rel=0.015)
    assert np.mean(eigenvalues) == pytest.approx(4.0, rel=2e-3)
    assert np.mean(eigenvalues**2) == pytest.approx(16.0 + 4.0, rel=4e-3)


@pytest.mark.long
def test_a_spectrum_is_all_that_isotropic_rules_need():
    problem = sl.LinearRegression(sl.covariance.power_law(40, 0.8, rotate=True), sl.noise.Gaussian(0.3), seed=2)
    values, vectors = np.linalg.eigh(problem.covariance.to_dense())
    energies = (vectors.T @ problem.theta_star) ** 2
    known = sl.LinearRegression.from_spectrum(values, energies, sl.noise.Gaussian(0.3))
    for rule in (sl.sgd(), sl.sgd(momentum=0.5), sl.clip_norm(0.7), sl.sgd().with_weight_decay(0.1)):
        one, other = (sl.solve_ode(p, rule, 0.2, 2.0, aligned=False) for p in (problem, known))
        np.testing.assert_allclose(one.risk, other.risk, rtol=1e-6)
    for rule in (sl.sign_sgd(), sl.adam(0.9, 0.95), sl.clip_coordinate(0.5)):
        for ask in (sl.solve_ode, sl.simulate):
            with pytest.raises(ValueError, match=f"problem must be made of a covariance for {rule.name}"):
                ask(known, rule, 0.1, 1.0)
    runs, curve = (ask(known, sl.sgd(), 0.2, 2.0) for ask in (sl.simulate, sl.solve_ode))
    assert runs.risk.shape[0] >= 1 and curve.risk[0] == pytest.approx(problem.initial_risk)
