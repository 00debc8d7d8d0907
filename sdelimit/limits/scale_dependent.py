"""Limits of coordinatewise rules that are not scale-free (theory: section 9).

For u_i = f(g_i) the drift and noise of coordinate i depend on sigma_i as well as on the risk:

    d delta = -eta Phi(R) K delta dt + eta sqrt(N(R) / d) dB,    Phi = diag(phi(sigma_i; R)),
    N_ij(R) = sum_k Khat_ij^k M_k(sigma_i, sigma_j; R),

with M_k positive semidefinite, so N is. A rule gives phi and M_k at a few standard deviations and one risk;
``tabulated_operators`` turns them into functions of log R and of all coordinates.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import Operators, ScalarLaw
from sdelimit.numerics.memo import content_key
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, quintic

STEP = 0.3
"""Spacing of the tables in log R."""
DRIFT_TOLERANCE, NOISE_TOLERANCE = 1e-7, 1e-5
"""Size, relative to the mean over coordinates, below which variation over R is dropped. The drift has the smaller
tolerance because coordinates of large sigma, whose drift is small next to the mean, carry most of the risk."""


class ScaleDependentLimit(eqx.Module):
    """Drift and noise of a scale-dependent rule. Subclasses give ``coefficients`` and ``risk_range``.

    Attributes:
        exponents: the powers k of Khat_ij in the noise covariance.
    """

    exponents: eqx.AbstractVar[tuple[int, ...]]

    size: ClassVar[int] = 1
    power: ClassVar[None] = None
    gradient_batch: ClassVar[None] = None
    nonlinearity: ClassVar[float] = 0.0
    basis: ClassVar[tuple[str, ...]] = ()
    needs_fourth_moment: ClassVar[bool] = False
    has_scalars: ClassVar[bool] = False
    has_target: ClassVar[bool] = False
    reads_overlaps: ClassVar[bool] = False
    weight_decay: ClassVar[float] = 0.0
    resolves_memory: ClassVar[bool] = False
    response_remembers: ClassVar[bool] = False
    kurtosis: ClassVar[float] = 0.0
    errors: ClassVar[None] = None
    fluctuations: ClassVar[None] = None
    responds: ClassVar[bool] = False

    @property
    def undecayed(self):
        """The limit itself."""
        return self

    def with_spread(self):
        """The limit itself: how steps vary along their mean is not known."""
        return self

    @property
    def without_memory(self):
        """The limit itself: it takes memories to be short."""
        return self

    def with_response(self, risks) -> tuple["ScaleDependentLimit", None]:
        """The limit itself; its response to features that are correlated with the residual is not known."""
        return self, None

    @property
    def key(self) -> tuple:
        """The limit by its content, under which its tables are cached."""
        return content_key(self)

    def on(self, problem) -> "TabulatedOperators":
        """phi and M_k tabulated for the standard deviations of ``problem``, once for each problem and rule."""
        return problem.cached(("scale dependent", self.key), lambda: tabulated_operators(self, problem.covariance.std))

    def coefficients(self, R: float, sigma: Float[np.ndarray, " s"]):
        """phi(sigma_i; R), (s,), and M_k(sigma_i, sigma_j; R), (k, s, s), as NumPy arrays."""
        raise NotImplementedError

    def risk_range(self, sigma: Float[np.ndarray, " s"]) -> tuple[float, float]:
        """(low, high): outside them phi and M_k are powers of R."""
        raise NotImplementedError

    def bend(self, R: float, sigma: Float[np.ndarray, " n"], r: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """By how much the mean update at the correlation r with the residual differs from one linear in r, relatively.

        Zero where that is not known.
        """
        return np.zeros(np.shape(r))

    def drift(self, R: float, sigma: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """phi_i(R) of every coordinate."""
        nodes, B = interpolation(sigma)
        return B @ self.coefficients(R, nodes)[0]

    def covariance(self, R: float, sigma: Float[np.ndarray, " d"], khat: Float[np.ndarray, "d d"]):
        """N(R), (d, d), for correlation matrix ``khat``."""
        nodes, B = interpolation(sigma)
        return expand(self.exponents, self.coefficients(R, nodes)[1], B, khat)


def expand(exponents, kernels: Float[np.ndarray, "*q k s s"], B, khat) -> Float[np.ndarray, "*q d d"]:
    """sum_k khat^k (B M_k B'), entrywise powers and products."""
    total = np.zeros((*kernels.shape[:-3], *khat.shape))
    for k, M in zip(exponents, np.moveaxis(kernels, -3, 0), strict=True):
        power = khat**k
        for index in np.ndindex(M.shape[:-2]):
            total[index] += power * (B @ M[index] @ B.T)
    return total


def interpolation(sigma: Float[np.ndarray, " d"]) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, "d s"]]:
    """A few standard deviations and the matrix B that interpolates functions of log sigma from them to all coordinates.

    The distinct values themselves if they are few, Chebyshev points otherwise. Rows of B for sigma = 0 are zero.
    """
    positive = sigma > 0
    distinct, index = np.unique(sigma[positive], return_inverse=True)
    low, high = np.log(distinct[[0, -1]])
    count = 10 + int(np.ceil(6 * (high - low)))
    B = np.zeros((sigma.size, min(count, distinct.size)))
    if distinct.size <= count:
        B[positive] = np.eye(distinct.size)[index]
        return distinct, B
    points = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    x = (np.log(sigma[positive]) - low) / (high - low) * 2 - 1
    basis = np.polynomial.chebyshev.chebvander(points, count - 1)
    B[positive] = np.polynomial.chebyshev.chebvander(x, count - 1) @ np.linalg.inv(basis)
    return np.exp(low + (points + 1) / 2 * (high - low)), B


class Profile(eqx.Module):
    """size(R) a(R), with the vector a and log size as quintic splines of log R on a uniform grid.

    Outside the grid a is constant and the size continues as a power of R.
    """

    log_size_and_shape: PiecewisePolynomial
    slopes: Float[np.ndarray, " 2"]

    def __call__(self, R: Float[Array, ""]) -> Float[Array, " p"]:
        log_R = jnp.log(R)
        value = self.log_size_and_shape(log_R)
        below, above = self.log_size_and_shape.beyond(log_R)
        return jnp.exp(value[0] + below * self.slopes[0] + above * self.slopes[1]) * value[1:]


class Family(NamedTuple):
    """A function of R with values in some array space, sum_p profile_p(R) members_p."""

    profile: Profile
    members: Float[np.ndarray, "p *shape"]


class TabulatedLaw(ScalarLaw):
    """a_p(R) and b_q(R) as functions of log R. The preconditioner changes with the risk: ``power`` is None."""

    drift_profile: Profile
    noise_profile: Profile
    power: None = eqx.field(static=True, default=None)
    basis: tuple[str, ...] = eqx.field(static=True, default=())

    def drift_coefficients(self, R, m):
        return self.drift_profile(R)

    def noise_coefficients(self, R, m):
        return self.noise_profile(R)


@dataclass(frozen=True, eq=False)
class TabulatedOperators(Operators):
    """M_p = diag(phi_p(sigma_i)) and N_q = sum_k Khat^k M_qk(sigma_i, sigma_j), from tables over a few sigma.

    Attributes:
        drift, kernels: phi and M_k of the rule over log R, on the standard deviations ``nodes``.
        interpolation_matrix: B of ``interpolation``, from the nodes to every coordinate.
        exponents: the powers k.
    """

    law: TabulatedLaw
    key: tuple
    drift: Float[np.ndarray, "p s"]
    kernels: Float[np.ndarray, "q k s s"]
    interpolation_matrix: Float[np.ndarray, "d s"]
    exponents: tuple[int, ...]

    def of_law(self, change):
        return replace(self, law=change(self.law))

    def preconditioners(self):
        return self.drift @ self.interpolation_matrix.T

    def noise_diagonals(self):
        B = self.interpolation_matrix
        return np.einsum("di,qkij,dj->qd", B, self.kernels, B, optimize=True)

    def noise_matrices(self, khat):
        return expand(self.exponents, self.kernels, self.interpolation_matrix, khat)


def tabulated_operators(limit: ScaleDependentLimit, sigma: Float[np.ndarray, " d"]) -> TabulatedOperators:
    """The rule's coefficients on one problem's standard deviations, as functions of R."""
    nodes, B = interpolation(sigma)
    low, high = limit.risk_range(nodes)
    log_R = np.log(low) + STEP * np.arange(int(np.ceil(np.log(high / low) / STEP)) + 6)
    phi, kernels = zip(*[limit.coefficients(R, nodes) for R in np.exp(log_R)], strict=True)
    phi, kernels = np.array(phi), np.array(kernels)
    noise_size = np.einsum("jkss->j", kernels) / nodes.size
    drift = _family(log_R, phi, phi.mean(axis=1), DRIFT_TOLERANCE)
    noise = _family(log_R, kernels, noise_size, NOISE_TOLERANCE)
    law = TabulatedLaw(drift.profile, noise.profile)
    return TabulatedOperators(law, limit.key, drift.members, noise.members, B, limit.exponents)


def _family(log_R, values, size, tolerance) -> Family:
    """Separate R from the rest: the principal components over R of values / size."""
    shape = values.shape[1:]
    flat = (values / size.reshape(-1, *[1] * len(shape))).reshape(len(log_R), -1)
    u, s, _ = np.linalg.svd(flat, full_matrices=False)
    u = u[:, s > tolerance * s[0]]
    u = u * np.where(u.sum(axis=0) < 0, -1.0, 1.0)  # the signs of singular vectors are LAPACK's choice
    members = u.T @ flat
    columns = np.concatenate([np.log(size)[:, None], u], axis=1)
    spline, slopes = quintic(log_R, columns)
    return Family(Profile(spline, slopes[:, 0]), members.reshape(-1, *shape))
