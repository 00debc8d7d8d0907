"""Signum and Lion with their memories resolved, from the first step on (theory: section 17).

In u = sign(b0 g + b1 y) the sum inside is Gaussian, given the residuals, with a variance to which the filtered noise
contributes q and the filtered signal Y (in units of sigma_i^2). Bussgang's theorem gives the gains

    p0 = sqrt(2/pi) b0 E[l z / sqrt(V)] / s,    p1 = sqrt(2/pi) b1 E[J / sqrt(V)] / (1 - beta^k),
    V = b0^2 l^2 + b1^2 (q + Y),    q = sum_j (1-beta)^2 beta^(2j) l_j^2,    J = sum_j (1-beta) beta^j l_j z_j / s

over the k gradients seen, at the risk that q remembers. Y, O(memory / d) compared with q, is that of the moments: with
S = sum_i E[y_i^2] without its own noise, dS/dt = 2 c (sum_i lambda_i E[w_i y_i] - S) and Y = k4 S / tr D, where k4 is
the kurtosis of the signal over coordinates, 1 if it is Gaussian.

The kernel of the noise splits into its linear part, which is the filtered noise of gradients, and a rest of short
memory. While the signal, which is correlated for longer, takes part in the sum, its cube adds to the rest.
"""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.limit import Limit
from sdelimit.limits.memory import FilteredLaw, Gains, RememberedRisk, signal_kurtosis
from sdelimit.limits.noise_kernel import SPLIT_BASIS
from sdelimit.limits.residual_law import noise_scale
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.ratio_memory import LONGEST_RATE, MEMORIES
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.tabulated import tabulated_limit
from sdelimit.limits.sampled.truncated_history import signed_gains
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64

RISK_RANGE = 12.0
"""|log(2R / noise scale^2)| up to which gains relative to phi depend on the risk."""
RISK_DEGREE, STEP_DEGREE, SIGNAL_DEGREE = 20, 14, 8
PROBES = 4
LARGEST_SIGNAL = 50.0
"""Largest Y / q of the table."""


class GainTable(eqx.Module):
    """log(p / phi) of the newest gradient and of older ones: polynomials in log R, log k and log(V / (V - b1^2 Y)).

    Attributes:
        coefficients: (2, r, k, y) of Chebyshev polynomials.
        log_risk, log_steps, log_signal: ends of the ranges.
        unit: noise scale squared, so that a residual's square is about 2R + unit.
        first, older: b0^2 and b1^2 (1 - beta) / (1 + beta) of batch means of residuals of size 1.
        signal: b1^2.
        decay: beta.
    """

    coefficients: Float[np.ndarray, "2 r k y"]
    log_risk: Float[np.ndarray, " 2"]
    log_steps: Float[np.ndarray, " 2"]
    log_signal: Float[np.ndarray, " 2"]
    unit: float
    first: float
    older: float
    signal: float
    decay: float

    def of_noise(self, R, k):
        """b0^2 l^2 + b1^2 q about."""
        return (self.first + self.older * (1 - self.decay ** (2 * (k - 1)))) * (2 * R + self.unit)

    def __call__(self, R, k, Y) -> Float[Array, " 2"]:
        """(p0, p1) / phi."""
        share = jnp.log1p(self.signal * Y / self.of_noise(R, k))
        bases = (
            _chebyshev(jnp.log(R), self.log_risk, self.coefficients.shape[1]),
            _chebyshev(jnp.log(k), self.log_steps, self.coefficients.shape[2]),
            _chebyshev(share, self.log_signal, self.coefficients.shape[3]),
        )
        return jnp.exp(jnp.einsum("arky,r,k,y->a", jnp.asarray(self.coefficients), *bases))


def _chebyshev(x, ends, count):
    """The first polynomials at x, clipped to the range."""
    u = jnp.clip((2 * x - ends[0] - ends[1]) / jnp.maximum(ends[1] - ends[0], TINY), -1.0, 1.0)
    angle = jnp.arccos(jnp.clip(u, -1 + 1e-14, 1 - 1e-14))
    return jnp.cos(jnp.arange(count) * angle)


class SignGains(eqx.Module):
    """Gains of F = sign(b0 g + b1 y).

    Attributes:
        split: the limit for a short memory, with its kernel split into the linear part and the rest.
        table: p0 / phi and p1 / phi.
        remembered: the risk that q remembers.
        filter_rate: c = d (1 - beta).
        decay: beta.
        kurtosis: k4.
        trace: tr D.
        correlation: of successive sums, without signal.
        signal_decay: sum_i lambda_i^2 / sum_i lambda_i, about the rate of decay of the signal at eta phi = 1.
        d: dimension.
    """

    split: Limit
    table: GainTable
    remembered: RememberedRisk
    filter_rate: float
    decay: float
    kurtosis: float
    trace: float
    correlation: float
    signal_decay: float
    d: float

    @property
    def response_remembers(self):
        return False

    def initial_scalars(self):
        return np.append(self.remembered.initial(), 0.0)

    def relaxation(self, q):
        rate, target = self.remembered.relaxation(q[0] / 2)
        return jnp.append(rate, 2 * self.filter_rate), jnp.append(target, q[1])

    def signal(self, m):
        """Y."""
        return self.kurtosis * jnp.maximum(m[2], 0.0) / self.trace

    def saturation(self, q, m):
        """k4 Y / q, of q what it is about."""
        R, k = self.remembered(q[0] / 2, m[0], m[1]), 1 + self.d * m[0]
        return self.table.signal * self.signal(m) / self.table.of_noise(R, k)

    def gains(self, q, m, eta=0.0):
        R, Y = q[0] / 2, self.signal(m)
        past_R = self.remembered(R, m[0], m[1])
        k = 1 + self.d * m[0]
        newest = self.table(past_R, k, Y)[0]
        older = self.table(past_R, jnp.maximum(k, 2.0), Y)[1]
        phi, kernel = self.split.phi(past_R), self.split.psi(R)
        alone = jnp.arange(kernel.shape[0]) > 0
        noise = jnp.where(alone, 0.0, kernel / self.split.phi(R) ** 2)
        newest, older = newest * phi, older * phi
        r = eta / self.d * (newest + older) * self.signal_decay
        rest = jnp.where(alone, kernel, 0.0) * self.longer(r, past_R, Y, k)
        return Gains(newest, older, -jnp.expm1(-self.filter_rate * m[0]), noise, rest)

    def longer(self, r, past_R, Y, k):
        """The factor by which the cube of the signal, which is correlated for longer, adds to the rest of the noise.

        With the noise's share f of the variance and r the rate per step at which the signal decays,
        (1 + 2 sum_(m<k) (f n1 beta^(m-1) + (1-f) exp(-r m))^3) / (1 + 2 n1^3 / (1 - beta^3)).
        """
        of_noise = self.table.of_noise(past_R, k)
        f = of_noise / (of_noise + self.table.signal * Y)
        a, b = f * self.correlation, 1 - f
        n = jnp.minimum(k - 1, 1e6)

        def total(power):
            """sum_{m=1}^{n} beta^(j (m-1)) exp(-(3-j) r m), j = power."""
            rate = -power * jnp.log(self.decay) + (3 - power) * r
            first = jnp.exp(-(3 - power) * r)
            return first * jnp.where(rate * n > 1e-6, jnp.expm1(-rate * n) / jnp.expm1(-jnp.maximum(rate, 1e-12)), n)

        series = a**3 * total(3) + 3 * a**2 * b * total(2) + 3 * a * b**2 * total(1) + b**3 * total(0)
        return (1 + 2 * series) / (1 + 2 * self.correlation**3 / (1 - self.decay**3))


def sign_memory_limit(rule: SignedRule, problem, batch_size: int):
    """The law of ``rule`` on ``problem`` with its memory resolved, or the plain one where it is short."""
    noise, d, b = problem.noise, problem.d, rule.b
    stationary = tabulated_limit(rule, noise, batch_size)
    rate = d * (1 - b.decay)
    if b.past * b.decay == 0 or rate > LONGEST_RATE:
        return stationary
    split = tabulated_limit(rule, noise, batch_size, basis=SPLIT_BASIS)
    table = _gain_table(rule, noise, batch_size)
    gains = SignGains(
        split=replace(split, correlated=Aside(None), errors=None),
        table=table,
        remembered=RememberedRisk(-2 * d * np.log(b.decay)),
        filter_rate=rate,
        decay=b.decay,
        kurtosis=signal_kurtosis(problem),
        trace=float(problem.covariance.std.sum()),
        correlation=_first_correlation(rule),
        signal_decay=problem.cached("signal decay", lambda: _signal_decay(problem)),
        d=float(d),
    )
    return FilteredLaw(gains, rate, stationary, split.basis, stationary.correlated)


def _signal_decay(problem) -> float:
    """tr S^2 / tr S of S = D^-1/2 K D^-1/2, tr S^2 = E|S z|^2 from random signs z: within a few percent."""
    root = np.sqrt(problem.covariance.std)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, problem.d))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    images = [evaluate_in_float64(problem.covariance.apply, z * inverse) * inverse for z in signs]
    return float(np.mean(np.sum(np.square(images), axis=1)) / np.sum(root**2))


def _first_correlation(rule: SignedRule) -> float:
    """The correlation of successive sums, for residuals of one size."""
    b = rule.b
    later = b.past * b.decay
    first = b.first * later + later**2 * b.decay / (1 - b.decay**2)
    return float(first / (b.first**2 + later**2 / (1 - b.decay**2)))


@memoized
def _gain_table(rule: SignedRule, noise: NoiseLaw, batch_size: int) -> GainTable:
    b = rule.b
    gaussian = isinstance(noise, (NoNoise, Gaussian))
    unit = noise.second_moment if gaussian else noise_scale(noise) ** 2
    law = NoNoise() if gaussian else noise
    log_risk = np.zeros(2) if gaussian else np.log(unit / 2) + RISK_RANGE * np.array([-1.0, 1.0])
    nodes = np.cos(np.pi * (np.arange(RISK_DEGREE + 1) + 0.5) / (RISK_DEGREE + 1))
    risks = np.array([0.5]) if gaussian else np.exp(log_risk.mean() + RISK_RANGE * nodes)
    memory = 1 / (1 - b.decay)
    log_steps = np.array([0.0, np.log(MEMORIES * memory)])
    steps = np.unique(np.rint(np.exp(np.linspace(*log_steps, 6 * STEP_DEGREE))).astype(int))
    log_signal = np.array([0.0, np.log1p(LARGEST_SIGNAL)])
    signal_nodes = np.cos(np.pi * (np.arange(SIGNAL_DEGREE + 1) + 0.5) / (SIGNAL_DEGREE + 1))
    shares = np.expm1(log_signal[1] * (1 + signal_nodes) / 2)
    b1 = b.past * b.decay / (1 - b.decay)
    sizes = b.first**2 / batch_size, b1**2 * (1 - b.decay) / (1 + b.decay) / batch_size
    empty = GainTable(np.zeros((2, 1, 1, 1)), log_risk, log_steps, log_signal, float(unit), *sizes, b1**2, b.decay)
    table = []
    for R in risks:
        size = empty.of_noise(R, steps) / (1 + unit if gaussian else 1)
        # Given a sum of squares of l of the batch, its mean gradient is that root over b.
        signals = batch_size**2 * size[:, None] * shares / (2 * R)
        values = signed_gains(b, law, batch_size, float(R), list(steps), signals)
        phi = rule.drift(law, [R], batch_size)[0]
        filled = 1 - b.decay ** (steps - 1.0)
        values[1] /= np.where(filled > 0, filled, 1.0)[:, None]
        table.append(np.log(np.maximum(values / phi, TINY)))
    table = np.array(table)  # risk, 2, step, signal
    x = 2 * np.log(steps) / log_steps[1] - 1
    design = np.polynomial.chebyshev.chebvander(x, STEP_DEGREE)
    in_signal = np.linalg.inv(np.polynomial.chebyshev.chebvander(signal_nodes, SIGNAL_DEGREE))
    in_risk = np.ones((1, 1)) if gaussian else np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, RISK_DEGREE))
    late = steps > 1
    parts = [np.linalg.pinv(design), np.pad(np.linalg.pinv(design[late]), ((0, 0), (1, 0)))]
    coefficients = np.stack(
        [np.einsum("ar,ks,yz,rsz->aky", in_risk, part, in_signal, table[:, i]) for i, part in enumerate(parts)]
    )
    return replace(empty, coefficients=coefficients)
