"""Power-law random features: labels that depend on more than the student sees (theory: section 21).

x in R^V is Gaussian with variances h_j = j^(-2 alpha), the label is <x, b> with b_j = j^(-beta), and the student sees
the d features W'x, W_jk ~ N(0, 1/d). With H = diag(h) and a = H^(1/2) b,

    K = W' H W,    theta* = K^-1 W' H b,    v^2 = E (<x, b> - <W'x, theta*>)^2 = |a|^2 - a' H^(1/2) W theta*,

and since all is Gaussian, what the student cannot explain is label noise N(0, v^2), independent of its features.
"""

import numpy as np
from scipy.linalg import solve_triangular

from sdelimit.covariance.dense import Dense
from sdelimit.noise.gaussian import Gaussian
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.random_spectrum import spectrum_of_sketch
from sdelimit.support import arguments as check

DEFICIENT = 1e-14
"""A sketch has no full rank if an entry of its factor's diagonal, about d^-alpha, is below this part of the largest."""
LARGEST_SKETCH = 2**29
"""Most entries of W: 4 GiB."""


def power_law_random_features(
    v: int, d: int, alpha: float, beta: float, *, seed: int = 0, deterministic: bool = False
) -> LinearRegression:
    """Linear regression on d random features of a Gaussian vector of V variables with power-law variances.

    x ~ N(0, diag(j^-2alpha)) in R^V, labels y = sum_j j^-beta x_j without noise, features W'x with
    W_jk ~ N(0, 1/d): the model of neural scaling laws. It is a ``LinearRegression`` with

        K = W'HW,    theta* = K^-1 W'Hb,    Gaussian label noise of variance v^2 = |H^(1/2) (b - W theta*)|^2,

    computed by a QR factorization of H^(1/2) W, so that v^2 keeps its digits though K's condition number is about
    d^(2 alpha). ``problem.irreducible_risk`` is v^2/2 and ``curve.loss`` is the risk plus that.

    Args:
        v: V, the number of variables, more than d.
        d: the number of features, the student's parameters.
        alpha: exponent of the variances, > 0.
        beta: exponent of the labels' coefficients; alpha + beta > 1/2, so that their variance is finite as V grows.
        seed: seed of W. Entry (j, k) of sqrt(d) W is the same for every v and d, so that sizes of one seed are compared
            with less scatter than their own draws would have.
        deterministic: the limit for large d and V instead of one W: eigenvalues, energies of theta* and noise, by the
            equations of theory section 21, without matrices, for d up to 10^6. Only the spectrum of K is known then, as
            of ``LinearRegression.from_spectrum``.

    Raises:
        TypeError, ValueError: naming the argument: unless 1 <= d < v and exponents are in range; or if W'HW is singular
            in double precision, or H^(1/2) W has more than 2^29 entries.

    Source: arXiv:2405.15074; theory section 21.

    >>> import sdelimit as sl
    >>> problem = sl.power_law_random_features(400, 100, alpha=1.0, beta=0.3)
    >>> problem.d, round(problem.irreducible_risk, 4)
    (100, 0.0011)
    """
    d = check.integer("d", d, minimum=1)
    v = check.integer("v", v, minimum=2)
    if v <= d:
        raise ValueError(f"v must be > d = {d}, got {v}: the labels depend on more variables than there are features")
    alpha, beta = check.real("alpha", alpha, positive=True), check.real("beta", beta)
    if alpha + beta <= 0.5:
        raise ValueError(
            f"beta must be > 1/2 - alpha = {0.5 - alpha:g}, got {beta:g}: the labels' variance, the sum of "
            "j^-2(alpha + beta), would grow without bounds with v"
        )
    seed, deterministic = check.seed("seed", seed), check.flag("deterministic", deterministic)
    if deterministic:
        if d**-alpha < DEFICIENT:
            raise _deficient(alpha)
        eigenvalues, energies, variance = spectrum_of_sketch(v, d, alpha, beta)
        if not np.all(eigenvalues > 0):
            raise _deficient(alpha)
        return LinearRegression.from_spectrum(eigenvalues, energies, Gaussian(float(np.sqrt(variance))))
    if v * (d + 1) > LARGEST_SKETCH:
        raise ValueError(
            f"v times d must be at most {LARGEST_SKETCH} entries of W, got {v} times {d}: deterministic=True needs none"
        )
    return _sketched(v, d, alpha, beta, seed)


def _sketched(v, d, alpha, beta, seed) -> LinearRegression:
    j = np.arange(1.0, v + 1)
    rows = np.empty((v, d + 1), order="F")
    for k in range(d):
        rows[:, k] = np.random.default_rng((seed, k)).standard_normal(v)
    rows[:, :d] *= (j**-alpha / np.sqrt(d))[:, None]
    rows[:, d] = j ** -(alpha + beta)
    factor = np.linalg.qr(rows, mode="r")
    T, projected, std = factor[:d, :d], factor[:d, d], abs(factor[d, d])
    size = np.abs(np.diag(T))
    if not size.min() > DEFICIENT * size.max():
        raise _deficient(alpha)
    matrix = T.T @ T
    covariance = Dense(check.read_only((matrix + matrix.T) / 2), check.read_only(np.ascontiguousarray(T.T)))
    return LinearRegression(covariance, Gaussian(float(std)), theta_star=solve_triangular(T, projected), seed=seed)


def _deficient(alpha) -> ValueError:
    return ValueError(
        f"alpha must be small enough for W'HW to have full rank in double precision, got {alpha:g}: variances fall as "
        "j^(-2 alpha)"
    )
