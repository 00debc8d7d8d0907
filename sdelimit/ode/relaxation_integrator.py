"""An exponential integrator for systems of which every number relaxes at a rate of its own.

    dy_k/dt = n_k(t, y) - rho_k(t, y) y_k

with rates rho_k > 0 that change over a step, as the means and the energies of modes do where features are correlated
with the residual (theory: section 15). In the clock s_k = int rho_k dt of each number

    y_k(s) = exp(-s) y_k(0) + int_0^s exp(-(s - u)) (n_k / rho_k)(u) du,

so with rho_k and n_k / rho_k polynomials through the nodes of a step the integrals are phi functions, and no step is
limited by a fast number: those are where n_k / rho_k is. What couples them is met by sweeps over all nodes at once,
with Anderson's mixing: each multiplies a few vectors by the matrices of the system.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from sdelimit.numerics.floors import TINY
from sdelimit.ode.exponential_integrator import COEFFICIENTS, DEGREES, DROPPED, NODES, interpolate, phi_functions

SWEEPS = 7
"""Sweeps over the nodes at most; each gains at least an order."""
SOLVED = 0.1
"""Sweeps end where they change less than this part of the tolerance."""
MIXED = 2
"""Earlier sweeps that Anderson's mixing remembers."""
SLOWEST = 1e-12
"""Added to all rates, over the length of the step, so that numbers that do not relax need no formula of their own."""
INTEGRALS = NODES[:, None] ** (DEGREES + 1) / (DEGREES + 1)
"""Coefficients of a polynomial -> its integrals from 0 to the nodes."""


class Path(eqx.Module):
    """The numbers along one step, as a function of x = (t - t0) / h in [0, 1].

    Attributes:
        y0: (d,) at x = 0.
        rate: (k, d) coefficients of rho h in powers of x.
        ratio: (k, d) coefficients of n / rho in powers of s / s(1).
    """

    y0: Float[Array, " d"]
    rate: Float[Array, "k d"]
    ratio: Float[Array, "k d"]

    def __call__(self, x):
        """y at x."""
        s = jnp.maximum((x ** (DEGREES + 1) / (DEGREES + 1)) @ self.rate, 0.0)
        part = s / jnp.maximum(INTEGRALS[-1] @ self.rate, TINY)
        decayed, functions = phi_functions(s, NODES.size)
        y, weight = decayed * self.y0, s
        for function, ratio in zip(functions, self.ratio, strict=True):
            y, weight = y + function * weight * ratio, weight * part
        return y


class Interpolation(diffrax.AbstractLocalInterpolation):
    """The numbers inside a step, from the same formula as at its end; ``start`` is the state there as a pytree."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    path: Path
    start: Any

    def evaluate(self, t0, t1=None, left=True):
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        width = self.t1 - self.t0
        return ravel_pytree(self.start)[1](self.path((t0 - self.t0) / jnp.where(width > 0, width, 1.0)))


class Relaxation(diffrax.AbstractAdaptiveSolver):
    """Collocation at five Lobatto points: order 5, with dense output.

    ``args`` is (learning rate as a function of time, system). Of a state (*leading, following) the system has
    ``see(leading)``, ``following(seen)`` and ``leading(eta, leading, seen, following)``, the latter two for the rates
    rho and the sources n of these numbers, pytrees like them (a rate may be a number for a whole array), and
    ``tolerances``. What follows has rates and sources that do not depend on itself: in each sweep it comes first. The
    error estimate is what the terms of highest degree contribute, and what the last sweep has changed.
    """

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = Interpolation

    def order(self, terms):
        return NODES.size

    def init(self, terms, t0, t1, y0, args):
        return None

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        schedule, system = args
        h = t1 - t0
        times = (t0 + NODES * h).at[-1].set(t1)  # t1 itself: a rounded one may lie behind a jump of eta
        eta = jax.vmap(schedule)(times) + jnp.zeros(NODES.size)
        start, unravel = ravel_pytree(y0)
        leading, following = y0[:-1], y0[-1]
        (lead0, of_lead), (rest0, of_rest) = ravel_pytree(leading), ravel_pytree(following)
        slowest = SLOWEST / jnp.maximum(h, TINY)

        def ratio(like, rates, sources):
            """Rates, and sources over them, as two rows."""
            rate = ravel_pytree(jax.tree.map(lambda x, rate: jnp.broadcast_to(rate, x.shape), like, rates))[0] + slowest
            return jnp.stack([rate, ravel_pytree(sources)[0] / rate])

        def path(start, found, keep):
            rates, ratios = found[:, 0], found[:, 1]
            rate = h * ((COEFFICIENTS - (1 - keep) * DROPPED) @ rates)
            return Path(start, rate, interpolate(INTEGRALS @ rate, ratios, keep))

        def follow(lead):
            seen = system.see(of_lead(lead))
            return seen, ratio(following, *system.following(seen))

        def move(eta, lead, seen, rest):
            return ratio(leading, *system.leading(eta, of_lead(lead), seen, of_rest(rest)))

        def through(lead):
            """What ``ratio`` gives at all nodes, for the leading numbers, ``lead`` at the nodes, and for the others."""
            seen, rest = jax.vmap(follow)(lead)
            values = jax.vmap(path(rest0, rest, 1.0))(NODES)
            return jnp.concatenate([jax.vmap(move)(eta, lead, seen, values), rest], axis=2)

        def ahead(lead):
            found = through(lead)
            return jax.vmap(path(lead0, found[:, :, : lead0.size], 1.0))(NODES), found

        limits = system.tolerances
        guess = jnp.broadcast_to(lead0, (NODES.size, lead0.size))
        weight = 1 / (jnp.abs(lead0) + limits.atol / limits.rtol)
        lead, found = mixed_fixed_point(ahead, guess, weight, SOLVED * limits.rtol)
        whole = path(start, found, 1.0)
        y1 = whole(1.0)
        change = jnp.pad(jnp.abs(y1[: lead0.size] - lead[-1]), (0, rest0.size))
        error = jnp.abs(y1 - path(start, found, 0.0)(1.0)) + change
        return unravel(y1), unravel(error), {"path": whole, "start": y0}, None, diffrax.RESULTS.successful


def mixed_fixed_point(function, x, weight, enough):
    """x = image for (image, value) = function(x), by at most ``SWEEPS`` steps of Anderson's mixing: (x, value).

    They end where the root mean square of ``weight`` times the residual is below ``enough``.
    Source: Walker and Ni, SIAM J. Numer. Anal. 49 (2011).
    """

    def goes_on(carry):
        count, size, *_ = carry
        return (count < SWEEPS) & ~(size < enough)

    def sweep(carry):
        count, _, _, x, last, residuals, images, _ = carry
        image, value = function(x)
        residual, known = image - x, count > 0
        residuals = jnp.roll(residuals, 1, axis=0).at[0].set(jnp.where(known, residual - last[0], 0.0))
        images = jnp.roll(images, 1, axis=0).at[0].set(jnp.where(known, image - last[1], 0.0))
        scaled = (residuals * weight).reshape(MIXED, -1)
        gram = scaled @ scaled.T
        gram = gram + (1e-12 * jnp.trace(gram) + TINY) * jnp.eye(MIXED)
        share = jnp.linalg.solve(gram, scaled @ (residual * weight).ravel())
        share = jnp.where(jnp.all(jnp.isfinite(share)), share, 0.0)
        size = jnp.sqrt(jnp.mean((residual * weight) ** 2))
        mixed = image - jnp.tensordot(share, images, axes=1)
        return count + 1, size, x, mixed, (residual, image), residuals, images, value

    none = jnp.zeros((MIXED, *x.shape))
    value = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(function, x)[1])
    start = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf), x, x, (x, x), none, none, value
    found = jax.lax.while_loop(goes_on, sweep, start)
    return found[2], found[-1]
