"""An exponential integrator for risk ODEs in their modes: the linear decay is exact, steps follow the risk alone.

The system dy_i/dt = -a(t) lambda_i y_i + sum_q g_q(t) f_qi has a(t) = 2 eta phi(R) and g_q(t) = eta^2 psi_q(R): a few
scalars, coupled to the modes through R = sum_i y_i only (theory: section 3). In the clock s = int a dt,

    y_i(s) = exp(-lambda_i s) y_i(0) + sum_q f_qi int_0^s exp(-lambda_i (s - u)) (g_q / a)(u) du,

so with a(t) and (g_q / a)(u) polynomials the integrals are phi functions, and no step is limited by a fast mode.
"""

from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.numerics.floors import TINY

NODES = np.array([0.0, (1 - (3 / 7) ** 0.5) / 2, 0.5, (1 + (3 / 7) ** 0.5) / 2, 1.0])
"""Lobatto points of a step, at which polynomials of degree 4 meet the scalars."""
SWEEPS = 4
"""Sweeps over the risk at the nodes after the first; each gains at least an order."""
DEGREES = np.arange(NODES.size)
COEFFICIENTS = np.linalg.inv(NODES[:, None] ** DEGREES)
"""Values at the nodes -> coefficients of 1, x, x^2, ..."""
DROPPED = COEFFICIENTS - np.pad(np.linalg.inv(NODES[:-1, None] ** DEGREES[:-1]), (0, 1))
"""What the last node, and with it the highest degree, adds."""


class Path(eqx.Module):
    """The modes along one step, as a function of x = (t - t0) / h in [0, 1].

    Attributes:
        y0: (d,) risks of the modes at x = 0.
        decay, sources: lambda_i and f_qi.
        rate: (k,) coefficients of a h in powers of x.
        clock: s(1).
        ratio: (k, p) coefficients of g_q / a in powers of s / s(1).
    """

    y0: Float[Array, " d"]
    decay: Float[Array, " d"]
    sources: Float[Array, "p d"]
    rate: Float[Array, " k"]
    clock: Float[Array, ""]
    ratio: Float[Array, "k p"]

    def __call__(self, x):
        """y at x."""
        powers = np.arange(self.rate.size)
        s = jnp.sum(self.rate * x ** (powers + 1) / (powers + 1))
        part = s / jnp.maximum(self.clock, TINY)
        decayed, functions = phi_functions(self.decay * s, self.rate.size)
        weights = s * part ** powers[:, None] * self.ratio
        return decayed * self.y0 + sum(f * (w @ self.sources) for f, w in zip(functions, weights, strict=True))


class Interpolation(diffrax.AbstractLocalInterpolation):
    """The modes inside a step, from the same formula as at its end."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    path: Path

    def evaluate(self, t0, t1=None, left=True):
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        width = self.t1 - self.t0
        return self.path((t0 - self.t0) / jnp.where(width > 0, width, 1.0))


class Exponential(diffrax.AbstractAdaptiveSolver):
    """Collocation at five Lobatto points for the scalars, exact for the modes: order 5, with dense output.

    ``args`` is (learning rate as a function of time, system); the system has ``clock(eta, R)`` for a and g / a,
    ``rates`` (lambda_i, in one row), ``sources``, ``risk(y)`` and ``positive(R)``. The error estimate is what the terms
    of highest degree contribute, and how far the risk is from what the last sweep took it to be.
    """

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = Interpolation

    def order(self, terms):
        return NODES.size

    def init(self, terms, t0, t1, y0, args):
        return jnp.eye(NODES.size - 1)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        schedule, system = args
        times = (t0 + NODES * (t1 - t0)).at[-1].set(t1)  # t1 itself: a rounded one may lie behind a jump of eta
        eta = jax.vmap(schedule)(times) + jnp.zeros(NODES.size)
        decay, sources = jnp.asarray(system.rates)[0], jnp.asarray(system.sources)

        def path(R, keep):
            rate, ratio = jax.vmap(system.clock)(eta, R)
            rate = (t1 - t0) * ((COEFFICIENTS - (1 - keep) * DROPPED) @ rate)
            clock = NODES[:, None] ** (DEGREES + 1) / (DEGREES + 1) @ rate
            return Path(y0, decay, sources, rate, clock[-1], interpolate(clock[:, None], ratio, keep))

        def ahead(log_R):
            at = path(jnp.concatenate([R0[None], jnp.exp(log_R)]), 1.0)
            return jnp.log(jax.vmap(lambda x: system.positive(system.risk(at(x))))(NODES[1:]))

        R0 = system.positive(system.risk(y0))
        log_R, inverse = fixed_point(ahead, jnp.full(NODES.size - 1, jnp.log(R0)), solver_state)
        R = jnp.concatenate([R0[None], jnp.exp(log_R)])
        y1, lower = jax.vmap(lambda keep: path(R, keep)(1.0))(jnp.array([1.0, 0.0]))
        change = system.risk(y1) / R[-1] - 1
        error = jnp.abs(y1 - lower) + jnp.abs(change * y1)
        return y1, error, {"path": path(R, 1.0)}, inverse, diffrax.RESULTS.successful


def fixed_point(function, x, inverse):
    """x = function(x), by ``SWEEPS`` steps of Broyden's method, and the inverse Jacobian it ends with.

    Where fast modes follow the risk at once, function(x) is nearly a multiple of x and plain fixed-point sweeps stall;
    the Jacobian accounts for that. It changes little from step to step, so ``inverse`` is the one that the last step
    ended with.
    """

    def sweep(carry, _):
        x, residual, inverse = carry
        step = -inverse @ residual
        new = x + step - function(x + step)
        image = inverse @ (new - residual)
        along = step @ image
        usable = jnp.abs(along) > 1e-3 * jnp.sum(step**2)
        update = jnp.outer(step - image, step @ inverse) / jnp.where(usable, along, 1.0)
        # A derivative converges with the sweeps as the value does, whatever the inverse.
        return (x + step, new, inverse + jax.lax.stop_gradient(jnp.where(usable, update, 0.0))), None

    carry = x, x - function(x), inverse
    (x, residual, inverse), _ = jax.lax.scan(sweep, carry, None, length=SWEEPS)
    return x - inverse @ residual, inverse


def interpolate(s, values, keep):
    """(k, p) coefficients, in powers of s / s[-1], of the polynomial through ``values`` (k, p) at ``s``.

    ``s`` is (k, p), or (k, 1) if it is the same for all columns. Newton's divided differences, the last of them times
    ``keep``.
    """
    x = jnp.where(s[-1] > 0, s / jnp.maximum(s[-1], TINY), NODES[:, None])
    differences = [values[0]]
    for j in range(1, len(x)):
        gap = x[j:] - x[:-j]
        # Points that meet (a learning rate of zero) have equal values.
        values = jnp.diff(values, axis=0) / jnp.where(jnp.abs(gap) > 1e-12, gap, 1.0)
        differences.append(values[0])
    differences[-1] = keep * differences[-1]
    polynomial = jnp.zeros((len(x), values.shape[1]))
    for k in reversed(range(len(x))):
        polynomial = jnp.roll(polynomial, 1, axis=0) - x[k] * polynomial
        polynomial = polynomial.at[0].add(differences[k])
    return polynomial


def phi_functions(x, n):
    """exp(-x) and J_k(x) = int_0^1 exp(-x (1 - v)) v^k dv for k < n, for x >= 0, by recursion upwards or downwards.

    Upwards J_k = (1 - k J_(k-1)) / x loses digits where x is small; there J_(n-1) is summed as a series and
    J_(k-1) = (1 - x J_k) / k.
    """
    small = x < 1.5
    low, high = jnp.where(small, x, 0.0), jnp.where(small, 1.5, x)
    decayed = jnp.exp(-x)
    upwards = [(1 - jnp.exp(-high)) / high]
    for k in range(1, n):
        upwards.append((1 - k * upwards[-1]) / high)
    total = jnp.ones_like(x)  # J_(n-1) n = sum_m (-x)^m n! / (n+m)!, by Horner
    for m in range(16, 0, -1):
        total = 1 - low * total * (1 / (n + m))
    downwards = [total / n]
    for k in range(n - 1, 0, -1):
        downwards.append((1 - low * downwards[-1]) * (1 / k))
    return decayed, [jnp.where(small, a, b) for a, b in zip(downwards[::-1], upwards, strict=True)]
