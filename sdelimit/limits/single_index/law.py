"""The law of rules on problems with two overlaps, and how it follows from a rule (theory: section 20).

    d delta = -eta D^-p K (phi1 delta + phi0 theta*) dt + eta sqrt(sum_q psi_q N_q / d) dB,

so that the modes w of delta are pulled along those of theta*, w*, which stay as they are: v_i = (w_i, w*_i). The
coefficients depend on S2 = delta' K delta and X = delta' K theta*.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.law import CLOCK, Law
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.noise_kernel import GENERAL_BASIS, RHO, fit_kernel
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.single_index import coefficients
from sdelimit.limits.single_index.sampled import SampledTable, is_sampled, sampled_table, scaled_drifts
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.losses import Loss, OwnLoss
from sdelimit.problem.score_means import clipped_moments, histogram, moments
from sdelimit.problem.single_index import grid_of, moment_values
from sdelimit.problem.state_table import (
    Grid,
    PositiveTable,
    grid_to,
    resampled,
    state_table,
)

ROOM = 3.0
"""Tables reach to this many times the larger of s at the start and sd(u*)."""
KERNEL_STEP, KERNEL_ANGLES = 1.5, 5
"""Spacing and number of the nodes of kernels, which change slowly with the state."""
SAMPLED = 1.0, 8
"""The same of what is sampled."""
FINE_ANGLES = 17
LARGEST_SMOOTH = 5.0
"""Largest Var(u*) at which tables are accurate to 1e-4 for losses that bend where u is of order 1."""
OFF_AXIS = 1e-8
"""States are kept so far from c = +-1, where v and u* are the same variable."""
NEAREST = 1e-6
"""Where theta is theta* the law of l is that at this s."""
KERNELS = 7
"""States along a curve at which kernels are computed again."""


@dataclass(frozen=True)
class NormClip:
    """SGD whose gradient is clipped where its length over (tr K)^(1/2) exceeds ``threshold``."""

    threshold: float


@dataclass(frozen=True)
class Source:
    """What a law's tables are made of.

    Attributes:
        rule: None for SGD, a ``NormClip`` for that with clipping.
        loss, noise, B22, batch_size: the problem's.
        reach: the largest s of the tables.
        rough: whether they may be off by more than 1e-3 somewhere.
    """

    rule: object
    loss: Loss
    noise: object
    B22: float
    batch_size: int
    reach: float
    rough: bool

    @property
    def sd_target(self):
        return float(np.sqrt(self.B22))

    @property
    def sampled(self) -> SampledTable:
        """What histories say of rules that are sampled."""
        return _sampled_table(self.rule, self.loss, self.noise, self.B22, self.batch_size, self.reach)

    @property
    def along_gradient(self) -> bool:
        """Whether steps are multiples of the gradient."""
        return self.rule is None or isinstance(self.rule, NormClip)

    def wider(self, largest: float) -> "OverlapLaw":
        """The same law with tables that reach further."""
        return _law(self.rule, self.loss, self.noise, self.B22, self.batch_size, ROOM * largest)

    def exact(self, S2, X) -> Float[np.ndarray, "n 3"]:
        """phi1 s, phi0 sd(u*) and kappa(1) at the states, without tables."""
        s, sd = np.sqrt(np.maximum(S2, TINY)), self.sd_target
        c = np.clip(X / np.maximum(s * sd, TINY), -1 + OFF_AXIS, 1 - OFF_AXIS)
        if self.along_gradient:
            h1, h0, psi = _gradient_moments(self.rule, self.loss, self.noise, self.B22, s, c, self.batch_size)
            return np.stack([h1 * s, h0 * sd, psi], axis=1)
        rows = histogram(self.loss, self.noise, self.B22, s, c, self.batch_size)
        laws = [coefficients.law_at(rows, row) for row in range(s.size)]
        if is_sampled(self.rule):
            ratio, kappa = self.sampled.at(s, c)
            phi1, phi0 = per_overlap(scaled_drifts(self.rule, laws, ratio), s, c, sd)
            return np.stack([phi1 * s, phi0 * sd, kappa[-1]], axis=1)
        drifts = np.array([coefficients.drift(self.rule, law) for law in laws])
        phi1, phi0 = per_overlap(drifts, s, c, sd)
        few = np.unique(np.linspace(0, s.size - 1, KERNELS).astype(int))
        kappa = np.interp(np.arange(s.size), few, [coefficients.kernel(self.rule, laws[i])[-1] for i in few])
        return np.stack([phi1 * s, phi0 * sd, kappa], axis=1)


class OverlapLaw(Law):
    """dw_i = -eta lambda_i (phi1 w_i + phi0 w*_i) dt + noise, with tables of phi1, phi0 and psi.

    Attributes:
        coefficients: (S2, X) -> phi1, phi0, then psi unless ``noise_table`` has it.
        noise_table: (S2, X) -> psi; None if among ``coefficients``.
        source: what the tables are of: a ``Source``.
        correction: root of t -> what is added to the series of ``coefficients``, and the factor of psi, along one
            curve; None without.
        gain: the weight of a gradient in all updates together.
    """

    size: ClassVar[int] = 2
    has_target: ClassVar[bool] = True
    reads_overlaps: ClassVar[bool] = True
    coefficients: Callable
    noise_table: Callable | None
    power: int = eqx.field(static=True)
    basis: tuple[str, ...] = eqx.field(static=True)
    source: Aside = eqx.field(static=True)
    correction: PiecewisePolynomial | None = None
    gain: float = 1.0

    def values(self, S2, X, t):
        """phi1, phi0 and psi, at a gain of 1."""
        if self.correction is None:
            found = self.coefficients(S2, X)
            return found[:2], found[2:] if self.noise_table is None else self.noise_table(S2, X)
        missed = self.correction(jnp.sqrt(t))
        found = self.coefficients(S2, X, missed[:-1])
        return found[:2], (found[2:] if self.noise_table is None else self.noise_table(S2, X)) * missed[-1]

    def _time(self, m):
        return m[0] if self.correction is not None else jnp.zeros(())

    def drift(self, eta, q, m):
        (phi1, phi0), _ = self.values(q[0], q[1], self._time(m))
        return None, -eta * self.gain * jnp.array([[[phi1, phi0], [0.0, 0.0]]])

    def noise(self, eta, q, m):
        _, psi = self.values(q[0], q[1], self._time(m))
        return (eta * self.gain) ** 2 * psi[:, None, None] * jnp.array([[1.0, 0.0], [0.0, 0.0]])

    def effective_rates(self, q, m):
        return self.gain * self.values(q[0], q[1], self._time(m))[0][:1]

    def initial_scalars(self):
        return np.zeros(0 if self.correction is None else 1)

    def relaxation(self, q):
        if self.correction is None:
            return super().relaxation(q)
        return jnp.full(1, CLOCK), jnp.full(1, 1 / CLOCK)

    def initial_state(self, w0, target=None):
        return np.stack([w0, target])

    def widened(self, largest: float) -> "OverlapLaw":
        """This law, or one whose tables reach to s = ``largest``."""
        return self if largest <= self.source.value.reach else self.source.value.wider(largest)

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return self.source.value.batch_size

    @property
    def relative_error(self) -> float:
        """The largest relative standard error of sampled coefficients."""
        source = self.source.value
        return source.sampled.error if is_sampled(source.rule) else 0.0

    @property
    def linear_in_gradient(self):
        return self.source.value.rule is None

    @property
    def memoryless(self) -> "OverlapLaw":
        """The law of the same rule that takes the newest gradient alone: its own."""
        return self

    def settled_gain(self, eta, decay):
        return np.full_like(decay, self.gain)

    @property
    def nonlinearity(self):
        rule = self.source.value.rule
        return 0.0 if self.source.value.along_gradient else self.batch_size * max(0.25, rule.steps / 6)

    def drift_at_start(self, problem) -> tuple[float, float]:
        """phi1 and phi0 at theta0."""
        S2, X = problem.initial_overlaps
        phi1, phi0 = evaluate_in_float64(lambda a, b: self.coefficients(a, b)[:2], max(S2, TINY), X)
        return float(phi1), float(phi0)

    @property
    def is_rough(self) -> bool:
        """Whether tables are not known to be accurate everywhere, so that they are checked along a curve."""
        return self.source.value.rough

    def missed(self, t, S2, X) -> tuple["OverlapLaw", float]:
        """What tables miss at the states of a curve, (n,) each at times t whose roots are equally spaced.

        The law with that added, as a function of time, and the largest relative error of this one's coefficients.
        """
        source = self.source.value
        exact = source.exact(S2, X)
        own = evaluate_in_float64(jax.vmap(self._scaled), S2, X, t)
        plain = evaluate_in_float64(jax.vmap(replace(self, correction=None)._scaled), S2, X, t)
        size = np.abs(exact[:, :2]).sum(axis=1) + TINY
        error = np.max(np.abs(exact[:, :2] - own[:, :2]).sum(axis=1) / size)
        error = max(error, np.max(np.abs(own[:, -1] / exact[:, -1] - 1)))
        scale = (S2 + self.coefficients.origin)[:, None] ** (self.coefficients.powers / 2)
        per_overlap = np.stack([np.sqrt(S2), np.full_like(S2, max(source.sd_target, TINY))], axis=1)
        extra = np.zeros((t.size, scale.shape[1] + 1))
        extra[:, :2] = (exact[:, :2] - plain[:, :2]) / per_overlap / scale[:, :2]
        extra[:, -1] = exact[:, -1] / plain[:, -1]
        x = np.sqrt(t)
        correction = cubic_hermite(x, extra, PchipInterpolator(x, extra)(x, nu=1))
        return replace(self, correction=correction), float(error)

    def _scaled(self, S2, X, t):
        """phi1 s, phi0 sd(u*) and the sum of psi."""
        (phi1, phi0), psi = self.values(S2, X, t)
        return jnp.stack([phi1 * jnp.sqrt(S2), phi0 * self.source.value.sd_target, psi.sum()])


def overlap_law(rule, problem, batch_size: int) -> OverlapLaw:
    """The law of ``rule`` on a single-index problem; ``rule`` None is SGD, a ``NormClip`` that with clipping."""
    B22 = problem.target_variance
    start = float(np.sqrt(problem.initial_overlaps[0]))
    return _law(rule, problem.loss, problem.noise, B22, batch_size, ROOM * max(start, np.sqrt(B22), 1e-3))


@memoized
def _law(rule, loss: Loss, noise, B22: float, batch_size: int, largest: float) -> OverlapLaw:
    grid = grid_of(loss, noise, B22, largest)
    if isinstance(rule, NormClip):
        return _clipped_law(rule, loss, noise, B22, batch_size, grid)
    sgd = moment_values(loss, noise, B22, grid)
    origin = float(sgd[2, 0].mean())
    # Beyond that, tables are coarse where u or u* is of order 1; rules other than SGD have more to be coarse about.
    rough = B22 > LARGEST_SMOOTH or not loss.smooth
    source = Source(rule, loss, noise, B22, batch_size, float(np.exp(grid.log_s[-1])), rough)

    if not np.all(np.isfinite(sgd)):
        raise NoLimitError("loss must have a gradient of finite variance, got one that is not", "no rule has a limit")
    if rule is None and not np.isfinite(noise.second_moment) and isinstance(loss, OwnLoss) and loss.grows():
        raise NoLimitError(
            f"noise must have finite variance for SGD on a loss whose gradient grows with it, got {noise!r}",
            "its mean risk is infinite after one step",
        )
    _require_resolved(rule, loss, noise, B22, batch_size)
    if rule is None:
        values, powers = np.concatenate([sgd[:2], sgd[2:] / batch_size]), (0.0, 0.0, 2.0)
        exact = closed_form(loss, batch_size, np.sqrt(B22))
        table = exact or state_table(grid, values, powers, origin, np.sqrt(B22))
        return OverlapLaw(table, None, 0, ("rho",), Aside(replace(source, rough=source.rough and exact is None)))
    drifts, moving = _drift_values(rule, loss, noise, B22, batch_size, grid)
    if isinstance(rule, SignedRule) and rule.b.past * rule.b.decay == 0:
        values = np.concatenate([drifts, moving[None]])
        table = state_table(grid, values, (-1.0, -1.0, 0.0), origin, np.sqrt(B22))
        return OverlapLaw(table, None, 1, ("arcsin",), Aside(source))
    table = state_table(grid, drifts, (-1.0, -1.0), origin, np.sqrt(B22))
    psi = _noise_table(rule, loss, noise, B22, batch_size, grid)
    return OverlapLaw(table, psi, 1, GENERAL_BASIS, Aside(source))


def _clipped_law(rule, loss, noise, B22, batch_size, grid):
    """The law of clipping; its tables are checked along every curve."""
    _require_resolved(rule, loss, noise, B22, batch_size)
    found = _gradient_moments(rule, loss, noise, B22, *grid.states, batch_size)
    values = np.stack([part.reshape(grid.log_s.size, grid.c.size) for part in found])
    if not np.all(np.isfinite(values)):
        raise NoLimitError("loss must have a finite gradient, got one that is not", "no rule has a limit")
    origin = float(values[2, 0].mean())
    table = state_table(grid, values, (0.0, 0.0, 2.0), origin, np.sqrt(B22))
    source = Source(rule, loss, noise, B22, batch_size, float(np.exp(grid.log_s[-1])), True)
    return OverlapLaw(table, None, 0, ("rho",), Aside(source))


def _gradient_moments(rule, loss, noise, B22, s, c, batch_size):
    """h1, h0 and the mean square of a step's length over (tr K)^(1/2), (n,) each, of SGD and of clipping."""
    if rule is None:
        h1, h0, square = moments(loss, noise, B22, s, c)
        return h1, h0, square / batch_size
    return clipped_moments(loss, noise, B22, s, c, rule.threshold, batch_size)


def _require_resolved(rule, loss, noise, B22, batch_size):
    """NoLimitError unless nodes of eps are enough for an own loss: near theta* they may miss where l changes sign."""
    if not isinstance(loss, OwnLoss) or loss.of_residual or isinstance(noise, NoNoise):
        return
    s, c = NEAR * min(np.sqrt(B22), 1.0) if B22 > 0 else NEAR, np.zeros(NEAR.size)

    def pull(of):
        if rule is None or isinstance(rule, NormClip):
            return _gradient_moments(rule, of, noise, B22, s, c, batch_size)[0]
        laws = histogram(of, noise, B22, s, c, batch_size)
        plain = replace(rule, p=2) if is_sampled(rule) else rule
        return np.array([coefficients.drift(plain, coefficients.law_at(laws, row))[0] for row in range(s.size)]) / s

    many, fewer = pull(loss), pull(replace(loss, fewer_nodes=True))
    if not np.all(np.abs(many - fewer) <= UNRESOLVED * np.maximum(np.abs(many), np.abs(fewer))):
        raise NoLimitError(
            "loss must have a gradient in u that under this label noise changes sign smoothly, or depend on "
            f"u - u* - eps alone, got {loss} with {noise!r}",
            "its coefficients near theta* are not known here; simulate runs it",
        )


NEAR = np.array([0.3, 0.03, 0.003])
"""s, in units of the smaller of sd(u*) and 1, at which it is looked whether label noise has enough nodes."""
UNRESOLVED = 0.01


def _drift_values(rule, loss, noise, B22, batch_size, grid):
    """phi1 and phi0 at the states of a grid, (2, n, a), and the probability that a step is not 0, (n, a)."""
    s, c = grid.states
    laws = histogram(loss, noise, B22, s, c, batch_size)
    rows = [coefficients.law_at(laws, row) for row in range(s.size)]
    if is_sampled(rule):
        table = _sampled_table(rule, loss, noise, B22, batch_size, float(np.exp(grid.log_s[-1])))
        found = scaled_drifts(rule, rows, table.at(s, c)[0])
    else:
        found = np.array([coefficients.drift(rule, row) for row in rows])
    shape = grid.log_s.size, grid.c.size
    return np.stack(per_overlap(found, s, c, np.sqrt(B22))).reshape(2, *shape), laws.moving.reshape(shape)


def per_overlap(found: Float[np.ndarray, "n 2"], s, c, sd_target: float):
    """phi1 and phi0 from E[F Q] along z and u* / sd(u*)."""
    phi1 = found[:, 0] / (s * np.sqrt(1 - c**2))
    if sd_target == 0 or (np.all(c == 0) and not np.any(found[:, 1])):
        return phi1, np.zeros_like(phi1)
    return phi1, found[:, 1] / sd_target - c * s / sd_target * phi1


def _few_states(loss, B22, log_largest, step=KERNEL_STEP, angles=KERNEL_ANGLES) -> Grid:
    """States for what changes slowly."""
    few = grid_to(np.exp(log_largest), np.sqrt(B22), not loss.of_residual, step, angles)
    return Grid(few.log_s[few.log_s <= log_largest + step], few.c)


@memoized
def _sampled_table(rule, loss, noise, B22, batch_size, reach) -> SampledTable:
    """What histories say of ``rule`` on few states."""
    few = _few_states(loss, B22, np.log(reach), *SAMPLED)
    laws = histogram(loss, noise, B22, *few.states, batch_size)
    return sampled_table(rule, few, [coefficients.law_at(laws, i) for i in range(few.states[0].size)])


def _noise_table(rule, loss, noise, B22, batch_size, grid):
    """psi: kernels on few states, interpolated before they are written as sums of the basis."""
    if is_sampled(rule):
        table = _sampled_table(rule, loss, noise, B22, batch_size, float(np.exp(grid.log_s[-1])))
        few, kappa = table.grid, table.values[2:]
    else:
        few = _few_states(loss, B22, grid.log_s[-1])
        laws = histogram(loss, noise, B22, *few.states, batch_size)
        kappa = np.array([coefficients.kernel(rule, coefficients.law_at(laws, i)) for i in range(few.states[0].size)])
        kappa = np.moveaxis(kappa.reshape(few.log_s.size, few.c.size, RHO.size), -1, 0)
    angles = np.cos(np.linspace(0, np.pi, FINE_ANGLES)) if grid.c.size > 1 else np.zeros(1)
    fine = np.moveaxis(resampled(few, kappa, grid.log_s, angles), 0, -1)
    psi = np.array([[fit_kernel(RHO, np.maximum(one, 0.0)) for one in row] for row in fine])
    return PositiveTable(float(grid.log_s[0]), float(grid.log_s[1] - grid.log_s[0]), psi, float(np.sqrt(B22)))


def problem_law(problem, batch_size: int, S2: float, X: float) -> coefficients.Law:
    """The law of the gradient's length where delta' K delta = S2 and delta' K theta* = X."""
    s, sd = max(float(np.sqrt(S2)), NEAREST), np.sqrt(problem.target_variance)
    c = np.clip(X / max(s * sd, TINY), -1 + OFF_AXIS, 1 - OFF_AXIS)
    laws = histogram(problem.loss, problem.noise, problem.target_variance, [s], [float(c)], batch_size)
    return coefficients.law_at(laws, 0)


LEAST = 1e-3
"""Gradients are taken to matter until s has fallen by that factor."""


def smallest_slope(problem, batch_size: int) -> float:
    """The root mean square of l over a batch where theta is ``LEAST`` as far from theta* as at the start."""
    B22 = problem.target_variance
    start = max(np.sqrt(problem.initial_overlaps[0]), 1e-3)
    grid = grid_of(problem.loss, problem.noise, B22, ROOM * max(start, np.sqrt(B22)))
    square = moment_values(problem.loss, problem.noise, B22, grid)[2]
    return float(np.sqrt(square[np.exp(grid.log_s) >= LEAST * start].min() / batch_size))


class ClosedForm(eqx.Module):
    """h1, h0 and E l^2 / b of a loss that has them in closed form."""

    loss: Loss
    batch_size: float
    target_variance: float

    def __call__(self, S2: Float[Array, ""], X: Float[Array, ""]) -> Float[Array, "3"]:
        h1, h0, square = self.loss.moments(S2, X, self.target_variance)
        return jnp.stack([h1, h0, square / self.batch_size])


def closed_form(loss: Loss, batch_size: int, sd_target: float):
    """The ``ClosedForm`` of a loss, None if it has none."""
    known = type(loss).moments is not Loss.moments
    return ClosedForm(loss, float(batch_size), float(sd_target**2)) if known else None


def no_limit(name: str, problem):
    """What solvers raise for a rule whose limit on single-index problems is not known."""
    return NoLimitError(
        f"optimizer must be sgd (with momentum too), dana, clip_norm at a number, sign_sgd, signum, lion, rmsprop, "
        f"adam, nadam or s3 (eps = 0) on "
        f"{type(problem).__name__}, got {name}",
        "its limit on problems other than least squares is not known here; simulate runs it",
    )
