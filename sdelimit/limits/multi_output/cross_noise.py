"""Noise that the steps of two outputs have in common (theory: section 22).

Two coordinates of two outputs have gradients l_a xi and l_b xi' with the same samples, xi and xi' of correlation rho.
"""

import numpy as np
from jaxtyping import Float

from sdelimit.limits.multi_output.slopes import Slopes
from sdelimit.limits.noise_kernel import GENERAL_BASIS, RHO, fit_kernel

SHUFFLES = 2
"""Times that batches are made of the samples."""


def batch_sign_noise(at: Slopes, batch_size: int) -> Float[np.ndarray, "q m m"]:
    """(2/pi) E arcsin(rho c_ab), c_ab the cosine between what a batch holds of l_a and l_b."""
    rng, m = np.random.default_rng(0), at.outputs
    kappa = np.zeros((2, RHO.size, m, m))
    for _ in range(SHUFFLES):
        l = at.drawn(rng)  # noqa: E741
        batch = np.stack([l[rng.permutation(len(l))] for _ in range(batch_size)])
        unit = batch / np.sqrt(np.sum(batch**2, axis=0))
        for a in range(m):
            for b in range(a + 1, m):
                cosine = np.clip(np.sum(unit[..., a] * unit[..., b], axis=0), -1.0, 1.0)
                for side, part in enumerate((np.maximum(cosine, 0), np.maximum(-cosine, 0))):
                    means = np.mean(np.arcsin(RHO[:, None] * part), axis=1)
                    kappa[side, :, a, b] += 2 / np.pi / SHUFFLES * means
    return matrices_of(kappa, np.eye(m) * (2 / np.pi * np.arcsin(RHO))[:, None, None])


def matrices_of(kappa: Float[np.ndarray, "2 r m m"], own: Float[np.ndarray, "r m m"]) -> Float[np.ndarray, "q m m"]:
    """B_q from kernels at ``RHO``: positive and negative parts above the diagonal, and those on it."""
    m = own.shape[-1]
    psi = np.zeros((len(GENERAL_BASIS), m, m))
    for a in range(m):
        psi[:, a, a] = fit_kernel(RHO, np.maximum(own[:, a, a], 0.0))
        for b in range(a + 1, m):
            psi[:, a, b] = fit_kernel(RHO, kappa[0, :, a, b]) - fit_kernel(RHO, kappa[1, :, a, b])
            psi[:, b, a] = psi[:, a, b]
    return psi
