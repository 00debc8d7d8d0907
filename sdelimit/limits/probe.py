"""The limit of any coordinatewise rule, by running its own update on simulated scalar histories.

Coordinate i sees the gradients r_j xi_j (times sigma_i), with r_j shared by all coordinates and xi_j ~ N(0, 1)
correlated across them. Chains xi and rho xi + sqrt(1 - rho^2) zeta with the same r give (theory: section 6)

    phi(R)        = (1/s) d/dh E[F(r_j (xi_j + h zeta_j))] at h = 0      ("tangent")
                  = (1/s) E[F sum_j zeta_j xi_j]                         ("Stein")
    kappa(rho; R) = sum over all lags m of E[F_t F'_{t+m}].

A rule that looks at the scale of its gradients is run at several gradient sizes S_i at once, F_i being its answer to
S_i r_j xi_j: phi becomes a function of the size and kappa_ij(rho) the lag sum of E[F_i F'_j] (theory: section 9).
"""

import warnings
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit import _rng
from sdelimit._jit import jit
from sdelimit._precision import precision
from sdelimit.limits.inspection import Memory, measure_memory, nonzero_normal, reduced, residuals
from sdelimit.limits.kernel import Estimate
from sdelimit.limits.lag_sums import CHAIN_RHO, Measured, contributions, controlled_mean, products
from sdelimit.limits.residuals import typical_residual
from sdelimit.noise import NoiseLaw, NoNoise

LARGEST = 1e10
"""Longest gradient, in units of a typical one: squares and cubes stay finite in float32."""

MAX_CHAIN_STEPS = 2**26
"""Chain-steps (chains times steps) after which a probe that is still too noisy gives up and warns."""

DISAGREEMENT = 5.0
"""Standard errors between the two estimates of phi beyond which the tangent is taken to be wrong."""

ELEMENTS = 4096
"""Chains times sizes run side by side."""


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

    slope: Measured
    kappa: Measured
    tangent: Measured
    stein: Measured
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
            error = max(_relative(slope), _relative(Measured(*(np.einsum("ii->i", x[-1]) for x in kappa))))
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
    return Details(slope, kappa, tangent, stein, method, memory, sampler.chain_steps, error)


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
    chosen = Measured(*(np.where(better, one, other) for one, other in zip(tangent, stein, strict=True)))
    return chosen, "tangent" if np.all(better) else "both"


class _Sampler:
    """Independent chains at every size, advanced round by round, and the averages over time of each chain."""

    def __init__(self, transform, noise, R, batch_size, sizes, memory, seed):
        block = max(8, 8 * -(-memory.window // 8))  # few shapes, so that compiled code is used again
        sizes = np.asarray(sizes, np.float32)
        chains = int(np.clip(2**21 // (block * sizes.size), 256, max(256, ELEMENTS // sizes.size)))
        self.shape = int(np.clip(2048 // block, 6, 64)), block, chains
        self.transform, self.law, self.sizes = transform, (noise, float(np.sqrt(2.0 * R)), batch_size), sizes
        self.unit = typical_residual(noise, R) / np.sqrt(batch_size)
        self.key = _rng.run_key(seed, 2)
        state = transform.init(jnp.zeros(chains * sizes.size))
        moving = jax.tree.map(jnp.zeros_like, eqx.filter(state, eqx.is_inexact_array))
        self.state = state, moving, transform.init(jnp.zeros(chains * sizes.size * (CHAIN_RHO.size - 1)))
        self.rounds = self.averaged = 0
        self.total = None
        for _ in range(-(-memory.burn_in // (self.shape[0] * block))):
            self._run()

    @property
    def chain_steps(self) -> int:
        """Chains times steps averaged so far."""
        return self.averaged * int(np.prod(self.shape))

    def advance(self):
        """One more round, added to the averages."""
        new = products(self._run(), self.shape[1])
        self.total = new if self.total is None else jax.tree.map(np.add, self.total, new)
        self.averaged += 1

    def _run(self):
        self.rounds += 1
        key = _rng.step_key(self.key, self.rounds)
        self.state, sums = _round(self.transform, self.shape, self.law, self.unit, self.sizes, key, self.state)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
        if not np.all(np.isfinite(sums.update)):
            raise ValueError("transform gives non-finite updates on random gradients of a long history")
        return sums

    def estimates(self):
        """s phi by tangent and by Stein, (q,), and kappa, (k, q, q), each with errors."""
        pairs = 2 if _in_pairs(self.law[0]) else 1
        mean = jax.tree.map(lambda x: x.reshape(*x.shape[:-1], pairs, -1).mean(-2) / self.averaged, self.total)
        tangent = controlled_mean(mean.tangent, np.zeros((0, mean.tangent.shape[-1])))
        stein = controlled_mean(mean.stein, mean.stein_controls)
        # E[r^2] = 1 in units of a typical gradient, where it is finite.
        known = mean.square - 1 if np.isfinite(self.law[0].second_moment) else mean.square[:0]
        controls = [np.concatenate([control, known]) for control in mean.kappa_controls]
        kappa = [controlled_mean(*pair) for pair in zip(mean.kappa, controls, strict=True)]
        return tangent, stein, Measured(*(np.array(x) for x in zip(*kappa, strict=True)))


@jit
def _round(transform, shape, law, unit, sizes, key, state):
    """Advance every chain by ``shape`` = (blocks, block, chains) steps; (state, BlockSums)."""
    blocks, block, chains = shape

    def one_block(state, key):
        r, zeta, xi = _histories(law, jax.random.split(key), block, chains)
        r = jnp.minimum(r / unit, LARGEST)
        advance = partial(_advance, transform, sizes)
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(advance, state, r[0], zeta[0], xi[0])[1])

        def step(carry, drawn):
            state, sums = carry
            state, new = advance(state, *drawn)
            return (state, jax.tree.map(jnp.add, sums, new)), None

        return jax.lax.scan(step, (state, zero), (r, zeta, xi))[0]

    return jax.lax.scan(one_block, state, jax.random.split(key, blocks))


def _histories(law, keys, block, chains):
    """r, zeta, (block, n), and two independent xi, (block, 2, n).

    Under noise of which nothing is Gaussian the chains come in pairs, z and -z with the same eps and xi: where s is
    far below the noise this flips zeta and leaves r nearly unchanged, so that noise of order one cancels from a drift
    of order s.
    """
    noise, s, batch_size = law
    chains = chains // 2 if _in_pairs(noise) else chains
    q, *rest = residuals(noise, s, batch_size, keys[0], (block, chains))
    xi = nonzero_normal(keys[1], (block, 2, chains))
    if not _in_pairs(noise):
        return *reduced(q, *rest), xi
    both = zip(reduced(q, *rest), reduced(-q, *rest), strict=True)
    return *(jnp.concatenate(pair, axis=-1) for pair in both), jnp.concatenate([xi, xi], axis=-1)


def _in_pairs(noise):
    return not isinstance(noise, NoNoise) and type(noise).sample_components is NoiseLaw.sample_components


def _advance(transform, sizes, state, r, zeta, xi):
    """One step of every chain: (state, what it adds to BlockSums)."""
    own_state, moving, others = state
    xi, independent = xi
    rho = CHAIN_RHO[:-1, None]
    correlated = rho * xi + np.sqrt(1 - rho**2) * independent
    length = sizes[:, None] * r
    update, tangent, own_state, moving = _differentiated(
        transform, own_state, moving, (length * xi).ravel(), (length * zeta).ravel()
    )
    elsewhere = length * correlated[:, None]
    other_updates, others = transform.update(elsewhere.ravel(), others, jnp.zeros(elsewhere.size))
    updates = jnp.concatenate([other_updates.reshape(elsewhere.shape), update.reshape(1, *length.shape)])
    sums = contributions(updates, tangent.reshape(length.shape), r, zeta, correlated, xi, independent)
    return (own_state, moving, others), sums


def _differentiated(transform, state, moving, gradient, direction):
    """Update and state of the rule, and their tangents, for a gradient that moves in ``direction``."""
    inexact, rest = eqx.partition(state, eqx.is_inexact_array)

    def advance(inexact, gradient):
        update, state = transform.update(gradient, eqx.combine(inexact, rest), jnp.zeros_like(gradient))
        inexact, others = eqx.partition(state, eqx.is_inexact_array)
        return (update, inexact), others

    (update, inexact), (tangent, moving), rest = jax.jvp(
        advance, (inexact, gradient), (moving, direction), has_aux=True
    )
    return update, tangent, eqx.combine(inexact, rest), moving
