"""S-Adam: its limit against the rule with its real probes."""

import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl


@pytest.mark.slow
@pytest.mark.parametrize(
    "noise", [sl.noise.Gaussian(0.3), sl.noise.Laplace(0.3), sl.noise.StudentT(3.0, 0.3)], ids=repr
)
def test_ode_is_within_two_and_a_half_percent_of_the_simulated_mean(noise):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(1024, 0.5)), noise)
    rule = sl.s_adam(brake=1.0, probe_scale=0.5, n_probes=4, bias_correction=True)
    runs = sl.simulate(problem, rule, 0.5, t=np.linspace(0, 5, 21)[1:], n_runs=96)
    report = sl.compare(sl.solve_ode(problem, rule, 0.5, t=runs.t), runs)
    assert report.max_relative_error < 0.025
    plain = sl.solve_ode(problem, sl.adam(0.9, 0.99, memory="fixed"), 0.5, t=runs.t)
    assert np.abs(runs.mean / plain.risk - 1).max() > 0.1
