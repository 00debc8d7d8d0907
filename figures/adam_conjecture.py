"""Adam as b2 -> 1: drift c / sqrt(2P) with c -> 1 and noise kernel kappa(rho) -> rho.

See: left, c and kappa(1) approach 1, kappa(1/2) approaches 1/2 and the drift squared per noise approaches SGD's; right,
the risk of simulated Adam moves from its own limit at b2 = 0.5 towards the conjectured curve at b2 = 0.99.
Claim: the conjecture on Adam that closes arXiv:2411.12135, for Gaussian label noise.
"""

import dataclasses

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl
from sdelimit.limits.exact.long_memory_adam import quasi_stationary_adam_limit
from sdelimit.optimizers.optimizer import of_noise


def draw(quick=False):
    memories = (2, 5, 20, 100) if quick else (2, 3, 5, 10, 20, 50, 100, 200)
    d, n = (400, 16) if quick else (2000, 48)
    figure, (left, right) = panels(2)
    rho, R = np.array([0.5, 1.0]), 0.5
    found = []
    for memory in memories:
        coefficients = sl.limit_coefficients(sl.adam(0.0, 1 - 1 / memory, memory="fixed"), sl.noise.NoNoise())
        found.append([coefficients.phi(R), *coefficients.kappa(rho, R)])
    c, half, one = np.array(found).T
    x = np.array(memories)
    left.plot(x, c, "o-", color=COLOURS[0], label="c: drift")
    left.plot(x, one, "s-", color=COLOURS[1], label=r"$\kappa(1)$: noise")
    left.plot(x, half, "D-", color=COLOURS[2], label=r"$\kappa(1/2)$")
    left.plot(x, c**2 / one, "^--", color="0.4", label=r"$c^2/\kappa(1)$: drift$^2$ per noise")
    for level in (0.5, 1.0):
        left.axhline(level, color="0.7", linewidth=0.8, zorder=0)
    left.set(
        xscale="log", xlabel=r"memory $1/(1-\beta_2)$ in steps", ylabel=r"coefficient, $\beta_1 = 0$", ylim=(0, 1.15)
    )
    left.legend(frameon=False, loc="lower right")
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.5), sl.noise.Gaussian(0.5))
    for b2, colour in ((0.5, COLOURS[1]), (0.99, COLOURS[0])):
        rule = sl.adam(0.0, b2, memory="fixed")
        runs = sl.simulate(problem, rule, 0.5, 4.0, n_runs=n)
        draw_runs(right, runs, colour, rf"$\beta_2 = {b2}$: {n} runs")
        right.plot(
            runs.t, sl.solve_ode(problem, rule, 0.5, t=runs.t).risk, color=colour, label=rf"$\beta_2 = {b2}$: ODE"
        )
    right.plot(*conjectured(problem, 0.5, 4.0), "k--", linewidth=1.2, label=r"conjecture: $\beta_2 \to 1$")
    right.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"d = {d}")
    right.legend(frameon=False)
    return figure


def conjectured(problem, lr, t_max):
    """The limit with c = 1 and kappa(rho) = rho: Adam whose second moment is 2P at every time."""
    rule = dataclasses.replace(sl.long_memory_adam(0.0, 0.999), limit=of_noise(quasi_stationary_adam_limit))
    curve = sl.solve_ode(problem, rule, lr, t_max)
    return curve.t, curve.risk
