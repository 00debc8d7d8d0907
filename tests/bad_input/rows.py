"""A row is (callable, exception, regular expression, arguments, options); what many tables give as arguments."""

from typing import NamedTuple

import numpy as np

import sdelimit as sl

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
K = np.array([[2.0, 0.5], [0.5, 1.0]])
SGD, SIGN = sl.sgd(), sl.sign_sgd()
P = sl.LinearRegression(K, sl.noise.Gaussian(0.3))
LOGISTIC = sl.LogisticRegression(K)
CAUCHY = sl.LinearRegression(K, sl.noise.Cauchy(0.3))
FLAT = sl.LinearRegression([1.0, 0.0])
X = np.random.default_rng(0).standard_normal((30, 2))
Y = X[:, 0]
ROWS = sl.data.from_arrays(X, Y)


class Row(NamedTuple):
    function: object
    error: type
    message: str
    arguments: tuple
    options: dict


def value(function, message, *arguments, **options):
    return Row(function, ValueError, message, arguments, options)


def kind(function, message, *arguments, **options):
    return Row(function, TypeError, message, arguments, options)
