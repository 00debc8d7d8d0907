"""Norm clipping at a threshold C(t): coefficients by brute force, the equation by SciPy, curves against simulation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_mean_follows
from scipy import special
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.limits.exact.scheduled_clip import relative_fluctuations
from sdelimit.limits.exact.step_fluctuations import sampled_fluctuations
from sdelimit.limits.residual_law import residual_sample
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.infinite import InfiniteProblem

pytestmark = pytest.mark.long

TIGHTER = sl.schedules.log_linear([0.0, 3.0], [3.0, 0.75])
STEPS = sl.schedules.piecewise_constant([1.0, 2.0], [3.0, 0.5, 1.5])
SAMPLES = 400_000


def threshold(t):
    """TIGHTER in NumPy."""
    return 3.0 * 4.0 ** (-t / 3.0)


@pytest.mark.parametrize("law", [sl.noise.Gaussian(0.7), sl.noise.StudentT(1.5, 0.3), sl.noise.TwoPoint(0.6)], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_coefficients_are_those_of_clipped_residuals_at_the_present_threshold(law, batch_size):
    limit = sl.clip_norm(TIGHTER).limit(InfiniteProblem(law), batch_size)
    z = np.random.default_rng(0).standard_normal((SAMPLES, batch_size))
    eps = np.asarray(law.sample(jax.random.key(0), z.shape), np.float64)
    for R, t in ((0.02, 0.0), (0.5, 1.7), (3.0, 3.0)):
        residual, C = np.sqrt(2 * R) * z - eps, threshold(t)
        lam = np.sqrt(np.sum(residual**2, axis=1)) / batch_size
        # d/dl of the clipped residual, of mean mu: less noisy than z times it.
        inner = (lam < C) + (lam >= C) * C / lam * (1 - residual[:, 0] ** 2 / (batch_size * lam) ** 2)
        for sample, function in (
            (inner, limit.drift_coefficients),
            (np.minimum(lam, C) ** 2, limit.noise_coefficients),
        ):
            (found,) = evaluate_in_float64(function, R, [t])
            assert abs(sample.mean() - found) < 5 * sample.std() / np.sqrt(SAMPLES) + 2e-3 * found


@pytest.mark.parametrize("schedule", [pytest.param(TIGHTER, marks=pytest.mark.slow), STEPS], ids=["smooth", "jumps"])
def test_the_risk_of_isotropic_data_solves_the_scalar_equation(schedule):
    eta, v = 0.8, 0.5
    problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(v))
    curve = sl.solve_ode(problem, sl.clip_norm(schedule), eta, t=np.linspace(0.5, 3.0, 6), rtol=1e-9)
    times, values = (STEPS.boundaries, STEPS.values) if schedule is STEPS else ([], [])

    def slope(t, R, piece):
        C, variance = threshold(t) if schedule is TIGHTER else values[piece], 2 * R + v**2
        a = C / np.sqrt(variance)
        mu, pdf = special.erf(a / np.sqrt(2)), np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
        nu = variance * (mu - 2 * a * pdf) + C**2 * (1 - mu)
        return -2 * eta * mu * R + eta**2 / 2 * nu

    edges, R, expected = [0.0, *times, 3.0], problem.initial_risk, []
    for piece, (start, end) in enumerate(itertools.pairwise(edges)):
        at = [t for t in curve.t if start < t <= end]
        out = solve_ivp(slope, (start, end), [R], args=(piece,), t_eval=[*at, end][: len(at) + (end not in at)],
                        rtol=1e-10, atol=1e-12)  # fmt: skip
        expected, R = [*expected, *out.y[0][: len(at)]], out.y[0][-1]
    np.testing.assert_allclose(curve.risk, expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", [TIGHTER, pytest.param(STEPS, marks=pytest.mark.slow)], ids=["smooth", "jumps"])
@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_runs_follow_the_theory(schedule, batch_size):
    problem, rule = (
        sl.LinearRegression(sl.covariance.ar1(400, 0.5), sl.noise.StudentT(3.0, 0.5)),
        sl.clip_norm(schedule),
    )
    times = np.linspace(0.0, 3.0, 13)
    runs = sl.simulate(problem, rule, 0.5, t=times, n_runs=96, batch_size=batch_size)
    assert_mean_follows(runs, sl.solve_ode(problem, rule, 0.5, t=runs.t, batch_size=batch_size))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_paths_have_the_mean_of_the_ode_and_the_spread_of_runs(batch_size):
    problem, rule = sl.LinearRegression(sl.covariance.ar1(200, 0.5), sl.noise.Gaussian(0.5)), sl.clip_norm(TIGHTER)
    given = {"lr": 0.5, "t": [1.0, 2.0, 3.0], "batch_size": batch_size}
    paths = sl.solve_sde(problem, rule, n_paths=512, **given)
    runs = sl.simulate(problem, rule, n_runs=512, **given)
    expected = sl.solve_ode(problem, rule, **given).risk
    assert np.all(np.abs(paths.mean - expected) < 5 * paths.standard_error)
    # The standard deviation of 512 numbers has a relative standard error of 3%.
    np.testing.assert_allclose(paths.risk.std(axis=0), runs.risk.std(axis=0), rtol=4 * 0.045)


@pytest.mark.parametrize("law", [sl.noise.Gaussian(0.5), sl.noise.StudentT(3.0, 0.5)], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_fluctuations_between_nodes_are_those_of_a_constant_threshold(law, batch_size):
    table, R, C = relative_fluctuations(law, batch_size), 0.37, 0.9
    means, variances, q = residual_sample(law, batch_size)
    psi = np.mean(np.minimum(np.sum((means + np.sqrt(2 * R + variances) * q) ** 2, axis=1) / batch_size**2, C**2))
    found = evaluate_in_float64(lambda *at: jnp.stack(table(*at)), R, C, psi)
    weight = lambda lam: np.minimum(1.0, C / lam)  # noqa: E731
    direct = sampled_fluctuations(weight, law, batch_size, np.log([R, 2 * R]))
    expected = np.array([direct.values[0, 0] / (2 * R), *direct.values[1:, 0]])
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("law", [sl.noise.Gaussian(0.5), sl.noise.StudentT(1.5, 0.5)], ids=repr)
def test_a_function_that_does_not_change_is_its_value(law, batch_size):
    problem = sl.LinearRegression(sl.covariance.ar1(60, 0.5), law)
    constant, function = sl.clip_norm(1.5), sl.clip_norm(lambda t: 1.5 + 0 * t)
    given = {"lr": 0.5, "t_max": 2.0, "batch_size": batch_size}
    np.testing.assert_allclose(*(sl.solve_ode(problem, r, **given).risk for r in (function, constant)), rtol=1e-5)
    paths, same = (sl.solve_sde(problem, r, n_paths=16, **given).risk for r in (function, constant))
    np.testing.assert_allclose(paths, same, rtol=0.03)
    runs, same = (sl.simulate(problem, r, n_runs=4, **given).risk for r in (function, constant))
    np.testing.assert_allclose(runs, same, rtol=1e-4)


@pytest.mark.slow
def test_the_risk_settles_as_under_the_last_threshold(small_problem):
    changing, last = sl.clip_norm(sl.schedules.cosine(3.0, 4.0, end=0.5)), sl.clip_norm(0.5)
    assert sl.stationary_risk(small_problem, changing, 0.3) == pytest.approx(
        sl.stationary_risk(small_problem, last, 0.3), rel=1e-9
    )
    assert sl.convergence_rate(small_problem, changing, 0.3) == pytest.approx(
        sl.convergence_rate(small_problem, last, 0.3), rel=1e-6
    )
    assert sl.max_stable_lr(small_problem, changing) == np.inf


@pytest.mark.slow
def test_the_four_effects_add_up(small_problem):
    rule = sl.clip_norm(TIGHTER)
    found = sl.effects(small_problem, rule, 0.5, 2.0)
    assert found.identity_error < 1e-8
    with pytest.raises(ValueError, match="function of t: see their values along the curve"):
        found.noise_compression.at(1.0)


def test_a_constant_schedule_is_the_number():
    assert sl.clip_norm(sl.schedules.constant(1.5)) is sl.clip_norm(1.5)
    assert sl.clip_norm(TIGHTER).hyperparameters == {"threshold": TIGHTER}


def test_a_threshold_that_seems_to_count_steps_is_warned_of(small_problem):
    rule = sl.clip_norm(lambda t: 3.0 * 2.0 ** (-t / 50))
    with pytest.warns(sl.LimitWarning, match="threshold hardly changes.*threshold=sl.schedules.of_steps"):
        sl.simulate(small_problem, rule, 0.1, 1.0, n_runs=1)


def test_a_function_is_read_anew_in_every_call(small_problem):
    level = [3.0]
    rule = sl.clip_norm(lambda t: level[0] + 0 * t)
    loose = sl.simulate(small_problem, rule, 0.1, 1.0, n_runs=1).risk
    level[0] = 0.3
    tight, wanted = (sl.simulate(small_problem, r, 0.1, 1.0, n_runs=1).risk for r in (rule, sl.clip_norm(0.3)))
    np.testing.assert_allclose(tight, wanted, rtol=1e-5)
    assert np.max(np.abs(loose / tight - 1)) > 0.05


def test_a_checkpoint_tells_thresholds_apart(small_problem, tmp_path):
    given = {"lr": 0.1, "t_max": 0.5, "n_runs": 1, "checkpoint": tmp_path / "run"}
    sl.simulate(small_problem, sl.clip_norm(TIGHTER), **given)
    other = sl.clip_norm(sl.schedules.log_linear([0.0, 3.0], [3.0, 0.7]))
    with pytest.raises(ValueError, match="checkpoint"):
        sl.simulate(small_problem, other, **given)
