"""The noise of one SDE step in the modes, by at most one matrix product for all paths at similar risks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.modes.decoupled import Modes, against_mean, noise_along_mean
from sdelimit.numerics import normals
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.matrices import semidefinite_root
from sdelimit.numerics.precision import evaluate_in_float64

SPACING = 0.7
"""Distance of the risks, in log R, at which the shape of the noise is tabulated."""
MARGIN = 2.0
"""How far, in log R, the tables reach beyond the range of the mean risk, for paths above or below it."""
SAME_SHAPE = 1e-3
"""If each kernel's fraction of the noise changes by less than this over all risks, one shape is used."""


class IndependentIncrements(eqx.Module):
    """Noise that does not mix the modes: variances sum_q b_q c_qi.

    Attributes:
        variances: c_qi, (q, d).
    """

    variances: Float[np.ndarray, "q d"]

    def __call__(self, R: Float[Array, " n"], b: Float[Array, "n q"], z: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Increments of paths at the risks ``R`` from standard normals."""
        return jnp.sqrt(jnp.maximum(b @ self.variances, 0.0)) * z

    def against(self, R, b, decay, w):
        """x with self(R, b, x) = Lambda w, the mean update in the modes: least squares where the noise is singular."""
        root = jnp.sqrt(jnp.maximum(b @ self.variances, 0.0))
        return jnp.where(root > 0, decay * w / jnp.where(root > 0, root, 1.0), 0.0)

    def of_vectors(self, B: Float[Array, "n q k k"], z: Float[Array, "n q k d"]) -> Float[Array, "n k d"]:
        """Increments of k numbers a mode with the covariance sum_q B_q c_qi."""
        return jnp.einsum("nqab,qd,nqbd->nad", _roots(B), jnp.sqrt(jnp.maximum(self.variances, 0.0)), z)


class MixingIncrements(eqx.Module):
    """Noise with the covariance sum_q b_q(R) N_q, N_q = Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q, between modes.

    The risk gains exactly sum_q b_q tr(Lambda N_q); the shape sum_q b_q N_q / sum_q b_q tr(Lambda N_q), which changes
    slowly with R, is that of the nearest of a few risks. So one product, in float32, with a factor of that
    shape serves all paths at similar risks.

    Attributes:
        log_R: (k,) where the shapes are taken, ``SPACING`` apart.
        shapes: F' with F F' = shape: (k, d) if all kernels are diagonal in the modes, else (k, d, d).
        noise_power: tr(Lambda N_q).
        factors: F_q' with F_q F_q' = N_q, one for each kernel, for laws with several numbers a mode.
        inverses: (F^-1 Lambda)' of the shapes, for laws that know the covariance of steps along their mean.
    """

    log_R: Float[np.ndarray, " k"]
    shapes: Float[Array, "k d"] | Float[Array, "k d d"]
    noise_power: Float[np.ndarray, " q"]
    factors: tuple = ()
    inverses: Float[Array, "k d"] | Float[Array, "k d d"] | None = None

    def __call__(self, R: Float[Array, " n"], b: Float[Array, "n q"], z: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Increments of paths at the risks ``R`` from standard normals."""
        return jnp.sqrt(b @ self.noise_power)[:, None] * self._product(self.shapes, R, z)

    def against(self, R, b, decay, w):
        """x with self(R, b, x) = Lambda w, the mean update in the modes: least squares where the noise is singular."""
        del decay  # it is in the inverses
        return self._product(self.inverses, R, w) / jnp.sqrt(b @ self.noise_power)[:, None]

    def _product(self, shapes, R, z):
        """The matrix of the nearest risk times each row of ``z``."""
        nearest = jnp.clip(jnp.rint((jnp.log(R) - self.log_R[0]) / SPACING), 0, len(self.log_R) - 1)

        def add(total, knot):
            j, factor = knot
            mine = (nearest == j)[:, None]
            product = lambda: row_products(factor, jnp.where(mine, z, 0.0))  # noqa: E731
            return total + jax.lax.cond(jnp.any(mine), product, lambda: jnp.zeros_like(total)), None

        shapes = jnp.asarray(shapes)
        if len(shapes) == 1:
            return row_products(shapes[0], z)
        return jax.lax.scan(add, jnp.zeros_like(z), (jnp.arange(len(shapes)), shapes))[0]

    def of_vectors(self, B: Float[Array, "n q k k"], z: Float[Array, "n q k d"]) -> Float[Array, "n k d"]:
        """Increments of k numbers a mode with the covariance sum_q B_q N_q."""
        n, _, k, d = z.shape
        products = [row_products(f, z[:, q].reshape(n * k, d)).reshape(n, k, d) for q, f in enumerate(self.factors)]
        return jnp.einsum("nqab,nqbd->nad", _roots(B), jnp.stack(products, axis=1))


def _roots(B):
    """Symmetric square roots of small semidefinite matrices."""
    values, vectors = jnp.linalg.eigh(B)
    return jnp.einsum("...ai,...i,...bi->...ab", vectors, jnp.sqrt(jnp.maximum(values, 0.0)), vectors)


def noise_increments(problem, law, current: Modes, factors, theory):
    """The noise of ``law`` in the modes ``current`` of ``problem`` for paths near the mean risk of ``theory``.

    ``factors`` of its noise matrices as ``modes.noise_coordinates`` gives them.
    """
    if factors is None:
        return IndependentIncrements(current.forcing)
    variances = [f**2 if f.ndim == 1 else np.sum(f**2, axis=1) for f in factors]
    noise_power = np.stack(variances) @ current.decay
    if law.size > 1:
        return MixingIncrements(np.zeros(1), np.zeros((1, 1)), noise_power, tuple(map(float32_transpose, factors)))
    fluctuates = law.fluctuations is not None
    if len(factors) == 1:
        root = np.sqrt(noise_power[0])
        inverses = float32_transpose(noise_along_mean(problem, law) * root)[None] if fluctuates else None
        shape = float32_transpose(factors[0] / root)[None]
        return MixingIncrements(np.zeros(1), shape, noise_power, inverses=inverses)
    low, high = np.log(risks_of(theory)) + np.array([-MARGIN, MARGIN])
    log_R = low + SPACING * np.arange(np.ceil((high - low) / SPACING) + 1)
    scalars = jnp.asarray(law.initial_scalars())
    parts = evaluate_in_float64(jax.vmap(lambda R: law.noise_coefficients(R, scalars)), np.exp(log_R)) * noise_power
    parts /= np.sum(parts, axis=1, keepdims=True)
    if np.ptp(parts, axis=0).max() < SAME_SHAPE:
        parts, log_R = parts[:1], log_R[:1]
    covariances = [f**2 if f.ndim == 1 else f @ f.T for f in factors]
    shapes = [_factor_of_sum(part / noise_power, covariances) for part in parts]
    inverses = None
    if fluctuates:
        inverses = jnp.stack([float32_transpose(against_mean(shape, current.decay)) for shape in shapes])
    return MixingIncrements(log_R, jnp.stack(list(map(float32_transpose, shapes))), noise_power, inverses=inverses)


def _factor_of_sum(weights, covariances):
    """F with F F' = sum_q weights_q covariances_q, diagonals among them."""
    total = np.zeros_like(next(c for c in covariances if c.ndim == 2))
    for w, c in zip(weights, covariances, strict=True):
        if c.ndim == 2:
            total += w * c
        else:
            np.einsum("ii->i", total)[:] += w * c
    return semidefinite_root(total)


def risks_of(theory) -> tuple[float, float]:
    """Smallest and largest risk of a curve, of those that are positive and finite."""
    finite = theory.risk[np.isfinite(theory.risk) & (theory.risk > 0)]
    return (finite.min(), finite.max()) if finite.size else (TINY_RISK, TINY_RISK)


def mean_decay(x):
    """(1 - exp(-x)) / x, the mean of exp(-x u) over u in [0, 1]."""
    safe = jnp.where(x > 1e-8, x, 1.0)
    return jnp.where(x > 1e-8, -jnp.expm1(-safe) / safe, 1.0)


def standard_normals(keys, index, shape):
    """Standard normals of the given shape for every path at step ``index``, drawn in float32."""
    draw = jax.vmap(lambda key: jax.random.normal(normals.step_key(key, index), shape, jnp.float32))
    return draw(keys).astype(jnp.float64)


def float32_transpose(factor):
    """F' in float32, contiguous, as ``row_products`` needs it; the (d,) diagonal of a diagonal F as it is.

    So the noise of all paths is one matrix product: a step of 64 paths takes 0.3 to 1.3 times a float64 product of that
    size (benchmarks/ode.py, "SDE, dense K").
    """
    return factor if factor.ndim == 1 else jnp.asarray(np.ascontiguousarray(factor.T), jnp.float32)


def row_products(factor, z):
    """F z for the vectors in the rows of ``z``: one float32 product with F' = ``factor`` for all of them."""
    return factor * z if factor.ndim == 1 else (z.astype(factor.dtype) @ factor).astype(z.dtype)


def after_weight_decay(pull, clock, w: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """w of every path after decoupled weight decay, dw = -omega (w + w*) dt, for a time ``clock`` = int eta dt.

    ``pull`` is (omega, w*), or None without decay.
    """
    if pull is None:
        return w
    rate, target = pull
    return w + jnp.expm1(-rate * clock) * (w + target)
