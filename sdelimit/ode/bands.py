"""The standard deviation of a single run's risk along a curve, when it is asked for (theory: section 18)."""

import itertools
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import operators_of
from sdelimit.modes.decoupled import coordinates, noise_coordinates
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.jit import by_computation_in, shared_size
from sdelimit.numerics.precision import x64
from sdelimit.ode.integrate import Stepping, integrate, states
from sdelimit.ode.modes import mode_system
from sdelimit.ode.spread import Along, spread_between_modes, spread_of_risk
from sdelimit.ode.system import System
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.schedules import LearningRate

PROBE = 257
"""Times at which the risk is looked at to place the steps."""
STEPS = 128
"""Steps, beside those that end at the times asked for: equal ones in t^(1/2) / T^(1/2) + |change of log R|."""
SHARED_STEPS, SHARED_OUTPUTS = 64, 8
"""Steps and outputs are padded to multiples of these; see ``shared_size``."""
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

    def std(self, exact: bool) -> Float[np.ndarray, "*m n"]:
        """The standard deviation of R at every time, for each learning rate; infinite from a divergence on.

        ``exact`` keeps the moments E[w_i w_j] of different modes.
        """
        if exact not in self.found:
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

    def std(self, exact):
        """As of a ``Spread``."""
        return self.spread.std(exact)[self.index]


def variance(spread: Spread, lr: LearningRate, exact: bool) -> Float[np.ndarray, " n"]:
    """Var R at the times of ``spread`` for one learning rate."""
    problem, times = spread.problem, spread.times
    operators = operators_of(problem, spread.limit)
    found = noise_coordinates(problem, operators) if exact else (coordinates(problem, operators), None)
    if found is None or found[0] is None:
        raise NotImplementedError("dense")
    current, factors = found
    scan = lr.scan(times)
    stepping = Stepping.along(scan, *spread.optimizer.scans(times))
    system = mode_system(current, operators.law, problem.d, times, spread.rtol, spread.atol, scan.eta)
    edges = _edges(lr, system, stepping, times)
    along, finite = _along(lr, system, stepping, edges)
    steps = np.searchsorted(edges, times) - 1
    wanted = np.flatnonzero((steps >= 0) & finite[np.maximum(steps, 0)])
    result = np.where((steps >= 0) & ~finite[np.maximum(steps, 0)], np.inf, 0.0)
    padded = replace(system, times=system.times[:1]).with_shared_shapes()
    block = max(LARGEST_BLOCK // max(along.Y[0].size, 1), SHARED_OUTPUTS)
    for part in np.array_split(wanted, max(1, -(-wanted.size // block))):
        starts = np.full(shared_size(part.size, SHARED_OUTPUTS), -1)
        starts[: part.size] = steps[part]
        value, means = spread_of_risk(padded, float(problem.d), along, starts, exact)
        result[part] = np.asarray(value)[: part.size]
        if exact and factors is not None:
            matrices = np.stack([np.diag(f**2) if f.ndim == 1 else f @ f.T for f in factors]) / problem.d
            v0, extra = operators.law.initial_state(current.w0), padded.decay.size - current.decay.size
            v0, matrices = np.pad(v0, ((0, 0), (0, extra))), np.pad(matrices, ((0, 0), (0, extra), (0, extra)))
            result[part] += np.asarray(spread_between_modes(padded, v0, along, matrices, means))[: part.size]
    return result


def _edges(lr, system: System, stepping: Stepping, times):
    """Ends of steps, the times among them."""
    end = times[-1]
    probe = end * np.linspace(0.0, 1.0, PROBE) ** 2
    risk = integrate(lr, replace(system, times=probe), stepping, False)["risk"]
    log_R = np.log(np.where(np.isfinite(risk), np.maximum(risk, TINY_RISK), 1.0))
    moved = np.abs(np.diff(log_R)) * np.isfinite(risk[1:])
    clock = np.linspace(0.0, 1.0, PROBE) + np.concatenate([[0.0], np.cumsum(moved)])
    graded = np.interp(np.linspace(0.0, clock[-1], STEPS + 1), clock, probe)
    breaks = np.zeros(0) if stepping.breaks is None else stepping.breaks[stepping.breaks < end]
    fixed = np.unique(np.concatenate([[0.0], times, breaks]))
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
