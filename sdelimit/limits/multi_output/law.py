"""The law of rules on softmax regressions (theory: section 22), with coefficients that are functions of time.

    dw_i = -eta lambda_i (Phi1' w_i + Phi0' w*_i) dt + noise,        w_i and w*_i in R^m,

with the modes w_i of theta - theta* and w*_i of theta*, which stay as they are: v_i = (w_i, w*_i). The coefficients
depend on S = Delta' K Delta and X = Delta' K Theta*, too many numbers to tabulate. They are computed at the states of a
curve, taken as functions of time, and computed anew along the curve that these give, until nothing changes.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator, make_interp_spline

from sdelimit.limits.law import CLOCK, Law, moment_pairs
from sdelimit.limits.multi_output.coefficients import basis_of, drift_at, is_costly, noise_at
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.response import Aside
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.output_scores import softmax_moments

CELLS = 32
"""Between the times at which coefficients are known."""
KERNELS = 5
"""States along a curve at which noise is computed where that is costly."""
SETTLED = 0.03
"""Relative change of drifts from one curve to the next below which it is; and then when they change ten times less."""


@dataclass(frozen=True)
class Source:
    """What a law's coefficients are made of.

    Attributes:
        rule: None for SGD.
        soft: whether labels are probabilities.
        batch_size: samples of a step.
        B22: Theta*' K Theta*.
        start: S and X at theta0.
        settled: relative change of drifts from one curve to the next below which costly noise is computed anew.
    """

    rule: object
    soft: bool
    batch_size: int
    B22: Float[np.ndarray, "m m"]
    start: tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m m"]]
    settled: float = SETTLED

    def drifts(self, S, X) -> Float[np.ndarray, "n 2 m m"]:
        """Phi1 and Phi0 at the states S and X, (n, m, m) each."""
        given = self.B22, self.soft, self.batch_size
        return np.stack([np.stack(drift_at(self.rule, *state, *given)) for state in zip(S, X, strict=True)])

    def noises(self, S, X) -> Float[np.ndarray, "n q m m"]:
        """B_q at the states; where they are costly at ``KERNELS`` of them, and in between by interpolation."""
        n, given = len(S), (self.B22, self.soft, self.batch_size)
        few = np.arange(n)
        if is_costly(self.rule, self.batch_size):
            few = np.unique(np.linspace(0, n - 1, KERNELS).astype(int))
        found = np.stack([noise_at(self.rule, S[i], X[i], *given) for i in few])
        return found if few.size == n else make_interp_spline(few, found, k=1)(np.arange(n))


class OutputsLaw(Law):
    """The state of m outputs: v_i = (w_i, w*_i), 2m numbers. Subclasses give ``matrices``.

    ``outputs`` is m.
    """

    has_target: ClassVar[bool] = True
    reads_overlaps: ClassVar[bool] = True
    is_rough: ClassVar[bool] = False

    @property
    def size(self):
        return 2 * self.outputs

    def matrices(self, q, m):
        """Phi1 and Phi0, (m, m), and B_q of the basis, (q, m, m), in JAX."""
        raise NotImplementedError

    @property
    def observed_rows(self):
        pairs, m = moment_pairs(self.size), self.outputs
        own = [(a, b) for a in range(m) for b in range(a, m)]
        return np.array([pairs.index(pair) for pair in own + [(a, m + b) for a in range(m) for b in range(m)]])

    def covariance_of(self, q):
        """S, (m, m), in JAX."""
        m = self.outputs
        first, second = np.triu_indices(m)
        rows = q[self.observed_rows[: first.size]]
        return jnp.zeros((m, m)).at[first, second].set(rows).at[second, first].set(rows)

    def overlaps_of(self, rows):
        """S and X, (..., m, m), from the rows ``observed_rows`` along the last axis."""
        m = self.outputs
        upper = np.triu_indices(m)
        S = np.zeros((*rows.shape[:-1], m, m))
        S[..., upper[0], upper[1]] = S[..., upper[1], upper[0]] = rows[..., : upper[0].size]
        return S, rows[..., upper[0].size :].reshape(*rows.shape[:-1], m, m)

    def drift(self, eta, q, m):
        Phi1, Phi0, _ = self.matrices(q, m)
        return None, -eta * jnp.concatenate([jnp.hstack([Phi1.T, Phi0.T]), jnp.zeros((self.outputs, self.size))])[None]

    def noise(self, eta, q, m):
        own = (0, self.outputs)
        return eta**2 * jnp.pad(self.matrices(q, m)[2], [(0, 0), own, own])

    def effective_rates(self, q, m):
        return jnp.trace(self.matrices(q, m)[0])[None] / self.outputs

    def risk_noise(self, eta, q, m):
        return jnp.trace(self.noise(eta, q, m), axis1=1, axis2=2)

    def initial_state(self, w0, target=None):
        return np.concatenate([w0, target])


class PathLaw(OutputsLaw):
    """Coefficients along one curve, as functions of time; drifts of scale-free rules fall with a typical |l|.

    Attributes:
        count: m.
        path: root of t -> Phi1, Phi0, both times that length for scale-free rules, and B_q, in one row.
        weights: E|l|^2 of a soft label to first order in S, tr(H S H) with H = E[diag p* - p* p*'], as a sum over S_ab.
        origin: what hard labels add, tr H.
    """

    is_rough: ClassVar[bool] = True
    reaches_all: ClassVar[bool] = True
    rounds: ClassVar[int] = 24
    count: int = eqx.field(static=True)
    path: PiecewisePolynomial
    weights: Float[np.ndarray, "m m"]
    origin: float
    power: int = eqx.field(static=True)
    basis: tuple[str, ...] = eqx.field(static=True)
    source: Aside = eqx.field(static=True)

    @property
    def outputs(self):
        return self.count

    def matrices(self, q, m):
        k = self.outputs
        flat = self.path(jnp.sqrt(m[0]))
        square = jnp.sum(self.covariance_of(q) * self.weights) + self.origin
        drifts = flat[: 2 * k * k].reshape(2, k, k) * jnp.maximum(square, TINY) ** (-self.power / 2)
        return *drifts, flat[2 * k * k :].reshape(-1, k, k)

    def initial_scalars(self):
        return np.zeros(1)

    def relaxation(self, q):
        return jnp.full(1, CLOCK), jnp.full(1, 1 / CLOCK)

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return self.source.value.batch_size

    @property
    def linear_in_gradient(self):
        return self.source.value.rule is None

    @property
    def nonlinearity(self):
        rule = self.source.value.rule
        return 0.0 if rule is None else self.batch_size * max(0.25, rule.steps / 6)

    def drift_at_start(self, problem):
        """Phi1 and Phi0 at theta0."""
        S, X = self.source.value.start
        return tuple(self.source.value.drifts(S[None], X[None])[0])

    def missed(self, t, *rows) -> tuple["PathLaw", float]:
        """The law with coefficients along a curve of these overlaps at times t whose roots are equally spaced.

        And the largest relative difference from this one's coefficients there.
        """
        S, X = self.overlaps_of(np.stack(rows, axis=-1))
        size = np.maximum(np.sum(S * self.weights, axis=(1, 2)) + self.origin, TINY) ** (self.power / 2)
        drifts = (self.source.value.drifts(S, X) * size[:, None, None, None]).reshape(t.size, -1)
        own, count = evaluate_in_float64(self.path, np.sqrt(t)), drifts.shape[1]
        missed = self._missed_drift(drifts, own[:, :count], S, X)
        # Noise changes slowly, and where it is costly to compute it waits for the states to settle.
        source, noises = self.source.value, own[:, count:]
        if missed < source.settled or not is_costly(source.rule, source.batch_size):
            source = replace(source, settled=missed / 10)
            noises = source.noises(S, X).reshape(t.size, -1)
            size = np.linalg.norm(noises, axis=1) + TINY
            missed = max(missed, float(np.max(np.linalg.norm(noises - own[:, count:], axis=1) / size)))
        path = _along(np.sqrt(t), np.concatenate([drifts, noises], axis=1))
        return replace(self, path=path, source=Aside(source)), missed

    def _missed_drift(self, drifts, own, S, X):
        """The largest relative difference of mean steps along a curve, in the size E|Phi1' V + Phi0' U*|^2."""
        B22 = np.broadcast_to(self.source.value.B22, S.shape)
        overlaps = np.block([[S, X], [np.swapaxes(X, 1, 2), B22]])

        def steps(rows):
            Phi = rows.reshape(len(rows), -1, self.outputs)
            return np.sqrt(np.maximum(np.einsum("tab,tac,tcb->t", Phi, overlaps, Phi), 0.0))

        return float(np.max(steps(drifts - own) / (steps(drifts) + TINY)))


def _along(x, values):
    return cubic_hermite(x, values, PchipInterpolator(x, values)(x, nu=1))


def softmax_law(rule, problem, batch_size: int) -> PathLaw:
    """The law of ``rule`` on a softmax regression, with the coefficients at theta0; ``rule`` None is SGD."""
    S, X = problem.initial_overlaps
    source = Source(rule, problem.loss.soft, batch_size, problem.target_overlaps, (S, X))
    power, H = 0 if rule is None else 1, problem.label_covariance
    weights, origin = H @ H, 0.0 if problem.loss.soft else float(np.trace(H))
    size = max(np.sum(S * weights) + origin, TINY) ** (power / 2)
    flat = np.append(source.drifts(S[None], X[None]) * size, source.noises(S[None], X[None]))
    path = _along(np.linspace(0.0, 1.0, CELLS + 1), np.broadcast_to(flat, (CELLS + 1, flat.size)))
    return PathLaw(problem.outputs, path, weights, origin, power, basis_of(rule, batch_size), Aside(source))


LEAST = 1e-3
"""Gradients are taken to matter until theta is that fraction as far from theta* as at the start."""


def smallest_output_slope(problem, batch_size: int) -> float:
    """The smallest root mean square of l_a over a batch, there or at the start."""
    S, X = problem.initial_overlaps
    given = problem.target_overlaps, problem.loss.soft
    squares = [np.diag(softmax_moments(f**2 * S, f * X, *given)[2]).min() for f in (LEAST, 1.0)]
    return float(np.sqrt(min(squares) / batch_size))


def no_output_limit(name: str, problem):
    """What solvers raise for a rule whose limit on softmax regressions is not known."""
    return NoLimitError(
        f"optimizer must be SGD without momentum, sign_sgd, signum, lion, rmsprop, adam or nadam (eps = 0) on "
        f"{type(problem).__name__}, got {name}",
        "its limit for several outputs is not known here; simulate runs it",
    )
