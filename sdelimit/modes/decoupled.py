"""The symmetric change of coordinates in which the risk decouples (theory: section 3).

For a limit with M = D^-p (p = 0 or 1) let S = D^(-p/2) K D^(-p/2) = Q diag(lambda) Q' and
w = Q' D^(p/2) delta. Then R = 1/2 sum_i lambda_i w_i^2 and

    d E[w_i^2]/dt = -2 eta phi(R) lambda_i w_i^2 + (eta^2/d) sum_q psi_q(R) c_qi,
    c_qi = (Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q)_ii.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.limits.limit import Limit
from sdelimit.modes import dense
from sdelimit.modes.structured import in_eigenvectors, structured
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.support import arguments as check


@dataclass(frozen=True, eq=False)
class Modes:
    """The decoupled coordinates of one problem under one limit.

    Attributes:
        decay: lambda_i, (d,), in any order.
        w0: initial coordinates w_i(0), (d,).
        forcing: c_qi, (p, d), one row for each kernel of the limit's basis.
        vectors: Q, (d, d); None where Q = I or is not written out.
    """

    decay: Float[np.ndarray, " d"]
    w0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]
    vectors: Float[np.ndarray, "d d"] | None


def modes(problem: LinearRegression, limit: Limit) -> Modes:
    """The modes of ``problem`` under ``limit``: from the structure of K where it has one, see ``modes/structured.py``.

    Computed once per problem and kept, as is the eigenproblem of limits that share it.

    Raises ValueError if the rule divides by sigma_i and some coordinate has zero variance, or if d is too large for
    a K without structure.
    """
    return problem.cached(("modes", limit.power, limit.basis), lambda: _compute(problem, limit))


def dense_modes(problem: LinearRegression, limit: Limit) -> Modes:
    """The modes with their vectors Q written out unless Q = I (K diagonal). Raises as ``modes``, whatever K."""
    if problem.covariance.is_diagonal:
        return modes(problem, limit)
    return problem.cached(("dense modes", limit.power, limit.basis), lambda: _compute_dense(problem, limit))


def noise_modes(problem: LinearRegression, limit: Limit) -> Modes:
    """The modes that ``noise_factor`` refers to: with vectors, unless the noise does not mix the modes."""
    plain = all(name == "rho" for name in limit.basis)
    return modes(problem, limit) if plain else dense_modes(problem, limit)


def noise_factor(problem: LinearRegression, limit: Limit, name: str):
    """F with F F' = Q' D^(1-p/2) b(Khat) D^(1-p/2) Q for the kernel ``name``: (d,) if that is diagonal, else (d, d).

    ``name`` is one of the limit's basis; Q are the vectors of ``noise_modes``.
    """
    return problem.cached(("factor", limit.power, limit.basis, name), lambda: _noise_factor(problem, limit, name))


def noise_along_mean(problem: LinearRegression, limit: Limit):
    """F^-1 Lambda for the only kernel of ``limit``, (d,) or (d, d): it takes w to b with F b = Lambda w.

    Lambda w is the mean update D^-p K delta in the coordinates of the modes. Least squares where F is singular.
    """
    (name,) = limit.basis
    return problem.cached(("along mean", limit.power, name), lambda: _noise_along_mean(problem, limit, name))


def _noise_along_mean(problem, limit, name):
    decay, factor = noise_modes(problem, limit).decay, noise_factor(problem, limit, name)
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
    _require_variance(problem.covariance.std, limit)
    found = structured(problem.covariance, limit.power, limit.basis, problem.delta0)
    return dense_modes(problem, limit) if found is None else _frozen(Modes(*found, None))


def _compute_dense(problem, limit):
    covariance, power = problem.covariance, limit.power
    _require_variance(covariance.std, limit)
    pair = problem.cached(("eigh", power), lambda: dense.eigenpairs(covariance, power))
    return _frozen(Modes(*in_eigenvectors(covariance, power, limit.basis, problem.delta0, *pair), pair[1]))


def _noise_factor(problem, limit, name):
    current = noise_modes(problem, limit)
    if current.vectors is None or name == "rho":  # Q' D^(1-p/2) Khat D^(1-p/2) Q = Q' S Q
        return np.sqrt(current.decay)
    matrix = dense.noise_matrix(problem.covariance, limit.power, name)
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
