"""Limit coefficients of SGD and signSGD."""

import pickle

import jax
import numpy as np
import optax
import pytest
from scipy.special import gamma

import sdelimit as sl
from sdelimit.experiments.comparison_run import _theory
from sdelimit.limits.exact.sign import batch_sign_drift
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.infinite import InfiniteProblem
from sdelimit.support.progress import progress_bar


def test_gaussian_batch_drift_is_the_ratio_of_gamma_functions():
    """Theory section 10: 2/pi becomes sqrt(2/pi) sqrt(2) Gamma((b+1)/2) / Gamma(b/2)."""
    risk, v = np.array([0.01, 1.0, 30.0]), 0.5
    for b in (1, 2, 8, 64):
        expected = np.sqrt(2 / np.pi) * np.sqrt(2) * gamma((b + 1) / 2) / gamma(b / 2) / np.sqrt(2 * risk + v**2)
        coefficients = sl.limit_coefficients(sl.sign_sgd(), sl.noise.Gaussian(v), batch_size=b)
        np.testing.assert_allclose(coefficients.phi(risk), expected, rtol=1e-12)


RULES_OF_FINITE_VARIANCE = [sl.sgd(), sl.long_memory_adam(0.9, 0.999), sl.from_optax(optax.trace(0.5))]


@pytest.mark.parametrize("rule", RULES_OF_FINITE_VARIANCE, ids=lambda rule: rule.name)
def test_where_there_is_no_limit_the_error_has_the_reason_apart(rule):
    with pytest.raises(NoLimitError) as caught:
        rule.limit(InfiniteProblem(sl.noise.Cauchy(0.3)), 1)
    error = caught.value
    assert error.reason.startswith("noise must have finite variance") and error.reason.endswith("E[eps^2] = inf")
    assert str(error) == f"{error.reason}: {error.consequence}" == str(pickle.loads(pickle.dumps(error)))


def test_only_a_missing_limit_is_reported_as_one():
    """Any other error of a rule's limit is an error of the comparison."""
    problem = sl.LinearRegression(np.ones(4), sl.noise.Cauchy(0.3))
    given = {"t": np.array([0.0, 1.0]), "batch_size": 1}
    shown = progress_bar(False, 2, "stage"), "a rule"
    assert _theory(problem, sl.sgd(), 0.1, 1, 0, given, *shown).endswith("E[eps^2] = inf")

    def broken(noise, batch_size):
        raise ValueError("my limit: is broken")

    with pytest.raises(ValueError, match="my limit: is broken"):
        _theory(problem, sl.Optimizer("broken", optax.identity(), broken), 0.1, 1, 0, given, *shown)


@pytest.mark.parametrize("b", [2, 3, 8])
def test_batch_quadrature_agrees_with_the_gaussian_closed_form(b):
    noise, risk = sl.noise.Gaussian(0.5), np.array([1e-4, 0.1, 1e3])
    closed = sl.limit_coefficients(sl.sign_sgd(), noise, batch_size=b).phi(risk)
    quadrature = evaluate_in_float64(lambda R: batch_sign_drift(noise, b, R), risk)
    np.testing.assert_allclose(quadrature, closed, rtol=1e-10)


@pytest.mark.parametrize(
    "noise",
    [pytest.param(sl.noise.Cauchy(0.3), marks=pytest.mark.slow), sl.noise.StudentT(1.5, 0.3), sl.noise.TwoPoint(0.6)],
    ids=repr,
)
@pytest.mark.slow
def test_batch_drift_is_the_expectation_of_theory_section_10(noise):
    """phi_b = sqrt(2/pi) (1/s) E[sum_j l_j z_j / sqrt(sum_j l_j^2)], by brute force."""
    b, s, n = 4, 0.6, 1_000_000
    z = np.random.default_rng(0).standard_normal((n, b))
    residual = s * z - np.asarray(noise.sample(jax.random.key(0), (n, b)), np.float64)
    values = np.sqrt(2 / np.pi) / s * np.sum(residual * z, axis=1) / np.sqrt(np.sum(residual**2, axis=1))
    phi = sl.limit_coefficients(sl.sign_sgd(), noise, batch_size=b).phi(s**2 / 2)
    error = values.std() / np.sqrt(n)
    assert error < 0.01 * phi
    assert abs(values.mean() - phi) < 4 * error


def test_kernels_of_sgd_and_sign_sgd():
    rho = np.linspace(-1, 1, 9)
    sign = sl.limit_coefficients(sl.sign_sgd(), sl.noise.Cauchy(1.0))
    np.testing.assert_allclose(sign.kappa(rho, 0.3), 2 / np.pi * np.arcsin(rho), rtol=1e-12)
    sgd = sl.limit_coefficients(sl.sgd(), sl.noise.Gaussian(0.5), batch_size=2)
    np.testing.assert_allclose(sgd.kappa(rho, 0.3), (0.6 + 0.25) / 2 * rho, rtol=1e-12)
    np.testing.assert_allclose(sgd.phi([0.1, 1.0]), 1.0)
