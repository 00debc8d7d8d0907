"""An exponential integrator for risk ODEs in their modes: the linear decay is exact, steps follow the risk alone.

The system dy_i/dt = -a(t) lambda_i y_i + sum_q g_q(t) f_qi has a(t) = 2 eta phi(R), g_q(t) = eta^2 psi_q(R): two kinds of
scalars, coupled to all modes through R = sum_i y_i only. In the clock sigma = int a dt,

    y_i(sigma) = exp(-lambda_i sigma) y_i(0) + sum_q f_qi int_0^sigma exp(-lambda_i (sigma - u)) (g_q / a)(u) du,

so with a(t) and (g_q / a)(u) polynomials the integrals are phi functions, and no step is limited by a fast mode.
"""

from collections.abc import Callable
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

NODES = np.array([0.0, (1 - 5**-0.5) / 2, (1 + 5**-0.5) / 2, 1.0])
"""Lobatto points of a step, where the polynomials of degree 3 meet the coefficients."""
SWEEPS = 6
"""Fixed-point sweeps over the risk at the nodes; each gains an order."""
POWERS = np.arange(NODES.size)
_VANDERMONDE = np.linalg.inv(NODES[:, None] ** POWERS)  # values at the nodes -> coefficients of t^k
INTEGRALS = (NODES[:, None] ** (POWERS + 1) / (POWERS + 1)) @ _VANDERMONDE  # values -> integrals up to each node
_LOWER = np.linalg.lstsq(NODES[:, None] ** POWERS[:-1], np.eye(NODES.size), rcond=None)[0]
LOWER_INTEGRAL = (1 / POWERS[1:]) @ _LOWER  # integral over the step of the best polynomial of degree 2


class Exponential(diffrax.AbstractAdaptiveSolver):
    """Collocation at four Lobatto points for the scalars, exact for the modes; local error of order 5.

    ``args`` is a ``ModeSystem``-like object with ``rates(eta, R)``, ``decay``, ``sources`` and ``risk``, next to the
    learning rate as a function of time. The error estimate is what the cubic terms contribute.
    """

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 4

    def error_order(self, terms):
        return 4.0

    def init(self, terms, t0, t1, y0, args):
        return None

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        schedule, system = args
        h = t1 - t0
        eta = jax.vmap(schedule)(t0 + NODES * h) + jnp.zeros(NODES.size)

        def modes_at(R):
            """y at the nodes, and at the end with polynomials of one degree less."""
            rate, ratio = jax.vmap(system.rates)(eta, R)  # a, (nodes,), and g_q / a, (nodes, p)
            sigma = h * (INTEGRALS @ rate)
            y = [y0, *(evolved(system, y0, sigma, ratio, s, POWERS.size) for s in sigma[1:])]
            return jnp.stack(y), rate, ratio, sigma

        def sweep(R, _):
            return system.positive(system.risk(modes_at(R)[0])), None

        R0 = jnp.full(NODES.size, system.positive(system.risk(y0)))
        R, _ = jax.lax.scan(sweep, R0, None, length=SWEEPS)
        y, rate, ratio, sigma = modes_at(R)
        lower = h * (LOWER_INTEGRAL @ rate)
        error = y[-1] - evolved(system, y0, sigma * (lower / jnp.maximum(sigma[-1], 1e-300)), ratio, lower, POWERS.size - 1)
        return y[-1], error, {"y0": y0, "y1": y[-1]}, None, diffrax.RESULTS.successful


def evolved(system, y0, sigma, ratio, s, degrees):
    """y at clock s, with (g / a)(u) the polynomial of degree < ``degrees`` fitted to ``ratio`` at the clocks ``sigma``."""
    x = sigma / jnp.maximum(sigma[-1], 1e-300)
    # Nodes that nearly coincide (a learning rate of zero) are told apart only so far.
    x = jnp.where(sigma[-1] > 0, x, NODES)
    matrix = x[:, None] ** np.arange(degrees)
    coefficients = jnp.linalg.lstsq(matrix, ratio)[0] if degrees < x.size else jnp.linalg.solve(matrix, ratio)
    part = s / jnp.maximum(sigma[-1], 1e-300)
    z = system.decay * s
    decayed, functions = phi_functions(z, degrees)
    total = decayed * y0
    for k, (function, row) in enumerate(zip(functions, coefficients, strict=True)):
        total = total + s * part**k * function * (row @ system.sources)
    return total


def phi_functions(x, n):
    """exp(-x) and int_0^1 exp(-x (1 - v)) v^k dv for k < n, for x >= 0, by recursion upwards or downwards.

    Upwards J_k = (1 - k J_(k-1)) / x loses digits where x is small; there J_(n-1) is summed as a series and
    J_(k-1) = (1 - x J_k) / k.
    """
    small = x < 1.0
    low, high = jnp.where(small, x, 1.0), jnp.where(small, 1.0, x)
    decayed = jnp.exp(-x)
    upwards = [-jnp.expm1(-high) / high]
    for k in range(1, n):
        upwards.append((1 - k * upwards[-1]) / high)
    term = total = jnp.full_like(x, 1 / n)  # sum_m (-x)^m (n-1)! / (n+m)!
    for m in range(1, 18):
        term = -term * low / (n + m)
        total = total + term
    downwards = [total]
    for k in range(n - 1, 0, -1):
        downwards.append((1 - low * downwards[-1]) / k)
    return decayed, [jnp.where(small, a, b) for a, b in zip(downwards[::-1], upwards, strict=True)]
