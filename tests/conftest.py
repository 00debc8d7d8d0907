"""Problems and laws that several test files use."""

import numpy as np
import pytest
from scipy import stats

import sdelimit as sl

LAWS = {
    "gaussian": (sl.noise.Gaussian(0.5), stats.norm(scale=0.5)),
    "student_t(1.5)": (sl.noise.StudentT(1.5, 0.3), stats.t(1.5, scale=0.3)),
    "student_t(2)": (sl.noise.StudentT(2.0, 0.3), stats.t(2.0, scale=0.3)),
    "student_t(7.3)": (sl.noise.StudentT(7.3, 1.2), stats.t(7.3, scale=1.2)),
    "student_t(60)": (sl.noise.StudentT(60.0, 0.4), stats.t(60.0, scale=0.4)),
    "cauchy": (sl.noise.Cauchy(0.3), stats.cauchy(scale=0.3)),
    "laplace": (sl.noise.Laplace(0.4), stats.laplace(scale=0.4)),
    "uniform": (sl.noise.Uniform(0.8), stats.uniform(loc=-0.8, scale=1.6)),
    "density": (
        sl.noise.Density(lambda e: np.exp(-np.abs(e) / 0.4) / 0.8),
        stats.laplace(scale=0.4),
    ),
}
"""Laws with a density, next to SciPy's version of each."""

MIXTURE = sl.noise.GaussianMixture([0.3, 0.5, 0.2], [-1.0, 0.2, 1.5], [0.5, 0.1, 0.8])


def heteroscedastic(covariance, seed=0):
    """The covariance with coordinates rescaled by factors between 1/2 and 2."""
    factors = np.exp(np.random.default_rng(seed).uniform(np.log(0.5), np.log(2), covariance.d))
    return covariance.scaled(factors)


def assert_mean_follows(runs, theory, bias_times_d=5.0):
    """The mean of runs is within 4 standard errors plus O(1/d) of the theory at all times.

    Less than 5% of the theory may hide in that: a coefficient that is wrong by 5% shows.
    """
    expected = theory.at(runs.t)
    allowed = 4 * runs.standard_error + bias_times_d / runs.problem.d * expected
    assert np.max(allowed / expected) < 0.05
    gap = np.abs(runs.mean - expected)
    worst = int(np.argmax(gap / allowed))
    assert np.all(gap <= allowed), f"gap {gap[worst] / expected[worst]:.2%} at t = {runs.t[worst]:.3g}"


@pytest.fixture(scope="session")
def small_problem():
    """A 60-dimensional correlated, heteroscedastic problem with Gaussian noise."""
    return sl.LinearRegression(heteroscedastic(sl.covariance.ar1(60, 0.5)), sl.noise.Gaussian(0.4))
