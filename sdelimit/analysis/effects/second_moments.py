"""A rule's drift matrix Phi(R) and noise matrix N(R) on one problem.

Every limit with one number a mode has, with eta the learning rate and V = E[delta delta'],

    dV/dt = -eta (Phi K V + V K Phi) + (eta^2/d) N,
    Phi = sum_p a_p(R) M_p,  M_p diagonal,    N = sum_q b_q(R) N_q,

and the coefficients a_p, b_q may depend on the law's scalars m beside R. The four effects need these sums and a few
traces.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import Operators, ScalarLaw, operators_of
from sdelimit.modes.decoupled import Modes, coordinates
from sdelimit.modes.dense import correlation_of
from sdelimit.ode.matrix import matrices_of
from sdelimit.problem.linear_regression import LinearRegression


class Coefficients(eqx.Module):
    """a_p and b_q of a law, and the sizes of Phi and N.

    Attributes:
        law: the coefficients.
        gram: tr(M_p K M_p') / tr K.
        noise_trace: tr N_q.
    """

    law: ScalarLaw
    gram: Float[np.ndarray, "p p"]
    noise_trace: Float[np.ndarray, " q"]

    def size_of(self, a: Float[Array, " p"]) -> Float[Array, ""]:
        """sqrt(tr(Phi K Phi) / tr K) for the coefficients ``a`` of Phi."""
        return jnp.sqrt(a @ jnp.asarray(self.gram) @ a)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Phi(R) and N(R) of one rule on one problem.

    Attributes:
        problem, operators: whose they are.
        coordinates: those in which the risk equation decouples; None if there are none.
        coefficients: a_p and b_q, traceable.
        members: (p, d), the diagonals of M_p.
        noise: N_q: (q, d) diagonals if K is diagonal, else (q, d, d).
        noise_curvature: tr(K N_q).
    """

    problem: LinearRegression
    operators: Operators
    coordinates: Modes | None
    coefficients: Coefficients
    members: Float[np.ndarray, "p d"]
    noise: Float[np.ndarray, "q d"] | Float[np.ndarray, "q d d"]
    noise_curvature: Float[np.ndarray, " q"]

    @property
    def law(self) -> ScalarLaw:
        """The rule's law."""
        return self.operators.law

    @property
    def covariance(self) -> Float[np.ndarray, " d"] | Float[np.ndarray, "d d"]:
        """K, stored as the noise matrices are."""
        K = self.problem.covariance
        return K.std**2 if K.is_diagonal else K.to_dense()


def dynamics(problem: LinearRegression, limit) -> Dynamics:
    """Phi and N of ``limit`` on ``problem``. ValueError as ``modes`` for zero variances."""
    operators, covariance = operators_of(problem, limit), problem.covariance
    if operators.law.size > 1:
        raise ValueError(
            f"optimizer must have a limit with one number a mode for the four effects, got {operators.law.size}: "
            f"{type(operators.law).__name__}"
        )
    current = coordinates(problem, operators)
    variance, members = covariance.std**2, operators.preconditioners()
    if covariance.is_diagonal:
        noise = operators.noise_diagonals()
    elif current is None:
        inverse = np.divide(1.0, covariance.std, out=np.zeros_like(variance), where=variance > 0)
        noise = matrices_of(problem, operators).noise * inverse[:, None] * inverse[None, :]
    else:
        noise = operators.noise_matrices(correlation_of(covariance))
    gram = (members * variance) @ members.T / variance.sum()
    trace = noise.sum(axis=1) if covariance.is_diagonal else np.einsum("qii->q", noise)
    K = variance if covariance.is_diagonal else covariance.to_dense()
    curvature = np.tensordot(noise, K, axes=K.ndim)
    coefficients = Coefficients(operators.law, gram, trace)
    return Dynamics(problem, operators, current, coefficients, members, noise, curvature)
