"""Norm clipping on single-index problems, against brute force, other rules' limits and runs."""

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.losses import Logistic, Phase, Probit, Residual
from sdelimit.problem.score_means import clipped_moments, moments

NONE = sl.noise.NoNoise()
LOSSES = {
    "hard": (Logistic(False), 0.3),
    "soft": (Logistic(True), 0.1),
    "phase": (Phase(), 5.0),
    "probit": (Probit(), 0.8),
}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_coefficients_are_those_of_brute_force(name, batch_size):
    """h1, h0 and E min(Lambda, C)^2 from 5e5 batches drawn, within 4.5 standard errors of at most 2%."""
    (loss, C), s, c, draws = LOSSES[name], 1.3, 0.4, 500_000
    rng = np.random.default_rng(0)
    u_star, z = rng.standard_normal((2, draws, batch_size))
    uniform, tau = rng.random((draws, batch_size)), s * np.sqrt(1 - c**2)
    slope = lambda v, u, r: loss.slope(v, u, loss.label(r, u))  # noqa: E731
    l = np.asarray(evaluate_in_float64(slope, c * s * u_star + tau * z, u_star, uniform))  # noqa: E741
    length = np.sqrt(np.sum(l**2, axis=1)) / batch_size
    weight = np.minimum(1.0, C / length)
    across, along = (weight * np.mean(l * q, axis=1) for q in (z, u_star))
    drawn = np.stack([across / tau, along - c * s * across / tau, np.minimum(length, C) ** 2])
    found = np.array([float(part[0]) for part in clipped_moments(loss, NONE, 1.0, [s], [c], C, batch_size)])
    error = drawn.std(axis=1) / np.sqrt(draws)
    assert np.all(np.abs(found - drawn.mean(axis=1)) < 4.5 * error)
    assert np.all(error < 0.02 * np.abs(found).max())


@pytest.mark.parametrize("s", [1e-3, 0.3, 2.0, 10.0])
def test_clipping_a_residual_is_hubers_loss(s):
    noise = sl.noise.StudentT(1.5, 0.3)
    found = clipped_moments(Residual(np.inf), noise, 1.0, [s], [0.3], 0.7)
    np.testing.assert_allclose(
        np.ravel(found), np.ravel(moments(Residual(0.7), noise, 1.0, [s], [0.3])), rtol=1e-9, atol=1e-12
    )


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 3])
def test_least_squares_as_an_own_loss_is_the_law_of_linear_regression(batch_size):
    K, noise = np.linspace(0.5, 2.0, 30), sl.noise.Gaussian(0.5)
    own = sl.SingleIndex(K, loss=lambda u, u_star, eps: (u - u_star - eps) ** 2 / 2, noise=noise, seed=3)
    linear = sl.LinearRegression(K, noise, seed=3)
    given = {"lr": 0.5, "t_max": 3.0, "aligned": False, "batch_size": batch_size}
    curves = [sl.solve_ode(p, sl.clip_norm(0.6), **given) for p in (own, linear)]
    np.testing.assert_allclose(curves[0].risk, curves[1].risk, rtol=1e-3)
    assert curves[0].risk[-1] > 1.05 * sl.solve_ode(linear, sl.sgd(), **given).risk[-1]


@pytest.mark.long
def test_a_threshold_that_nothing_reaches_is_sgd():
    """|l| < 1 for logistic regression."""
    problem = sl.LogisticRegression(np.linspace(0.5, 2.0, 30))
    plain, clipped = (sl.solve_ode(problem, r, lr=0.7, t_max=2.0) for r in (sl.sgd(), sl.clip_norm(1.0)))
    np.testing.assert_allclose(clipped.risk, plain.risk, rtol=1e-6)


@pytest.mark.slow
def test_the_stationary_risk_is_where_the_curve_settles():
    problem = sl.LogisticRegression(np.ones(30), theta_star=np.full(30, 30**-0.5))
    end = sl.solve_ode(problem, sl.clip_norm(0.4), lr=0.5, t=[0.0, 400.0])
    assert sl.stationary_risk(problem, sl.clip_norm(0.4), 0.5) == pytest.approx(end.risk[-1], rel=1e-3)


@pytest.mark.long
def test_what_is_not_known_is_refused():
    problem = sl.LogisticRegression(np.ones(8))
    with pytest.raises(NoLimitError, match="got clip_norm with a function of t as its threshold"):
        sl.clip_norm(lambda t: 1 / (1 + t)).limit(problem, 1)
    with pytest.raises(NoLimitError, match="coupled must be False for clip_norm"):
        sl.clip_norm(1.0).with_weight_decay(0.1, coupled=True).limit(problem, 1)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("model", ["hard", "phase"])
def test_the_mean_of_runs_follows_the_curve(model, batch_size):
    """d = 1024, within 1% and 3 standard errors at 40 times."""
    K = sl.covariance.ar1(1024, 0.6)
    problem, C, lr = sl.LogisticRegression(K), 0.3, 1.5
    if model == "phase":
        rng = np.random.default_rng(5)
        target, other = rng.standard_normal((2, K.d)) / np.sqrt(K.d)
        problem, C, lr = sl.PhaseRetrieval(K, theta_star=target, theta0=0.6 * target + 0.8 * other), 2.0, 0.05
    runs = sl.simulate(problem, sl.clip_norm(C), lr=lr, t=np.linspace(0, 5, 41), n_runs=64, batch_size=batch_size)
    curve = sl.solve_ode(problem, sl.clip_norm(C), lr=lr, t=runs.t, batch_size=batch_size)
    gap, error = np.abs(runs.mean / curve.risk - 1)[1:], (runs.standard_error / curve.risk)[1:]
    print(
        f"{model} {batch_size}: {gap.max():.2%} (s.e. {error[gap.argmax()]:.2%}), {curve.risk[-1] / curve.risk[0]:.3g}"
    )
    assert np.all(gap < 0.01 + 3 * error)
    assert np.max(error) < 0.015
