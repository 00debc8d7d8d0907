"""The mean risk of rules that are linear in the gradient, step by step (theory: sections 15 and 16)."""

import numpy as np
import optax
import pytest
from conftest import heteroscedastic

import sdelimit as sl
from sdelimit.ode import recursion

pytestmark = pytest.mark.long


def decaying(t):
    return 3 / (1 + t)


RULES = {
    "sgd": (sl.sgd(), 0.5, lambda t: (0.0, 1.0, 0.0, 1.0)),
    "momentum": (sl.sgd(momentum=0.7), 0.2, lambda t: (1.0, 0.0, 1.0, 0.3)),
    "nesterov": (sl.sgd(momentum=0.7, nesterov=True), 0.2, lambda t: (1.0, 1.0, 0.7, 0.3)),
    "dana": (sl.dana(0.4, 1.5, decaying, 0.8), 0.6, lambda t: (0.8, 0.4, 1.5 / 6, decaying(t) / 6)),
    "scaled ema": (sl.from_optax(optax.ema(0.8, debias=False)), 0.8, lambda t: (0.2, 0.0, 1.0, 0.2)),
}
"""Rule, lr, and in d = 6 g1, g2, g3, Delta of y' = (1 - Delta) y + g1 g, u = g2 g + g3 y'."""


def exact_risks(problem, lr, b, steps, numbers):
    """From E[x x'] for x = (delta, y) as a 2d x 2d matrix, and the fourth moments of Gaussian features."""
    K, d, one = problem.covariance.to_dense(), problem.d, np.eye(problem.d)
    second, risks = np.zeros((2 * d, 2 * d)), []
    second[:d, :d] = np.outer(problem.delta0, problem.delta0)
    for k in range(steps + 1):
        V = second[:d, :d]
        risks.append(np.sum(K * V) / 2)
        square = K @ V @ K
        of_one = 2 * square + (np.sum(K * V) + problem.noise.second_moment) * K  # E[g g'] of a single sample
        noise = (of_one - square) / b
        g1, g2, g3, Delta = numbers(k / d)
        g2, g3, r = g2 * lr / d, g3 * lr / d, 1 - Delta
        kick = np.concatenate([-(g2 + g3 * g1) * one, g1 * one])
        move = np.block([[one, -g3 * r * one], [0 * one, r * one]]) + kick @ np.hstack([K, 0 * one])
        second = move @ second @ move.T + kick @ noise @ kick.T
    return np.array(risks)


@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("name", RULES)
def test_it_is_the_recursion_of_the_matrix_of_second_moments(name, b):
    rule, lr, numbers = RULES[name]
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(6, 0.7)), sl.noise.Gaussian(0.4))
    curve = sl.solve_ode(problem, rule, lr, t=np.arange(31) / 6, batch_size=b, finite_d=True)
    np.testing.assert_allclose(curve.risk, exact_risks(problem, lr, b, 30, numbers), rtol=1e-10)
    np.testing.assert_allclose(curve.modes @ curve.decay / 2, curve.risk, rtol=1e-10)
    assert curve.aligned and curve.batch_size == b and curve.warnings == ()


def test_it_takes_several_learning_rates_and_schedules():
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(6, 0.7)), sl.noise.Gaussian(0.4))
    rule, t = sl.sgd(momentum=0.7), np.arange(13) / 6
    both = sl.solve_ode(problem, rule, [0.1, 0.2], t=t, finite_d=True)
    assert both.risk.shape == (2, 13) and both.aligned.tolist() == [True, True]
    alone = sl.solve_ode(problem, rule, 0.2, t=t, finite_d=True)
    np.testing.assert_allclose(both.select(1).risk, alone.risk, rtol=1e-13)
    falling = sl.solve_ode(problem, rule, sl.schedules.linear(0.2, 2.0), t=t, finite_d=True)
    assert falling.risk[1] == alone.risk[1] and falling.risk[-1] != alone.risk[-1]


def test_beyond_the_edge_it_says_when_it_diverged():
    problem = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(0.4))
    with pytest.warns(sl.DivergenceWarning, match="diverged at t"):
        curve = sl.solve_ode(problem, sl.sgd(momentum=0.5), 4.0, 60.0, finite_d=True)
    assert np.isfinite(curve.diverged_at) and np.isinf(curve.risk[-1]) and not np.isnan(curve.risk).any()


def test_single_steps_that_are_long_are_taken_one_by_one_with_momentum_too():
    """Found by itself, as for plain SGD, where a direction carries the risk."""
    problem = sl.LinearRegression(np.diag(np.r_[20.0, np.ones(39)]), sl.noise.Gaussian(0.5))
    rule, lr = sl.sgd(momentum=0.5), 0.3
    curve = sl.solve_ode(problem, rule, lr, 3.0)
    assert curve.aligned and curve.drift_error > 0.01 and curve.warnings == ()
    exact = exact_risks(problem, lr, 1, 120, lambda t: (1.0, 0.0, 1.0, 0.5))
    np.testing.assert_allclose(curve.risk[-1], exact[-1], rtol=1e-9)
    with pytest.warns(sl.LimitWarning, match="takes them one by one"):
        assert not sl.solve_ode(problem, rule, lr, 3.0, aligned=False).aligned


SIMULATED = {
    "momentum, batch 3": (sl.sgd(momentum=1 - 5 / 128), 0.05, 3),
    "nesterov": (sl.sgd(momentum=1 - 2 / 128, nesterov=True), 0.012, 1),
    "dana": (sl.dana(0.5, 0.5, decaying), 0.8, 1),
}


@pytest.mark.parametrize("case", SIMULATED)
def test_the_mean_of_runs_is_within_their_error_from_the_fourth_step_on(case):
    """At d = 128, where the limit is O(1/d) off; 1000 runs."""
    rule, lr, b = SIMULATED[case]
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(128, 0.6)), sl.noise.Gaussian(0.4))
    t = np.array([4, 8, 16, 32, 64, 128, 256]) / 128
    runs = sl.simulate(problem, rule, lr, t=t, n_runs=1000, batch_size=b, seed=3)
    exact = sl.solve_ode(problem, rule, lr, t=runs.t, batch_size=b, finite_d=True).risk
    assert np.all(np.abs(runs.mean - exact) < 4 * runs.standard_error + 1e-5 * exact)
    assert np.max(runs.standard_error / exact) < 0.012


@pytest.mark.parametrize("b", [1, 4])
def test_millions_of_steps_are_not_taken_one_by_one(monkeypatch, b):
    """The integrator that follows the first 1024 steps against all steps taken, on a spectrum with steep directions."""
    values = np.r_[np.arange(1.0, 99) ** -2.0, 0.0, 0.0]
    problem = sl.LinearRegression.from_spectrum(
        values, np.r_[np.arange(1.0, 99) ** 0.4, 3.0, 4.0], sl.noise.Gaussian(0.05)
    )
    t = np.append(0.0, np.geomspace(0.1, 300.0, 25))
    given = {"lr": 0.5 * 100 / values.sum(), "t": t, "batch_size": b, "finite_d": True}
    fast = sl.solve_ode(problem, sl.sgd(), **given, save_modes=False)
    with_modes = sl.solve_ode(problem, sl.sgd(), **given, save_modes=True)
    monkeypatch.setattr(recursion, "MANY_STEPS", 10**9)
    steps = sl.solve_ode(problem, sl.sgd(), **given, save_modes=True)
    np.testing.assert_allclose(fast.risk, steps.risk, rtol=3e-5)
    np.testing.assert_allclose(with_modes.risk, fast.risk, rtol=1e-7)
    np.testing.assert_allclose(with_modes.modes @ values / 2, with_modes.risk, rtol=1e-9)
    np.testing.assert_allclose(with_modes.modes[:, -2:], np.tile([3.0, 4.0], (t.size, 1)), rtol=1e-12)
    late = t > 20
    np.testing.assert_allclose(fast.slope[late], steps.slope[late], rtol=1e-3)


def test_many_steps_beyond_the_edge_diverge():
    """Every mode alone would decay, but together they feed each other: tr K eta / d > 2."""
    problem = sl.LinearRegression.from_spectrum(np.ones(100), np.ones(100), sl.noise.Gaussian(0.1))
    with pytest.warns(sl.DivergenceWarning, match="diverged at t"):
        curve = sl.solve_ode(problem, sl.sgd(), 2.05, 2000.0, finite_d=True)
    assert np.isfinite(curve.diverged_at) and np.isinf(curve.risk[-1])
