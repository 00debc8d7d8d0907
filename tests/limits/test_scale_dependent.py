"""Rules that depend on scale: their risk equations, stationary risks and rates from phi_i(R) and N(R) themselves."""

import numpy as np
import pytest
from conftest import assert_mean_and_covariance, heteroscedastic, one_step
from scipy import linalg, stats

import sdelimit as sl
from sdelimit.limits.sampled import adam_eps
from sdelimit.limits.sampled.laplace_transform import OffsetRatioDrift
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import x64
from sdelimit.ode.equations import risk_system
from sdelimit.problem.infinite import InfiniteProblem

pytestmark = pytest.mark.long

D, ETA = 6, 0.4
RULE, NOISE = sl.clip_coordinate(0.7), sl.noise.Gaussian(0.5)
DENSE = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(D, 0.5)), NOISE)
PROBLEMS = {"dense": DENSE, "diagonal": sl.LinearRegression(DENSE.covariance.std**2, NOISE)}
by_shape = pytest.mark.parametrize("shape", PROBLEMS)


def slope_of_second_moments(problem, V, eta=ETA):
    """dV/dt = -eta (Phi K V + V K Phi) + (eta^2/d) N at R = tr(K V)/2, in the original coordinates."""
    K, std = problem.covariance.to_dense(), problem.covariance.std
    limit, R = RULE.limit(problem, 1), np.sum(K * V) / 2
    decay = limit.drift(R, std)[:, None] * (K @ V)
    return eta**2 / D * limit.covariance(R, std, problem.covariance.correlation()) - eta * (decay + decay.T)


@by_shape
def test_the_risk_equations_are_those_of_the_second_moments(shape):
    problem = PROBLEMS[shape]
    system = risk_system(problem, RULE.limit(problem, 1), np.ones(1), 1e-6, None, ETA)
    with x64():
        y = system.initial()
        found, risk, seen = (
            np.asarray(x) for x in (system.field(ETA, y), system.risk(y), system.observe(ETA, y, True)["slope"])
        )
    slope = slope_of_second_moments(problem, np.outer(problem.delta0, problem.delta0))
    std = problem.covariance.std
    expected = np.diag(slope) * std**2 / 2 if shape == "diagonal" else slope * np.outer(std, std)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert risk == pytest.approx(problem.initial_risk, rel=1e-12)
    assert seen == pytest.approx(np.sum(problem.covariance.to_dense() * slope) / 2, rel=1e-4)


def settled(problem):
    """V with dV/dt = 0, by following a linear equation at frozen R to its end until R reproduces itself."""
    K, std, khat = problem.covariance.to_dense(), problem.covariance.std, problem.covariance.correlation()
    limit, R = RULE.limit(problem, 1), 0.01
    for _ in range(60):
        B = limit.drift(R, std)[:, None] * K
        identity = np.eye(D)
        noise_covariance = ETA / D * limit.covariance(R, std, khat)
        V = np.linalg.solve(np.kron(B, identity) + np.kron(identity, B), noise_covariance.ravel()).reshape(D, D)
        R = np.sum(K * V) / 2
    return V


@by_shape
def test_stationary_risk_and_rate_are_those_of_the_second_moments(shape):
    problem = PROBLEMS[shape]
    V = settled(problem)
    R = np.sum(problem.covariance.to_dense() * V) / 2
    assert sl.stationary_risk(problem, RULE, ETA) == pytest.approx(R, rel=1e-5)
    # The Jacobian over symmetric V, by differences, restricted to the diagonal where K is.
    pairs = [(i, j) for i in range(D) for j in range(i + 1) if shape == "dense" or i == j]
    rows, columns = np.transpose(pairs)

    def field(step):
        moved = V.copy()
        moved[rows, columns] += step
        moved[columns, rows] = moved[rows, columns]
        return slope_of_second_moments(problem, moved)[rows, columns]

    h = 1e-4 * V.max()
    jacobian = np.array([(field(h * e) - field(-h * e)) / (2 * h) for e in np.eye(rows.size)])
    assert sl.convergence_rate(problem, RULE, ETA) == pytest.approx(-np.linalg.eigvals(jacobian).real.max(), rel=1e-4)


@by_shape
def test_a_step_of_the_sde_has_the_mean_and_covariance_of_the_linear_equation(shape):
    """dy = -eta A Khat y dt + eta sqrt(D N D / d) dB, y = D delta; under strong label noise A and N hardly change.

    Diagonal: exact. Dense: the noise comes between two halves of the decay.
    """
    noise, rule, dt, eta = sl.noise.Gaussian(25.0), sl.clip_coordinate(35.0), 1e4, 4e-5
    problem = sl.LinearRegression(PROBLEMS[shape].covariance, noise)
    limit = rule.limit(problem, 1)
    std, khat, R = problem.covariance.std, problem.covariance.correlation(), problem.initial_risk
    B = eta * (std**2 * limit.drift(R, std))[:, None] * khat
    noise_covariance = eta**2 / D * np.outer(std, std) * limit.covariance(R, std, khat)
    times = [dt / 2] if shape == "dense" else dt * (np.arange(200) + 0.5) / 200
    covariance = np.mean([(e := linalg.expm(-B * t)) @ noise_covariance @ e.T for t in times], axis=0) * dt
    y = one_step(problem, limit, dt, eta)[0] * (std if shape == "diagonal" else 1)  # modes of a diagonal K are delta
    assert_mean_and_covariance(y, linalg.expm(-B * dt) @ (std * problem.delta0), covariance, bias=1e-3)


# -- Adam with eps > 0, without memory: u = g / (|g| + e) --------------------------------------------------------


def mean_over_normals(function):
    """E f(|q|, |xi|), q and xi ~ N(0, 1): the trapezoid rule in log q and log xi."""
    x, step = np.linspace(-20.0, 2.3, 400, retstep=True)
    x = np.exp(x)
    weights = 2 * stats.norm.pdf(x) * x * step
    return weights @ function(x[:, None], x) @ weights


S = np.sqrt(2 * 0.3 + 0.25)


@pytest.fixture(scope="module")
def memoryless():
    """The limit of u = g / (|g| + 0.2), its kernels sampled coarsely."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adam_eps, "SAMPLES", 15_000)
        for name in ("_shape", "_gaussian_kernels"):  # what they remember is sampled finely
            patch.setattr(adam_eps, name, memoized(getattr(adam_eps, name).__wrapped__))
        limit = sl.adam(0.0, 0.0, eps=0.2).limit(InfiniteProblem(NOISE), 1)
        yield limit, limit.coefficients(0.3, np.array([0.3, 1.0]))


def test_drift_with_eps_is_an_integral_over_residual_and_coordinate(memoryless):
    """phi = E[q^2 e / (S |q xi| + e)^2] / sigma at l = S q, e = eps / sigma: (1/s) E[z l] = l^2 / (2P) and dF/dg."""
    for e in (0.05, 1.0):
        expected = mean_over_normals(lambda q, x, e=e: q**2 * e / (S * q * x + e) ** 2)
        drift = OffsetRatioDrift(Weights(0.0, 1.0, 0.0), Weights(0.0, 1.0, 0.0), NOISE)
        assert drift(0.3, np.array([e]))[0] == pytest.approx(expected, rel=1e-4)
    expected = mean_over_normals(lambda q, x: q**2 * 0.2 / 0.3 / (S * q * x + 0.2 / 0.3) ** 2) / 0.3
    assert memoryless[1][0][0] == pytest.approx(expected, rel=1e-4)


def test_noise_with_eps_is_the_covariance_of_one_step(memoryless):
    variances = np.diag(memoryless[1][1].sum(axis=0))
    for sigma, found in zip((0.3, 1.0), variances, strict=True):
        expected = mean_over_normals(lambda q, x, sigma=sigma: (S * q * x / (S * q * x + 0.2 / sigma)) ** 2)
        assert found == pytest.approx(expected, rel=0.02)
