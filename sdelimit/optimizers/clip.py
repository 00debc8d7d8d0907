"""Clipping: of the gradient's norm, or of each of its coordinates."""

import numpy as np
import optax

from sdelimit.limits.exact.clip_coordinate import ClipCoordinateLimit
from sdelimit.limits.exact.clip_norm import clip_norm_limit
from sdelimit.numerics.memo import memoized
from sdelimit.optimizers.formula import ClipNormUpdate
from sdelimit.optimizers.optimizer import Optimizer, of_noise
from sdelimit.support import arguments as check


@memoized
def clip_norm(threshold: float) -> Optimizer:
    """Norm-clipped SGD: u = g min(1, C sqrt(tr K) / |g|) with C = ``threshold``.

    A gradient's norm is |l| sqrt(tr K) when d is large, so C clips the residual l. The limit has M = I,
    phi = mu(R) = P(|l| < C) and noise nu(R) K with nu = E[min(l^2, C^2)] (theory: section 8; arXiv:2406.11733),
    under any label noise, of infinite variance too. ``threshold`` > 0.

    Raises TypeError or ValueError if ``threshold`` is not a finite number > 0.

    >>> import sdelimit as sl
    >>> sl.clip_norm(1.5).name
    'clip_norm'
    """
    C = check.real("threshold", threshold, positive=True)

    def transform(problem, batch_size):
        return _clip_by_norm(C * np.sqrt(problem.covariance.trace))

    limit, formula = of_noise(clip_norm_limit, C), ClipNormUpdate(transform, C)
    return Optimizer("clip_norm", transform, limit, {"threshold": C}, formula=formula)


@memoized
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
    c = check.real("threshold", threshold, positive=True)
    return Optimizer("clip_coordinate", optax.clip(c), of_noise(ClipCoordinateLimit, c), {"threshold": c})


@memoized
def _clip_by_norm(radius):
    return optax.clip_by_global_norm(float(radius))
