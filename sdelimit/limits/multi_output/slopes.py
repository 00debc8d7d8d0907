"""The law of l = dloss/dU at one state of a softmax regression, by quasi-Monte Carlo (theory: section 22).

The scores are those of ``problem/output_scores.py``. Given them a hard label has m outcomes, but l_b has two sizes
only: p_b - 1 with probability p*_b, and p_b. So all that concerns one output is a mean over the scores.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.output_losses import soft_slope
from sdelimit.problem.output_scores import PAIRS, State, scores, standard_normals, state_of

SMALLEST = 1e-150
"""Of |l| where it has a sign."""
NEAREST = 1e-4
"""Variance of V given U*, relative to that of V, that a state has at least: where V and U* are the same variables,
as for theta0 = 0, there would be nothing to tell how the mean step depends on each."""


class Slopes(NamedTuple):
    """l at quasi-random scores, and what it is correlated with.

    Attributes:
        state: of the scores.
        z: (n, 2m) the normals that V and U* are made of.
        soft: (n, m) p - p*.
        p: (n, m) probabilities.
        p_star: (n, m) those of the labels.
        hard: whether labels are classes.
    """

    state: State
    z: Float[np.ndarray, "n k"]
    soft: Float[np.ndarray, "n m"]
    p: Float[np.ndarray, "n m"]
    p_star: Float[np.ndarray, "n m"]
    hard: bool

    @property
    def outputs(self) -> int:
        """m."""
        return self.p.shape[1]

    def of_output(self, b: int) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n"]]:
        """The sizes of l_b, one row for each outcome, and their probabilities given the scores."""
        if not self.hard:
            return self.soft[None, :, b], np.ones((1, len(self.z)))
        p, p_star = self.p[:, b], self.p_star[:, b]
        others = np.maximum(np.delete(self.p, b, axis=1).sum(axis=1), SMALLEST)
        return np.stack([-others, np.maximum(p, SMALLEST)]), np.stack([p_star, 1 - p_star])

    def of_batches(self, batch_size: int, count: int) -> Float[np.ndarray, "b count m"]:
        """l of ``count`` batches, one label drawn for each of the scores."""
        rng = np.random.default_rng(0)
        l = self._drawn(rng)  # noqa: E741
        return np.stack([l[rng.permutation(len(l))[:count]] for _ in range(batch_size)])

    def _drawn(self, rng):
        if not self.hard:
            return self.soft
        chosen = np.argmax(rng.random((len(self.z), 1)) < np.cumsum(self.p_star, axis=1), axis=1)
        label = np.eye(self.outputs)[chosen]
        others = np.maximum(np.sum(self.p * (1 - label), axis=1, keepdims=True), SMALLEST)
        return np.where(label > 0, -others, np.maximum(self.p, SMALLEST))

    def drift(self, means: Float[np.ndarray, "k m"]) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m m"]]:
        """Phi1 and Phi0 from E[F_b z], a row for each of the normals and a column for each output b.

        The mean update is D^-1 (K Delta Phi1 + K Theta* Phi0): Phi1 = C^(-1/2) E[z F'] and
        Phi0 = B22^(-1/2) E[z* F'] - (X B22^+)' Phi1.
        """
        state, m = self.state, self.outputs
        Phi1 = state.root @ state.inverse @ means[:m]
        return Phi1, state.target_root @ state.target_inverse @ means[m:] - state.regression.T @ Phi1


def slopes_at(S, X, B22, soft: bool) -> Slopes:
    """The slopes where Delta' K Delta = S, Delta' K Theta* = X and Theta*' K Theta* = B22."""
    m = len(B22)
    state, z = state_of(S, X, B22, NEAREST), mirrored_normals(m)
    v, u_star = scores(state, z)
    change = evaluate_in_float64(soft_slope, v, u_star)
    return Slopes(state, z, change, softmax(u_star + v, axis=1), softmax(u_star, axis=1), not soft)


def mirrored_normals(m: int) -> Float[np.ndarray, "n k"]:
    """Normals z and z*, (n, 2m), with all four pairs of signs: what does not depend on z is not correlated with it."""
    z = standard_normals(2 * m, PAIRS // 2)
    return np.concatenate([z, z * np.repeat([-1.0, 1.0], m)])
