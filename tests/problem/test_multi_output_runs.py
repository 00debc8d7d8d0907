"""Curves of several outputs against runs at d = 1024: the excess risk at 40 times."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

D, T, RUNS = 1024, 5.0, 48
NOISE = [[0.5, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 0.5]]
MODELS = {
    "linear": lambda K: sl.LinearRegression(K, sl.noise.MultivariateGaussian(NOISE)),
    "hard": lambda K: sl.SoftmaxRegression(K, outputs=3),
    "soft": lambda K: sl.SoftmaxRegression(K, labels="soft", outputs=3),
}
RULES = {
    "sgd": (sl.sgd(), 1, 0.3),
    "sgd-4": (sl.sgd(), 4, 0.3),
    "sign": (sl.sign_sgd(), 1, 0.3),
    "sign-4": (sl.sign_sgd(), 4, 0.3),
    "adam": (sl.adam(0.9, 0.95), 1, 0.3),
    "signum": (sl.signum(0.8), 1, 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("model", MODELS)
def test_the_mean_of_runs_follows_the_curve(model, rule):
    """Within 2% and 3 standard errors at every time: the limit promises O(1/d)."""
    optimizer, batch_size, lr = RULES[rule]
    problem = MODELS[model](heteroscedastic(sl.covariance.ar1(D, 0.6)))
    runs = sl.simulate(problem, optimizer, lr=lr, t=np.linspace(0.0, T, 41), n_runs=RUNS, batch_size=batch_size)
    curve = sl.solve_ode(problem, optimizer, lr=lr, t=runs.t, batch_size=batch_size)
    gap = np.abs(runs.mean / curve.risk - 1)[1:]
    error = (runs.standard_error / curve.risk)[1:]
    worst = int(np.argmax(gap))
    print(f"{model} {rule}: {gap[worst]:.2%} (s.e. {error[worst]:.2%}), risk {curve.risk[-1]:.4g}")
    assert np.all(gap < 0.02 + 3 * error)
    assert np.median(gap) < 0.02
