"""A rule's drift matrix Phi(R) and noise matrix N(R) on one problem, whatever kind its limit is.

Every limit here has, with eta the learning rate and V = E[delta delta'],

    dV/dt = -eta (Phi K V + V K Phi) + (eta^2/d) N,
    Phi = sum_p a_p(R) M_p,  M_p diagonal,    N = sum_q b_q(R) N_q,

and the coefficients a_p, b_q may depend on a memory m beside R. The four effects need these sums and a few traces.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.limit import Limit, MemoryLimit
from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.limits.scale_dependent import Profile, ScaleDependentLimit
from sdelimit.modes.decoupled import modes
from sdelimit.modes.dense import correlation_of
from sdelimit.ode.matrix import matrices_of, noise_variances, tables_of
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.support import arguments as check


class Coefficients(eqx.Module):
    """a_p(R) and b_q(R), and the sizes of Phi and N.

    Attributes:
        gram: tr(M_p K M_p') / tr K.
        noise_trace: tr N_q.
    """

    gram: Float[np.ndarray, "p p"]
    noise_trace: Float[np.ndarray, " q"]

    def drift(self, R, *memory) -> Float[Array, " p"]:
        """a_p."""
        raise NotImplementedError

    def noise(self, R, *memory) -> Float[Array, " q"]:
        """b_q."""
        raise NotImplementedError

    def size_of(self, a: Float[Array, " p"]) -> Float[Array, ""]:
        """sqrt(tr(Phi K Phi) / tr K) for the coefficients ``a`` of Phi."""
        return jnp.sqrt(a @ jnp.asarray(self.gram) @ a)


class PlainCoefficients(Coefficients):
    """phi and psi of a ``Limit`` or ``MemoryLimit``."""

    limit: Limit | MemoryLimit

    def drift(self, R, *memory):
        return self.limit.phi(R, *memory)[None]

    def noise(self, R, *memory):
        return self.limit.psi(R, *memory)


class TableCoefficients(Coefficients):
    """Profiles over log R of a scale-dependent limit."""

    drift_profile: Profile
    noise_profile: Profile

    def drift(self, R):
        return self.drift_profile(R)

    def noise(self, R):
        return self.noise_profile(R)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Phi(R) and N(R) of one rule on one problem.

    Attributes:
        problem, limit: whose they are.
        coefficients: a_p and b_q, traceable.
        members: (p, d), the diagonals of M_p.
        noise: N_q: (q, d) diagonals if K is diagonal, else (q, d, d).
        noise_curvature: tr(K N_q).
    """

    problem: LinearRegression
    limit: Limit | MemoryLimit | ScaleDependentLimit
    coefficients: Coefficients
    members: Float[np.ndarray, "p d"]
    noise: Float[np.ndarray, "q d"] | Float[np.ndarray, "q d d"]
    noise_curvature: Float[np.ndarray, " q"]

    @property
    def covariance(self) -> Float[np.ndarray, " d"] | Float[np.ndarray, "d d"]:
        """K, stored as the noise matrices are."""
        K = self.problem.covariance
        return K.std**2 if K.is_diagonal else K.to_dense()


def dynamics(problem: LinearRegression, limit) -> Dynamics:
    """Phi and N of ``limit`` on ``problem``. ValueError as ``modes`` for zero variances; TypeError for other limits."""
    if isinstance(limit, ScaleDependentLimit):
        members, noise, build = _tabulated(problem, limit)
    elif isinstance(limit, (Limit, MemoryLimit)):
        members, noise, build = _plain(problem, limit)
    else:
        raise TypeError(f"optimizer must have a limit with a drift and a noise matrix, got {check.describe(limit)}")
    variance = problem.covariance.std**2
    gram = (members * variance) @ members.T / variance.sum()
    diagonal = problem.covariance.is_diagonal
    trace = noise.sum(axis=1) if diagonal else np.einsum("qii->q", noise)
    K = variance if diagonal else problem.covariance.to_dense()
    curvature = np.tensordot(noise, K, axes=K.ndim)
    return Dynamics(problem, limit, build(gram, trace), members, noise, curvature)


def _plain(problem, limit):
    modes(problem, limit)  # refuses coordinates of zero variance where the rule divides by them
    std = problem.covariance.std
    outer = std ** (1 - limit.power)
    if problem.covariance.is_diagonal:
        noise = np.stack([outer**2] * len(limit.basis))
    else:
        khat = correlation_of(problem.covariance)
        noise = np.stack([kernel_basis(name, khat) * outer[:, None] * outer[None, :] for name in limit.basis])
    members = (np.ones_like(std) if limit.power == 0 else 1 / std)[None]
    return members, noise, lambda gram, trace: PlainCoefficients(gram, trace, limit)


def _tabulated(problem, limit):
    tables, std = tables_of(problem, limit), problem.covariance.std
    if problem.covariance.is_diagonal:
        noise = noise_variances(tables)
    else:
        inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        noise = matrices_of(problem, limit)[1] * inverse[:, None] * inverse[None, :]
    profiles = tables.drift.profile, tables.kernels.profile
    members = tables.drift.members @ tables.spread.T
    return members, noise, lambda gram, trace: TableCoefficients(gram, trace, *profiles)
