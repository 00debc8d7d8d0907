"""Limits on power-law random features against steps on the data themselves, in NumPy (theory: sections 15 and 21)."""

import numpy as np
import pytest

import sdelimit as sl

pytestmark = pytest.mark.slow
D, V, STEPS = 512, 2048, 1536
EXPONENTS = [(0.7, 0.4), (1.0, 0.75), (0.4, 0.6)]
RECORDED = np.unique(np.geomspace(4, STEPS, 24).astype(int))


def losses(alpha, beta, step, lr, runs, seed=1):
    """(runs, times) of half the mean squared error of <W'x, theta> against <x, b>, x ~ N(0, diag(j^-2 alpha))."""
    j = np.arange(1.0, V + 1)
    W = np.column_stack([np.random.default_rng((seed, k)).standard_normal(V) for k in range(D)]) / np.sqrt(D)
    std, b = j**-alpha, j**-beta
    rng, theta, out = np.random.default_rng(seed + 100), np.zeros((runs, D)), []
    for k in range(1, STEPS + 1):
        x = rng.standard_normal((runs, V)) * std
        features = x @ W
        gradient = (np.sum(features * theta, axis=1) - x @ b)[:, None] * features
        theta -= lr / D * step(gradient)
        if k in RECORDED:
            out.append(np.sum(((theta @ W.T - b) * std) ** 2, axis=1) / 2)
    return np.array(out).T


def distance(runs, curve):
    """Relative gap of the mean of the runs and its standard error, at the recorded times."""
    gap, error = runs.mean(axis=0) - curve.loss[1:], runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    return np.abs(gap) / curve.loss[1:], error / curve.loss[1:]


@pytest.mark.parametrize(("alpha", "beta"), EXPONENTS)
def test_sgd_in_steps_of_finite_size(alpha, beta):
    problem = sl.power_law_random_features(V, D, alpha, beta, seed=1)
    lr = 0.2 * D / problem.covariance.trace
    curve = sl.solve_ode(problem, sl.sgd(), lr, t=np.append(0, RECORDED) / D, finite_d=True)
    gap, error = distance(losses(alpha, beta, lambda g: g, lr, 256), curve)
    assert np.all(gap < 0.02 + 3 * error) and error.max() < 0.05


@pytest.mark.parametrize(("alpha", "beta"), EXPONENTS)
def test_signs_with_correlated_features(alpha, beta):
    problem = sl.power_law_random_features(V, D, alpha, beta, seed=1)
    lr = {0.7: 0.3, 1.0: 0.1, 0.4: 0.1}[alpha]
    curve = sl.solve_ode(problem, sl.sign_sgd(), lr, t=np.append(0, RECORDED) / D)
    assert curve.aligned and curve.warnings == ()
    gap, error = distance(losses(alpha, beta, np.sign, lr, 64), curve)
    assert np.all(gap < (0.08 if (alpha, beta) == (1.0, 0.75) else 0.04)) and error.max() < 0.04


def test_risks_that_fluctuate_are_warned_of():
    """alpha = 1 at a rate where only fluctuations along few directions are left: the mean is off by what is said."""
    problem = sl.power_law_random_features(V, D, 1.0, 0.75, seed=1)
    t = np.append(0, RECORDED) / D
    with pytest.warns(sl.LimitWarning, match="about 12% too low"):
        curve = sl.solve_ode(problem, sl.sign_sgd(), 0.3, t=t)
    runs = sl.simulate(problem, sl.sign_sgd(), 0.3, t=t, n_runs=512)
    loss = runs.loss[:, -3:]
    assert curve.fluctuation == pytest.approx(np.mean(loss.var(axis=0) / loss.mean(axis=0) ** 2), rel=0.4)
    gap = np.mean(loss.mean(axis=0) / curve.loss[-3:]) - 1
    assert 0.04 < gap < 0.15
