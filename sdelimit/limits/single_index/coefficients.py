"""Drift and noise kernels of scale-free rules at one law of the gradient's length (theory: sections 6 and 20).

No sampling: with V^(-1/2) = pi^(-1/2) int t^(-1/2) exp(-t V) dt and sign x = (2/pi) int sin(w x) / w dw, expectations
over a history of independent gradients factorize, and what is left are integrals of one variable for the drift and of
two for the kernel, sums over lags included.
"""

from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.laplace_transform import integrate_over_history
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.floors import TINY

STEP = 0.1
"""Of grids in log t, as in limits/sampled/laplace_transform.py."""
LOW, HIGH = -64.0, 44.0
"""log(t E l^2) between which Laplace transforms are followed."""
KERNEL_STEP = 0.2
"""Largest step of the grids of kernels in log t."""
KERNEL_LOW, KERNEL_HIGH = -20.0, 6.0
SMALLEST = 1e-13
"""Weight of a bin that no kernel needs."""
ANGLES = np.concatenate([-(3.0 ** -np.arange(0, 12)), [0.0], 3.0 ** -np.arange(11, -1, -1)]) * 12
"""Edges of panels in log(w / w'), closer where w = w' and correlated signs are alike."""


class Law(NamedTuple):
    """The law of Lambda^2 in bins, in units of L = (E Lambda^2)^(1/2), with what l is correlated with.

    Attributes:
        pulls: sums give E[l Q f] of normal variables Q.
        signs: E[sign(l) Q]; not a number where it is not known.
    """

    square: Float[np.ndarray, " bins"]
    weight: Float[np.ndarray, " bins"]
    pulls: Float[np.ndarray, "q bins"]
    unit: float
    signs: Float[np.ndarray, " q"]
    moving: float


def law_at(found, row: int) -> Law:
    """Row ``row`` of a histogram, with Q = z and u* / sd(u*)."""
    pulls = np.stack([found.across[row], found.along[row]])
    return law_of(found.log_square[row], found.weight[row], pulls, found.signs[row], float(found.moving[row]))


def law_of(log_square, weight, pulls, signs, moving: float) -> Law:
    """The law with these bins."""
    square = np.exp(log_square)
    unit = np.sqrt(np.sum(weight * square))
    return Law(square / unit**2, weight, pulls / unit, float(unit), signs, moving)


def drift(rule, law: Law) -> Float[np.ndarray, " q"]:
    """E[F Q] of the Q: for a single index phi1 tau and (X phi1 + B22 phi0) / sd(u*), along z and u* / sd(u*)."""
    if isinstance(rule, SignedRule):
        if rule.b.past * rule.b.decay == 0:
            if np.all(np.isfinite(law.signs)):
                return np.sqrt(2 / np.pi) * law.signs
            return np.sqrt(2 / np.pi) * (law.pulls @ (1 / np.sqrt(law.square)))
        b = rule.b
        w, factor = b.squares, np.sqrt(2 / np.pi)
        x, psi, pull = _sign_transforms(law)
        a = b
    else:
        a, w, factor = rule.a, rule.w, 1.0
        if a.past * a.decay == w.past * w.decay == 0:
            size = a.first / w.first ** (1 / rule.p)
            return size * drift(SignedRule(Weights(1.0, 0.0, 0.0)), law)
        x, psi, pull = _ratio_transforms(law)
    found = [integrate_over_history(a, w, x, _log(psi), _ratio(chi, psi)) for chi in pull]
    return factor / np.sqrt(np.pi) * np.array(found)


LEAST = 1e-13
"""Of a mean over the law of l; below it what is left of bins is rounding."""


def _log(psi):
    """log psi of a decreasing psi, held where psi is lost in rounding."""
    return np.log(_held(psi, psi))


def _ratio(chi, psi):
    """chi / psi, held in the same way."""
    return _held(chi / np.where(psi < LEAST, 1.0, psi), psi)


def _held(values, psi):
    last = int(np.argmax(psi < LEAST)) if np.any(psi < LEAST) else psi.size
    return np.append(values[:last], np.full(psi.size - last, values[last - 1]))


def _grid(law: Law):
    """Bins that count, and log t."""
    kept = np.abs(law.weight) > SMALLEST
    return kept, np.arange(LOW, HIGH, STEP)


def _sign_transforms(law: Law):
    """x = log t, psi = E exp(-t l^2) and E[l Q exp(-t l^2)] for each Q."""
    kept, x = _grid(law)
    decays = np.exp(-np.exp(x)[:, None] * law.square[kept])
    return x, decays @ law.weight[kept], [decays @ pull[kept] for pull in law.pulls]


def _ratio_transforms(law: Law):
    """The same for X = l xi: E (1 + 2 t l^2)^(-1/2) and E[l Q (1 + 2 t l^2)^(-3/2)]."""
    kept, x = _grid(law)
    decays = 1 / np.sqrt(1 + 2 * np.exp(x)[:, None] * law.square[kept])
    cubes = decays**3
    return x, decays @ law.weight[kept], [cubes @ pull[kept] for pull in law.pulls]


def kernel(rule, law: Law) -> Float[np.ndarray, " r"]:
    """kappa(rho) at ``RHO``."""
    if isinstance(rule, SignedRule):
        memory = rule.b.past * rule.b.decay > 0
        return _sign_kernel(rule.b, law) if memory else law.moving * 2 / np.pi * np.arcsin(RHO)
    if rule.a.past * rule.a.decay == rule.w.past * rule.w.decay == 0:
        return rule.a.first**2 / rule.w.first ** (2 / rule.p) * law.moving * 2 / np.pi * np.arcsin(RHO)
    return _ratio_kernel(rule.a, rule.w, law)


def _sign_kernel(b: Weights, law: Law):
    """(2/pi) arcsin(rho) + 2 sum_{m >= 1} E[sign X_t sign X'_{t+m}].

    With psi(t) = E exp(-t l^2), Gamma(t) = sum_{j >= 0} log psi(t decay^{2j}), t_-+ = (w^2 + w'^2 -+ 2 rho w w') / 2
    and t0_-+ the same with r w for w, r = b_0 / past,

        E[sign X_t sign X'_{t+m}]
            = (2/pi^2) int int dlog w dlog w' V_m [psi(t0_-) e^{Gamma(decay^2 t_-)} - the same at t_+],
        V_m = psi(r^2 T decay^{-2m}) exp(Gamma(T decay^{-2(m-1)}) - Gamma(T)),    T = w'^2 / 2,

    where V_m is what the gradients after t do and the bracket what those up to t have in common.
    """
    x, psi, _ = _sign_transforms(law)
    log_psi = _log(psi)
    lag, ratio = -2 * np.log(b.decay), b.first / b.past
    gamma = Lags(lag, STEP)(lambda y: np.interp(y, x, log_psi), x[0], x[-1], 1.0)
    one, total = make_interp_spline(x, log_psi, k=3), gamma

    def psi_of(y):
        return np.exp(one(np.clip(y, x[0], x[-1])))

    def gamma_of(y):
        return total(np.clip(y, x[0], x[-1]))

    step = 0.2
    y = np.arange(-34.0, 12.0, step)
    steps = np.arange(1, int(np.ceil((20.0 - y[0]) / lag)) + 1)
    newer = np.zeros_like(y)
    for m in np.array_split(steps, max(1, steps.size * y.size // 2_000_000)):
        reach = y[:, None] + lag * m
        newer += np.sum(
            psi_of(reach + 2 * np.log(ratio)) * np.exp(gamma_of(reach - lag) - gamma_of(y)[:, None]), axis=1
        )
    half, middle = np.diff(ANGLES) / 2, (ANGLES[1:] + ANGLES[:-1]) / 2
    points, weights = np.polynomial.legendre.leggauss(8)
    angle = (middle[:, None] + half[:, None] * points).ravel()
    width = (half[:, None] * weights).ravel()
    quotient = np.exp(angle)
    out = np.zeros(RHO.size)
    for i, rho in enumerate(RHO):
        if rho == 0:
            continue
        parts = []
        for side in (-1, 1):
            t = np.log(np.maximum(1 + quotient**2 + side * 2 * rho * quotient, 1e-300))
            t0 = np.log(np.maximum(1 + (ratio * quotient) ** 2 + side * 2 * rho * ratio * quotient, 1e-300))
            parts.append(psi_of(y[:, None] + t0) * np.exp(gamma_of(y[:, None] + t - lag)))
        # dlog w' = dlog T / 2.
        integral = newer @ ((parts[0] - parts[1]) @ width) * step / 2
        out[i] = 2 / np.pi * np.arcsin(rho) + 4 / np.pi**2 * integral
    return out


class Lags:
    """sum_{j >= 0} decay^j f(x - j lag) of functions of x = log t on a grid."""

    def __init__(self, lag: float, step: float):
        if lag >= step:
            self.stride, self.cell = int(np.ceil(lag / step)), 1
            self.step = lag / self.stride
        else:
            self.stride, self.cell = 1, int(step / lag)
            self.step = self.cell * lag
        self.lag = lag

    def weights(self, decay: float):
        """Of f at the points -3 .. 2 from x, in sum_{j < cell} decay^j f(x - j lag)."""
        points = np.arange(-3, 3)
        at = -np.arange(self.cell) / self.cell
        basis = [
            np.prod([(at - q) / (p - q) for q in points if q != p], axis=0) @ decay ** np.arange(self.cell)
            for p in points
        ]
        return points, np.array(basis)

    def __call__(self, function, low, high, decay):
        """The sum as a spline, for f that vanishes at the lower end."""
        y = np.arange(low, high, self.step)
        return make_interp_spline(y, self.sums(function(y), decay, 0.0), k=3)

    def sums(self, f, decay, before):
        """Along the first axis of ``f``; ``before`` is the sum below the grid."""
        if self.cell > 1:
            points, weights = self.weights(decay)
            index = np.clip(np.arange(f.size)[:, None] + points, 0, f.size - 1)
            f = f[index] @ weights
        taps = np.zeros(self.stride + 1)
        taps[0], taps[-1] = 1.0, -(decay**self.cell)
        if self.stride == 1:
            return scipy.signal.lfilter([1.0], taps, f, zi=np.array([decay**self.cell * before]))[0]
        start = np.zeros(self.stride) + decay * before
        return scipy.signal.lfilter([1.0], taps, f, zi=start)[0]

    def diagonal_sums(self, f, decay, before):
        """Along the diagonals of ``f``, (n, n)."""
        n = len(f)
        if self.cell > 1:
            points, weights = self.weights(decay)
            i = np.arange(n)
            total = np.zeros_like(f)
            for p, weight in zip(points, weights, strict=True):
                shifted = np.clip(i + p, 0, n - 1)
                total += weight * f[np.ix_(shifted, shifted)]
            f = total
        out, factor, k = np.array(f), decay**self.cell, self.stride
        out[:k] += factor * before[:k]
        out[k:, :k] += factor * before[k:, :k]
        for row in range(k, n):
            out[row, k:] += factor * out[row - k, :-k]
        return out


def _ratio_kernel(a: Weights, w: Weights, law: Law):
    """kappa(rho) of F = sum_j a_j g_-j / (sum_j w_j g_-j^2)^(1/2), w_j = past decay^j.

    With Delta = (1 + 2 l^2 S)(1 + 2 l^2 T) - 4 l^4 S T rho^2, Psi = E Delta^(-1/2), f = rho E[l^2 Delta^(-3/2)] / Psi,
    G = sum_j log Psi(decay^j S, decay^j T), H = sum_j a.decay^{2j} f(decay^j S, decay^j T) and G_1(T) that of one,

        kappa = 1 / (pi past) int int dlog S dlog T sqrt(S) e^{G(S, T)} {sqrt(T) sum_j a_j^2 f_j
                + 2 sum_{m >= 1} sqrt(T decay^-m) e^{G_1(T decay^-m) - G_1(T)} sum_j a_j a_{j+m} f_j}.
    """
    if w.now != 0:
        raise NotImplementedError("weights of squares must be geometric")
    lags = Lags(-np.log(w.decay), KERNEL_STEP)
    coarse = _binned_coarsely(law)
    x = np.arange(KERNEL_LOW + np.log(1 - w.decay), KERNEL_HIGH, lags.step)
    t, square, weight = np.exp(x), *coarse
    single = _log((1 / np.sqrt(1 + 2 * t[:, None] * square)) @ weight)
    G1 = lags.sums(single, 1.0, single[0] * w.decay / (1 - w.decay))
    later = np.sqrt(t) * np.exp(G1)
    newer = 2 * (lags.sums(later[::-1], a.decay, 0.0)[::-1] - later)
    out = np.zeros(RHO.size)
    one = 1 + 2 * t[:, None] * square
    for i, rho in enumerate(RHO):
        if rho == 0:
            continue
        Psi, C = np.zeros((t.size, t.size)), np.zeros((t.size, t.size))
        for k in range(square.size):
            cross = 2 * rho * square[k] * t
            root = 1 / np.sqrt(np.outer(one[:, k], one[:, k]) - np.outer(cross, cross))
            Psi += weight[k] * root
            C += weight[k] * square[k] * root**3
        Psi = np.maximum(Psi, TINY)
        f, log_psi = rho * C / Psi, np.log(Psi)
        G = lags.diagonal_sums(log_psi, 1.0, log_psi * w.decay / (1 - w.decay))
        H = lags.diagonal_sums(f, a.decay**2, f / (1 - a.decay**2))
        same = a.past**2 * H + (a.first**2 - a.past**2) * f
        other = a.past * (a.past * H + a.now * f)
        rest = np.exp(np.minimum(G - G1, 0.0)) * np.sqrt(t)[:, None]
        integral = np.sum(rest * (later * same + newer * other)) * lags.step**2
        out[i] = integral / (np.pi * w.past)
    return out


COARSE, NARROWEST = 0.25, 1e-6
"""Width of the bins of log l^2 in a kernel, and the smallest l^2 / E l^2 that it tells apart."""


def _binned_coarsely(law: Law):
    """l^2 and weights of fewer bins with the same mean: each bin of the law goes to the two nearest."""
    kept = np.abs(law.weight) > 1e-11
    square, weight = np.maximum(law.square[kept], NARROWEST), law.weight[kept]
    place = np.log(square) / COARSE
    first = np.floor(place.min())
    cell = (np.floor(place) - first).astype(int)
    grid = np.exp(COARSE * (first + np.arange(cell.max() + 2)))
    share = (square - grid[cell]) / (grid[cell + 1] - grid[cell])
    total = np.bincount(cell, weight * (1 - share), grid.size) + np.bincount(cell + 1, weight * share, grid.size)
    total = np.maximum(total, 0.0)
    some = total > 1e-9
    return grid[some], total[some] / total[some].sum()
