"""Noise that the steps of two outputs have in common (theory: section 22).

Two coordinates of two outputs have gradients l_a xi and l_b xi' of the same samples, xi and xi' of correlation rho.
Over a batch they are normal given l, of the variances L_a^2 = sum l_a^2 and L_b^2 and of the correlation rho c,
c = sum l_a l_b / (L_a L_b).
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.limits.multi_output.slopes import Slopes
from sdelimit.limits.noise_kernel import GENERAL_BASIS, RHO, fit_kernel
from sdelimit.limits.single_index import coefficients as single
from sdelimit.limits.single_index.coefficients import KERNEL_HIGH, KERNEL_LOW, Lags
from sdelimit.numerics.floors import TINY

BATCHES = 2**13
"""Batches of which the noise of signs in common is a mean."""
MANY_BATCHES = 2**15
"""Those of other rules."""
STEP = 0.4
"""Largest step of grids in log t."""
WIDTH, NARROWEST, COSINES = 0.7, 1e-5, 9
"""Width of bins of log L^2, the smallest L^2 / E L^2 that they tell apart, and the places of |c|."""
HISTORIES, SAMPLED = 512, 24
"""Histories of batches that are followed, and steps of each at which correlations are sampled."""
FORGOTTEN, FAR = 1e-4, 0.05
"""Weight of gradients that are forgotten, and of lags that count by their first order."""
EMPTY = 1e-9
"""Weight of a bin that does not count."""


def batch_sign_noise(at: Slopes, batch_size: int) -> Float[np.ndarray, "q m m"]:
    """B_q of signSGD: (2/pi) E arcsin(rho c) for two outputs."""
    m, l = at.outputs, at.of_batches(batch_size, BATCHES)  # noqa: E741
    kappa = np.zeros((2, RHO.size, m, m))
    unit = l / np.sqrt(np.sum(l**2, axis=0))
    for a, b in itertools.combinations(range(m), 2):
        cosine = np.clip(np.sum(unit[..., a] * unit[..., b], axis=0), -1.0, 1.0)
        for side, part in enumerate((np.maximum(cosine, 0), np.maximum(-cosine, 0))):
            kappa[side, :, a, b] = 2 / np.pi * np.mean(np.arcsin(RHO[:, None] * part), axis=1)
    return matrices_of(kappa, np.tile(2 / np.pi * np.arcsin(RHO), (m, 1)))


def ratio_noise(rule, at: Slopes, laws: list[single.Law], batch_size: int) -> Float[np.ndarray, "q m m"]:
    """B_q of rules that divide by the root of an average of squares."""
    m, l = at.outputs, at.of_batches(batch_size, MANY_BATCHES)  # noqa: E741
    own = np.stack([single.kernel(rule, law) for law in laws])

    def found(a, b):
        return _ratio_kernel(rule.a, rule.w, _joint(l[..., a], l[..., b]), laws[a], laws[b])

    # Bins and grids are coarse; what they make of the kernels of single outputs says by how much they are off.
    coarse = np.stack([found(a, a) for a in range(m)])
    right = np.sqrt(np.divide(own, coarse, out=np.ones_like(own), where=coarse > 0))
    pairs = {(a, b): found(a, b) * right[a] * right[b] for a, b in itertools.combinations(range(m), 2)}
    return matrices_of(_both_signs(pairs, m), own)


def signed_noise(rule, at: Slopes, laws: list[single.Law], batch_size: int) -> Float[np.ndarray, "q m m"]:
    """B_q of rules that take the sign of an average of gradients."""
    m, l = at.outputs, at.of_batches(batch_size, MANY_BATCHES)  # noqa: E741
    own = np.stack([single.kernel(rule, law) for law in laws])
    pairs = {(a, b): _signed_kernel(rule.b, l[..., a], l[..., b]) for a, b in itertools.combinations(range(m), 2)}
    return matrices_of(_both_signs(pairs, m), own)


def _both_signs(pairs, m):
    """Positive and negative parts of the kernels of pairs of outputs."""
    kappa = np.zeros((2, RHO.size, m, m))
    for (a, b), found in pairs.items():
        kappa[:, :, a, b] = np.maximum(found, 0), np.maximum(-found, 0)
    return kappa


def _signed_kernel(b, l_a, l_b) -> Float[np.ndarray, " r"]:
    """(2/pi) sum over lags of E arcsin(rho C), C the correlation of two averages given l.

    Of averages X_t = sum_j b_j g_{t-j} and X'_{t+k}, k >= 1, C = decay^k past sum_j b_j decay^j l_a l_b over their
    lengths, which filters of a history of l give; histories are made of the batches in random order. Far lags count by
    their first order.
    """
    rng, n = np.random.default_rng(1), HISTORIES
    far = int(np.ceil(np.log(FAR) / np.log(b.decay)))
    start = int(np.ceil(np.log(FORGOTTEN) / np.log(b.decay)))
    steps = start + SAMPLED + far
    squares = np.zeros((2, SAMPLED + far, n))
    inner = np.zeros((2, SAMPLED, n))
    older, total, lagged = np.zeros((2, n)), np.zeros(n), np.zeros(n)
    for step in range(steps):
        index = rng.integers(0, l_a.shape[1], n)
        first, second = l_a[:, index], l_b[:, index]
        new, product = np.stack([np.sum(first**2, axis=0), np.sum(second**2, axis=0)]), np.sum(first * second, axis=0)
        older, total, lagged = older * b.decay**2, total * b.decay**2, lagged * b.decay**2
        if step >= start:
            squares[:, step - start] = b.first**2 * new + b.past**2 * older
            if step < start + SAMPLED:
                inner[0, step - start] = b.first**2 * product + b.past**2 * total
                inner[1, step - start] = b.past * (b.first * product + b.past * lagged)
        older, total, lagged = older + new, total + product, lagged + product
    return _lag_sum(b, np.sqrt(squares), inner, far)


def _lag_sum(b, length, inner, far):
    """The sum over lags, from lengths (2, times + far, n) and inner products at lag 0 and, but for decay^k, later."""
    out = _mean_arcsin(inner[0] / (length[0, :SAMPLED] * length[1, :SAMPLED]))
    for k in range(1, far + 1):
        for early, late in ((0, 1), (1, 0)):
            cosine = b.decay**k * inner[1] / (length[early, :SAMPLED] * length[late, k : SAMPLED + k])
            last = 1.0 if k < far else b.decay / (1 - b.decay) + 1.0
            out = out + last * _mean_arcsin(cosine)
    return out


def _mean_arcsin(cosine):
    """(2/pi) E arcsin(rho c) at ``RHO``."""
    return np.array([2 / np.pi * np.mean(np.arcsin(np.clip(rho * cosine, -1.0, 1.0))) for rho in RHO])


def matrices_of(kappa: Float[np.ndarray, "2 r m m"], own: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "q m m"]:
    """B_q from kernels at ``RHO``: their positive and negative parts for pairs of outputs, and each output's own."""
    m = len(own)
    psi = np.zeros((len(GENERAL_BASIS), m, m))
    for a in range(m):
        psi[:, a, a] = fit_kernel(RHO, np.maximum(own[a], 0.0))
    for a, b in itertools.combinations(range(m), 2):
        psi[:, a, b] = psi[:, b, a] = fit_kernel(RHO, kappa[0, :, a, b]) - fit_kernel(RHO, kappa[1, :, a, b])
    return psi


class _Joint(NamedTuple):
    """L_a^2 and L_b^2 in units of their means, c^2, weights and E c L_a L_b of the bins that count, (n,) each."""

    first: Float[np.ndarray, " n"]
    second: Float[np.ndarray, " n"]
    cosine_square: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    product: Float[np.ndarray, " n"]


def _joint(l_a, l_b) -> _Joint:
    """The law of batches l, (b, n) each: every batch goes to the eight nearest bins."""
    squares = [np.sum(l**2, axis=0) for l in (l_a, l_b)]  # noqa: E741
    squares = [np.maximum(square / square.mean(), NARROWEST) for square in squares]
    inner = np.sum(l_a * l_b, axis=0) / np.sqrt(np.sum(l_a**2, axis=0) * np.sum(l_b**2, axis=0))
    low = np.log(NARROWEST)
    size = int((np.log(max(square.max() for square in squares)) - low) / WIDTH) + 2
    places = [(np.log(square) - low) / WIDTH for square in squares] + [np.clip(np.abs(inner), 0, 1) * (COSINES - 1)]
    shape, n = (size, size, COSINES), inner.size
    weight, product = np.zeros(shape).ravel(), np.zeros(shape).ravel()
    for corner in itertools.product((0, 1), repeat=3):
        share, cells = 1.0 / n, []
        for place, side, count in zip(places, corner, shape, strict=True):
            cell = np.minimum(np.floor(place), count - 2)
            share = share * (place - cell if side else 1 - place + cell)
            cells.append(cell.astype(int) + side)
        index = np.ravel_multi_index(cells, shape)
        weight += np.bincount(index, share, weight.size)
        product += np.bincount(index, share * inner * np.sqrt(squares[0] * squares[1]), weight.size)
    grid = np.exp(low + WIDTH * np.arange(size))
    axes = np.meshgrid(grid, grid, np.linspace(0, 1, COSINES) ** 2, indexing="ij")
    kept = weight > EMPTY
    return _Joint(*(axis.ravel()[kept] for axis in axes), weight[kept], product[kept])


def _ratio_kernel(a, w, joint: _Joint, law_a, law_b) -> Float[np.ndarray, " r"]:
    """kappa(rho) for two outputs; for one output it is ``coefficients.kernel``, whose symbols these are.

    Gradients between the two steps, and after the earlier one, are those of the output whose step is later.
    """
    lags = Lags(-np.log(w.decay), STEP)
    x = np.arange(KERNEL_LOW + np.log(1 - w.decay), KERNEL_HIGH, lags.step)
    t, root = np.exp(x), np.exp(x / 2)
    G1, newer = zip(*(_of_one(law, lags, a, w, x) for law in (law_a, law_b)), strict=True)
    out = np.zeros(RHO.size)
    for i, rho in enumerate(RHO):
        if rho == 0:
            continue
        Psi, C = _means(joint, rho, t)
        f, log_psi = rho * C / Psi, np.log(Psi)
        G = lags.diagonal_sums(log_psi, 1.0, log_psi * w.decay / (1 - w.decay))
        H = lags.diagonal_sums(f, a.decay**2, f / (1 - a.decay**2))
        same = a.past**2 * H + (a.first**2 - a.past**2) * f
        other = a.past * (a.past * H + a.now * f)
        total = np.sum(np.exp(G) * same * root[:, None] * root)
        total += np.sum(np.exp(np.minimum(G - G1[1], 0.0)) * other * root[:, None] * newer[1]) / 2
        total += np.sum(np.exp(np.minimum(G - G1[0][:, None], 0.0)) * other * root * newer[0][:, None]) / 2
        out[i] = total * lags.step**2 / (np.pi * w.past)
    return out


def _of_one(law, lags, a, w, x):
    """G_1 and what later gradients do, of one output."""
    alone = np.log(np.maximum((1 / np.sqrt(1 + 2 * np.exp(x)[:, None] * law.square)) @ law.weight, TINY))
    G1 = lags.sums(alone, 1.0, alone[0] * w.decay / (1 - w.decay))
    later = np.exp(x / 2 + G1)
    return G1, 2 * (lags.sums(later[::-1], a.decay, 0.0)[::-1] - later)


def _means(joint: _Joint, rho, t):
    """E Delta^(-1/2) and E[c L_a L_b Delta^(-3/2)] on the grid of S and T."""
    Psi, C = np.zeros((t.size, t.size)), np.zeros((t.size, t.size))
    for first, second, square, weight, product in zip(*joint, strict=True):
        left, right = 1 + 2 * first * t, 1 + 2 * second * t
        crossed = 4 * rho**2 * square * first * second
        inverse = 1 / np.sqrt(np.outer(left, right) - crossed * np.outer(t, t))
        Psi += weight * inverse
        C += product * inverse**3
    return np.maximum(Psi, TINY), C
