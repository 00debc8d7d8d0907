"""Memory at full size: d = 512, 192 runs, T = 5, all recorded times from t = 4/d on (theory: section 17)."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

SETTINGS = [("ar1", "gaussian"), ("ar1", "t3"), ("rotated", "gaussian"), ("rotated", "t3")]
RULES = [
    (sl.lion(0.9, 0.99), 0.05, 0.02, 0.03),
    (sl.lion(0.95, 0.98), 0.05, 0.02, 0.03),
    (sl.signum(0.9), 0.05, 0.02, 0.03),
    (sl.signum(0.99), 0.05, 0.025, 0.035),
    (sl.adam(0.9, 0.95), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.99), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.995), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.998), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.999), 0.5, 0.02, 0.02),
    (sl.adam(0.99, 0.999), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.99, bias_correction=False), 0.5, 0.02, 0.02),
    (sl.adam(0.9, 0.999, bias_correction=False), 0.5, 0.02, 0.02),
    (sl.nadam(0.9, 0.99), 0.5, 0.02, 0.02),
    (sl.s3(0.9), 0.5, 0.02, 0.02),
    (sl.rmsprop(0.99), 0.5, 0.02, 0.02),
]


def named(rule):
    return f"{rule.name}({', '.join(str(value) for value in rule.hyperparameters.values())})"


def rotated(d):
    rng = np.random.default_rng(7)
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    values = np.arange(1.0, d + 1) ** -0.5
    return sl.covariance.dense((Q * values * d / values.sum()) @ Q.T)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize(("rule", "lr", "allowed", "allowed_heavy"), RULES, ids=[named(rule[0]) for rule in RULES])
def test_memory_is_right_at_all_times(rule, lr, allowed, allowed_heavy, setting):
    d = 512
    covariance = heteroscedastic(sl.covariance.ar1(d, 0.6) if setting[0] == "ar1" else rotated(d))
    noise = sl.noise.Gaussian(0.5) if setting[1] == "gaussian" else sl.noise.StudentT(3.0, 0.4)
    theta = 1.5 * np.random.default_rng(1).normal(size=d) / np.sqrt(d)
    problem = sl.LinearRegression(covariance, noise, theta_star=theta)
    t = np.concatenate([[0], np.array([4, 8, 16, 32]) / d, np.linspace(0.125, 5, 40)])
    runs = sl.simulate(problem, rule, lr, t=t, n_runs=192, seed=3, progress=False)
    curve = sl.solve_ode(problem, rule, lr, t=t, aligned=False)
    gap = np.abs(curve.risk / runs.mean - 1)
    error = runs.standard_error / runs.mean
    assert np.max(gap) < (allowed_heavy if setting[1] == "t3" else allowed) + 2 * np.max(error)
    assert np.max(error) < 0.01
