"""What every law of the label noise can tell: samples, moments, and its expectations over Gaussian residuals."""

import dataclasses
import inspect

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.support import arguments as check


class NoiseLaw(eqx.Module):
    """The law of the label noise eps. Immutable; a JAX pytree of its parameters.

    Subclasses give ``sample``, ``gaussian_factor``, ``quadrature``, ``second_moment``, ``fourth_moment`` and
    ``density_at_zero``.
    """

    def sample(self, key, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "..."]:
        """Independent draws of eps of the given shape."""
        raise NotImplementedError

    def gaussian_factor(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """G(a) = E[exp(-a eps^2)] for a > 0; JAX-traceable and differentiable."""
        raise NotImplementedError

    def quadrature(self, n: int = 256) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Nodes e_k and weights w_k with sum_k w_k f(e_k) close to E f(eps) for bounded smooth f; k <= n.

        Continuous laws that are symmetric have nodes at all scales, from far below to far above that of eps:
        P(|eps| < e) = 1 / (1 + exp(-x)) with x equally spaced (the trapezoid rule, which converges geometrically).
        """
        raise NotImplementedError

    def components(self, n: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """eps as a mixture of Gaussians: weights, means and variances (0 for a point mass), each (k,), k <= n.

        Then l = s z - eps is a mixture of N(-mean, s^2 + variance). Gaussian scale mixtures (Student-t, Cauchy,
        Laplace) are given as such, which stays accurate however small s is; other laws by ``quadrature``.
        """
        nodes, weights = self.quadrature(n)
        return weights, nodes, np.zeros_like(nodes)

    def sample_components(self, key, shape: tuple[int, ...], dtype=jnp.float32):
        """Means and variances of the Gaussians of which eps is a mixture, drawn as the mixture draws them.

        eps = mean + sqrt(variance) N(0, 1) has the law of ``sample``. A law that is no mixture gives eps itself, and 0.
        """
        return self.sample(key, shape, dtype), jnp.zeros((), dtype)

    @property
    def second_moment(self) -> float:
        """E[eps^2], possibly infinite."""
        raise NotImplementedError

    @property
    def fourth_moment(self) -> float:
        """E[eps^4], possibly infinite."""
        raise NotImplementedError

    @property
    def density_at_zero(self) -> float:
        """f(0) of eps itself: infinite if eps has an atom at zero, 0 if it has no mass near it."""
        raise NotImplementedError

    def __repr__(self):
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in self._arguments}
        texts = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={_short(v)}" for k, v in shown.items()]
        return f"{type(self).__name__}({', '.join(texts)})"

    @property
    def _arguments(self):
        return set(inspect.signature(type(self).__init__).parameters)

    def residual_density(self, s) -> Float[np.ndarray, "..."]:
        """Density at zero of l = s z - eps, p_l(0) = G(1/(2 s^2)) / (s sqrt(2 pi)), for s > 0.

        Takes and returns NumPy arrays (float64). Theory: section 2. Raises ValueError unless every
        ``s`` is finite and positive.
        """
        s = check.array("s", s)
        if np.any(s <= 0):
            raise ValueError(f"s must be > 0, got a smallest value of {s.min():g}")
        factor = evaluate_in_float64(self.gaussian_factor, 1 / (2 * s**2))
        return factor / (s * np.sqrt(2 * np.pi))


def _short(value) -> str:
    if isinstance(value, np.ndarray):
        return f"<{value.size} values, rms {np.sqrt(np.mean(value**2)):.4g}>" if value.size > 8 else str(value.tolist())
    return getattr(value, "__name__", repr(value))
