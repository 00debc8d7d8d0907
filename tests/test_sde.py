"""Homogenized SDE paths against the ODE and against a brute-force integration."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

V = 0.4


def euler_maruyama(problem, rule, lr, t_max, steps, n_paths, seed):
    """d delta = -eta phi M K delta dt + eta sqrt(psi N / d) dB in the original coordinates, fixed small steps."""
    k, d = problem.covariance.to_dense(), problem.d
    std = np.sqrt(np.diag(k))
    sign = rule == "sign_sgd"
    scale = 1 / std if sign else np.ones(d)
    noise = 2 / np.pi * np.arcsin(np.clip(k / np.outer(std, std), -1, 1)) if sign else k
    factor = np.linalg.cholesky(noise)
    rng = np.random.default_rng(seed)
    delta, dt = np.tile(problem.delta0, (n_paths, 1)), t_max / steps
    for _ in range(steps):
        pull = delta @ k
        variance = np.sum(pull * delta, axis=1, keepdims=True) + V**2
        phi, psi = ((2 / np.pi) / np.sqrt(variance), 1.0) if sign else (1.0, variance)
        kick = rng.standard_normal((n_paths, d)) @ factor.T
        delta = delta - lr * phi * scale * pull * dt + lr * np.sqrt(psi * dt / d) * kick
    return np.sum((delta @ k) * delta, axis=1) / 2


@pytest.mark.parametrize("rule", ["sgd", "sign_sgd"])
def test_mean_and_spread_agree_with_brute_force(small_problem, rule):
    n, lr, t_max = 2000, 0.6, 1.5
    paths = sl.solve_sde(small_problem, getattr(sl, rule)(), lr, t=[t_max], n_paths=n)
    brute = euler_maruyama(small_problem, rule, lr, t_max, 600, n, seed=1)
    ours = paths.risk[:, -1]
    error = np.hypot(ours.std(), brute.std()) / np.sqrt(n)
    assert abs(ours.mean() - brute.mean()) < 4 * error < 0.045 * brute.mean()
    # The logarithm of a sample deviation has standard error about 1/sqrt(2n) per sample, kurtosis aside.
    assert abs(np.log(ours.std() / brute.std())) < 4 * 1.3 / np.sqrt(n)


@pytest.mark.parametrize("rule", ["sgd", "sign_sgd"])
@pytest.mark.parametrize(
    "covariance",
    [sl.covariance.power_law(300, 0.5), heteroscedastic(sl.covariance.ar1(300, 0.5))],
    ids=["diagonal", "ar1"],
)
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
