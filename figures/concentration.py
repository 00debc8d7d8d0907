"""Concentration: the risk of one run approaches the ODE like d^-1/2, the mean over runs like 1/d.

See: at d = 64 runs scatter, at d = 1024 they are one line; the largest relative gap of a single run falls along the
d^-1/2 guide. Claim (arXiv:2411.12135): the risk of signSGD concentrates on a deterministic curve as d grows.
"""

import numpy as np
from style import COLOURS, TIME, panels

import sdelimit as sl


def draw(quick=False):
    dimensions, n = ((32, 64, 128, 256), 24) if quick else ((32, 64, 128, 256, 512, 1024, 2048), 96)
    figure, (left, right) = panels(2)
    single, mean, noise = [], [], []
    for d in dimensions:
        signs = np.where(np.random.default_rng(0).random(d) < 0.5, -1.0, 1.0)
        problem = sl.LinearRegression(
            sl.covariance.ar1(d, 0.5), sl.noise.StudentT(1.5, 0.3), theta_star=signs / np.sqrt(d)
        )
        runs = sl.simulate(problem, sl.sign_sgd(), 0.5, t=np.arange(0, 4.01, 0.125), n_runs=n)
        theory = sl.solve_ode(problem, sl.sign_sgd(), 0.5, t=runs.t)
        gaps = np.max(np.abs(runs.risk / theory.risk - 1), axis=1)
        single.append(np.median(gaps))
        mean.append(np.max(np.abs(runs.mean / theory.risk - 1)))
        noise.append(np.max(runs.standard_error / theory.risk))
        if d in (64, dimensions[-2]):
            colour = COLOURS[1] if d == 64 else COLOURS[0]
            left.plot(runs.t, runs.risk[:12].T, color=colour, linewidth=0.7, alpha=0.6)
            left.plot([], [], color=colour, label=f"12 runs, d = {d}")
            left.plot(runs.t, theory.risk, color="black", linewidth=1.6, label="ODE" if d == 64 else None)
    left.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title="signSGD, Student-t(1.5) noise")
    left.legend(frameon=False)
    x = np.array(dimensions, float)
    right.plot(x, single, "o-", color=COLOURS[0], label="one run (median)")
    right.plot(x, mean, "s-", color=COLOURS[2], label=f"mean of {n} runs")
    right.plot(x, noise, ":", color=COLOURS[2], label="its Monte-Carlo error")
    right.plot(x, single[0] * np.sqrt(x[0] / x), "--", color="0.4", label="$d^{-1/2}$")
    right.set(xlabel="dimension d", ylabel="largest relative gap to the ODE", xscale="log", yscale="log")
    right.set_xticks(x, [str(d) for d in dimensions])
    right.minorticks_off()
    right.legend(frameon=False)
    return figure
