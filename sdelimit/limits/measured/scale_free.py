"""The limit of a rule that was inspected and probed, if it is scale free or homogeneous of degree 1."""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.exact.sgd import ResidualVariance
from sdelimit.limits.limit import Limit
from sdelimit.limits.measured.forgetting_time import TOLERANCE, Memory, longest, measure_memory
from sdelimit.limits.measured.monte_carlo import MAX_CHAIN_STEPS, probe
from sdelimit.limits.measured.rule_checks import ProbeReport
from sdelimit.limits.measured.scalar_gradients import joint_trajectory
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.noise_kernel import Estimate
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.sampled.laplace_transform import ratio_drift
from sdelimit.limits.sampled.long_run_variance import sampled_response, variance_ratio
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.weights import Weights
from sdelimit.noise.base import NoiseLaw

LOWEST = -7.5
"""log(2R / noise scale^2) below which phi is taken to follow its reference and kappa to stay. What else changes there
is of order s / (noise scale), and a rule that jumps shows its drift in one history out of so many."""


def probed_limit(transform, report: ProbeReport, noise: NoiseLaw, batch_size: int, relative_error, seed) -> Limit:
    """Limit of an inspected rule, by its kind: scale free (M = D^-1) or homogeneous of degree 1 (M = I).

    A linear rule u = sum_j a_j g_-j has phi = A = sum_j a_j and noise A^2 2P/b K, exactly; one whose weights run
    through a cycle has phi = E[A] and E[A^2], A the effect of a gradient on all later updates. Any other rule of degree
    1 is (2P)^(1/2) times a rule whose coefficients depend on R as those of a scale-free one. ValueError if a rule of
    degree 1 meets noise of infinite variance.
    """
    degree = 1 if report.kind == "degree_1" else 0
    if degree:
        require_variance(noise)
    if report.linear:
        variance = ResidualVariance(float(noise.second_moment), float(batch_size))
        return Limit(Constant(report.gain), ScaledVariance(report.noise_gain, variance), 0, ("rho",))
    rule = ProbedRule(transform, degree, relative_error, *_decays(report.memory))
    # No cache on disk: the repr of a user's functions does not name them in another process.
    limit = tabulated_limit(rule, noise, batch_size, seed=seed, cache="")
    if not degree:
        return limit
    variance = ResidualVariance(float(noise.second_moment), 1.0)
    return Limit(DegreeOneDrift(limit.phi, variance), DegreeOneNoise(limit.psi, variance), 0, limit.basis, limit.errors)


@dataclass(frozen=True)
class ProbedRule:
    """A rule known by running it; for one of ``degree`` 1, its direction divided by (2P)^(1/2)."""

    samples: ClassVar[int] = MAX_CHAIN_STEPS
    scale_free: ClassVar[bool] = True
    responds: ClassVar[bool] = True

    transform: object
    degree: int
    relative_error: float
    b1: float
    b2: float

    def unit(self, noise: NoiseLaw) -> float:
        """A length comparable to the noise."""
        return noise_scale(noise)

    def drift(self, noise: NoiseLaw, R, batch_size: int):
        """phi(R) of Adam with as much memory, exact: of nearly the same shape in R."""
        a, w = (Weights(0.0, 1 - b, b) for b in (self.b1, self.b2))
        return ratio_drift(a, w, noise, R, batch_size)

    def estimates(self, noise: NoiseLaw, R, batch_size: int, samples: int, seed: int = 0) -> list[Estimate]:
        """phi(R) and kappa(rho; R) for each ``R``, sampled."""
        R = np.asarray(R, np.float64)
        inside = R if noise.second_moment == 0 else np.maximum(R, self.unit(noise) ** 2 * np.exp(LOWEST) / 2)
        memory = memory_over_risks(self.transform, noise, inside, batch_size, seed)
        sampled = {risk: self._probe(noise, risk, batch_size, memory, samples, seed) for risk in np.unique(inside)}
        follow = self.drift(noise, R, batch_size) / self.drift(noise, inside, batch_size)
        return [
            Estimate(f * e.phi, f * e.phi_se, e.kappa, e.kappa_se)
            for f, e in zip(follow, (sampled[risk] for risk in inside), strict=True)
        ]

    @property
    def steps(self) -> float:
        """How many gradients of one sign the update may add up."""
        return (1 + self.b1) / (1 - self.b1)

    @property
    def _like(self) -> RatioRule:
        """Adam with as much memory."""
        return RatioRule(*(Weights(0.0, 1 - b, b) for b in (self.b1, self.b2)), 2)

    @property
    def weights(self):
        """Those of Adam with as much memory."""
        return self._like.weights

    def response(self, noise: NoiseLaw, R: float, batch_size: int, r):
        """The mean update G(r), in any unit, sampled (theory: section 15)."""
        G = self._like.response(noise, R, batch_size, r)
        return sampled_response(self, self._like, noise, R, batch_size, 1 / (1 - self.b2), r, G)

    def fluctuations(self, noise: NoiseLaw, R: float, batch_size: int, r, G):
        """Long-run variance at r over that at 0, sampled."""
        return variance_ratio(self, noise, R, batch_size, 1 / (1 - self.b2), r, G)

    def direction(self, g: Float[Array, "T n"]) -> Float[Array, "T n"]:
        """F along histories that are repeated, once they have been seen."""
        return joint_trajectory(self.transform, jnp.concatenate([g, g]), jnp.zeros(g.shape[1]))[g.shape[0] :]

    def _probe(self, noise, R, batch_size, memory, samples, seed) -> Estimate:
        found = probe(
            self.transform, noise, R, batch_size,
            relative_error=self.relative_error, seed=seed, memory=memory, max_chain_steps=samples,
        )  # fmt: skip
        size = batch_size ** (-self.degree / 2)
        return Estimate(*(x * size for x in found[:2]), *(x * size**2 for x in found[2:]))


def _decays(memory: Memory) -> tuple[float, float]:
    """b1 and b2 of Adam with this memory: b1^window = b2^burn_in = what the inspection counts as forgotten."""
    b1, b2 = (TOLERANCE ** (1 / steps) if steps else 0.0 for steps in (memory.window, memory.burn_in))
    return b1, max(b1, b2)


def memory_over_risks(transform, noise, R, batch_size, seed, sizes=(1.0,)) -> Memory:
    """How long the rule remembers at the smallest, the middle and the largest of the risks ``R``."""
    risks = sorted({np.min(R), np.exp(np.mean(np.log([np.min(R), np.max(R)]))), np.max(R)})
    return longest(measure_memory(transform, noise, risk, batch_size, seed, sizes) for risk in risks)


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


class DegreeOneDrift(eqx.Module):
    """phi(R) = (2P)^(1/2) times that of the rule divided by it."""

    phi: eqx.Module
    variance: ResidualVariance

    def __call__(self, R: Float[Array, ""]) -> Float[Array, ""]:
        return self.phi(R) * jnp.sqrt(self.variance(R)[0])


class DegreeOneNoise(eqx.Module):
    """psi(R) = 2P times that of the rule divided by (2P)^(1/2)."""

    psi: eqx.Module
    variance: ResidualVariance

    def __call__(self, R: Float[Array, ""]) -> Float[Array, " p"]:
        return self.psi(R) * self.variance(R)


def require_variance(noise):
    """NoLimitError if the label noise has infinite variance."""
    if not np.isfinite(noise.second_moment):
        raise NoLimitError(
            f"noise must have finite variance for a rule whose steps are proportional to the gradient, got {noise} "
            f"with E[eps^2] = {noise.second_moment}",
            "its mean risk is infinite after one step",
        )
