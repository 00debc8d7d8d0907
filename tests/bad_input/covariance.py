"""Room covariance."""

import numpy as np

import sdelimit as sl
from bad_input.rows import NAN, K, X, kind, value

cov = sl.covariance


class Odd:
    """What NumPy cannot turn into an array, with a message that begins like ours."""

    def __array__(self, *args, **kwargs):
        raise TypeError("values are my own")


TABLE = [
    value(cov.identity, "d must be >= 1", 0),
    value(cov.identity, "d must be < 2147483648", 1e300),
    kind(cov.identity, "d must be an integer", "ten"),
    value(cov.diagonal, "values must be >= 0", [-1.0]),
    value(cov.diagonal, "values must have 1 dimension", K),
    kind(cov.diagonal, "values must be an array of real numbers", [1.0, object()]),
    kind(cov.diagonal, r"values must be an array of real numbers, got <.*Odd", Odd()),
    kind(cov.power_law, "d must be an integer", 2.5, 1.0),
    value(cov.power_law, "exponent must be finite", 3, NAN),
    kind(cov.power_law, "rotate must be True or False", 3, 1.0, rotate="no"),
    value(cov.power_law, "seed must be >= 0", 3, 1.0, seed=-1),
    value(cov.ar1, "rho must lie strictly between", 3, 1.0),
    kind(cov.ar1, "rho must be a real number", 3, [0.5]),
    value(cov.spiked, "strengths must be > -1", 3, [-1.0]),
    value(cov.spiked, "strengths must have at most", 1, [1.0, 2.0]),
    kind(cov.spiked, "seed must be an integer", 3, [1.0], seed="x"),
    value(cov.block, "blocks must hold"),
    value(cov.block, r"blocks\[1\] must be a square", K, [[1.0, 2.0]]),
    value(cov.dense, "K must have 2 dimension", [1.0]),
    value(cov.dense, "K must be symmetric", [[1.0, 2.0], [0.0, 1.0]]),
    value(cov.from_data, "X must have 2 dimension", [1.0]),
    value(cov.from_data, "X must be finite", [[NAN]]),
    kind(cov.from_data, "center must be True or False", X, center="no"),
    kind(cov.as_covariance, "covariance must hold real numbers", "identity"),
    value(cov.as_covariance, "covariance must be a square", np.ones((2, 3))),
    value(cov.ar1(3, 0.5).scaled, "s must be > 0", 0.0),
    value(cov.ar1(3, 0.5).scaled, "s must be a number or have shape", [1.0, 2.0]),
    kind(cov.ar1(3, 0.5).scaled, "s must", "x"),
]
