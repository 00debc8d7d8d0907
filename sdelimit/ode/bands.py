"""The standard deviation of a single run's risk along a curve, when it is asked for (theory: section 18)."""

import itertools
import warnings
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.law import operators_of
from sdelimit.limits.single_index.spread import beside_along
from sdelimit.modes.decoupled import coordinates, noise_coordinates
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.jit import by_computation_in, shared_size
from sdelimit.numerics.precision import x64
from sdelimit.ode.integrate import Stepping, integrate, states
from sdelimit.ode.limit_curve import refined_limit
from sdelimit.ode.matrix import matrix_system
from sdelimit.ode.modes import mode_system
from sdelimit.ode.spread import Along, spread_between_modes, spread_of_risk
from sdelimit.ode.spread_matrix import largest_drifts, spread_of_matrices
from sdelimit.ode.system import System
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.results.trust import UNKNOWN_SPREAD, LimitWarning
from sdelimit.schedules import LearningRate

PROBE = 257
"""Times at which the risk is looked at to place the steps."""
STEPS = 128
"""Steps, beside those that end at outputs: equal ones in t^(1/2) / T^(1/2) + |change of log R|."""
SHARED_STEPS, SHARED_OUTPUTS = 64, 8
"""Steps and outputs are padded to multiples of these; see ``shared_size``."""
MOST_OUTPUTS = 48
"""At most so many outputs; between them Var R / R^2 is interpolated, to about 1e-3."""
FEW_OUTPUTS, REACH, MOST_PIECES = 24, 0.7, 16
"""Where nothing decouples: at most about so many outputs, the largest decay of a step, and into how many one is cut."""
LARGEST_MATRICES = 2**28
"""Numbers that all moments of a d x d system may take."""
LARGEST_BLOCK = 2**23
"""Numbers that dR/dy of all outputs may take at once: more outputs are taken in several passes."""


@dataclass(frozen=True, eq=False)
class Spread:
    """What the spread of single runs around a curve of ``solve_ode`` follows from; nothing is computed before ``std``.

    Attributes:
        problem, optimizer, limit, lr, times, rtol, atol: those of the curve.
    """

    problem: LinearRegression
    optimizer: Optimizer
    limit: object
    lr: LearningRate
    times: Float[np.ndarray, " n"]
    rtol: float
    atol: float | None
    found: dict = field(default_factory=dict, repr=False)

    def __getstate__(self):
        return {**vars(self), "found": {}}

    @property
    def covers_aligned(self) -> bool:
        """Paths of rules that are linear in the gradient are those of the limit, whatever their features."""
        return self.limit.gradient_batch is not None

    def std(self, exact: bool) -> Float[np.ndarray, "*m n"]:
        """The standard deviation of R at every time, for each learning rate; infinite from a divergence on.

        ``exact`` keeps the moments E[w_i w_j] of different modes.
        """
        if exact not in self.found:
            if not self.limit.reads_overlaps and self.limit.with_spread().fluctuations is None:
                text = f"the spread of {self.optimizer.name} on {type(self.problem).__name__}: {UNKNOWN_SPREAD}"
                warnings.warn(text, LimitWarning, stacklevel=4)
            if self.lr.count is None:
                self.found[exact] = self._of(self.lr, exact)
            else:
                each = [LearningRate.of(float(value)) for value in self.lr.at(self.times[:1])[:, 0]]
                self.found[exact] = np.stack([self._of(one, exact) for one in each])
            self.found[exact].setflags(write=False)
        return self.found[exact]

    def select(self, index: int) -> "OneOf":
        """The spread of one learning rate of several."""
        return OneOf(self, index)

    def _of(self, lr, exact):
        with x64():
            return np.sqrt(np.maximum(variance(self, lr, exact), 0.0))


@dataclass(frozen=True, eq=False)
class OneOf:
    """The spread of one learning rate of several."""

    spread: Spread
    index: int

    @property
    def covers_aligned(self):
        """As of a ``Spread``."""
        return self.spread.covers_aligned

    def std(self, exact):
        """As of a ``Spread``."""
        return self.spread.std(exact)[self.index]


def variance(spread: Spread, lr: LearningRate, exact: bool) -> Float[np.ndarray, " n"]:
    """Var R at the times of ``spread`` for one learning rate."""
    problem, times, limit = spread.problem, spread.times, spread.limit
    if limit.reads_overlaps:
        given = {"batch_size": limit.batch_size, "rtol": spread.rtol, "atol": spread.atol, "save_modes": False}
        limit = refined_limit(problem, spread.optimizer, limit, lr, times, given)
    operators = operators_of(problem, limit.with_spread())
    found = noise_coordinates(problem, operators) if exact else (coordinates(problem, operators), None)
    scan = lr.scan(times)
    stepping = Stepping.along(scan, *spread.optimizer.scans(times))
    if found is None or found[0] is None:
        system = matrix_system(problem, operators, times, spread.rtol, spread.atol, scan.eta)
        return _variance_of_matrices(lr, system, stepping, times, spread.optimizer.name)
    current, factors = found
    system = mode_system(current, operators.law, problem.d, times, spread.rtol, spread.atol, scan.eta)
    probe, clock = _clock(lr, system, stepping)
    outputs = _outputs(times, probe, clock, MOST_OUTPUTS)
    edges = _edges(stepping, outputs, probe, clock)
    along, finite = _along(lr, system, stepping, edges)
    steps = np.searchsorted(edges, outputs) - 1
    wanted = np.flatnonzero(finite[steps])
    slopes = np.zeros((outputs.size, along.Y.shape[1]))
    slopes[:, 0] = 0.5
    if limit.reads_overlaps:
        overlaps = integrate(lr, replace(system, times=outputs), stepping, False)["overlaps"]
        for i in wanted:  # of the excess risk in S2 and X
            h1, h0, _ = problem.moments_at(*overlaps[i])
            slopes[i, 0], slopes[i, operators.law.size - 1] = h1 / 2, h0
    result = np.full(outputs.size, np.inf)
    padded = replace(system, times=system.times[:1]).with_shared_shapes()
    if limit.reads_overlaps:
        reached = finite.size if finite.all() else int(np.argmin(finite))
        middle = np.cumsum(along.h) - along.h / 2
        own = beside_along(problem, limit.undecayed, padded.decay, middle[:reached], along.Y[:reached])
        along = along._replace(beside=np.pad(own, ((0, finite.size - reached), (0, 0), (0, 0))))
    block = max(LARGEST_BLOCK // max(along.Y[0].size, 1), SHARED_OUTPUTS)
    for part in np.array_split(wanted, max(1, ceil_div(wanted.size, block))):
        starts = np.full(shared_size(max(part.size, 1), SHARED_OUTPUTS), -1)
        starts[: part.size] = steps[part]
        at_ends = np.zeros((starts.size, along.Y.shape[1]))
        at_ends[: part.size] = slopes[part]
        value, means = spread_of_risk(padded, float(problem.d), along, starts, at_ends, exact)
        result[part] = np.asarray(value)[: part.size]
        if exact and factors is not None:
            matrices = np.stack([np.diag(f**2) if f.ndim == 1 else f @ f.T for f in factors]) / problem.d
            v0, extra = operators.law.initial_state(current.w0, current.target), padded.decay.size - current.decay.size
            v0, matrices = np.pad(v0, ((0, 0), (0, extra))), np.pad(matrices, ((0, 0), (0, extra), (0, extra)))
            result[part] += np.asarray(spread_between_modes(padded, v0, along, matrices, means))[: part.size]
    return _at_times(lr, system, stepping, outputs, result, times)


def _variance_of_matrices(lr, system, stepping, times, name):
    """``variance`` where nothing decouples."""
    if system.target is not None:
        raise ValueError(
            f"the spread of {name}, with weight decay, on a covariance that is not diagonal is not known: solve_sde "
            "draws paths"
        )
    d, end = system.decay.size, times[-1]
    top = np.linalg.eigvalsh(system.matrices.khat * np.sqrt(np.outer(system.decay, system.decay)))[-1]
    probe, clock = _clock(lr, system, stepping)
    outputs = _outputs(times, probe, clock, FEW_OUTPUTS)
    edges = _edges(stepping, outputs, probe, clock)
    while True:  # steps in which the fastest mode decays by half at most
        middle = (edges[1:] + edges[:-1]) / 2
        count = shared_size(middle.size, SHARED_STEPS)
        padded = np.concatenate([middle, np.full(count + 1 - middle.size, end)])
        y = states(by_computation_in(lr.schedule), replace(system, times=padded), stepping)
        Z, eta = np.asarray(y)[:-1], lr.at(padded[:-1])
        finite = np.logical_and.accumulate(np.isfinite(Z).all(axis=(1, 2)))
        Z = np.where(finite[:, None, None], Z, 0.0)
        h = np.pad(np.diff(edges), (0, count - middle.size))
        strength = np.asarray(largest_drifts(system, Z)) * eta
        pieces = np.clip(np.where(finite, np.ceil(h * strength * top / REACH), 1), 1, MOST_PIECES)
        pieces = pieces[: middle.size].astype(int)
        if pieces.max() == 1 or edges.size > STEPS * MOST_PIECES:
            break
        if (pieces.sum() + 1) * d**2 > LARGEST_MATRICES:
            raise ValueError(
                f"the spread of {name} on a covariance that is not diagonal takes {pieces.sum()} matrices of {d} x {d} "
                "here: solve_sde draws paths"
            )
        parts = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(edges[:-1], edges[1:], pieces, strict=True)]
        edges = np.append(np.concatenate(parts), end)
    steps = np.searchsorted(edges, outputs * (1 - 1e-12)) - 1
    starts = np.pad(steps, (0, shared_size(steps.size, SHARED_OUTPUTS) - steps.size), constant_values=-1)
    single = replace(system, times=system.times[:1])
    value = np.asarray(spread_of_matrices(single, h, eta, Z, starts))[: steps.size]
    value = np.where(finite[steps], value, np.inf)
    return _at_times(lr, system, stepping, outputs, value, times)


def _at_times(lr, system, stepping, outputs, variance, times):
    """The variance at ``times`` from that at ``outputs``: the same, or by interpolation of Var R / R^2."""
    if np.isin(times[times > 0], outputs).all():
        return np.array([0.0 if t == 0 else variance[np.searchsorted(outputs, t)] for t in times])
    known = np.isfinite(variance)
    nodes = np.concatenate([[0.0], outputs[known]])
    together = np.unique(np.concatenate([nodes, times]))
    risk = integrate(lr, replace(system, times=together), stepping, False)["risk"]
    square = np.where(np.isfinite(risk), risk, 0.0) ** 2
    here, there = np.searchsorted(together, nodes[1:]), np.searchsorted(together, times)
    relative = np.divide(variance[known], square[here], out=np.zeros(here.size), where=square[here] > 0)
    if not relative.size:
        return np.where(times > 0, np.inf, 0.0)
    value = PchipInterpolator(nodes, np.concatenate([[0.0], relative]))(times) * square[there]
    return np.where(times > nodes[-1], np.inf, value)


def _clock(lr, system: System, stepping: Stepping):
    """(times, clock): t^(1/2) / T^(1/2) + |change of log R|, from 0 to T."""
    probe = system.times[-1] * np.linspace(0.0, 1.0, PROBE) ** 2
    risk = integrate(lr, replace(system, times=probe), stepping, False)["risk"]
    log_R = np.log(np.where(np.isfinite(risk), np.maximum(risk, TINY_RISK), 1.0))
    moved = np.abs(np.diff(log_R)) * np.isfinite(risk[1:])
    return probe, np.linspace(0.0, 1.0, PROBE) + np.concatenate([[0.0], np.cumsum(moved)])


def _outputs(times, probe, clock, most):
    """Times after 0 to find the variance at: ``times`` themselves if they are at most ``most``."""
    later = times[times > 0]
    if later.size <= most:
        return later
    return np.append(np.interp(np.linspace(0.0, clock[-1], most + 1)[1:-1], clock, probe), times[-1])


def _edges(stepping: Stepping, outputs, probe, clock):
    """Ends of steps, the outputs among them."""
    end = probe[-1]
    graded = np.interp(np.linspace(0.0, clock[-1], STEPS + 1), clock, probe)
    breaks = np.zeros(0) if stepping.breaks is None else stepping.breaks[stepping.breaks < end]
    fixed = np.unique(np.concatenate([[0.0], outputs, breaks, [end]]))
    # Of the graded ones those that shorten a step by a tenth at least.
    pieces = [fixed]
    for low, high in itertools.pairwise(fixed):
        inside = graded[(graded > low + 0.1 * (high - low)) & (graded < high - 0.1 * (high - low))]
        pieces.append(inside)
    return np.unique(np.concatenate(pieces))


def _along(lr, system, stepping, edges):
    """The mean solution over the steps between ``edges``, padded, and which of them it reaches."""
    middle = (edges[1:] + edges[:-1]) / 2
    at = np.stack([edges[:-1], middle, edges[1:]], axis=1)
    count = shared_size(middle.size, SHARED_STEPS)
    fine = np.concatenate([[0.0], at[:, 1:].ravel()])
    fine = np.pad(fine, (0, 2 * (count - middle.size)), mode="edge")
    wide = replace(system, times=fine[:1]).with_shared_shapes()
    y = states(by_computation_in(lr.schedule), replace(wide, times=fine), stepping)
    moments, scalars = jax.vmap(wide.split)(y)
    Y, m = np.asarray(moments) / wide.weight, np.asarray(scalars)
    finite = np.isfinite(Y).all(axis=(1, 2)) & np.isfinite(m).all(axis=1)
    reached = finite[2::2] & finite[:-1:2] & finite[1::2]
    average = lambda x: (x[:-1:2] + 4 * x[1::2] + x[2::2]) / 6  # noqa: E731
    eta = np.pad(lr.at(middle), (0, count - middle.size), mode="edge")
    h = np.pad(np.diff(edges), (0, count - middle.size), constant_values=1e-30)
    Y, m = (np.where(np.isfinite(x), x, 0.0) for x in (average(Y), average(m)))
    return Along(h, eta, Y, m), np.logical_and.accumulate(reached)
