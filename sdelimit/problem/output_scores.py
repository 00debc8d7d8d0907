"""Expectations over the scores of several outputs, by quasi-Monte Carlo (theory: section 22).

With V = Delta' x and U* = Theta*' x the state is S = Delta' K Delta = E V V' and X = Delta' K Theta* = E V U*', and

    U* = B22^(1/2) z*,      V = X B22^+ U* + C^(1/2) z,      C = S - X B22^+ X',

for standard normals z and z* in R^m: scrambled Sobol points and their mirror images, always the same ones, so that
expectations are smooth functions of the state. B22 and C may be singular.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, softmax

from sdelimit.numerics.jit import jit, shared_size
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64

PAIRS = 2**14
"""Sobol points of expectations that coefficients are made of; each counts with its mirror image."""
RISK_PAIRS = 2**12
"""Those of risks, which are smooth and asked for at many states."""
ERROR_PAIRS = 2**15
"""Those of error rates, which jump with the class of the largest score."""
SHARED_STATES = 64
"""States are padded to a multiple of this many; see ``shared_size``."""
RANK = 1e-13
"""Eigenvalues of a covariance of scores that count as zero, relative to the largest."""
SEED = 20
TIE = 1e-9
"""Difference of scores, relative to the largest deviation of the target's, that is rounding."""
LARGEST_SCORE = 500.0
"""Of scores that are exponentiated as they are."""
MOST = 21201
"""Dimensions of SciPy's Sobol points."""


@memoized(size=16)
def standard_normals(dimensions: int, pairs: int) -> Float[np.ndarray, "n k"]:
    """Sobol points as normals, then their negatives: (2 pairs, dimensions)."""
    from scipy.stats import qmc

    points = qmc.Sobol(dimensions, scramble=True, seed=SEED).random(pairs)
    z = ndtri(np.clip(points, 1e-12, 1 - 1e-12))
    return np.concatenate([z, -z])


class State(NamedTuple):
    """What makes scores of normals, and what undoes it.

    Attributes:
        regression: X B22^+.
        root: C^(1/2).
        inverse: the pseudo-inverse of C.
        target_root: B22^(1/2).
        target_inverse: B22^+.
    """

    regression: Float[np.ndarray, "m m"]
    root: Float[np.ndarray, "m m"]
    inverse: Float[np.ndarray, "m m"]
    target_root: Float[np.ndarray, "m m"]
    target_inverse: Float[np.ndarray, "m m"]


def state_of(S: Float[np.ndarray, "m m"], X: Float[np.ndarray, "m m"], B22: Float[np.ndarray, "m m"], least=0.0):
    """The ``State`` at these overlaps, with eigenvalues of C of at least ``least`` times the largest diagonal of S."""
    target_root, target_inverse = root_and_inverse(B22)
    regression = X @ target_inverse
    root, inverse = root_and_inverse(S - regression @ X.T, max(np.diag(S).max(), least * np.diag(B22).max()), least)
    return State(regression, root, inverse, target_root, target_inverse)


def root_and_inverse(matrix, scale: float | None = None, least: float = 0.0):
    """The symmetric root and the pseudo-inverse of a positive semidefinite matrix.

    Eigenvalues are at least ``least`` times ``scale``, by default the largest of them; below ``RANK`` they are zero.
    """
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    scale = max(values[-1] if scale is None else scale, 1e-300)
    values = np.maximum(values, least * scale)
    kept = values > RANK * scale
    safe = np.where(kept, values, 1.0)
    root = (vectors * np.where(kept, np.sqrt(safe), 0.0)) @ vectors.T
    return root, (vectors * np.where(kept, 1 / safe, 0.0)) @ vectors.T


def scores(state: State, z: Float[np.ndarray, "n k"]):
    """V and U*, (n, m) each, of normals whose first 2m columns are z and z*; symmetric roots need no transposing."""
    m = len(state.root)
    u_star = z[:, m : 2 * m] @ state.target_root
    return u_star @ state.regression.T + z[:, :m] @ state.root, u_star


def softmax_risks(S, X, B22) -> Float[np.ndarray, " n"]:
    """The excess risk E ln sum_a p*_a exp(v_a - sum_b p*_b v_b) at states S, X (n, m, m)."""
    return _over_states(_softmax_risk, S, X, B22, RISK_PAIRS)


def softmax_errors(S, X, B22) -> Float[np.ndarray, " n"]:
    """1 - E p*_a at the a with the largest U_a: the probability that it is not the label."""
    return _over_states(_softmax_error, S, X, B22, ERROR_PAIRS)


def softmax_moments(S, X, B22, soft: bool):
    """H1, H0 and E[l l'], (m, m) each: SGD's mean gradient is K Delta H1 + K Theta* H0 (theory: section 22).

    H1 = E[diag p - p p'], H0 = H1 - E[diag p* - p* p*'].
    """
    v, u_star = scores(state_of(S, X, B22), standard_normals(2 * len(B22), PAIRS))
    p, p_star = softmax(u_star + v, axis=-1), softmax(u_star, axis=-1)
    H1, H2 = _covariance_of_label(p), _covariance_of_label(p_star)
    square = (p - p_star).T @ (p - p_star) / len(p)
    return np.stack([H1, H1 - H2, square if soft else square + H2])


def _covariance_of_label(p):
    return np.diag(p.mean(axis=0)) - p.T @ p / len(p)


def _over_states(function, S, X, B22, pairs):
    states = [state_of(*pair, B22) for pair in zip(S, X, strict=True)]
    if not states:
        return np.zeros(0)
    extra = shared_size(len(states), SHARED_STATES) - len(states)
    stacked = [np.stack([getattr(s, name) for s in states]) for name in ("regression", "root")]
    padded = [np.pad(part, ((0, extra), (0, 0), (0, 0)), mode="edge") for part in stacked]
    z = standard_normals(2 * len(B22), pairs)
    return evaluate_in_float64(function, *padded, states[0].target_root, z)[: len(states)]


@jit
def _softmax_risk(regression, root, target_root, z):
    m = root.shape[-1]
    u_star = z[:, m:] @ target_root
    log_star = jax.nn.log_softmax(u_star, axis=-1)
    p_star = jnp.exp(log_star)

    def at(state):
        v = u_star @ state[0].T + z[:, :m] @ state[1]
        v = v - jnp.sum(p_star * v, axis=-1, keepdims=True)
        # ln(1 + E*[e^v - 1 - v]) keeps its digits where v is small.
        value = jax.lax.cond(
            jnp.max(v) < LARGEST_SCORE,
            lambda v: jnp.log1p(jnp.sum(p_star * (jnp.expm1(v) - v), axis=-1)),
            lambda v: jax.nn.logsumexp(log_star + v, axis=-1),
            v,
        )
        return jnp.mean(value)

    return jax.lax.map(at, (regression, root))


@jit
def _softmax_error(regression, root, target_root, z):
    m = root.shape[-1]
    u_star = z[:, m:] @ target_root
    p_star = jax.nn.softmax(u_star, axis=-1)

    def at(state):
        u = u_star @ (state[0].T + jnp.eye(m)) + z[:, :m] @ state[1]
        # Scores that differ by rounding alone, as at theta = 0, are a guess at random.
        largest = u >= jnp.max(u, axis=-1, keepdims=True) - TIE * jnp.max(jnp.abs(target_root))
        return 1 - jnp.mean(jnp.sum(largest * p_star, axis=-1) / jnp.sum(largest, axis=-1))

    return jax.lax.map(at, (regression, root))
