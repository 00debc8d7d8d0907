"""Problems of several outputs: their texts, risks and runs."""

import pickle
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest

import sdelimit as sl

D = 40
K = sl.covariance.ar1(D, 0.5)
FIFTY = Context(prec=50)
CORRELATED = sl.noise.MultivariateGaussian([[0.5, 0.3], [0.3, 0.4]])
RNG = np.random.default_rng(3)
TARGET = RNG.standard_normal((D, 3)) / np.sqrt(D)
PROBLEMS = {
    "<SoftmaxRegression(labels='hard'), d=40, outputs=3>": sl.SoftmaxRegression(K, outputs=3),
    "<SoftmaxRegression(labels='soft'), d=40, outputs=3>": sl.SoftmaxRegression(K, labels="soft", theta_star=TARGET),
    "<MultiOutputRegression(), d=40, outputs=2, noise=MultivariateGaussian(covariance=[[0.5, 0.3], [0.3, 0.4]]), "
    "R(0)=1.08>": sl.LinearRegression(K, CORRELATED),
    "<MultiOutputRegression(), d=40, outputs=3, noise=Cauchy(scale=0.3), R(0)=1.627>": sl.LinearRegression(
        K, sl.noise.Cauchy(0.3), theta_star=TARGET
    ),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_a_problem_is_a_short_text_and_comes_back_from_a_pickle(text):
    problem = PROBLEMS[text]
    again = pickle.loads(pickle.dumps(problem))
    assert repr(problem) == repr(again) == text
    assert again == problem and hash(again) == hash(problem)
    assert again.loss == problem.loss


def test_long_covariances_of_noise_are_short_texts():
    assert repr(sl.noise.MultivariateGaussian(np.eye(5))) == "MultivariateGaussian(covariance=<5 x 5, trace 5>)"


def test_a_target_with_several_columns_makes_several_outputs_and_a_vector_does_not():
    assert type(sl.LinearRegression(K, theta0=TARGET)) is sl.MultiOutputRegression
    assert type(sl.LinearRegression(K, CORRELATED)) is sl.MultiOutputRegression
    assert type(sl.LinearRegression(K, theta_star=TARGET[:, 0])) is sl.LinearRegression
    assert sl.LinearRegression(K, CORRELATED).theta_star.shape == (D, 2)


def test_the_risk_of_linear_regression_is_the_sum_over_outputs():
    problem = sl.LinearRegression(K, theta_star=TARGET)
    each = [sl.LinearRegression(K, theta_star=column) for column in TARGET.T]
    np.testing.assert_allclose(problem.initial_risk, sum(one.initial_risk for one in each), rtol=1e-12)
    np.testing.assert_allclose(problem.risk(0.3 * TARGET), 0.49 * problem.initial_risk, rtol=1e-12)
    assert sl.LinearRegression(K, CORRELATED).irreducible_risk == pytest.approx(0.45)


def test_the_risk_of_a_softmax_regression_is_the_mean_divergence():
    """Against samples, within 4 standard errors; 0 at theta*, also with one vector added to all columns."""
    problem = sl.SoftmaxRegression(K, theta_star=3 * TARGET)
    theta = TARGET + 0.2 * RNG.standard_normal((D, 3)) / np.sqrt(D)
    x = RNG.standard_normal((100_000, D)) @ np.linalg.cholesky(K.to_dense()).T
    u, u_star = x @ theta, x @ (3 * TARGET)
    log_p, log_star = (v - np.log(np.exp(v).sum(axis=1, keepdims=True)) for v in (u, u_star))
    sampled = np.sum(np.exp(log_star) * (log_star - log_p), axis=1)
    error = 4 * sampled.std() / np.sqrt(len(x))
    assert abs(problem.risk(theta) - sampled.mean()) < error + 2e-3 * sampled.mean()
    assert abs(problem.risk(3 * TARGET)) < 1e-14
    assert abs(problem.risk(3 * TARGET + TARGET[:, :1])) < 1e-14
    wrong = 1 - np.mean(np.take_along_axis(np.exp(log_star), np.argmax(u, axis=1)[:, None], axis=1))
    assert problem.error_rate_of(*problem._overlaps(theta)) == pytest.approx(wrong, abs=5e-3)


@pytest.mark.long
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("rule", [sl.sgd(), sl.sign_sgd()], ids=["sgd", "sign"])
def test_two_classes_are_a_logistic_regression_at_twice_the_rate(rule, labels):
    """With Theta* = (theta*, -theta*) / 2 the columns stay opposite, and their difference moves twice as far a step."""
    target = TARGET[:, 0]
    two = sl.SoftmaxRegression(K, labels=labels, theta_star=np.stack([target, -target], axis=1) / 2)
    one = sl.LogisticRegression(K, labels=labels, theta_star=target)
    given = {"t": [0.0, 1.0, 3.0], "n_runs": 200, "batch_size": 2, "seed": 1}
    several, single = sl.simulate(two, rule, lr=0.2, **given), sl.simulate(one, rule, lr=0.4, **given)
    gap = np.abs(several.mean / single.mean - 1)
    assert np.all(gap < 2e-3 + 4 * np.sqrt(2) * single.standard_error / single.mean)
    np.testing.assert_allclose(two.initial_risk, one.initial_risk, rtol=1e-3)


@pytest.mark.long
def test_one_column_runs_as_a_vector_does():
    given = {"lr": 0.3, "t_max": 1.0, "n_runs": 3, "batch_size": 2}
    noise = sl.noise.Gaussian(0.3)
    column = sl.simulate(sl.LinearRegression(K, noise, theta_star=TARGET[:, :1]), sl.adam(0.9, 0.95), **given)
    vector = sl.simulate(sl.LinearRegression(K, noise, theta_star=TARGET[:, 0]), sl.adam(0.9, 0.95), **given)
    np.testing.assert_allclose(column.risk, vector.risk, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("text", PROBLEMS)
def test_runs_do_not_depend_on_how_many_there_are(text):
    given = {"lr": 0.3, "t_max": 0.5, "batch_size": 2}
    many = sl.simulate(PROBLEMS[text], [sl.sign_sgd(), sl.adam(0.9, 0.95)], n_runs=5, **given)
    few = sl.simulate(PROBLEMS[text], sl.adam(0.9, 0.95), n_runs=2, chunk_steps=7, **given)
    np.testing.assert_allclose(many[1].risk[:2], few.risk, rtol=1e-5)
    m = PROBLEMS[text].outputs
    assert few.overlaps.shape == (2, few.t.size, 3, m, m)


def test_noise_of_outputs_is_correlated_as_asked():
    """Under SGD at lr = 0 nothing moves; the gradients of two outputs at theta* have the correlation of their noise."""
    import jax

    drawn = np.asarray(CORRELATED.sample(jax.random.key(0), (200_000,)))
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), CORRELATED.covariance, atol=6e-3)
    singular = sl.noise.MultivariateGaussian(np.ones((3, 3)))
    drawn = np.asarray(singular.sample(jax.random.key(0), (100,)))
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 2], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_soft_slopes_keep_their_digits(dtype):
    """p - p* near theta*, and where a class is nearly certain, against 50 digits."""
    from sdelimit.numerics.precision import precision
    from sdelimit.problem.output_losses import soft_slope

    cases = [
        ([1e-6, -2e-6, 3e-6], [0.3, -1.0, 2.0]),
        ([0.5, -0.25, 0.0], [30.0, 0.0, -5.0]),
        ([4.0, -6.0, 1.0], [3.0, -2.0, 1.0]),
        ([0.0, 20.0, -3.0], [25.0, 0.0, 1.0]),
    ]
    digits = 2e-5 if dtype == np.float32 else 1e-12
    for v, u_star in cases:
        exact_v, exact_u = ([Decimal(float(dtype(x))) for x in row] for row in (v, u_star))
        weights = [u.exp(FIFTY) for u in exact_u]
        moved = [FIFTY.multiply(w, x.exp(FIFTY)) for w, x in zip(weights, exact_v, strict=True)]
        with localcontext(FIFTY):
            expected = [float(b / sum(moved) - a / sum(weights)) for a, b in zip(weights, moved, strict=True)]
        with precision(dtype):
            found = np.asarray(soft_slope(np.array(v, dtype), np.array(u_star, dtype)))
        np.testing.assert_allclose(found, expected, rtol=digits)
