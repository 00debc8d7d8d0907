"""The risk ODE of features correlated with the residual in the modes of S = D^-1/2 K D^-1/2 (theory: section 15).

With S = Q diag(lambda) Q', w = Q' D^1/2 delta, the mean w-bar, f_i = sum_k Q_ik lambda_k wbar_k / sigma_i^(1/2) and
r_i ~ N(f_i / s, sum_k Q_ik^2 lambda_k^2 V_k / (sigma_i s^2)), s = sqrt(2R),

    dwbar/dt = -eta Q' D^1/2 E G(r),
    dV_k/dt = -2 eta a_k lambda_k V_k + (eta^2/d) n_k,    a_k = sum_i Q_ik^2 E G'(r_i) / s,
    R = 1/2 sum_k lambda_k (wbar_k^2 + V_k).

The mean is that of ``ode/aligned.py``; of the covariance of the modes the diagonal V is kept, and so is the diagonal of
diag(E G') between modes: a step costs products with vectors. Modes n_k of the noise: with kappa the rule's kernel, c_k
the modes of kappa(Khat) / kappa(1), v_i = kappa(1) E k(r_i) and mu_i = E r_i,

    n_k = tbar_k^2 c_k + sum_i Q_ik^2 sigma_i (t_i - tbar_k)^2 - (Q' D^1/2 (t mu))_k^2,    t_i^2 = v_i / (1 - mu_i^2),

tbar_k = sum_i Q_ik^2 t_i, which are those of N_ij = t_i t_j (kappa(Khat_ij) / kappa(1) - mu_i mu_j) with entries of Q
that know nothing of t. For signs of single gradients N = (2/pi) arcsin(Khat) - E G E G' gives n_k without more ado.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.response import Response
from sdelimit.modes.decoupled import dense_modes, modes
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.aligned import CLOSEST, AlignedSystem, aligned_system
from sdelimit.ode.relaxation_integrator import Relaxation
from sdelimit.ode.system import System, Tolerances, largest_rate

LARGEST_FULL, MOST_DECAYS = 64, 100.0
"""Largest d, and longest horizon in decay times, at which the covariance is followed as a matrix."""

LOOSER, LOOSEST = 10.0, 1e-3
"""Between a step's error in the root mean square over modes and in the risk; the largest of the former allowed."""


class AlignedModes(System):
    """wbar, V and what the coordinates carry of their own.

    Attributes:
        decay: lambda_k.
        vectors, squares: Q and its entries squared.
        std: sigma_i.
        w0: wbar at t = 0.
        forcing: modes of the kernels b_q(Khat), as of ``Modes``.
        target: modes of theta*, with weight decay.
        keeps_order: whether these are the modes that curves of the linear law save.
        shares_signs: whether steps are signs of single gradients.
    """

    decay: Float[np.ndarray, " d"]
    vectors: Float[np.ndarray, "d d"]
    squares: Float[np.ndarray, "d d"]
    std: Float[np.ndarray, " d"]
    w0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "q d"]
    law: ScalarLaw
    response: Response
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    target: Float[np.ndarray, " d"] | None
    weight_decay: float
    keeps_order: bool = eqx.field(static=True)
    shares_signs: bool = eqx.field(static=True)

    def initial(self):
        d = self.w0.size
        return jnp.asarray(self.w0), jnp.zeros(d), self.response.initial(d)

    def risk(self, y):
        mean, V, _ = y
        return jnp.sum(self.decay * (mean**2 + V)) / 2

    def see(self, leading):
        """For ``Relaxation``: R, E r and Var r of every feature, and sum_k lambda_k^2 V_k / sum_k lambda_k V_k."""
        w, V = leading
        R = self.positive(self.risk((w, V, None)))
        root, energy = jnp.sqrt(jnp.asarray(self.std)), jnp.sum(self.decay * V)
        mean = jnp.asarray(self.vectors) @ (self.decay * w) / (root * jnp.sqrt(2 * R))
        variance = jnp.asarray(self.squares) @ (self.decay**2 * V) / (root**2 * 2 * R)
        rate = jnp.where(energy > 0, jnp.sum(self.decay**2 * V) / jnp.where(energy > 0, energy, 1.0), 0.0)
        return R, jnp.clip(mean, -1.0, 1.0), variance, rate

    def following(self, seen):
        """For ``Relaxation``: rates and sources of what the coordinates carry of their own."""
        R, mean, variance, _ = seen
        rates, targets = self.response.relaxation(None, R, mean, variance)
        return rates, jax.tree.map(jnp.multiply, rates, targets)

    def leading(self, eta, leading, seen, extra):
        """For ``Relaxation``: rates and sources of wbar and V, dy/dt = sources - rates y; rates are those of modes."""
        w, _ = leading
        R, mean, variance, fading = seen
        fading = fading * eta * self.response.rate(self.law, extra, R)
        found = self.response.averages(self.law, extra, R, mean, variance, fading)
        steps = (jnp.sqrt(jnp.asarray(self.std)) * found.mean) @ jnp.asarray(self.vectors)
        rate, noise = self.rates_and_noise(R, mean, found, steps)
        rate, pull = eta * rate * self.decay, eta * self.weight_decay
        source = rate * w - eta * steps
        if self.target is not None:
            rate, source = rate + pull, source - pull * jnp.asarray(self.target)
        return (rate, 2 * rate), (source, eta**2 / w.shape[0] * noise)

    def rates_and_noise(self, R, mean, found, steps) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """a_k and n_k; ``steps`` are the modes of D E G."""
        squares, std, slope = jnp.asarray(self.squares), jnp.asarray(self.std), found.slope / jnp.sqrt(2 * R)
        weights = self.law.noise_coefficients(R, jnp.asarray(self.law.initial_scalars()))
        kernel = weights @ jnp.asarray(self.forcing)
        if self.shares_signs:
            return slope @ squares, kernel - steps**2
        mean = jnp.clip(mean, -CLOSEST, CLOSEST)
        t = jnp.sqrt(found.variance / (1 - mean**2))
        a, width, first, second, trace = jnp.stack([slope, t, std * t, std * t**2, std]) @ squares
        spread = second - 2 * width * first + width**2 * trace
        along = (jnp.sqrt(std) * t * mean) @ jnp.asarray(self.vectors)
        return a, jnp.maximum(width**2 * kernel / weights.sum() + spread - along**2, 0.0)

    def field(self, eta, y):
        *leading, extra = y
        seen = self.see(leading)
        own, following = self.leading(eta, leading, seen, extra), self.following(seen)
        rates, sources = ((*a, b) for a, b in zip(own, following, strict=True))
        return jax.tree.map(lambda x, rate, source: source - rate * x, y, rates, sources)

    def observe(self, eta, y, save_modes):
        mean, V, extra = y
        R = self.positive(self.risk(y))
        modes = mean**2 + V if save_modes and self.keeps_order else jnp.zeros(())
        variance = jnp.sum((self.decay * V) ** 2) / 2
        return {
            "modes": modes,
            "phi": self.response.rate(self.law, extra, R),
            "slope": jnp.nan * R,
            "variance": variance,
        }

    def solver(self):
        return Relaxation()

    def many(self, function, schedules):
        """One after the other: each takes the steps that it needs."""
        return jax.lax.map(function, schedules)


def closure_system(problem, law: ScalarLaw, response: Response, times, rtol, atol, eta) -> System:
    """The equations of correlated features: with the whole covariance where that is cheap, else in the modes."""
    system = aligned_system(problem, law, response, times, rtol, atol, eta)
    if system.khat is None or (problem.d <= LARGEST_FULL and _decays(problem, system, eta) <= MOST_DECAYS):
        return system
    return aligned_modes(problem, system)


def _decays(problem, system, eta) -> float:
    """Decay times of the fastest mode along the curve, with the drift of the start."""
    R, none = max(problem.initial_risk, TINY_RISK), jnp.asarray(system.law.initial_scalars())
    phi = evaluate_in_float64(lambda R: system.law.drift_coefficients(R, none)[0], R)
    return float(phi * largest_rate(eta) * system.times[-1] * dense_modes(problem, system.law).decay.max())


def aligned_modes(problem, system: AlignedSystem) -> AlignedModes:
    """The equations of ``system``, for K that is not diagonal, in the modes of S."""
    law, bounds = system.law, system.tolerances
    current = dense_modes(problem, law)
    squares = problem.cached(("squares", law.power), lambda: current.vectors**2)
    target = None if system.target is None else current.vectors.T @ (system.target / np.sqrt(system.std))
    return AlignedModes(
        current.decay,
        current.vectors,
        squares,
        system.std,
        current.w0,
        current.forcing,
        law,
        system.response,
        system.times,
        replace(bounds, rtol=min(LOOSER * bounds.rtol, LOOSEST)),
        target,
        system.weight_decay,
        modes(problem, law).vectors is not None,
        system.shares_signs,
    )
