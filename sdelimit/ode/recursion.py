"""The mean risk of SGD step by step, exact at every d (theory: section 15).

In the eigenvectors of K, with y_i = E[w_i^2], g = eta / d and batches of b,

    y_i <- y_i (1 - 2 g lambda_i + (1 + 1/b) g^2 lambda_i^2) + (g^2 / b) lambda_i (sum_j lambda_j y_j + E[eps^2]),

because E[(x'delta)^2 x x'] = (delta'K delta) K + 2 K delta delta' K for Gaussian x. The ODE drops the squares of
g lambda_i in the first bracket, which matter where a few directions carry the risk.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.modes.decoupled import Modes
from sdelimit.numerics.floors import BLOW_UP, TINY_RISK
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import x64


def solve_recursion(current: Modes, noise_variance: float, batch_size: int, d: int, times, lr, save_modes) -> dict:
    """What ``integrate`` gives, at the ``times`` t = steps / d, linear between steps; ``lr`` is one learning rate."""
    steps = int(np.ceil(times[-1] * d))
    eta = np.asarray(lr.at(np.arange(steps) / d), np.float64)
    decay, y0 = current.decay, current.w0**2
    position = np.minimum(times * d, steps)
    before = np.minimum(np.floor(position).astype(int), max(steps - 1, 0))
    kept = np.unique(np.concatenate([before, before + 1])) if save_modes else np.zeros(0, int)
    with x64():
        risk, modes = _steps(decay, y0, eta / d, noise_variance, float(batch_size), kept)
        risk, modes = np.asarray(risk), np.asarray(modes)
    ceiling = BLOW_UP * max(risk[0], TINY_RISK)
    gone = ~(risk < ceiling)
    end = int(np.argmax(gone)) if gone.any() else steps
    risk = np.where(np.arange(risk.size) >= end, risk[end], risk) if gone.any() else risk
    part = position - before
    slope = (risk[before + 1] - risk[before]) * d
    out = {
        "risk": risk[before] + part * (risk[before + 1] - risk[before]),
        "slope": slope,
        "lr": lr.at(times),
        "phi": np.ones(times.size),
        "modes": np.zeros(()),
        "end_time": end / d,
        "end_risk": risk[end],
        "finished": not gone.any(),
        "blown_up": gone.any(),
    }
    if save_modes:
        modes = np.where(np.isfinite(modes), modes, 0.0)  # replaced below
        rows = np.searchsorted(kept, before)
        out["modes"] = modes[rows] + part[:, None] * (modes[np.searchsorted(kept, before + 1)] - modes[rows])
    if gone.any():
        late = times * d > end - 1
        out |= {name: _infinite(out[name], late) for name in ("risk", "slope", "phi", "modes") if np.ndim(out[name])}
    return out


def _infinite(values, where):
    values = np.array(values)
    values[where] = np.inf
    return values


@jit
def _steps(decay, y0, g, noise_variance, b, kept):
    """Risks after 0, 1, ... steps, and the energies after ``kept`` steps."""
    size = kept.shape[0]

    def step(carry, inputs):
        y, saved = carry
        g, k = inputs
        if size:
            row = jnp.searchsorted(kept, k)
            saved = saved.at[jnp.where(kept[jnp.minimum(row, size - 1)] == k, row, size)].set(y, mode="drop")
        total = jnp.sum(decay * y)
        y_next = y * (1 - 2 * g * decay + (1 + 1 / b) * (g * decay) ** 2) + g**2 / b * decay * (total + noise_variance)
        return (y_next, saved), total / 2

    saved = jnp.zeros((size, decay.shape[0]))
    (y, saved), risks = jax.lax.scan(step, (jnp.asarray(y0), saved), (g, jnp.arange(g.shape[0])))
    if size:
        saved = jnp.where((kept == g.shape[0])[:, None], y, saved)
    return jnp.append(risks, jnp.sum(decay * y) / 2), saved
