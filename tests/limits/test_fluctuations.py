"""What single runs do beyond the noise matrix: closed forms and tables against residuals drawn one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl
from sdelimit.limits.exact.step_fluctuations import SignFluctuations, sampled_fluctuations, sgd_fluctuations
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.spread_along_mean import at_one_risk
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.precision import evaluate_in_float64

R, V, N = 0.3, 0.5, 2_000_000
S = np.sqrt(2 * R)
NOISE = sl.noise.Gaussian(V)


def by_drawing(weight, batch_size, factor=1.0):
    """gamma, spread and coupling as limits/exact/step_fluctuations.py defines them, and the standard error of each."""
    z, eps = np.random.default_rng(0).standard_normal((2, 20, N // 20, batch_size))
    residual = S * z - V * eps
    length = np.sqrt(np.sum(residual**2, axis=-1)) / batch_size
    w = weight(length)
    T, E = np.sqrt(factor) * w * np.mean(residual * z, axis=-1), (w * length) ** 2
    psi = E.mean(axis=1)
    gamma = (np.var(T, axis=1) - factor * psi) / S**2
    spread = np.var(E, axis=1) / psi**2
    coupling = (np.mean(T * E, axis=1) - T.mean(axis=1) * psi) / (S * psi)
    columns = np.stack([gamma, spread, coupling])
    return columns.mean(axis=1), columns.std(axis=1, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_sgd_are_moments_of_gaussian_residuals(batch_size):
    expected, error = by_drawing(np.ones_like, batch_size)
    assert np.all(error < 0.01 * np.abs(expected))
    found = np.array(evaluate_in_float64(sgd_fluctuations(NOISE, batch_size), R))
    assert np.all(np.abs(found - expected) < 4 * error)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_signs_come_from_the_drift_and_the_batch(batch_size):
    """With w = 1/|l| all steps are as long as each other, and T^2 carries 2/pi; a batch of one has only -phi^2."""
    expected, error = by_drawing(np.reciprocal, batch_size, 2 / np.pi)
    phi = sl.limit_coefficients(sl.sign_sgd(), NOISE, batch_size).limit.phi
    found = np.array(evaluate_in_float64(SignFluctuations(phi, V**2, float(batch_size)), R))
    assert error[0] < 0.01 * abs(expected[0])
    assert abs(found[0] - expected[0]) < 4 * error[0]
    np.testing.assert_allclose(found[1:], 0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_those_of_clipping_are_tabulated(batch_size):
    def weight(length):
        return np.minimum(1.0, 0.7 / length)

    expected, error = by_drawing(weight, batch_size)
    table = sampled_fluctuations(weight, NOISE, batch_size, np.log([R / 2, R, 2 * R]))
    found = np.array(evaluate_in_float64(table, R))
    assert np.all(np.abs(found - expected) < 4 * error + 4e-3)


def test_those_of_sgd_do_not_jump_where_a_diffusion_cannot():
    """Without a fourth moment the risk moves by jumps: only the finite part is left."""
    gamma, spread, coupling = sgd_fluctuations(sl.noise.StudentT(3.0, 0.5), 2)(jnp.asarray(R))
    assert gamma == 0.5 and spread == 0 and coupling == 0


def by_gradient_histories(rule, variances, risk, steps=1000, histories=1000, copies=3, memory=45):
    """gamma / phi^2 and its standard error, for noise of normals with random ``variances``.

    A_s = E[dW_s / d xi_s | l] with W_s = g_s sum_m a_m V_{s+m}^(-1/2), and E[z | l, tau] = s q / tau where l = tau q.
    So gamma = LRV(q A / tau) - E[A^2 / tau^2], the first from sums over long windows. Products of means over
    different copies of xi are those of conditional means.
    """
    a, w = ([x.now + x.past, *(x.past * x.decay**j for j in range(1, memory))] for x in (rule.a, rule.w))
    rng = np.random.default_rng(0)
    tau = np.sqrt(2 * risk + variances(rng, (histories, steps)))
    q = rng.normal(size=tau.shape)
    l = tau * q  # noqa: E741
    A = np.zeros((2, *l.shape))
    for copy in range(2 * copies):
        g = l * rng.normal(size=l.shape)
        V = sum(w[j] * np.roll(g**2, j, axis=1) for j in range(memory))
        first, third = V**-0.5, V**-1.5
        for m in range(memory):
            A[copy % 2] += a[m] * l * (np.roll(first, -m, axis=1) - w[m] * g**2 * np.roll(third, -m, axis=1)) / copies
    window = np.sin(np.pi * (np.arange(steps) + 0.5) / steps) ** 2
    X = q * A / tau
    products = np.prod([(window * (one - X.mean())).sum(axis=1) for one in X], axis=0) / np.sum(window**2)
    gamma, phi2 = products.mean() - np.mean(A[0] * A[1] / tau**2), X.mean() ** 2
    return gamma / phi2, np.std(products) / np.sqrt(histories) / phi2


@pytest.mark.long
@pytest.mark.parametrize(
    ("noise", "variances", "risk"),
    [
        (sl.noise.Laplace(0.5), lambda rng, shape: 2 * 0.5**2 * rng.exponential(size=shape), 0.02),
        (sl.noise.Gaussian(0.5), lambda rng, shape: np.full(shape, 0.5**2), 0.5),
    ],
    ids=["laplace", "gaussian"],
)
def test_those_of_rules_with_memory_are_those_of_gradient_histories(noise, variances, risk):
    rule = RatioRule(Weights(0.0, 0.2, 0.8), Weights(0.0, 0.15, 0.85), 2)
    expected, error = by_gradient_histories(rule, variances, risk)
    assert error < 0.1
    assert at_one_risk(rule, noise, risk, 1) == pytest.approx(expected, abs=4 * error)


def test_that_of_long_memories_is_half_that_of_signs():
    """gamma / phi^2 is -1 for signs, and -(1 - Var(l^2) / (4 (2P)^2)) / b for long memories: -1/2 at b = 1."""
    none = sl.noise.NoNoise()
    assert at_one_risk(SignedRule(Weights(1.0, 0.0, 0.0)), none, 0.5, 1) == pytest.approx(-1.0, abs=2e-3)
    for b in (1, 4):
        long = [SignedRule(Weights(0.0, 1.0, 0.99)), RatioRule(Weights(0.0, 0.1, 0.9), Weights(0.0, 0.01, 0.99), 2)]
        for rule in long:
            assert at_one_risk(rule, none, 0.5, b) == pytest.approx(-0.5 / b, abs=0.01)


@pytest.mark.parametrize(
    ("rule", "gamma"),
    [
        (RatioRule(Weights(1.0, 0.0, 0.0), Weights(0.0, 0.1, 0.9), 2), -0.385 / 0.865993**2),
        (SignedRule(Weights(0.0, 1.0, 0.9)), -6.27 / 3.501**2),
    ],
    ids=["rmsprop", "signum"],
)
def test_that_of_rmsprop_and_signum_is_as_sampled(rule, gamma):
    """Of sampled histories, good to 0.02 of E[A^2]: kappa'(0) / phi^2 is 1.02 for both."""
    assert at_one_risk(rule, sl.noise.NoNoise(), 0.5, 1) == pytest.approx(gamma, abs=0.03)
