"""The risk ODE of a law that decouples in no coordinates: a preconditioner that changes with R, K not diagonal.

With V = E[delta delta'] and Z = D V D, D = diag(sigma), so that R = 1/2 tr(Khat Z) (theory: section 9),

    dZ/dt = -eta (A Khat Z + Z Khat A) + (eta^2/d) D N(R) D,    A = diag(sigma_i^2 phi_i(R)).

Decoupled weight decay omega moves the mean z = D E[delta] too, with z* = D theta* (theory: section 19),

    dz/dt = ... - eta omega (z + z*),    dZ/dt = ... - eta omega (2 Z + z z*' + z* z').

One product Khat Z a step is the cost; N(R) and phi(R) are sums of a few fixed arrays, with coefficients that depend
on R.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import Operators, ScalarLaw
from sdelimit.modes.dense import correlation_of
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.system import System, Tolerances, tolerances


class Matrices(NamedTuple):
    """What the equation of Z is made of, whatever the coefficients.

    Attributes:
        khat: Khat.
        members: the diagonals of M_p, with phi = sum_p a_p M_p.
        dissipation: Khat D M_p D Khat.
        noise: D N_q D.
        noise_power: tr(Khat D N_q D) = tr(K N_q).
    """

    khat: Float[np.ndarray, "d d"]
    members: Float[np.ndarray, "p d"]
    dissipation: Float[np.ndarray, "p d d"]
    noise: Float[np.ndarray, "q d d"]
    noise_power: Float[np.ndarray, " q"]


class MatrixSystem(System):
    """y = Z = D V D, or (Z, z) with weight decay; any K.

    Attributes:
        target: z*, for laws with weight decay.
    """

    decay: Float[np.ndarray, " d"]
    delta0: Float[np.ndarray, " d"]
    matrices: Matrices
    law: ScalarLaw
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    target: Float[np.ndarray, " d"] | None = None
    weight_decay: float = 0.0

    def coefficients(self, R):
        """a_p(R) and b_q(R)."""
        return self.law.drift_coefficients(R, jnp.zeros(0)), self.law.noise_coefficients(R, jnp.zeros(0))

    def initial(self):
        scaled = jnp.sqrt(jnp.asarray(self.decay)) * self.delta0
        square = scaled[:, None] * scaled[None, :]
        return square if self.target is None else (square, scaled)

    def split(self, y):
        """Z and z, None without weight decay."""
        return (y, None) if self.target is None else y

    def field(self, eta, y):
        Z, z = self.split(y)
        a, b = self.coefficients(self.positive(self.risk(y)))
        strength = eta * self.decay * (a @ self.matrices.members)
        khat = jnp.asarray(self.matrices.khat)
        decay = strength[:, None] * (khat @ Z)
        noise = jnp.tensordot(b, jnp.asarray(self.matrices.noise), axes=1)
        if z is None:
            return eta**2 / Z.shape[0] * noise - decay - decay.T
        pull = eta * self.weight_decay
        decay = decay + pull * (Z + z[:, None] * self.target)
        return eta**2 / Z.shape[0] * noise - decay - decay.T, -strength * (khat @ z) - pull * (z + self.target)

    def risk(self, y):
        return jnp.sum(jnp.asarray(self.matrices.khat) * self.split(y)[0]) / 2

    def observe(self, eta, y, save_modes):
        Z, z = self.split(y)
        a, b = self.coefficients(self.positive(self.risk(y)))
        dissipated = a @ jnp.tensordot(jnp.asarray(self.matrices.dissipation), Z, axes=2)
        slope = eta**2 / (2 * Z.shape[0]) * b @ self.matrices.noise_power - eta * dissipated
        if z is not None:
            reached = z @ jnp.asarray(self.matrices.khat) @ self.target
            slope = slope - eta * self.weight_decay * (2 * self.risk(y) + reached)
        mean = jnp.sum(self.decay * (a @ self.matrices.members)) / jnp.sum(self.decay)
        return {"modes": jnp.zeros(()), "phi": mean, "slope": slope}

    def many(self, function, schedules):
        """One after the other: the state is d x d."""
        return jax.lax.map(function, schedules)


def matrix_system(problem, operators: Operators, times, rtol, atol, eta) -> MatrixSystem:
    """The risk ODE of ``operators`` on ``problem``; its matrices are made once per problem and rule."""
    law = operators.law
    system = system_of_matrices(problem, matrices_of(problem, operators), law.undecayed, times, rtol, atol, eta)
    return with_weight_decay(system, problem, law.weight_decay) if law.weight_decay > 0 else system


def with_weight_decay(system: MatrixSystem, problem, weight_decay: float) -> MatrixSystem:
    """The same with decoupled weight decay."""
    return replace(system, target=problem.covariance.std * problem.theta_star, weight_decay=weight_decay)


def system_of_matrices(problem, matrices: Matrices, law: ScalarLaw, times, rtol, atol, eta) -> MatrixSystem:
    """The risk ODE of ``law``'s coefficients of given matrices."""
    risk0, none = problem.initial_risk, np.zeros(0)
    noise = evaluate_in_float64(law.noise_coefficients, max(risk0, TINY_RISK), none)
    noise_risk = float(noise @ matrices.noise_power) / (2 * problem.d)
    # The error of the risk, a sum over many entries of Z, is far below the typical error of an entry.
    bounds = tolerances(risk0, noise_risk, problem.d, rtol * problem.d**0.25, atol, eta)
    return MatrixSystem(problem.covariance.std**2, problem.delta0, matrices, law, times, bounds)


def matrices_of(problem, operators: Operators) -> Matrices:
    """The matrices of ``operators`` on ``problem``, made once."""
    return problem.cached(("matrices", operators.key), lambda: _matrices(problem, operators))


def _matrices(problem, operators):
    khat, std = correlation_of(problem.covariance), problem.covariance.std
    noise = operators.noise_matrices(khat) * (std[:, None] * std[None, :])
    members = operators.preconditioners()
    dissipation = np.stack([(khat * (std**2 * phi)) @ khat for phi in members])
    return Matrices(khat, members, dissipation, noise, np.einsum("ij,qij->q", khat, noise))
