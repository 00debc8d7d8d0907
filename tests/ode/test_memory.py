"""Curves of rules with memory: against step-by-step recursions written in NumPy, and against runs."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_mean_follows, heteroscedastic
from scipy.special import k0e, k1e

import sdelimit as sl
from sdelimit.limits.exact.step_fluctuations import Fluctuation
from sdelimit.limits.noise_kernel import SPLIT_BASIS
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.precision import x64
from sdelimit.sde.modes import _of_gradients

pytestmark = pytest.mark.long

D, T, VARIANCE = 2000, 1.0, 0.25


def diagonal_problem():
    rng = np.random.default_rng(0)
    covariance = sl.covariance.diagonal(np.exp(rng.uniform(np.log(0.3), np.log(3.0), D)))
    return sl.LinearRegression(covariance, sl.noise.Gaussian(VARIANCE**0.5), theta_star=rng.normal(size=D) / np.sqrt(D))


def recursion(problem, eta, beta, gains):
    """R after each step: A = E w^2, B = E w y, C = E y^2 of u = p0 g + p1 y + zeta, with K diagonal.

    ``gains(k, R, R_so_far, S)`` gives p0, p1, N and Z over sigma_i; S is the sum of C without its noise.
    """
    lam, h, o = problem.covariance.std, eta / problem.d, 1 - beta
    A, B, C, S = lam * problem.delta0**2, np.zeros(D), np.zeros(D), 0.0
    risks = [np.sum(lam * A) / 2]
    for k in range(int(T * problem.d)):
        p0, p1, N, Z = gains(k, risks[-1], risks, S)
        a, b, N = 1 - h * p0 * lam, -h * p1, N * lam
        S = beta**2 * S + np.sum(2 * beta * o * lam * B + o**2 * lam**2 * A)
        A, B, C = (
            a**2 * A + 2 * a * b * B + b**2 * C + h**2 * (p0**2 * N + Z * lam),
            beta * (a * B + b * C) + o * lam * (a * A + b * B) - h * p0 * o * N,
            beta**2 * C + 2 * beta * o * lam * B + o**2 * (lam**2 * A + N),
        )
        risks.append(np.sum(lam * A) / 2)
    return np.array(risks)


def signum_gains(problem, beta, rule):
    """The closed gains of section 17 under Gaussian noise, with q and Y numbers."""
    limit = tabulated_limit(rule, problem.noise, 1, basis=SPLIT_BASIS)
    kernel = np.asarray(limit.psi(0.5))
    rest, N_over_2P = kernel[1:].sum(), kernel[0] / float(limit.phi(0.5)) ** 2 / (1 + VARIANCE)
    x = problem.covariance.std * problem.delta0
    sigma = problem.covariance.std
    kurtosis = np.average(x**4, weights=sigma) / (3 * np.average(x**2, weights=sigma) ** 2)
    b0, b1 = 1 - beta, beta
    state = {"q": 0.0}

    def gains(k, R, risks, S):
        P2 = 2 * R + VARIANCE
        if k == 0:
            return 2 / np.pi / np.sqrt(P2), 0.0, N_over_2P * P2, rest / (1 + 2 * 0.0)
        state["q"] = beta**2 * state["q"] + (1 - beta) ** 2 * (2 * risks[-2] + VARIANCE)
        a = b1**2 * (state["q"] + kurtosis * S / sigma.sum()) / (b0**2 * P2)
        value = k0e(a / 4) / np.sqrt(2 * np.pi)
        slope = (k0e(a / 4) - k1e(a / 4)) / (4 * np.sqrt(2 * np.pi))
        p0 = np.sqrt(2 / np.pi) * (-2 * a * slope) / np.sqrt(P2)
        p1 = np.sqrt(2 / np.pi) * (b1 / b0) * value / np.sqrt(P2)
        return p0, p1, N_over_2P * P2, rest

    return gains


@pytest.mark.parametrize(("beta", "eta", "rest", "plain_gap"), [(0.95, 0.1, 0.001, 0.005), (0.99, 0.05, 0.006, 0.02)])
def test_signum_is_its_recursion_step_by_step(beta, eta, rest, plain_gap):
    problem = diagonal_problem()
    rule = SignedRule(Weights(0.0, 1.0, beta))
    expected = recursion(problem, eta, beta, signum_gains(problem, beta, rule))
    curve = sl.solve_ode(problem, sl.signum(beta), eta, t=np.arange(0, T * D + 1, 50) / D, aligned=False)
    # ``rest``: the loop takes the noise of short memory to be white whatever the signal is.
    assert np.max(np.abs(curve.risk / expected[::50] - 1)) < rest
    plain = sl.solve_ode(problem, sl.signum(beta, memory="fixed"), eta, t=curve.t, aligned=False)
    assert np.max(np.abs(plain.risk / expected[::50] - 1)) > plain_gap


def adam_gains(problem, b1, b2):
    """Section 17's gains for b2 so long that averages of squared gradients are their mean: v = EMA of 2P(R)."""

    def gains(k, R, risks, S):
        weights = (1 - b2) * b2 ** np.arange(k, -1, -1) / (1 - b2 ** (k + 1))
        past = weights @ (2 * np.array(risks) + VARIANCE)
        phi = 1 / np.sqrt(past)
        return phi * (1 - b1) / (1 - b1 ** (k + 1)), phi * b1 / (1 - b1 ** (k + 1)), 2 * R + VARIANCE, 0.0

    return gains


def test_adam_with_long_memories_is_its_recursion_step_by_step():
    problem = diagonal_problem()
    expected = recursion(problem, 0.5, 0.99, adam_gains(problem, 0.99, 0.9995))
    curve = sl.solve_ode(problem, sl.adam(0.99, 0.9995), 0.5, t=np.arange(0, T * D + 1, 50) / D, aligned=False)
    # In the first tens of steps v is far from its mean, which is what gamma(k) is for: a time of 0.01 or so.
    assert np.max(np.abs(curve.risk / expected[::50] - 1)) < 0.003
    plain = sl.solve_ode(problem, sl.adam(0.99, 0.9995, memory="long"), 0.5, t=curve.t, aligned=False)
    assert np.max(np.abs(plain.risk / expected[::50] - 1)) > 0.01


@pytest.mark.parametrize(
    ("rule", "lr"),
    [(sl.lion(0.9, 0.98), 0.08), (sl.adam(0.95, 0.99, bias_correction=False), 0.5)],
    ids=["lion", "adam"],
)
def test_runs_follow_from_the_first_steps_on(rule, lr):
    covariance = heteroscedastic(sl.covariance.ar1(256, 0.5))
    theta = np.random.default_rng(1).normal(size=256) / 16
    problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.5), theta_star=theta)
    t = np.concatenate([[0], np.array([4, 8, 16]) / 256, np.linspace(0.125, 1.5, 12)])
    runs = sl.simulate(problem, rule, lr, t=t, n_runs=128, progress=False)
    assert_mean_follows(runs, sl.solve_ode(problem, rule, lr, t=t), bias_times_d=4.0)


def test_paths_have_the_mean_of_the_ode():
    covariance = heteroscedastic(sl.covariance.ar1(128, 0.5))
    problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.5))
    curve = sl.solve_ode(problem, sl.signum(0.9), 0.1, t_max=1.0, aligned=False)
    paths = sl.solve_sde(problem, sl.signum(0.9), 0.1, t_max=1.0, n_paths=128, aligned=False, progress=False)
    assert np.all(np.abs(paths.mean - curve.risk) <= 4 * paths.standard_error + 2 / 128 * curve.risk)


def test_the_slope_in_the_learning_rate_is_the_finite_difference():
    import jax

    problem = sl.LinearRegression(sl.covariance.identity(64), sl.noise.Gaussian(0.5))

    def final(lr):
        return sl.solve_ode(problem, sl.adam(0.9, 0.99), lr, t_max=1.0, aligned=False).risk[-1]

    with jax.enable_x64(True):
        solve = jax.jit(jax.value_and_grad(final))
        (low, _), (_, slope), (high, _) = map(solve, (0.499, 0.5, 0.501))
    assert abs(float(slope) / ((high - low) / 0.002) - 1) < 1e-4


def test_a_signal_larger_than_the_noise_is_warned_of():
    problem = sl.LinearRegression(sl.covariance.ar1(64, 0.9), theta_star=np.ones(64))
    with pytest.warns(sl.LimitWarning, match="steps saturate"):
        curve = sl.solve_ode(problem, sl.signum(0.99), 0.05, t_max=1.0, aligned=False)
    assert curve.saturation > 1


def test_noise_along_the_mean_is_added_to_that_of_gradients():
    """(I + (Gamma/N) b b')^(1/2) applied to the unit vectors, b = Lambda^(1/2) w."""
    rng = np.random.default_rng(0)
    decay, w = rng.uniform(0.5, 2, 6), rng.normal(size=6)

    class Known:
        def fluctuations_at(self, R, m):
            return Fluctuation(-0.6 / (1 + R), 0.0 * R, 0.0 * R)

        def gradient_noise(self, eta, q, m):
            return 2.5 * q[0]

        def entry(self, eta, q, m):
            return jnp.array([0.0, 3.0])

    q, rows, steps = np.full((6, 3), 4.0), np.tile(w, (6, 1)), 10.0
    z = np.stack([rng.normal(size=(6, 6)), np.eye(6)], axis=1)  # of the first number nothing is seen
    given = Known(), decay, 0.1, q, np.zeros((6, 0)), steps, rows
    with x64():
        root = np.asarray(_of_gradients(*given, z, np.zeros((6, 1))))[:, 1]
    b = np.sqrt(decay) * w
    expected = np.eye(6) - 0.6 / (1 + 2.0) / 10.0 * np.outer(b, b)
    np.testing.assert_allclose(root @ root.T, expected, atol=1e-5)


@pytest.mark.parametrize(("rule", "lr"), [(sl.signum(0.9), 0.1), (sl.adam(0.9, 0.95), 0.5)], ids=["signum", "adam"])
def test_paths_spread_as_runs_do(rule, lr):
    """Within 12%, four standard errors; without the noise along the mean they would be 20% wider."""
    problem = sl.LinearRegression(sl.covariance.identity(128), sl.noise.Gaussian(0.5))
    t = [0.0, 0.5, 1.0]
    runs = sl.simulate(problem, rule, lr, t=t, n_runs=1000, progress=False)
    paths = sl.solve_sde(problem, rule, lr, t=t, n_paths=1000, aligned=False, progress=False)
    ratio = paths.risk.std(axis=0)[1:] / runs.risk.std(axis=0)[1:]
    assert np.all(np.abs(ratio - 1) < 0.12)
