"""The best rule and rate are those that an independent search over solved curves finds."""

import numpy as np
import pytest

import sdelimit as sl

RULES = [sl.sign_sgd(), sl.sgd()]
GRID = np.geomspace(0.05, 3.0, 80)


def lowest(problem, rule, horizon):
    """The smallest R(horizon) on a grid of constant learning rates, and its rate."""
    risks = np.array([part.risk[-1] for part in sl.solve_ode(problem, rule, GRID, t_max=horizon)])
    return risks.min(), GRID[np.argmin(risks)]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning", "ignore::sdelimit.DivergenceWarning")
@pytest.mark.parametrize("sparse", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_best_is_that_of_a_grid(sparse):
    target = np.eye(60)[0] if sparse else None
    problem = sl.LinearRegression(sl.covariance.ar1(60, 0.4), sl.noise.Gaussian(0.3), theta_star=target)
    found = sl.recommend(problem, RULES, horizon=3.0)
    assert [c.risk for c in found.choices] == sorted(c.risk for c in found.choices)
    for choice in found.choices:
        risk, lr = lowest(problem, choice.curve.optimizer, 3.0)
        assert choice.risk == pytest.approx(risk, rel=0.01)
        assert choice.lr == pytest.approx(lr, rel=0.12)
    assert np.any(found.choices[-1].curve.aligned) or not sparse
    assert found.optimizer == found.choices[0].curve.optimizer and found.lr == found.choices[0].lr


@pytest.mark.long
def test_runs_at_the_recommended_rate_have_the_recommended_risk():
    problem = sl.LinearRegression(np.linspace(0.5, 1.5, 300), sl.noise.Gaussian(0.5))
    found = sl.recommend(problem, sl.sgd(), horizon=2.0)
    runs = sl.simulate(problem, found.optimizer, found.lr, t_max=2.0, n_runs=64, seed=1)
    assert abs(runs.mean[-1] - found.choices[0].risk) < 4 * runs.standard_error[-1] + 2 * found.choices[0].risk / 300


@pytest.mark.long
def test_rules_without_theory_are_named_and_the_result_is_kept(tmp_path):
    problem = sl.LinearRegression(np.ones(50), sl.noise.Cauchy(0.1))
    found = sl.recommend(problem, RULES, horizon=1.0)
    assert [c.curve.optimizer.name for c in found.choices] == ["sign_sgd"]
    assert list(found.no_theory) == ["sgd()"] and "sgd(): no theory: noise must have finite variance" in found.table()
    found.save(tmp_path / "found.npz")
    assert sl.load(tmp_path / "found.npz") == found
    assert found.to_dataframe().lr.item() == found.lr
    with pytest.raises(ValueError, match="optimizers must have a limit on this problem: noise must have finite"):
        sl.recommend(problem, [sl.sgd()], horizon=1.0)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning", "ignore::sdelimit.DivergenceWarning")
def test_doubts_are_those_of_the_curve():
    problem = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(0.1))
    found = sl.recommend(problem, [sl.sgd(momentum=0.99), sl.sign_sgd()], horizon=5.0, batch_size=4)
    told = {label: texts for label, texts in found.doubts.items()}
    assert told and all(texts for texts in told.values())
    for text in (text for texts in told.values() for text in texts):
        assert text.split()[0] in found.table()


@pytest.mark.slow
@pytest.mark.long
def test_several_rules_and_other_losses():
    problem = sl.LogisticRegression(np.ones(60), theta_star=np.full(60, 0.3))
    (best,) = sl.best_constant_lr(problem, [sl.sgd()], t_max=3.0)
    risk, _ = lowest(problem, sl.sgd(), 3.0)
    assert best.risk <= risk * (1 + 1e-3)


@pytest.mark.slow
@pytest.mark.long
def test_rows_are_used_once_by_default():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 8))
    problem = sl.data.from_arrays(X, X.sum(axis=1) + rng.standard_normal(400))
    assert sl.recommend(problem, sl.sgd()).horizon == pytest.approx(50.0)
