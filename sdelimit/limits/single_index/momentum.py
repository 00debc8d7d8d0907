"""SGD with momentum, Nesterov's and DANA's on problems with two overlaps (theory: sections 16 and 20).

The gradient's mean in mode i is lambda_i (h1 w_i + h0 w*_i) in place of lambda_i w_i, and its noise E[l^2] K / b, so
that with the memory y the state of a mode is v_i = (w_i, y_i, w*_i):

    dw = -eta g2 (lambda (h1 w + h0 w*) dt + dM) - eta g3 y dt,
    dy = -r y dt + s g1 (lambda (h1 w + h0 w*) dt + dM),        d<M> = (E[l^2] / b) lambda / d dt,

with the coefficients of ``exact/sgd_momentum.py``.
"""

from dataclasses import replace
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.limits.exact.sgd_momentum import TYPICAL_TIMES, MomentumLaw, dana_law, momentum_law
from sdelimit.limits.law import CLOCK, Law
from sdelimit.limits.single_index.law import OverlapLaw, overlap_law
from sdelimit.numerics.precision import evaluate_in_float64


class OverlapMomentumLaw(Law):
    """v = (w, y, w*): A0 = [[0, -eta g3, 0], [0, -r, 0], 0] and, with the gradient k = (h1, 0, h0),

        A1 = [-eta g2 k, s g1 k, 0],        B = (E[l^2] / b) f f',    f = (-eta g2, s g1, 0).

    Attributes:
        momentum: g1, g2, g3 and r as functions of t; its noise is not read.
        gradient: SGD's law, with h1, h0 and E[l^2] / b.
    """

    size: ClassVar[int] = 3
    has_target: ClassVar[bool] = True
    reads_overlaps: ClassVar[bool] = True
    resolves_memory: ClassVar[bool] = True
    linear_in_gradient: ClassVar[bool] = True
    momentum: MomentumLaw
    gradient: OverlapLaw
    power: int = eqx.field(static=True, default=0)
    basis: tuple[str, ...] = eqx.field(static=True, default=("rho",))

    @property
    def _timed(self) -> bool:
        return self.momentum.follows_time or self.gradient.correction is not None

    def _time(self, m):
        return m[0] if self._timed else jnp.zeros(())

    def _values(self, q, m):
        """h1, h0 and E[l^2] / b."""
        (h1, h0), psi = self.gradient.values(q[0], q[2], self._time(m))
        return h1, h0, psi[0]

    def entry(self, eta, q, m):
        """f: what a unit of gradient adds to the state in unit time."""
        g1, g2, *_ = self.momentum.at(self._time(m))
        return jnp.stack([-eta * g2, g1 + 0.0 * eta, 0.0 * eta])

    def drift(self, eta, q, m):
        _, _, g3, rate = self.momentum.at(self._time(m))
        h1, h0, _ = self._values(q, m)
        pull, zero = jnp.stack([h1, jnp.zeros_like(h1), h0]), jnp.zeros_like(rate)
        constant = jnp.array([[zero, -eta * g3, zero], [zero, -rate, zero], [zero, zero, zero]])
        return constant, (self.entry(eta, q, m)[:, None] * pull)[None]

    def noise(self, eta, q, m):
        kick = self.entry(eta, q, m)
        return (kick[:, None] * kick[None, :] * self._values(q, m)[2])[None]

    def effective_rates(self, q, m):
        t = self._time(m)
        past = t if self.momentum.follows_time else jnp.inf
        return (self.momentum.gain(t, past) * self._values(q, m)[0])[None]

    def risk_noise(self, eta, q, m):
        largest = jnp.max(jax.vmap(lambda t: self.momentum.gain(t, 1.0))(jnp.asarray(TYPICAL_TIMES)))
        return (eta**2 * largest**2 * self._values(q, m)[2])[None]

    def initial_scalars(self):
        return np.zeros(1 if self._timed else 0)

    def relaxation(self, q):
        rate = jnp.full(1 if self._timed else 0, CLOCK)
        return rate, 1 / rate

    def initial_state(self, w0, target=None):
        return np.stack([w0, np.zeros_like(w0), target])

    def widened(self, largest):
        wider = self.gradient.widened(largest)
        return self if wider is self.gradient else replace(self, gradient=wider)

    def missed(self, t, S2, X):
        """As of an ``OverlapLaw``."""
        better, error = self.gradient.missed(t, S2, X)
        return replace(self, gradient=better), error

    @property
    def is_rough(self):
        """As of an ``OverlapLaw``."""
        return self.gradient.is_rough

    @property
    def batch_size(self):
        """As of an ``OverlapLaw``."""
        return self.gradient.batch_size

    def drift_at_start(self, problem):
        """As of an ``OverlapLaw``."""
        return self.gradient.drift_at_start(problem)

    @property
    def memoryless(self) -> OverlapLaw:
        """As of an ``OverlapLaw``."""
        return self.gradient

    def settled_gain(self, eta, decay):
        return self.momentum.settled_gain(eta, decay)

    def faded(self):
        if self._timed:
            return None
        gain, rate = evaluate_in_float64(
            lambda t: jnp.stack([self.momentum.gain(t, jnp.inf), self.momentum.at(t)[3]]), 0.0
        )
        return replace(self.gradient, gain=float(gain)), float(rate)


def overlap_momentum_limit(beta: float, nesterov: bool, scale: float, debias: bool, problem, batch_size: int):
    """The limit of ``momentum_limit``'s rule on a single-index problem."""
    momentum = momentum_law(beta, nesterov, scale, debias, problem.d, 0.0, batch_size)
    return OverlapMomentumLaw(momentum, overlap_law(None, problem, batch_size))


def overlap_dana_limit(g2, g3, delta, g1, problem, batch_size: int):
    """The limit of ``dana_limit``'s rule on a single-index problem. ValueError for delta >= d."""
    momentum = dana_law(g2, g3, delta, g1, problem.d, 0.0, batch_size)
    return OverlapMomentumLaw(momentum, overlap_law(None, problem, batch_size))
