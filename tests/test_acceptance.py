"""The promises of the front page at full size: d = 1024, 96 runs, T = 5."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

D, TIMES = 1024, np.linspace(0, 5, 41)[1:]


@pytest.fixture(scope="module")
def dense():
    """A dense, non-diagonal covariance with coordinates of different scales."""
    return heteroscedastic(sl.covariance.power_law(D, 0.3, rotate=True)).to_dense()


@pytest.mark.slow
@pytest.mark.parametrize("lr", [0.5, sl.schedules.cosine(1.0, 5.0)], ids=["constant", "cosine"])
@pytest.mark.parametrize(
    ("rule", "noise"),
    [("sign_sgd", sl.noise.StudentT(1.5, 0.3)), ("sign_sgd", sl.noise.Cauchy(0.3)), ("sgd", sl.noise.Gaussian(0.4))],
    ids=["student_t(1.5)", "cauchy", "sgd-gaussian"],
)
def test_ode_is_within_two_percent_of_the_mean_of_96_runs(dense, rule, noise, lr):
    problem = sl.LinearRegression(dense, noise)
    runs = sl.simulate(problem, getattr(sl, rule)(), lr, t=TIMES, n_runs=96, seed=1)
    report = sl.compare(sl.solve_ode(problem, runs.optimizer, lr, t=runs.t), runs)
    assert report.max_relative_error < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sign_sgd", "sgd"])
def test_quantiles_of_paths_are_those_of_runs(rule):
    """256 paths against 256 runs at d = 512, second half of the horizon: within 5%."""
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(512, 0.6)), sl.noise.Gaussian(0.4))
    optimizer, t = getattr(sl, rule)(), np.linspace(0, 5, 41)[20:]
    runs = sl.simulate(problem, optimizer, 0.5, t=t, n_runs=256, seed=1)
    paths = sl.solve_sde(problem, optimizer, 0.5, t=runs.t, n_paths=256, seed=2)
    np.testing.assert_allclose(paths.quantile([0.1, 0.5, 0.9]), runs.quantile([0.1, 0.5, 0.9]), rtol=0.05)
