"""Correlated features in the modes of K, and the integrator for it (theory: section 15)."""

import warnings
from types import SimpleNamespace

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.linalg import expm

import sdelimit as sl
from sdelimit.limits.law import operators_of
from sdelimit.limits.response import clipped_normal
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.ode.aligned import aligned_system
from sdelimit.ode.integrate import Stepping, integrate
from sdelimit.ode.relaxation_integrator import Relaxation
from sdelimit.schedules import LearningRate


@pytest.mark.parametrize("variance", [1e-4, 0.02, 0.3])
@pytest.mark.parametrize("mean", [0.0, 0.6, 0.97])
def test_means_over_clipped_normals_are_their_integrals(mean, variance):
    def G(r):
        return 2 / np.pi * np.arcsin(0.95 * r)

    def averages(mean, variance):
        points = clipped_normal(mean, variance)
        values = 2 / np.pi * jnp.arcsin(0.95 * points.r)
        return jnp.stack([points.mean(values), points.slope(values)])

    width = variance**0.5
    found = evaluate_in_float64(averages, np.array([mean]), np.array([variance]))[:, 0]
    ends = [x for x in ((-1 - mean) / width, (1 - mean) / width) if abs(x) < 9]

    def integral(weight):
        x_G = lambda x: weight(x) * G(np.clip(mean + width * x, -1, 1)) * stats.norm.pdf(x)  # noqa: E731
        return quad(x_G, -9, 9, points=ends or None, limit=200, epsabs=1e-12)[0]

    np.testing.assert_allclose(found, [integral(lambda x: 1.0), integral(lambda x: x / width)], rtol=3e-6, atol=1e-9)


class Coupled:
    """dy/dt = -A y + b cos(t), of any A with a positive diagonal, and z with dz/dt = 300 (sum y - z)."""

    tolerances = SimpleNamespace(atol=1e-12, rtol=1e-9)

    def __init__(self, A, b):
        self.A, self.b = A, b

    def see(self, leading):
        return leading[0]

    def following(self, y):
        return 300.0, 300.0 * jnp.sum(y, keepdims=True)

    def leading(self, c, leading, seen, z):
        y, rest = leading[0], jnp.asarray(self.A - np.diag(np.diag(self.A)))
        return (jnp.diag(jnp.asarray(self.A)),), (c * self.b - rest @ y,)


@pytest.mark.long
def test_stiff_coupled_relaxation_is_the_exponential_of_its_matrix():
    rng = np.random.default_rng(0)
    rates = np.array([1e4, 300.0, 20.0, 1.0, 0.1])
    mixing = np.eye(5) + 0.1 * rng.standard_normal((5, 5))
    A, b, y0 = rates * mixing, rng.standard_normal(5), rng.standard_normal(5)
    # (y, z, cos t, sin t) is linear and autonomous.
    whole = np.zeros((8, 8))
    whole[:5, :5], whole[:5, 6] = -A, b
    whole[5, :5], whole[5, 5] = 300.0, -300.0
    whole[6, 7], whole[7, 6] = -1.0, 1.0
    system, times = Coupled(A, b), np.array([0.0, 1e-3, 0.1, 0.7, 3.0])
    with x64():
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: (-jnp.asarray(A) @ y[0] + jnp.cos(t) * b, 300 * (y[0].sum() - y[1]))),
            Relaxation(),
            0.0,
            3.0,
            None,
            (jnp.asarray(y0), jnp.zeros(1)),
            args=(jnp.cos, system),
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-12),
        )
    start = np.concatenate([y0, [0.0, 1.0, 0.0]])
    expected = np.array([expm(whole * t) @ start for t in times])
    np.testing.assert_allclose(solution.ys[0], expected[:, :5], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(solution.ys[1][:, 0], expected[:, 5], rtol=1e-6, atol=1e-8)
    assert solution.stats["num_steps"] < 300  # an explicit method takes more than 1e4


def random_features(d, alpha, beta):
    """y = <x, b>, b_j = j^-beta, seen through d random mixtures of 4d features of variance j^(-2 alpha); theta0 = 0."""
    random, j = np.random.default_rng(0), np.arange(1, 4 * d + 1.0)
    U, T = np.linalg.qr(j[:, None] ** -alpha * random.standard_normal((4 * d, d)) / np.sqrt(d))
    a = j ** (-alpha - beta)
    noise = sl.noise.Gaussian(float(np.linalg.norm(a - U @ (U.T @ a))))
    target = np.linalg.solve(T, U.T @ a)
    return sl.LinearRegression(T.T @ T, noise, theta0=np.zeros(d), theta_star=target)


def whole_closure(problem, rule, lr, times):
    """The risk with the covariance of all modes, by an explicit method."""
    limit = rule.limit(problem, 1)
    law, response = limit.with_response((problem.initial_risk / 1e5, 4 * problem.initial_risk))
    rate = LearningRate.of(lr)
    system = aligned_system(problem, operators_of(problem, law).law, response, times, 1e-6, None, rate.scan(times).eta)
    with x64():
        return integrate(rate, system, Stepping(None, None), False)["risk"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "lr"),
    [
        (sl.sign_sgd(), 0.3),
        (sl.sign_sgd().with_weight_decay(0.5), 0.3),
        (sl.signum(0.9), 0.03),
        pytest.param(sl.adam(0.9, 0.95), 0.3, marks=pytest.mark.slow),
    ],
    ids=["sign", "decayed", "signum", "adam"],
)
def test_modes_without_their_covariances_follow_the_whole_closure(rule, lr):
    problem, times = random_features(100, 1.0, 0.75), np.append(0.0, np.geomspace(0.01, 3.0, 20))
    curve = sl.solve_ode(problem, rule, lr, t=times, aligned=True)
    plain = sl.solve_ode(problem, rule, lr, t=times, aligned=False)
    whole = whole_closure(problem, rule, lr, times)
    assert np.max(np.abs(curve.risk / whole - 1)) < 0.01
    assert np.max(np.abs(plain.risk / whole - 1)) > 0.1
    np.testing.assert_allclose(curve.modes @ curve.decay / 2, curve.risk, rtol=1e-10)


@pytest.mark.long
def test_long_curves_of_several_rates_depend_neither_on_the_tolerance_nor_on_each_other():
    problem, times = random_features(80, 0.7, 0.4), np.append(0.0, np.geomspace(1e-3, 4000.0, 60))
    curves = sl.solve_ode(problem, sl.sign_sgd(), [0.02, 0.3], t=times, aligned=True)
    exact = sl.solve_ode(problem, sl.sign_sgd(), [0.02, 0.3], t=times, aligned=True, rtol=1e-9)
    alone = sl.solve_ode(problem, sl.sign_sgd(), 0.3, t=times, aligned=True)
    assert curves.aligned.all() and np.isfinite(curves.diverged_at).sum() == 0
    np.testing.assert_allclose(curves.risk, exact.risk, rtol=3e-4)
    np.testing.assert_allclose(curves.risk[1], alone.risk, rtol=1e-8)
    # Where the mean has gone and correlations are small, the linear law is right: its stationary risk is reached.
    plain = sl.solve_ode(problem, sl.sign_sgd(), 0.02, t=times, aligned=False)
    assert np.max(np.abs(plain.risk / curves.risk[0] - 1)) > 0.05
    assert abs(plain.risk[-1] / curves.risk[0, -1] - 1) < 0.01


@pytest.mark.long
def test_a_schedule_that_jumps_and_stops_is_followed():
    """Half a horizon at one rate, then none: the curve stays where it is."""
    problem = random_features(80, 0.7, 0.4)
    schedule = sl.schedules.piecewise_constant([1.0], [0.3, 0.0])
    times = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0])
    curve = sl.solve_ode(problem, sl.sign_sgd(), schedule, t=times, aligned=True)
    constant = sl.solve_ode(problem, sl.sign_sgd(), 0.3, t=times, aligned=True)
    np.testing.assert_allclose(curve.risk[:4], constant.risk[:4], rtol=1e-4)
    np.testing.assert_allclose(curve.risk[4:], curve.risk[3], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("d", [256, 512])
@pytest.mark.parametrize(("alpha", "beta", "allowed"), [(0.7, 0.4, 0.04), (1.0, 0.75, 0.08), (0.4, 0.6, 0.04)])
def test_runs_on_random_features_are_met_at_all_times(d, alpha, beta, allowed):
    problem, times = random_features(d, alpha, beta), np.append(0.0, np.geomspace(0.02, 3.0, 25))
    runs = sl.simulate(problem, sl.sign_sgd(), 0.1, t=times, n_runs=64, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", sl.LimitWarning)
        curve = sl.solve_ode(problem, sl.sign_sgd(), 0.1, t=runs.t, aligned=True)
    assert np.max(runs.standard_error / runs.mean) < allowed / 3
    assert np.max(np.abs(runs.mean / curve.risk - 1)) < allowed


@pytest.mark.long
@pytest.mark.parametrize("rule", [sl.adam(0.9, 0.95), sl.signum(0.9)], ids=["adam", "signum"])
def test_a_memory_is_part_of_curves_too_long_to_follow_it(rule):
    """The linear law of averages would take too many steps there; as long as it does not, both ways are one curve."""
    problem = sl.power_law_random_features(320, 80, 1.0, 0.75)
    t = np.append(0.0, np.geomspace(0.05, 20.0, 30))
    near = sl.solve_ode(problem, rule, 0.1, t=t)
    far = sl.solve_ode(problem, rule, 0.1, t=np.append(t, np.geomspace(30.0, 3e4, 20)))
    assert near.aligned and far.aligned and np.isfinite(far.risk).all()
    np.testing.assert_allclose(far.risk[: t.size], near.risk, rtol=3e-3)
    alone = sl.LinearRegression(sl.covariance.ar1(400, 0.3), sl.noise.Gaussian(0.3))
    with pytest.raises(RuntimeError, match="memory='fixed'"):  # not correlated, so that it has to be followed
        sl.solve_ode(alone, rule, 0.1, 1e7)
