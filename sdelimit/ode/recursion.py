"""The mean risk step by step, exact at every d, of rules that are linear in the gradient (theory: sections 15 and 16).

In the eigenvectors of K a step of such a rule moves the numbers v_i of each mode, w_i the first of them, by

    v_i <- (F0 + lambda_i F1) v_i + f nu_i

where the gradient of a batch of b is lambda_i w_i + nu_i. Its noise has mean zero and, for Gaussian x, the variance

    N_i = (lambda_i (sum_j lambda_j E[w_j^2] + E[eps^2]) + lambda_i^2 E[w_i^2]) / b,

because E[(x'delta)^2 x x'] = (delta'K delta) K + 2 K delta delta' K. So the moments Y_i = E[v_i v_i'] obey

    Y_i <- (F0 + lambda_i F1) Y_i (F0 + lambda_i F1)' + f f' N_i.

SGD has F0 = 1 and F1 = f = -g with g = eta / d. Its ODE drops the squares of g lambda_i, which matter where a few
directions carry the risk.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.law import Law, moment_pairs
from sdelimit.modes.decoupled import Modes
from sdelimit.numerics.floors import BLOW_UP, TINY_RISK
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import x64
from sdelimit.ode.integrate import Stepping, integrate
from sdelimit.ode.many_steps import FIRST_STEPS, MANY_STEPS, many_steps, slows_down


def solve_recursion(current: Modes, law: Law, noise_variance: float, d: int, times, lr, save_modes) -> dict:
    """What ``integrate`` gives, at the ``times`` t = steps / d, linear between steps; ``lr`` is one learning rate.

    Of a law with a ``gradient_batch``. For SGD at a constant rate all but the first of many steps are those of
    ``many_steps``.
    """
    steps = max(int(np.ceil(times[-1] * d)), 1)
    # Without noise the risk falls to zero, below any tolerance.
    if (
        steps > MANY_STEPS
        and noise_variance > 0
        and law.size == 1
        and not law.has_scalars
        and lr.scan(times).is_constant
    ):
        g = float(lr.initial) / d
        if slows_down(current.decay, g, law.gradient_batch):
            found = _of_many_steps(current, law, noise_variance, d, times, lr, save_modes)
            if found is not None:
                return found
    t = np.arange(steps + 1) / d
    eta = np.asarray(lr.at(t), np.float64)
    decay, v0 = current.decay, law.initial_state(current.w0, current.target)
    moments0 = np.stack([v0[a] * v0[b] for a, b in moment_pairs(law.size)])
    position = np.minimum(times * d, steps)
    before = np.minimum(np.floor(position).astype(int), steps - 1)
    kept = np.unique(np.concatenate([before, before + 1])) if save_modes else np.zeros(0, int)
    with x64():
        found = _steps(law, decay, moments0, eta / d, t, noise_variance, kept)
        risk, phi, modes = map(np.asarray, found)
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
        "phi": phi[before] + part * (phi[before + 1] - phi[before]),
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


def _of_many_steps(current, law, noise_variance, d, times, lr, save_modes) -> dict | None:
    """``solve_recursion`` by single steps first and an integrator afterwards; None where the risk grows."""
    change = FIRST_STEPS / d
    early, late = np.append(times[times < change], change), np.append(change, times[times >= change])
    first = solve_recursion(current, law, noise_variance, d, early, lr, save_modes)
    if first["blown_up"]:
        return None
    moments = _energies_after(current, law, noise_variance, d, lr)
    system = many_steps(current.decay, moments, float(lr.initial) / d, law.gradient_batch, noise_variance, d, late)
    if not save_modes:
        system = system.with_few_modes(None)
    with x64():
        then = integrate(lr, system, Stepping(None, None), save_modes)
    if not then["finished"] or np.max(then["risk"]) > then["risk"][0]:  # growth that lasts adds up its errors
        return None
    joined = {name: np.concatenate([first[name][:-1], then[name][1:]]) for name in ("risk", "slope", "lr", "phi")}
    joined["modes"] = np.concatenate([first["modes"][:-1], then["modes"][1:]]) if save_modes else np.zeros(())
    return {**joined, "end_time": times[-1], "end_risk": joined["risk"][-1], "finished": True, "blown_up": False}


def _energies_after(current, law, noise_variance, d, lr):
    """The energies after ``FIRST_STEPS`` steps."""
    t = np.arange(FIRST_STEPS + 1) / d
    eta, kept = np.asarray(lr.at(t), np.float64), np.array([FIRST_STEPS])
    with x64():
        moments0 = law.initial_state(current.w0, current.target)[:1] ** 2
        _, _, modes = _steps(law, current.decay, moments0, eta / d, t, noise_variance, kept)
        return np.asarray(modes)[0]


def _infinite(values, where):
    values = np.array(values)
    values[where] = np.inf
    return values


@jit
def _steps(law, decay, moments0, g, t, noise_variance, kept):
    """Risks and effective rates after 0, 1, ... steps, and the energies after ``kept`` steps."""
    size, k, decay = kept.shape[0], law.size, jnp.asarray(decay)
    pairs, b = moment_pairs(k), float(law.gradient_batch)

    def step(carry, inputs):
        moments, scalars, saved = carry
        g, t, index = inputs
        if size:
            row = jnp.searchsorted(kept, index)
            row = jnp.where(kept[jnp.minimum(row, size - 1)] == index, row, size)
            saved = saved.at[row].set(moments[0], mode="drop")
        q = moments @ decay
        phi = law.effective_rates(q, scalars)[0]
        return (_moved(law.step(g, t), moments, q[0]), _later(scalars, q), saved), (q[0] / 2, phi)

    def _moved(one, moments, total):
        entry = {pair: row for pair, row in zip(pairs, moments, strict=True)}
        Y = [[entry[min(a, b), max(a, b)] for b in range(k)] for a in range(k)]
        F = [[one.constant[a, b] + decay * one.linear[a, b] for b in range(k)] for a in range(k)]
        noise = decay / b * (total + noise_variance + decay * moments[0])

        def entry_of(a, c):
            kept_part = sum(F[a][i] * Y[i][j] * F[c][j] for i in range(k) for j in range(k))
            return kept_part + one.kick[a] * one.kick[c] * noise

        return jnp.stack([entry_of(a, c) for a, c in pairs])

    def _later(scalars, q):
        rate, target = law.relaxation(q)
        return scalars - jnp.expm1(-rate * (t[1] - t[0])) * (target - scalars)

    start = jnp.asarray(moments0), jnp.asarray(law.initial_scalars()), jnp.zeros((size, decay.shape[0]))
    (_, _, saved), (risks, phi) = jax.lax.scan(step, start, (g, t, jnp.arange(g.shape[0])))
    return risks, phi, saved
