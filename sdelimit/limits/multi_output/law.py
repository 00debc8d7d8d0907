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
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.law import CLOCK, Law, moment_pairs
from sdelimit.limits.multi_output.coefficients import Coefficients, basis_of, coefficients
from sdelimit.limits.response import Aside
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.output_scores import softmax_moments

CELLS = 32
"""Between the times at which coefficients are known."""


@dataclass(frozen=True)
class Source:
    """What a law's coefficients are made of.

    Attributes:
        rule: None for SGD.
        soft: whether labels are probabilities.
        batch_size: samples of a step.
        B22: Theta*' K Theta*.
        start: S and X at theta0.
    """

    rule: object
    soft: bool
    batch_size: int
    B22: Float[np.ndarray, "m m"]
    start: tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m m"]]

    def at(self, S, X) -> Coefficients:
        """The coefficients at one state."""
        return coefficients(self.rule, S, X, self.B22, self.soft, self.batch_size)


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
    """Coefficients along one curve, as functions of time; scale-free drifts in proportion to (tr S + origin)^(-1/2).

    Attributes:
        count: m.
        path: root of t -> Phi1, Phi0, both times (tr S + origin)^(1/2) for scale-free rules, and B_q, in one row.
        origin: tr S at which label noise and signal are as large.
    """

    is_rough: ClassVar[bool] = True
    count: int = eqx.field(static=True)
    path: PiecewisePolynomial
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
        drifts = flat[: 2 * k * k].reshape(2, k, k) * self._size(q) ** -float(self.power)
        return *drifts, flat[2 * k * k :].reshape(-1, k, k)

    def _size(self, q):
        trace = sum(q[row] for row in self.risk_rows)
        return jnp.sqrt(jnp.maximum(trace + self.origin, TINY))

    def initial_scalars(self):
        return np.zeros(1)

    def relaxation(self, q):
        return jnp.full(1, CLOCK), jnp.full(1, 1 / CLOCK)

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return self.source.value.batch_size

    @property
    def nonlinearity(self):
        rule = self.source.value.rule
        return 0.0 if rule is None else self.batch_size * max(0.25, rule.steps / 6)

    def drift_at_start(self, problem):
        """Phi1 and Phi0 at theta0."""
        return self.source.value.at(*self.source.value.start)[:2]

    def missed(self, t, *rows) -> tuple["PathLaw", float]:
        """The law with coefficients along a curve of these overlaps at times t whose roots are equally spaced.

        And the largest relative difference from this one's coefficients there.
        """
        S, X = self.overlaps_of(np.stack(rows, axis=-1))
        exact = [self.source.value.at(*state) for state in zip(S, X, strict=True)]
        size = np.sqrt(np.maximum(np.trace(S, axis1=1, axis2=2) + self.origin, TINY)) ** self.power
        flat = np.stack([_flat(*each, one) for each, one in zip(exact, size, strict=True)])
        own = evaluate_in_float64(self.path, np.sqrt(t))
        return replace(self, path=_along(np.sqrt(t), flat)), self._difference(flat, own, S, X)

    def _difference(self, flat, own, S, X):
        """The largest relative difference of mean steps, E|Phi1' V + Phi0' U*|^2, or of noise along a curve."""
        count = 2 * self.outputs**2
        B22 = np.broadcast_to(self.source.value.B22, S.shape)
        overlaps = np.block([[S, X], [np.swapaxes(X, 1, 2), B22]])

        def steps(rows):
            Phi = rows[:, :count].reshape(len(rows), -1, self.outputs)
            return np.sqrt(np.maximum(np.einsum("tab,tac,tcb->t", Phi, overlaps, Phi), 0.0))

        parts = [(steps(flat - own), steps(flat))]
        parts.append([np.linalg.norm(rows[:, count:], axis=1) for rows in (flat - own, flat)])
        return float(max(np.max(missed / (size + TINY)) for missed, size in parts))


def _flat(Phi1, Phi0, psi, size):
    return np.concatenate([Phi1.ravel() * size, Phi0.ravel() * size, psi.ravel()])


def _along(x, values):
    return cubic_hermite(x, values, PchipInterpolator(x, values)(x, nu=1))


def softmax_law(rule, problem, batch_size: int) -> PathLaw:
    """The law of ``rule`` on a softmax regression, with the coefficients at theta0; ``rule`` None is SGD."""
    S, X = problem.initial_overlaps
    source = Source(rule, problem.loss.soft, batch_size, problem.target_overlaps, (S, X))
    first, power, trace = source.at(S, X), 0 if rule is None else 1, float(np.trace(S))
    origin = 0.0 if problem.loss.soft else _origin(problem, trace)
    flat = _flat(*first, np.sqrt(max(trace + origin, TINY)) ** power)
    path = _along(np.linspace(0.0, 1.0, CELLS + 1), np.broadcast_to(flat, (CELLS + 1, flat.size)))
    return PathLaw(problem.outputs, path, origin, power, basis_of(rule, batch_size), Aside(source))


def _origin(problem, trace):
    """tr S at which E|l|^2 is twice that at theta*, were it to grow in proportion."""
    start, there = problem.initial_slope**2, problem.target_slope**2
    return trace * there / max(start - there, 1e-3 * there) if trace > 0 else 1.0


LEAST = 1e-3
"""Gradients are taken to matter until theta is that fraction as far from theta* as at the start."""


def smallest_output_slope(problem, batch_size: int) -> float:
    """The smallest root mean square of l_a over a batch, there or at the start."""
    S, X = problem.initial_overlaps
    given = problem.target_overlaps, problem.loss.soft
    squares = [np.diag(softmax_moments(f**2 * S, f * X, *given)[2]).min() for f in (LEAST, 1.0)]
    return float(np.sqrt(min(squares) / batch_size))
