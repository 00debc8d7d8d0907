"""The symmetric change of coordinates in which the risk decouples (theory: section 3).

For a limit with M = D^-p (p = 0 or 1) let S = D^(-p/2) K D^(-p/2) = Q diag(lambda) Q' and
w = Q' D^(p/2) delta. Then R = 1/2 sum_i lambda_i w_i^2 and

    d E[w_i^2]/dt = -2 eta phi(R) lambda_i w_i^2 + (eta^2/d) sum_q psi_q(R) c_qi,
    c_qi = (Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q)_ii.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import Law, Operators
from sdelimit.modes import dense
from sdelimit.modes.structured import in_eigenvectors, structured_modes
from sdelimit.numerics.matrices import semidefinite_root
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.support import arguments as check


@dataclass(frozen=True, eq=False)
class Modes:
    """The decoupled coordinates of one problem under one limit.

    Attributes:
        decay: lambda_i, (d,), in any order: R = 1/2 sum_i lambda_i w_i^2.
        w0: initial coordinates w_i(0), (d,); (m, d) for problems of m outputs.
        forcing: c_qi, (q, d), one row for each noise matrix of the limit.
        vectors: Q, (d, d); None where Q = I or is not written out.
        member_rates: rates at which the modes decay, one row for each coefficient of the drift; None for lambda_i.
        target: w*_i, the coordinates of theta*, as ``w0``, for laws that have them.
    """

    decay: Float[np.ndarray, " d"]
    w0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "q d"]
    vectors: Float[np.ndarray, "d d"] | None
    member_rates: Float[np.ndarray, "p d"] | None = None
    target: Float[np.ndarray, " d"] | None = None

    @property
    def rates(self) -> Float[np.ndarray, "p d"]:
        """Decay rates of the modes, one row for each coefficient of the drift."""
        return self.decay[None] if self.member_rates is None else self.member_rates


def coordinates(problem: LinearRegression, operators: Operators) -> Modes | None:
    """Coordinates in which the risk equation decouples; None if there are none, so that d x d moments are needed.

    They are the modes of S where the preconditioner M = D^-p does not change with the risk, and the coordinates of
    theta themselves where K is diagonal: then lambda_i = sigma_i^2, w = delta and the drift decays coordinate i at
    rate sum_p a_p sigma_i^2 M_p,ii (theory: section 9).

    Raises ValueError as ``modes``, and for a law with several numbers a mode, or scalars, that has no coordinates.
    """
    if operators.law.power is not None:
        return modes(problem, operators.law)
    if not problem.covariance.is_diagonal:
        if operators.law.undecayed.size > 1 or operators.law.has_scalars:
            raise ValueError(
                "covariance must be diagonal for a rule whose preconditioner changes with the risk and whose limit has "
                "several numbers a mode or scalars of its own"
            )
        return None
    key = "coordinates", operators.key, operators.law.has_target
    return problem.cached(key, lambda: _diagonal_coordinates(problem, operators))


def _diagonal_coordinates(problem, operators):
    variance = problem.covariance.std**2
    rates = operators.preconditioners() * variance
    target = problem.theta_star if operators.law.has_target else None
    return Modes(variance, problem.delta0, operators.noise_diagonals(), None, rates, target)


def modes(problem: LinearRegression, limit: Law) -> Modes:
    """The modes of ``problem`` under ``limit``: from the structure of K where it has one, see ``modes/structured.py``.

    Cached with the problem, as is the eigenproblem, which limits of the same power have in common.

    Raises ValueError if the rule divides by sigma_i and some coordinate has zero variance, or if d is too large for
    a K without structure.
    """
    key = "modes", limit.power, limit.basis, limit.has_target
    return problem.cached(key, lambda: _compute(problem, limit))


def dense_modes(problem: LinearRegression, limit: Law) -> Modes:
    """The modes with their vectors Q written out unless Q = I (K diagonal). Raises as ``modes``, whatever K."""
    if problem.covariance.is_diagonal:
        return modes(problem, limit)
    key = "dense modes", limit.power, limit.basis, limit.has_target
    return problem.cached(key, lambda: _compute_dense(problem, limit))


def noise_modes(problem: LinearRegression, limit: Law) -> Modes:
    """The modes that ``noise_factor`` refers to: with vectors, unless the noise does not mix the modes."""
    mixes = any(name != "rho" for name in limit.basis)
    return dense_modes(problem, limit) if mixes else modes(problem, limit)


def noise_coordinates(problem: LinearRegression, operators: Operators):
    """``coordinates`` for paths, and F_q with F_q F_q' = N_q in them, (d,) if diagonal, else (d, d).

    The factors are None where no noise matrix mixes the modes: their variances are then ``Modes.forcing``. None
    instead of the pair if the problem has no such coordinates.
    """
    law = operators.law
    if law.power is None:
        current = coordinates(problem, operators)
        return None if current is None else (current, None)
    current = noise_modes(problem, law)
    if current.vectors is None:
        return current, None
    factors = [noise_factor(problem, law, name) for name in law.basis]
    return current, None if all(f.ndim == 1 for f in factors) else factors


def noise_factor(problem: LinearRegression, limit: Law, name: str):
    """F with F F' = Q' D^(1-p/2) b(Khat) D^(1-p/2) Q for the kernel ``name``: (d,) if that is diagonal, else (d, d).

    ``name`` is one of the limit's basis; Q are the vectors of ``noise_modes``.
    """
    key = "factor", limit.power, limit.basis, limit.has_target, name
    return problem.cached(key, lambda: _noise_factor(problem, limit, name))


def noise_along_mean(problem: LinearRegression, limit: Law):
    """F^-1 Lambda for the only kernel of ``limit``, (d,) or (d, d): it takes w to b with F b = Lambda w.

    Lambda w is the mean update D^-p K delta in the coordinates of the modes. Least squares where F is singular.
    """
    (name,) = limit.basis
    key = "along mean", limit.power, limit.has_target, name
    return problem.cached(key, lambda: _noise_along_mean(problem, limit, name))


def _noise_along_mean(problem, limit, name):
    return against_mean(noise_factor(problem, limit, name), noise_modes(problem, limit).decay)


def against_mean(factor, decay):
    """F^-1 Lambda for the ``factor`` F, (d,) if it is diagonal; least squares where it is singular."""
    if factor.ndim == 1:
        return np.divide(decay, factor, out=np.zeros_like(decay), where=factor > 0)
    try:
        return np.linalg.solve(factor, np.diag(decay))
    except np.linalg.LinAlgError:
        return np.linalg.pinv(factor) * decay


def _read_only(found: Modes) -> Modes:
    for array in (found.decay, found.w0, found.forcing, found.vectors, found.target):
        if array is not None:
            check.read_only(array)
    return found


def _compute(problem, limit):
    _require_variance(problem.covariance.std, limit)
    found = structured_modes(problem.covariance, limit.power, limit.basis, _followed(problem, limit))
    return dense_modes(problem, limit) if found is None else _read_only(_modes_of(found, None, problem))


def _followed(problem, limit) -> Float[np.ndarray, "v d"]:
    """theta_0 - theta*, and theta* where the law follows it; a row for each of several outputs."""
    start, target = map(np.atleast_2d, problem.followed)
    return np.concatenate([start, target] if limit.has_target else [start])


def _modes_of(found, vectors, problem) -> Modes:
    decay, w, forcing = found
    if problem.delta0.ndim == 1:
        w0, target = w[0], w[1:]
        return Modes(decay, w0, forcing, vectors, target=target[0] if len(target) else None)
    w0, target = w[: problem.outputs], w[problem.outputs :]
    return Modes(decay, w0, forcing, vectors, target=target if len(target) else None)


def _compute_dense(problem, limit):
    covariance, power = problem.covariance, limit.power
    _require_variance(covariance.std, limit)
    pair = problem.cached(("eigh", power), lambda: dense.eigenpairs(covariance, power))
    found = in_eigenvectors(covariance, power, limit.basis, _followed(problem, limit), *pair)
    return _read_only(_modes_of(found, pair[1], problem))


def _noise_factor(problem, limit, name):
    current = noise_modes(problem, limit)
    if current.vectors is None or name == "rho":  # Q' D^(1-p/2) Khat D^(1-p/2) Q = Q' S Q
        return np.sqrt(current.decay)
    matrix = dense.noise_matrix(problem.covariance, limit.power, name)
    return current.vectors.T @ semidefinite_root(matrix)


def _require_variance(std, limit):
    if limit.power and np.any(std == 0):
        index = int(np.argmax(std == 0))
        raise ValueError(
            f"covariance must have positive variance in every coordinate for a rule that rescales coordinates "
            f"(M = D^-1), got K[{index}, {index}] = 0: drop that coordinate"
        )
