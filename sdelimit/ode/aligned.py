"""The risk ODE where features are correlated with the residual (theory: section 15).

delta ~ N(m, V). With y = D m, Z = D V D (D = diag(sigma)), s = sqrt(2R) and r_i the correlation of feature i with the
noiseless residual, r ~ N(Khat y / s, diag(Khat Z Khat) / s^2) coordinate by coordinate,

    dy/dt = -eta D E G(r),
    dZ/dt = -eta (A Khat Z + Z Khat A) + (eta^2/d) D N D,    A = diag(sigma_i E G'(r_i) / s),
    R = (y' Khat y + tr(Khat Z)) / 2,

(and with weight decay omega dy/dt has -eta omega (y + D theta*) and dZ/dt has -2 eta omega Z beside)
with a scale-free rule's mean update G and its long-run variance kappa(1) k, and between coordinates

    N_ij = (kappa(1)^2 k_i k_j)^(1/2) kappa(rho_ij) / kappa(1),
    rho_ij = (Khat_ij - r_i r_j) / ((1 - r_i^2) (1 - r_j^2))^(1/2),

rho_ij the correlation that two features have beside the residual. For diagonal K these are 2d equations, otherwise Z is
a matrix and a step costs one product of two.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.limits.response import Response
from sdelimit.modes.dense import correlation_of
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.system import System, Tolerances, tolerances

CLOSEST = 1 - 1e-9
"""Largest |r| for which two features have a correlation beside the residual."""


class AlignedSystem(System):
    """y, Z and what the coordinates carry of their own; ``khat`` None for diagonal K, and then Z is (d,).

    Modes are saved for diagonal K only, w_i = sigma_i^(1/2) delta_i as those of the linear law.
    """

    decay: Float[np.ndarray, " d"]
    std: Float[np.ndarray, " d"]
    delta0: Float[np.ndarray, " d"]
    khat: Float[np.ndarray, "d d"] | None
    law: ScalarLaw
    response: Response
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    target: Float[np.ndarray, " d"] | None
    weight_decay: float
    shares_signs: bool = eqx.field(static=True)

    def initial(self):
        d = self.std.size
        return (
            jnp.asarray(self.std) * self.delta0,
            jnp.zeros(d if self.khat is None else (d, d)),
            self.response.initial(d),
        )

    def risk(self, y):
        m, Z, _ = y
        if self.khat is None:
            return (jnp.sum(m**2) + jnp.sum(Z)) / 2
        khat = jnp.asarray(self.khat)
        return (m @ khat @ m + jnp.sum(khat * Z)) / 2

    def field(self, eta, y):
        m, Z, extra = y
        R, std, d = self.positive(self.risk(y)), jnp.asarray(self.std), m.shape[0]
        s = jnp.sqrt(2 * R)
        mixed = m if self.khat is None else self.khat @ m
        features = Z if self.khat is None else jnp.asarray(self.khat) @ Z
        variance = features if self.khat is None else jnp.sum(features * self.khat, axis=1)
        mean, variance = jnp.clip(mixed / s, -1.0, 1.0), variance / s**2
        fading = self.fading(eta, R, features, variance, extra)
        found = self.response.averages(self.law, extra, R, mean, variance, fading)
        dm = -eta * std * found.mean
        strength = eta * std * found.slope / s
        if self.khat is None:
            dZ = -2 * strength * Z + eta**2 / d * std**2 * found.variance
        else:
            decay = strength[:, None] * features
            noise = std[:, None] * std[None, :] * self.noise(R, mean, found)
            dZ = eta**2 / d * noise - decay - decay.T
        if self.target is not None:
            dm, dZ = dm - eta * self.weight_decay * (m + self.target), dZ - 2 * eta * self.weight_decay * Z
        rates, targets = self.response.relaxation(extra, R, mean, variance)
        return dm, dZ, jax.tree.map(lambda x, rate, target: rate * (target - x), extra, rates, targets)

    def fading(self, eta, R, features, variance, extra):
        """The rate at which fluctuations decay, that of their part of the risk: r_i of ``variance``, Khat Z."""
        energy = jnp.sum(features) if self.khat is None else jnp.trace(features)
        lost = eta * self.response.rate(self.law, extra, R) * jnp.sum(jnp.asarray(self.std) * variance) * 2 * R
        return jnp.where(energy > 0, lost / jnp.where(energy > 0, energy, 1.0), 0.0)

    def noise(self, R, mean, found) -> Float[np.ndarray, "d d"]:
        """N."""
        khat = jnp.asarray(self.khat)
        if self.shares_signs:
            return kernel_basis("arcsin", jnp.clip(khat, -1.0, 1.0)) - found.mean[:, None] * found.mean[None, :]
        r = jnp.clip(mean, -CLOSEST, CLOSEST)
        width = jnp.sqrt(1 - r**2)
        beside = (khat - r[:, None] * r[None, :]) / (width[:, None] * width[None, :])
        beside = jnp.where(jnp.eye(r.size, dtype=bool), 1.0, jnp.clip(beside, -1.0, 1.0))
        weights = self.law.noise_coefficients(R, jnp.asarray(self.law.initial_scalars()))
        kernel = sum(w * kernel_basis(name, beside) for w, name in zip(weights, self.law.basis, strict=True))
        root = jnp.sqrt(found.variance)
        return root[:, None] * root[None, :] * kernel / weights.sum()

    def observe(self, eta, y, save_modes):
        m, Z, extra = y
        R = self.positive(self.risk(y))
        modes, slope = jnp.zeros(()), jnp.nan * R  # with matrices, slopes are those of a spline: see ``slopes``
        if self.khat is None:
            dm, dZ, _ = self.field(eta, y)
            slope = jnp.sum(m * dm) + jnp.sum(dZ) / 2
            modes = (m**2 + Z) / self.std if save_modes else modes
        features = Z if self.khat is None else jnp.asarray(self.khat) @ Z
        variance = (jnp.sum(Z**2) if self.khat is None else jnp.sum(features * features.T)) / 2
        return {"modes": modes, "phi": self.response.rate(self.law, extra, R), "slope": slope, "variance": variance}

    def many(self, function, schedules):
        """One after the other: the state may be d x d."""
        return jax.lax.map(function, schedules)


def slopes(times: Float[np.ndarray, " n"], risk: Float[np.ndarray, "*m n"]) -> Float[np.ndarray, "*m n"]:
    """dR/dt of the cubic spline through the saved risks; zero for a single one.

    Steps are few where Z is a matrix, so that the equations at every saved time would cost more than the solution.
    """
    if times.size == 1 or not np.isfinite(risk).all():
        return np.where(np.isfinite(risk), 0.0, np.inf)
    order = min(3, times.size - 1)
    return make_interp_spline(times, risk, k=order, axis=-1)(times, nu=1)


def aligned_system(problem, law: ScalarLaw, response: Response, times, rtol, atol, eta) -> AlignedSystem:
    """The risk ODE of ``law`` on ``problem``, with its rule's ``response``."""
    risk0, covariance, decay = problem.initial_risk, problem.covariance, law.weight_decay
    target, law = covariance.std * problem.theta_star if decay > 0 else None, law.undecayed
    scalars = jnp.asarray(law.initial_scalars())
    noise = evaluate_in_float64(lambda R: law.noise_coefficients(R, scalars), max(risk0, TINY_RISK))
    noise_risk = float(noise.sum()) * np.sum(covariance.std**law.power) / (2 * problem.d)
    khat = None if covariance.is_diagonal else problem.cached(("khat",), lambda: correlation_of(covariance))
    # The error of the risk, a sum over many entries of Z, is far below the typical error of an entry.
    rtol = rtol if khat is None else min(rtol * problem.d**0.5, 1e-3)
    bounds = tolerances(risk0, noise_risk, problem.d, rtol, atol, eta)
    signs = law.basis == ("arcsin",)
    std = covariance.std
    return AlignedSystem(std, std, problem.delta0, khat, law, response, times, bounds, target, decay, signs)
