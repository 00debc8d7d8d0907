"""Room data."""

import numpy as np

import sdelimit as sl
from bad_input.rows import NAN, ROWS, SGD, SIGN, P, X, Y, kind, value

data = sl.data

TABLE = [
    value(data.from_arrays, r"X must be finite, got nan at index \(1, 0\)", [[1.0], [NAN]], [0.0, 1.0]),
    value(data.from_arrays, r"y must have shape \(30,\), got \(29,\)", X, Y[:-1]),
    kind(data.from_arrays, "y must hold real numbers", X, ["cat"] * 30),
    value(data.from_arrays, "X must not have a constant column.* column 1 is", X * [1, 0] + 4.0, Y),
    value(data.from_arrays, "ridge must be >= 0", X, Y, ridge=-1),
    value(data.from_arrays, "random_features must be >= 1", X, Y, random_features=0),
    kind(data.from_arrays, "activation must be a function", X, Y, random_features=3, activation="relu"),
    value(data.from_arrays, "activation is of random features", X, Y, activation=np.tanh),
    value(data.from_arrays, r"activation\(X W\) must have shape", X, Y, random_features=3, activation=np.sum),
    value(
        data.from_arrays,
        r"activation\(X W\) must be finite",
        X,
        Y,
        random_features=3,
        activation=lambda x: np.inf * np.ones_like(x),
    ),
    value(
        data.from_arrays, "random features must not have a constant", X, Y, random_features=3, activation=np.ones_like
    ),
    kind(data.from_arrays, "center must be True or False", X, Y, center="no"),
    kind(data.from_arrays, "scale must be True or False", X, Y, scale=2),
    kind(data.from_arrays, "seed must be an integer", X, Y, seed="x"),
    value(data.DataRegression, "residuals must have shape", X, Y[:-1], np.zeros(2)),
    kind(data.DataRegression, "theta_star must", X, Y, "x"),
    value(data.DataRegression, "theta_star must have shape", X, Y, None),
    kind(data.solve_ode, "problem must come from", P, SGD, 0.1, 1.0),
    kind(data.solve_ode, "lr must be one concrete number", ROWS, SGD, [0.1, 0.2], 1.0),
    value(data.solve_ode, "optimizer must be sgd, sign_sgd, clip_norm or adam.* got lion", ROWS, sl.lion(), 0.1, 1.0),
    value(data.solve_ode, "tolerance must be > 0", ROWS, SGD, 0.1, 1.0, tolerance=0.0),
    value(data.solve_ode, "t_max must be at most", ROWS, SGD, 0.1, 100.0),
    kind(data.covers, "optimizer must be an optimizer", ROWS, "sgd"),
    kind(data.covers, "problem must be a LinearRegression", X, SGD),
    value(data.covers, "batch_size must be >= 1", ROWS, SGD, -1),
    value(data.digits, "ridge must be >= 0", ridge=-1.0),
    value(data.natural_patches, "size must be odd", size=4),
    kind(data.natural_patches, "n must be an integer", n="all"),
    kind(data.cifar10, "folder must be a path", None),
    value(data.cifar10, "folder must hold .* nowhere", "nowhere"),
    value(data.cifar10, "classes must be different labels", "nowhere", classes=(1, 1)),
    value(data.cifar10, "classes must be different labels", "nowhere", classes=((1, 2), (3, 1))),
    value(data.cifar10, "classes must be different labels", "nowhere", classes=((1, 2), ())),
    value(data.cifar10, "classes must be different labels", "nowhere", classes=((1, 2), (10,))),
    kind(data.cifar10, "classes must be an integer", "nowhere", classes=("ab", 1)),
    kind(data.from_file, "path must be a path", b"x"),
    value(data.from_file, "path: data file type", "data.txt"),
    value(data.from_file, "cannot read nowhere.npz", "nowhere.npz"),
    value(data.from_file, "does not hold an array", "bad.npy"),
    value(data.from_arrays, r"y must be finite, got inf at index \(29,\)", X, np.append(Y[:-1], np.inf)),
    value(data.from_arrays, "X must not have a zero column.* column 0 is", 0 * X, Y, center=False),
    value(data.from_arrays, "X must have 2 dimension", X[0], Y),
    value(data.from_arrays, r"theta0 must have shape \(2,\)", X, Y, theta0=np.zeros(3)),
    value(data.natural_patches, "n must be at most", size=3, n=10**7),
    value(data.cifar10, "classes must be two labels", ".", classes=3),
    value(data.solve_ode, r"Adam with eps = 0 or negligible and 1/\(1-b2\) >= 50", ROWS, sl.adam(0.9, 0.9), 0.1, 1.0),
    value(data.solve_ode, "batch_size must be 1 for sign_sgd", ROWS, SIGN, 0.1, 1.0, batch_size=2),
    value(data.solve_ode, "batch_size must be 1 for clip_norm", ROWS, sl.clip_norm(1.0), 0.1, 1.0, batch_size=2),
]
