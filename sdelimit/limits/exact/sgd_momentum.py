"""SGD with momentum, Nesterov's and DANA's: the average of gradients is a second number of each mode.

With a memory y of gradients g, of length d / delta steps,

    y <- (1 - delta/d) y + g1 g,    u = g2 g + (g3/d) y    (the new y),    theta <- theta - (eta/d) u,

the modes of w = Q' (theta - theta*) and y / d follow, as d grows at fixed delta (theory: section 16),

    dw = -eta g2 (lambda w dt + dM) - eta g3 y dt,    dy = -delta y dt + g1 (lambda w dt + dM),

d<M> = (2P/b) lambda / d dt. Momentum beta is delta = g1 = d (1 - beta) with y / d in the place of the average of
gradients; the numbers may be functions of t.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from sdelimit.limits.exact.sgd import amplified_limit, noise_variance
from sdelimit.limits.exact.step_fluctuations import SgdFluctuations, sgd_fluctuations
from sdelimit.limits.law import CLOCK, Law, LinearStep
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.numerics.jit import by_computation
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.schedules import Constant

SAMPLED_TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 121)])
"""Where coefficients that change are looked at before they are used."""
FIRST_INSTANT = 0.01
"""Steps after which an average without its bias is looked at first: it is 0 / 0 at t = 0."""
TYPICAL_TIMES = np.array([0.0, 0.1, 1.0, 10.0])
"""Where the size of coefficients that change is looked at."""


class MomentumLaw(Law):
    """v = (w, y): A0 = [[0, -eta g3], [0, -r]], A1 = [[-eta g2, 0], [s g1, 0]] and, for n = 2P/b,

        B = n [[eta^2 g2^2, -eta g2 s g1], [-eta g2 s g1, s^2 g1^2]].

    The memory decays at r = -d log(1 - delta/d), so that a gradient has after any number of steps the weight that it
    has in the rule, and s = r / delta keeps the sum of all weights. r - delta is O(1/d).

    Attributes:
        g1, g2, g3, delta: functions of t.
        g3_of_steps: g3 at the steps of the rule, if that is another function.
        follows_time: whether t is a scalar, because coefficients change or nothing is forgotten.
        batch: b.
        fluctuations: of gradients.
    """

    size: ClassVar[int] = 2
    resolves_memory: ClassVar[bool] = True
    g1: Callable
    g2: Callable
    g3: Callable
    delta: Callable
    g3_of_steps: Callable
    d: float
    noise_variance: float
    batch: int = eqx.field(static=True)
    follows_time: bool = eqx.field(static=True)
    power: int = eqx.field(static=True, default=0)
    basis: tuple[str, ...] = eqx.field(static=True, default=("rho",))
    fluctuations: SgdFluctuations | None = None

    def at(self, t):
        """s g1, g2, g3 and r at time t."""
        g1, g2, g3, delta = (f(t) for f in (self.g1, self.g2, self.g3, self.delta))
        share = delta / self.d
        forgets = share > 0
        stretch = jnp.where(forgets, -jnp.log1p(-share) / jnp.where(forgets, share, 1.0), 1.0)
        return stretch * g1, g2, g3, stretch * delta

    def settled(self):
        """``at`` a time when coefficients that change have done so."""
        return evaluate_in_float64(lambda t: jnp.stack(self.at(t)), 1 / CLOCK if self.follows_time else 0.0)

    def time(self, m):
        return m[0] if self.follows_time else jnp.zeros(())

    def initial_scalars(self):
        return np.zeros(1 if self.follows_time else 0)

    def relaxation(self, q):
        rate = jnp.full(1 if self.follows_time else 0, CLOCK)
        return rate, 1 / rate

    def drift(self, eta, q, m):
        g1, g2, g3, rate = self.at(self.time(m))
        zero = jnp.zeros_like(rate)
        constant = jnp.array([[zero, -eta * g3], [zero, -rate]])
        return constant, jnp.array([[[-eta * g2, zero], [g1, zero]]])

    def noise(self, eta, q, m):
        g1, g2, *_ = self.at(self.time(m))
        kick = jnp.stack([-eta * g2, g1 + 0.0 * eta])
        return (kick[:, None] * kick[None, :] * (q[0] + self.noise_variance) / self.batch)[None]

    def gradient_noise(self, eta, q, m):
        return (q[0] + self.noise_variance) / self.batch

    def gain(self, t, past):
        """The weight in u of the gradients of a time ``past``, were the coefficients all along what they are at t."""
        g1, g2, g3, rate = self.at(t)
        rate = jnp.maximum(rate, CLOCK)
        return g2 - g3 * g1 * jnp.expm1(-rate * past) / rate

    def effective_rates(self, q, m):
        return self.gain(self.time(m), self.time(m) if self.follows_time else jnp.inf)[None]

    def risk_noise(self, eta, q, m):
        largest = jnp.max(jax.vmap(lambda t: self.gain(t, 1.0))(jnp.asarray(TYPICAL_TIMES)))
        return (eta**2 * largest**2 * (q[0] + self.noise_variance) / self.batch)[None]

    @property
    def gradient_batch(self):
        return self.batch

    def step(self, g, t):
        g1, g2, g3, delta = (f(t) for f in (self.g1, self.g2, self.g3_of_steps, self.delta))
        keep, zero = 1 - delta / self.d, jnp.zeros_like(g)
        now = g * (g2 + g3 * g1 / self.d)
        constant = jnp.array([[1 + zero, -g * g3 * keep], [zero, keep + zero]])
        linear = jnp.array([[-now, zero], [g1 / self.d + zero, zero]])
        return LinearStep(constant, linear, jnp.stack([-now, g1 / self.d + zero]))

    def settled_gain(self, eta, decay):
        g1, g2, g3, rate = self.settled()
        return g2 + np.divide(g1 * g3, rate + eta * g2 * decay, out=np.full_like(decay, np.inf), where=rate + decay > 0)

    def stability_edge(self, decay, d, t):
        now = evaluate_in_float64(lambda t: jnp.stack(self.at(t)), t)
        return max(_edge(*coefficients, decay[decay > 0], 2 * self.batch * d) for coefficients in (now, self.settled()))

    def faded(self):
        if self.follows_time:
            return None
        gain, rate = evaluate_in_float64(lambda t: jnp.stack([self.gain(t, jnp.inf), self.at(t)[3]]), 0.0)
        short = amplified_limit(float(gain), self.noise_variance, self.batch)
        if self.fluctuations is not None:
            short = replace(short, fluctuations=replace(self.fluctuations, gain=float(gain)))
        return short, float(rate)


def _edge(g1, g2, g3, rate, decay, scale) -> float:
    """The learning rate at which sum_i lambda_i (G2 r + G1 G3 + G2^2 lambda_i) / (r + G2 lambda_i) = ``scale``, 2bd.

    Theory: section 16.
    """

    def excess(log_eta):
        G2, G3 = np.exp(log_eta) * g2, np.exp(log_eta) * g3
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = (G2 * rate + g1 * G3 + G2**2 * decay) / (rate + G2 * decay)
        return np.sum(decay * kept) / scale - 1

    low, high = -100.0, 100.0
    if not excess(low) < 0:
        return 0.0
    return float(np.exp(brentq(excess, low, high))) if excess(high) > 0 else np.inf


class Debiased(eqx.Module):
    """weight / (1 - beta^k), k = t d + ``ahead``: what makes an average that starts at zero one of its gradients.

    After a step one gradient more is in the average than before (``ahead`` 1); in the limit it fills as time passes.
    """

    beta: float
    d: float
    weight: float
    ahead: float

    def __call__(self, t):
        return -self.weight / jnp.expm1(jnp.log(self.beta) * (t * self.d + self.ahead))


def dana_limit(g2, g3, delta, g1, problem, batch_size: int) -> MomentumLaw:
    """Limit of DANA with coefficients that are functions of t. NoLimitError as for SGD; ValueError for delta >= d."""
    variance = noise_variance(problem.noise)
    if np.isinf(problem.d):
        raise NoLimitError(
            "problem must have a dimension for DANA, whose memory lasts a fraction of d steps, got d = inf",
            "it has no coefficients phi(R) and kappa(rho; R)",
        )
    law = dana_law(g2, g3, delta, g1, problem.d, variance, batch_size)
    return replace(law, fluctuations=sgd_fluctuations(problem.noise, batch_size))


def dana_law(g2, g3, delta, g1, d: int, variance: float, batch_size: int) -> MomentumLaw:
    """DANA's law in d dimensions under label noise of that variance. ValueError for delta >= d."""
    coefficients = (g1, g2, g3, delta)
    with jax.ensure_compile_time_eval(), x64():
        largest = float(jnp.max(jax.vmap(delta)(jnp.asarray(SAMPLED_TIMES)) + jnp.zeros(SAMPLED_TIMES.size)))
        fixed = [jax.tree.map(lambda leaf: by_computation(leaf) if callable(leaf) else leaf, f) for f in coefficients]
    if not largest < d:
        raise ValueError(f"delta must be < d = {d}, got {largest:g}: y <- (1 - delta/d) y + g1 g")
    changes = not all(isinstance(f, Constant) for f in coefficients) or float(delta.value) == 0
    g1, g2, g3, delta = fixed
    return MomentumLaw(g1, g2, g3, delta, g3, float(d), variance, batch_size, changes)


def momentum_limit(beta: float, nesterov: bool, scale: float, debias: bool, problem, batch_size: int):
    """Limit of u = scale m, m <- beta m + g, or u = scale (g + beta m) after Nesterov; beta in (0, 1).

    With ``debias`` u is divided by 1 - beta^k at the k-th step.
    """
    variance = noise_variance(problem.noise)
    if np.isinf(problem.d):
        return amplified_limit(scale / (1 - beta), variance, batch_size)
    law = momentum_law(beta, nesterov, scale, debias, problem.d, variance, batch_size)
    return replace(law, fluctuations=sgd_fluctuations(problem.noise, batch_size))


def momentum_law(beta, nesterov, scale, debias, d: int, variance: float, batch_size: int) -> MomentumLaw:
    """The law of that rule in d dimensions under label noise of that variance."""
    weight, c, d = scale / (1 - beta), d * (1 - beta), float(d)
    g2, g3 = (scale, beta * weight) if nesterov else (0.0, weight)
    later = stepwise = Constant(g3)
    if debias:
        later, stepwise = (Debiased(beta, d, g3, ahead) for ahead in (FIRST_INSTANT, 1.0))
    return MomentumLaw(Constant(c), Constant(g2), later, Constant(c), stepwise, d, variance, batch_size, debias)
