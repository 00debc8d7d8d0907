"""Finite-dimensional runs: against a NumPy loop, against the theory, and reproducible."""

import jax
import numpy as np
import optax
import pytest
from conftest import assert_mean_follows, heteroscedastic, numpy_normals

import sdelimit as sl
from sdelimit.numerics import normals
from sdelimit.simulation.loop import BLOCK_BYTES, MAX_BLOCK, block_length
from sdelimit.simulation.simulate import _chunk_length

TIMES = np.linspace(0.0, 1.5, 16)


def numpy_loop(problem, rule, lr, steps, run, seed, batch_size):
    """One run as a plain loop, from the same random numbers; risk before each step and at the end."""
    with jax.enable_x64(True):
        key, d = normals.run_key(seed, run), problem.d
        k, theta, risks = problem.covariance.to_dense(), problem.theta0.copy(), []
        for step in range(steps):
            delta = theta - problem.theta_star
            risks.append(delta @ k @ delta / 2)
            key_noise = jax.random.split(normals.step_key(key, np.uint32(step)))[1]
            z = numpy_normals(key, step, batch_size, d)
            x = np.asarray(problem.covariance.sample(jax.numpy.asarray(z)))
            eps = np.asarray(problem.noise.sample(key_noise, (batch_size,), np.float32), np.float64)
            y = x @ problem.theta_star + eps
            gradient = np.mean((x @ theta - y)[:, None] * x, axis=0)
            direction = np.sign(gradient) if rule == "sign_sgd" else gradient
            theta = theta - lr(step / d) / d * direction
        delta = theta - problem.theta_star
        return np.array([*risks, delta @ k @ delta / 2])


@pytest.mark.parametrize(
    ("rule", "batch_size"),
    [
        ("sgd", 3),
        pytest.param("sign_sgd", 1, marks=pytest.mark.slow),
        pytest.param("sgd", 1, marks=pytest.mark.slow),
        pytest.param("sign_sgd", 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_the_optimizer_written_as_a_loop(rule, batch_size):
    problem = sl.LinearRegression(
        heteroscedastic(sl.covariance.ar1(40, 0.5)), sl.noise.Laplace(0.3), theta0=np.linspace(-1, 1, 40)
    )
    steps = 60
    runs = sl.simulate(
        problem, getattr(sl, rule)(), sl.schedules.cosine(0.7, 1.5), t=np.arange(steps + 1) / 40,
        n_runs=3, seed=5, batch_size=batch_size, dtype=np.float64, chunk_steps=16,
    )  # fmt: skip
    expected = numpy_loop(problem, rule, lambda t: 0.35 * (1 + np.cos(np.pi * t / 1.5)), steps, 2, 5, batch_size)
    np.testing.assert_allclose(runs.risk[2], expected, rtol=1e-5)
    np.testing.assert_allclose(runs.t * 40, np.arange(steps + 1))


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.long), 3])
def test_the_loss_that_rules_may_ask_for_has_the_gradient_that_they_get(batch_size):
    def update(gradient, state, params, *, loss_fn, **extra):
        del gradient, extra
        return jax.grad(loss_fn)(params), state

    identity = sl.sgd().transform
    own = optax.GradientTransformationExtraArgs(identity.init, update)
    by_loss = sl.Optimizer("gradient of the loss", own, sl.sgd().limit)
    problem = sl.LinearRegression(sl.covariance.ar1(20, 0.5), sl.noise.Gaussian(0.3))
    plain, ours = sl.simulate(problem, [sl.sgd(), by_loss], 0.5, t=[1.0], n_runs=2, batch_size=batch_size)
    np.testing.assert_allclose(ours.risk, plain.risk, rtol=1e-4)


@pytest.mark.long
def test_a_run_depends_on_seed_and_index_only():
    problem = sl.LinearRegression(sl.covariance.ar1(80, 0.5), sl.noise.StudentT(1.5, 0.3))
    rules = [sl.sign_sgd(), sl.signum(0.9)]
    alone = sl.simulate(problem, sl.sign_sgd(), 0.5, t=TIMES, n_runs=2, seed=3)
    crowd = sl.simulate(problem, rules, [[0.5, 0.2], 0.1], t=TIMES, n_runs=9, seed=3, chunk_steps=7)
    double = sl.simulate(problem, sl.sign_sgd(), 0.5, t=TIMES, n_runs=2, seed=3, dtype=np.float64)
    other = sl.simulate(problem, sl.sign_sgd(), 0.5, t=TIMES, n_runs=2, seed=4)
    np.testing.assert_allclose(alone.risk, crowd[0].risk[0, :2], rtol=1e-5)
    np.testing.assert_allclose(alone.risk, double.risk, rtol=1e-3)
    assert np.all(np.abs(alone.risk[:, -1] / other.risk[:, -1] - 1) > 1e-4)
    assert crowd[0].risk.shape == (2, 9, 16) and crowd[1].risk.shape == (9, 16)
    assert alone.risk[0, -1] != alone.risk[1, -1]


def test_the_users_precision_setting_does_not_change_a_run():
    problem = sl.LinearRegression(sl.covariance.spiked(50, [3.0]), sl.noise.Cauchy(0.3))
    plain = sl.simulate(problem, sl.sign_sgd(), 0.5, t=TIMES, n_runs=2)
    with jax.enable_x64(True):
        wide = sl.simulate(problem, sl.sign_sgd(), 0.5, t=TIMES, n_runs=2)
    np.testing.assert_array_equal(plain.risk, wide.risk)


COVARIANCES = {
    "dense": lambda d: heteroscedastic(sl.covariance.power_law(d, 0.3, rotate=True)),
    "ar1": lambda d: heteroscedastic(sl.covariance.ar1(d, 0.5)),
    "spiked": lambda d: sl.covariance.spiked(d, [4.0, 2.0]),
}
NOISES = {
    "gaussian": sl.noise.Gaussian(0.4),
    "student_t(1.5)": sl.noise.StudentT(1.5, 0.3),
    "cauchy": sl.noise.Cauchy(0.3),
    "two-point": sl.noise.TwoPoint(0.5),
}


QUICK = [("dense", "gaussian")]


@pytest.mark.long
@pytest.mark.parametrize(
    ("covariance", "noise"),
    [pytest.param(k, law, marks=() if (k, law) in QUICK else pytest.mark.slow) for k in COVARIANCES for law in NOISES],
)
def test_mean_of_runs_follows_the_ode(covariance, noise):
    problem = sl.LinearRegression(COVARIANCES[covariance](512), NOISES[noise])
    rules = [sl.sign_sgd(), sl.sgd()] if np.isfinite(problem.noise.second_moment) else [sl.sign_sgd()]
    for runs in sl.simulate(problem, rules, 0.6, t=TIMES, n_runs=128):
        assert_mean_follows(runs, sl.solve_ode(problem, runs.optimizer, 0.6, t=runs.t))


@pytest.mark.parametrize("rule", [pytest.param("sgd", marks=pytest.mark.slow), "sign_sgd"])
@pytest.mark.slow
def test_batches_and_schedules_follow_the_ode(rule):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(512, 0.5)), sl.noise.Laplace(0.5))
    lr = sl.schedules.cosine(1.0, 1.5)
    runs = sl.simulate(problem, getattr(sl, rule)(), lr, t=TIMES, n_runs=96, batch_size=4)
    assert_mean_follows(runs, sl.solve_ode(problem, runs.optimizer, lr, t=runs.t, batch_size=4), bias_times_d=8)


@pytest.mark.slow
def test_mean_error_shrinks_like_one_over_d_and_one_run_like_its_square_root():
    """Slopes of log error against log d: -1 for the mean over runs, -1/2 for a single run."""
    dimensions, bias, spread = np.array([16, 32, 64, 128]), [], []
    for d in dimensions:
        problem = sl.LinearRegression(
            sl.covariance.ar1(d, 0.5), sl.noise.Gaussian(0.3), theta_star=np.ones(d) / np.sqrt(d)
        )
        runs = sl.simulate(problem, sl.sign_sgd(), 0.8, t=[1.0], n_runs=64 * 1024 // d * 16)
        theory = sl.solve_ode(problem, sl.sign_sgd(), 0.8, t=runs.t).risk[-1]
        bias.append(runs.mean[-1] / theory - 1)
        spread.append(np.std(runs.risk[:, -1]) / theory)
        assert abs(bias[-1]) > 4 * runs.standard_error[-1] / theory
    slope = np.polyfit(np.log(dimensions), np.log(np.abs(bias)), 1)[0]
    assert -1.3 < slope < -0.7
    assert -0.6 < np.polyfit(np.log(dimensions), np.log(spread), 1)[0] < -0.4


def test_common_samples_pair_the_learning_rates():
    """Runs of two close learning rates on one stream differ far less than two independent runs."""
    problem = sl.LinearRegression(sl.covariance.ar1(100, 0.5), sl.noise.Gaussian(0.3))
    runs = sl.simulate(problem, sl.sgd(), [0.5, 0.51], t=TIMES, n_runs=32)
    difference = runs.risk[1, :, -1] - runs.risk[0, :, -1]
    assert difference.std() < 0.1 * runs.risk[0, :, -1].std()


def test_diverged_runs_are_reported_not_nan():
    problem = sl.LinearRegression(np.ones(30), sl.noise.Gaussian(0.3))
    with pytest.warns(sl.DivergenceWarning, match="5 of 5 runs diverged, the first by t = "):
        runs = sl.simulate(problem, sl.sgd(), 20.0, 30.0, n_runs=5)
    assert not np.isnan(runs.risk).any() and not np.isnan(runs.mean).any()
    assert not np.isnan(runs.standard_error).any() and not np.isnan(runs.quantile([0.1, 0.9])).any()
    assert np.all(runs.risk[:, -1] == np.inf) and np.all(np.isfinite(runs.risk[:, 0]))
    assert np.all(runs.diverged_at < 30)


def test_blocks_keep_the_samples_within_the_memory_bound():
    for per_step in (64, 256 * 1000 * 4, 256 * 4096 * 4, 2**30):
        length = block_length(per_step)
        assert 1 <= length <= MAX_BLOCK and (length == 1 or length * per_step <= BLOCK_BYTES)


def test_chunks_waste_little_of_the_last_one():
    for slots in (1, 7, 100, 1001):
        length = _chunk_length(32, slots)
        assert length <= 32 and length * -(-slots // length) - slots < -(-slots // 32)
