"""Coordinate clipping, u_i = clip(g_i, -c, c): a scale-dependent limit (theory: section 9; arXiv:2306.00204).

The batch gradient of coordinate i is lam sigma_i xi_i with lam = |(l_1 .. l_b)|_2 / b and xi ~ N(0, I) correlated
by Khat. With a = lam sigma / c, r = 1 / a and h(a) = P(|a xi| < 1) = erf(r / sqrt 2),

    phi(sigma; R) = (1/s) E[(1/b) sum_j z_j l_j h(a)] = E[h(a) + (1/b) a h'(a)]     (Stein)
    N_ij(R) = c^2 sum_(k odd) Khat_ij^k E[f_k(a_i) f_k(a_j)],   f_k(a) = E[clip(a xi, -1, 1) h_k(xi)],

h_k the orthonormal Hermite polynomials: f_1 = a h(a) and, integrating by parts,
f_k = -2 a pdf(r) h_{k-2}(r) / sqrt(k (k-1)). High degrees are summed in ``GROUPS``, and the rest of the exact
variance E[clip(a xi, -1, 1)^2] goes to the last of ``EXPONENTS``: N has its exact diagonal and no negative eigenvalue.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy import special

from sdelimit.limits.residual_law import noise_scale, residual_sample
from sdelimit.limits.scale_dependent import ScaleDependentLimit
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.normal_mean import normal_quadrature

GROUPS = (*((k,) for k in range(1, 16, 2)), range(17, 24, 2), range(25, 38, 2), range(39, 62, 2))
"""Hermite degrees, in groups where they are high and f_k changes little from one to the next."""
EXPONENTS = (1, 3, 5, 7, 9, 11, 13, 15, 19, 31, 49, 127)
"""The power of Khat that stands for each group, and for the degrees above 61."""
SPACING = 0.15
"""Step of the trapezoid rule for the law of lam, in arcsinh lam."""
SAMPLE, NEARLY_ZERO = 2**14, 1e-3
"""Batches of residuals for the mean at a correlation, and a correlation at which it is linear."""
FAR = 5.0
"""Standard deviations of a component between its mean and 0 beyond which Gauss-Hermite quadrature is accurate."""


class ClipCoordinateLimit(ScaleDependentLimit):
    """phi(sigma; R) and N(R) of coordinate clipping at ``threshold``, for any noise law and batch size."""

    threshold: float
    noise: NoiseLaw
    batch_size: int = eqx.field(static=True)
    exponents: tuple[int, ...] = eqx.field(static=True, default=EXPONENTS)

    def coefficients(self, R, sigma):
        # A quarter of the least lam that is clipped: a function of exp(-1 / 2a^2) is constant below.
        lam, weights = residual_norm(self.noise, self.batch_size, R, self.threshold / sigma.max() / 4)
        a = lam * sigma[:, None] / self.threshold
        kernels = [self.threshold**2 * (f * weights) @ f.swapaxes(-1, -2) for f in clip_spectrum(a)]
        return clip_drift(a, self.batch_size) @ weights, np.array(
            [k.sum(axis=0) if k.ndim == 3 else k for k in kernels]
        )

    def bend(self, R, sigma, r):
        """Of E clip(sigma (r p + (1 - r^2)^(1/2) |l| xi / b)), p = sum_j l_j z_j / b, from a sample of residuals."""
        means, variances, q = residual_sample(self.noise, self.batch_size, size=SAMPLE)
        V = 2 * R + variances
        l = means + np.sqrt(V) * q  # noqa: E741
        rest = np.random.default_rng(0).normal(size=q.shape)  # what of z is not in l
        z = np.sqrt(2 * R / V) * q + np.sqrt(variances / V) * rest
        along, across = np.mean(l * z, axis=1), np.linalg.norm(l, axis=1) / self.batch_size
        found = np.empty(np.shape(r))
        for i, (scale, correlation) in enumerate(zip(sigma / self.threshold, r, strict=True)):
            slope = _mean_clipped(scale * NEARLY_ZERO * along, scale * across) / NEARLY_ZERO
            mean = _mean_clipped(scale * correlation * along, scale * np.sqrt(1 - correlation**2) * across)
            found[i] = mean / (slope * correlation) - 1 if correlation else 0.0
        return found

    def risk_range(self, sigma):
        scales = [self.threshold / sigma.max(), self.threshold / sigma.min(), noise_scale(self.noise)]
        return 1e-8 * min(scales) ** 2, 1e8 * max(scales) ** 2


def _mean_clipped(mean, width):
    """E clip(mean + width xi, -1, 1), over the arrays too."""
    width = np.maximum(width, TINY)
    high, low = (1 - mean) / width, (-1 - mean) / width
    density = np.exp(-(high**2) / 2) - np.exp(-(low**2) / 2)
    inside = special.ndtr(high) - special.ndtr(low)
    return float(
        np.mean(mean * inside - width * density / np.sqrt(2 * np.pi) + special.ndtr(-high) - special.ndtr(low))
    )


def clip_drift(a: Float[np.ndarray, "..."], batch_size: int = 1) -> Float[np.ndarray, "..."]:
    """h(a) + (1/b) a h'(a), h(a) = erf(1 / (a sqrt 2))."""
    r = 1 / a
    return special.erf(r / np.sqrt(2)) - np.sqrt(2 / np.pi) * r * np.exp(-(r**2) / 2) / batch_size


def clip_spectrum(a: Float[np.ndarray, "s n"]) -> list[Float[np.ndarray, "..."]]:
    """f_k(a) of each group of ``GROUPS``, (degrees, s, n), and last the root of the variance left, (1, s, n)."""
    r = np.minimum(1 / a, 38.0)  # beyond, nothing is clipped and the density underflows
    pdf, inside = np.exp(-(r**2) / 2) / np.sqrt(2 * np.pi), special.erf(r / np.sqrt(2))
    variance = a**2 * (inside - 2 * r * pdf) + special.erfc(r / np.sqrt(2))
    degrees = {1: a * inside}
    below, current = np.ones_like(r), r  # h_0 and h_1
    for k in range(3, GROUPS[-1][-1] + 1, 2):
        degrees[k] = -2 * a * pdf * current / np.sqrt(k * (k - 1))
        for n in (k - 1, k):  # h_n = (r h_{n-1} - sqrt(n-1) h_{n-2}) / sqrt(n)
            below, current = current, (r * current - np.sqrt(n - 1) * below) / np.sqrt(n)
    left = np.maximum(variance - sum(f**2 for f in degrees.values()), 0.0)
    return [np.array([degrees[k] for k in group]) for group in GROUPS] + [np.sqrt(left)[None]]


def residual_norm(noise: NoiseLaw, batch_size: int, R: float, finest: float):
    """The law of lam = |(l_1 .. l_b)|_2 / b at risk R: nodes and weights.

    For functions that are smooth on the scale ``finest`` of lam.

    Exact up to quadrature for one sample, or Gaussian residuals; quasi-Monte Carlo otherwise.
    """
    if isinstance(noise, (NoNoise, Gaussian)):
        return _chi_nodes(batch_size, np.sqrt(2 * R + noise.second_moment) / batch_size, finest)
    if batch_size > 1:
        return _sampled_nodes(noise, batch_size, R)
    weights, means, variances = noise.components()
    V = 2 * R + variances
    far = np.abs(means) > FAR * np.sqrt(V)
    pieces = [_far_nodes(weights[far], means[far], V[far])] if far.any() else []
    if not far.all():
        pieces.append(_near_nodes(weights[~far], means[~far], V[~far], finest))
    nodes, masses = (np.concatenate(x) for x in zip(*pieces, strict=True))
    return nodes, masses / masses.sum()


def _log_nodes(unit, largest):
    """Trapezoid rule on [0, largest], resolving all scales from ``unit`` up: lam = unit sinh x."""
    x = SPACING * np.arange(0.5, np.arcsinh(largest / unit) / SPACING + 1)
    return unit * np.sinh(x), unit * np.cosh(x) * SPACING


def _chi_nodes(b, scale, finest):
    """lam = scale chi_b."""
    lam, width = _log_nodes(min(finest, scale), scale * (9 + np.sqrt(b)))
    q = lam / scale
    log_density = (b - 1) * np.log(q) - q**2 / 2
    weights = np.exp(log_density - log_density.max()) * width
    return lam, weights / weights.sum()


def _near_nodes(weights, means, V, finest):
    """|l| for components within ``FAR`` standard deviations of the origin: their density on one grid."""
    root = np.sqrt(V)
    lam, width = _log_nodes(min(finest, root.min()), np.max(np.abs(means) + 9 * root))
    density = np.zeros_like(lam)
    for w, m, r in zip(weights, means, root, strict=True):
        density += w / (np.sqrt(2 * np.pi) * r) * sum(np.exp(-(((lam + side) / r) ** 2) / 2) for side in (m, -m))
    return lam, density * width


def _far_nodes(weights, means, V):
    """|l| for components well away from the origin: Gauss-Hermite around each."""
    q, w = normal_quadrature(12)
    nodes = np.abs(means[:, None] + np.sqrt(V)[:, None] * q)
    return nodes.ravel(), (weights[:, None] * w).ravel()


def _sampled_nodes(noise, batch_size, R):
    """Quasi-random values of lam; those within 1% of each other are averaged to one node."""
    means, variances, q = residual_sample(noise, batch_size, size=2**16)
    log_lam = np.log(np.linalg.norm(means + np.sqrt(2 * R + variances) * q, axis=1) / batch_size)
    _, index, counts = np.unique(np.floor(100 * log_lam).astype(int), return_inverse=True, return_counts=True)
    return np.exp(np.bincount(index, log_lam) / counts), counts / counts.sum()
