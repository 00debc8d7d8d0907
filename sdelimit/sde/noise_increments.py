"""The noise of one SDE step in the modes, by one matrix product for all paths."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.modes.decoupled import noise_factor
from sdelimit.numerics import normals
from sdelimit.numerics.precision import evaluate_in_float64

SPACING = 0.7
"""Distance of the risks, in log R, at which the shape of the noise is tabulated."""
MARGIN = 2.0
"""How far, in log R, the paths are expected to stray beyond the range of the mean risk."""
SAME = 1e-3
"""Shapes whose kernels' shares of the heating differ by less are one shape."""


class Kicks(eqx.Module):
    """Gaussian kicks with the covariance sum_q psi_q(R) N_q, N_q = Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q.

    They heat the risk by exactly psi(R).h; the shape sum_q psi_q N_q / psi.h, which changes slowly with R, is that of
    the nearest of a few risks. So paths at similar risks share one product, in float32, with a factor of that shape.

    Attributes:
        log_R: (k,) where the shapes are taken, ``SPACING`` apart.
        factors: F' with F F' = shape: (k, d) if all kernels are diagonal in the modes, else (k, d, d).
        heat: h_q = tr(Lambda N_q).
    """

    log_R: Float[np.ndarray, " k"]
    factors: Float[Array, "k d"] | Float[Array, "k d d"]
    heat: Float[np.ndarray, " q"]

    def __call__(self, R: Float[Array, " n"], psi: Float[Array, "n q"], z: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The kicks of paths at the risks ``R`` from standard normals."""
        nearest = jnp.clip(jnp.rint((jnp.log(R) - self.log_R[0]) / SPACING), 0, len(self.log_R) - 1)

        def add(total, knot):
            j, factor = knot
            mine = (nearest == j)[:, None]
            product = lambda: applied(factor, jnp.where(mine, z, 0.0))  # noqa: E731
            return total + jax.lax.cond(jnp.any(mine), product, lambda: jnp.zeros_like(total)), None

        factors = jnp.asarray(self.factors)
        if len(factors) == 1:
            total = applied(factors[0], z)
        else:
            total, _ = jax.lax.scan(add, jnp.zeros_like(z), (jnp.arange(len(factors)), factors))
        return jnp.sqrt(psi @ self.heat)[:, None] * total


def kicks_of(problem, limit, decay, theory) -> Kicks:
    """``Kicks`` of ``limit`` for paths near the mean risk of ``theory``."""
    factors = [noise_factor(problem, limit, name) for name in limit.basis]
    covariances = [f**2 if f.ndim == 1 else f @ f.T for f in factors] if len(factors) > 1 else None
    variances = [f**2 if f.ndim == 1 else np.sum(f**2, axis=1) for f in factors]
    heat = np.stack(variances) @ decay
    if covariances is None:
        return Kicks(np.zeros(1), transposed(factors[0] / np.sqrt(heat[0]))[None], heat)
    risks = theory.risk[np.isfinite(theory.risk) & (theory.risk > 0)]
    low, high = (np.log([risks.min(), risks.max()]) if risks.size else np.zeros(2)) + [-MARGIN, MARGIN]
    log_R = low + SPACING * np.arange(np.ceil((high - low) / SPACING) + 1)
    shares = evaluate_in_float64(jax.vmap(limit.psi), np.exp(log_R)) * heat
    shares /= np.sum(shares, axis=1, keepdims=True)
    if np.ptp(shares, axis=0).max() < SAME:
        shares, log_R = shares[:1], log_R[:1]
    return Kicks(log_R, jnp.stack([transposed(_factor(s / heat, covariances)) for s in shares]), heat)


def _factor(weights, covariances):
    """F with F F' = sum_q weights_q covariances_q, diagonals among them."""
    dense = next((c for c in covariances if c.ndim == 2), None)
    if dense is None:
        return np.sqrt(weights @ np.stack(covariances))
    total = np.zeros_like(dense)
    for w, c in zip(weights, covariances, strict=True):
        if c.ndim == 2:
            total += w * c
        else:
            np.einsum("ii->i", total)[:] += w * c
    try:
        return np.linalg.cholesky(total)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(total)
        return vectors * np.sqrt(np.maximum(values, 0.0))


def mean_decay(x):
    """(1 - exp(-x)) / x, the mean of exp(-x u) over u in [0, 1]."""
    safe = jnp.where(x > 1e-8, x, 1.0)
    return jnp.where(x > 1e-8, -jnp.expm1(-safe) / safe, 1.0)


def standard_normals(keys, index, shape):
    """Standard normals of the given shape for every path at step ``index``, drawn in float32."""
    draw = jax.vmap(lambda key: jax.random.normal(normals.step_key(key, index), shape, jnp.float32))
    return draw(keys).astype(jnp.float64)


def transposed(factor):
    """F' in float32, which ``applied`` takes; the (d,) diagonal of a diagonal F as it is."""
    return factor if factor.ndim == 1 else jnp.asarray(np.ascontiguousarray(factor.T), jnp.float32)


def applied(factor, z):
    """F z for the vectors in the rows of ``z``: one float32 product with F' = ``factor`` for all of them."""
    return factor * z if factor.ndim == 1 else (z.astype(factor.dtype) @ factor).astype(z.dtype)
