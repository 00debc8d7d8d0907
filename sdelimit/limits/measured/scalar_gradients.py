"""Gradients of single coordinates, given the residuals that all coordinates share (theory: section 6)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.jit import jit


def unit_residuals(noise, s, batch_size, key, shape):
    """(r, zeta) of independent batches: the gradient is r xi, and moving along delta by h changes it by h r zeta.

    r = |(l_1..l_b)| / b and zeta = sum_i l_i z_i / |(l_1..l_b)| (theory: section 6), z_i replaced by its mean given l_i
    and the Gaussian component N(m_i, v_i) that eps_i comes from: l_i = (s^2 + v_i)^(1/2) q_i - m_i, and
    E[z_i | l_i] = s q_i / (s^2 + v_i)^(1/2). Of order s where v_i is, so that a drift of order s drowns in no noise.
    """
    return norm_and_projection(*residuals(noise, s, batch_size, key, shape))


def residuals(noise, s, batch_size, key, shape):
    """(q, m, v, s) of batches: standard normals, means and variances, (batch_size, *shape) each."""
    key_q, key_noise = jax.random.split(key)
    q = jax.random.normal(key_q, (batch_size, *shape))
    return q, *noise.sample_components(key_noise, (batch_size, *shape), q.dtype), s


def norm_and_projection(q, mean, variance, s):
    """(r, zeta); see ``unit_residuals``."""
    width = jnp.sqrt(s**2 + variance)
    residual = width * q - mean
    largest = jnp.max(jnp.abs(residual), axis=0)
    direction = residual / jnp.where(largest > 0, largest, 1.0)
    length = jnp.sqrt(jnp.sum(direction**2, axis=0))
    zeta = jnp.sum(direction * (s / width) * q, axis=0) / jnp.where(length > 0, length, 1.0)
    return largest * length / q.shape[0], zeta


def nonzero_normal(key, shape):
    """Standard normals, never exactly zero: rules without eps divide by them."""
    value = jax.random.normal(key, shape)
    return jnp.where(value == 0, jnp.finfo(value.dtype).eps, value)


@jit
def trajectory(transform, gradients: Float[Array, "T n"], params: Float[Array, " n"]) -> Float[Array, "T n"]:
    """The updates of n independent coordinates, each given to the rule alone as an array of shape (1,)."""

    def alone(gradients, param):
        def step(state, gradient):
            update, state = transform.update(gradient[None], state, param[None])
            return state, update[0]

        return jax.lax.scan(step, transform.init(param[None]), gradients)[1]

    return jax.vmap(alone, in_axes=(1, 0), out_axes=1)(gradients, params)


@jit
def trajectory_along(transform, gradients: Float[Array, "T n"], params: Float[Array, "T n"]) -> Float[Array, "T n"]:
    """The same for parameters that are others at every step."""

    def alone(gradients, params):
        def step(state, given):
            gradient, param = given
            update, state = transform.update(gradient[None], state, param[None])
            return state, update[0]

        return jax.lax.scan(step, transform.init(params[:1]), (gradients, params))[1]

    return jax.vmap(alone, in_axes=1, out_axes=1)(gradients, params)


@jit
def joint_trajectory(transform, gradients, params):
    """The updates of n coordinates given to the rule as one array of shape (n,): what a coordinatewise rule allows."""

    def step(state, gradient):
        update, state = transform.update(gradient, state, params)
        return state, update

    return jax.lax.scan(step, transform.init(params), gradients)[1]


def random_gradients(seed, steps, n, shift=0.0):
    """Gradients r (xi + shift) of scalar histories with r = |z|, xi and z standard normal."""
    random = np.random.default_rng(seed)
    return np.abs(random.standard_normal((steps, n))) * (random.standard_normal((steps, n)) + shift)
