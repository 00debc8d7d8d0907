"""Noise kernels kappa(rho) as nonnegative sums of a few fixed ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

BASIS = {
    "rho": lambda rho: rho,
    "rho3": lambda rho: rho**3,
    "rho5": lambda rho: rho**5,
    "rho9": lambda rho: rho**9,
    "rho25": lambda rho: rho**25,
    "arcsin": lambda rho: 2 / np.pi * (jnp if isinstance(rho, jax.Array) else np).arcsin(rho),
    "curved arcsin": lambda rho: ((jnp if isinstance(rho, jax.Array) else np).arcsin(rho) - rho) / (np.pi / 2 - 1),
}
"""Odd, entrywise positive-definite kernels b_p(rho), each with b_p(1) = 1."""


def kernel_basis(name: str, rho: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """b_p(rho), entrywise; of NumPy's or JAX's arrays."""
    return BASIS[name](rho)


RHO = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0])
"""Correlations at which kernels are estimated."""

GENERAL_BASIS = tuple(name for name in BASIS if name != "curved arcsin")
SPLIT_BASIS = tuple(name for name in BASIS if name != "arcsin")
"""The same cone and more, with all that is linear in rho in the first kernel."""


class Estimate(NamedTuple):
    """phi(R) and kappa(rho; R) at one R and at the correlations ``RHO``, with standard errors."""

    phi: float
    phi_se: float
    kappa: Float[np.ndarray, " k"]
    kappa_se: Float[np.ndarray, " k"]


def fit_kernel(rho: Float[np.ndarray, " k"], kappa: Float[np.ndarray, " k"], basis=GENERAL_BASIS):
    """Weights psi >= 0, (p,), with sum_p psi_p b_p(rho) closest to ``kappa``.

    Kernels of odd rules have nonnegative Taylor coefficients, as the b_p do, so the fit keeps every noise
    matrix positive semidefinite. The diagonal, rho = 1, carries most of the noise and is weighted up.
    """
    weight = np.where(rho == 1, 30.0, 1.0)
    design = np.stack([kernel_basis(name, rho) for name in basis], axis=1)
    return nnls(design * weight[:, None], kappa * weight)[0]
