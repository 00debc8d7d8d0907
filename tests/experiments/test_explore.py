"""The explorer's state is that of its sliders, and what it draws is what the solvers give."""

import numpy as np
import optax
import pytest

import sdelimit as sl

pytestmark = pytest.mark.long
PROBLEM = sl.LinearRegression(sl.covariance.ar1(40, 0.5), sl.noise.StudentT(5.0, 0.5), theta0=np.full(40, 0.1))


@pytest.fixture(scope="module")
def explorer():
    return sl.explore(PROBLEM, [sl.adam(0.5, 0.9)], lr=0.2, t_max=2.0, n_runs=3)


def move(explorer, **values):
    for name, value in values.items():
        explorer.controls[name].value = value


def pictures(explorer):
    return [bytes(image.value) for image in explorer._images]


@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_sliders_move_the_curve_and_the_effects(explorer):
    move(explorer, optimizer="sign_sgd", lr=0.2, noise=0.5, correlation=0.5, batch_size=1, t_max=2.0)
    before = pictures(explorer)
    move(explorer, lr=0.4, noise=0.8, correlation=-0.3, t_max=3.0)
    noise = sl.noise.StudentT(5.0, explorer.controls["noise"].value)
    problem = sl.LinearRegression(sl.covariance.ar1(40, -0.3), noise, PROBLEM.theta0, PROBLEM.theta_star)
    assert explorer.problem == problem and explorer.lr == pytest.approx(0.4, rel=0.03)
    expected = sl.solve_ode(problem, sl.sign_sgd(), explorer.lr, t_max=3.0)
    np.testing.assert_allclose(explorer.curve.risk, expected.risk, rtol=1e-9)
    found = sl.effects(problem, sl.sign_sgd(), explorer.lr, 3.0)
    assert explorer.effects.noise_compression.chi[-1] == pytest.approx(found.noise_compression.chi[-1], rel=1e-5)
    after = pictures(explorer)
    assert all(a != b and b.startswith(b"\x89PNG") for a, b in zip(before, after, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_rules_and_momentum(explorer):
    move(explorer, optimizer="signum", beta=0.8)
    assert explorer.optimizer == sl.signum(0.8) and explorer.state["optimizer"] == repr(sl.signum(0.8))
    assert not explorer.controls["beta"].disabled
    move(explorer, optimizer="sgd", batch_size=4)
    assert explorer.optimizer == sl.sgd() and explorer.curve.batch_size == 4 and explorer.controls["beta"].disabled
    move(explorer, optimizer=repr(sl.adam(0.5, 0.9)), batch_size=1)
    assert explorer.optimizer == sl.adam(0.5, 0.9)


@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_runs_are_added_and_go_when_something_moves(explorer):
    move(explorer, optimizer="sign_sgd", lr=0.2, batch_size=1)
    before = pictures(explorer)[0]
    explorer.buttons["Add runs"].click()
    runs = sl.simulate(explorer.problem, sl.sign_sgd(), explorer.lr, t_max=explorer.curve.t[-1], n_runs=3)
    assert explorer.runs == runs and pictures(explorer)[0] != before
    explorer.buttons["Keep curve"].click()
    move(explorer, lr=0.3)
    assert explorer.runs is None
    kept = pictures(explorer)[0]
    explorer.buttons["Clear"].click()
    assert pictures(explorer)[0] != kept


@pytest.mark.slow
def test_what_is_wrong_is_shown_below():
    explorer = sl.explore(sl.LinearRegression(np.ones(30), sl.noise.Cauchy(0.1)), lr=0.2, t_max=1.0)
    assert set(explorer.controls) >= {"noise", "correlation"} and explorer.message == ""
    move(explorer, optimizer="sgd")
    assert explorer.curve is None and explorer.effects is None
    assert "noise must have finite variance for SGD" in explorer.message and "finite var" in explorer._status.value
    move(explorer, optimizer="sign_sgd")
    assert explorer.curve is not None and explorer._status.value == ""


@pytest.mark.slow
def test_other_problems_have_fewer_sliders():
    covariance = sl.covariance.power_law(30, 1.0)
    explorer = sl.explore(sl.LinearRegression(covariance, sl.noise.NoNoise()), t_max=1.0)
    assert {"noise", "correlation"}.isdisjoint(explorer.controls) and explorer.problem is explorer._base
    logistic = sl.explore(sl.LogisticRegression(np.ones(30)), t_max=1.0)
    assert logistic.effects is None and logistic.curve.problem is logistic.problem
    assert repr(logistic).startswith("<explorer of <LogisticRegression")
    assert "application/vnd.jupyter.widget-view+json" in logistic._repr_mimebundle_()


def test_a_rule_from_optax_can_be_chosen():
    rule = sl.from_optax(optax.scale_by_sign(), name="signs")
    explorer = sl.explore(sl.LinearRegression(np.ones(30)), rule, t_max=1.0)
    assert explorer.optimizer is rule and explorer.state["optimizer"] == "signs()"
