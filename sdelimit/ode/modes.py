"""The risk ODE of any law in coordinates that decouple (theory: sections 3, 9 and 11)."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import Law, moment_pairs
from sdelimit.modes.compression import compress
from sdelimit.modes.decoupled import Modes
from sdelimit.numerics.floors import BLOW_UP, TINY_RISK
from sdelimit.numerics.jit import jit, shared_size
from sdelimit.numerics.memo import content_key
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.ode.exponential_integrator import Exponential
from sdelimit.ode.system import System, Tolerances, largest_rate, tolerances

LOOKED_AT = 61
"""Risks at which it is looked how fast modes decay."""
SHARED_MODES = 64
"""Modes are padded to a multiple of this many; see ``shared_size``."""
STIFF = 100
"""From this many steps that only keep an explicit method stable, the exponential integrator takes over."""
EXPLICIT_REACH = 3.3
"""Longest stable step of Tsitouras 5(4), in units of the fastest decay time."""
FADED = 3e-4
"""A memory that lasts this fraction of the fastest mode's decay time is left out where it costs many steps."""
SUDDEN = 1e8
"""A risk that grows by a factor within this part of the time so far is about to be infinite."""
FEW = 3
"""Numbers a mode whose moments are followed entry by entry."""
MANY_STEPS = 1000
"""So many, that only keep an explicit method stable."""


class ModeSystem(System):
    """The moments Y_i = E[v_i v_i'] of every mode, and the scalars m of the law:

        dY_i/dt = G_i Y_i + Y_i G_i' + (1/d) sum_q c_qi B_q,      G_i = A0 + sum_p rate_pi A_p,
        dm/dt = r (target(q) - m).

    The state holds weight_i Y_i with weight_i = lambda_i / 2, so that the entry of w_i^2 is the risk of mode i; modes
    with lambda_i = 0 have a small weight instead, for the error norm. For one number a mode the state is an array (d,),
    else (moments, d); with scalars it is a pair. ``stiff`` chooses the integrator: Tsitouras 5(4) is cheaper where its
    steps follow the risk.

    Attributes:
        decay: lambda_i, the weights of the overlaps.
        rates: decay rates, one row for each A_p.
        moments0: Y_i at t = 0, one row for each of ``moment_pairs``.
        forcing: c_qi / d.
        mean_rates: sum_i rate_pi / sum_i lambda_i, with which effective rates make the phi that a curve reports.
    """

    decay: Float[np.ndarray, " d"]
    rates: Float[np.ndarray, "p d"]
    moments0: Float[np.ndarray, "moments d"]
    forcing: Float[np.ndarray, "q d"]
    weight: Float[np.ndarray, " d"]
    mean_rates: Float[np.ndarray, " p"]
    law: Law
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances
    stiff: bool = eqx.field(static=True)

    def initial(self):
        return self.join(self.weight * jnp.asarray(self.moments0), jnp.asarray(self.law.initial_scalars()))

    def join(self, moments, scalars):
        """The state of weighted moments (moments, d) and scalars."""
        moments = moments[0] if self.law.size == 1 else moments
        return (moments, scalars) if self.law.has_scalars else moments

    def split(self, y):
        """Weighted moments (moments, d) and scalars of a state."""
        moments, scalars = y if self.law.has_scalars else (y, jnp.zeros(0))
        return (moments[None] if self.law.size == 1 else moments), scalars

    def overlaps(self, moments):
        """q = sum_i lambda_i Y_i, with the risk where the coefficients can be evaluated."""
        q = jnp.sum(self.decay * moments / self.weight, axis=-1)
        return q.at[0].set(2 * self.positive(q[0] / 2))

    def field(self, eta, y):
        moments, scalars = self.split(y)
        q = self.overlaps(moments)
        constant, linear = self.law.drift(eta, q, scalars)
        noise, k = self.law.noise(eta, q, scalars), self.law.size
        rate, target = self.law.relaxation(q)
        of_pairs = _slopes_of_few if k <= FEW else _slopes_of_many
        slopes = of_pairs(self, constant, linear, noise, moments)
        return self.join(slopes, rate * (target - scalars))

    def energies(self, y):
        """weight_i E|w_i|^2."""
        moments = y[0] if self.law.has_scalars else y
        return moments if self.law.size == 1 else sum(moments[row] for row in self.law.risk_rows)

    def risk(self, y):
        return jnp.sum(self.decay * self.energies(y) / self.weight, axis=-1) / 2

    def observe(self, eta, y, save_modes):
        moments, scalars = self.split(y)
        phi = self.law.effective_rates(self.overlaps(moments), scalars) @ self.mean_rates
        energies = self.energies(y) / self.weight if save_modes else jnp.zeros(())
        out = {"modes": energies, "phi": phi, "slope": self.risk(self.field(eta, y))}
        if self.law.reads_overlaps:
            out["overlaps"] = self.overlaps(moments)[self.law.observed_rows]
        if self.law.resolves_memory:
            out["saturation"] = self.law.saturation(self.overlaps(moments), scalars)
        return {**out, "scalars": scalars} if self.law.has_scalars else out

    def diverged(self, eta, t, y):
        gone = super().diverged(eta, t, y)
        if not self.law.reads_overlaps:
            return gone
        # Coefficients that outgrow the risk take it to infinity at a finite time, before which steps have no end.
        risk, slope = self.risk(y), self.risk(self.field(eta, y))
        return gone | ((risk > self.tolerances.ceiling / BLOW_UP) & ~(slope * t < SUDDEN * risk))

    def solver(self):
        return Exponential() if self.stiff else super().solver()

    def clock(self, eta, R):
        """For ``Exponential``: the decay rate of a mode of rate 1, a = 2 eta phi(R), and eta^2 psi(R) / a."""
        phi, psi = _scalar_coefficients(self.law, R)
        return 2 * eta * phi, eta / (2 * phi) * psi

    @property
    def sources(self):
        """For ``Exponential``: weight_i c_qi / d, what psi_q(R) = 1 adds to the state in unit time at eta = 1."""
        return self.weight * jnp.asarray(self.forcing)

    def with_few_modes(self, problem):
        """A few hundred modes of the same risk, cached with the problem; their moments and forcing can be negative.

        See ``modes/compression.py``. It needs one row of rates, so that the risk of a mode depends on one rate only.
        """
        if self.law.power is None:
            return self
        moments = None if self.law.size == 1 else content_key(self.moments0)
        key = "compressed", moments, self.law.power, self.law.basis
        decay, moments0, forcing, weight = problem.cached(key, self._few_modes)
        bounds = replace(self.tolerances, atol=self.tolerances.atol * self.decay.size / decay.size)
        few = {"decay": decay, "rates": decay[None], "moments0": moments0, "forcing": forcing, "weight": weight}
        return replace(self, **few, tolerances=bounds)

    def _few_modes(self):
        decay, risks = compress(self.decay, self.decay / 2 * np.concatenate([self.moments0, self.forcing]))
        extra = shared_size(decay.size, SHARED_MODES) - decay.size
        decay, risks = np.pad(decay, (0, extra), mode="edge"), np.pad(risks, ((0, 0), (0, extra)))
        weight = np.where(decay > 0, decay, decay.max()) / 2
        moments0, forcing = np.split(risks / weight, [len(self.moments0)])
        return decay, moments0, forcing, weight

    def with_shared_shapes(self):
        """With modes of zero energy, whose part in the error norm the tolerances make up for."""
        d = self.decay.size
        extra = shared_size(d, SHARED_MODES) - d
        if not extra:
            return super().with_shared_shapes()
        factor = (d / (d + extra)) ** 0.5
        bounds = replace(self.tolerances, rtol=self.tolerances.rtol * factor, atol=self.tolerances.atol * factor)
        decay, weight = (np.pad(a, (0, extra), mode="edge") for a in (self.decay, self.weight))
        rates = np.pad(self.rates, ((0, 0), (0, extra)), mode="edge")
        moments0, forcing = (np.pad(a, ((0, 0), (0, extra))) for a in (self.moments0, self.forcing))
        arrays = {"decay": decay, "rates": rates, "moments0": moments0, "forcing": forcing, "weight": weight}
        return super(ModeSystem, replace(self, **arrays, tolerances=bounds)).with_shared_shapes()


def _slopes_of_few(system, constant, linear, noise, moments):
    """dY/dt of every mode, a row for each of ``moment_pairs``: each entry by itself."""
    k = system.law.size
    entry = {pair: row for pair, row in zip(moment_pairs(k), moments, strict=True)}
    Y = [[entry[min(a, b), max(a, b)] for b in range(k)] for a in range(k)]
    G = [[linear[:, a, b] @ system.rates for b in range(k)] for a in range(k)]
    if constant is not None:
        G = [[G[a][b] + constant[a, b] for b in range(k)] for a in range(k)]

    def slope(a, b):
        moved = sum(G[a][c] * Y[c][b] + G[b][c] * Y[a][c] for c in range(k))
        return moved + system.weight * (noise[:, a, b] @ system.forcing)

    return jnp.stack([slope(a, b) for a, b in moment_pairs(k)])


def _slopes_of_many(system, constant, linear, noise, moments):
    """The same for many numbers a mode, whose program would be long: entries of a row at once."""
    k = system.law.size
    first, second = np.array(moment_pairs(k)).T
    place = np.zeros((k, k), int)
    place[first, second] = place[second, first] = np.arange(first.size)
    Y, G = moments[place], jnp.einsum("pab,pd->abd", linear, system.rates)
    G = G if constant is None else G + constant[..., None]
    half = sum(G[:, c, None] * Y[None, c] for c in range(k))
    added = system.weight * jnp.einsum("qn,qd->nd", noise[:, first, second], jnp.asarray(system.forcing))
    return half[first, second] + half[second, first] + added


def mode_system(current: Modes, law: Law, d: int, times, rtol, atol, eta) -> ModeSystem:
    """The risk ODE of ``law`` in given coordinates."""
    law = _without_faded_memory(law, current, times, eta)
    v0, forcing, rates = law.initial_state(current.w0, current.target), current.forcing / d, current.rates
    moments0 = np.stack([v0[a] * v0[b] for a, b in moment_pairs(law.size)])
    risk0 = float(current.decay @ sum(moments0[row] for row in law.risk_rows) / 2)
    # As many risks as ``_fastest_rate`` looks at: one program for both.
    first = evaluate_in_float64(partial(_coefficients, law), np.full(LOOKED_AT, max(risk0, TINY_RISK)))[0]
    source = first[len(rates) :] @ forcing
    bounds = tolerances(risk0, float(current.decay @ source) / 2, d, rtol, atol, eta)
    stiff = False
    if law.size == 1 and len(rates) == 1 and not law.has_scalars:
        fastest = _fastest_rate(law, rates[0], current.decay, forcing, risk0, bounds, eta)
        stiff = bool(times[-1] * fastest / EXPLICIT_REACH > STIFF)
    if stiff:  # phi(R) is not needed where R is far below atol
        bounds = replace(bounds, floor=1e-3 * bounds.atol * d)
    weight = np.maximum(current.decay, 1e-12 * current.decay.max()) / 2
    mean_rates = np.ones(1) if current.member_rates is None else rates.sum(axis=1) / current.decay.sum()
    return ModeSystem(current.decay, rates, moments0, forcing, weight, mean_rates, law, times, bounds, stiff)


def _without_faded_memory(law, current, times, eta) -> Law:
    """The law, or that of w alone where its memory is so short that following it would be most of the work.

    What that leaves out of the risk is of the order of 2 ``FADED`` early on. That is less than the limit itself is off
    unless the memory is of a few steps only, when both are O(1/d).
    """
    found = law.faded()
    if found is None:
        return law
    short, rate = found
    fastest = largest_rate(eta) * float(np.max(_effective_rates(short) * current.decay.max()))
    return short if fastest < FADED * rate and 2 * rate * times[-1] > EXPLICIT_REACH * MANY_STEPS else law


def _effective_rates(law):
    """At the risk 1, where all that a law whose memory fades has to say of them is said."""

    def at(R):
        return law.effective_rates(jnp.zeros(len(moment_pairs(law.size))).at[0].set(2 * R), jnp.zeros(0))

    return evaluate_in_float64(at, 1.0)


def _scalar_coefficients(law, R):
    """phi(R) and psi(R) of a law with one number a mode, one row of rates and no scalars."""
    q, none = 2 * R[None], jnp.zeros(0)
    return law.effective_rates(q, none)[0], law.noise(1.0, q, none)[:, 0, 0]


@jit
def _coefficients(law, risks):
    """Effective rates and size of the noise of w at eta = 1 at the start, side by side, (n, p + q)."""
    scalars = jnp.asarray(law.initial_scalars())

    def at(R):
        q = jnp.zeros(len(moment_pairs(law.size))).at[0].set(2 * R)
        return jnp.concatenate([law.effective_rates(q, scalars), law.risk_noise(jnp.ones(()), q, scalars)])

    return jax.vmap(at)(risks)


def _fastest_rate(law, rates, decay, forcing, risk0, bounds, eta) -> float:
    """Bound on 2 eta phi(R) max_i rate_i along the curve.

    dR/dt >= -2 eta phi rate_max R + eta^2 psi.f: the risk cannot fall below where the two are equal, and phi falls
    with R for every rule whose phi grows without bounds.
    """
    step, fastest = largest_rate(eta), rates.max()
    risks = np.exp(np.linspace(np.log(bounds.floor), np.log(max(risk0, bounds.floor * 10)), LOOKED_AT))
    phi, *psi = evaluate_in_float64(partial(_coefficients, law), risks).T
    noise = (forcing @ decay / 2) @ psi
    falling = 2 * phi * fastest * risks > step * noise
    return 2 * step * float(fastest * np.max(phi, where=falling | (risks == risks[-1]), initial=0.0))
