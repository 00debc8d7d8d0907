"""Means over the scores, and the law of |l|, at one state of a single-index problem (theory: section 20).

The state is s = sd(v) and c = corr(v, u*), v = u - u* = <x, theta - theta*>, with B22 = Var(u*) fixed. With
v = (c s / sd(u*)) u* + tau z, tau = s sqrt(1 - c^2), every limit follows from means of the form E[f(l) l v_perp] and
E[f(l) l u*], v_perp = tau z:

    phi1 = E[f(l) l v_perp] / tau^2,      phi0 = phi1 + phi2 = (E[f(l) l u*] - X phi1) / B22,      X = c s sd(u*).

They need l alone, no derivative of it, so that it may jump, and hold for random labels as they are.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.losses import KINKS, Clipped, Loss, Residual

ORDER = 8
"""Gauss-Legendre points of a panel."""
NORMAL = np.array([-8.5, -6.0, -4.0, -2.5, -1.25, 0.0, 1.25, 2.5, 4.0, 6.0, 8.5])
"""Edges of panels, in standard deviations of a normal variable."""
OWN = np.array([-32.0, -16.0, -8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
"""Edges in a score, whose losses bend where it is of order 1."""
GRADED = np.concatenate([-(4.0 ** -np.arange(0, 13)), [0.0], 4.0 ** -np.arange(12, -1, -1)])
"""Edges around a place where l changes sign, in standard deviations."""
BIN, BINS = 0.125, 1024
"""Width and number of the bins of log l^2, the last at its largest."""
NEAR_AXIS = 0.98
FEW_LABELS = 4
LEGENDRE_X, LEGENDRE_W = np.polynomial.legendre.leggauss(ORDER)


class Histogram(NamedTuple):
    """The law of l^2 at n states: means of f(log l^2) are sums over bins, exact for piecewise cubic f.

    Attributes:
        log_square: (n, bins) log l^2.
        weight: sum gives E f.
        across: sum gives E[l z f], z = v_perp / tau.
        along: sum gives E[l (u* / sd(u*)) f].
        signs: E[sign(l) z] and E[sign(l) u* / sd(u*)], exact where l has too many sizes for the bins; not a number for
            batches.
        moving: P(Lambda > 0): less than 1 for losses that are flat somewhere.
    """

    log_square: Float[np.ndarray, "n bins"]
    weight: Float[np.ndarray, "n bins"]
    across: Float[np.ndarray, "n bins"]
    along: Float[np.ndarray, "n bins"]
    signs: Float[np.ndarray, "n 2"]
    moving: Float[np.ndarray, " n"]


class Moments(NamedTuple):
    """h1, h0 = h1 + h2 and E l^2 at n states: SGD's coefficients."""

    h1: Float[np.ndarray, " n"]
    h0: Float[np.ndarray, " n"]
    square: Float[np.ndarray, " n"]


class ScoreMoments(NamedTuple):
    """Means over one sample of A, and of A with q = (z, u* / sd(u*)); A = l or (2/pi)^(1/2) sign(l).

    Attributes:
        mean, third: E[A q] and E[L^2 A q], L the length of a step over (tr K)^(1/2), |l|, or for signs over d^(1/2).
        second: E[A^2 (q q' - 1)].
        square, fourth: E L^2 and E L^4.
    """

    mean: Float[np.ndarray, "2"]
    third: Float[np.ndarray, "2"]
    second: Float[np.ndarray, "2 2"]
    square: float
    fourth: float


class _Nodes(NamedTuple):
    """One state's nodes: v, u*, their weights, and z and u* / sd(u*) as l's correlations need them."""

    v: np.ndarray
    u_star: np.ndarray
    weight: np.ndarray
    z: np.ndarray
    unit: np.ndarray


def moments(loss: Loss, noise: NoiseLaw, B22: float, s, c) -> Moments:
    """SGD's coefficients at the states (s, c), (n,) each, by quadrature."""
    found = np.array([_moments(loss, noise, B22, *state) for state in zip(s, c, strict=True)])
    return Moments(*found.T)


def histogram(loss: Loss, noise: NoiseLaw, B22: float, s, c, batch_size: int = 1) -> Histogram:
    """The law of the gradient's length over a batch, Lambda^2 = sum_j l_j^2 / b^2, and of sum_j l_j Q_j / b with it."""
    rows = [_batch(_histogram(loss, noise, B22, *state), batch_size) for state in zip(s, c, strict=True)]
    return Histogram(*(np.stack(column) for column in zip(*rows, strict=True)))


def clipped_moments(loss: Loss, noise: NoiseLaw, B22: float, s, c, threshold: float, batch_size: int = 1) -> Moments:
    """Those of SGD whose gradient is multiplied by min(1, threshold / Lambda), and the mean square of its length.

    Lambda^2 = sum_j l_j^2 / b^2 over a batch. Batches of two and more are taken from their histogram, to about 1e-4
    where Lambda has a smooth law.
    """
    if batch_size == 1:
        return moments(Clipped(loss, threshold), noise, B22, s, c)
    rows = histogram(loss, noise, B22, s, c, batch_size)
    factor = np.minimum(1.0, threshold * np.exp(-rows.log_square / 2))
    square = np.sum(rows.weight * np.exp(rows.log_square) * factor**2, axis=1)
    across, along = np.sum(rows.across * factor, axis=1), np.sum(rows.along * factor, axis=1)
    s, c, sd = np.asarray(s), np.asarray(c), np.sqrt(B22)
    h1 = across / (s * np.sqrt(1 - c**2))
    return Moments(h1, np.zeros_like(h1) if B22 == 0 else along / sd - c * s / sd * h1, square)


@memoized(size=4096)
def _moments(loss, noise, B22, s, c):
    zl = ul = square = 0.0
    for l, w, z, unit in _slopes(loss, noise, B22, s, c):  # noqa: E741
        zl, ul, square = zl + np.sum(w * l * z), ul + np.sum(w * l * unit), square + np.sum(w * l**2)
    tau, sd = s * np.sqrt(1 - c**2), np.sqrt(B22)
    h1 = zl / tau
    # E[l u*] = X h1 + B22 h0.
    return h1, 0.0 if B22 == 0 else (ul / sd - c * s / sd * h1), square


@memoized(size=4096)
def score_moments(loss: Loss, noise: NoiseLaw, B22: float, s: float, c: float, signs: bool) -> ScoreMoments:
    """The moments at one state, by quadrature."""
    if loss.of_residual:
        l, w, along, share = _residual_nodes(loss, noise, s)  # noqa: E741
        axis = np.array([np.sqrt(1 - c**2), c])
        q = axis[:, None] * along
    else:
        parts = list(_slopes(loss, noise, B22, s, c))
        l, w, z, unit = (np.concatenate(column) for column in zip(*parts, strict=True))  # noqa: E741
        q = np.stack([z, unit])
    A, length = (np.sqrt(2 / np.pi) * np.sign(l), np.abs(np.sign(l))) if signs else (l, np.abs(l))
    if loss.of_residual:  # q has the variance 1 - share along the axis, and 1 across
        second = np.sum(w * A**2 * (along**2 - share)) * np.outer(axis, axis)
    else:
        second = (w * A**2 * q) @ q.T - np.sum(w * A**2) * np.eye(2)
    mean, third = (w * A * q).sum(axis=1), (w * A * length**2 * q).sum(axis=1)
    return ScoreMoments(mean, third, second, float(np.sum(w * length**2)), float(np.sum(w * length**4)))


@memoized(size=4096)
def _histogram(loss, noise, B22, s, c) -> Histogram:
    parts = list(_slopes(loss, noise, B22, s, c))
    l, w, z, unit = (np.concatenate(column) for column in zip(*parts, strict=True))  # noqa: E741
    # Smaller ones than the bins tell apart count as these: rules that are scale-free see their sign.
    l = np.sign(l) * np.maximum(np.abs(l), np.abs(l).max() * np.exp(-BIN * (BINS - 5) / 2))  # noqa: E741
    signs = np.array([np.sum(w * np.sign(l) * z), np.sum(w * np.sign(l) * unit)])
    return Histogram(*bins_of(l**2, w, w * l * z, w * l * unit), signs, np.sum(w * (l != 0)) / np.sum(w))


def bins_of(square, *weights):
    """The bins, and weights spread over the four nearest: sums over bins of cubics in log l^2 are exact."""
    top = np.log(square.max()) if square.max() > 0 else 0.0
    grid = top + 2 * BIN - BIN * np.arange(BINS)[::-1]
    place = np.clip((np.log(np.maximum(square, 1e-300)) - grid[0]) / BIN, 1.0, BINS - 2.0)
    cell = np.clip(np.floor(place).astype(np.int64), 1, BINS - 3)
    x = place - cell
    share = (-x * (x - 1) * (x - 2) / 6, (x * x - 1) * (x - 2) / 2, -x * (x + 1) * (x - 2) / 2, x * (x * x - 1) / 6)
    return (
        grid,
        *(sum(np.bincount(cell + k - 1, weight * part, BINS) for k, part in enumerate(share)) for weight in weights),
    )


def _batch(one: Histogram, b: int) -> Histogram:
    """Of a batch of b from that of one sample: Lambda^2 is a mean of independent l_j^2, over b."""
    if b > 1:
        others = sum_of_squares((one.log_square, one.weight), b - 1)
        found = sum_of_squares((one.log_square, one.weight, one.across, one.along), 2, others)
        one = Histogram(*found, np.full(2, np.nan), 1 - (1 - one.moving) ** b)
    return one._replace(log_square=one.log_square - 2 * np.log(b))


def sum_of_squares(one, n: int, other=None):
    """The bins of the sum of ``n`` independent squares, (log square, weight, ...) as ``one``; for n = 2 of one and
    ``other``. More weights than the first are kept for n = 2 only.
    """
    if other is not None:
        return _sum(one, other)
    total, power = None, one[:2]
    while n:
        if n % 2:
            total = power if total is None else _sum(total, power)
        n //= 2
        power = _sum(power, power) if n else power
    return total


def _sum(first, second):
    """The law of the sum of two independent squares; the first may carry several weights."""
    (x, *weights), (y, other) = first, second
    i, j = (np.flatnonzero(np.abs(w) > 1e-15) for w in (weights[0], other))
    square = np.add.outer(np.exp(x[i]), np.exp(y[j])).ravel()
    return bins_of(square, *(np.outer(w[i], other[j]).ravel() for w in weights))


def _slopes(loss, noise, B22, s, c):
    """(l, weight, z, u* / sd(u*)) of all nodes, one outcome of the label after the other."""
    if loss.of_residual:
        yield _residual_slopes(loss, noise, s, c)
        return
    # Near the axis c = +-1 what is odd in v changes sign within u* of tau / s.
    outer, outer_weight = panels_of_target(B22, graded=abs(c) > NEAR_AXIS)
    labels, probabilities = loss.outcomes(noise, outer)
    tau = s * np.sqrt(1 - c**2)
    mean = c * s / np.sqrt(B22) * outer if B22 > 0 else np.zeros(1)
    sd = np.sqrt(B22) if B22 > 0 else 1.0
    slope = partial(_slope, loss)
    # A sum over many labels is smooth where one of them has l = 0.
    graded_edges = GRADED if len(labels) <= FEW_LABELS else np.zeros(1)
    for label, probability in zip(labels, probabilities, strict=True):
        if np.max(probability) < 1e-13:
            continue
        label = np.broadcast_to(label, outer.shape)
        special = loss.edges(outer, label)
        edges = [mean + tau * x for x in NORMAL] + [x - outer for x in OWN]
        edges += [place + tau * x for place in special for x in graded_edges]
        edges += list(loss.kinks(outer, label))
        edges = np.sort(np.clip(edges, mean + tau * NORMAL[0], mean + tau * NORMAL[-1]), axis=0)
        v, width = _panels(edges)
        z = (v - mean) / tau
        weight = width * np.exp(-(z**2) / 2) / (tau * np.sqrt(2 * np.pi)) * (outer_weight * probability)
        l = evaluate_in_float64(slope, v, np.broadcast_to(outer, v.shape), np.broadcast_to(label, v.shape))  # noqa: E741
        kept = weight > 0
        unit = np.broadcast_to(outer / sd, v.shape)
        yield l[kept], weight[kept], z[kept], unit[kept]


def _residual_slopes(loss, noise, s, c):
    """The same of a loss of the residual."""
    l, weight, unit, _ = _residual_nodes(loss, noise, s)  # noqa: E741
    # z and u* / sd(u*) have their parts of E[v | r] / s: v / s = c u* / sd(u*) + sqrt(1 - c^2) z.
    return l, weight, np.sqrt(1 - c**2) * unit, c * unit


def _residual_nodes(loss, noise, s):
    """(l, weight, E[v | r] / s, 1 - Var(v | r) / s^2) of all nodes where l depends on r = v - eps alone.

    Given a component of eps, r is Gaussian, and v by its mean.
    """
    weights, means, variances = noise.components()
    sd = np.sqrt(s**2 + variances)
    edges = [-means + sd * x for x in NORMAL]
    edges += [
        np.full_like(sd, place) + sd * x for place in loss.edges(np.zeros(1), np.zeros(1)).ravel() for x in GRADED
    ]
    edges += [np.full_like(sd, place) for place in loss.kinks(np.zeros(1), np.zeros(1)).ravel()]
    if not isinstance(getattr(loss, "loss", loss), Residual):
        edges += [np.full_like(sd, place) for place in (*-KINKS, *KINKS)]
    edges = np.sort(np.clip(edges, -means + sd * NORMAL[0], -means + sd * NORMAL[-1]), axis=0)
    r, width = _panels(edges)
    x = (r + means) / sd
    weight = width * np.exp(-(x**2) / 2) / (sd * np.sqrt(2 * np.pi)) * weights
    l = evaluate_in_float64(partial(_slope, loss), r, np.zeros_like(r), np.zeros_like(r))  # noqa: E741
    kept = weight > 0
    return l[kept], weight[kept], (s / sd * x)[kept], np.broadcast_to((s / sd) ** 2, l.shape)[kept]


def panels_of_target(B22: float, graded: bool = False):
    """Nodes of u* ~ N(0, B22) and their weights; ``graded``: closer and closer at 0."""
    if B22 == 0:
        return np.zeros(1), np.ones(1)
    sd = np.sqrt(B22)
    edges = np.concatenate([NORMAL * sd, OWN, GRADED * sd if graded else []])
    edges = np.sort(np.clip(edges, sd * NORMAL[0], sd * NORMAL[-1]))
    nodes, weights = _panels(edges[:, None])
    nodes, weights = nodes.ravel(), weights.ravel()
    weights = weights * np.exp(-(nodes**2) / (2 * B22)) / (sd * np.sqrt(2 * np.pi))
    return nodes[weights > 0], weights[weights > 0]


@jit
def _slope(loss, v, u_star, label):
    return loss.slope(v, u_star, label)


def _panels(edges: Float[np.ndarray, "e n"]):
    """Nodes and weights, (ORDER (e - 1), n), of the panels between ``edges``."""
    half, middle = np.diff(edges, axis=0) / 2, (edges[1:] + edges[:-1]) / 2
    nodes = middle[:, None] + half[:, None] * LEGENDRE_X[:, None]
    weights = half[:, None] * LEGENDRE_W[:, None]
    return nodes.reshape(-1, edges.shape[1]), weights.reshape(-1, edges.shape[1])
