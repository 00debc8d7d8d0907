"""What single runs on problems with two overlaps have beside the noise matrices (theory: sections 18 and 20).

A step is u = A(l) x, or a sign of it. Given the scores of its sample the mean of x is K (delta T_1 + theta* T_2),
T = B^-1 (v, u*)', B their covariance, so that steps have along (K delta, K theta*) the covariance

    Gamma = E[A^2 T T'] - E[A^2] B^-1 - m m',      m = E[A T],

beside E[A^2] K; and lengths, in proportion to A^2, vary too and with A T. For batches all of it is divided by b. The
sign of l x has A = (2/pi)^(1/2) sign(l), and the length of its steps is fixed.
"""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.single_index.law import NormClip, OverlapLaw
from sdelimit.numerics.floors import TINY
from sdelimit.problem.losses import Clipped, OwnLoss
from sdelimit.problem.score_means import score_moments

NODES = 33
"""States along a curve at which means over scores are taken."""
NEAREST, OFF_AXIS = 1e-6, 1e-6
"""Smallest s, and distance of c from +-1, at which means over scores are taken."""


def knows_spread(law) -> bool:
    """Whether the spread of runs around the curve of ``law`` is known."""
    if not isinstance(law, OverlapLaw):
        return False
    rule, b = law.source.value.rule, law.batch_size
    signed = isinstance(rule, SignedRule) and rule.b.past * rule.b.decay == 0
    return rule is None or (b == 1 and (signed or isinstance(rule, NormClip)))


def beside_along(problem, law: OverlapLaw, decay, times: Float[np.ndarray, " n"], Y) -> Float[np.ndarray, "n 3 3"]:
    """The covariance of (step along w, along w*, relative length) at mean moments Y, (n, 3, d), of a curve.

    It is found at some of the ``times``, which do not fall, and by interpolation in their roots between.
    """
    rule, B22 = law.source.value.rule, problem.target_variance
    loss = Clipped(problem.loss, rule.threshold) if isinstance(rule, NormClip) else problem.loss
    S2, X = np.moveaxis(Y[:, :2] @ decay, -1, 0)
    x = np.sqrt(times)
    few = np.unique(np.linspace(0, x.size - 1, NODES).astype(int))
    few = few[np.concatenate([[True], np.diff(x[few]) > 1e-9 * x[-1]])]
    signs = isinstance(rule, SignedRule)
    found = np.stack([_beside(loss, problem.noise, B22, signs, S2[i], X[i]) for i in few]) / law.batch_size
    if few.size == 1:
        return np.repeat(found, x.size, axis=0)
    return PchipInterpolator(x[few], found)(np.clip(x, x[few[0]], x[few[-1]]))


def _beside(loss, noise, B22, signs, S2, X):
    s, sd = max(float(np.sqrt(max(S2, 0.0))), NEAREST), np.sqrt(B22)
    c = float(np.clip(X / max(s * sd, TINY), -1 + OFF_AXIS, 1 - OFF_AXIS)) if sd > 0 else 0.0
    one = score_moments(loss, noise, B22, s, c, signs)
    # From z and u* / sd(u*) to T: v = c s u* / sd(u*) + tau z.
    tau = s * np.sqrt(1 - c**2)
    turn = np.array([[1 / tau, 0.0], [-c * s / (sd * tau), 1 / sd]]) if sd > 0 else np.diag([1 / tau, 0.0])
    mean = turn @ one.mean
    found = np.zeros((3, 3))
    found[:2, :2] = turn @ one.second @ turn.T - np.outer(mean, mean)
    if not (signs or np.isfinite(noise.fourth_moment)) and isinstance(loss, OwnLoss) and loss.grows():
        return found  # lengths have no variance: single runs have jumps
    found[2, 2] = one.fourth / one.square**2 - 1
    found[:2, 2] = found[2, :2] = turn @ one.third / one.square - mean
    return found
