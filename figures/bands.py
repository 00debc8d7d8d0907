"""Bands without sampling: the 10, 50 and 90% quantiles of single runs from the ODE alone, and those of runs.

See: the bands of the theory, without a single path, have a tenth of the runs above and a tenth
below them, at all times.
Claim: the spread of single runs follows from the same law as their mean, by one backward equation.
"""

import numpy as np
from style import COLOURS, TIME, correlated, panels

import sdelimit as sl

LEVELS = (0.1, 0.5, 0.9)


def draw(quick=False):
    d, n = (128, 128) if quick else (256, 1024)
    theta = 1.5 * np.random.default_rng(1).normal(size=d) / np.sqrt(d)
    problem = sl.LinearRegression(correlated(sl.covariance.ar1(d, 0.6)), sl.noise.Gaussian(0.5), theta_star=theta)
    t = np.linspace(0.0, 3.0, 31)
    figure, axes = panels(3, 2)
    cases = [("SGD", sl.sgd(), 0.4), ("signSGD", sl.sign_sgd(), 0.5), ("Adam(0.9, 0.95)", sl.adam(0.9, 0.95), 0.4)]
    for axis, below, colour, (title, rule, lr) in zip(axes, axes[3:], COLOURS, cases, strict=False):
        curve = sl.solve_ode(problem, rule, lr, t=t, aligned=False)
        runs = sl.simulate(problem, rule, lr, t=t, n_runs=n)
        for panel, unit in ((axis, 1.0), (below, curve.risk)):
            low, middle, high = curve.quantile(LEVELS) / unit
            panel.fill_between(t, low, high, color=colour, alpha=0.25, linewidth=0, label="theory, 10-90%")
            panel.plot(t, middle, color=colour, label="theory, median")
            low, middle, high = (runs.quantile(LEVELS) / unit)[:, 1::2]
            panel.errorbar(
                t[1::2], middle, yerr=[middle - low, high - middle], color="black", fmt="o", markersize=2.6,
                markerfacecolor="white", elinewidth=0.8, capsize=1.8, label=f"{n} runs, median and 10-90%",
            )  # fmt: skip
        axis.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=title)
        below.set(xlabel=TIME, ylabel="R(t) / mean of theory", ylim=(0.8, 1.2))
        axis.legend(frameon=False)
        late = t >= 0.5
        std = (runs.risk.std(axis=0, ddof=1)[late] / curve.std[late] - 1) ** 2
        levels = np.abs(runs.quantile(LEVELS)[:, late] / curve.quantile(LEVELS)[:, late] - 1)
        print(f"{title}: std {np.sqrt(np.mean(std)):.1%} off (rms over t >= 0.5), quantiles at most {levels.max():.1%}")
    return figure
