"""Schedules with pulses far shorter than the horizon, against an integration from boundary to boundary."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdelimit as sl

STD = 0.1
PROBLEM = sl.LinearRegression(np.ones(64), sl.noise.Gaussian(STD))
SLOPES = {
    "sgd": lambda eta, R: -2 * eta * R + eta**2 / 2 * (2 * R + STD**2),
    "sign_sgd": lambda eta, R: -4 / np.pi * eta * R / np.sqrt(2 * R + STD**2) + eta**2 / 2,
}
"""dR/dt for K = I: the drift of sign(g) is that of a Gaussian residual of variance 2R + std^2."""
RULES = {"sgd": sl.sgd(), "sign_sgd": sl.sign_sgd()}


def reference(rule, eta, corners, end):
    """R(end), integrated between the corners of eta(t), a NumPy function."""
    R, edges = PROBLEM.initial_risk, [0.0, *(c for c in corners if c < end), end]
    for low, high in itertools.pairwise(edges):
        inside = partial(_inside, rule, eta, np.nextafter(low, high), np.nextafter(high, low))
        R = solve_ivp(inside, (low, high), [R], rtol=1e-9, atol=1e-13, max_step=(high - low) / 8).y[0, -1]
    return R


def _inside(rule, eta, first, last, t, R):
    return SLOPES[rule](eta(np.clip(t, first, last)), R)


def piecewise(boundaries, values):
    return lambda t: np.asarray(values)[np.searchsorted(boundaries, t, side="right")]


def unresolved(curve):
    return [text for text in curve.warnings if "changes within" in text]


def random_pulses(rng, end, shortest):
    """Boundaries and values with three pulses in (0, end), each of an integral of about one."""
    starts = np.sort(rng.uniform(0.05, 0.9, 3)) * end + np.array([0.0, 0.02, 0.04]) * end
    widths = 0.01 * end * shortest ** rng.uniform(0, 1, 3)
    base = 10 ** rng.uniform(-2.5, -1, 4)
    values = np.empty(7)
    values[::2], values[1::2] = base, rng.uniform(0.02, 0.1, 3) / np.sqrt(widths)
    return np.stack([starts, starts + widths], axis=1).ravel(), values


@pytest.mark.parametrize("rule", ["sgd", pytest.param("sign_sgd", marks=pytest.mark.long)])
def test_a_pulse_shorter_than_any_grid_moves_the_risk_by_what_it_is(rule):
    boundaries, values = np.array([9.9, 9.9 + 1e-5]), np.array([0.05, 150.0, 0.01])
    expected = reference(rule, piecewise(boundaries, values), boundaries, 10.0)
    curve = sl.solve_ode(PROBLEM, RULES[rule], sl.schedules.piecewise_constant(boundaries, values), 10.0)
    assert curve.risk[-1] == pytest.approx(expected, rel=1e-6)
    without = reference(rule, piecewise(boundaries, [0.05, 0.05, 0.01]), boundaries, 10.0)
    assert abs(without / expected - 1) > 0.1


@pytest.mark.long
def test_a_derivative_is_that_of_the_curve_with_its_pulse():
    boundaries = np.array([5.0, 5.0005])

    def final(pulse):
        values = jnp.stack([jnp.asarray(0.02), pulse, jnp.asarray(0.02)])
        return sl.solve_ode(PROBLEM, sl.sgd(), sl.schedules.piecewise_constant(boundaries, values), 10.0).risk[-1]

    with jax.enable_x64(True):
        value, slope = jax.jit(jax.value_and_grad(final))(20.0)
    expected = [
        reference("sgd", piecewise(boundaries, [0.02, pulse, 0.02]), boundaries, 10.0) for pulse in (19.9, 20.0, 20.1)
    ]
    assert value == pytest.approx(expected[1], rel=1e-6)
    assert slope == pytest.approx((expected[2] - expected[0]) / 0.2, rel=1e-4)


@pytest.mark.long
def test_the_spread_of_paths_follows_a_pulse():
    """SGD at K = I: the mean of many paths is the ODE's, also when the learning rate is large for a moment."""
    boundaries, values = np.array([1.0, 1.0001]), np.array([0.05, 40.0, 0.05])
    lr = sl.schedules.piecewise_constant(boundaries, values)
    paths = sl.solve_sde(PROBLEM, RULES["sign_sgd"], lr, t=[0.9, 1.1], n_paths=256)
    expected = reference("sign_sgd", piecewise(boundaries, values), boundaries, 1.1)
    error = paths.risk[:, 1].std() / 16
    assert abs(paths.risk[:, 1].mean() - expected) < 4 * error + 0.002 * expected
    assert 4 * error < 0.2 * abs(expected - paths.risk[:, 0].mean())


@pytest.mark.long
def test_clipping_and_dana_follow_pulses_of_their_own_functions():
    """A threshold that is huge for a moment clips nothing then; DANA's g2 alone is the learning rate of SGD."""
    boundaries, values = np.array([9.9, 9.9 + 1e-4]), np.array([0.05, 50.0, 0.01])
    expected = reference("sgd", piecewise(boundaries, values), boundaries, 10.0)
    rate = sl.schedules.piecewise_constant(boundaries, values)
    dana = sl.dana(g2=rate, g3=0.0, delta=1.0)
    assert sl.solve_ode(PROBLEM, dana, 1.0, 10.0).risk[-1] == pytest.approx(expected, rel=1e-5)
    open_then = sl.schedules.piecewise_constant(boundaries, [1e-6, 1e6, 1e-6])
    clipped = sl.solve_ode(PROBLEM, sl.clip_norm(open_then), rate, 10.0).risk[-1]
    only_pulse = reference("sgd", piecewise(boundaries, [0.0, 50.0, 0.0]), boundaries, 10.0)
    assert clipped == pytest.approx(only_pulse, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_random_pulses_of_schedules_that_know_them(rule):
    rng = np.random.default_rng(0)
    for _ in range(60):
        end = 10 ** rng.uniform(-0.5, 1.5)
        boundaries, values = random_pulses(rng, end, 1e-6)
        schedule = sl.schedules.piecewise_constant(boundaries, values)
        eta, corners = piecewise(boundaries, values), boundaries
        if rng.random() < 0.5:
            ramp = float(end * 10 ** rng.uniform(-4, 0))
            schedule, plain = sl.schedules.warmup(schedule, ramp), eta
            eta = partial(lambda plain, ramp, t: np.minimum(t / ramp, 1.0) * plain(t), plain, ramp)
            corners = np.union1d(corners, ramp)
        found = sl.solve_ode(PROBLEM, RULES[rule], schedule, end, aligned=False)
        assert not unresolved(found)
        assert found.risk[-1] == pytest.approx(reference(rule, eta, corners, end), rel=1e-4)


@pytest.mark.slow
def test_random_pulses_of_plain_functions():
    """Down to pulses of 1/10,000 of the horizon; shorter ones may need a warning, and have it if they matter."""
    rng = np.random.default_rng(1)
    for trial in range(12):
        end = 10 ** rng.uniform(-0.5, 1.5)
        boundaries, values = random_pulses(rng, end, 1e-2 if trial < 6 else 1e-5)
        steps = partial(lambda b, v, t: jnp.asarray(v)[jnp.searchsorted(b, t, side="right")], boundaries, values)
        found = sl.solve_ode(PROBLEM, sl.sgd(), steps, end, aligned=False)
        expected = reference("sgd", piecewise(boundaries, values), boundaries, end)
        assert trial >= 6 or not unresolved(found)
        if not unresolved(found) and np.diff(boundaries)[::2].min() > end / 2**15:
            assert found.risk[-1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_random_smooth_peaks_of_plain_functions():
    rng = np.random.default_rng(2)
    for _ in range(12):
        end = 10 ** rng.uniform(-0.5, 1.5)
        at, width, base = rng.uniform(0.1, 0.9) * end, end * 10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-2.5, -1)
        height = 0.1 / np.sqrt(width)
        with np.errstate(under="ignore"):
            expected = reference(
                "sgd",
                lambda t, at=at, width=width, base=base, height=height: (
                    base + height * np.exp(-(((t - at) / width) ** 2))
                ),
                np.clip(at + width * np.linspace(-6, 6, 49), 0, end)[1:],
                end,
            )
        found = sl.solve_ode(
            PROBLEM,
            sl.sgd(),
            lambda t, at=at, width=width, base=base, height=height: base + height * jnp.exp(-(((t - at) / width) ** 2)),
            end,
            aligned=False,
        )
        assert found.risk[-1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_one_rate_for_each_step_with_single_large_ones():
    rng, d = np.random.default_rng(3), 64
    for _ in range(3):
        rates = np.full(6400, 10 ** rng.uniform(-2.5, -1))
        rates[rng.integers(10, 6390, 5)] = rng.uniform(0.5, 1.5, 5)
        steps = np.arange(rates.size)
        expected = reference(
            "sgd", lambda t, rates=rates, steps=steps: np.interp(t * d, steps, rates), steps[1:] / d, 99.0
        )
        found = sl.solve_ode(PROBLEM, sl.sgd(), sl.schedules.of_steps(rates, d), 99.0, aligned=False)
        assert found.risk[-1] == pytest.approx(expected, rel=1e-4)
