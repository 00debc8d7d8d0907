"""Fluctuations of the risk between runs that the noise matrix misses: of order d^-1/2 in R, from one direction of d.

A step is u = T v / s + xi with v = D^-p K delta the direction of the mean update, T = w (1/b) sum_j l_j z_j shared by
all coordinates through z_j = <x_j, delta> / s, and |xi|^2 in proportion to E = w^2 |l|^2 / b^2. The mean risk depends
only on phi = E[T] / s and psi = E[E]. The spread of R between runs depends on three more numbers of order one, which
the SDE of theory section 1 leaves out,

    gamma           = (Var(T) - psi) / s^2     Cov(u) = psi N + gamma v v', as psi N contains psi v v' / s^2 already,
    length_variance = Var(E) / psi^2           the noise that a step adds varies with its length,
    coupling        = Cov(T, E) / (s psi)      a large residual makes both T and E large.

For signs E = 1 and N = K_sigma holds exactly, which leaves gamma = -phi^2 for single samples.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.residual_law import residual_sample
from sdelimit.noise.base import NoiseLaw


class Fluctuation(NamedTuple):
    """The three numbers at one risk."""

    gamma: Float[Array, ""]
    length_variance: Float[Array, ""]
    coupling: Float[Array, ""]


class SgdFluctuations(eqx.Module):
    """T = gain sum_j l_j z_j / b, E = gain^2 sum_j l_j^2 / b^2 in closed form; see ``sgd_fluctuations``."""

    second: float
    fourth: float
    batch_size: float
    diffusive: float
    gain: float = 1.0

    def __call__(self, R) -> Fluctuation:
        b, variance = self.batch_size, 2 * R + self.second
        quartic = 12 * R**2 + 12 * R * self.second + self.fourth  # E[l^4]
        gamma = jnp.ones_like(R) / b
        length_variance = self.diffusive * (quartic / variance**2 - 1) / b
        return Fluctuation(self.gain**2 * gamma, length_variance, self.diffusive * 2 * self.gain * gamma)


def sgd_fluctuations(noise: NoiseLaw, batch_size: int) -> SgdFluctuations:
    """Of SGD. length_variance = coupling = 0 where E[eps^4] is infinite: R then jumps, which no diffusion does."""
    finite = np.isfinite(noise.fourth_moment)
    fourth = float(noise.fourth_moment) if finite else 0.0
    return SgdFluctuations(float(noise.second_moment), fourth, float(batch_size), float(finite))


class SignFluctuations(eqx.Module):
    """E = 1 and gamma = (2/pi) (b - 1) / (2P) - phi^2, for one sample or for Gaussian residuals.

    A batch has T = sqrt(2/pi) sum_j l_j z_j / |l|.
    """

    phi: eqx.Module
    second: float
    batch_size: float

    def __call__(self, R) -> Fluctuation:
        gamma = (2 / jnp.pi) * (self.batch_size - 1) / (2 * R + self.second) - self.phi(R) ** 2
        return Fluctuation(gamma, jnp.zeros_like(R), jnp.zeros_like(R))


class TabulatedFluctuations(eqx.Module):
    """(s^2 gamma, length_variance, coupling) over log R; constant outside."""

    log_R: Float[np.ndarray, " n"]
    values: Float[np.ndarray, "3 n"]

    def __call__(self, R) -> Fluctuation:
        x = jnp.log(R)
        scaled, length_variance, coupling = (
            jnp.interp(x, jnp.asarray(self.log_R), jnp.asarray(row)) for row in self.values
        )
        return Fluctuation(scaled / (2 * R), length_variance, coupling)


def sampled_fluctuations(weight, noise: NoiseLaw, batch_size: int, log_R, factor: float = 1.0) -> TabulatedFluctuations:
    """From quasi-random residuals, for u = w sum_j l_j x_j / b with w = ``weight``(|l| / b) bounding |w l|.

    ``factor`` multiplies T^2 (2/pi for signs of such a sum).
    """
    sample = residual_sample(noise, batch_size)
    values = [fluctuation_of_sample(weight, *sample, R, factor)[1] for R in np.exp(log_R)]
    return TabulatedFluctuations(log_R, np.array(values).T)


def fluctuation_of_sample(weight, means, variances, q, R, factor: float = 1.0):
    """psi and (s^2 gamma, length_variance, coupling) at one risk, from ``residual_sample``.

    Given l_j, drawn from N(m_j, V_j) as m_j + sqrt(V_j) q_j, z_j has mean s q_j / sqrt(V_j) and variance 1 - s^2 / V_j,
    so that E[T^2 | l] - E is w^2 s^2 ((sum_j l_j q_j / sqrt(V_j))^2 - sum_j l_j^2 / V_j) / b^2.
    """
    root = np.sqrt(2 * R + variances)
    residual = means + root * q
    b = residual.shape[1]
    lam2 = np.sum(residual**2, axis=1) / b**2
    w2 = weight(np.sqrt(lam2)) ** 2
    along = np.sum(residual * q / root, axis=1) / b
    excess = np.mean(w2 * (along**2 - np.sum((residual / root) ** 2, axis=1) / b**2))
    drift, energy = np.mean(np.sqrt(w2) * along), w2 * lam2
    psi = np.mean(energy)
    length_variance = np.var(energy) / psi**2
    coupling = np.mean(np.sqrt(w2) * along * energy) / psi - drift
    return psi, (2 * R * factor * (excess - drift**2), length_variance, coupling)
