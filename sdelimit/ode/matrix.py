"""The risk ODE of a scale-dependent rule (theory: section 9).

With V = E[delta delta'] and Z = D V D, D = diag(sigma), so that R = 1/2 tr(Khat Z),

    dZ/dt = -eta (A Khat Z + Z Khat A) + (eta^2/d) D N(R) D,    A = diag(sigma_i^2 phi_i(R)).

For diagonal K the diagonal of Z is enough: d scalar equations. Otherwise Z is a full matrix and one product Khat Z
a step is the cost; N(R) and phi(R) are sums of a few fixed arrays with coefficients that depend on R.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.scale_dependent import Profile, ScaleDependentLimit, Tables, expand, tabulate
from sdelimit.modes.dense import correlation_of
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.system import System, Tolerances, tolerances


class DiagonalSystem(System):
    """y_i = sigma_i^2 E[delta_i^2] / 2, coordinate i's share of the risk; K diagonal."""

    decay: Float[np.ndarray, " d"]
    energy0: Float[np.ndarray, " d"]
    drift_profile: Profile
    drift: Float[np.ndarray, "p d"]
    noise_profile: Profile
    noise: Float[np.ndarray, "q d"]
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances

    def initial(self):
        return self.decay * self.energy0 / 2

    def field(self, eta, y):
        R = self.positive(self.risk(y))
        phi, noise = self.drift_profile(R) @ self.drift, self.noise_profile(R) @ self.noise
        return -2 * eta * phi * self.decay * y + eta**2 * self.decay * noise / (2 * y.size)

    def risk(self, y):
        return jnp.sum(y, axis=-1)

    def observe(self, eta, y, save_modes):
        phi = self.drift_profile(self.positive(self.risk(y))) @ self.drift
        energies = y / jnp.where(self.decay > 0, self.decay, 1.0) * 2 if save_modes else jnp.zeros(())
        mean = jnp.sum(self.decay * phi) / jnp.sum(self.decay)
        return {"modes": energies, "phi": mean, "slope": jnp.sum(self.field(eta, y))}


class MatrixSystem(System):
    """y = Z = D V D; any K."""

    decay: Float[np.ndarray, " d"]
    delta0: Float[np.ndarray, " d"]
    khat: Float[np.ndarray, "d d"]
    drift_profile: Profile
    drift: Float[np.ndarray, "p d"]
    dissipation: Float[np.ndarray, "p d d"]
    noise_profile: Profile
    noise: Float[np.ndarray, "q d d"]
    heating: Float[np.ndarray, " q"]
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances

    def initial(self):
        scaled = jnp.sqrt(jnp.asarray(self.decay)) * self.delta0
        return scaled[:, None] * scaled[None, :]

    def field(self, eta, y):
        R = self.positive(self.risk(y))
        a = eta * self.decay * (self.drift_profile(R) @ self.drift)
        decay = a[:, None] * (jnp.asarray(self.khat) @ y)
        noise = jnp.tensordot(self.noise_profile(R), jnp.asarray(self.noise), axes=1)
        return eta**2 / y.shape[0] * noise - decay - decay.T

    def risk(self, y):
        return jnp.sum(jnp.asarray(self.khat) * y) / 2

    def observe(self, eta, y, save_modes):
        R = self.positive(self.risk(y))
        a = self.drift_profile(R)
        dissipated = a @ jnp.tensordot(jnp.asarray(self.dissipation), y, axes=2)
        slope = eta**2 / (2 * y.shape[0]) * self.noise_profile(R) @ self.heating - eta * dissipated
        mean = jnp.sum(self.decay * (a @ self.drift)) / jnp.sum(self.decay)
        return {"modes": jnp.zeros(()), "phi": mean, "slope": slope}

    def many(self, function, schedules):
        """One after the other: the state is d x d."""
        return jax.lax.map(function, schedules)


def scale_dependent_system(problem, limit: ScaleDependentLimit, times, rtol, atol, eta) -> System:
    """The risk ODE of ``limit`` on ``problem``; its tables are made once per problem and rule."""
    std = problem.covariance.std
    tables = tables_of(problem, limit)
    drift = tables.drift.members @ tables.spread.T
    risk0 = problem.initial_risk
    noise_risk = _mean_noise(tables, std, risk0) / 2
    if problem.covariance.is_diagonal:
        bounds = tolerances(risk0, noise_risk, problem.d, rtol, atol, eta)
        profiles = tables.drift.profile, drift, tables.kernels.profile, noise_variances(tables)
        return DiagonalSystem(std**2, problem.delta0**2, *profiles, times, bounds)
    # The error of the risk, a sum over many entries of Z, is far below the typical error of an entry.
    bounds = tolerances(risk0, noise_risk, problem.d, rtol * problem.d**0.25, atol, eta)
    khat, noise, dissipation = matrices_of(problem, limit)
    heating = np.einsum("ij,qij->q", khat, noise)
    return MatrixSystem(
        std**2, problem.delta0, khat,
        tables.drift.profile, drift, dissipation,
        tables.kernels.profile, noise, heating,
        times, bounds,
    )  # fmt: skip


def tables_of(problem, limit: ScaleDependentLimit) -> Tables:
    """phi and M_k over log R for the standard deviations of ``problem``."""
    return problem.cached(("scale_dependent", limit.key), lambda: tabulate(limit, problem.covariance.std))


def matrices_of(problem, limit: ScaleDependentLimit):
    """Khat, D N_q D for every member of N's family, and Khat A_p Khat for every member of phi's."""
    tables = tables_of(problem, limit)
    return problem.cached(("scale_dependent_matrices", limit.key), lambda: _matrices(problem, limit, tables))


def noise_variances(tables: Tables) -> Float[np.ndarray, "q d"]:
    """N_ii of every member of N's family."""
    return np.einsum("di,qkij,dj->qd", tables.spread, tables.kernels.members, tables.spread, optimize=True)


def _mean_noise(tables, std, risk):
    """mean_i sigma_i^2 N_ii at one risk."""
    kernel = np.tensordot(
        evaluate_in_float64(tables.kernels.profile, max(risk, TINY_RISK)), tables.kernels.members, axes=1
    )
    return float(np.mean(std**2 * np.einsum("di,kij,dj->d", tables.spread, kernel, tables.spread, optimize=True)))


def _matrices(problem, limit, tables):
    khat, std = correlation_of(problem.covariance), problem.covariance.std
    noise = expand(limit.exponents, tables.kernels.members, tables.spread, khat)
    noise *= std[:, None] * std[None, :]
    drift = tables.drift.members @ tables.spread.T
    return khat, noise, np.stack([(khat * (std**2 * phi)) @ khat for phi in drift])
