"""What an optimizer is asked for: limit(problem, batch_size), once in each call."""

import dataclasses

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.limits.exact.long_memory_adam import LongMemoryLimit
from sdelimit.problem.infinite import InfiniteProblem

PROBLEM = sl.LinearRegression(sl.covariance.ar1(12, 0.5), sl.noise.Gaussian(0.5))
CALLS = {
    "solve_ode": lambda rule: sl.solve_ode(PROBLEM, rule, 0.3, 1.0, aligned=False),
    "solve_ode, several lr": lambda rule: sl.solve_ode(PROBLEM, rule, [0.2, 0.3], 1.0, aligned=False),
    "solve_sde": lambda rule: sl.solve_sde(PROBLEM, rule, 0.3, 1.0, n_paths=2, aligned=False),
    "effects": lambda rule: sl.effects(PROBLEM, rule, 0.3, 1.0),
    "directional_sharpness": lambda rule: sl.directional_sharpness(PROBLEM, rule),
    "stationary_risk": lambda rule: sl.stationary_risk(PROBLEM, rule, [0.1, 0.3]),
    "max_stable_lr": lambda rule: sl.max_stable_lr(PROBLEM, rule),
    "convergence_rate": lambda rule: sl.convergence_rate(PROBLEM, rule, 0.3),
    "match_schedule": lambda rule: sl.match_schedule(PROBLEM, sl.sgd(), rule, 0.3, 1.0),
    "match_schedule from it": lambda rule: sl.match_schedule(PROBLEM, rule, sl.sgd(), 0.3, 1.0),
    "limit_coefficients": lambda rule: sl.limit_coefficients(rule, PROBLEM.noise),
    "best_constant_lr": lambda rule: sl.best_constant_lr(PROBLEM, rule, t_max=1.0),
    "optimize_schedule": lambda rule: sl.optimize_schedule(PROBLEM, rule, 1.0, n_knots=2, iterations=1),
}
SLOW = "effects", "best_constant_lr", "optimize_schedule"


@pytest.mark.long
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CALLS])
def test_every_call_asks_an_optimizer_once_for_its_limit(name):
    asked = []

    def limit(problem, batch_size):
        asked.append(problem)
        return sl.sign_sgd().limit(problem, batch_size)

    CALLS[name](dataclasses.replace(sl.sign_sgd(), limit=limit))
    assert len(asked) == 1


@pytest.mark.long
def test_a_limit_may_read_all_of_the_problem():
    """A rule that divides by sqrt(tr K / d): its curve at lr is SGD's at that much less."""
    trace = PROBLEM.covariance.scaled(3.0)
    problem = sl.LinearRegression(trace, PROBLEM.noise)

    def limit(problem, batch_size):
        size = np.sqrt(problem.covariance.mean_variance)
        plain = sl.sgd().limit(problem, batch_size)
        return dataclasses.replace(
            plain, phi=lambda R: plain.phi(R) / size, psi=lambda R: plain.psi(R) / size**2, fluctuations=None
        )

    rule = sl.Optimizer("divided", sl.sgd().transform, limit)
    assert problem.covariance.mean_variance == pytest.approx(9.0, rel=1e-12)
    t = [0.5, 1.0]
    np.testing.assert_allclose(
        sl.solve_ode(problem, rule, 0.3, t=t, aligned=False).risk,
        sl.solve_ode(problem, sl.sgd(), 0.1, t=t, aligned=False).risk,
        rtol=1e-5,
    )


def test_in_infinite_dimension_hyperparameters_stay_as_they_are():
    """Adam's second moment then settles at once: b2 fixed, or, for the long-memory limit, V = 2P."""
    noise, R = sl.noise.Gaussian(0.5), np.array([0.1, 2.0])
    limit = sl.long_memory_adam(0.9, 0.999).limit(InfiniteProblem(noise), 1)
    assert not isinstance(limit, LongMemoryLimit)
    quasi_stationary = sl.limit_coefficients(sl.long_memory_adam(0.9, 0.999), noise)
    np.testing.assert_allclose(quasi_stationary.phi(R), 1 / np.sqrt(2 * R + 0.25), rtol=1e-12)
    np.testing.assert_allclose(quasi_stationary.kappa(0.5, R), 0.5, rtol=1e-12)
    coefficients = [sl.limit_coefficients(sl.adam(0.5, 0.99, memory=m), noise) for m in ("auto", "fixed", "long")]
    for c in coefficients[1:]:
        np.testing.assert_array_equal(c.phi(R), coefficients[0].phi(R))
