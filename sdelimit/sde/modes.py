"""SDE steps of any law in coordinates that decouple (theory: sections 3, 9 and 11)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.law import Law, moment_pairs
from sdelimit.modes.decoupled import Modes
from sdelimit.numerics.floors import NEGLIGIBLE, TINY
from sdelimit.numerics.jit import jit
from sdelimit.numerics.matrices import exponentials
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.sde.noise_increments import (
    after_weight_decay,
    mean_decay,
    noise_increments,
    risks_of,
    standard_normals,
)


def mode_stepper(problem, law: Law, current: Modes, factors, theory):
    """(advance, state of one path at t = 0, largest decay rate at eta phi = 1).

    Each step takes the drift of every mode exactly, with coefficients at a midpoint predicted from the present, between
    two halves of decoupled weight decay.
    """
    pull = None if law.weight_decay == 0 else (law.weight_decay, current.target)
    law = law.undecayed
    increments = noise_increments(problem, law, current, factors, theory)
    floor = NEGLIGIBLE * max(float(theory.risk[0]), float(theory.lr.max()) ** 2 * current.decay.max(), TINY)
    arrays = current.decay, current.rates, current.forcing / problem.d
    state = current.w0 if law.size == 1 else law.initial_state(current.w0, current.target)
    state = (state, law.initial_scalars()) if law.has_scalars else state
    return partial(_advance, law, *arrays, increments, floor, pull), state, _fastest(law, current, theory)


def _fastest(law, current, theory):
    """Largest rate of decay along the curve where its phi is one."""
    if current.member_rates is None:
        return current.decay.max()
    risks, scalars = np.geomspace(*risks_of(theory), 7), jnp.asarray(law.initial_scalars())
    q = np.zeros((risks.size, len(moment_pairs(law.size))))
    q[:, 0] = 2 * risks
    effective = evaluate_in_float64(jax.vmap(lambda q: law.effective_rates(q, scalars)), q)
    rates = effective @ current.rates
    return float(np.max(rates.max(axis=1) * current.decay.sum() / rates.sum(axis=1)))


OTHER = 2**31
"""Added to the number of a step: the key of the random length of its gradients."""


@jit
def _advance(law, decay, rates, forcing, increments, floor, pull, state, keys, index, dt, eta):
    d, step_of = decay.shape[0], _scalar_step if law.size == 1 else _vector_step

    def step(state, inputs):
        w, scalars = state if law.has_scalars else (state, jnp.zeros((len(keys), 0)))
        half = inputs[1] * inputs[2] / 2
        w = (
            after_weight_decay(pull, half, w)
            if law.size == 1
            else w.at[:, 0].set(after_weight_decay(pull, half, w[:, 0]))
        )
        w, scalars = step_of(law, decay, rates, forcing, increments, floor, d, w, scalars, keys, inputs)
        w = (
            after_weight_decay(pull, half, w)
            if law.size == 1
            else w.at[:, 0].set(after_weight_decay(pull, half, w[:, 0]))
        )
        energy = w**2 if law.size == 1 else w[:, 0] ** 2
        risk = jnp.sum(decay * energy, axis=-1) / 2
        if law.reads_overlaps:
            risk = jnp.stack([risk, jnp.sum(decay * w[:, 0] * w[:, -1], axis=-1)], axis=-1)
        return (w, scalars) if law.has_scalars else w, risk

    return jax.lax.scan(step, state, (index, dt, eta))


def _scalar_step(law, decay, rates, forcing, increments, floor, d, w, scalars, keys, inputs):
    """One step of laws with one number a mode: decay and the variance of the noise exactly."""
    index, dt, eta = inputs
    drift, noise = jax.vmap(law.drift_coefficients), jax.vmap(law.noise_coefficients)

    def risk(energy):
        return jnp.maximum(jnp.sum(decay * energy, axis=-1) / 2, floor)

    # Mean risk and scalars half a step ahead, with the coefficients of the present.
    start = risk(w**2)
    exponent = (drift(start, scalars) @ rates) * eta * dt
    source = eta**2 * (noise(start, scalars) @ forcing) * dt / 2
    R = risk(jnp.exp(-exponent) * w**2 + mean_decay(exponent) * source)
    middle = _relax(law, scalars, (start + R)[:, None], dt / 2)

    exponent = (drift(R, middle) @ rates) * eta * dt
    b = noise(R, middle)
    z = standard_normals(keys, index, (d + 1,))
    z, other = z[:, :-1], z[:, -1:]
    if law.fluctuations is not None:
        mean = increments.against(R, b, decay, w)
        z = _with_fluctuations(law, R, middle, b.sum(axis=1, keepdims=True), d * dt, mean, z, other)
    increment = eta * jnp.sqrt(dt / d) * increments(R, b, z)
    w = jnp.exp(-exponent) * w + jnp.sqrt(mean_decay(2 * exponent)) * increment
    return w, _relax(law, scalars, 2 * R[:, None], dt)


def _relax(law, scalars, q, dt):
    """The scalars of every path a time dt later, while its overlaps are held at q."""
    rate, target = jax.vmap(law.relaxation)(q)
    return scalars - jnp.expm1(-rate * dt) * (target - scalars)


def _vector_step(law, decay, rates, forcing, increments, floor, d, v, scalars, keys, inputs):
    """One step of laws with k numbers a mode: half the drift, the noise, the other half; second order in law."""
    index, dt, eta = inputs
    pairs = moment_pairs(law.size)

    def overlaps(v):
        q = jnp.stack([jnp.sum(decay * v[:, a] * v[:, b], axis=-1) for a, b in pairs], axis=-1)
        return q.at[:, 0].set(jnp.maximum(q[:, 0], 2 * floor))

    def half_drift(q, scalars):
        constant, linear = jax.vmap(lambda q, m: law.drift(eta, q, m))(q, scalars)
        matrices = jnp.einsum("npab,pd->ndab", linear, rates)
        matrices = matrices if constant is None else matrices + constant[:, None]
        return exponentials(matrices * (dt / 2))

    def move(matrices, v):
        return jnp.einsum("ndab,nbd->nad", matrices, v)

    start = overlaps(v)
    B = jax.vmap(lambda q, m: law.noise(eta, q, m))(start, scalars)
    added = jnp.stack([B[:, :, a, b] @ (forcing @ decay) for a, b in pairs], axis=-1) * dt / 2
    ahead = overlaps(move(half_drift(start, scalars), v)) + added
    middle = _relax(law, scalars, (start + ahead) / 2, dt / 2)
    B = jax.vmap(lambda q, m: law.noise(eta, q, m))(ahead, middle)
    z = standard_normals(keys, index, (B.shape[1], law.size, d))
    if law.fluctuations is not None:
        other = standard_normals(keys, index + np.uint32(OTHER), (1,))
        z = z.at[:, 0].set(_of_gradients(law, decay, eta, ahead, middle, d * dt, v[:, 0], z[:, 0], other))
    half = half_drift(ahead, middle)
    v = move(half, move(half, v) + jnp.sqrt(dt / d) * increments.of_vectors(B, z))
    return v, _relax(law, scalars, ahead, dt)


def _of_gradients(law, decay, eta, q, m, steps, w, z, other):
    """Normals for the k numbers that make the noise of gradients ``_with_fluctuations``.

    That noise, of the covariance N Lambda in the modes, is along ``Law.entry`` in every mode: one normal a mode counts.
    """
    N = jax.vmap(lambda q, m: law.gradient_noise(eta, q, m))(q, m)[:, None]
    kick = -jax.vmap(lambda q, m: law.entry(eta, q, m))(q, m)
    unit = kick / jnp.sqrt(jnp.maximum(jnp.sum(kick**2, axis=1, keepdims=True), TINY))
    gradient = jnp.einsum("na,nad->nd", unit, z)
    b = jnp.sqrt(decay) * w / jnp.sqrt(jnp.maximum(N, TINY))
    moved = _with_fluctuations(law, q[:, 0] / 2, m, N, steps, b, gradient, other)
    return unit[:, :, None] * moved[:, None]


def _with_fluctuations(law, R, m, psi, steps, b, z, other):
    """The noise of ``steps`` steps of the rule in place of standard normals z; see limits/exact/step_fluctuations.py.

    With L the factor of the noise and b = L^-1 v in the coordinates of the modes, (I + gamma b b')^(1/2) z makes the
    covariance L L' + gamma v v'. Its part across b is scaled by the root of G, the mean of E over these steps
    relative to psi: lognormal, of variance length_variance / steps. Variances that rounding or sampling makes negative
    count as 0.
    """
    gamma, length_variance, coupling = (x[:, None] for x in jax.vmap(law.fluctuations_at)(R, m))
    square = jnp.maximum(jnp.sum(b**2, axis=-1, keepdims=True), TINY)
    unit = jnp.sum(b * z, axis=-1, keepdims=True) / jnp.sqrt(square)
    along = unit / jnp.sqrt(square) * b
    variance = jnp.maximum(gamma + psi / (2 * R[:, None]), 0.0)  # Var(T) / s^2
    correlation = coupling / jnp.sqrt(jnp.maximum(length_variance * variance, coupling**2 + TINY))
    # A larger T moves delta against v.
    mixed = -correlation * unit + jnp.sqrt(1 - correlation**2) * other
    log_variance = jnp.log1p(length_variance / jnp.maximum(steps, TINY))
    G = jnp.exp(jnp.sqrt(log_variance) * mixed - log_variance / 2)
    return jnp.sqrt(G) * (z - along) + jnp.sqrt(jnp.maximum(1 + gamma * square, 0.0)) * along
