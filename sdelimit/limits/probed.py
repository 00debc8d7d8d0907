"""The limit of a rule that was inspected and probed: phi(R) and psi(R) as functions of R.

The two modules ``_GaussianResiduals`` and ``_tabulated`` are a small private version of what
``limits/tabulated.py`` is to provide for every estimator (noise, R, batch_size) -> Estimate.
"""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_interp_spline

from sdelimit import _rng
from sdelimit._precision import precision
from sdelimit._table import LogLogTable
from sdelimit.limits.base import Limit
from sdelimit.limits.inspection import Memory, ProbeReport, measure_memory
from sdelimit.limits.kernel import GENERAL_BASIS, RHO, fit_kernel
from sdelimit.limits.probe import probe
from sdelimit.limits.sgd import ResidualVariance
from sdelimit.noise import Gaussian, NoiseLaw, NoNoise

LOG_GRID = np.linspace(-8.0, 8.0, 9)
"""log(2R / m^2) where a limit is tabulated, m being the median of |eps|."""


def probed_limit(transform, report: ProbeReport, noise: NoiseLaw, batch_size: int, relative_error, seed) -> Limit:
    """Limit of an inspected rule, by its kind: scale free (M = D^-1) or homogeneous of degree 1 (M = I).

    A linear rule u = sum_j a_j g_-j has phi = A = sum_j a_j and noise A^2 2P/b K, exactly. ValueError if a rule of
    degree 1 meets noise of infinite variance.
    """
    degree = 1 if report.kind == "degree_1" else 0
    if degree:
        _require_variance(noise)
    if report.linear:
        gain, variance = report.gain, float(noise.second_moment)
        return Limit(
            Constant(gain), ScaledVariance(gain**2, ResidualVariance(variance, float(batch_size))), 0, ("rho",)
        )
    estimate = partial(probe, transform, degree=degree, relative_error=relative_error, seed=seed)
    if isinstance(noise, (NoNoise, Gaussian)):
        return _for_gaussian_residuals(estimate(NoNoise(), 0.5, batch_size), noise, degree)
    return _tabulated(transform, estimate, noise, batch_size, degree, seed)


class Constant(eqx.Module):
    """phi(R) = value."""

    value: float

    def __call__(self, R):
        return self.value * jnp.ones_like(R)


class ScaledVariance(eqx.Module):
    """psi(R) = scale 2 P(R) / b."""

    scale: float
    variance: ResidualVariance

    def __call__(self, R):
        return self.scale * self.variance(R)


class GaussianResidualDrift(eqx.Module):
    """phi(R) = c (2R + E[eps^2])^(-1/2), or c for a rule of degree 1."""

    c: float
    variance: float
    power: float

    def __call__(self, R):
        return self.c * (2 * R + self.variance) ** self.power


class GaussianResidualNoise(eqx.Module):
    """psi(R) = weights, or weights (2R + E[eps^2]) for a rule of degree 1."""

    weights: Float[np.ndarray, " p"]
    variance: float
    power: float

    def __call__(self, R):
        return jnp.asarray(self.weights) * (2 * R + self.variance) ** self.power


def _for_gaussian_residuals(estimate, noise, degree):
    """l_j = sqrt(2P) q_j with q_j standard normal, so that one estimate, at 2P = 1, serves every R (section 6)."""
    variance, weights = float(noise.second_moment), fit_kernel(RHO, estimate.kappa)
    phi = GaussianResidualDrift(estimate.phi, variance, (degree - 1) / 2)
    return Limit(phi, GaussianResidualNoise(weights, variance, float(degree)), 1 - degree, GENERAL_BASIS)


class TabulatedDrift(eqx.Module):
    """phi(R) = f(2R / m^2) (2R + m^2)^(-1/2), or f for a rule of degree 1: f varies slowly."""

    table: LogLogTable
    length: float
    power: float

    def __call__(self, R):
        return self.table(2 * R / self.length**2) * (2 * R + self.length**2) ** self.power


class TabulatedNoise(eqx.Module):
    """psi(R): linear in log R between the nonnegative fits on the grid; times 2R + m^2 for a rule of degree 1."""

    log_grid: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, "n p"]
    length: float
    power: float

    def __call__(self, R: Float[Array, ""]) -> Float[Array, " p"]:
        grid, weights = jnp.asarray(self.log_grid), jnp.asarray(self.weights)
        position = jnp.interp(jnp.log(2 * R / self.length**2), grid, jnp.arange(grid.size, dtype=grid.dtype))
        cell = jnp.minimum(position.astype(int), grid.size - 2)
        part = position - cell
        mixed = (1 - part) * weights[cell] + part * weights[cell + 1]
        return mixed * (2 * R + self.length**2) ** self.power


def _tabulated(transform, estimate, noise, batch_size, degree, seed):
    """Estimates on a grid of R, with common random numbers so that their errors do not make the table rough."""
    length = _median_size(noise, seed)
    risks = length**2 * np.exp(LOG_GRID) / 2
    memories = [measure_memory(transform, noise, R, batch_size, seed) for R in risks[[0, len(risks) // 2, -1]]]
    memory = Memory(max(m.burn_in for m in memories), max(m.window for m in memories))
    estimates = [estimate(noise, R, batch_size, memory=memory) for R in risks]
    spread = 2 * risks + length**2
    log_f = np.log([e.phi for e in estimates]) - (degree - 1) / 2 * np.log(spread)
    fine = np.linspace(LOG_GRID[0], LOG_GRID[-1], 8 * (LOG_GRID.size - 1) + 1)
    table = LogLogTable(fine, make_interp_spline(LOG_GRID, log_f, k=3, bc_type="natural")(fine))
    weights = np.array([fit_kernel(RHO, e.kappa) for e in estimates]) / spread[:, None] ** degree
    phi = TabulatedDrift(table, length, (degree - 1) / 2)
    return Limit(phi, TabulatedNoise(LOG_GRID, weights, length, float(degree)), 1 - degree, GENERAL_BASIS)


def _median_size(noise, seed):
    """Median of |eps| among its nonzero values."""
    with precision(np.float64):
        size = np.abs(np.asarray(noise.sample(_rng.run_key(seed, 3), (2**14,), jnp.float64)))
    return float(np.median(size[size > 0])) if np.any(size) else 1.0


def _require_variance(noise):
    if not np.isfinite(noise.second_moment):
        raise ValueError(
            f"noise must have finite variance for a rule whose steps are proportional to the gradient, got {noise} "
            f"with E[eps^2] = {noise.second_moment}: its mean risk is infinite after one step"
        )
