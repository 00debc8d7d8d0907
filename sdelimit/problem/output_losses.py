"""Losses of several linear scores U = Theta' x, Theta of shape (d, m) (theory: section 22).

The gradient of one sample is x l', l = dloss/dU in R^m. In the arrays here outputs are along the last axis.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sdelimit.noise.multivariate import OutputNoise
from sdelimit.problem.losses import SMALLEST_SLOPE, Loss, UniformDraws


class OutputLoss(Loss):
    """A loss of m scores and a law of labels; a JAX pytree of numbers.

    Subclasses give ``slope`` and ``score_loss``, and ``draws`` and ``label`` if their labels are random.

    Attributes:
        outputs: m.
    """

    outputs: int = eqx.field(static=True)

    def slope(self, v: Float[Array, "... m"], u_star: Float[Array, "... m"], label):
        """l = dloss/dU at U = U* + V."""
        raise NotImplementedError

    def score_loss(self, v: Float[Array, "... m"], u_star: Float[Array, "... m"], label) -> Float[Array, "..."]:
        """The loss itself, up to what does not depend on U."""
        raise NotImplementedError

    def slopes_of(self, x, draw, theta_star, delta):
        rows, m = delta.reshape(*delta.shape[:2], self.outputs, -1), self.outputs
        v = _scores(x[:, None], rows)
        u_star = _scores(x, theta_star.reshape(m, -1))[:, None] if self.needs_target else None
        slopes = self.slope(v, u_star, self.label(draw[:, None], u_star))
        return jnp.swapaxes(slopes, 2, 3).reshape(delta.shape[0], -1, x.shape[1])

    def mean_value(self, x, draw, theta_star, theta):
        m = self.outputs
        v = _scores(x, (theta - theta_star).reshape(m, -1))
        u_star = _scores(x, theta_star.reshape(m, -1))
        return jnp.mean(self.score_loss(v, u_star, self.label(draw, u_star)))


def _scores(x: Float[Array, "... b d"], rows: Float[Array, "... m d"]) -> Float[Array, "... b m"]:
    """<x, row> of every sample and output."""
    return jnp.einsum("...bd,...md->...bm", x, rows, precision=jax.lax.Precision.HIGHEST)


class LinearOutputs(OutputLoss):
    """|U - y|^2 / 2 with y = U* + eps, so that l = V - eps."""

    needs_target: ClassVar[bool] = False
    noise: OutputNoise

    def slope(self, v, u_star, label):
        return v - label

    def score_loss(self, v, u_star, label):
        return jnp.sum((v - label) ** 2, axis=-1) / 2

    def draws(self, noise):
        return self.noise


class Softmax(OutputLoss):
    """-ln p_y(U), p = softmax(U), for a class y of probabilities p* = softmax(U*); soft labels give the mean over y."""

    soft: bool = eqx.field(static=True)

    def slope(self, v, u_star, label):
        if self.soft:
            return soft_slope(v, u_star)
        p = jax.nn.softmax(u_star + v, axis=-1)
        # Far from the boundary p leaves the range of float32, but the sign of l is still that of the label.
        others = jnp.sum(p * (1 - label), axis=-1, keepdims=True)
        return jnp.where(label > 0, -jnp.maximum(others, SMALLEST_SLOPE), jnp.maximum(p, SMALLEST_SLOPE))

    def score_loss(self, v, u_star, label):
        weight = jax.nn.softmax(u_star, axis=-1) if self.soft else label
        return jax.nn.logsumexp(u_star + v, axis=-1) - jnp.sum(weight * (u_star + v), axis=-1)

    def draws(self, noise):
        return noise if self.soft else UniformDraws()

    def label(self, draw, u_star):
        """The class as a vector of zeros and a one; soft labels need none."""
        if self.soft:
            return None
        edges = jnp.cumsum(jax.nn.softmax(u_star, axis=-1), axis=-1)[..., :-1]
        chosen = jnp.sum(draw[..., None] > edges, axis=-1)
        return jax.nn.one_hot(chosen, self.outputs, dtype=u_star.dtype)

    @property
    def classifies(self):
        return True


def soft_slope(v, u_star):
    """p - p* without cancellation, for small v and for probabilities close to 0 or 1.

    With y = v - ln sum_a p*_a e^{v_a}, p = p* e^y. Of a class more likely than 1/2 it is minus the sum of the others.
    """
    log_star = jax.nn.log_softmax(u_star, axis=-1)
    near = jnp.log1p(jnp.sum(jnp.exp(log_star) * jnp.expm1(jnp.clip(v, -1.0, 1.0)), axis=-1, keepdims=True))
    far = jax.nn.logsumexp(log_star + v, axis=-1, keepdims=True)
    y = v - jnp.where(jnp.max(jnp.abs(v), axis=-1, keepdims=True) < 1, near, far)
    log_p = log_star + y
    change = jnp.where(y > 0, -jnp.exp(log_p), jnp.exp(log_star)) * jnp.expm1(-jnp.abs(y))
    half = jnp.log(jnp.asarray(0.5, v.dtype))
    likely = (log_star > half) & (log_p > half)
    others = jnp.sum(jnp.where(likely, 0.0, change), axis=-1, keepdims=True)
    return jnp.where(likely, -others, change)
