"""The stationary risk where few directions carry it (theory: section 15).

Three things are then not small: the fluctuations of r_i = (K delta)_i / (sigma_i s) although their mean is zero, those
of the risk itself, and single steps. For y = D delta, f = Khat y and any weights w_i,

    2 E sum_i w_i y_i G_i = (eta/d) sum_i w_i sigma_i E[N_i + h G_i^2]

where the second moments of y have settled: G_i and N_i are mean and variance of u_i given delta, and
h = (1-b1)/(1+b1) is what an average of gradients leaves of the square of a mean step. With w_i = E f_i^2 / E f_i G_i
this gives

    R = (eta/4d) sum_i w_i sigma_i E[N_i + h G_i^2] E[y'f] / E[sum_i w_i y_i G_i].

Averages are over y of the shape of the linear law: independent Gaussian w_a in the modes, E w_a^2 in proportion to
c_a / lambda_a, and of the mean risk R, which comes from iterating. Of fluctuations that decay faster than the rule
forgets the size of gradients only the mean square counts in G and N: of those at the rate a the share c2 / (c2 + 2 a).
A rule that is linear in the gradient has a recursion (section 16), whose fixed point is a sum over modes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float
from scipy.special import ndtri

from sdelimit.limits.exact.long_memory_adam import LongMemoryLimit
from sdelimit.limits.law import CLOCK, ScalarLaw, operators_of
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.response import Response
from sdelimit.modes.decoupled import modes
from sdelimit.modes.dense import eigenpairs, forcing_of
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import x64

CONVERGED = 1e-7
"""Relative change of R between iterations at which it has settled."""
MOST_ITERATIONS = 100
MARGIN = 100.0
"""Responses are tabulated from the risk of the linear law over this to that risk times this."""
LARGEST_SPREAD = 0.1
"""Of (R' + E eps^2 / 2) / (R + E eps^2 / 2), the variance up to which rules that remember sizes are described."""
POINTS = 4096
"""Of the sequence of low discrepancy that averages are taken over."""
MOST_VARYING = 1000
"""Modes that vary along it: those that carry the most risk. The others vary at random."""


class Shape(NamedTuple):
    """Samples of y and f at E[y'f] / 2 = 1, (POINTS, d), and sigma."""

    y: Float[np.ndarray, "n d"]
    f: Float[np.ndarray, "n d"]
    std: Float[np.ndarray, " d"]


def correlated_stationary_risk(problem, limit, eta: float, linear: float, memory: float) -> float:
    """The stationary risk of a scale-free rule at the learning rate ``eta``, from that of the linear law, > 0.

    ``memory`` is how many gradients the rule averages. NaN if iterations do not settle on a risk within a factor
    ``MARGIN`` of ``linear``, and where the risk itself fluctuates so much that a rule that remembers sizes has more to
    it than a share of them (``LARGEST_SPREAD``).
    """
    law, response = limit.with_response((linear / MARGIN, linear * MARGIN))
    law, remembers = operators_of(problem, law).law, not _is_sign(law)
    unit = problem.noise.second_moment if np.isfinite(problem.noise.second_moment) else noise_scale(problem.noise) ** 2
    with jax.ensure_compile_time_eval(), x64():
        scalars = jnp.asarray(law.initial_scalars())
        kernel = np.asarray(law.noise_coefficients(jnp.float64(linear), scalars))
        shape = _shape(problem, law, tuple(kernel / kernel.sum()))
        R, fading = linear, 0.0
        for _ in range(MOST_ITERATIONS):
            per_eta, rate, spread = map(float, _balance(law, response, shape, R, fading, 1 / (2 * memory - 1)))
            before, R = R, eta / (4 * problem.d) * per_eta
            if not linear / MARGIN < R < linear * MARGIN:
                return np.nan
            if abs(R / before - 1) < CONVERGED:
                return np.nan if remembers and spread > LARGEST_SPREAD * (R + unit / 2) ** 2 else R
            fading = eta * rate
    return np.nan


def settles(limit) -> bool:
    """Whether the stationary risk with correlated features is known: of signs of single gradients and of ratios."""
    short = limit.without_memory
    if short.power != 1 or not short.responds or short.has_target:
        return False
    return _is_sign(short) or limit.response_remembers or isinstance(limit, LongMemoryLimit)


def _is_sign(law) -> bool:
    """Whether steps are signs of single gradients, that remember nothing."""
    return law.basis == ("arcsin",)


def _shape(problem, law, kernel) -> Shape:
    covariance, std = problem.covariance, problem.covariance.std
    if covariance.is_diagonal:
        decay, vectors, forcing = std, None, std
    else:
        decay, vectors = problem.cached("eigenpairs of S", lambda: eigenpairs(covariance, 1))
        forcing = np.array(kernel) @ forcing_of(covariance, 1, law.basis, vectors)
    flat = decay <= decay.max() * decay.size * np.finfo(float).eps
    energy = np.where(flat, 0.0, forcing / np.where(flat, 1.0, decay))
    share = energy * decay
    most = np.argsort(-share)[:MOST_VARYING]
    rng = np.random.default_rng(0)
    z = rng.standard_normal((POINTS, problem.d))
    uniform = scipy.stats.qmc.Sobol(most.size, seed=rng).random(POINTS)
    z[:, most] = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12))
    w = z * np.sqrt(2 * energy / share.sum())
    if vectors is None:
        return Shape(w * np.sqrt(std), w * np.sqrt(std), std)
    return Shape((w @ vectors.T) * np.sqrt(std), ((w * decay) @ vectors.T) / np.sqrt(std), std)


@jit
def _balance(law: ScalarLaw, response: Response, shape: Shape, R, fading, h) -> tuple[Array, Array, Array]:
    """At the mean risk R: 4 d R / eta, the decay rate of fluctuations of the risk over eta, and their variance."""
    y, f, std = (jnp.asarray(x) for x in shape)
    y, f = y * jnp.sqrt(R), f * jnp.sqrt(R)
    risks = jnp.sum(y * f, axis=1) / 2
    square = jnp.mean(f**2, axis=0)

    def at(one):
        risk, f = one
        return response.settled(law, R, square, risk, jnp.clip(f / jnp.sqrt(2 * risk), -1.0, 1.0), fading)

    G, N = jax.lax.map(at, (risks, f), batch_size=64)
    weights = square / jnp.mean(f * G, axis=0)
    drift = jnp.mean(jnp.sum(weights * y * G, axis=1)) / (2 * R)
    noise = jnp.sum(weights * std * jnp.mean(N + h * G**2, axis=0))
    slope = jnp.mean(f * G, axis=0) / square
    return noise / drift, jnp.sum(std * slope * square) / (2 * R), jnp.var(risks)


def settled_recursion(problem, limit, eta: float) -> float:
    """The stationary risk of a rule that is linear in the gradient, at this d; infinite if there is none.

    With Y_i = N_i U_i, U_i = F U_i F' + f f', F = F0 + lambda_i F1, and b N_i = lambda_i (2R + E eps^2) + lambda_i^2
    E w_i^2,

        2R = (2R + E eps^2) T,    T = sum_i lambda_i^2 U_00 / (b - lambda_i^2 U_00).

    Weight decay keeps a mean, m_i = (1 - F)^-1 F_w* w*_i in the rule's own numbers, whose first is part of E w_i^2.
    """
    law, b = operators_of(problem, limit).law, limit.gradient_batch
    current = modes(problem, limit)
    moves = current.decay > current.decay.max() * current.decay.size * np.finfo(float).eps
    decay, k = current.decay[moves], law.size - law.has_target
    with jax.ensure_compile_time_eval(), x64():
        one = jax.tree.map(np.asarray, law.step(jnp.float64(eta / problem.d), jnp.float64(1 / CLOCK)))
    full = one.constant + decay[:, None, None] * one.linear
    F, kick, mean = full[:, :k, :k], one.kick[:k], np.zeros(decay.size)
    if np.max(np.abs(np.linalg.eigvals(F))) >= 1:
        return np.inf
    if law.has_target:
        pulled = full[:, :k, k:] * current.target[moves][:, None, None]
        mean = np.linalg.solve(np.eye(k) - F, pulled)[:, 0, 0]
    square = np.einsum("iac,ibe->iabce", F, F).reshape(-1, k * k, k * k)
    kicks = np.broadcast_to(np.outer(kick, kick).reshape(-1, 1), (decay.size, k * k, 1))
    U = np.linalg.solve(np.eye(k * k) - square, kicks)
    own = decay**2 * U[:, 0, 0]
    T = np.sum(own / (b - own)) if np.all(own < b) else np.inf
    if not T < 1:
        return np.inf
    held = np.sum(decay * mean**2 * b / (b - own))
    return float((T * problem.noise.second_moment + held) / (1 - T) / 2)
