"""Room noise."""

import numpy as np

import sdelimit as sl
from bad_input.rows import INF, NAN, kind, value

noise = sl.noise


def quadratic(e):
    return np.exp(-np.abs(e)) / 2


TABLE = [
    value(noise.Gaussian, "std must be > 0", 0.0),
    kind(noise.Gaussian, "std must be a real number", "big"),
    kind(noise.Gaussian, "std must be a real number", np.ones(2)),
    value(noise.StudentT, "df must be > 0", 0.0, 1.0),
    value(noise.StudentT, "df must be <= 1e[+]08", 1e300, 1.0),
    value(noise.StudentT, "scale must be > 0", 2.0, -1.0),
    value(noise.Cauchy, "scale must be finite", INF),
    value(noise.Laplace, "scale must be > 0", -1.0),
    value(noise.Uniform, "half_width must be > 0", 0.0),
    value(noise.TwoPoint, "magnitude must be finite", NAN),
    value(noise.GaussianMixture, "weights must be >= 0 and sum to 1", [0.5, 0.6], [0, 0], [1, 1]),
    value(noise.GaussianMixture, "weights must be >= 0", [1.5, -0.5], [0, 0], [1, 1]),
    value(noise.GaussianMixture, "means must have shape", [1.0], [0, 0], [1]),
    value(noise.GaussianMixture, "stds must be >= 0", [1.0], [0], [-1]),
    value(noise.MultivariateGaussian, "covariance must be square", np.ones((2, 3))),
    value(noise.MultivariateGaussian, "covariance must be symmetric", [[1.0, 2.0], [0.0, 1.0]]),
    value(noise.MultivariateGaussian, "covariance must be positive semidefinite", [[1.0, 2.0], [2.0, 1.0]]),
    value(noise.MultivariateGaussian, "covariance must be finite", [[1.0, NAN], [NAN, 1.0]]),
    value(noise.MultivariateGaussian, "covariance must have 2 dimension", [1.0, 2.0]),
    value(noise.MultivariateGaussian, "covariance: the root of its largest entry must lie between", [[1e60]]),
    kind(noise.MultivariateGaussian, "covariance must", "K"),
    value(noise.Empirical, "samples must not be empty", []),
    value(noise.Empirical, "samples must be finite", [NAN]),
    kind(noise.Empirical, "samples must be an array of real numbers", {1.0}),
    kind(noise.Density, "pdf must be a function", 0.5),
    value(noise.Density, "pdf must be finite and >= 0", lambda e: -np.ones_like(e)),
    value(noise.Density, "pdf must integrate to 1", lambda e: np.exp(-(e**2))),
    value(noise.Density, "pdf must map an array of shape", lambda e: 0.5),
    kind(noise.Density, "pdf must map an array", lambda e: "x"),
    value(noise.Density, "support must be an interval", quadratic, support=(1, 0)),
    kind(noise.Density, "support must be a pair", quadratic, support=3),
    kind(noise.Density, "support must be a pair", quadratic, support=(0, 1, 2)),
    value(noise.Density, "second_moment must be >= 0", quadratic, second_moment=-1),
    kind(noise.Density, "points must be a sequence", quadratic, points=0.5),
    kind(noise.NoNoise, "positional argument", 0.3),
    value(noise.Gaussian(1.0).residual_density, "s must be > 0", [0.0]),
    kind(noise.Gaussian(1.0).residual_density, "s must", "x"),
]
