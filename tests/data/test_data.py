"""Problems made from real data: their statistics, one-pass runs, two theories, loaders, errors."""

import csv
import dataclasses
import pickle
import sys
import warnings
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from click.testing import CliRunner
from scipy.special import erf

import sdelimit as sl
from sdelimit.cli.main import main
from sdelimit.data.row_moments import clipped_moments, gradient_moments, sign_moments
from sdelimit.data.row_rules import SlowAdam
from sdelimit.numerics import normals


def skewed(n, d, seed=0):
    """Features with heavy tails, skewness and correlations, and labels whose residuals grow with |x|."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    contrast = np.exp(0.4 * rng.standard_normal((n, 1)))
    X = contrast * (rng.exponential(size=(n, d)) - 1) @ mixing
    return X, X @ rng.standard_normal(d) / np.sqrt(d) + 0.5 * contrast[:, 0] * rng.standard_normal(n)


@pytest.fixture(scope="module")
def small():
    """A little problem whose averages over rows a loop can take."""
    return sl.data.from_arrays(*skewed(50, 4))


def keys(n_runs, seed=0):
    return jax.vmap(lambda run: normals.run_key(seed, run))(jnp.arange(n_runs, dtype=jnp.uint32))


# What from_arrays makes


def test_theta_star_is_the_least_squares_fit_of_standardized_columns_and_the_noise_its_residuals():
    X, y = skewed(300, 6)
    problem = sl.data.from_arrays(X, y)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    fit = np.linalg.lstsq(np.column_stack([Z, np.ones(300)]), y)[0]
    np.testing.assert_allclose(problem.theta_star, fit[:-1], rtol=1e-9)
    np.testing.assert_allclose(problem.noise.samples, y - Z @ fit[:-1] - fit[-1], atol=1e-10)
    np.testing.assert_allclose(problem.covariance.to_dense(), np.cov(Z.T, bias=True), atol=1e-12)
    loss = np.mean((y - y.mean()) ** 2) / 2 - np.mean(problem.residuals**2) / 2
    assert problem.initial_risk == pytest.approx(loss, rel=1e-9)


def test_ridge_centre_and_scale_are_what_they_say():
    X, y = skewed(300, 6)
    problem = sl.data.from_arrays(X, y, center=False, scale=False, ridge=0.2)
    K = X.T @ X / 300
    expected = np.linalg.solve(K + 0.2 * np.trace(K) / 6 * np.eye(6), X.T @ y / 300)
    np.testing.assert_allclose(problem.theta_star, expected, rtol=1e-9)
    np.testing.assert_array_equal(problem.X, X)


def test_random_features_are_standardized_relus_of_the_data():
    X, y = skewed(400, 6)
    problem = sl.data.from_arrays(X, y, random_features=9, seed=3)
    again = sl.data.from_arrays(X * 7 + 1, y, random_features=9, seed=3)
    assert problem.d == 9
    np.testing.assert_allclose(problem.X.std(axis=0), 1)
    np.testing.assert_allclose(problem.X, again.X, atol=1e-9)
    lowest = problem.X.min(axis=0) == problem.X
    assert np.all(lowest.mean(axis=0) > 0.2)  # the zeros of a ReLU
    assert not np.allclose(problem.X, sl.data.from_arrays(X, y, random_features=9, seed=4).X)


def test_random_features_of_any_activation_have_its_kernel():
    """E[erf(w'x) erf(w'y)] = (2/pi) arcsin(2 x'y / sqrt((d + 2 |x|^2) (d + 2 |y|^2))) for w ~ N(0, I/d) (Williams)."""
    X = 2 * np.random.default_rng(0).standard_normal((12, 6))
    given = {"random_features": 600, "center": False, "scale": False}
    features = sl.data.from_arrays(X, X[:, 0], activation=erf, **given).X
    products = features[:, None] * features[None]
    size = 1 + 2 * np.sum(X**2, axis=1) / 6
    kernel = 2 / np.pi * np.arcsin(2 * X @ X.T / 6 / np.sqrt(np.outer(size, size)))
    error = products.std(axis=-1) / np.sqrt(600)
    assert np.all(np.abs(products.mean(axis=-1) - kernel) < 4 * error) and error.max() < 0.05
    relu = sl.data.from_arrays(X, X[:, 0], activation=lambda x: np.where(x > 0, x, 0.0), **given).X
    np.testing.assert_array_equal(relu, sl.data.from_arrays(X, X[:, 0], **given).X)


def test_a_column_that_repeats_another_is_fitted_by_the_shortest_solution():
    X, y = skewed(200, 3)
    problem = sl.data.from_arrays(np.column_stack([X, X[:, 0]]), y)
    assert problem.theta_star[0] == pytest.approx(problem.theta_star[3])
    assert np.abs(problem.residuals @ problem.X).max() < 1e-9


def test_sign_statistics_are_averages_over_the_rows(small):
    signs = np.zeros((4, 4))
    cross = np.zeros((4, 4))
    for x in small.X:
        for i in range(4):
            for j in range(4):
                signs[i, j] += np.sign(x[i]) * np.sign(x[j]) / 50
                cross[i, j] += np.sign(x[i]) * x[j] / 50
    np.testing.assert_allclose(small.sign_covariance, signs, atol=1e-12)
    np.testing.assert_allclose(small.sign_cross_covariance, cross, atol=1e-12)


@pytest.mark.parametrize(
    ("moments", "step"),
    [
        (gradient_moments, lambda g: g),
        (sign_moments, np.sign),
        (
            partial(clipped_moments, threshold=0.7),
            lambda g: g * np.minimum(1, 1.4 / np.linalg.norm(g, axis=-1))[..., None],
        ),
    ],
    ids=["sgd", "sign_sgd", "clip_norm"],
)
def test_moments_are_those_of_the_rules_step_for_a_gaussian_delta(small, moments, step):
    rng = np.random.default_rng(1)
    mean, root = rng.standard_normal(4), 0.3 * rng.standard_normal((4, 4))
    found = moments(small, mean, root @ root.T)
    delta = mean + rng.standard_normal((20_000, 4)) @ root.T
    residual = delta @ small.X.T - small.residuals
    u = step(residual[..., None] * small.X).reshape(-1, 50, 4)
    each = u.mean(axis=1)
    allowed = 4 * each.std(axis=0) / np.sqrt(len(each)) + 1e-9
    assert np.all(np.abs(each.mean(axis=0) - found.drift) < allowed)
    second = np.einsum("kni,knj->kij", u, u) / 50
    allowed = 4 * second.std(axis=0) / np.sqrt(len(each)) + 1e-9
    assert np.all(np.abs(second.mean(axis=0) - np.outer(found.drift, found.drift) - found.noise) < allowed)
    h = 1e-5 * np.eye(4)
    slopes = [(moments(small, mean + e, root @ root.T).drift - found.drift) / 1e-5 for e in h]
    np.testing.assert_allclose(np.transpose(slopes), found.jacobian, atol=1e-4)


# One-pass runs


def test_every_run_takes_the_rows_in_an_order_of_its_own_each_once(small):
    stream = small.stream(keys(3), 48)
    x, eps = stream.draw(np.arange(24, dtype=np.uint32), 2, np.float32)
    assert x.shape == (24, 3, 2, 4) and eps.shape == (24, 3, 2)
    pairs = {tuple(row) for row in np.column_stack([small.X, small.residuals]).astype(np.float32)}
    orders = []
    for run in range(3):
        drawn = np.concatenate([x[:, run].reshape(48, 4), eps[:, run].reshape(48, 1)], axis=1)
        orders.append([tuple(row) for row in drawn])
        assert len(set(orders[-1])) == 48 and set(orders[-1]) <= pairs
    assert orders[0] != orders[1] != orders[2]


def test_every_row_is_as_likely_as_any_other_at_every_step(small):
    order = np.asarray(small.stream(keys(4000), 50).order)
    for step in (0, 1, 49):
        counts = np.bincount(order[:, step], minlength=50)
        assert np.max(np.abs(counts - 80)) < 5 * np.sqrt(80)


def test_a_run_is_a_loop_over_its_rows(small):
    run = sl.simulate(small, sl.sign_sgd(), 0.3, t=np.arange(13) / 4, n_runs=2, dtype=np.float64)
    order = np.asarray(small.stream(keys(2), 12).order)
    for i in range(2):
        theta, risks = np.zeros(4), []
        for row in order[i]:
            risks.append(small.risk(theta))
            label = small.X[row] @ small.theta_star + small.residuals[row]
            theta = theta - 0.3 / 4 * np.sign((small.X[row] @ theta - label) * small.X[row])
        np.testing.assert_allclose(run.risk[i], [*risks, small.risk(theta)], rtol=1e-6)


def test_a_run_is_the_same_path_whatever_runs_with_it(small):
    t = np.linspace(0, 4, 9)
    alone = sl.simulate(small, sl.sgd(), 0.1, t=t, n_runs=2, seed=5)
    among = sl.simulate(small, [sl.sign_sgd(), sl.sgd()], 0.1, t=t, n_runs=7, seed=5, chunk_steps=3)[1]
    longer = sl.simulate(small, sl.sgd(), 0.1, t=np.append(t, 12.0), n_runs=3, seed=5)
    np.testing.assert_allclose(among.risk[:2], alone.risk, rtol=1e-5)
    np.testing.assert_allclose(longer.risk[:2, :9], alone.risk, rtol=1e-5)


def test_a_run_cannot_use_more_rows_than_there_are(small):
    sl.simulate(small, sl.sgd(), 0.1, 12.5, n_runs=1)
    for t_max, batch_size in ((12.75, 1), (6.5, 2)):
        for solve in (sl.simulate, sl.data.solve_ode):
            with pytest.raises(ValueError, match=r"t_max must be at most .*50 rows"):
                solve(small, sl.sgd(), 0.1, t_max, batch_size=batch_size)


# Two classes


def classes(n, d, seed=0, theta=2.0):
    """Gaussian rows of AR(1) covariance, with labels of a logistic model."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(range(d), range(d)))).T
    target = theta * rng.standard_normal(d) / np.sqrt(d)
    return X, rng.random(n) < 1 / (1 + np.exp(-X @ target)), target


def test_logistic_targets_maximize_the_penalized_likelihood():
    X, y, _ = classes(300, 5)
    problem = sl.data.from_arrays(X, y, model="logistic", ridge=0.1)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    np.testing.assert_allclose(problem.covariance.to_dense(), Z.T @ Z / 300, atol=1e-12)
    theta = np.zeros(5)
    for _ in range(50):  # Newton's method on 0/1 labels; tr K / d = 1
        p = 1 / (1 + np.exp(-Z @ theta))
        hessian = (Z.T * (p * (1 - p))) @ Z / 300 + 0.1 * np.eye(5)
        theta = theta - np.linalg.solve(hessian, Z.T @ (p - y) / 300 + 0.1 * theta)
    np.testing.assert_allclose(problem.theta_star, theta, atol=1e-8)
    losses = [np.log1p(np.exp(-(1.0 if label else -1.0) * z @ theta)) for z, label in zip(Z, y, strict=True)]
    assert problem.mean_loss(theta) == pytest.approx(np.mean(losses), rel=1e-12)
    assert problem.mean_loss(np.zeros(5)) == pytest.approx(np.log(2))
    for labels in (y.astype(int), np.where(y, 1, -1), np.where(y, 1.0, 0.0)):
        again = sl.data.from_arrays(X, labels, model="logistic", ridge=0.1)
        np.testing.assert_array_equal(again.theta_star, problem.theta_star)
    assert repr(problem) == "<DataLogisticRegression(n=300), d=5>"


def test_separable_classes_have_a_target_that_grows_as_the_penalty_shrinks():
    X = np.random.default_rng(0).standard_normal((60, 3))
    fits = [sl.data.from_arrays(X, X[:, 0] > 0, model="logistic", ridge=ridge) for ridge in (1e-1, 1e-3, 1e-5)]
    lengths = [np.linalg.norm(fit.theta_star) for fit in fits]
    assert lengths[0] < lengths[1] / 2 < lengths[2] / 4 and np.isfinite(lengths[2])


def test_balance_keeps_all_rows_of_the_smaller_class():
    X, _, _ = classes(200, 3)
    y = np.arange(200) < 30
    with pytest.warns(UserWarning, match="y has 30 rows of one class and 170 of the other"):
        unequal = sl.data.from_arrays(X, y, model="logistic", center=False, scale=False)
    given = {"model": "logistic", "center": False, "scale": False, "balance": True}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem, other = sl.data.from_arrays(X, y, **given), sl.data.from_arrays(X, y, seed=1, **given)
    assert (unequal.n, problem.n, np.sum(problem.y > 0)) == (200, 60, 30)
    np.testing.assert_array_equal(problem.X[problem.y > 0], X[:30])
    rest = [tuple(row) for row in problem.X[problem.y < 0]]
    assert len(set(rest)) == 30 and set(rest) <= {tuple(row) for row in X[30:]}
    assert {tuple(row) for row in other.X[other.y < 0]} != set(rest)


def test_a_run_on_classes_is_a_loop_over_its_rows_with_their_own_labels():
    X, y, _ = classes(50, 4)
    problem = sl.data.from_arrays(X, y, model="logistic")
    run = sl.simulate(problem, sl.sgd(), 0.9, t=np.arange(13) / 4, n_runs=2, dtype=np.float64)
    order = np.asarray(problem.stream(keys(2), 12).order)
    K = problem.X.T @ problem.X / 50
    for i in range(2):
        theta, overlaps = np.zeros(4), []
        for row in [*order[i], None]:
            overlaps.append([theta @ K @ theta, theta @ K @ problem.theta_star])
            assert run.risk[i, len(overlaps) - 1] == pytest.approx(problem.risk(theta), rel=1e-6)
            if row is not None:
                x, label = problem.X[row], problem.y[row]
                theta = theta + 0.9 / 4 * label * x / (1 + np.exp(label * x @ theta))
        np.testing.assert_allclose(run.overlaps[i, :, :2], overlaps, atol=1e-9)
    with pytest.raises(ValueError, match=r"t_max must be at most .*50 rows"):
        sl.simulate(problem, sl.sgd(), 0.1, 12.75, n_runs=1)


@pytest.mark.long
@pytest.mark.parametrize(("rule", "lr"), [("sgd", 1.0), ("sign_sgd", 0.3)])
def test_runs_on_gaussian_rows_with_logistic_labels_follow_the_limit(rule, lr):
    """theta* is where the labels come from: rows and labels are those of the theory."""
    X, y, target = classes(12_000, 48, theta=3.0)
    problem = sl.data.DataLogisticRegression(X, y, target)
    t = np.linspace(0, 6, 13)
    curve = sl.solve_ode(problem, RULES[rule], lr, t=t)
    runs = sl.simulate(problem, RULES[rule], lr, t=t, n_runs=400)
    gap = np.abs(runs.mean - curve.risk)
    assert runs.standard_error.max() < 0.01 * curve.risk[0]
    assert np.all(gap < 4 * runs.standard_error + 0.06 * curve.risk)  # O(1/d), and one draw of 12,000 rows
    assert np.abs(runs.alignment.mean(axis=0) - curve.alignment).max() < 0.03
    assert curve.risk.min() < 0.5 * curve.risk[0]
    np.testing.assert_allclose(sl.solve_ode(problem.gaussian(), RULES[rule], lr, t=t).risk, curve.risk, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "lr", "error"), [("sgd", 0.3, 0.1), ("sign_sgd", 0.05, 0.15)], ids=["sgd", "sign_sgd"]
)
def test_odd_digits_are_told_from_even_ones_nearly_as_gaussian_theory_says(rule, lr, error):
    problem = sl.data.digits(model="logistic")
    t = np.linspace(0, 25, 26)
    runs = sl.simulate(problem, RULES[rule], lr, t=t, n_runs=32)
    report = sl.compare(sl.solve_ode(problem, RULES[rule], lr, t=t), runs)
    assert runs.mean.min() < 0.5 * runs.mean[0] and report.max_relative_error < error


@pytest.mark.slow
@pytest.mark.long
def test_one_digit_against_the_rest_needs_classes_of_one_size():
    """Unequal classes of skewed features pull signSGD aside: its alignment with theta* is a third of theory's."""
    given = {"model": "logistic"}
    with pytest.warns(UserWarning, match="183 rows of one class"):
        unequal = sl.data.digits(3, **given)
    t = np.linspace(0, 6, 4)
    errors = []
    for problem in (sl.data.digits(3, balance=True, **given), unequal):
        runs = sl.simulate(problem, sl.sign_sgd(), 0.05, t=t, n_runs=32)
        curve = sl.solve_ode(problem, sl.sign_sgd(), 0.05, t=t)
        errors.append(np.abs(runs.alignment.mean(axis=0) - curve.alignment)[-1])
    assert problem.n == 1797 and errors[0] < 0.05 and errors[1] > 0.2
    with pytest.warns(sl.LimitWarning, match=r"the rows last to t = 29.46 \(n = 1797 of d = 61"):
        sl.solve_ode(problem, sl.sign_sgd(), 0.05, t=[0.0, 10.0, 20.0, 40.0])


# Theory


@pytest.mark.slow
def test_on_gaussian_data_both_theories_agree():
    rng = np.random.default_rng(0)
    d, n = 30, 6000
    X = np.asarray(sl.covariance.ar1(d, 0.5).sample(rng.standard_normal((n, d)).astype(np.float32)), np.float64)
    problem = sl.data.from_arrays(X, X @ rng.standard_normal(d) / np.sqrt(d) + 0.5 * rng.standard_normal(n))
    t = np.linspace(0, 4, 9)
    for rule, lr in ((sl.sgd(), 0.2), (sl.sign_sgd(), 0.3)):
        gaussian = sl.solve_ode(problem, rule, lr, t=t)
        np.testing.assert_allclose(sl.data.solve_ode(problem, rule, lr, t=t).risk, gaussian.risk, rtol=0.03)
        assert gaussian.risk[-1] < 0.4 * gaussian.risk[0]
        np.testing.assert_array_equal(sl.solve_ode(problem.gaussian(), rule, lr, t=t).risk, gaussian.risk)


HEAVY = sl.data.from_arrays(*skewed(6000, 40))
RULES = {"sgd": sl.sgd(), "sign_sgd": sl.sign_sgd(), "clip_norm": sl.clip_norm(0.5), "adam": sl.adam(0.9, 0.999)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "batch_size"),
    [
        pytest.param("sgd", 1, marks=pytest.mark.slow),
        pytest.param("sgd", 4, marks=pytest.mark.slow),
        ("sign_sgd", 1),
        pytest.param("clip_norm", 1, marks=pytest.mark.slow),
    ],
)
def test_theory_from_the_rows_follows_runs_where_gaussian_theory_does_not(rule, batch_size):
    t = np.linspace(0, 6, 13)
    given = {"t": t, "batch_size": batch_size}
    runs = sl.simulate(HEAVY, RULES[rule], 0.2, n_runs=600, **given)
    report = sl.compare(sl.data.solve_ode(HEAVY, RULES[rule], 0.2, **given), runs)
    gaussian = sl.compare(sl.solve_ode(HEAVY, RULES[rule], 0.2, **given), runs)
    assert report.standard_error < 0.02
    assert report.max_relative_error < 4 * report.standard_error + 0.01
    assert gaussian.max_relative_error > 2 * report.max_relative_error


@pytest.mark.parametrize("t", [0.0, 0.1])
def test_moments_of_adam_are_those_of_gradients_over_the_root_of_what_it_remembers(small, t):
    """At t = 0 its second moment is that of the rows themselves."""
    rng, rate = np.random.default_rng(1), 3.0
    mean, memory = rng.standard_normal(4), rng.uniform(0.5, 2, 4)
    state = SimpleNamespace(mean=mean, covariance=np.zeros((4, 4)), memory=memory)
    found, second = SlowAdam(1, rate).at(small, state, t)
    gradients = (small.X @ mean - small.residuals)[:, None] * small.X
    np.testing.assert_allclose(second, np.mean(gradients**2, axis=0), rtol=1e-9)
    u = gradients / np.sqrt(memory / (1 - np.exp(-rate * t)) if t else second)
    np.testing.assert_allclose(found.drift, u.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.noise, np.cov(u.T, bias=True), rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_theory_of_adam_from_the_rows_is_much_nearer_than_gaussian_theory():
    """Not exact: here its second moment averages at most 240 gradients, of heavy tails."""
    t = np.linspace(0, 6, 13)
    runs = sl.simulate(HEAVY, RULES["adam"], 0.1, t=t, n_runs=300)
    rows, gaussian = (solve(HEAVY, RULES["adam"], 0.1, t=t) for solve in (sl.data.solve_ode, sl.solve_ode))
    error = sl.compare(rows, runs).max_relative_error
    assert error < 0.1
    assert sl.compare(gaussian, runs).max_relative_error > 2 * error


def test_noise_of_rows_used_once_is_that_of_a_bridge():
    """At theta* the risk is all noise; by the end of the data much of it is gone."""
    X, y = skewed(600, 12)
    fit = sl.data.from_arrays(X, y)
    problem = sl.data.DataRegression(fit.X, fit.residuals, fit.theta_star, theta0=fit.theta_star)
    t = np.linspace(0, 50, 11)
    runs = sl.simulate(problem, sl.sgd(), 0.005, t=t, n_runs=1500)
    with pytest.warns(sl.LimitWarning, match="100% of the rows"):
        theory = sl.data.solve_ode(problem, sl.sgd(), 0.005, t=t)
    replaced = sl.solve_ode(problem, sl.sgd(), 0.005, t=t)
    gap = np.abs(runs.mean - theory.risk)[1:]
    assert np.all(gap < 4 * runs.standard_error[1:] + 0.03 * theory.risk[1:])
    assert theory.risk[-1] < 0.6 * replaced.risk[-1]


@pytest.mark.slow
def test_the_step_length_does_not_matter_and_a_schedule_is_followed():
    t = np.linspace(0, 3, 9)
    lr = sl.schedules.cosine(0.3, 3.0)
    coarse, fine = (sl.data.solve_ode(HEAVY, sl.sgd(), lr, t=t, tolerance=tol) for tol in (0.02, 0.002))
    np.testing.assert_allclose(coarse.risk, fine.risk, rtol=5e-3)
    assert sl.compare(fine, sl.simulate(HEAVY, sl.sgd(), lr, t=t, n_runs=300)).max_relative_error < 0.06
    near = sl.data.solve_ode(HEAVY, sl.sgd(), lr, t=[1.0, 1.01], tolerance=0.002)
    assert np.diff(near.risk)[0] / 0.01 == pytest.approx(near.slope.mean(), rel=0.01)


def test_a_learning_rate_beyond_stability_is_reported():
    problem = sl.data.from_arrays(*skewed(400, 4))
    with pytest.warns(sl.DivergenceWarning, match=r"diverged at t = .*: risk"):
        curve = sl.data.solve_ode(problem, sl.sgd(), 5.0, 30.0)
    assert np.isinf(curve.risk[-1]) and np.isfinite(curve.diverged_at) and not np.isnan(curve.risk).any()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "sign_sgd", "adam"])
def test_natural_patches_are_predicted_within_ten_percent(rule):
    """d = 288, 20 d samples, 32 runs; Gaussian features are 28% and 30% off for signSGD and Adam."""
    problem = sl.data.natural_patches()
    t = np.linspace(0, 20, 41)
    runs = sl.simulate(problem, RULES[rule], 0.1, t=t, n_runs=32)
    report = sl.compare(sl.data.solve_ode(problem, RULES[rule], 0.1, t=t), runs)
    gaussian = sl.compare(sl.solve_ode(problem, RULES[rule], 0.1, t=t), runs)
    assert runs.mean[-1] < 0.2 * runs.mean[0]
    assert report.max_relative_error < 0.1
    assert rule == "sgd" or gaussian.max_relative_error > 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "lr", "used"), [("sgd", 0.1, 1.0), ("sign_sgd", 0.02, 1.0), ("sgd", 0.1, 0.1)])
def test_theory_of_fresh_samples_is_too_high_by_less_than_the_share_of_the_rows_that_runs_use(rule, lr, used):
    """442 rows of 10 columns: 1.4 times the runs' risk after all of them, within 5% of that of fresh features."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    problem = sl.data.from_arrays(X, y / y.std())
    given = {"t": [0.0, 44.0 * used]}
    theory = sl.solve_ode(problem, RULES[rule], lr, **given).risk[-1]
    rows, fresh = (sl.simulate(p, RULES[rule], lr, n_runs=800, **given).mean[-1] for p in (problem, problem.gaussian()))
    assert theory / fresh == pytest.approx(1, abs=0.06)
    if used == 1:
        assert 1.25 < theory / rows < 2
        assert sl.data.solve_ode(problem, RULES[rule], lr, **given).risk[-1] == pytest.approx(rows, rel=0.12)
    else:
        assert theory / rows < 1 / (1 - used) + 0.05


# Ready-made data


def test_patches_are_contrast_normalized_and_all_different():
    problem = sl.data.natural_patches(size=5, n=3000, center=False, scale=False)
    assert (problem.n, problem.d) == (3000, 24)
    np.testing.assert_allclose(problem.X.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose((problem.X**2).mean(axis=1), 1, rtol=1e-9)
    y = problem.X @ problem.theta_star + problem.residuals
    assert y.std() == pytest.approx(1)
    assert 0.1 < problem.initial_risk < 0.5
    first = sl.data.natural_patches(size=5, n=500, center=False, scale=False)
    np.testing.assert_array_equal(first.X, problem.X[:500])


def test_digits_are_odd_or_even():
    problem = sl.data.digits()
    assert (problem.n, problem.d) == (1797, 61)
    labels = problem.X @ problem.theta_star + problem.residuals
    assert len(np.unique(labels.round(6))) == 2 and np.ptp(labels) == pytest.approx(2)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'sdelimit\[data\]'"):
        sl.data.digits()


def cifar_batch(folder, name="data_batch_1", python2=True, n=60, changes=()):
    rng = np.random.default_rng(0)
    batch = {
        b"batch_label": b"training batch 1 of 5",
        b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
        b"labels": [int(i) for i in rng.integers(0, 10, n)],
        b"filenames": [b"a.png"] * n,
        **dict(changes),
    }
    text = pickle.dumps(batch, protocol=2)
    (folder / name).write_bytes(text.replace(b"numpy._core.", b"numpy.core.") if python2 else text)
    return batch


@pytest.mark.parametrize("python2", [True, False])
def test_cifar_batches_are_read(tmp_path, python2):
    batch = cifar_batch(tmp_path, python2=python2)
    cifar_batch(tmp_path, "data_batch_2", python2)
    problem = sl.data.cifar10(tmp_path, classes=(3, 5), random_features=8)
    labels = np.array(batch[b"labels"])
    chosen = (labels == 3) | (labels == 5)
    images = np.concatenate([batch[b"data"][chosen] / 255] * 2)
    same = sl.data.from_arrays(images, np.tile(np.where(labels[chosen] == 3, 1, -1), 2), random_features=8)
    np.testing.assert_allclose(problem.X, same.X)
    np.testing.assert_allclose(problem.residuals, same.residuals)


def test_groups_of_cifar_classes_are_told_apart(tmp_path):
    batch = cifar_batch(tmp_path)
    labels, given = np.array(batch[b"labels"]), {"random_features": 8}
    problem = sl.data.cifar10(tmp_path, classes=((0, 1, 8), [4, 5]), **given)
    chosen = [i for i, label in enumerate(labels) if label in (0, 1, 8, 4, 5)]
    y = [1.0 if labels[i] in (0, 1, 8) else -1.0 for i in chosen]
    same = sl.data.from_arrays(batch[b"data"][chosen] / 255, y, **given)
    np.testing.assert_array_equal(problem.residuals, same.residuals)
    one = sl.data.cifar10(tmp_path, classes=(3, (5,)), **given)
    np.testing.assert_array_equal(one.residuals, sl.data.cifar10(tmp_path, classes=(3, 5), **given).residuals)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_malicious_batch_runs_nothing(tmp_path):
    cifar_batch(tmp_path, changes={b"extra": Malicious(str(tmp_path / "touched"))})
    with pytest.raises(ValueError, match=r"data_batch_1 is not a CIFAR-10 batch: it asks for (io|_io)\.open"):
        sl.data.cifar10(tmp_path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {b"data": np.zeros((60, 10), np.uint8)},
            r"data of .* must be bytes of shape \(k, 3072\), got uint8 \(60, 10\)",
        ),
        ({b"data": b"nothing"}, r"data of .* must be bytes .* got bytes"),
        ({b"labels": [1, 2]}, r"labels of .*data_batch_1 must have shape \(60,\)"),
        ({b"labels": [7] * 60}, "classes must occur in the data, got 0"),
    ],
)
def test_a_wrong_cifar_batch_is_named(tmp_path, changes, message):
    cifar_batch(tmp_path, changes=changes)
    with pytest.raises(ValueError, match=message):
        sl.data.cifar10(tmp_path)


# Rules that are covered

X, Y = skewed(20, 3)


def test_covers_says_which_rules_and_problems_have_a_theory_from_the_rows():
    assert sl.data.covers(HEAVY, sl.sgd(), 3) and sl.data.covers(HEAVY, sl.adam(0.9, 0.999))
    assert not sl.data.covers(HEAVY, sl.lion()) and not sl.data.covers(HEAVY, sl.sign_sgd(), 2)
    assert sl.data.covers(HEAVY, sl.clip_norm(1.0)) and not sl.data.covers(HEAVY, sl.clip_norm(1.0), 2)
    assert not sl.data.covers(HEAVY.gaussian(), sl.sgd())
    assert not sl.data.covers(sl.data.from_arrays(X, np.sign(Y - Y.mean()), model="logistic", balance=True), sl.sgd())


@pytest.mark.long
def test_a_rule_is_known_by_its_formula_and_not_by_its_name():
    """A name is a label: momentum called sgd is not SGD, and SGD by another name is."""
    for known in (sl.sgd(), sl.sign_sgd(), sl.clip_norm(0.5), sl.adam(0.9, 0.999), sl.long_memory_adam(0.9, 0.999)):
        other = sl.from_optax(optax.trace(0.9), name=known.name)
        assert not sl.data.covers(HEAVY, other)
        with pytest.raises(ValueError, match="optimizer must be sgd, sign_sgd, clip_norm or adam"):
            sl.data.solve_ode(HEAVY, other, 0.1, 1.0)
        assert sl.data.covers(HEAVY, dataclasses.replace(known, name="another"))
    renamed = dataclasses.replace(sl.sgd(), name="another")
    risks = [sl.data.solve_ode(HEAVY, rule, 0.1, 1.0).risk for rule in (renamed, sl.sgd())]
    assert np.array_equal(*risks)


# Files and the command line


def write(folder, name, X=X, y=Y):
    path = folder / name
    if path.suffix == ".npz":
        np.savez(path, X=X, y=y)
    elif path.suffix == ".npy":
        np.save(path, np.column_stack([X, y]))
    else:
        np.savetxt(path, np.column_stack([X, y]), delimiter=",")
    return path


@pytest.mark.parametrize("name", ["my data.npz", "data.npy", "data.csv"])
def test_a_file_gives_the_problem_of_its_arrays(tmp_path, name):
    target = None if name.endswith(".npz") else -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem = sl.data.from_file(write(tmp_path, name), target, ridge=0.1)
    np.testing.assert_allclose(problem.theta_star, sl.data.from_arrays(X, Y, ridge=0.1).theta_star, rtol=1e-9)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_the_last_column_of_a_table_is_not_taken_for_labels_without_a_word(tmp_path, suffix):
    """A file of embeddings has no labels at all; before, their last number was learnt from the others."""
    path = write(tmp_path, f"embeddings{suffix}")
    given = rf"the last column, number {X.shape[1]} of 0 to {X.shape[1]}, is taken for the labels y: {Y.size} different"
    with pytest.warns(UserWarning, match=given) as caught:
        problem = sl.data.from_file(path)
    assert [w.filename for w in caught] == [__file__]
    np.testing.assert_allclose(problem.theta_star, sl.data.from_file(path, target=-1).theta_star)


def test_labels_are_where_target_says(tmp_path):
    expected = sl.data.from_arrays(X, Y).theta_star
    first = tmp_path / "first.csv"
    np.savetxt(first, np.column_stack([Y, X]), delimiter=",")
    alone, labels = tmp_path / "features.npy", tmp_path / "labels.csv"
    np.save(alone, X)
    np.savetxt(labels, Y, delimiter=",")
    np.savez(tmp_path / "features.npz", X=X)
    places = [(first, 0), (alone, Y), (alone, list(Y)), (alone, labels), (alone, str(labels))]
    places += [(tmp_path / "features.npz", Y), (write(tmp_path, "both.npz", y=-Y), labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, target in places:
            np.testing.assert_allclose(sl.data.from_file(path, target).theta_star, expected, rtol=1e-9)
    refused = [
        (first, X.shape[1] + 1, "target must be a column of the table"),
        (write(tmp_path, "both.npz"), -1, "target must be the labels or their file for an .npz file, got column -1"),
        (alone, Y[:-1], r"y must have shape"),
        (alone, tmp_path / "labels.doc", "target: .*labels.doc' is no file of labels"),
        (alone, tmp_path / "nowhere.csv", "target: cannot read"),
        (alone, X, "target must have 1 dimension"),
        (tmp_path / "features.npz", None, r"data must hold arrays X and y, got \['X'\]"),
    ]
    for path, target, message in refused:
        with pytest.raises(ValueError, match=message):
            sl.data.from_file(path, target)
    with pytest.raises(TypeError, match="target must"):
        sl.data.from_file(alone, True)


@pytest.mark.long
def test_theory_beyond_the_last_row_is_warned_of_with_the_numbers(small):
    """50 rows of d = 4 last to t = 12.5, or half of that in pairs."""
    with pytest.warns(sl.LimitWarning, match=r"a run to t = 12.5 uses 100% of the rows"):
        assert not any("rows last" in text for text in sl.solve_ode(small, sl.sgd(), 0.1, t_max=12.5).warnings)
    for solve in (sl.solve_ode, partial(sl.solve_sde, n_paths=2)):
        with pytest.warns(sl.LimitWarning, match=r"the rows last to t = 12.5 \(n = 50 of d = 4, 1 a step\) .* t = 30"):
            result = solve(small, sl.sgd(), 0.02, t_max=30.0)
        assert len(result.warnings) == 2  # and few columns
    with pytest.warns(sl.LimitWarning, match=r"the rows last to t = 6.25 .* 2 a step"):
        assert any("rows" in w for w in sl.solve_ode(small, sl.sgd(), 0.1, t_max=12.5, batch_size=2).warnings)
    assert not sl.solve_ode(small.gaussian(), sl.sgd(), 0.1, t_max=30.0).warnings


def test_a_file_that_would_have_to_be_unpickled_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", X=X, y=np.array([Malicious(str(tmp_path / "touched"))] * 20))
    with pytest.raises(ValueError, match=r"data\.npz"):
        sl.data.from_file(tmp_path / "data.npz")
    assert not (tmp_path / "touched").exists()


def compare(*arguments):
    small = ["--t-max", "1", "--points", "5", "--runs", "4", "--paths", "4"]
    return CliRunner().invoke(main, ["compare", *small, *arguments])


@pytest.mark.slow
def test_the_command_line_compares_both_theories_with_runs_on_a_data_file(tmp_path):
    path = write(tmp_path, "my data.npz", *skewed(200, 12))
    out = tmp_path / "out"
    result = compare("--data", str(path), "-o", "sign_sgd", "--lr", "0.1", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "sign_sgd (data ODE)" in result.output
    curves = np.load(out / "curves.npz", allow_pickle=False)
    assert curves["1_sign_sgd_theory"] == "data ODE"
    expected = sl.data.solve_ode(sl.data.from_file(path), sl.sign_sgd(), 0.1, t=curves["1_sign_sgd_t"])
    np.testing.assert_allclose(curves["1_sign_sgd_ode_risk"], expected.risk)
    np.testing.assert_array_equal(curves["0_sign_sgd_run_risk"], curves["1_sign_sgd_run_risk"])
    with (out / "curves.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["theory"], float(last["ode_risk"])) == ("data ODE", pytest.approx(expected.risk[-1], rel=1e-6))


@pytest.mark.long
def test_the_command_line_runs_logistic_regression_on_a_data_file(tmp_path):
    X, y, _ = classes(300, 8)
    few = np.concatenate([np.flatnonzero(y)[:40], np.flatnonzero(~y)])
    path, out = write(tmp_path, "classes.npz", X[few], y[few].astype(int)), tmp_path / "out"
    given = ["--data", str(path), "--model", "logistic", "--balance", "-o", "sgd", "--lr", "0.5", "--out", str(out)]
    result = compare(*given)
    assert result.exit_code == 0, result.output
    assert "DataLogisticRegression(n=80)" in result.output
    problem = sl.data.from_file(path, model="logistic", balance=True)
    with np.load(out / "curves.npz", allow_pickle=False) as curves:
        assert not [name for name in curves.files if name.startswith("1_")]  # no theory from the rows
        runs = sl.simulate(problem, sl.sgd(), 0.5, t=curves["0_sgd_t"], n_runs=4)
        np.testing.assert_allclose(curves["0_sgd_run_risk"], runs.risk, rtol=1e-4)
    assert sl.rerun(out / "curves.npz").agrees


WITH_NAN, CONSTANT = X.copy(), X.copy()
WITH_NAN[3, 1] = np.nan
CONSTANT[:, 2] = 4.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.npz"], "cannot read nowhere.npz"),
        (["--data", "{}/short.npz", "--t-max", "9"], "t_max must be at most"),
        (["--data", "{}/nan.npz"], "X must be finite, got nan"),
        (["--data", "{}/constant.csv"], "constant column"),
        (["--data", "{}/ragged.npz"], "y must have shape"),
        (["--data", "{}/empty.npz"], "X and y"),
        (["--data", "{}/short.npz", "-n", "gaussian:0.1"], "leave one of them out"),
        (["--data", "{}/short.npz", "--model", "logistic"], "y must be labels 1 and -1, or 1 and 0"),
        (["--data", "{}/short.npz", "--balance"], "balance must be False for the linear model"),
        (["--data", "{}/text.csv"], "does not hold an array of numbers"),
    ],
)
def test_a_wrong_data_file_is_named(tmp_path, arguments, message):
    write(tmp_path, "short.npz")
    write(tmp_path, "nan.npz", WITH_NAN)
    write(tmp_path, "constant.csv", CONSTANT)
    write(tmp_path, "ragged.npz", y=Y[:-1])
    np.savez(tmp_path / "empty.npz", z=X)
    (tmp_path / "text.csv").write_text("a,b\nc,d\n")
    result = compare(*[text.format(tmp_path) for text in arguments], "--out", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split()) and "Traceback" not in result.output
