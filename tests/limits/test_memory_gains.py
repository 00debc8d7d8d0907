"""Laws with memory resolved: their gains against loops of NumPy, and where they end."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.limits.sampled.laplace_transform import ratio_drift, signed_drift
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.ratio_memory import LONGEST_RATE
from sdelimit.limits.sampled.sign_memory import _gain_table
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.truncated_history import ratio_drifts, signed_gains
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.precision import evaluate_in_float64

SIGNUM = SignedRule(Weights(0.0, 1.0, 0.8))
LION = SignedRule(Weights(0.1 - 0.9 * 0.05 / 0.95, 0.9 * 0.05 / 0.95, 0.95))


def histories(noise, R, batch_size, k, n, seed):
    """|l| and sum_i l_i z_i of n batches in each of k steps, and xi, in NumPy."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(k, n, batch_size))
    l = np.sqrt(2 * R) * z - noise.rvs(size=z.shape, random_state=rng)  # noqa: E741
    return np.sqrt(np.sum(l**2, axis=-1)), np.sum(l * z, axis=-1), rng.normal(size=(k, n))


def weights_of(weights, k):
    return np.where(np.arange(k) == 0, weights.now, 0.0) + weights.past * weights.decay ** np.arange(k)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_the_drift_of_the_first_steps_of_adam_is_that_of_a_loop(k):
    from scipy import stats

    a, w = Weights(0.0, 0.1, 0.9), Weights(0.0, 0.05, 0.95)
    size, slope, xi = histories(stats.norm(scale=0.0001), 0.5, 1, k, 400_000, k)
    g, a_j, w_j = size * xi, weights_of(a, k)[:, None], weights_of(w, k)[:, None]
    # s E[F z xi] summed over the history: Stein's lemma for the tangent along z.
    F = np.sum(a_j * g, axis=0) / np.sqrt(np.sum(w_j * g**2, axis=0))
    samples = F * np.sum(slope / size * xi, axis=0)
    error = samples.std() / np.sqrt(samples.size)
    assert error < 0.01 * samples.mean()
    assert abs(samples.mean() - ratio_drifts(a, w, 1, [k])[0]) < 4 * error


def test_long_histories_have_the_stationary_drift():
    a, w = Weights(0.0, 0.1, 0.9), Weights(0.0, 0.01, 0.99)
    for b in (1, 3):
        stationary = ratio_drift(a, w, sl.noise.NoNoise(), [0.5], b)[0]
        assert abs(ratio_drifts(a, w, b, [20_000])[0] / stationary - 1) < 1e-6
    # The first step of any such rule is a sign, of which the drift is (2/pi) / s.
    assert abs(ratio_drifts(a, w, 1, [1])[0] / (0.1 / 0.01**0.5) - 2 / np.pi) < 1e-6


@pytest.mark.parametrize("rule", [SIGNUM, LION], ids=["signum", "lion"])
@pytest.mark.parametrize(("k", "batch_size", "signal"), [(1, 1, 0.0), (6, 1, 0.0), (6, 1, 3.0), (6, 2, 3.0)])
def test_the_gains_of_signs_are_those_of_a_loop(rule, k, batch_size, signal):
    from scipy import stats

    R, law, twin = 0.3, sl.noise.StudentT(3.0, 0.4), stats.t(3.0, scale=0.4)
    size, slope, _ = histories(twin, R, batch_size, k, 200_000, k)
    b = weights_of(rule.b, k)[:, None]
    root = np.sqrt(np.sum(b**2 * size**2, axis=0) + 2 * R * signal)
    parts = np.sqrt(2 / np.pi) * b * slope / root / np.sqrt(2 * R)
    found = signed_gains(rule.b, law, batch_size, R, [k], np.array([[signal]]))[:, 0, 0]
    for samples, gain in zip((parts[0], parts[1:].sum(axis=0)), found, strict=True):
        error = samples.std() / np.sqrt(samples.size)
        assert abs(samples.mean() - gain) < 4 * error + 1e-12
        assert error <= 0.0125 * abs(gain)


@pytest.mark.parametrize("rule", [SIGNUM, LION], ids=["signum", "lion"])
def test_gains_of_all_histories_make_the_stationary_drift(rule):
    law = sl.noise.Laplace(0.4)
    gains = signed_gains(rule.b, law, 1, 0.3, [5000], np.zeros((1, 1)))
    assert abs(gains.sum() / signed_drift(rule.b, law, [0.3])[0] - 1) < 1e-6


@pytest.mark.parametrize("law", [sl.noise.Gaussian(0.5), sl.noise.Cauchy(0.3)], ids=str)
def test_the_table_of_gains_is_what_it_tabulates(law):
    for rule in (SIGNUM, LION):
        table = _gain_table(rule, law, 2)
        for R, k, share in [(0.01, 2, 0.1), (0.3, 7, 1.0), (5.0, 60, 4.0), (0.3, 10_000, 0.0), (0.3, 1, 0.0)]:
            Y = share * table.of_noise(R, k) / table.signal
            exact = signed_gains(rule.b, law, 2, R, [k], np.array([[4 * table.signal * Y / (2 * R)]]))[:, 0, 0]
            exact /= rule.drift(law, [R], 2)
            found = evaluate_in_float64(table, R, float(k), Y)
            assert abs(found[0] / exact[0] - 1) < 0.004
            if k > 1:
                assert abs(found[1] / (exact[1] / (1 - rule.b.decay ** (k - 1))) - 1) < 0.004


@pytest.mark.long
def test_short_memories_have_the_plain_limit():
    d = int(LONGEST_RATE / (1 - 0.5)) + 1
    problem = sl.LinearRegression(sl.covariance.identity(d), sl.noise.Gaussian(0.5))
    for rule in (sl.adam(0.5, 0.5), sl.signum(0.5), sl.s3(0.5), sl.nadam(0.5, 0.5), sl.rmsprop(0.5)):
        assert not rule.limit(problem, 1).resolves_memory
    small = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(0.5))
    assert sl.signum(0.5).limit(small, 1).resolves_memory
    assert not sl.signum(0.5, memory="fixed").limit(small, 1).resolves_memory
    assert sl.signum(0.5).limit(small, 1).without_memory.size == 1


def test_adam_without_bias_correction_is_what_its_formula_says():
    g = np.random.default_rng(0).normal(size=(7, 3))
    transform = sl.adam(0.8, 0.9, bias_correction=False).transform
    assert isinstance(transform, optax.GradientTransformation)
    state, m, v = transform.init(np.zeros(3)), np.zeros(3), np.zeros(3)
    for step in g:
        u, state = transform.update(step, state)
        m, v = 0.8 * m + 0.2 * step, 0.9 * v + 0.1 * step**2
        assert np.allclose(u, m / np.sqrt(v), rtol=1e-5)


def relaxed(rule, q_of_t, t):
    """The scalars of a rule at time t, by SciPy."""
    relaxation = functools.partial(evaluate_in_float64, lambda q: jnp.stack(rule.relaxation(q)))

    def slope(time, m):
        rate, target = relaxation(q_of_t(time))
        return rate * (target - m)

    return solve_ivp(slope, (0.0, t), rule.initial_scalars(), rtol=1e-8, atol=1e-12).y[:, -1]


@pytest.mark.parametrize("name", ["adam", pytest.param("signum", marks=pytest.mark.long)])
def test_scalars_remember_as_averages_over_steps_do(name):
    """R and the signal fall like exp(-3 t) and exp(-t): weighted means over the steps, d = 4000, within 0.5%."""
    d, t = 4000, 0.5
    problem = sl.LinearRegression(sl.covariance.identity(d), sl.noise.Gaussian(0.5))
    optimizer, decay, beta = {
        "adam": (sl.adam(0.99, 0.998), 0.998, 0.99),
        "signum": (sl.signum(0.998), 0.998**2, 0.998),
    }[name]
    rule = optimizer.limit(problem, 1).rule
    m = relaxed(rule, lambda time: np.array([2 * np.exp(-3 * time), 5 * np.exp(-time), 0.0]), t)
    k = np.arange(int(t * d))
    age = k[-1] - k
    mean = np.average(np.exp(-3 * k / d), weights=decay**age)
    assert abs(evaluate_in_float64(rule.remembered, np.exp(-3 * t), m[0], m[1]) / mean - 1) < 0.005
    # S' = beta^2 S + 2 beta (1 - beta) sum_i lambda_i B_i, which is all of it where memories are long.
    S = np.sum(2 * beta * (1 - beta) * 5 * np.exp(-k / d) * beta ** (2 * age))
    assert abs(m[2] / S - 1) < 0.02


def test_gains_of_adam_fall_with_the_signal_as_its_response_bends():
    """Against E[G(r) r] / (G'(0) E r^2) over Gaussian correlations of mean square 0.01, within 10% of the fall."""
    problem = sl.LinearRegression(sl.covariance.identity(400))
    rule = sl.adam(0.9, 0.95).limit(problem, 1).rule
    R, C = 0.5, 0.01
    S = C * 2 * R * problem.d  # long after the start: the filter is full
    fall = float(
        evaluate_in_float64(lambda S: rule.saturation(jnp.array([2 * R, 0.0, 0.0]), jnp.array([9.0, R, S])), S)
    )
    x, weights = np.polynomial.hermite_e.hermegauss(9)
    weights = weights / weights.sum()
    ratio = RatioRule(Weights(0.0, 0.1, 0.9), Weights(0.0, 0.05, 0.95), 2)
    r = np.abs(x) * C**0.5 + 1e-4
    G = ratio.response(sl.noise.NoNoise(), R, 1, r)
    slope = ratio.response(sl.noise.NoNoise(), R, 1, np.array([1e-3]))[0] / 1e-3
    exact = 1 - weights @ (G * r) / (slope * weights @ r**2)
    assert exact > 0.01
    assert abs(fall / rule.kurtosis / (exact / (1 - exact)) - 1) < 0.1
