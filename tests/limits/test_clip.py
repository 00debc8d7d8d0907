"""Norm clipping and coordinate clipping: coefficients against Monte Carlo, curves against simulation and each other."""

import jax
import numpy as np
import pytest
from conftest import label_noise
from scipy import integrate, special, stats

import sdelimit as sl
from sdelimit.analysis.coefficients import limit_coefficients
from sdelimit.limits.exact.clip_coordinate import ClipCoordinateLimit, clip_spectrum
from sdelimit.limits.scale_dependent import interpolation, tabulated_operators
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.infinite import InfiniteProblem

LAWS = [
    sl.noise.NoNoise(),
    sl.noise.Gaussian(0.7),
    sl.noise.StudentT(2.0, 0.3),
    sl.noise.Cauchy(0.5),
    sl.noise.Laplace(0.4),
    sl.noise.Uniform(1.3),
    sl.noise.TwoPoint(0.6),
    sl.noise.GaussianMixture([0.3, 0.7], [0.5, -1.0], [0.2, 0.0]),
    sl.noise.Empirical(np.random.default_rng(3).standard_normal(3000)),
    sl.noise.Density(lambda e: np.exp(-np.abs(e - 0.5)) / 2, points=[0.5]),
]
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
SIGMA = np.array([0.1, 1.0, 4.0])
KHAT = np.array([[1.0, 0.5, 0.95], [0.5, 1.0, 0.3], [0.95, 0.3, 1.0]])


SAMPLES = 150_000
LABEL_NOISE = {}


def residuals(law, R, batch_size):
    """z and residuals s z - eps, (SAMPLES, b)."""
    z = np.random.default_rng(0).standard_normal((SAMPLES, batch_size))
    if id(law) not in LABEL_NOISE:
        LABEL_NOISE[id(law)] = label_noise(law, 3 * SAMPLES).reshape(SAMPLES, 3).astype(np.float64)
    return z, np.sqrt(2 * R) * z - LABEL_NOISE[id(law)][:, :batch_size]


def within(sample, value, slack):
    """|mean - value| < 5 standard errors + slack * |value|."""
    error = sample.std(axis=0) / np.sqrt(len(sample))
    return np.all(np.abs(sample.mean(axis=0) - value) < 5 * error + slack * np.abs(value) + 1e-12)


@by_law
def test_quadrature_and_components_reproduce_the_gaussian_factor(law):
    a = np.geomspace(1e-3, 30, 9)
    expected = evaluate_in_float64(law.gaussian_factor, a)
    nodes, weights = law.quadrature(512)
    np.testing.assert_allclose(np.exp(-a[:, None] * nodes**2) @ weights, expected, rtol=0.02)
    weights, means, variances = law.components(512)
    spread = 1 + 2 * a[:, None] * variances
    mixture = np.exp(-a[:, None] * means**2 / spread) / np.sqrt(spread) @ weights
    np.testing.assert_allclose(mixture, expected, rtol=0.02)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("law", [LAWS[2], LAWS[3], LAWS[4], LAWS[1]], ids=lambda law: type(law).__name__)
def test_gaussian_components_are_accurate_at_every_scale(law):
    a = np.geomspace(1e-8, 1e8, 17)
    weights, _, variances = law.components(256)
    mixture = 1 / np.sqrt(1 + 2 * a[:, None] * variances) @ weights
    np.testing.assert_allclose(mixture, evaluate_in_float64(law.gaussian_factor, a), rtol=1e-6)


@by_law
@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_norm_clipping_coefficients_match_monte_carlo(law, batch_size):
    coefficients = limit_coefficients(sl.clip_norm(0.8), law, batch_size)
    for R in (1e-2, 0.3, 5.0):
        z, residual = residuals(law, R, batch_size)
        lam = np.sqrt(np.sum(residual**2, axis=1)) / batch_size
        weight = np.minimum(1, 0.8 / lam)
        assert within(weight * np.mean(residual * z, axis=1) / np.sqrt(2 * R), coefficients.phi(R), 2e-3)
        assert within(np.minimum(lam, 0.8) ** 2, coefficients.kappa(1.0, R), 2e-3)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_norm_clipping_of_gaussian_residuals_is_an_integral_over_their_length(batch_size):
    """mu = E[min(X^2, a X)] / b and nu = (2P / b^2) E[min(X^2, a^2)], X ~ chi_b and a = b C / sqrt(2P)."""
    C, R, v = 0.8, np.array([0.01, 0.3, 5.0]), 0.7
    found = limit_coefficients(sl.clip_norm(C), sl.noise.Gaussian(v), batch_size)
    law = stats.chi(batch_size)
    for risk in R:
        variance = 2 * risk + v**2
        a = batch_size * C / np.sqrt(variance)

        def mean(f, a=a):
            pieces = ((0, min(a, 9.0)), (min(a, 9.0), 12.0))
            return sum(integrate.quad(lambda x: f(x) * law.pdf(x), *ends, epsabs=1e-13)[0] for ends in pieces)

        mu = mean(lambda x, a=a: min(x**2, a * x)) / batch_size
        nu = mean(lambda x, a=a: min(x**2, a**2)) * variance / batch_size**2
        np.testing.assert_allclose([found.phi(risk), found.kappa(1.0, risk)], [mu, nu], rtol=1e-8)


@by_law
@pytest.mark.parametrize("batch_size", [1, 3])
def test_coordinate_clipping_coefficients_match_monte_carlo(law, batch_size):
    c = 0.5
    limit = sl.clip_coordinate(c).limit(InfiniteProblem(law), batch_size)
    xi = np.random.default_rng(9).standard_normal((SAMPLES, 3)) @ np.linalg.cholesky(KHAT).T
    for R in (0.05, 2.0):
        z, residual = residuals(law, R, batch_size)
        g = np.sqrt(np.sum(residual**2, axis=1, keepdims=True)) / batch_size * SIGMA * xi
        drift = (np.abs(g) < c) * np.mean(residual * z, axis=1, keepdims=True) / np.sqrt(2 * R)
        assert within(drift, limit.drift(R, SIGMA), 5e-3)
        u = np.clip(g, -c, c)
        assert within(u[:, :, None] * u[:, None, :], limit.covariance(R, SIGMA, KHAT), 5e-3)


def test_drift_under_gaussian_residuals_is_an_integral_of_a_bessel_function():
    # E[q^2 erf(r / (|q| sqrt 2))] = (2/pi) int_0^r x K_1(x) dx for q ~ N(0, 1).
    limit = sl.clip_coordinate(0.5).limit(InfiniteProblem(sl.noise.Gaussian(0.7)), 1)
    R, sigma = 0.2, np.array([0.05, 0.3, 1.0, 7.0])
    r = 0.5 / (sigma * np.sqrt(2 * R + 0.49))
    exact = [integrate.quad(lambda x: x * special.k1(x), 0, end, epsabs=1e-13)[0] * 2 / np.pi for end in r]
    np.testing.assert_allclose(limit.drift(R, sigma), exact, rtol=1e-7)


def test_hermite_spectrum_sums_to_the_exact_variance_and_starts_with_its_exact_coefficients():
    a = np.array([[0.01, 0.3, 1.0, 5.0, 1e4]])
    spectrum = clip_spectrum(a)
    grid = np.linspace(-9, 9, 400_001)
    pdf = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    clipped = np.clip(a[..., None] * grid, -1, 1)
    np.testing.assert_allclose(sum((f**2).sum(axis=0) for f in spectrum), clipped**2 @ pdf, rtol=1e-6)
    np.testing.assert_allclose(spectrum[1][0], clipped * (grid**3 - 3 * grid) @ pdf / np.sqrt(6), atol=1e-7)


def test_noise_covariance_is_positive_semidefinite():
    khat = sl.covariance.power_law(60, 1.0, rotate=True).correlation()
    sigma = np.exp(np.random.default_rng(0).uniform(-2, 2, 60))
    for R in (1e-3, 1.0, 100.0):
        N = ClipCoordinateLimit(0.5, sl.noise.Laplace(0.4), 1).covariance(R, sigma, khat)
        assert np.linalg.eigvalsh(N).min() > -1e-12 * np.trace(N)


@pytest.mark.parametrize("spread", [0.0, 1.0, pytest.param(3.0, marks=pytest.mark.slow)])
def test_tables_over_risk_and_scale_match_direct_evaluation(spread):
    sigma = np.exp(np.random.default_rng(1).uniform(-spread, spread, 300))
    limit = ClipCoordinateLimit(0.5, sl.noise.StudentT(1.5, 0.3), 1)
    tables = tabulated_operators(limit, sigma)
    some = sigma[::23]
    for R in (3e-7, 0.0123, 0.77, 450.0):
        phi, kernels = limit.coefficients(R, some)
        a, b = (evaluate_in_float64(profile, R) for profile in (tables.law.drift_profile, tables.law.noise_profile))
        np.testing.assert_allclose((tables.interpolation_matrix @ (a @ tables.drift))[::23], phi, rtol=3e-4)
        kernel = np.tensordot(b, tables.kernels.sum(axis=1), axes=1)
        B = tables.interpolation_matrix[::23]
        np.testing.assert_allclose(B @ kernel @ B.T, kernels.sum(axis=0), rtol=3e-4)


def test_interpolation_ignores_coordinates_of_zero_variance():
    nodes, B = interpolation(np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(B @ np.log(nodes), [0, 0, np.log(2)], atol=1e-12)


@pytest.fixture(scope="module")
def correlated():
    s = np.exp(np.random.default_rng(0).uniform(-1, 1, 96))
    return sl.LinearRegression(sl.covariance.ar1(96, 0.6).scaled(s), sl.noise.Laplace(0.4))


@pytest.fixture(scope="module")
def diagonal():
    values = np.exp(np.random.default_rng(0).uniform(-2, 2, 96))
    return sl.LinearRegression(sl.covariance.diagonal(values), sl.noise.StudentT(3.0, 0.3))


@pytest.mark.slow
def test_matrix_equation_on_diagonal_data_equals_the_scalar_equations(diagonal):
    dense = sl.LinearRegression(diagonal.covariance.to_dense(), diagonal.noise, theta_star=diagonal.theta_star)
    lr = sl.schedules.cosine(0.8, 3.0)
    scalar, matrix = (sl.solve_ode(p, sl.clip_coordinate(0.5), lr, 3.0, rtol=1e-7) for p in (diagonal, dense))
    np.testing.assert_allclose(matrix.risk, scalar.risk, rtol=1e-5)
    np.testing.assert_allclose(matrix.slope, scalar.slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(matrix.phi, scalar.phi, rtol=1e-5)
    np.testing.assert_allclose(scalar.modes @ scalar.decay / 2, scalar.risk, rtol=1e-9)


@pytest.mark.slow
def test_slope_is_the_derivative_of_the_risk(correlated):
    curve = sl.solve_ode(correlated, sl.clip_coordinate(0.5), 0.5, 2.0, rtol=1e-8)
    np.testing.assert_allclose(np.gradient(curve.risk, curve.t, edge_order=2), curve.slope, rtol=2e-3)


@pytest.mark.parametrize("rule", [sl.clip_norm, sl.clip_coordinate])
@pytest.mark.slow
def test_a_threshold_beyond_reach_recovers_sgd(correlated, rule):
    clipped, sgd = (sl.solve_ode(correlated, o, 0.5, 3.0, aligned=False) for o in (rule(1e3), sl.sgd()))
    np.testing.assert_allclose(clipped.risk, sgd.risk, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_vanishing_coordinate_threshold_recovers_sign_sgd(correlated, batch_size):
    clipped = sl.solve_ode(correlated, sl.clip_coordinate(1e-4), 0.5e4, 3.0, batch_size=batch_size)
    sign = sl.solve_ode(correlated, sl.sign_sgd(), 0.5, 3.0, batch_size=batch_size, aligned=False)
    np.testing.assert_allclose(clipped.risk, sign.risk, rtol=3e-3)


@pytest.mark.slow
def test_learning_rate_arrays_and_gradients(correlated, diagonal):
    for problem in (correlated, diagonal):
        rates = np.array([0.3, 0.6])
        together = sl.solve_ode(problem, sl.clip_coordinate(0.5), rates, 1.0)
        alone = sl.solve_ode(problem, sl.clip_coordinate(0.5), 0.6, 1.0)
        np.testing.assert_allclose(together.select(1).risk, alone.risk, rtol=1e-5)
    last = lambda lr: sl.solve_ode(diagonal, sl.clip_coordinate(0.5), lr, 1.0).risk[-1]  # noqa: E731
    difference = (last(0.61) - last(0.59)) / 0.02
    assert float(jax.grad(last)(0.6)) == pytest.approx(difference, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [sl.clip_norm(0.7), sl.clip_coordinate(0.4)], ids=lambda o: o.name)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_ode_and_sde_follow_the_simulated_mean(correlated, diagonal, rule, batch_size):
    for problem in (correlated, diagonal):
        runs = sl.simulate(problem, rule, 0.5, 2.0, n_runs=400, batch_size=batch_size)
        curve = sl.solve_ode(problem, rule, 0.5, 2.1, t=np.append(runs.t, 2.1), batch_size=batch_size)
        assert np.all(np.abs(runs.mean - curve.risk[:-1]) < 5 * runs.standard_error + 2.5 / problem.d * curve.risk[:-1])
        paths = sl.solve_sde(problem, rule, 0.5, 2.0, n_paths=256, batch_size=batch_size, t=[0.5, 1.0, 2.0])
        assert np.all(np.abs(paths.mean - curve.at(paths.t)) < 5 * paths.standard_error)
        assert np.all(paths.risk.std(axis=0) > 0)


@pytest.mark.slow
@pytest.mark.parametrize("law", [LAWS[4], sl.noise.Gaussian(0.5), sl.noise.StudentT(3.0, 0.3)], ids=repr)
@pytest.mark.parametrize("rotated", [False, True])
def test_theory_is_within_2_5_percent_of_96_runs_at_d_1024(law, rotated):
    d, rules = 1024, [sl.clip_coordinate(0.5), sl.clip_norm(0.7)]
    base = sl.covariance.power_law(d, 0.5, rotate=True) if rotated else sl.covariance.ar1(d, 0.6)
    problem = sl.LinearRegression(base.scaled(np.exp(np.random.default_rng(0).uniform(-1, 1, d))), law)
    for rule, runs in zip(rules, sl.simulate(problem, rules, 0.5, 5.0, n_runs=96, seed=1), strict=True):
        late = runs.t > 0.25
        expected = sl.solve_ode(problem, rule, 0.5, t=runs.t).risk
        assert np.max(np.abs(runs.mean / expected - 1)[late]) < 0.025, rule


@pytest.mark.parametrize(
    "rule",
    [sl.clip_coordinate(0.5), pytest.param(sl.adam(0.9, 0.95, eps=0.1), marks=pytest.mark.long)],
    ids=lambda rule: rule.name,
)
def test_rules_with_a_scale_of_their_own_have_curves(rule):
    """Quick: of steps that a bound on the gradient keeps below those of signs."""
    problem = sl.LinearRegression(np.geomspace(0.1, 1.0, 8), sl.noise.Gaussian(0.3))
    curve = sl.solve_ode(problem, rule, 0.05, 1.0)
    assert curve.status == "ok" and 0 < curve.risk[-1] < problem.initial_risk
