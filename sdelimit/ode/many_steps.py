"""The mean risk of SGD after millions of steps, without taking them one by one (theory: section 15).

With a constant learning rate, x_i = g lambda_i and batches of b, a step takes the energies Y_i = E[w_i^2] to

    Y_i <- rho_i Y_i + f_i F,    rho_i = (1 - x_i)^2 + x_i^2 / b,    f_i = g^2 lambda_i / b,    F = 2R + E[eps^2].

Later on F changes by a small fraction in a step, and the differential equation in units of steps

    dY_i/dn = -mu_i Y_i + f_i mu_i / (1 - rho_i) F(n - 1/2),    mu_i = -log rho_i,

has the same solution at whole n up to second differences of F: with F constant in a step it is exact, and the step's
own F is that of its beginning, half a step before its middle. F half a step ago follows from the energies now,

    Y_i(n - 1/2) = exp(mu_i / 2) Y_i - f_i / (1 - rho_i) (exp(mu_i / 2) - 1) F(n - 1/2),

so that the system is one of modes, coupled by one number, for the exponential integrator.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.modes.compression import compress
from sdelimit.numerics.floors import BLOW_UP, NEGLIGIBLE, TINY_RISK
from sdelimit.numerics.jit import shared_size
from sdelimit.ode.exponential_integrator import Exponential
from sdelimit.ode.system import System, Tolerances

FIRST_STEPS = 1024
"""Steps taken one by one, after which F changes by less than about 1/1000 in each."""
MANY_STEPS = 8192
"""More steps than this are not taken one by one."""
RTOL = 1e-8
SHARED_MODES = 64
"""Modes are padded to a multiple of this many; see ``shared_size``."""


class ManySteps(System):
    """Risks y_i = lambda_i Y_i / 2 of the modes, from a time on that counts as 0 here.

    ``risk`` is (F(n - 1/2) - E[eps^2]) / 2, what the modes are coupled by; ``observe`` gives the risk itself.

    Attributes:
        rates: (1, d) mu_i in units of t.
        sources: (1, d) lambda_i / 2 f_i mu_i / (1 - rho_i) in units of t.
        start: y at time 0.
        still: Y_i where lambda_i = 0, which does not change; 0 elsewhere.
        steps: steps in a unit of t.
        coupling: what F(n - 1/2) adds to itself, (F(n) - F(n - 1/2)) / F(n - 1/2) from the sources.
    """

    decay: Float[np.ndarray, " d"]
    rates: Float[np.ndarray, "1 d"]
    sources: Float[np.ndarray, "1 d"]
    start: Float[np.ndarray, " d"]
    still: Float[np.ndarray, " d"]
    steps: float
    coupling: float
    noise_variance: float
    times: Float[np.ndarray, " n"]
    tolerances: Tolerances

    def initial(self):
        return jnp.asarray(self.start)

    def risk(self, y):
        before = jnp.sum(jnp.exp(jnp.asarray(self.rates)[0] / (2 * self.steps)) * y, axis=-1)
        return (before - self.coupling * self.noise_variance / 2) / (1 + self.coupling)

    def clock(self, eta, R):
        """For ``Exponential``: the decay rate of a mode of rate 1, and F."""
        return jnp.ones_like(R), (2 * R + self.noise_variance)[None]

    def field(self, eta, y):
        F = 2 * self.positive(self.risk(y)) + self.noise_variance
        return -jnp.asarray(self.rates)[0] * y + jnp.asarray(self.sources)[0] * F

    def observe(self, eta, y, save_modes):
        modes = 2 * y / jnp.asarray(self.decay) + jnp.asarray(self.still) if save_modes else jnp.zeros(())
        return {"risk": jnp.sum(y), "modes": modes, "phi": jnp.ones(()), "slope": jnp.sum(self.field(eta, y))}

    def solver(self):
        return Exponential()

    def with_few_modes(self, problem):
        """A few hundred modes of the same risk; see ``modes/compression.py``."""
        rates, (start, sources) = compress(self.rates[0], np.stack([self.start, self.sources[0]]))
        extra = shared_size(rates.size, SHARED_MODES) - rates.size
        rates, (start, sources) = np.pad(rates, (0, extra), mode="edge"), np.pad([start, sources], ((0, 0), (0, extra)))
        bounds = replace(self.tolerances, atol=self.tolerances.atol * self.decay.size / rates.size)
        few = {"decay": np.ones(rates.size), "rates": rates[None], "sources": sources[None], "start": start}
        few["still"] = np.zeros(rates.size)
        return replace(self, **few, tolerances=bounds)


def many_steps(decay, moments, g: float, batch_size: float, noise_variance: float, d: int, times) -> ManySteps:
    """From the energies ``moments`` (d,) at the first of ``times``; g = eta / d."""
    x = g * decay
    rest = x * (2 - x - x / batch_size)  # 1 - rho
    mu = -np.log1p(-rest)
    sources = decay / 2 * g**2 * decay / batch_size * np.divide(mu, rest, out=np.ones_like(mu), where=rest > 0)
    coupling = 2 * float(np.sum(np.divide(sources, mu, out=np.zeros_like(mu), where=mu > 0) * np.expm1(mu / 2)))
    start = decay / 2 * moments
    scale = max(float(np.sum(start)), float(np.sum(sources)) * noise_variance, TINY_RISK)
    bounds = Tolerances(RTOL, 1e-10 * scale / decay.size, NEGLIGIBLE * scale, BLOW_UP * scale)
    times = np.asarray(times) - times[0]
    return ManySteps(
        decay=np.where(decay > 0, decay, decay.max()), rates=mu[None] * d, sources=sources[None] * d, start=start,
        still=np.where(decay > 0, 0.0, moments),
        steps=float(d), coupling=coupling, noise_variance=float(noise_variance), times=times, tolerances=bounds,
    )  # fmt: skip


def slows_down(decay, g: float, batch_size: float) -> bool:
    """Whether every mode decays at this learning rate; otherwise F may change by any factor in a step."""
    x = g * decay.max()
    return x > 0 and x * (1 + 1 / batch_size) < 2 and x * (2 - x - x / batch_size) < 1
