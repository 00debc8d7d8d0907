"""What a public function makes of its argument ``lr``."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl
from sdelimit.ode.integrate import BREAKS, Stepping
from sdelimit.schedules import SCAN, LearningRate

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
    t, eta = lr.scan(TIMES)
    assert set(TIMES) <= set(t) and t[0] == 0 and t[-1] == 4 and np.diff(t).max() < 4.001 / (SCAN - 1)
    np.testing.assert_allclose(eta, 0.3 / (1 + t), rtol=1e-15)
    assert Stepping.along(lr.scan(TIMES)) == Stepping(longest=0.04, breaks=None)


def test_values_cannot_be_changed():
    for given in (0.3, [0.1, 0.3], lambda t: 0.3 + t):
        lr = LearningRate.of(given)
        with pytest.raises(ValueError, match="read-only"):
            lr.at(TIMES)[...] = 1.0
        with pytest.raises(dataclasses.FrozenInstanceError):
            lr.count = 3


def test_steps_end_on_both_sides_of_a_jump():
    lr = LearningRate.of(sl.schedules.piecewise_constant([1.0, 2.5], [0.3, 0.0, 0.2]))
    breaks = Stepping.along(lr.scan(TIMES)).breaks
    assert breaks.shape == (BREAKS,)
    used = breaks[np.isfinite(breaks)]
    assert used.size == 4
    for jump, (before, after) in zip((1.0, 2.5), used.reshape(2, 2), strict=True):
        assert before < jump <= after and after - before < 4.001 / (SCAN - 1)


def test_steps_are_short_where_there_are_more_jumps_than_can_be_named():
    lr = LearningRate.of(lambda t: jnp.where(jnp.sin(100 * t) > 0, 0.3, 0.1))
    assert Stepping.along(lr.scan(TIMES)) == Stepping(longest=4 / SCAN, breaks=None)


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
