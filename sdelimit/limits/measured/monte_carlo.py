"""The limit of any coordinatewise rule, by running its own update on simulated scalar histories.

Coordinate i has the gradients r_j xi_j (times sigma_i), with r_j shared by all coordinates and xi_j ~ N(0, 1)
correlated across them. Chains xi and rho xi + sqrt(1 - rho^2) zeta with the same r give (theory: section 6)

    phi(R)        = (1/s) d/dh E[F(r_j (xi_j + h zeta_j))] at h = 0      ("tangent")
                  = (1/s) E[F sum_j zeta_j xi_j]                         ("Stein")
    kappa(rho; R) = sum over all lags m of E[F_t F'_{t+m}].

A rule that looks at the scale of its gradients is run at several gradient sizes S_i at once, F_i being its update for
S_i r_j xi_j: phi becomes a function of the size and kappa_ij(rho) the lag sum of E[F_i F'_j] (theory: section 9).
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.limits.measured.chains import _Sampler
from sdelimit.limits.measured.forgetting_time import Memory, measure_memory
from sdelimit.limits.measured.long_run_covariance import MeanAndError
from sdelimit.limits.noise_kernel import Estimate
from sdelimit.noise.base import NoiseLaw
from sdelimit.numerics.precision import precision

MAX_CHAIN_STEPS = 2**26
"""Chain-steps (chains times steps) after which a probe that is still too noisy gives up and warns."""

DISAGREEMENT = 5.0
"""Standard errors between the two estimates of phi beyond which the tangent is taken to be wrong."""


class ProbeWarning(UserWarning):
    """The Monte-Carlo error of a probed limit is larger than asked for."""


class Details(NamedTuple):
    """What chains at gradient sizes S_1..S_q gave, in units where a typical gradient is S_i.

    Attributes:
        slope: (q,) s phi = d/dh E[F_i] by the ``method`` chosen, "tangent", "stein" or "both".
        kappa: (k, q, q) the lag sums at the correlations ``CHAIN_RHO``.
        tangent, stein: both estimates of ``slope``.
        chain_steps: chains times steps averaged.
        relative_error: the largest of slope and of the diagonal of kappa(1).
    """

    slope: MeanAndError
    kappa: MeanAndError
    tangent: MeanAndError
    stein: MeanAndError
    method: str
    memory: Memory
    chain_steps: int
    relative_error: float


def probe(
    transform,
    noise: NoiseLaw,
    R: float,
    batch_size: int = 1,
    *,
    relative_error: float = 3e-3,
    seed: int = 0,
    memory: Memory | None = None,
    max_chain_steps: int = MAX_CHAIN_STEPS,
    details: bool = False,
):
    """phi(R) and kappa(rho; R) of a scale-free rule at one risk R, with Monte-Carlo standard errors.

    Args:
        transform: the rule, accepted by ``inspect_rule``. Gradients are fed in units of the residuals, where a
            tiny eps does nothing.
        noise, R, batch_size: the law of the residuals.
        relative_error: wanted standard error of phi and of kappa(1), relative to their values.
        seed: same seed, same numbers.
        memory: of the rule under this noise; measured if not given.
        max_chain_steps: give up, with a ``ProbeWarning``, after so many.
        details: also return ``Details``.

    Raises ValueError if the rule never forgets under this noise, gives non-finite updates, or has no positive drift.
    """
    memory = memory or measure_memory(transform, noise, R, batch_size, seed)
    found = probe_sizes(
        transform, noise, R, batch_size, np.ones(1), memory, relative_error, seed=seed, max_chain_steps=max_chain_steps
    )
    s, kappa = np.sqrt(2.0 * R), [np.append(0.0, x[:, 0, 0]) for x in found.kappa]
    estimate = Estimate(float(found.slope.value[0] / s), float(found.slope.error[0] / s), *kappa)
    return (estimate, found) if details else estimate


def probe_sizes(
    transform,
    noise: NoiseLaw,
    R: float,
    batch_size: int,
    sizes: Float[np.ndarray, " q"],
    memory: Memory,
    relative_error: float,
    *,
    seed: int = 0,
    max_chain_steps: int = MAX_CHAIN_STEPS,
) -> Details:
    """The rule's drift and noise at one risk for gradients of several sizes; arguments and errors as in ``probe``.

    The drift is the more precise of the tangent (automatic differentiation through the history) and Stein estimates
    unless they disagree, as they do for rules that jump, such as sign: automatic differentiation does not see jumps,
    and the Stein form is then used.
    """
    with precision(np.float32):
        sampler = _Sampler(transform, noise, R, batch_size, sizes, memory, seed)
        while True:
            sampler.advance()
            tangent, stein, kappa = sampler.estimates()
            slope, method = _choose(tangent, stein)
            error = max(_relative(slope), _relative(MeanAndError(*(np.einsum("ii->i", x[-1]) for x in kappa))))
            if error <= relative_error or sampler.chain_steps >= max_chain_steps:
                break
    _require_drift(slope, R)
    if error > relative_error:
        warnings.warn(
            f"probe stopped at a relative Monte-Carlo error of {error:.2g} > {relative_error:.2g} after "
            f"{sampler.chain_steps:.2g} chain-steps (R = {R:g}, {noise})",
            ProbeWarning,
            stacklevel=2,
        )
    return Details(
        slope=slope, kappa=kappa, tangent=tangent, stein=stein, method=method, memory=memory,
        chain_steps=sampler.chain_steps, relative_error=error,
    )  # fmt: skip


def _relative(measured):
    value = np.abs(measured.value)
    return float(np.max(np.divide(measured.error, value, out=np.full_like(value, np.inf), where=value > 0)))


def _require_drift(slope, R):
    if np.any(slope.value < 3 * slope.error):
        worst = np.argmin(slope.value / slope.error)
        s = np.sqrt(2 * R)
        raise ValueError(
            f"transform must have a positive drift, but phi = {slope.value[worst] / s:.3g} +- "
            f"{slope.error[worst] / s:.1g} at R = {R:g}: pass the direction (scale_by_..., not the full optimizer, "
            "which multiplies by -learning_rate)"
        )


def _choose(tangent, stein):
    """The estimate of s phi and the name of the method: the more precise at each size, unless the tangent is wrong."""
    apart = np.abs(tangent.value - stein.value) > DISAGREEMENT * np.hypot(tangent.error, stein.error)
    if np.any(apart):
        return stein, "stein"
    better = tangent.error < stein.error
    chosen = MeanAndError(*(np.where(better, one, other) for one, other in zip(tangent, stein, strict=True)))
    return chosen, "tangent" if np.all(better) else "both"
