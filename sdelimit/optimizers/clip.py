"""Clipping: of the gradient's norm, or of each of its coordinates."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from sdelimit.limits.exact.clip_coordinate import ClipCoordinateLimit
from sdelimit.limits.exact.clip_norm import clip_norm_limit
from sdelimit.limits.exact.scheduled_clip import scheduled_clip_limit
from sdelimit.limits.single_index.law import NormClip, no_limit
from sdelimit.numerics.jit import by_computation_in
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import x64
from sdelimit.optimizers.formula import ClipNormUpdate
from sdelimit.optimizers.named import named
from sdelimit.optimizers.optimizer import ByModel, Optimizer, of_noise, overlap_limit
from sdelimit.schedules import Constant, PositiveFunction
from sdelimit.support import arguments as check


@named
def clip_norm(threshold) -> Optimizer:
    """Norm-clipped SGD: u = g min(1, C sqrt(tr K) / |g|) with C = ``threshold``.

    A gradient's norm is |l| sqrt(tr K) when d is large, so C clips the residual l. The limit has M = I,
    phi = mu(R) = P(|l| < C) and noise nu(R) K with nu = E[min(l^2, C^2)] (theory: section 8; arXiv:2406.11733),
    under any label noise, of infinite variance too.

    With a function C(t) of t = steps/d step k clips at C(k/d), and the limit has mu and nu at C(t). Where the risk
    settles (``stationary_risk``) C is what the function gives at t = 1e12. The fused kernel and ``sl.data.solve_ode``
    know constant thresholds only. ``sl.optimal_clipping`` finds the function that lowers the risk the fastest.

    Args:
        threshold: C > 0, a number, or a function of t that JAX can trace, such as those of ``sl.schedules``; it must be
            finite and > 0 up to the horizon of whatever is solved or simulated, which raises a ValueError otherwise.

    Raises TypeError or ValueError if ``threshold`` is neither.

    >>> import sdelimit as sl
    >>> sl.clip_norm(1.5).name
    'clip_norm'
    >>> tighter = sl.clip_norm(sl.schedules.log_linear([0.0, 2.0], [4.0, 1.0]))
    >>> P = sl.LinearRegression(sl.covariance.identity(100), sl.noise.StudentT(3.0, 0.5))
    >>> bool(sl.solve_ode(P, tighter, lr=0.5, t_max=2.0).risk[-1] < P.initial_risk)
    True
    """
    if callable(threshold):
        return _of_function(threshold)
    C = check.scale("threshold", threshold)

    def transform(problem, batch_size):
        return _clip_by_norm(C * np.sqrt(problem.covariance.trace))

    limit = ByModel("clip_norm", of_noise(clip_norm_limit, C), overlap_limit(NormClip(C)))
    formula = ClipNormUpdate(transform, C)
    return Optimizer("clip_norm", transform, limit, {"threshold": C}, formula=formula)


def _of_function(threshold):
    """Clipping at a function of t, which is read anew whenever something is solved or simulated."""
    C = PositiveFunction.single(threshold, "threshold").require_concrete("clip_norm")
    if isinstance(C.schedule, Constant):
        return clip_norm(C.schedule.value)

    def transform(problem, batch_size):
        with x64():
            schedule = by_computation_in(C.schedule)
        return _clip_by_norm_of_t(schedule, np.sqrt(problem.covariance.trace), problem.d)

    def single_index(problem, batch_size):
        raise no_limit("clip_norm with a function of t as its threshold", problem)

    limit = ByModel("clip_norm", of_noise(scheduled_clip_limit, C.schedule), single_index)
    return Optimizer("clip_norm", transform, limit, {"threshold": threshold}, scheduled=(C,))


@named
def clip_coordinate(threshold: float) -> Optimizer:
    """Coordinate-clipped SGD: u_i = clip(g_i, -c, c) with c = ``threshold``.

    Not scale-free: the drift phi_i(R) and the noise of a coordinate depend on sigma_i / c as well as on the risk, so
    the risk ODE is that of the d x d matrix E[delta delta'] unless K is diagonal (theory: section 9;
    arXiv:2306.00204). It tends to SGD as c grows and to c times signSGD as c -> 0. Works under any label noise.
    ``threshold`` > 0.

    Raises TypeError or ValueError if ``threshold`` is not a finite number > 0.

    >>> import sdelimit as sl
    >>> sl.clip_coordinate(0.5).name
    'clip_coordinate'
    """
    c = check.scale("threshold", threshold)
    return Optimizer("clip_coordinate", optax.clip(c), of_noise(ClipCoordinateLimit, c), {"threshold": c})


@memoized
def _clip_by_norm(radius):
    return optax.clip_by_global_norm(float(radius))


class StepCount(NamedTuple):
    """How many steps were taken."""

    steps: Int[Array, ""]


@memoized
def _clip_by_norm_of_t(threshold, root_trace, d):
    """Clipping of step k at threshold(k / d) times ``root_trace``."""

    def init(params):
        return StepCount(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        with x64():  # JAX 0.10 cannot compile a function that holds float64 arrays into a float32 program
            C = threshold(jnp.asarray(state.steps, jnp.float64) / d)
        radius = jnp.asarray(C, updates.dtype) * float(root_trace)
        clipped, _ = optax.clip_by_global_norm(radius).update(updates, optax.EmptyState())
        return clipped, StepCount(state.steps + 1)

    return optax.GradientTransformation(init, update)
