"""Stationary states, where drift and noise balance, and their relaxation rates (theory: sections 3, 4 and 9).

While the risk is held at R every mean dynamics here is linear, dm/dt = -eta A(R) m + eta^2 B(R), so that it relaxes
to m = eta A^-1 B with a risk eta L(R). A risk is stationary if it reproduces itself, R = eta L(R): it belongs to the
learning rate R / L(R), and the root is stable where that increases with R.

Close to the root modes couple through R only. In the modes of A(R) a perturbation x_i of the risk of each mode follows

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

from sdelimit.limits.law import Law, ScalarLaw, moment_pairs, operators_of
from sdelimit.modes.decoupled import coordinates
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.ode.matrix import Matrices, matrices_of

EQUAL = 1e-12
"""Rates this close, and couplings this small, relative to the largest rate, count as equal, and as zero."""
ROUNDING = 1e-9
"""Below this the risk of an eigenvector, relative to the sum of all weights, is rounding error: it does not move R."""
LARGEST = 5000
"""Largest matrix whose eigenvalues are computed."""


class Balance(eqx.Module):
    """The stationary state of one limit on one problem, while the risk is held fixed."""

    def learning_rate(self, R: Float[Array, ""]) -> Float[Array, ""]:
        """R / L(R), the learning rate whose stationary risk is R > 0."""
        raise NotImplementedError

    def slowest(self, eta: float, R: float) -> float:
        """The rate of the slowest perturbation of the stationary state that moves the risk, at risk R."""
        raise NotImplementedError


class ModeBalance(Balance):
    """The balance of any law in coordinates that decouple.

    At fixed risk and stationary scalars, G_i Y_i + Y_i G_i' + (1/d) sum_q c_qi B_q = 0 for the moments
    Y_i of each mode, and L(R) eta = 1/2 sum_i lambda_i Y_i,00: for one number a mode

        R / L(R) = 4 d R / sum_i lambda_i (sum_q b_q c_qi) / (sum_p a_p rate_pi).

    Modes with lambda_i = 0 are no part of the risk, whatever noise they collect. Coefficients of laws with several
    numbers a mode are taken at the risk alone, all other overlaps zero.

    Where weight decay pulls towards -w*_i the mean is no longer zero: with the state (u_i, w*_i), du_i = (H_i u_i +
    h_i w*_i) dt, it is -H_i^-1 h_i w*_i, and its square is a part of the moments that does not vanish with eta.

    Attributes:
        squares: the sums of w*_i^2 over the modes that act as one, for laws with weight decay.
    """

    law: Law
    decay: Float[np.ndarray, " m"]
    rates: Float[np.ndarray, "p m"]
    forcing: Float[np.ndarray, "q m"]
    d: float
    squares: Float[np.ndarray, " m"] | None = None

    @property
    def own(self):
        """How many numbers a mode has beside w*_i."""
        return self.law.size - self.law.has_target

    def stationary_scalars(self, q):
        """The scalars where dm/dt = 0."""
        return self.law.relaxation(q)[1]

    def generators(self, eta, q, m):
        """G_i, (modes, k, k), and sum_q c_qi B_q, (modes, k, k)."""
        constant, linear = self.law.drift(eta, q, m)
        G = jnp.einsum("pab,pi->iab", linear, jnp.asarray(self.rates))
        G = G if constant is None else G + constant
        return G, jnp.einsum("qab,qi->iab", self.law.noise(eta, q, m), jnp.asarray(self.forcing))

    def stationary_moments(self, eta, R):
        """Y_i, (moments, modes), at the learning rate eta while the risk is held at R."""
        q = jnp.zeros(len(moment_pairs(self.law.size))).at[0].set(2 * R)
        G, noise = self.generators(eta, q, self.stationary_scalars(q))
        k, noise = self.own, noise / self.d
        if not self.law.has_target:
            return _covariances(G, noise)
        covariances = _covariances(G[:, :k, :k], noise[:, :k, :k])
        mean = jnp.append(-jnp.linalg.solve(G[:, :k, :k], G[:, :k, k:])[:, :, 0], jnp.ones((len(G), 1)), axis=1)
        means = [self.squares * mean[:, a] * mean[:, b] for a, b in moment_pairs(k + 1)]
        rows = iter(covariances)
        return jnp.stack([m + next(rows) if b < k else m for m, (a, b) in zip(means, moment_pairs(k + 1), strict=True)])

    def learning_rate(self, R):
        decay = jnp.asarray(self.decay)
        if self.own == 1:  # the risk is in proportion to eta, but for what weight decay does to the mean
            q = jnp.zeros(len(moment_pairs(self.law.size))).at[0].set(2 * R)
            G, noise = self.generators(1.0, q, self.stationary_scalars(q))
            total = jnp.sum(decay * noise[:, 0, 0] / -G[:, 0, 0])
            pulled = jnp.sum(decay * self.squares * (G[:, 0, 1] / G[:, 0, 0]) ** 2) if self.law.has_target else 0.0
            return 4 * self.d * (R - pulled / 2) / total
        risk_at = lambda eta: decay @ self.stationary_moments(eta, R)[0] / 2  # noqa: E731

        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            risk = risk_at(jnp.exp(middle))
            above = (risk > R) | ~(risk > 0)  # beyond the edge of stability moments turn negative
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = jax.lax.fori_loop(0, 70, halve, (jnp.log(R) - 60.0, jnp.log(R) + 60.0))
        # Zero where the risk is above R at every learning rate, and not a number where moments settle at none, as those
        # of a constant do not.
        found = jnp.where(low > jnp.log(R) - 60.0, jnp.exp((low + high) / 2), 0.0)
        return jnp.where(jnp.isfinite(risk_at(1.0)), found, jnp.nan)

    def slowest(self, eta, R):
        if self.law.size == 1 and not self.law.has_scalars:
            return slowest_rate(*self.coupling(eta, R))
        return self._slowest_of_jacobian(eta, R)

    def coupling(self, eta, R):
        """(a, w) for one number a mode and no scalars."""

        def coefficients(R):
            G, noise = self.generators(eta, 2 * R[None], jnp.zeros(0))
            return -G[:, 0, 0], noise[:, 0, 0] / self.d

        (rate, noise), (rate_slope, noise_slope) = value_and_slope(coefficients, R)
        # With lambda_i m_i = noise / (2 rate) put in for the stationary moments.
        return 2 * rate, self.decay / 2 * (noise_slope - noise * rate_slope / rate)

    def _slowest_of_jacobian(self, eta, R):
        """From the Jacobian of the equations of the risks of the modes, lambda_i Y_i / 2, and the scalars."""
        k, pairs = self.law.size, moment_pairs(self.law.size)
        index = np.array([[pairs.index((min(a, b), max(a, b))) for b in range(k)] for a in range(k)])
        decay, moving = jnp.asarray(self.decay), [(a, b) for a, b in pairs if not self.law.has_target or a < self.own]
        count, fixed = len(moving) * self.decay.size, 0.0

        def field(state):
            mode_risks, m = state[:count].reshape(len(moving), -1), state[count:]
            mode_risks = jnp.concatenate([mode_risks, fixed]) if self.law.has_target else mode_risks
            q = 2 * jnp.sum(mode_risks, axis=1)
            G, noise = self.generators(eta, q, m)
            Y = jnp.moveaxis(mode_risks[index], -1, 0)
            moved = jnp.einsum("iac,icb->iab", G, Y)
            moved = moved + jnp.swapaxes(moved, 1, 2) + decay[:, None, None] / (2 * self.d) * noise
            rate, target = self.law.relaxation(q)
            return jnp.concatenate([*(moved[:, a, b] for a, b in moving), rate * (target - m)])

        mode_risks = self.decay / 2 * evaluate_in_float64(self.stationary_moments, eta, R)
        fixed = mode_risks[len(moving) :]
        q = np.zeros(len(pairs))
        q[0] = 2 * R
        scalars = evaluate_in_float64(self.stationary_scalars, q)
        state = np.concatenate([mode_risks[: len(moving)].ravel(), scalars])
        # Relative perturbations, so that eigenvectors can be compared across units.
        sizes = [np.sqrt(np.abs(mode_risks[index[a, a]] * mode_risks[index[b, b]])) for a, b in moving]
        scale = np.concatenate([*sizes, np.abs(scalars)])
        jacobian = evaluate_in_float64(jax.jacfwd(field), state) * scale / scale[:, None]
        return slowest_in_risk(-jacobian, np.where(np.arange(state.size) < self.decay.size, scale, 0.0))


def _covariances(G: Float[Array, "m k k"], N: Float[Array, "m k k"]) -> Float[Array, "moments m"]:
    """Y with G Y + Y G' + N = 0, one row for each of ``moment_pairs(k)``."""
    k = G.shape[-1]
    if k == 1:
        return -(N / (2 * G))[:, 0, 0][None]
    if k == 2:
        return _two_by_two(G, N)
    operator = jnp.einsum("iac,be->iabce", G, jnp.eye(k)) + jnp.einsum("ibe,ac->iabce", G, jnp.eye(k))
    Y = jnp.linalg.solve(operator.reshape(-1, k**2, k**2), -N.reshape(-1, k**2, 1)).reshape(G.shape)
    return jnp.stack([Y[:, a, b] for a, b in moment_pairs(k)])


def _two_by_two(G: Float[Array, "m 2 2"], N: Float[Array, "m 2 2"]) -> Float[Array, "3 m"]:
    """Y with G Y + Y G' + N = 0: -(det(G) N + (G - tr(G) I) N (G - tr(G) I)') / (2 tr(G) det(G))."""
    trace, det = G[:, 0, 0] + G[:, 1, 1], G[:, 0, 0] * G[:, 1, 1] - G[:, 0, 1] * G[:, 1, 0]
    H = G - trace[:, None, None] * jnp.eye(2)
    Y = -(det[:, None, None] * N + H @ N @ jnp.swapaxes(H, 1, 2)) / (2 * trace * det)[:, None, None]
    return jnp.stack([Y[:, 0, 0], Y[:, 0, 1], Y[:, 1, 1]])


class MatrixBalance(Balance):
    """R / L(R) = 4 d R / sum_i N_ii(R) / phi_i(R) for a law that decouples in no coordinates.

    Let Z = D V D, a = diag(sigma_i^2 phi_i), S = a^1/2 Khat a^1/2 = Q Lambda Q' and Y = Q' a^-1/2 Z a^-1/2 Q. Then
    Lambda Y + Y Lambda = (eta/d) W with W = Q' a^-1/2 D N D a^-1/2 Q, and the risk is
    1/2 sum_i lambda_i Y_ii = eta tr(W) / (4d).

    If K is singular ``null`` is an orthonormal basis U of the null space of Khat. Noise along it is no part of the
    risk: tr(W) loses tr((U' a^-1 U)^-1 U' a^-1 D N D a^-1 U).

    With weight decay omega the risk is sum_i lambda_i (eta W_ii / (4d (lambda_i + omega)) + (omega c_i / (lambda_i +
    omega))^2 / 2), c = Q' a^-1/2 z*, and every R takes an eigenproblem.

    Attributes:
        pull: omega and z* = D theta*, for laws with weight decay.
    """

    law: ScalarLaw
    matrices: Matrices
    variance: Float[np.ndarray, " d"]
    d: float
    null: Float[np.ndarray, "d k"]
    pull: tuple[float, Float[np.ndarray, " d"]] | None = None

    def at_fixed_risk(self, R):
        """a(R) and D N(R) D."""
        a = self.law.drift_coefficients(R, jnp.zeros(0)) @ jnp.asarray(self.matrices.members)
        b = self.law.noise_coefficients(R, jnp.zeros(0))
        return self.variance * a, jnp.tensordot(b, jnp.asarray(self.matrices.noise), axes=1)

    def learning_rate(self, R):
        a, noise = self.at_fixed_risk(R)
        if self.pull is not None:
            return self._decayed_learning_rate(R, a, noise)
        total = jnp.sum(jnp.diag(noise) / a)
        if self.null.shape[1]:
            tilted = jnp.asarray(self.null) / a[:, None]
            total -= jnp.trace(jnp.linalg.solve(self.null.T @ tilted, tilted.T @ noise @ tilted))
        return 4 * self.d * R / total

    def _decayed_learning_rate(self, R, a, noise):
        (rate, target), root = self.pull, jnp.sqrt(a)
        values, Q = jnp.linalg.eigh(root[:, None] * self.matrices.khat * root)
        values, inward = jnp.maximum(values, 0.0), Q / root[:, None]
        W = jnp.sum(inward * (noise @ inward), axis=0)
        pulled = jnp.sum(values * (rate * (target @ inward) / (values + rate)) ** 2) / 2
        return 4 * self.d * (R - pulled) / jnp.sum(values * W / (values + rate))

    def slowest(self, eta, R):
        if self.pull is not None:
            raise ValueError(
                "problem must have a diagonal K for the rate of a rule with weight decay whose preconditioner changes "
                "with the risk"
            )
        return slowest_rate(*self.coupling(eta, R))

    def coupling(self, eta, R):
        """(a, w) of the diagonal of Y; the rest of Y does not act on the risk."""
        (a, noise), (a_slope, noise_slope) = value_and_slope(self.at_fixed_risk, R)
        root, khat = np.sqrt(a), self.matrices.khat
        values, Q = scipy.linalg.eigh(root[:, None] * khat * root)
        positive = values > values[-1] * values.size * np.finfo(float).eps
        values, inward = values[positive], Q[:, positive] / root[:, None]
        W = inward.T @ noise @ inward
        Y = eta / self.d * W / (values[:, None] + values[None, :])
        outward = root[:, None] * Q[:, positive]
        # d/dR of -eta (a Khat Z + Z Khat a) on the diagonal, Z = outward Y outward'.
        drift = np.einsum("ij,ij->j", inward * a_slope[:, None], khat @ outward @ Y)
        added = np.einsum("ij,ij->j", inward, noise_slope @ inward)
        return 2 * eta * values, values / 2 * (eta**2 / self.d * added - 2 * eta * drift)


def balance_of(problem, limit) -> Balance:
    """The balance of ``limit`` on ``problem``; its matrices are made once per problem and rule."""
    operators = operators_of(problem, limit)
    current = coordinates(problem, operators)
    if current is None:
        return _matrix_balance(problem, operators)
    own_modes = current.member_rates is None
    in_risk = current.decay > (current.decay.max() * problem.d * np.finfo(float).eps if own_modes else 0.0)
    decay, rates, forcing = current.decay[in_risk], current.rates[:, in_risk], current.forcing[:, in_risk]
    rows = forcing if current.target is None else np.concatenate([forcing, current.target[None, in_risk] ** 2])
    if own_modes:
        decay, rows = sum_over_equal(decay, rows)
        rates = decay[None]
    forcing, squares = (rows, None) if current.target is None else (rows[:-1], rows[-1])
    return ModeBalance(operators.law, decay, rates, forcing, float(problem.d), squares)


def _matrix_balance(problem, operators):
    made, variance = matrices_of(problem, operators), problem.covariance.std**2
    moving = variance > 0
    square = np.ix_(moving, moving)
    khat, noise = made.khat[square], made.noise[:, moving][:, :, moving]
    values, vectors = problem.cached("correlation_eigh", lambda: np.linalg.eigh(khat))
    null = vectors[:, values <= values[-1] * values.size * np.finfo(float).eps]
    few = made._replace(
        khat=khat, members=made.members[:, moving], noise=noise, dissipation=made.dissipation[:, :0, :0]
    )
    law, target = operators.law, (problem.covariance.std * problem.theta_star)[moving]
    pull = None if law.weight_decay == 0 else (law.weight_decay, target)
    return MatrixBalance(law.undecayed, few, variance[moving], float(problem.d), null, pull)


def sum_over_equal(rates: Float[np.ndarray, " m"], rows: Float[np.ndarray, "p m"]):
    """Distinct ``rates``, ascending, and the sums of ``rows`` over equal ones: modes of one rate act as one."""
    order = np.argsort(rates)
    ascending = rates[order]
    starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf) > EQUAL * ascending[-1])
    return ascending[starts], np.add.reduceat(rows[:, order], starts, axis=1)


def slowest_rate(a: Float[np.ndarray, " m"], w: Float[np.ndarray, " m"]) -> float:
    """The smallest real part among the roots r of 1 = sum_i w_i / (a_i - r)."""
    a, (w,) = sum_over_equal(a, w[None])
    w = np.where(np.abs(w) > EQUAL * a, w, 0.0)
    if np.any(w < 0):
        return slowest_in_risk(np.diag(a) - w[:, None], np.ones(a.size))
    free, coupled = a[w == 0], w > 0
    if not coupled.any():
        return float(a[0])
    first, total = np.flatnonzero(coupled)[0], w.sum()
    # The sum is at most 1 at a_1 - sum w, and at least 1 at a_1 - w_1.
    low, high = a[first] - total, a[first] - w[first]
    rate = brentq(lambda r: np.sum(w[coupled] / (a[coupled] - r)) - 1, low, high) if low < high else low
    return float(min([rate, *free[:1]]))


def slowest_in_risk(matrix: Float[np.ndarray, "m m"], risk: Float[np.ndarray, " m"]) -> float:
    """The smallest real part of the eigenvalues whose eigenvectors x have risk @ x != 0."""
    if matrix.shape[0] > LARGEST:
        raise ValueError(
            f"problem must have at most {LARGEST} distinct modes for a rule whose modes are coupled in this way, got "
            f"{matrix.shape[0]}"
        )
    rates, vectors = np.linalg.eig(matrix)
    in_risk = np.abs(risk @ vectors) > ROUNDING * np.abs(risk).sum()
    return float(rates.real[in_risk].min())


def value_and_slope(function, R: float):
    """``function(R)`` and its derivative in R, both in float64 NumPy."""
    with jax.ensure_compile_time_eval(), x64():
        pair = jax.jvp(function, (jnp.float64(R),), (jnp.float64(1.0),))
        return jax.tree.map(np.asarray, pair)
