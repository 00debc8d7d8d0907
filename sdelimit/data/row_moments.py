"""How a rule's direction u depends on delta when the data are given, not their law.

Let delta ~ N(m, C). On row (x_i, eps_i) the residual l = <x_i, delta> - eps_i is N(mu_i, s_i^2) with
mu_i = <x_i, m> - eps_i and s_i^2 = x_i' C x_i, and averages over the rows give

    the drift E[u],    its derivative J = dE[u]/dm,    the noise Cov(u),

    SGD:      E[u] = K m - E[eps x],                       J = K,                      E[uu'] = E[(mu^2 + s^2) x x'],
    signSGD:  E[u] = E[erf(mu / (s sqrt 2)) sign(x)],      J = E[2 p(0) sign(x) x'],   E[uu'] = E[sign(x) sign(x)'],
    clipping: E[u] = E[E[clip(l)] x],                      J = E[P(|l| < c) x x'],     E[uu'] = E[E[min(l^2, c^2)] xx'],

with clip(l) = min(max(l, -c), c) at c = C sqrt(tr K) / |x|, since u = g min(1, C sqrt(tr K) / |g|) and |g| = |l| |x|;
p(0) = exp(-mu^2 / 2 s^2) / (s sqrt(2 pi)) the residual's density at zero. The SGD line is exact for any law of delta.
For Gaussian x and independent eps in high dimension both are those of theory sections 1 and 2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import erf, ndtr

ROWS = 8192
"""Rows worked on at once."""
SHARPEST = 1e-2
"""Least s_i, relative to the root mean square of mu: the density of a point mass is taken at this resolution."""
POINT = 1e-8
"""The same where no density is asked for."""


class Moments(NamedTuple):
    """Drift (d,), its Jacobian (d, d), noise covariance (d, d), and drift coefficient phi, at one law of delta."""

    drift: Float[np.ndarray, " d"]
    jacobian: Float[np.ndarray, "d d"]
    noise: Float[np.ndarray, "d d"]
    phi: float


def gradient_moments(problem, mean, covariance) -> Moments:
    """Of the gradient u = l x."""
    second = np.zeros((problem.d, problem.d))
    for x, mu, s in _residuals(problem, mean, covariance):
        second += (x * (mu**2 + s**2)[:, None]).T @ x
    K = problem.covariance.to_dense()
    drift = K @ mean - problem.cached("noise_moment", lambda: problem.residuals @ problem.X / problem.n)
    return Moments(drift, K, second / problem.n - np.outer(drift, drift), 1.0)


def sign_moments(problem, mean, covariance) -> Moments:
    """Of u = sign(l x)."""
    drift, jacobian, density = np.zeros(problem.d), np.zeros((problem.d, problem.d)), 0.0
    smallest = SHARPEST * np.sqrt(np.mean((problem.X @ mean - problem.residuals) ** 2)) + 1e-150
    for x, mu, s in _residuals(problem, mean, covariance):
        sign, s = np.sign(x), np.maximum(s, smallest)
        p = np.exp(-((mu / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))
        drift += erf(mu / (s * np.sqrt(2))) @ sign
        jacobian += sign.T @ (2 * p[:, None] * x)
        density += p.sum()
    drift, jacobian, density = drift / problem.n, jacobian / problem.n, density / problem.n
    noise = problem.sign_covariance - np.outer(drift, drift)
    return Moments(drift, jacobian, noise, 2 * np.sqrt(2 / np.pi) * density)


def clipped_moments(problem, mean, covariance, threshold) -> Moments:
    """Of u = g min(1, threshold sqrt(tr K) / |g|)."""
    drift, jacobian, second = np.zeros(problem.d), np.zeros((problem.d, problem.d)), np.zeros((problem.d, problem.d))
    radius, share = threshold * np.sqrt(problem.covariance.trace), 0.0
    smallest = POINT * np.sqrt(np.mean((problem.X @ mean - problem.residuals) ** 2)) + 1e-150
    for x, mu, s in _residuals(problem, mean, covariance):
        c, s = radius / np.maximum(np.linalg.norm(x, axis=1), 1e-150), np.maximum(s, smallest)
        low, high = (-c - mu) / s, (c - mu) / s
        inside, slopes = ndtr(high) - ndtr(low), _pdf(low) - _pdf(high)
        below, above = ndtr(low), ndtr(-high)
        clipped = mu * inside + s * slopes + c * (above - below)
        square = (mu**2 + s**2) * inside + 2 * mu * s * slopes + s**2 * (low * _pdf(low) - high * _pdf(high))
        drift += clipped @ x
        jacobian += (x * inside[:, None]).T @ x
        second += (x * (square + c**2 * (below + above))[:, None]).T @ x
        share += inside.sum()
    drift, jacobian, second = drift / problem.n, jacobian / problem.n, second / problem.n
    return Moments(drift, jacobian, second - np.outer(drift, drift), share / problem.n)


def _pdf(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _residuals(problem, mean, covariance):
    """(x, mu, s) for a few rows at a time."""
    for start in range(0, problem.n, ROWS):
        x = problem.X[start : start + ROWS]
        variance = np.einsum("ni,ni->n", x @ covariance, x)
        yield x, x @ mean - problem.residuals[start : start + ROWS], np.sqrt(np.maximum(variance, 0.0))
