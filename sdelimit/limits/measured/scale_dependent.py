"""The limit of a probed rule that looks at the scale of its gradients (theory: section 9).

The gradient history of coordinate i is g = S_i q xi with S_i = sigma_i w / b^(1/2), w a typical residual, (2P)^(1/2)
where that is finite, and q = |(l_1..l_b)| / (b^(1/2) w) shared by all coordinates. At the sizes where the rule needs
it (``size_nodes``) the chains give

    D(S) = (w / s) d/dh E[F(S q (xi + h zeta))] at h = 0,    phi_i = D(S_i) / (sigma_i w),
    C_ij(rho) = sum over lags of E[F_t(S_i) F'_{t+m}(S_j)] = sum_k rho^k M_k(S_i, S_j),

interpolated over log S by cubic splines (``size_kernels``); beyond those sizes D and C_ii(1) are powers of S.
Residuals without noise, or with Gaussian noise, have one shape at every R; other laws are tabulated over log R.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from sdelimit.limits.measured.gradient_scales import interpolation_matrices, memory_by_size, size_nodes
from sdelimit.limits.measured.monte_carlo import MAX_CHAIN_STEPS, probe_sizes
from sdelimit.limits.measured.rule_checks import ProbeReport
from sdelimit.limits.measured.scalar_gradients import joint_trajectory
from sdelimit.limits.measured.scale_free import memory_over_risks, require_variance
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.residual_law import noise_scale, typical_residual
from sdelimit.limits.sampled.gradient_histories import estimates
from sdelimit.limits.sampled.kernel_family import EXPONENTS, KernelTable, at_risk, interpolate_kernels, kernel_table
from sdelimit.limits.sampled.long_run_variance import mean_update
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.memo import memoized

RISKS = np.array([-10.0, -6.5, -4.0, -2.5, -1.25, 0.0, 1.25, 2.5, 3.75, 5.0, 7.5, 10.0, 16.0, 24.0])
"""log(2R / noise scale^2) at which a law that is not Gaussian is sampled: what changes below is of order s / scale."""
EDGES = np.array([-24.0, 24.0])
"""Outside these the noise does not change the shape."""
BUDGET = 8 * MAX_CHAIN_STEPS
"""Chain-steps at all sizes and risks together after which coefficients are accepted with the errors that they have."""
SLOW_GROWTH = 0.45
"""Power of the gradients' size up to which a rule is taken to bound what a heavy tail does."""
SPARING = 2.0
"""Errors at each of ``RISKS`` may be so many times larger than where one risk is enough."""


BENT, BEND_SAMPLES = 6, 250_000
"""Features at which the mean update is sampled where they are correlated with the residual, and gradients at each."""


class _Sized(eqx.Module):
    """A rule on gradients that are so many times larger."""

    transform: optax.GradientTransformation = eqx.field(static=True)
    size: float

    def direction(self, g: Float[Array, "T n"]) -> Float[Array, "T n"]:
        """Updates along histories that are repeated, once they have been seen."""
        seen = jnp.concatenate([g, g]) * self.size
        return joint_trajectory(self.transform, seen, jnp.zeros(g.shape[1]))[g.shape[0] :]


class SizeTable(NamedTuple):
    """Drift D and kernels at the gradient sizes exp(log_sizes) and the risks log(2R / origin^2) = x.

    ``error`` is the largest relative standard error of D(S_i) and of C_ii(1).
    """

    log_sizes: Float[np.ndarray, " t"]
    origin: float
    x: Float[np.ndarray, " n"]
    log_drift: Float[np.ndarray, "n t"]
    kernels: KernelTable
    error: float


class ProbedSizesLimit(ScaleDependentLimit):
    """phi(sigma; R) and N(R) of a probed rule.

    Attributes:
        name: what tells the rule from others, hashable.
        table: the sampled coefficients.
    """

    name: tuple = eqx.field(static=True)
    table: SizeTable
    noise: NoiseLaw
    batch_size: int = eqx.field(static=True)
    exponents: tuple[int, ...] = eqx.field(static=True, default=EXPONENTS)

    @property
    def relative_error(self) -> float:
        """Largest relative Monte-Carlo standard error of a drift or of a variance in the table."""
        return self.table.error

    def coefficients(self, R, sigma):
        table, unit = self.table, typical_residual(self.noise, R)
        x = np.log(2 * R / table.origin**2)
        log_drift = _smooth(table.x, table.log_drift, x)
        log_size, correlations = (at_risk(table.x, values, x) for values in table.kernels)
        constant, straight = interpolation_matrices(table.log_sizes, np.log(sigma * unit / np.sqrt(self.batch_size)))
        phi = np.exp(straight @ log_drift) / (sigma * unit)
        return phi, interpolate_kernels(correlations, constant, np.exp(straight @ log_size))

    def bend(self, R, sigma, r):
        """Sampled at the first ``BENT`` features, less two standard errors; at the others in proportion to r^2."""
        transform, _, seed = self.name
        phi, s = self.coefficients(R, sigma)[0], np.sqrt(2 * R)
        first = np.flatnonzero(r)[:BENT]
        size = sigma[first] * (s + noise_scale(self.noise)) / self.batch_size
        memory = memory_over_risks(transform, self.noise, np.array([R]), self.batch_size, seed)

        def evaluate(draws, s, unit):
            return tuple(
                mean_update(draws, s, unit, _Sized(transform, float(scale)), float(one))
                for scale, one in zip(size, np.abs(r[first]), strict=True)
            )

        longest = max(memory.window, memory.burn_in, 1)
        ((mean, error),) = estimates(evaluate, self.noise, [R], self.batch_size, longest, BEND_SAMPLES, seed)
        linear = phi[first] * sigma[first] * s * np.abs(r[first])
        found = np.array(mean) / linear - 1
        found = np.sign(found) * np.maximum(np.abs(found) - 2 * np.array(error) / np.abs(linear), 0.0)
        bent = np.sum(found) / np.sum(r[first] ** 2) * r**2 if first.size else np.zeros(r.size)
        bent = np.maximum(bent, -1.0)
        bent[first] = found
        return bent

    def risk_range(self, sigma):
        low, high = np.exp(self.table.log_sizes[[0, -1]]) * np.sqrt(self.batch_size)
        edges = self.table.origin * np.exp(EDGES / 2)
        return min(low / sigma.max(), edges[0]) ** 2 / 2, max(high / sigma.min(), edges[1]) ** 2 / 2


def _smooth(nodes, values, x):
    """Values at ``x`` by a cubic spline, constant outside the nodes."""
    if len(nodes) == 1:
        return values[0]
    return CubicSpline(nodes, values, bc_type="natural")(np.clip(x, nodes[0], nodes[-1]))


def probed_sizes_limit(transform, report: ProbeReport, noise: NoiseLaw, batch_size: int, relative_error, seed):
    """Limit of an inspected rule of the kind "scale_dependent".

    ValueError if steps that grow like |g|^(1/2) or faster meet noise of infinite variance.
    """
    if report.growth > SLOW_GROWTH:
        require_variance(noise)
    name = transform, relative_error, seed
    if isinstance(noise, (NoNoise, Gaussian)):
        table = _gaussian_table(*name, batch_size)
    else:
        origin = noise_scale(noise)
        table = _sample(transform, noise, origin, RISKS, batch_size, SPARING * relative_error, seed)
    return ProbedSizesLimit(name, table, noise, batch_size)


@memoized(size=64)
def _gaussian_table(transform, relative_error, seed, batch_size) -> SizeTable:
    return _sample(transform, NoNoise(), 1.0, np.zeros(1), batch_size, relative_error, seed)


def _sample(transform, noise, origin, x, batch_size, relative_error, seed) -> SizeTable:
    """The table of one law, at the risks origin^2 exp(x) / 2."""
    log_sizes, remembered = _sizes(transform, seed)
    R = origin**2 * np.exp(x) / 2
    memory = memory_over_risks(transform, noise, R, batch_size, seed, remembered)
    found = [
        probe_sizes(
            transform, noise, risk, batch_size, np.exp(log_sizes), memory, relative_error,
            seed=seed, max_chain_steps=BUDGET // log_sizes.size // len(R),
        )
        for risk in R
    ]  # fmt: skip
    scale = np.array([typical_residual(noise, risk) for risk in R]) / np.sqrt(2 * R)
    log_drift = np.log(scale[:, None] * np.array([one.slope.value for one in found]))
    kernels = kernel_table(RHO[1:], np.array([one.kappa.value for one in found]))
    return SizeTable(log_sizes, origin, x, log_drift, kernels, max(one.relative_error for one in found))


@memoized(size=64)
def _sizes(transform: optax.GradientTransformation, seed: int):
    """Log sizes of the nodes and some sizes at which the rule forgets."""
    memories = memory_by_size(transform, seed)
    return size_nodes(transform, memories, seed), tuple(memories)
