"""Risk curves of the memoryful rules: the ODE against runs of the rules themselves."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

D, RUNS, T_MAX = 1024, 96, 5.0
RULES = [
    (sl.adam(0.9, 0.99), 0.5),
    (sl.rmsprop(0.9), 0.5),
    (sl.nadam(0.9, 0.99), 0.5),
    (sl.s3(0.9, 3), 0.7),
    (sl.signum(0.9), 0.12),
    (sl.lion(0.95, 0.98), 0.05),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "noise", [sl.noise.Gaussian(0.5), sl.noise.Laplace(0.3), sl.noise.StudentT(3.0, 0.3)], ids=repr
)
def test_ode_follows_the_mean_of_simulated_runs(noise):
    covariance = sl.covariance.ar1(D, 0.6).scaled(np.exp(np.linspace(-0.7, 0.7, D)))
    problem = sl.LinearRegression(covariance, noise, seed=1)
    optimizers, lrs = zip(*RULES, strict=True)
    runs = sl.simulate(problem, list(optimizers), list(lrs), t=np.linspace(0, T_MAX, 101), n_runs=RUNS, seed=3)
    for optimizer, lr, run in zip(optimizers, lrs, runs, strict=True):
        theory = sl.solve_ode(problem, optimizer, lr, t=run.t)
        start, bound = (1.0, 0.05) if optimizer.name == "lion" else (0.25, 0.025)
        late = run.t >= start
        assert np.max(np.abs(theory.risk / run.mean - 1)[late]) < bound, optimizer.name


@pytest.mark.slow
def test_ode_follows_batches_on_a_rotated_power_law():
    covariance = sl.covariance.power_law(512, 0.5, rotate=True).scaled(np.exp(np.linspace(-0.5, 0.5, 512)))
    problem = sl.LinearRegression(covariance, sl.noise.Laplace(0.2), seed=2)
    rules = [sl.adam(0.8, 0.95), sl.signum(0.7)]
    runs = sl.simulate(problem, rules, [0.5, 0.2], t=np.linspace(0, 3, 61), n_runs=RUNS, seed=4, batch_size=4)
    for optimizer, lr, run in zip(rules, [0.5, 0.2], runs, strict=True):
        theory = sl.solve_ode(problem, optimizer, lr, t=run.t, batch_size=4)
        assert np.max(np.abs(theory.risk / run.mean - 1)[run.t >= 0.25]) < 0.04, optimizer.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "noise", [sl.noise.Gaussian(0.3), sl.noise.Laplace(0.3), sl.noise.StudentT(3.0, 0.3)], ids=repr
)
def test_ode_of_s_adam_is_within_two_and_a_half_percent_of_the_simulated_mean(noise):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(1024, 0.5)), noise)
    rule = sl.s_adam(brake=1.0, probe_scale=0.5, n_probes=4, bias_correction=True)
    runs = sl.simulate(problem, rule, 0.5, t=np.linspace(0, 5, 21)[1:], n_runs=96)
    report = sl.compare(sl.solve_ode(problem, rule, 0.5, t=runs.t), runs)
    assert report.max_relative_error < 0.025
    plain = sl.solve_ode(problem, sl.adam(0.9, 0.99, memory="fixed"), 0.5, t=runs.t)
    assert np.abs(runs.mean / plain.risk - 1).max() > 0.1
