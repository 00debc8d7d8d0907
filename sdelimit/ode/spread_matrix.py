"""The spread of single runs where no coordinates decouple (theory: sections 9 and 18).

For a run's Z = y y', y = D delta, and p = dR/dZ = P, which starts as Khat / 2,

    -dP/ds = -(Khat A P + P A Khat) + <P, dF/dR> Khat / 2,    Var R(t) = (4 eta^2 / d) int_0^t tr(P N P Z) ds,

with the drift F = eta^2/d D N(R) D - (A Khat Z + Z Khat A) of the mean of Z, A = eta diag(sigma_i^2 phi_i(R)), and with
D N D for N. Four products of d x d matrices for each step and output.
"""

import jax
import jax.numpy as jnp

from sdelimit.numerics.jit import jit
from sdelimit.ode.matrix import MatrixSystem


@jit
def spread_of_matrices(system: MatrixSystem, h, eta, Z, starts):
    """Var R at the ends of the steps ``starts``, (out,).

    ``h``, ``eta`` and ``Z`` are the lengths of the steps, and the learning rate and the mean of Z in their middles. A
    step is half a step of decay, the noise and the response of the coefficients, and another half.
    """
    khat, d = jnp.asarray(system.matrices.khat), Z.shape[1]
    members, noises = jnp.asarray(system.matrices.members), jnp.asarray(system.matrices.noise)

    def step(carry, inputs):
        index, h, eta, Z = inputs
        R = system.positive(system.risk(Z))
        a, b = system.coefficients(R)
        da, db = jax.jacfwd(system.coefficients)(R)
        X = h / 2 * eta * (system.decay * (a @ members))[:, None] * khat
        half = jnp.eye(d) - X + X @ (X / 2 - X @ X / 6)
        N = jnp.tensordot(b, noises, axes=1)
        slope = eta**2 / d * jnp.tensordot(db, noises, axes=1)
        slope -= 2 * eta * (system.decay * (da @ members))[:, None] * (khat @ Z)

        def move(one):
            start, P, variance = one
            P = half.T @ jnp.where(start == index, khat / 2, P) @ half
            added = 4 * eta**2 / d * h * jnp.sum((P @ N) * (Z @ P))
            P = P + h / 2 * jnp.sum(P * slope) * khat
            return start, half.T @ P @ half, variance + added

        def one_output(one):
            return jax.lax.cond(one[0] >= index, move, lambda one: one, one)

        return jax.lax.map(one_output, carry), None

    count = starts.shape[0]
    carry = jnp.asarray(starts), jnp.zeros((count, d, d)), jnp.zeros(count)
    (_, _, variance), _ = jax.lax.scan(step, carry, (jnp.arange(h.shape[0]), h, eta, Z), reverse=True)
    return variance


@jit
def largest_drifts(system: MatrixSystem, Z):
    """The largest phi_i(R) for each of several Z."""
    members = jnp.asarray(system.matrices.members)
    return jax.lax.map(lambda z: jnp.max(system.coefficients(system.positive(system.risk(z)))[0] @ members), Z)
