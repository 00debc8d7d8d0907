"""The spread of single runs on single-index problems, against brute force, linear regression and runs."""

import numpy as np
import pytest
from scipy.special import expit

import sdelimit as sl
from sdelimit.problem.losses import Logistic, Residual
from sdelimit.problem.score_means import score_moments

NONE = sl.noise.NoNoise()


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("name", ["hard", "huber"])
def test_moments_of_scores_are_those_of_brute_force(name, signs):
    rng, s, c, draws = np.random.default_rng(0), 1.3, 0.4, 10**6
    q, noise = rng.standard_normal((2, draws)), NONE
    v = s * (c * q[1] + np.sqrt(1 - c**2) * q[0])
    if name == "hard":
        loss = Logistic(False)
        l = expit(v + q[1]) - (rng.random(draws) < expit(q[1]))  # noqa: E741
    else:
        loss, noise = Residual(0.5), sl.noise.Gaussian(0.3)
        l = np.clip(v - 0.3 * rng.standard_normal(draws), -0.5, 0.5)  # noqa: E741
    A, length = (np.sqrt(2 / np.pi) * np.sign(l), np.ones(draws)) if signs else (l, np.abs(l))
    found = score_moments(loss, noise, 1.0, s, c, signs)
    drawn = {
        "mean": A * q,
        "third": length**2 * A * q,
        "second": A**2 * (q[:, None] * q[None] - np.eye(2)[..., None]),
        "square": length**2,
        "fourth": length**4,
    }
    for field, sample in drawn.items():
        error = sample.std(axis=-1) / np.sqrt(draws)
        assert np.all(np.abs(getattr(found, field) - sample.mean(axis=-1)) <= 4.5 * error + 1e-6), field
        assert np.max(error) < 3e-3


@pytest.mark.slow
def test_least_squares_as_an_own_loss_spreads_as_linear_regression():
    K, noise, t = np.linspace(0.5, 2.0, 64), sl.noise.Gaussian(0.5), [0.3, 1.0, 3.0]
    own = sl.SingleIndex(K, loss=lambda u, u_star, eps: (u - u_star - eps) ** 2 / 2, noise=noise, seed=3)
    linear = sl.LinearRegression(K, noise, seed=3)
    for rule, rtol in ((sl.sgd(), 2e-3), (sl.sign_sgd(), 5e-3)):
        given = {"lr": 0.3, "t": t, "aligned": False}
        found, known = (sl.solve_ode(p, rule, **given).std for p in (own, linear))
        np.testing.assert_allclose(found, known, rtol=rtol)


K200 = sl.covariance.ar1(200, 0.6)
RUNS = {
    "sgd-hard": (sl.LogisticRegression(K200), sl.sgd(), 1.5, 1),
    "sgd-huber": (sl.RobustRegression(K200, threshold=0.5, noise=sl.noise.StudentT(1.5, 0.3)), sl.sgd(), 0.7, 1),
    "sign-soft": (sl.LogisticRegression(K200, labels="soft"), sl.sign_sgd(), 0.3, 1),
    "clip-hard": (sl.LogisticRegression(K200), sl.clip_norm(0.4), 2.0, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_spread_is_that_of_runs(name):
    """1000 runs at d = 200: a standard error of 2.2%, and the theory is O(1/d) off."""
    problem, rule, lr, batch_size = RUNS[name]
    given = {"lr": lr, "t": np.linspace(0.0, 3.0, 7)[1:], "batch_size": batch_size}
    runs, curve = sl.simulate(problem, rule, n_runs=1000, **given), sl.solve_ode(problem, rule, **given)
    ratio = curve.std / runs.risk.std(axis=0, ddof=1)
    print(name, ratio.round(3))
    assert np.all(np.abs(ratio - 1) < 0.1)
    quantiles = curve.quantile(0.9) / np.quantile(runs.risk, 0.9, axis=0)
    assert np.all(np.abs(quantiles - 1) < 0.04)


@pytest.mark.long
@pytest.mark.parametrize("rule", [sl.sign_sgd(), sl.sgd(momentum=0.5)], ids=["batches", "momentum"])
def test_a_spread_that_is_not_known_is_refused(rule):
    batch_size = 2 if rule.name == "sign_sgd" else 1
    curve = sl.solve_ode(sl.LogisticRegression(np.ones(16)), rule, lr=0.1, t_max=1.0, batch_size=batch_size)
    assert not curve.has_spread
    with pytest.raises(ValueError, match="spread of single runs is not known"):
        _ = curve.std
