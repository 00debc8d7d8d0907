"""Drift and noise of a rule at one state of a softmax regression (theory: section 22)."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.multi_output.cross_noise import batch_sign_noise, ratio_noise, signed_noise
from sdelimit.limits.multi_output.slopes import Slopes, slopes_at
from sdelimit.limits.noise_kernel import GENERAL_BASIS
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.single_index import coefficients as single
from sdelimit.problem.output_scores import softmax_moments
from sdelimit.problem.score_means import bins_of, sum_of_squares


def is_sign(rule) -> bool:
    """Whether the rule is signSGD: the sign of the newest gradient."""
    return isinstance(rule, SignedRule) and rule.b.past * rule.b.decay == 0


def basis_of(rule, batch_size: int) -> tuple[str, ...]:
    """Names of the kernels of a rule's noise; None is SGD."""
    if rule is None:
        return ("rho",)
    return ("arcsin",) if is_sign(rule) and batch_size == 1 else GENERAL_BASIS


def drift_at(rule, S, X, B22, soft: bool, batch_size: int):
    """Phi1 and Phi0, (m, m), of ``rule``, None for SGD: of scale-free ones each output by itself."""
    if rule is None:
        return softmax_moments(S, X, B22, soft)[:2]
    at, mean = slopes_at(S, X, B22, soft), _sign_means if is_sign(rule) else _history_means
    return at.drift(np.stack([mean(rule, at, b, batch_size) for b in range(at.outputs)], axis=1))


def noise_at(rule, S, X, B22, soft: bool, batch_size: int) -> Float[np.ndarray, "q m m"]:
    """B_q: sum_q b_q(Khat_ij) B_q is the covariance of the steps of coordinates i and j, of two outputs."""
    if rule is None:
        return softmax_moments(S, X, B22, soft)[2:] / batch_size
    at = slopes_at(S, X, B22, soft)
    if is_sign(rule):
        return batch_sign_noise(at, batch_size) if batch_size > 1 else _sign_noise(at)
    found = signed_noise if isinstance(rule, SignedRule) else ratio_noise
    return found(rule, at, [law_of(at, b, batch_size) for b in range(at.outputs)], batch_size)


def is_costly(rule, batch_size: int) -> bool:
    """Whether noise takes much longer to compute than a drift."""
    return rule is not None and not (is_sign(rule) and batch_size == 1)


def _sign_means(rule, at, b, batch_size):
    """E[sign(g_b) (g's normals)] = (2/pi)^(1/2) E[sum_j l_j z_j / |l|] over a batch."""
    sizes, weights = at.of_output(b)
    n = len(at.z)
    if batch_size == 1:
        return np.sqrt(2 / np.pi) * (np.sum(weights * np.sign(sizes), axis=0) @ at.z) / n
    x, one = bins_of((sizes**2).ravel(), weights.ravel() / n)
    y, rest = sum_of_squares((x, one), batch_size - 1)
    grid = x[x > x[-1] - 60]
    inverse = (1 / np.sqrt(np.exp(grid)[:, None] + np.exp(y))) @ rest
    log_square = np.log(np.maximum(sizes**2, np.exp(grid[0])))
    length = np.exp(make_interp_spline(grid, np.log(inverse), k=3)(log_square))
    return np.sqrt(2 / np.pi) * batch_size * (np.sum(weights * sizes * length, axis=0) @ at.z) / n


def _history_means(rule, at, b, batch_size):
    """The same of rules that remember, by the quadrature of one output."""
    return single.drift(rule, law_of(at, b, batch_size))


def law_of(at: Slopes, b: int, batch_size: int) -> single.Law:
    """The law of |l_b| over a batch, and what it is correlated with."""
    sizes, weights = at.of_output(b)
    weights = weights / len(at.z)
    x, weight, *means = bins_of((sizes**2).ravel(), weights.ravel(), *((weights * sizes * z).ravel() for z in at.z.T))
    if batch_size > 1:
        rest = sum_of_squares((x, weight), batch_size - 1)
        x, weight, *means = sum_of_squares((x, weight, *means), 2, rest)
        x = x - 2 * np.log(batch_size)
    signs = np.sum(weights * np.sign(sizes), axis=0) @ at.z if batch_size == 1 else np.full(at.z.shape[1], np.nan)
    return single.law_of(x, weight, np.stack(means), signs, float(np.sum(weights * (sizes != 0))))


def _sign_noise(at) -> Float[np.ndarray, "1 m m"]:
    """E[sign l_a sign l_b]; of hard labels 1 - 2 (P(y = a) + P(y = b))."""
    if not at.hard:
        return (np.sign(at.soft).T @ np.sign(at.soft) / len(at.z))[None]
    share = at.p_star.mean(axis=0)
    same = 1 - 2 * (share[:, None] + share)
    np.fill_diagonal(same, 1.0)
    return same[None]
