"""Problems as texts, and through pickles."""

import pickle

import numpy as np
import pytest

import sdelimit as sl

K = sl.covariance.ar1(400, 0.3)


def squared(u, u_star, eps):
    return (u - u_star - eps) ** 2 / 2


def distance(u, y):
    return (u - y) ** 2 / 2


def plus(u_star, eps):
    return u_star + eps


PROBLEMS = {
    "<LogisticRegression(labels='hard'), d=400>": sl.LogisticRegression(K),
    "<LogisticRegression(labels='soft'), d=400>": sl.LogisticRegression(K, labels="soft"),
    "<ProbitRegression(), d=400>": sl.ProbitRegression(K),
    "<PoissonRegression(), d=400>": sl.PoissonRegression(K),
    "<PhaseRetrieval(), d=400>": sl.PhaseRetrieval(K),
    "<RobustRegression(loss='huber', threshold=0.5), d=400, noise=Cauchy(scale=0.3)>": sl.RobustRegression(
        K, threshold=0.5, noise=sl.noise.Cauchy(0.3)
    ),
    "<RobustRegression(loss='absolute'), d=400>": sl.RobustRegression(K, loss="absolute"),
    "<SingleIndex(loss=squared), d=400, noise=Gaussian(std=0.3)>": sl.SingleIndex(
        K, squared, noise=sl.noise.Gaussian(0.3)
    ),
    "<SingleIndex(loss=distance), d=400>": sl.SingleIndex(K, distance, label=plus),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_a_problem_is_a_short_text_that_says_its_loss(text):
    assert repr(PROBLEMS[text]) == text


@pytest.mark.parametrize("text", PROBLEMS)
def test_a_problem_comes_back_from_a_pickle(text):
    problem = PROBLEMS[text]
    again = pickle.loads(pickle.dumps(problem))
    assert type(again) is type(problem) and again.loss == problem.loss and repr(again) == text
    np.testing.assert_array_equal(again.theta_star, problem.theta_star)
    assert again.target_variance == problem.target_variance


def test_a_labelled_loss_is_one_loss_however_often_it_is_given():
    """So that tables made for it are used again."""
    one, other = (sl.SingleIndex(K, distance, label=plus) for _ in range(2))
    assert one.loss == other.loss and hash(one.loss) == hash(other.loss)
    assert one.loss != sl.SingleIndex(K, distance, label=lambda v, e: v - e).loss
