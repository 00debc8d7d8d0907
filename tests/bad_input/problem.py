"""Room problem."""

import numpy as np

import sdelimit as sl
from bad_input.rows import HUGE, INF, NAN, K, P, kind, value

noise, cov = sl.noise, sl.covariance

TABLE = [
    value(sl.LinearRegression, "covariance must be a square", np.ones((2, 3))),
    value(sl.LinearRegression, "covariance must be symmetric", [[1.0, 2.0], [0.0, 1.0]]),
    value(sl.LinearRegression, "covariance must be positive semidefinite", [[1.0, 2.0], [2.0, 1.0]]),
    value(sl.LinearRegression, "covariance must be finite", [[1.0, NAN], [NAN, 1.0]]),
    value(sl.LinearRegression, "covariance must be >= 0", [1.0, -1.0]),
    value(sl.LinearRegression, "covariance must not be zero", [0.0, 0.0]),
    value(sl.LinearRegression, "covariance must not be empty", []),
    value(sl.LinearRegression, "covariance must have a finite trace", [1e308, 1e308]),
    value(sl.LinearRegression, "covariance must have 1 or 2 dimension", np.ones((2, 2, 2))),
    value(sl.LinearRegression, "covariance must have 1 or 2 dimension", 3.0),
    kind(sl.LinearRegression, "covariance must", "K"),
    kind(sl.LinearRegression, "covariance must be real", K + 1j),
    kind(sl.LinearRegression, "covariance must be a covariance", cov.Covariance()),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=0.3),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=noise.Gaussian),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=noise.NoiseLaw()),
    value(sl.LinearRegression, "theta0 must have shape", K, theta0=np.ones(3)),
    value(sl.LinearRegression, "theta_star must be finite", K, theta_star=[INF, 0.0]),
    value(sl.LinearRegression, "theta0 and theta_star must give a finite initial risk", K, theta_star=[1e200, 0.0]),
    kind(sl.LinearRegression, "theta_star must", K, theta_star="x"),
    value(sl.LinearRegression, "seed must be >= 0", K, seed=-1),
    kind(sl.LinearRegression, "seed must be an integer", K, seed=1.5),
    value(P.risk, "theta must have shape", [1.0]),
    value(P.risk, "theta must be finite", [HUGE, 0]),
    value(P.risk, "theta must give a finite risk", [1e200, -1e200]),
]
