"""Adam with eps > 0: between Adam and SGD, coefficients against direct sampling, curves against simulation."""

import jax
import numpy as np
import pytest
from scipy.signal import lfilter

import sdelimit as sl
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.adam_eps import AdamEpsLimit
from sdelimit.limits.sampled.kernel_family import semidefinite_fit
from sdelimit.limits.sampled.laplace_transform import offset_factor
from sdelimit.limits.scale_dependent import tabulated_operators
from sdelimit.problem.infinite import InfiniteProblem

pytestmark = pytest.mark.slow

LAWS = [sl.noise.Gaussian(0.5), sl.noise.StudentT(3.0, 0.3)]
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
SIGMA = np.array([0.2, 1.0, 4.0])
KHAT = np.array([[1.0, 0.5, 0.9], [0.5, 1.0, 0.2], [0.9, 0.2, 1.0]])
B1, B2, EPS = 0.7, 0.8, 0.3


def sums(limit, R, sigma, rho):
    """sum_k rho^k M_k."""
    return np.tensordot(rho ** np.array(limit.exponents), limit.coefficients(R, sigma)[1], axes=1)


@by_law
@pytest.mark.parametrize("batch_size", [1, 3])
def test_vanishing_eps_recovers_adam(law, batch_size):
    adam = sl.limit_coefficients(sl.adam(B1, B2), law, batch_size)
    limit = AdamEpsLimit(B1, B2, 1e-9, law, batch_size)  # sl.adam leaves so small an eps out
    for R in (0.02, 1.0):
        np.testing.assert_allclose(limit.drift(R, SIGMA) * SIGMA, adam.phi(R), rtol=1e-6)
        for rho in (0.5, 1.0):
            np.testing.assert_allclose(sums(limit, R, SIGMA, rho), adam.kappa(rho, R), rtol=0.01)


@by_law
@pytest.mark.parametrize("batch_size", [1, 3])
def test_huge_eps_recovers_sgd(law, batch_size):
    limit = sl.adam(B1, B2, 1e9).limit(InfiniteProblem(law), batch_size)
    for R in (0.02, 1.0):
        np.testing.assert_allclose(limit.drift(R, SIGMA), 1e-9, rtol=1e-6)
        expected = (2 * R + law.second_moment) / batch_size * np.outer(SIGMA, SIGMA) * KHAT / 1e18
        np.testing.assert_allclose(limit.covariance(R, SIGMA, KHAT), expected, rtol=2e-3 if law is LAWS[0] else 0.02)


@by_law
@pytest.mark.parametrize("batch_size", [1, 3])
def test_coefficients_match_histories_run_in_numpy(law, batch_size):
    R, T, n = 0.3, 400, 1500
    s, rng = np.sqrt(2 * R), np.random.default_rng(1)
    z = rng.standard_normal((T, n, batch_size))
    residual = s * z - np.asarray(law.sample(jax.random.key(0), z.shape), float)
    x = np.einsum("ij,Tnj->iTn", np.linalg.cholesky(KHAT), rng.standard_normal((T, n, 3)))
    lam = np.sqrt(np.sum(residual**2, axis=-1)) / batch_size
    g, slope = lam * SIGMA[:, None, None] * x, SIGMA[:, None, None] * np.mean(residual * z, axis=-1)
    first, second = (lambda v, b=b: lfilter([1 - b], [1, -b], v, axis=1) for b in (B1, B2))
    m, root = first(g), np.sqrt(second(g**2))
    dF = first(slope) / (root + EPS) - m * second(g * slope) / (root * (root + EPS) ** 2)
    # W at each step needs later denominators: the average with a_m, run backwards.
    W = g * lfilter([1 - B1], [1, -B1], (1 / (root + EPS))[:, ::-1], axis=1)[:, ::-1]
    limit = AdamEpsLimit(B1, B2, EPS, law, batch_size)
    inside = slice(60, T - 60)
    phi = np.mean(dF[:, inside], axis=1) / (s * SIGMA[:, None])
    error = phi.std(axis=1) / np.sqrt(n)
    assert np.all(np.abs(phi.mean(axis=1) - limit.drift(R, SIGMA)) < 5 * error)
    N = np.einsum("iTn,jTn->nij", W[:, inside], W[:, inside]) / (T - 120)
    error = N.std(axis=0) / np.sqrt(n)
    expected = limit.covariance(R, SIGMA, KHAT)
    assert np.all(np.abs(N.mean(axis=0) - expected) < 5 * error + 0.01 * np.abs(expected))


def test_the_factor_of_the_laplace_transform_is_smooth_across_its_two_forms():
    y = np.array([0.0, 29.99, 30.01, 1e9])
    q = offset_factor(y)
    assert q[0] == 1
    np.testing.assert_allclose(2 * y[1:] ** 2 * q[1:], [1 - 1.5 / 900, 1 - 1.5 / 900, 1], rtol=1e-5)


def test_kernels_are_semidefinite_and_fit_their_target():
    a, b = np.array([1.0, 0.6, -0.8]), np.array([0.5, 1.0, 0.3])
    rho = RHO[1:]
    C = np.array([0.7 * r * np.outer(a, a) + 0.3 * r**9 * np.outer(b, b) for r in rho])
    size = np.sqrt(np.diag(C[-1]))
    C /= np.outer(size, size)
    M = semidefinite_fit(rho, C[None])[0]
    assert np.linalg.eigvalsh(M).min() > -1e-12
    powers = rho[:, None] ** np.array([1, 3, 5, 9, 25, 127])
    np.testing.assert_allclose(np.tensordot(powers, M, axes=1), C, atol=0.01)
    np.testing.assert_allclose(np.diag(M.sum(axis=0)), 1)


def test_noise_covariance_is_positive_semidefinite():
    khat = sl.covariance.power_law(60, 1.0, rotate=True).correlation()
    sigma = np.exp(np.random.default_rng(0).uniform(-2, 2, 60))
    for R in (1e-3, 1.0, 100.0):
        N = AdamEpsLimit(B1, B2, EPS, LAWS[1], 1).covariance(R, sigma, khat)
        assert np.linalg.eigvalsh(N).min() > -1e-10 * np.trace(N)


@by_law
def test_tables_over_risk_match_direct_evaluation(law):
    limit, sigma = AdamEpsLimit(B1, B2, EPS, law, 1), np.exp(np.linspace(-1, 1, 100))
    tables = tabulated_operators(limit, sigma)
    for R in (1e-5, 0.0123, 0.77, 450.0):
        phi, kernels = limit.coefficients(R, sigma[::13])
        B = tables.interpolation_matrix[::13]
        a, b = (np.asarray(f(R, None), float) for f in (tables.law.drift_coefficients, tables.law.noise_coefficients))
        np.testing.assert_allclose(B @ (a @ tables.drift), phi, rtol=1e-3)
        found = np.tensordot(b, tables.kernels.sum(axis=1), axes=1)
        np.testing.assert_allclose(B @ found @ B.T, kernels.sum(axis=0), rtol=2e-3)


def test_key_names_every_hyperparameter():
    settings = [(0.9, 0.99, 1.0), (0.9, 0.99, 2.0), (0.9, 0.9, 1.0), (0.8, 0.99, 1.0)]
    problem = InfiniteProblem(LAWS[0])
    assert len({sl.adam(*given).limit(problem, b).key for given in settings for b in (1, 2)}) == 8


def covariances(d):
    factors = np.exp(np.random.default_rng(0).uniform(-1, 1, d))
    return {"diagonal": sl.covariance.diagonal(factors**2), "ar1": sl.covariance.ar1(d, 0.6).scaled(factors)}


@pytest.mark.parametrize("kind", ["diagonal", "ar1"])
@pytest.mark.parametrize(("law", "batch_size"), [(LAWS[0], 1), (LAWS[1], 3)], ids=["gaussian", "student_t, b = 3"])
def test_ode_follows_the_simulated_mean(kind, law, batch_size):
    problem = sl.LinearRegression(covariances(256)[kind], law)
    rule = sl.adam(B1, B2, EPS)
    runs = sl.simulate(problem, rule, 0.5, 2.0, n_runs=48, batch_size=batch_size)
    expected = sl.solve_ode(problem, rule, 0.5, 2.0, batch_size=batch_size).at(runs.t)
    assert np.all(np.abs(runs.mean - expected) < 4 * runs.standard_error + 4 / 256 * expected)


def test_sde_follows_the_ode():
    problem = sl.LinearRegression(covariances(64)["ar1"], LAWS[0])
    rule = sl.adam(B1, B2, EPS)
    paths = sl.solve_sde(problem, rule, 0.5, 2.0, n_paths=128, t=[0.5, 1.0, 2.0])
    curve = sl.solve_ode(problem, rule, 0.5, 2.0)
    assert np.all(np.abs(paths.mean - curve.at(paths.t)) < 5 * paths.standard_error + 0.02 * paths.mean)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diagonal", "ar1"])
def test_theory_is_within_2_5_percent_of_96_runs_at_d_1024(kind):
    problem = sl.LinearRegression(covariances(1024)[kind], LAWS[0])
    rule = sl.adam(0.9, 0.99, 0.3)
    runs = sl.simulate(problem, rule, 0.5, 5.0, n_runs=96, seed=1)
    expected = sl.solve_ode(problem, rule, 0.5, t=runs.t).risk
    assert np.max(np.abs(runs.mean / expected - 1)[runs.t > 0.25]) < 0.025
