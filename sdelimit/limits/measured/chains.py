"""Many independent histories of one rule, advanced together (theory: section 6)."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.measured.long_run_covariance import (
    CHAIN_RHO,
    MeanAndError,
    contributions,
    control_variate_mean,
    products,
)
from sdelimit.limits.measured.scalar_gradients import nonzero_normal, norm_and_projection, residuals
from sdelimit.limits.residual_law import typical_residual
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics import normals
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.jit import jit, shared_size

LARGEST = 1e10
"""Longest gradient, in units of a typical one: squares and cubes stay finite in float32."""


ELEMENTS = 4096
"""Chains times sizes run side by side."""


class _Sampler:
    """Independent chains at every size, advanced round by round, and the averages over time of each chain."""

    def __init__(self, transform, noise, R, batch_size, sizes, memory, seed):
        block = shared_size(max(memory.window, 1), 8)
        sizes = np.asarray(sizes, np.float32)
        chains = int(np.clip(2**21 // (block * sizes.size), 256, max(256, ELEMENTS // sizes.size)))
        self.shape = int(np.clip(2048 // block, 6, 64)), block, chains
        self.transform, self.law, self.sizes = transform, (noise, float(np.sqrt(2.0 * R)), batch_size), sizes
        self.unit = typical_residual(noise, R) / np.sqrt(batch_size)
        self.key = normals.run_key(seed, 2)
        state = transform.init(jnp.zeros(chains * sizes.size))
        moving = jax.tree.map(jnp.zeros_like, eqx.filter(state, eqx.is_inexact_array))
        self.state = state, moving, transform.init(jnp.zeros(chains * sizes.size * (CHAIN_RHO.size - 1)))
        self.rounds = self.averaged = 0
        self.total = None
        for _ in range(ceil_div(memory.burn_in, self.shape[0] * block)):
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
        key = normals.step_key(self.key, self.rounds)
        self.state, sums = _round(self.transform, self.shape, self.law, self.unit, self.sizes, key, self.state)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
        if not np.all(np.isfinite(sums.update)):
            raise ValueError("transform gives non-finite updates on random gradients of a long history")
        return sums

    def estimates(self):
        """s phi by tangent and by Stein, (q,), and kappa, (k, q, q), each with errors."""
        pairs = 2 if _antithetic(self.law[0]) else 1
        mean = jax.tree.map(lambda x: x.reshape(*x.shape[:-1], pairs, -1).mean(-2) / self.averaged, self.total)
        tangent = control_variate_mean(mean.tangent, np.zeros((0, mean.tangent.shape[-1])))
        stein = control_variate_mean(mean.stein, mean.stein_controls)
        # E[r^2] = 1 in units of a typical gradient, where it is finite.
        known = mean.square - 1 if np.isfinite(self.law[0].second_moment) else mean.square[:0]
        controls = [np.concatenate([control, known]) for control in mean.kappa_controls]
        kappa = [control_variate_mean(*pair) for pair in zip(mean.kappa, controls, strict=True)]
        return tangent, stein, MeanAndError(*(np.array(x) for x in zip(*kappa, strict=True)))


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
    chains = chains // 2 if _antithetic(noise) else chains
    q, *rest = residuals(noise, s, batch_size, keys[0], (block, chains))
    xi = nonzero_normal(keys[1], (block, 2, chains))
    if not _antithetic(noise):
        return *norm_and_projection(q, *rest), xi
    both = zip(norm_and_projection(q, *rest), norm_and_projection(-q, *rest), strict=True)
    return *(jnp.concatenate(pair, axis=-1) for pair in both), jnp.concatenate([xi, xi], axis=-1)


def _antithetic(noise):
    return not isinstance(noise, NoNoise) and type(noise).sample_components is NoiseLaw.sample_components


def _advance(transform, sizes, state, r, zeta, xi):
    """One step of every chain: (state, what it adds to BlockSums)."""
    own_state, moving, others = state
    xi, independent = xi
    rho = CHAIN_RHO[:-1, None]
    correlated = rho * xi + np.sqrt(1 - rho**2) * independent
    length = sizes[:, None] * r
    update, tangent, own_state, moving = _update_and_tangent(
        transform, own_state, moving, (length * xi).ravel(), (length * zeta).ravel()
    )
    elsewhere = length * correlated[:, None]
    other_updates, others = transform.update(elsewhere.ravel(), others, jnp.zeros(elsewhere.size))
    updates = jnp.concatenate([other_updates.reshape(elsewhere.shape), update.reshape(1, *length.shape)])
    sums = contributions(updates, tangent.reshape(length.shape), r, zeta, correlated, xi, independent)
    return (own_state, moving, others), sums


def _update_and_tangent(transform, state, moving, gradient, direction):
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
