"""Where drift and noise balance, and how small disturbances die out there (theory: sections 3, 4 and 9).

While the risk is held at R every mean dynamics here is linear, dm/dt = -eta A(R) m + eta^2 B(R), so that it settles at
m = eta A^-1 B with a risk eta L(R). A risk is stationary if it reproduces itself, R = eta L(R): it belongs to the
learning rate R / L(R), and the root is stable where that increases with R.

Close to the root modes couple through R only. In the modes of A(R) a disturbance x of the shares of the risk follows

    dx_i/dt = -a_i x_i + w_i sum_j x_j,      a_i = 2 eta phi lambda_i,    w_i = d(dx_i/dt)/dR,

so its rates r solve 1 = sum_i w_i / (a_i - r).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from scipy.optimize import brentq

from sdelimit.limits.limit import Limit, MemoryLimit
from sdelimit.limits.scale_dependent import Profile, ScaleDependentLimit
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.ode.matrix import scale_dependent_system

EQUAL = 1e-12
"""Rates this close, and couplings this small, relative to the largest rate, are not told apart."""
UNSEEN = 1e-9
"""Largest share of an eigenvector, of length one, that rounding leaves in the risk where it has none."""
LARGEST = 5000
"""Largest matrix whose eigenvalues are computed."""


class Balance(eqx.Module):
    """The stationary state of one limit on one problem, at frozen risk."""

    def learning_rate(self, R: Float[Array, ""]) -> Float[Array, ""]:
        """R / L(R), the learning rate whose stationary risk is R > 0."""
        raise NotImplementedError

    def coupling(self, eta: float, R: float) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """(a, w) of disturbances around the stationary risk R."""
        raise NotImplementedError

    def slowest(self, eta: float, R: float) -> float:
        """The rate of the slowest disturbance that the risk shows."""
        return slowest_rate(*self.coupling(eta, R))


class ModeBalance(Balance):
    """R / L(R) = 4 d R phi(R) / sum_q psi_q(R) sum_i c_qi, the sum over modes with lambda_i > 0.

    Modes with lambda_i = 0 are no part of the risk, whatever noise they collect.
    """

    limit: Limit
    decay: Float[np.ndarray, " m"]
    forcing: Float[np.ndarray, "p m"]
    d: float

    def learning_rate(self, R):
        return 4 * self.d * R * self.limit.phi(R) / (self.limit.psi(R) @ jnp.sum(jnp.asarray(self.forcing), axis=1))

    def coupling(self, eta, R):
        (phi, psi), (phi_slope, psi_slope) = value_and_slope(lambda R: (self.limit.phi(R), self.limit.psi(R)), R)
        # With lambda_i m_i = eta psi.c_i / (2 d phi) put in for the stationary energies.
        w = eta**2 / (2 * self.d) * self.decay * ((psi_slope - psi * phi_slope / phi) @ self.forcing)
        return 2 * eta * phi * self.decay, w


class MemoryBalance(Balance):
    """The same for a limit with memory, which at stationarity is what it relaxes to, m = target(R)."""

    limit: MemoryLimit
    decay: Float[np.ndarray, " m"]
    forcing: Float[np.ndarray, "p m"]
    d: float

    def learning_rate(self, R):
        memory = self.limit.target(R)
        noise = self.limit.psi(R, memory) @ jnp.sum(jnp.asarray(self.forcing), axis=1)
        return 4 * self.d * R * self.limit.phi(R, memory) / noise

    def slowest(self, eta, R):
        """From the Jacobian of the equations of the risk, memory)."""

        def field(state):
            shares, memory = state[: self.decay.size], state[self.decay.size :]
            R = jnp.sum(shares)
            source = self.limit.psi(R, memory) @ jnp.asarray(self.forcing) / self.d
            drift = -2 * eta * self.limit.phi(R, memory) * self.decay * shares
            moved = drift + eta**2 * self.decay * source / 2
            return jnp.concatenate([moved, self.limit.rate * (self.limit.target(R) - memory)])

        memory = evaluate_in_float64(self.limit.target, R)
        noise = evaluate_in_float64(self.limit.psi, R, memory) @ self.forcing
        shares = eta * noise / (4 * self.d * evaluate_in_float64(self.limit.phi, R, memory))
        state = np.concatenate([shares, memory])
        # Relative disturbances, so that eigenvectors can be compared across units.
        jacobian = evaluate_in_float64(jax.jacfwd(field), state) * state / state[:, None]
        return slowest_seen(-jacobian, np.where(np.arange(state.size) < shares.size, state, 0.0))


class CoordinateBalance(Balance):
    """R / L(R) = 4 d R / sum_i N_ii(R) / phi_i(R) for a scale-dependent rule, K diagonal or of full rank.

    For diagonal K that is plain. In general let Z = D V D, a = diag(sigma_i^2 phi_i),
    S = a^1/2 Khat a^1/2 = Q Lambda Q' and Y = Q' a^-1/2 Z a^-1/2 Q. Then Lambda Y + Y Lambda = (eta/d) W with
    W = Q' a^-1/2 D N D a^-1/2 Q, and the risk 1/2 sum_i lambda_i Y_ii = eta tr(W) / (4d) is the same sum.
    """

    drift_profile: Profile
    drift: Float[np.ndarray, "p d"]
    noise_profile: Profile
    noise: Float[np.ndarray, "q d"]
    variance: Float[np.ndarray, " d"]
    d: float

    def coefficients(self, R):
        """phi_i(R) and N_ii(R)."""
        return self.drift_profile(R) @ jnp.asarray(self.drift), self.noise_profile(R) @ jnp.asarray(self.noise)

    def learning_rate(self, R):
        phi, noise = self.coefficients(R)
        return 4 * self.d * R / jnp.sum(noise / phi)

    def coupling(self, eta, R):
        (phi, noise), (phi_slope, noise_slope) = value_and_slope(self.coefficients, R)
        w = eta**2 / (2 * self.d) * self.variance * (noise_slope - noise * phi_slope / phi)
        return 2 * eta * phi * self.variance, w


class MatrixBalance(CoordinateBalance):
    """The same with a K that is not diagonal, where the modes of Y and, if K is singular, ``null`` matter.

    ``null`` is an orthonormal basis U of the null space of Khat. Noise along it is no part of the risk:
    tr(W) loses tr((U' a^-1 U)^-1 U' a^-1 D N D a^-1 U).
    """

    khat: Float[np.ndarray, "d d"]
    heat: Float[np.ndarray, "q d d"]
    null: Float[np.ndarray, "d k"]

    def matrices(self, R):
        """a(R) and D N(R) D."""
        a = self.variance * (self.drift_profile(R) @ jnp.asarray(self.drift))
        return a, jnp.tensordot(self.noise_profile(R), jnp.asarray(self.heat), axes=1)

    def learning_rate(self, R):
        if self.null.shape[1] == 0:
            return super().learning_rate(R)
        a, heat = self.matrices(R)
        tilted = jnp.asarray(self.null) / a[:, None]
        unseen = jnp.trace(jnp.linalg.solve(self.null.T @ tilted, tilted.T @ heat @ tilted))
        return 4 * self.d * R / (jnp.sum(jnp.diag(heat) / a) - unseen)

    def coupling(self, eta, R):
        """(a, w) of the diagonal of Y; the rest of Y does not act on the risk."""
        (a, heat), (a_slope, heat_slope) = value_and_slope(self.matrices, R)
        root = np.sqrt(a)
        values, Q = scipy.linalg.eigh(root[:, None] * self.khat * root)
        seen = values > values[-1] * values.size * np.finfo(float).eps
        values, inward = values[seen], Q[:, seen] / root[:, None]
        W = inward.T @ heat @ inward
        Y = eta / self.d * W / (values[:, None] + values[None, :])
        outward = root[:, None] * Q[:, seen]
        # d/dR of -eta (a Khat Z + Z Khat a) on the diagonal, Z = outward Y outward'.
        drift = np.einsum("ij,ij->j", inward * a_slope[:, None], self.khat @ outward @ Y)
        noise = np.einsum("ij,ij->j", inward, heat_slope @ inward)
        w = values / 2 * (eta**2 / self.d * noise - 2 * eta * drift)
        return 2 * eta * values, w


def balance_of(problem, limit) -> Balance:
    """The balance of ``limit`` on ``problem``; its matrices are made once per problem and rule."""
    if isinstance(limit, ScaleDependentLimit):
        return _scale_dependent(problem, limit)
    current = modes(problem, limit)
    seen = current.decay > current.decay.max() * problem.d * np.finfo(float).eps
    kind = MemoryBalance if isinstance(limit, MemoryLimit) else ModeBalance
    return kind(limit, *merged(current.decay[seen], current.forcing[:, seen]), float(problem.d))


def _scale_dependent(problem, limit):
    system = scale_dependent_system(problem, limit, np.ones(1), 1e-6, None, 1.0)
    seen, profiles = system.decay > 0, (system.drift_profile, system.noise_profile)
    drift, variance = system.drift[:, seen], system.decay[seen]
    if problem.covariance.is_diagonal:
        noise = system.noise[:, seen]
        return CoordinateBalance(profiles[0], drift, profiles[1], noise, variance, float(problem.d))
    khat, heat = system.khat[np.ix_(seen, seen)], system.noise[:, seen][:, :, seen]
    noise = np.einsum("qii->qi", heat) / variance
    values, vectors = problem.cached("correlation_eigh", lambda: np.linalg.eigh(khat))
    null = vectors[:, values <= values[-1] * values.size * np.finfo(float).eps]
    return MatrixBalance(profiles[0], drift, profiles[1], noise, variance, float(problem.d), khat, heat, null)


def merged(rates: Float[np.ndarray, " m"], rows: Float[np.ndarray, "p m"]):
    """Distinct ``rates``, ascending, and the sums of ``rows`` over equal ones: modes of one rate act as one."""
    order = np.argsort(rates)
    ascending = rates[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf) > EQUAL * ascending[-1])
    return ascending[starts], np.add.reduceat(rows[:, order], starts, axis=1)


def slowest_rate(a: Float[np.ndarray, " m"], w: Float[np.ndarray, " m"]) -> float:
    """The smallest real part among the roots r of 1 = sum_i w_i / (a_i - r)."""
    a, (w,) = merged(a, w[None])
    w = np.where(np.abs(w) > EQUAL * a, w, 0.0)
    if np.any(w < 0):
        return slowest_seen(np.diag(a) - w[:, None], np.ones(a.size))
    free, coupled = a[w == 0], w > 0
    if not coupled.any():
        return float(a[0])
    first, total = np.flatnonzero(coupled)[0], w.sum()
    # The sum is at most 1 at a_1 - sum w, and at least 1 at a_1 - w_1.
    low, high = a[first] - total, a[first] - w[first]
    rate = brentq(lambda r: np.sum(w[coupled] / (a[coupled] - r)) - 1, low, high) if low < high else low
    return float(min([rate, *free[:1]]))


def slowest_seen(matrix: Float[np.ndarray, "m m"], risk: Float[np.ndarray, " m"]) -> float:
    """The smallest real part of the eigenvalues whose eigenvectors x have risk @ x != 0."""
    if matrix.shape[0] > LARGEST:
        raise ValueError(
            f"problem must have at most {LARGEST} distinct modes for a rule whose modes are coupled in this way, got "
            f"{matrix.shape[0]}"
        )
    rates, vectors = np.linalg.eig(matrix)
    seen = np.abs(risk @ vectors) > UNSEEN * np.abs(risk).sum()
    return float(rates.real[seen].min())


def value_and_slope(function, R: float):
    """``function(R)`` and its derivative in R, both in float64 NumPy."""
    with jax.ensure_compile_time_eval(), x64():
        pair = jax.jvp(function, (jnp.float64(R),), (jnp.float64(1.0),))
        return jax.tree.map(np.asarray, pair)
