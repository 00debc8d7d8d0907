"""Where the overlaps of single-index problems settle (theory: section 20).

With a = -phi0 / phi1 the modes of delta settle around a times those of theta*, theta is (1 + a) theta* and noise:

    S2 = a^2 B22 + eta sum_q psi_q F_q / (2 phi1),    X = a B22,    F_q = sum_i c_qi / d over modes with lambda_i > 0,

where the coefficients are those at S2 and X. With momentum eta is for each mode what section 16 has in its place.
Rules that weigh samples of small |l| up have a > 0 under label noise.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import root

from sdelimit.limits.weight_decay import DecayedLaw
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import evaluate_in_float64

FAR = 1e3
"""A norm that many times that of theta* is none where the limit settles."""
EASED = 0.5 ** np.arange(7)[::-1]
"""Parts of the learning rate at which states are found one after the other."""


class SettledOverlaps(NamedTuple):
    """delta' K delta and delta' K theta* where the limit settles; infinite if it does not."""

    S2: float
    X: float


def settled_overlaps(problem, law, eta: float) -> SettledOverlaps:
    """Where ``law`` settles at a constant learning rate, found from small ones on."""
    if isinstance(law, DecayedLaw):
        raise ValueError("weight_decay must be 0 for stationary risks on this problem, got a rule with decay")
    current, B22 = modes(problem, law), problem.target_variance
    moving = current.decay > 0
    decay, forcing = current.decay[moving], current.forcing[:, moving] / problem.d
    power, own = forcing.sum(axis=1), law
    law = own.memoryless
    noise = np.sqrt(law.source.value.exact(np.array([1e-6 * max(B22, 1e-6)]), np.zeros(1))[0, 2])
    state = np.array([0.0, np.log(np.sqrt(power.sum() * EASED[0] * eta) * max(noise, 1e-6))])

    def miss(state, rate):
        # Far away nothing is looked for.
        a, tau = np.clip(state[0], -FAR, FAR), np.exp(np.clip(state[1], -60.0, np.log(FAR * max(B22, 1.0))))
        S2, X = a**2 * B22 + tau**2, a * B22
        phi1, phi0, psi = _coefficients(law, S2, X)
        if not phi1 > 0:
            return np.array([1e3, 1e3])
        variance = rate * psi @ (forcing @ own.settled_gain(rate, phi1 * decay)) / (2 * phi1)
        return np.array([a * phi1 + phi0, np.log(variance) / 2 - state[1]])

    if abs(_coefficients(law, 1e-4 * B22 + 1e-12, 0.0)[0]) < 1e-9 * abs(_coefficients(law, B22 + 1e-12, 0.0)[1]):
        return SettledOverlaps(np.inf, np.inf)  # no force pulls theta back: signs of hard labels
    for part in EASED:
        found = root(miss, state, args=(part * eta,), tol=1e-10)
        if not found.success or abs(found.x[0]) > FAR or np.max(np.abs(found.fun)) > 1e-6:
            return SettledOverlaps(np.inf, np.inf)
        state = found.x
    a, tau = state[0], np.exp(state[1])
    return SettledOverlaps(float(a**2 * B22 + tau**2), float(a * B22))


def _coefficients(law, S2, X):
    """phi1, phi0 and psi, by quadrature instead of tables but for the shape of psi."""
    source = law.source.value
    if source.rule is None and not source.rough:
        values = evaluate_in_float64(lambda a, b: jnp.concatenate(law.values(a, b, jnp.zeros(()))), S2, X)
        return float(values[0]), float(values[1]), values[2:]
    phi1, phi0, total = source.exact(np.array([S2]), np.array([X]))[0]
    psi = evaluate_in_float64(lambda a, b: law.values(a, b, jnp.zeros(()))[1], S2, X)
    return phi1 / np.sqrt(S2), phi0 / max(source.sd_target, 1e-300), psi * total / psi.sum()


def overlap_stationary_risk(problem, law, eta: float) -> float:
    """The excess risk there."""
    return float(problem.risk_of(*settled_overlaps(problem, law, eta)))
