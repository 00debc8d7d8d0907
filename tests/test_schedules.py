"""What a public function makes of its argument ``lr``."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.numerics.precision import x64
from sdelimit.ode.integrate import Stepping
from sdelimit.schedules import BREAKS, SCAN, SEARCH, LearningRate

TIMES = np.linspace(0.0, 4.0, 9)


def traces(check):
    """``check`` of a traced number, under grad, jit and vmap."""
    jax.grad(lambda a: (check(a), a)[1])(0.5)
    jax.jit(lambda a: (check(a), a)[1])(0.5)
    jax.vmap(lambda a: (check(a), a)[1])(jnp.array([0.5, 0.6]))


@pytest.mark.parametrize("number", [0.3, np.float64(0.3), np.array(0.3), sl.schedules.constant(0.3)])
def test_a_number_is_one_constant_learning_rate(number):
    lr = LearningRate.of(number)
    assert (lr.count, lr.traced, lr.initial.shape) == (None, False, ())
    np.testing.assert_array_equal(lr.at(TIMES), np.full(9, 0.3))
    scan = lr.scan(TIMES)
    assert scan.eta.tolist() == [0.3]
    assert Stepping.along(scan) == Stepping(longest=None, breaks=None)


@pytest.mark.parametrize("values", [[0.1, 0.3], (0.1, 0.3), np.array([0.1, 0.3]), jnp.array([0.1, 0.3])])
def test_an_array_is_several_constant_learning_rates(values):
    lr = LearningRate.of(values)
    assert (lr.count, lr.traced) == (2, False)
    expected = np.asarray(values, np.float64)
    np.testing.assert_array_equal(lr.at(TIMES), np.tile(expected[:, None], (1, 9)))
    np.testing.assert_array_equal(lr.initial, expected)
    assert lr.scan(TIMES).eta.max() == expected.max()
    assert Stepping.along(lr.scan(TIMES)) == Stepping(longest=None, breaks=None)
    assert LearningRate.of([0.1]).at(TIMES).shape == (1, 9)


def test_a_function_is_evaluated_in_float64_and_scanned_finely():
    lr = LearningRate.of(lambda t: 0.3 / (1 + t))
    assert (lr.count, lr.traced) == (None, False)
    np.testing.assert_allclose(lr.at(TIMES), 0.3 / (1 + TIMES), rtol=1e-15)
    assert lr.initial == 0.3
    t, eta, breaks = lr.scan(TIMES)
    assert set(TIMES) <= set(t) and t[0] == 0 and t[-1] == 4 and np.diff(t).max() < 4.001 / SEARCH
    np.testing.assert_allclose(eta, 0.3 / (1 + t), rtol=1e-15)
    assert Stepping.along(lr.scan(TIMES)).longest == 0.04
    # Between breaks it changes by a quarter of its largest value.
    np.testing.assert_allclose(breaks, [1 / 0.75 - 1, 1 / 0.5 - 1, 1 / 0.25 - 1], atol=4.001 / SEARCH)


def test_values_cannot_be_changed():
    for given in (0.3, [0.1, 0.3], lambda t: 0.3 + t):
        lr = LearningRate.of(given)
        with pytest.raises(ValueError, match="read-only"):
            lr.at(TIMES)[...] = 1.0
        with pytest.raises(dataclasses.FrozenInstanceError):
            lr.count = 3


RATES = np.array([0.3, 0.3, 0.3, 2.0, 0.3, 0.1, 0.1])
CORNERS = [
    (sl.schedules.piecewise_constant([1.0, 1.0 + 1e-9, 5.0], [0.3, 9.0, 0.2, 0.1]), [1.0, 1.0 + 1e-9]),
    (sl.schedules.warmup(0.3, 0.7), [0.7]),
    (sl.schedules.warmup(sl.schedules.piecewise_constant([0.1], [0.3, 0.2]), 0.7), [0.1, 0.7]),
    (sl.schedules.cosine(0.3, 1.5), [1.5]),
    (sl.schedules.linear(0.3, 1.5), [1.5]),
    (sl.schedules.log_linear([0.5, 2.0], [0.1, 0.3]), [0.5, 2.0]),
    (sl.schedules.of_steps(RATES, 10), [0.2, 0.3, 0.4, 0.5]),
    (sl.schedules.inverse_sqrt(0.3), []),
]


@pytest.mark.parametrize(("schedule", "corners"), CORNERS)
def test_schedules_know_where_they_jump_or_bend(schedule, corners):
    scan = LearningRate.of(schedule).scan(TIMES)
    np.testing.assert_array_equal(scan.breaks, corners)
    assert set(corners) <= set(scan.t)


def test_the_jumps_of_a_function_are_found_to_rounding():
    lr = LearningRate.of(lambda t: jnp.where((t >= 1.3) & (t < 1.3003), 7.0, jnp.where(t > 2.5, 0.05, 0.1)))
    np.testing.assert_array_equal(lr.scan(TIMES).breaks, [1.3, 1.3003, np.nextafter(2.5, 3)])
    assert lr.unresolved(4.0) == ()
    wave = LearningRate.of(lambda t: jnp.where(jnp.sin(100 * t) > 0, 0.3, 0.1)).scan(TIMES).breaks
    np.testing.assert_allclose(wave, np.arange(1, 128) * np.pi / 100, rtol=1e-14)


def test_steps_end_inside_and_on_both_sides_of_a_steep_slope():
    """Neither a jump nor seen by points a hundredth of the horizon apart."""
    breaks = LearningRate.of(lambda t: 0.1 + jnp.exp(-(((t - 1.7) / 3e-4) ** 2))).scan(TIMES).breaks
    inside = breaks[np.abs(breaks - 1.7) < 6e-4]
    assert inside.size >= 6 and np.diff(inside).max() < 6e-4


def test_a_function_too_fast_to_be_followed_is_warned_of():
    combs = [lambda t: jnp.where(jnp.sin(3e5 * t) > 0.9, 5.0, 0.1), lambda t: 0.2 + 0.1 * jnp.sin(5e5 * t**1.5)]
    for comb in combs:
        (text,) = LearningRate.of(comb).unresolved(4.0)
        assert re.match(r"lr changes within 0\.00012, too fast to be followed: points twice as close move", text)
    threshold = sl.clip_norm(lambda t: 1.0 + 0.9 * jnp.sin(5e5 * t**1.5))
    assert any(text.startswith("threshold changes within") for text in threshold.doubts(4.0, 100))
    for fine in (0.3, sl.schedules.cosine(0.3, 4.0), lambda t: 0.1 + 0.1 * jnp.sin(300 * t)):
        assert LearningRate.of(fine).unresolved(4.0) == ()


def test_steps_are_short_where_there_are_more_jumps_than_can_be_named():
    many = sl.schedules.piecewise_constant(np.linspace(0.0, 4.0, 2 * BREAKS)[1:-1], np.tile([0.1, 0.3], BREAKS)[:-1])
    assert Stepping.along(LearningRate.of(many).scan(TIMES)) == Stepping(longest=4 / SCAN, breaks=None)


MAKE = {
    "number": lambda a: a,
    "schedule": lambda a: sl.schedules.cosine(a, 3.0),
    "function": lambda a: lambda t: a / (1 + t),
    "compiled function": lambda a: jax.jit(lambda t: a * t),
}


@pytest.mark.parametrize("kind", MAKE)
def test_a_learning_rate_is_traced_wherever_its_numbers_are(kind):
    make = MAKE[kind]

    def check(a):
        lr = LearningRate.of(make(a))
        assert lr.traced and lr.count is None
        assert lr.at(TIMES).shape == (9,) and lr.at(TIMES).dtype == np.float64
        assert Stepping.along(lr.scan(TIMES)).breaks is None

    traces(check)
    assert not LearningRate.of(make(0.5)).traced


def test_traced_arrays_are_several_learning_rates():
    def check(a):
        for given in (jnp.stack([a, 2 * a]), [a, 0.3]):
            lr = LearningRate.of(given)
            assert lr.traced and lr.count == 2 and lr.at(TIMES).shape == (2, 9)
        with pytest.raises(ValueError, match=r"lr must be a number or a \(m,\) array, got shape \(1, 1\)"):
            LearningRate.of(jnp.reshape(a, (1, 1)))

    traces(check)


def test_functions_that_read_a_variable_are_read_anew():
    size = [0.3]
    read = lambda t: size[0] + 0 * t  # noqa: E731
    assert LearningRate.of(read).initial == 0.3
    size[0] = 0.1
    assert LearningRate.of(read).initial == 0.1


def test_values_of_a_function_are_checked_where_it_is_evaluated():
    lr = LearningRate.of(lambda t: 1.0 - t, "sgd_lr")
    assert lr.at(np.array([0.0, 1.0])).tolist() == [1.0, 0.0]
    for ask in (lr.at, lr.scan):
        with pytest.raises(ValueError, match=r"^sgd_lr must be finite and >= 0 at every t, got -.* at t = 1"):
            ask(np.array([0.0, 1.5]))
    with pytest.raises(ValueError, match=r"^lr must be finite and >= 0 at every t, got nan at t = 0"):
        LearningRate.of(lambda t: jnp.sqrt(t - 1.0)).scan(TIMES)


def test_only_one_learning_rate_is_taken_where_several_make_no_sense():
    for several in ([0.1, 0.3], np.array([0.1, 0.3])):
        with pytest.raises(TypeError, match=r"^sgd_lr must be a real number, got .*0\.1, 0\.3"):
            LearningRate.single(several, "sgd_lr")
        with pytest.raises(TypeError, match=r"^lr must be one concrete number .* solve_sde; call it once for each lr"):
            LearningRate.of(several).require_one_concrete("solve_sde")
    lr = LearningRate.of(0.3)
    assert lr.require_one_concrete("solve_sde") is lr and lr.require_concrete("simulate") is lr


PROBLEM = sl.LinearRegression(np.ones(4), sl.noise.Gaussian(0.3))
ROWS = sl.data.from_arrays(np.random.default_rng(0).normal(size=(40, 3)), np.arange(40.0))
CONCRETE = [
    (
        lambda lr: sl.solve_sde(PROBLEM, sl.sgd(), lr, 1.0),
        "lr must be one concrete number .* in solve_sde",
    ),
    (
        lambda lr: sl.data.solve_ode(ROWS, sl.sgd(), lr, 1.0),
        "lr must be one concrete number .* in sl.data.solve_ode",
    ),
    (lambda lr: sl.simulate(PROBLEM, sl.sgd(), lr, 1.0), "lr must be concrete in simulate"),
    (lambda lr: sl.match_schedule(PROBLEM, sl.sgd(), sl.sign_sgd(), lr, 1.0), "lr must be concrete in match_schedule"),
    (lambda lr: sl.optimize_schedule(PROBLEM, sl.sgd(), 1.0, lr=lr), "lr must be concrete in optimize_schedule"),
    (lambda lr: sl.effects(PROBLEM, lr=lr), "lr must be concrete in effects"),
    (lambda lr: sl.effects(PROBLEM, sgd_lr=lr), "sgd_lr must be concrete in effects"),
]


@pytest.mark.parametrize("row", range(len(CONCRETE)))
def test_what_cannot_be_differentiated_says_so(row):
    call, message = CONCRETE[row]

    def check(a):
        for traced in (a, sl.schedules.linear(a, 1.0), lambda t: a * jnp.exp(-t)):
            with pytest.raises(TypeError, match=message):
                call(traced)

    traces(check)


# Schedules that count steps

D, HORIZON = 500, 8.0
STEPS = int(D * HORIZON)
LONG = sl.LinearRegression(np.ones(D), sl.noise.Gaussian(0.3))
OPTAX = {
    "cosine": optax.cosine_decay_schedule(0.5, STEPS),
    "linear": optax.linear_schedule(0.5, 0.0, STEPS),
    "polynomial": optax.polynomial_schedule(0.5, 0.0, 2, STEPS),
    "exponential": optax.exponential_decay(0.5, STEPS // 4, 0.3),
    "staircase": optax.exponential_decay(0.5, STEPS // 4, 0.3, staircase=True),
    "piecewise": optax.piecewise_constant_schedule(0.5, {STEPS // 3: 0.1}),
    "piecewise_interpolate": optax.piecewise_interpolate_schedule("cosine", 0.5, {STEPS // 3: 0.1}),
    "join": optax.join_schedules([optax.constant_schedule(0.5), optax.constant_schedule(0.1)], [STEPS // 3]),
    "warmup": optax.warmup_cosine_decay_schedule(0.0, 0.5, STEPS // 8, STEPS),
    "warmup_constant": optax.warmup_constant_schedule(0.0, 0.5, STEPS // 8),
    "warmup_exponential": optax.warmup_exponential_decay_schedule(0.0, 0.5, STEPS // 8, STEPS // 4, 0.3),
    "onecycle": optax.cosine_onecycle_schedule(STEPS, 0.5),
    "linear_onecycle": optax.linear_onecycle_schedule(STEPS, 0.5),
    "sgdr": optax.sgdr_schedule([{"init_value": 0.0, "peak_value": 0.5, "decay_steps": STEPS, "warmup_steps": 100}]),
}


@pytest.mark.parametrize("name", OPTAX)
def test_a_schedule_of_optax_is_refused_with_the_way_out(name):
    schedule = OPTAX[name]
    wrapped = [
        schedule,
        functools.partial(schedule),
        functools.wraps(schedule)(lambda k: schedule(k)),
        jax.jit(schedule),
    ]
    for given in wrapped:
        for ask in (LearningRate.of, LearningRate.single, lambda given: sl.schedules.warmup(given, 1.0)):
            with pytest.raises(TypeError, match=r"optax schedule, .*=sl.schedules.of_steps\(schedule, d\)"):
                ask(given)
    # It can be hidden in a function, and then seems not to change.
    (text,) = LearningRate.of(lambda t: schedule(t) + 0.0).require_times(HORIZON, D)
    assert re.search(r"lr (hardly changes|reaches \S+) up to t = 8, but would .* up to 4000, the number of steps", text)
    assert "lr=sl.schedules.of_steps(schedule, d=500)" in text


@pytest.mark.parametrize("name", OPTAX)
def test_of_steps_reads_a_schedule_at_the_steps_that_are_taken(name):
    """Also at jumps: eta(k/d) is the schedule of k, however k/d is rounded."""
    for d in (D, 7, 4096):
        lr = LearningRate.of(sl.schedules.of_steps(OPTAX[name], d))
        k = np.arange(STEPS + 10)
        with x64():
            expected = np.asarray(jax.vmap(lambda k: 1.0 * OPTAX[name](k))(jnp.asarray(k, jnp.float64)))
        np.testing.assert_array_equal(lr.at(k / d), expected)
        assert lr.require_times(HORIZON, d) == ()


def test_a_constant_of_optax_is_a_constant():
    assert LearningRate.of(optax.constant_schedule(0.3)).at(TIMES).tolist() == [0.3] * 9


@pytest.mark.long
def test_of_steps_takes_one_learning_rate_for_each_step():
    rates = np.linspace(0.5, 0.1, STEPS) ** 2
    lr = LearningRate.of(sl.schedules.of_steps(rates, D))
    np.testing.assert_array_equal(lr.at(np.arange(STEPS) / D), rates)
    assert lr.at(np.array([2 * HORIZON])) == rates[-1]
    curve = sl.solve_ode(LONG, sl.sgd(), sl.schedules.of_steps(rates, D), HORIZON)
    same = sl.solve_ode(LONG, sl.sgd(), lambda t: jnp.interp(t * D, jnp.arange(STEPS), rates), HORIZON)
    np.testing.assert_allclose(curve.risk, same.risk, rtol=1e-6)


@pytest.mark.long
def test_a_schedule_in_steps_gives_the_risk_of_the_same_schedule_in_time():
    """What was .071 for a learning rate that seemed not to decay is .118."""
    in_steps = sl.schedules.of_steps(OPTAX["cosine"], D)
    for solve in (sl.solve_ode, lambda *given: sl.simulate(*given, n_runs=2)):
        one, other = (solve(LONG, sl.sign_sgd(), lr, HORIZON) for lr in (in_steps, sl.schedules.cosine(0.5, HORIZON)))
        np.testing.assert_allclose(one.risk, other.risk, rtol=1e-4)
        assert one.warnings == ()


def test_a_schedule_that_seems_to_count_steps_is_warned_of():
    problem = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(0.3))
    with pytest.warns(sl.LimitWarning, match="lr hardly changes up to t = 2, but would by 100% up to 40"):
        runs = sl.simulate(problem, sl.sgd(), lambda t: 0.05 * (1 + jnp.cos(jnp.pi * t / 40)), 2.0, n_runs=2)
    assert len(runs.warnings) == 1


@pytest.mark.slow
def test_every_solver_says_that_a_schedule_seems_to_count_steps():
    hidden = lambda t: OPTAX["cosine"](t)  # noqa: E731
    rows = sl.data.from_arrays(np.random.default_rng(0).normal(size=(200, 20)), np.arange(200.0))
    small = sl.LinearRegression(np.ones(100), sl.noise.Gaussian(0.3))
    calls = [
        lambda: sl.solve_ode(small, sl.sgd(), hidden, 40.0),
        lambda: sl.solve_sde(small, sl.sgd(), hidden, 40.0, n_paths=2),
        lambda: sl.simulate(small, sl.sgd(), hidden, 40.0, n_runs=2),
        lambda: sl.simulate(small, [sl.sgd(), sl.sign_sgd()], [0.1, hidden], 40.0, n_runs=2)[1],
        lambda: sl.data.solve_ode(rows, sl.sgd(), lambda t: OPTAX["cosine"](60 * t), 2.5),
        lambda: sl.effects(small, lr=hidden, t_max=40.0).curve,
    ]
    for call in calls:
        with pytest.warns(sl.LimitWarning, match=r"lr hardly changes up to t = .*, but would by \d+% up to"):
            assert any("counts steps" in text for text in call().warnings)
    with pytest.warns(sl.LimitWarning, match="lr hardly changes"):
        sl.match_schedule(small, sl.sgd(), sl.sign_sgd(), hidden, 40.0)


@pytest.mark.parametrize(
    "schedule",
    [
        sl.schedules.cosine(0.5, HORIZON), sl.schedules.warmup(0.5, 2.0), sl.schedules.inverse_sqrt(0.5, 1.0),
        sl.schedules.piecewise_constant([4.0], [0.5, 0.05]), sl.schedules.constant(0.5),
        lambda t: 0.01 * (1 + t), lambda t: 0.01 * jnp.exp(t / 5), lambda t: 0.1 + 0.0 * t, lambda t: 0.0 * t,
        lambda t: 0.1 - t / 100, lambda t: 0.1 + 0.05 * jnp.sin(t), 0.1, [0.1, 0.3],
    ],
)  # fmt: skip
def test_a_schedule_in_time_is_not_taken_for_one_in_steps(schedule):
    assert LearningRate.of(schedule).require_times(HORIZON, D) == ()


@pytest.mark.long
def test_as_many_rates_as_steps_are_not_a_batch_of_learning_rates():
    problem = sl.LinearRegression(np.ones(20))
    solvers = [sl.solve_ode, sl.solve_sde, sl.simulate, lambda *given: sl.simulate(*given, n_runs=2, t=[0.0, 2.0])]
    for solve in solvers:
        for count in (40, 41):
            message = rf"lr has as many entries, {count}, as the horizon t = 2 has steps .*of_steps\(rates, d=20\)"
            with pytest.raises(ValueError, match=message):
                solve(problem, sl.sgd(), np.full(count, 0.1), 2.0)
    assert sl.solve_ode(problem, sl.sgd(), np.full(39, 0.1), 2.0).risk.shape == (39, 200)
    assert LearningRate.of([0.1, 0.2]).require_times(0.1, 20) == ()  # two steps, and two learning rates
