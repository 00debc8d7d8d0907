"""The symmetric change of coordinates in which the risk decouples (theory: section 3).

For a limit with M = D^-p (p = 0 or 1) let S = D^(-p/2) K D^(-p/2) = Q diag(lambda) Q' and
w = Q' D^(p/2) delta. Then R = 1/2 sum_i lambda_i w_i^2 and

    d E[w_i^2]/dt = -2 eta phi(R) lambda_i w_i^2 + (eta^2/d) sum_q psi_q(R) c_qi,
    c_qi = (Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q)_ii.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit import _validation as check
from sdelimit.limits.base import Limit, kernel_basis
from sdelimit.problem import LinearRegression

LARGEST_DENSE = 20_000


@dataclass(frozen=True, eq=False)
class Modes:
    """The decoupled coordinates of one problem under one limit.

    Attributes:
        decay: lambda_i, (d,), ascending unless K is diagonal.
        w0: initial coordinates w_i(0), (d,).
        forcing: c_qi, (p, d), one row for each kernel of the limit's basis.
        vectors: Q, (d, d), or None when K is diagonal and Q = I.
    """

    decay: Float[np.ndarray, " d"]
    w0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]
    vectors: Float[np.ndarray, "d d"] | None


def modes(problem: LinearRegression, limit: Limit) -> Modes:
    """The modes of ``problem`` under ``limit``; the eigenproblem is solved once per problem and kept.

    Raises ValueError if the rule divides by sigma_i and some coordinate has zero variance.
    """
    return problem.cached(("modes", limit.power, limit.basis), lambda: _frozen(_compute(problem, limit)))


def noise_factor(problem: LinearRegression, limit: Limit, name: str):
    """F with F F' = Q' D^(1-p/2) b(Khat) D^(1-p/2) Q for the kernel ``name``: (d,) if that is diagonal, else (d, d)."""
    return problem.cached(("factor", limit.power, name), lambda: _noise_factor(problem, limit, name))


def noise_along_mean(problem: LinearRegression, limit: Limit):
    """F^-1 Lambda for the only kernel of ``limit``, (d,) or (d, d): it takes w to b with F b = Lambda w.

    Lambda w is the mean update D^-p K delta in the coordinates of the modes. Least squares where F is singular.
    """
    (name,) = limit.basis
    return problem.cached(("along mean", limit.power, name), lambda: _noise_along_mean(problem, limit, name))


def _noise_along_mean(problem, limit, name):
    decay, factor = modes(problem, limit).decay, noise_factor(problem, limit, name)
    if factor.ndim == 1:
        return np.divide(decay, factor, out=np.zeros_like(decay), where=factor > 0)
    try:
        return np.linalg.solve(factor, np.diag(decay))
    except np.linalg.LinAlgError:
        return np.linalg.pinv(factor) * decay


def _frozen(found: Modes) -> Modes:
    for array in (found.decay, found.w0, found.forcing, found.vectors):
        if array is not None:
            check.frozen(array)
    return found


def _compute(problem, limit):
    std = problem.covariance.std
    _require_variance(std, limit)
    scale = std ** (limit.power / 2)
    if problem.covariance.is_diagonal:
        decay = std ** (2 - limit.power)
        return Modes(decay, scale * problem.delta0, np.stack([decay] * len(limit.basis)), None)
    if problem.d > LARGEST_DENSE:
        raise ValueError(
            f"covariance must be diagonal for d > {LARGEST_DENSE}: its modes need (d, d) matrices, "
            f"{8 * problem.d**2 / 2**30:.3g} GiB each at d = {problem.d}"
        )
    decay, vectors = _eigh(problem, limit.power)
    forcing = [np.einsum("ij,ij->j", vectors, _noise_matrix(problem, limit, name) @ vectors) for name in limit.basis]
    return Modes(decay, vectors.T @ (scale * problem.delta0), np.stack(forcing), vectors)


def _eigh(problem, power):
    def compute():
        root = problem.covariance.std ** (power / 2)
        decay, vectors = np.linalg.eigh(problem.covariance.to_dense() / root[:, None] / root[None, :])
        return np.maximum(decay, 0.0), vectors

    return problem.cached(("eigh", power), compute)


def _noise_matrix(problem, limit, name):
    std = problem.covariance.std
    outer = std ** (1 - limit.power / 2)
    safe = problem.covariance.correlation() if np.all(std > 0) else _correlation_with_zeros(problem.covariance)
    return kernel_basis(name, safe) * outer[:, None] * outer[None, :]


def _correlation_with_zeros(covariance):
    """Correlation matrix with zero rows for coordinates of zero variance."""
    std = covariance.std
    inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return covariance.to_dense() * inverse[:, None] * inverse[None, :]


def _noise_factor(problem, limit, name):
    current = modes(problem, limit)
    if current.vectors is None or name == "rho":  # Q' D^(1-p/2) Khat D^(1-p/2) Q = Q' S Q
        return np.sqrt(current.decay)
    matrix = _noise_matrix(problem, limit, name)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
    return current.vectors.T @ factor


def _require_variance(std, limit):
    if limit.power and np.any(std == 0):
        index = int(np.argmax(std == 0))
        raise ValueError(
            f"covariance must have positive variance in every coordinate for a rule that rescales coordinates "
            f"(M = D^-1), got K[{index}, {index}] = 0: drop that coordinate"
        )
