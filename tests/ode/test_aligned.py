"""Risk curves where features are correlated with the residual (theory: section 15)."""

import warnings
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import heteroscedastic
from scipy import stats
from scipy.linalg import expm

import sdelimit as sl
from sdelimit.limits.response import Averages, Response
from sdelimit.limits.sampled.mean_response import ratio_response
from sdelimit.limits.sampled.ratio_response import start_table
from sdelimit.limits.sampled.truncated_history import ratio_drifts
from sdelimit.limits.sampled.weights import Weights
from sdelimit.modes.alignment import decayed
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.schedules import LearningRate

pytestmark = pytest.mark.long

TARGETS = {"1-sparse": 1, "5-sparse": 5}


def sparse(d, k):
    return np.concatenate([np.ones(k) / np.sqrt(k), np.zeros(d - k)])


def largest_gap(curve, runs, start=0.25):
    """Largest relative gap of the mean of runs from ``start`` on, and their largest relative standard error."""
    late = runs.t >= start
    gap = np.abs(runs.mean / curve.at(runs.t) - 1)[late]
    return gap.max(), (runs.standard_error / runs.mean)[late].max()


class Linear(Response):
    """G = c r and k = 1: the linear law in the equations of correlated features."""

    factor: float = eqx.field(static=True, default=1.0)

    def averages(self, law, extra, R, mean, variance, fading=0.0):
        none = jnp.zeros(0)
        slope = jnp.sqrt(2 * R) * law.drift_coefficients(R, none)[0] * jnp.ones_like(mean)
        return Averages(slope * mean, slope, law.noise_coefficients(R, none).sum() * jnp.ones_like(mean))


@pytest.mark.parametrize("law", [sl.noise.Gaussian(0.3), sl.noise.StudentT(3.0, 0.2)], ids=str)
def test_with_a_linear_response_they_are_the_equations_of_the_modes(law):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.identity(40)), law)
    rule, times = sl.adam(0.9, 0.95, memory="fixed"), np.linspace(0, 4, 41)
    limit, lr = rule.limit(problem, 1), LearningRate.of(0.3)
    plain = solve_limit(problem, rule, limit, lr, times)
    closed = solve_limit(problem, rule, limit, lr, times, response=Linear())
    np.testing.assert_allclose(closed.risk, plain.risk, rtol=1e-5)
    np.testing.assert_allclose(closed.slope, plain.slope, rtol=1e-4)
    np.testing.assert_allclose(closed.phi, plain.phi, rtol=1e-5)
    np.testing.assert_allclose(closed.modes @ closed.decay / 2, closed.risk, rtol=1e-10)


def euler(problem, lr, t_max, steps):
    """signSGD's closure for delta ~ N(m, V) under Gaussian noise, as theory section 15 states it, by Euler's method."""
    K, sigma, d, v2 = problem.covariance.to_dense(), problem.covariance.std, problem.d, problem.noise.second_moment
    khat, h = K / np.outer(sigma, sigma), t_max / steps
    x = np.linspace(-7, 7, 281)
    w = np.exp(-(x**2) / 2)
    w = w / w.sum()
    m, V, risks = problem.delta0.copy(), np.zeros((d, d)), []
    for _ in range(steps + 1):
        R = (m @ K @ m + np.sum(K * V)) / 2
        risks.append(R)
        s = np.sqrt(2 * R)
        mean, spread = K @ m / sigma / s, np.sqrt(np.diag(K @ V @ K) / sigma**2 / s**2 + 1e-10)
        r = np.clip(mean + spread * x[:, None], -1, 1) * s / np.sqrt(2 * R + v2)
        update = 2 / np.pi * np.arcsin(r)
        G, slope = w @ update, w @ (x[:, None] * update) / spread
        A = (slope / s / sigma)[:, None] * K
        N = 2 / np.pi * np.arcsin(np.clip(khat, -1, 1)) - np.outer(G, G)
        if problem.covariance.is_diagonal:
            N = np.diag(1 - w @ update**2)
        m, V = m - lr * h * G, V + h * (-lr * (A @ V + V @ A.T) + lr**2 / d * N)
    return np.array(risks)


@pytest.mark.parametrize("rotated", [False, True], ids=["diagonal", "ar1"])
def test_the_closure_is_the_limit_of_an_euler_loop_in_matrix_form(rotated):
    covariance = sl.covariance.ar1(30, 0.6) if rotated else sl.covariance.identity(30)
    problem = sl.LinearRegression(heteroscedastic(covariance), sl.noise.Gaussian(0.4), theta_star=sparse(30, 2))
    curve = sl.solve_ode(problem, sl.sign_sgd(), 0.4, t=np.linspace(0, 2, 21), aligned=True)
    coarse, fine = euler(problem, 0.4, 2.0, 400)[::20], euler(problem, 0.4, 2.0, 800)[::40]
    np.testing.assert_allclose(2 * fine - coarse, curve.risk, rtol=2e-3)
    assert np.max(np.abs(coarse / curve.risk - 1)) > 1.5 * np.max(np.abs(fine / curve.risk - 1)) - 1e-3


def test_adam_of_the_issue_follows_its_runs():
    problem = sl.LinearRegression(sl.covariance.identity(500), sl.noise.Gaussian(0.1), theta_star=sparse(500, 1))
    rule = sl.adam(0.9, 0.99)
    curve = sl.solve_ode(problem, rule, lr=0.1, t_max=3.0)
    assert curve.aligned and curve.warnings == ()
    gap, error = largest_gap(curve, sl.simulate(problem, rule, lr=0.1, t_max=3.0))
    assert 4 * error < 0.01
    assert gap < 4 * error + 0.005


def test_without_the_correction_the_size_of_the_error_is_named():
    problem = sl.LinearRegression(sl.covariance.identity(300), sl.noise.Gaussian(0.1), theta_star=sparse(300, 1))
    with pytest.warns(sl.LimitWarning, match=r"correlated with the residual .* up to 4\d\.\d% off"):
        plain = sl.solve_ode(problem, sl.sign_sgd(), lr=0.1, t_max=3.0, aligned=False)
    # arcsin(r) / r - 1 at the correlation (1 + .01)^(-1/2) of the start, with no fluctuations yet.
    r = 1 / np.sqrt(1.01)
    assert abs(plain.drift_error - (np.arcsin(r) / r - 1)) < 0.002
    assert not plain.aligned


def test_dense_problems_keep_the_linear_law():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((300, 300)))[0]
    powers = np.arange(1, 301) ** -0.5
    covariances = [sl.covariance.ar1(300, 0.5), sl.covariance.identity(300), rotation * powers @ rotation.T]
    for covariance in covariances:
        problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            curve = sl.solve_ode(problem, sl.sign_sgd(), lr=0.3, t_max=3.0)
        assert not curve.aligned and 0 <= curve.drift_error < 0.01
        closed = sl.solve_ode(problem, sl.sign_sgd(), lr=0.3, t_max=3.0, aligned=True)
        assert np.max(np.abs(closed.risk / curve.risk - 1)) < 2 * curve.drift_error


def test_each_of_several_learning_rates_has_its_own_curve():
    problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(0.1), theta_star=sparse(100, 1))
    both = sl.solve_ode(problem, sl.sign_sgd(), lr=[0.05, 0.2], t_max=2.0)
    assert both.aligned.tolist() == [True, True] and both.drift_error.shape == (2,)
    for i, lr in enumerate((0.05, 0.2)):
        alone = sl.solve_ode(problem, sl.sign_sgd(), lr=lr, t_max=2.0)
        np.testing.assert_allclose(both.select(i).risk, alone.risk, rtol=1e-6)
        assert both.select(i).aligned and both.select(i).drift_error == alone.drift_error


def exact_moments(problem, lr, b, steps):
    """E[delta delta'] of SGD after every step, from the fourth moments of Gaussian x, in matrix form."""
    K, g = problem.covariance.to_dense(), lr / problem.d
    V, risks = np.outer(problem.delta0, problem.delta0), []
    for _ in range(steps + 1):
        risks.append(np.sum(K * V) / 2)
        mean_square = K @ V @ K
        one_sample = 2 * mean_square + (np.sum(K * V) + problem.noise.second_moment) * K
        V = V - g * (K @ V + V @ K) + g**2 * (one_sample / b + (1 - 1 / b) * mean_square)
    return np.array(risks)


@pytest.mark.parametrize("b", [1, 4])
def test_sgd_step_by_step_has_its_exact_moments(b):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(10, 0.8)), sl.noise.Laplace(0.5))
    curve = sl.solve_ode(problem, sl.sgd(), 0.5, t=np.arange(41) / 10, batch_size=b, aligned=True)
    np.testing.assert_allclose(curve.risk, exact_moments(problem, 0.5, b, 40), rtol=1e-10)
    np.testing.assert_allclose(curve.modes @ curve.decay / 2, curve.risk, rtol=1e-10)
    between = sl.solve_ode(problem, sl.sgd(), 0.5, t=[0.0, 1.25, 4.0], batch_size=b, aligned=True)
    np.testing.assert_allclose(between.risk[1], (curve.risk[12] + curve.risk[13]) / 2, rtol=1e-10)


def test_sgd_that_diverges_says_so_step_by_step():
    values = np.array([30.0] + [0.1] * 49)
    problem = sl.LinearRegression(np.diag(values), sl.noise.Gaussian(0.1))
    with pytest.warns(sl.DivergenceWarning, match="diverged at t = "):
        curve = sl.solve_ode(problem, sl.sgd(), 2.0, 20.0, aligned=True)
    assert np.isfinite(curve.diverged_at) and not np.isnan(curve.risk).any()
    assert np.isinf(curve.risk[-1]) and "diverged" in curve.status


def test_a_schedule_is_followed_step_by_step():
    problem = sl.LinearRegression(np.diag(np.r_[20.0, np.ones(39)]), sl.noise.Gaussian(0.5))
    schedule = sl.schedules.linear(0.8, 3.0)
    curve = sl.solve_ode(problem, sl.sgd(), schedule, 3.0)
    assert curve.aligned and curve.warnings == ()
    y, lam = problem.delta0**2, problem.covariance.std**2
    for k in range(120):
        g = 0.8 * (1 - k / 120) / 40
        y = y * (1 - 2 * g * lam + 2 * (g * lam) ** 2) + g**2 * lam * (lam @ y + 0.25)
    np.testing.assert_allclose(curve.risk[-1], lam @ y / 2, rtol=1e-6)


def test_chebyshev_polynomials_take_the_exponential_of_a_covariance():
    covariance = heteroscedastic(sl.covariance.ar1(30, 0.9))
    root = np.sqrt(covariance.std)
    S = covariance.to_dense() / np.outer(root, root)
    values, vectors = np.linalg.eigh(S)
    y = np.random.default_rng(0).standard_normal(30)
    for tau in (0.01, 1.0, 30.0):
        expected = vectors @ (np.exp(-tau * values) * (vectors.T @ y))
        found = decayed(covariance, root, tau * values[-1], values[-1], y)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "rule", [sl.sign_sgd(), pytest.param(sl.adam(0.9, 0.95), marks=pytest.mark.slow)], ids=["sign_sgd", "adam"]
)
def test_paths_follow_the_closure_and_spread_as_runs_do(rule):
    problem = sl.LinearRegression(sl.covariance.identity(200), sl.noise.Gaussian(0.1), theta_star=sparse(200, 1))
    curve = sl.solve_ode(problem, rule, 0.3, 3.0)
    paths = sl.solve_sde(problem, rule, 0.3, 3.0, n_paths=400)
    assert curve.aligned and paths.warnings == ()
    gap, error = largest_gap(curve, paths)
    assert gap < 4 * error + 0.002 and 4 * error < 0.03
    runs = sl.simulate(problem, rule, 0.3, 3.0, n_runs=400)
    late = slice(20, None, 20)
    ratio = paths.risk[:, late].std(axis=0) / runs.risk[:, late].std(axis=0)
    # A deviation of 400 values is known to 3.5%, a ratio to 5%; the linear law's own bands are up to 26% too wide.
    assert np.all(np.abs(ratio - 1) < 0.2 if rule.name == "sign_sgd" else np.abs(ratio - 1) < 0.45)


SETTINGS = {
    "identity-gaussian-250": (sl.covariance.identity(250), sl.noise.Gaussian(0.1)),
    "identity-student_t-1000": (sl.covariance.identity(1000), sl.noise.StudentT(3.0, 0.1)),
    "ar1-student_t-250": (sl.covariance.ar1(250, 0.5), sl.noise.StudentT(3.0, 0.1)),
    "ar1-gaussian-1000": (sl.covariance.ar1(1000, 0.5), sl.noise.Gaussian(0.1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "rule", [sl.sign_sgd(), sl.adam(0.9, 0.95), sl.rmsprop(0.9), sl.signum(0.8)], ids=lambda r: r.name
)
@pytest.mark.parametrize("target", TARGETS)
def test_sparse_targets_are_right_within_one_and_a_half_percent(target, rule, setting):
    (covariance, noise), d = SETTINGS[setting], SETTINGS[setting][0].d
    problem = sl.LinearRegression(covariance, noise, theta_star=sparse(d, TARGETS[target]))
    curve = sl.solve_ode(problem, rule, lr=0.1, t_max=3.0)
    assert curve.aligned
    gap, error = largest_gap(curve, sl.simulate(problem, rule, lr=0.1, t_max=3.0, n_runs=96))
    assert gap < 0.015 + 4 * error


def random_features(d, alpha):
    """y = <x, b>, b_j = j^-.7, seen through d random mixtures of 4d features of variance j^(-2 alpha)."""
    random, j = np.random.default_rng(0), np.arange(1, 4 * d + 1.0)
    A = j[:, None] ** -alpha * random.standard_normal((4 * d, d)) / np.sqrt(d)
    a = j ** (-alpha - 0.7)
    target = np.linalg.lstsq(A, a, rcond=None)[0]
    noise = sl.noise.Gaussian(float(np.linalg.norm(a - A @ target)))
    return sl.LinearRegression(A.T @ A, noise, theta_star=target)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [sl.sign_sgd(), sl.adam(0.9, 0.95), sl.adam(0.9, 0.99), sl.rmsprop(0.95)],
    ids=["sign_sgd", "adam(.9, .95)", "adam(.9, .99)", "rmsprop(.95)"],
)
@pytest.mark.parametrize(("alpha", "allowed"), [(0.4, 0.02), (0.6, 0.02), (1.0, 0.04)])
def test_power_law_random_features_are_right(alpha, allowed, rule):
    problem = random_features(300, alpha)
    curve = sl.solve_ode(problem, rule, lr=0.1, t_max=3.0)
    assert curve.warnings == ()
    assert curve.aligned or (alpha == 0.4 and curve.drift_error < 0.01)
    gap, error = largest_gap(curve, sl.simulate(problem, rule, lr=0.1, t_max=3.0, n_runs=512), start=0.02)
    assert gap < allowed and 4 * error < 0.03


def test_adam_remembers_gradients_and_their_sizes_on_random_features():
    """Taken to be short, these memories and the first steps make the curve 10% too low at t = 2."""
    problem, times = random_features(100, 1.0), [0.0, 0.1, 0.5, 1.0, 1.5, 2.0]
    runs = sl.simulate(problem, sl.adam(0.9, 0.95), lr=0.1, t=times, n_runs=1024, progress=False)
    curve = sl.solve_ode(problem, sl.adam(0.9, 0.95), lr=0.1, t=times)
    assert curve.aligned and curve.warnings == ()
    gap = np.abs(curve.risk / runs.mean - 1)
    error = runs.standard_error / runs.mean
    assert np.all(gap < 0.01 + 4 * error) and error.max() < 0.005
    short = sl.solve_ode(problem, sl.adam(0.9, 0.95, memory="fixed"), lr=0.1, t=times)
    assert abs(short.risk[-1] / runs.mean[-1] - 1) > 0.06


def moment_histories(a, w, k, rho, n=400_000):
    """F_k = sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2) over j < k, weights of sum 1, for gradients q (rho q + ...)."""
    q, xi = np.random.default_rng(0).standard_normal((2, n, k))
    g, j = q * (rho * q + np.sqrt(1 - rho**2) * xi), np.arange(k)
    first, second = a.past * a.decay**j + a.now * (j == 0), w.past * w.decay**j
    return g @ first / first.sum() / np.sqrt(g**2 @ second / second.sum())


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.99), (0.0, 0.9)])
def test_the_first_steps_at_a_correlation_are_those_of_short_histories(b1, b2):
    a = Weights(0.0, 1 - b1, b1) if b1 else Weights(1.0, 0.0, 0.0)
    w = Weights(0.0, 1 - b2, b2)
    table = start_table(a, w, 1)
    # gamma(k, 0) is known, see the tests of truncated histories; G(r) of long ones is the plain response.
    flat = ratio_drifts(a, w, 1, [3, 10, 10**9])
    flat *= np.sqrt(total(w, [3, 10, 10**9])) / total(a, [3, 10, 10**9])
    for index, k in enumerate((3, 10)):
        for rho in (0.4, 0.95):
            runs = moment_histories(a, w, k, rho)
            long = ratio_response(a, w, sl.noise.NoNoise(), 0.5, 1, np.array([rho]))[0]
            expected = long * flat[index] / flat[2] * float(evaluate_in_float64(table, float(k), rho))
            assert abs(runs.mean() - expected) < 4 * runs.std() / np.sqrt(runs.size) + 1e-3 * expected


def total(weights, k):
    return weights.now + weights.past * (1 - weights.decay ** np.array(k, float)) / (1 - weights.decay)


@pytest.mark.parametrize("noise", [sl.noise.Gaussian(0.3), sl.noise.StudentT(3.0, 0.2)], ids=str)
def test_where_nothing_changes_the_memory_makes_no_difference(noise):
    problem = sl.LinearRegression(sl.covariance.identity(100), noise)
    law, response = sl.adam(0.9, 0.95).limit(problem, 1).with_response((0.1, 1.0))
    short, table = sl.adam(0.9, 0.95, memory="fixed").limit(problem, 1).with_response((0.1, 1.0))
    mean, variance = jnp.array([0.0, 0.2, -0.6, 0.8]), jnp.array([0.1, 0.0, 0.05, 0.01])

    def averages(law, response, R, mean, variance):
        extra = response.initial(mean.size)
        _, targets = response.relaxation(extra, R, mean, variance)
        settled = jax.tree.map(lambda x, target: jnp.broadcast_to(target, x.shape), extra, targets)
        return jnp.stack([*jax.tree.leaves(response.averages(law, settled, R, mean, variance))])

    found = evaluate_in_float64(partial(averages, law, response), 0.4, mean, variance)
    expected = evaluate_in_float64(partial(averages, short, table), 0.4, mean, variance)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-10)


class Remembering(Response):
    """G = f + 2 y with dy/dt = 5 (f - y) and k = 0: a linear filter, in whatever units."""

    def initial(self, d):
        return jnp.zeros(d)

    def relaxation(self, extra, R, mean, variance):
        return 5.0, jnp.sqrt(2 * R) * mean

    def averages(self, law, extra, R, mean, variance, fading=0.0):
        s, none = jnp.sqrt(2 * R), jnp.zeros_like(mean)
        return Averages(s * mean + 2 * extra, 3 * s + none, none)


def test_what_a_response_remembers_moves_with_the_mean():
    """d(m, y)/dt is linear: its exponential, for K of any shape."""
    K = sl.covariance.ar1(6, 0.7).to_dense()
    problem = sl.LinearRegression(K)
    rule, times = sl.adam(0.9, 0.95, memory="fixed"), np.array([0.0, 0.3, 1.0])
    response, lr = Remembering(), LearningRate.of(0.4)
    curve = solve_limit(problem, rule, rule.limit(problem, 1), lr, times, response=response, rtol=1e-9)
    generator = np.block([[-0.4 * K, -0.8 * np.eye(6)], [5 * K, -5 * np.eye(6)]])
    for t, risk in zip(times, curve.risk, strict=True):
        m = (expm(t * generator) @ np.append(problem.delta0, np.zeros(6)))[:6]
        assert risk == pytest.approx(m @ K @ m / 2, rel=1e-5)


@pytest.mark.parametrize(("noise", "b"), [(sl.noise.Gaussian(0.5), 1), (sl.noise.StudentT(3.0, 0.4), 2)], ids=str)
def test_the_mean_of_clipped_gradients_at_a_correlation_is_that_of_a_loop(noise, b):
    rng, R, c, n = np.random.default_rng(0), 0.4, 0.3, 2_000_000
    z, xi = rng.normal(size=(2, b, n))
    twin = stats.norm(scale=0.5) if b == 1 else stats.t(3.0, scale=0.4)
    eps = twin.rvs(size=(b, n), random_state=rng)
    limit = sl.clip_coordinate(c).limit(sl.LinearRegression(sl.covariance.identity(4), noise), b)
    phi, s = float(limit.coefficients(R, np.array([0.8]))[0][0]), np.sqrt(2 * R)
    for r in (0.3, 0.9):
        x = 0.8 * (r * z + np.sqrt(1 - r**2) * xi)
        update = np.clip(np.mean((s * z - eps) * x, axis=0), -c, c)
        linear = phi * 0.8 * r * s
        found = (1 + limit.bend(R, np.array([0.8]), np.array([r]))[0]) * linear
        # The sample of the rule has 2^14 points.
        assert abs(found - update.mean()) < 4 * update.std() / np.sqrt(n) + 0.004 * linear
    assert abs(update.mean() / linear - 1) > 0.03


@pytest.mark.parametrize(
    ("rule", "lr"),
    [(sl.clip_coordinate(0.3), 0.3), (sl.adam(0.5, 0.9, eps=0.3), 0.1), ("tanh", 0.1)],
    ids=["clip", "adam", "measured"],
)
def test_rules_with_a_scale_of_their_own_are_warned_of(rule, lr):
    """The estimate is the error of the first part of the curve, within 20% of itself."""
    if rule == "tanh":
        rule = sl.from_optax(optax.stateless(lambda g, _: jnp.tanh(g / 0.3)), name="tanh")
    problem = sl.LinearRegression(sl.covariance.identity(250), sl.noise.Gaussian(0.1), theta_star=sparse(250, 1))
    with pytest.warns(sl.LimitWarning, match="features are correlated"):
        curve = sl.solve_ode(problem, rule, lr, t=[0.0, 0.1, 0.5])
    runs = sl.simulate(problem, rule, lr, t=curve.t, n_runs=1000, progress=False)
    fall = (runs.mean[1] - runs.mean[2]) / (curve.risk[1] - curve.risk[2]) - 1
    assert abs(abs(fall) / curve.drift_error - 1) < 0.2
    dense = sl.LinearRegression(sl.covariance.identity(250), sl.noise.Gaussian(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", sl.LimitWarning)
        sl.solve_ode(dense, rule, lr, t=[0.0, 0.05, 0.1])
