"""Noise kernels of scale-dependent rules between gradient sizes: sum_k rho^k M_k(S_i, S_j) (theory: section 9).

Lag sums C_ij(rho) are sampled at a few sizes S_i and correlations rho. The M_k, k odd, are positive semidefinite
(so they are in truth, by Mehler's formula), and their sum has the sampled sizes on its diagonal. Between the
nodes the M_k are interpolated by a congruence, which keeps both.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

EXPONENTS = (1, 3, 5, 9, 25, 127)
"""The powers of Khat; the last one takes what is left at Khat = 1."""
DIAGONAL_WEIGHT = 5.0
ITERATIONS = 1500


class KernelTable(NamedTuple):
    """Kernels at n risks.

    ``log_size`` are logarithms of the standard deviations C_ii(1)^(1/2), and ``correlations`` the matrices
    sum over k of which is 1 on the diagonal.
    """

    log_size: Float[np.ndarray, "n t"]
    correlations: Float[np.ndarray, "n k t t"]


def kernel_table(rho: Float[np.ndarray, " r"], C: Float[np.ndarray, "n r t t"]) -> KernelTable:
    """The table of sampled lag sums C(rho), ``rho`` ending with 1."""
    size = np.sqrt(np.einsum("nii->ni", C[:, -1]))
    C = C / (size[:, None, :, None] * size[:, None, None, :])
    return KernelTable(np.log(size), semidefinite_fit(rho, (C + C.swapaxes(-1, -2)) / 2))


def interpolate_kernels(
    correlations: Float[np.ndarray, "k t t"], B: Float[np.ndarray, "s t"], size: Float[np.ndarray, " s"]
):
    """M_k where B carries functions of size from the nodes; their sum is ``size``^2 on the diagonal."""
    kernels = B @ correlations @ B.T
    factor = size / np.sqrt(np.einsum("kii->i", kernels))
    return kernels * factor[:, None] * factor[None, :]


def at_risk(nodes: Float[np.ndarray, " n"], values: Float[np.ndarray, "n *shape"], x: float):
    """Values at ``x``, constant outside the nodes."""
    return values[0] if len(nodes) == 1 else PchipInterpolator(nodes, values)(np.clip(x, nodes[0], nodes[-1]))


def semidefinite_fit(rho: Float[np.ndarray, " r"], C: Float[np.ndarray, "n r t t"]) -> Float[np.ndarray, "n k t t"]:
    """Positive semidefinite M_k with sum_k rho^k M_k closest to C(rho); C(1) and the sum of M_k are 1 on the diagonal.

    Least squares by projected gradients with momentum, rho = 1 weighted up; the diagonal is then made exact.
    """
    design = rho[:, None] ** np.array(EXPONENTS) * np.where(rho == 1, DIAGONAL_WEIGHT, 1.0)[:, None]
    target = C * np.where(rho == 1, DIAGONAL_WEIGHT, 1.0)[:, None, None]
    gram, pull = design.T @ design, np.einsum("rk,nrij->nkij", design, target)
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    M = ahead = np.einsum("k,nij->nkij", np.full(len(EXPONENTS), 1 / len(EXPONENTS)), C[:, -1])
    for n in range(ITERATIONS):
        gradient = np.einsum("kl,nlij->nkij", gram, ahead) - pull
        values, vectors = np.linalg.eigh(ahead - step * gradient)
        new = (vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.swapaxes(-1, -2)
        ahead = new + n / (n + 3) * (new - M)
        M = new
    root = np.sqrt(np.einsum("nkii->ni", M))
    return M / (root[:, None, :, None] * root[:, None, None, :])
