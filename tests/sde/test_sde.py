"""Homogenized SDE paths against the ODE and against a brute-force integration."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

pytestmark = pytest.mark.long

V = 0.4


def euler_maruyama(problem, lr, t_max, steps, n_paths, seed):
    """signSGD's SDE in the original coordinates, with the noise u - E[u] of single samples over small steps."""
    k, d = problem.covariance.to_dense(), problem.d
    std, factor = np.sqrt(np.diag(k)), np.linalg.cholesky(k)
    rng = np.random.default_rng(seed)
    delta, dt = np.tile(problem.delta0, (n_paths, 1)), t_max / steps
    for _ in range(steps):
        pull = delta @ k
        correlation = pull / std / np.sqrt(np.sum(pull * delta, axis=1, keepdims=True) + V**2)
        x = rng.standard_normal((n_paths, d)) @ factor.T
        residual = np.sum(x * delta, axis=1, keepdims=True) - V * rng.standard_normal((n_paths, 1))
        noise = np.sign(residual * x) - (2 / np.pi) * np.arcsin(correlation)
        delta = delta - lr * (2 / np.pi) * correlation * dt - lr * np.sqrt(dt / d) * noise
    return np.sum((delta @ k) * delta, axis=1) / 2


def assert_same_mean_and_spread(ours, others, bias):
    """Within 4 standard errors, plus ``bias`` for the spread."""
    n = ours.size
    error = np.hypot(ours.std(), others.std()) / np.sqrt(n)
    assert abs(ours.mean() - others.mean()) < 4 * error + bias / 2 * others.mean()
    # The logarithm of a sample deviation has standard error about 1/sqrt(2n) per sample, kurtosis aside.
    assert abs(np.log(ours.std() / others.std())) < 4 * 1.3 / np.sqrt(n) + bias


@pytest.mark.slow
def test_mean_and_spread_agree_with_brute_force(small_problem):
    n, lr, t_max = 2000, 0.6, 1.5
    paths = sl.solve_sde(small_problem, sl.sign_sgd(), lr, t=[t_max], n_paths=n)
    brute = euler_maruyama(small_problem, lr, t_max, 600, n, seed=1)
    assert_same_mean_and_spread(paths.risk[:, -1], brute, 0.0)


@pytest.mark.parametrize(
    "rule, batch_size",
    [
        pytest.param(sl.sgd(), 1, marks=pytest.mark.slow),
        pytest.param(sl.sign_sgd(), 1, marks=pytest.mark.slow),
        pytest.param(sl.sgd(), 3, marks=pytest.mark.slow),
        pytest.param(sl.sign_sgd(), 3, marks=pytest.mark.slow),
        pytest.param(sl.clip_norm(0.6), 1, marks=pytest.mark.slow),
        pytest.param(sl.clip_norm(0.6), 3, marks=pytest.mark.slow),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_spread_is_that_of_runs(rule, batch_size):
    """Noise of the covariance N alone makes it 50% too wide for SGD and 20% too wide for signSGD."""
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(300, 0.5)), sl.noise.Laplace(0.2))
    given = {"t": [0.2, 0.6], "batch_size": batch_size}
    runs = sl.simulate(problem, rule, 0.5, n_runs=2000, seed=1, **given)
    paths = sl.solve_sde(problem, rule, 0.5, n_paths=2000, seed=2, **given)
    for own, others in zip(paths.risk.T, runs.risk.T, strict=True):
        assert_same_mean_and_spread(own, others, 10 / 300)


@pytest.mark.parametrize("rule", [pytest.param("sgd", marks=pytest.mark.slow), "sign_sgd"])
@pytest.mark.parametrize(
    "covariance",
    [sl.covariance.power_law(300, 0.5), heteroscedastic(sl.covariance.ar1(300, 0.5))],
    ids=["diagonal", "ar1"],
)
@pytest.mark.slow
def test_mean_of_paths_follows_the_ode(rule, covariance):
    """The two means differ by O(1/d) and Monte-Carlo error."""
    problem = sl.LinearRegression(covariance, sl.noise.Laplace(0.3))
    rule, lr = getattr(sl, rule)(), sl.schedules.cosine(0.8, 3.0)
    theory = sl.solve_ode(problem, rule, lr, 3.0)
    paths = sl.solve_sde(problem, rule, lr, 3.0, n_paths=400)
    allowed = 4 * paths.standard_error + 5 / problem.d * theory.risk
    assert np.max(allowed / theory.risk) < 0.06
    assert np.all(np.abs(paths.mean - theory.risk) < allowed)


def test_smaller_steps_change_little(small_problem):
    """The default step is converged: the mean moves by less than the Monte-Carlo error of the comparison."""
    coarse, fine = (
        sl.solve_sde(small_problem, sl.sign_sgd(), 0.6, t=[1.0, 2.0], n_paths=2000, step_tolerance=s).risk
        for s in (0.05, 0.01)
    )
    error = np.hypot(coarse.std(axis=0), fine.std(axis=0)) / np.sqrt(2000)
    assert np.all(np.abs(coarse.mean(axis=0) - fine.mean(axis=0)) < 4 * error)
    assert np.all(np.abs(np.log(coarse.std(axis=0) / fine.std(axis=0))) < 4 * 1.3 / np.sqrt(2000))


def test_a_path_does_not_depend_on_how_many_there_are(small_problem):
    few = sl.solve_sde(small_problem, sl.sgd(), 0.5, 1.0, n_paths=3, seed=7)
    many = sl.solve_sde(small_problem, sl.sgd(), 0.5, 1.0, n_paths=20, seed=7)
    other = sl.solve_sde(small_problem, sl.sgd(), 0.5, 1.0, n_paths=3, seed=8)
    np.testing.assert_allclose(few.risk, many.risk[:3], rtol=1e-9)
    assert np.all(few.risk[:, -1] != other.risk[:, -1])
    assert few.risk.dtype == np.float64 and few.risk.shape == (3, 200)


@pytest.mark.parametrize("values", [pytest.param([0.5, 0.0], marks=pytest.mark.slow), [0.0, 0.5]])
def test_steps_end_where_the_learning_rate_jumps(values):
    """With no output anywhere near."""
    problem = sl.LinearRegression(np.ones(200), sl.noise.Gaussian(1.0))
    lr = sl.schedules.piecewise_constant([0.37], values)
    paths = sl.solve_sde(problem, sl.sgd(), lr, t=[1.0], n_paths=1024)
    curve = sl.solve_ode(problem, sl.sgd(), lr, t=[1.0], aligned=False)
    assert 4 * paths.standard_error[0] < 0.012 * curve.risk[0]
    assert abs(paths.mean[0] - curve.risk[0]) < 4 * paths.standard_error[0]


def test_paths_follow_their_equation_up_to_where_each_diverges():
    """The mean risk diverges at t = 9.7; before that a longer horizon changes little."""
    problem = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(1.0))
    with pytest.warns(sl.DivergenceWarning):
        paths = sl.solve_sde(problem, sl.sgd(), 3.0, 20.0, n_paths=64)
    assert paths.diverged_at.min() > 3 and np.all(paths.risk[:, 1] < 100 * problem.initial_risk)


@pytest.mark.slow
def test_diverging_paths_are_reported_not_nan(small_problem):
    with pytest.warns(sl.DivergenceWarning, match="diverged"):
        paths = sl.solve_sde(small_problem, sl.sgd(), 8.0, 60.0, n_paths=4)
    assert not np.isnan(paths.risk).any() and np.all(paths.risk[:, -1] == np.inf)
    assert np.all(paths.diverged_at < 60.0) and "4 of 4 paths diverged" in paths.status


@pytest.mark.slow
def test_spread_of_paths_is_the_spread_of_runs():
    """10%, 50% and 90% quantiles of 256 paths and 256 runs, d = 512, second half of the horizon: within 5%."""
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(512, 0.6)), sl.noise.StudentT(1.5, 0.3))
    t = np.linspace(1.5, 3.0, 16)
    runs = sl.simulate(problem, sl.sign_sgd(), 0.6, t=t, n_runs=256, seed=1)
    paths = sl.solve_sde(problem, sl.sign_sgd(), 0.6, t=runs.t, n_paths=256, seed=2)
    np.testing.assert_allclose(paths.quantile([0.1, 0.5, 0.9]), runs.quantile([0.1, 0.5, 0.9]), rtol=0.05)
    report = sl.compare(sl.solve_ode(problem, sl.sign_sgd(), 0.6, t=runs.t), runs, paths)
    assert 0.7 < report.coverage < 0.9
