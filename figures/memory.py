"""Memory comparable to d: the limit of a short memory, the law in which memory is a variable, and runs.

See: dashed, the limit that takes averages to be short and to have lasted for ever, leaves the runs early on; solid,
with the memory a second number of every mode that starts at zero, goes through their mean from the first steps on,
also where the risk rises first because Adam's denominator has not filled.
Claim: the risk is deterministic for memories comparable to d too; it follows an equation with memory.
"""

import numpy as np
from style import COLOURS, TIME, correlated, panels

import sdelimit as sl


def draw(quick=False):
    d, n = (256, 32) if quick else (512, 128)
    theta = 1.5 * np.random.default_rng(1).normal(size=d) / np.sqrt(d)
    problem = sl.LinearRegression(correlated(sl.covariance.ar1(d, 0.6)), sl.noise.Gaussian(0.5), theta_star=theta)
    t = np.concatenate([[0.0], np.array([4, 8, 16, 32]) / d, np.linspace(0.1, 3.0, 30)])
    figure, axes = panels(2, 2)
    cases = [
        (sl.sgd(momentum=0.99), 0.006, sl.sgd(), 0.6),
        (sl.signum(0.99), 0.08, sl.signum(0.99, memory="fixed"), 0.08),
        (sl.lion(0.9, 0.99), 0.1, sl.lion(0.9, 0.99, memory="fixed"), 0.1),
        (sl.adam(0.9, 0.999, bias_correction=False), 0.5, sl.adam(0.9, 0.999, memory="fixed"), 0.5),
    ]
    titles = ("SGD, momentum 0.99", "Signum(0.99)", "Lion(0.9, 0.99)", "Adam(0.9, 0.999), uncorrected")
    for axis, title, colour, (rule, lr, short, short_lr) in zip(axes, titles, COLOURS, cases, strict=False):
        runs = sl.simulate(problem, rule, lr, t=t, n_runs=n)
        axis.errorbar(
            t, runs.mean, yerr=2 * runs.standard_error, color=colour, fmt="o", markersize=3, markerfacecolor="white",
            elinewidth=0.8, capsize=1.6, label=f"mean of {n} runs",
        )  # fmt: skip
        axis.plot(t, sl.solve_ode(problem, rule, lr, t=t, aligned=False).risk, color=colour, label="memory resolved")
        plain = sl.solve_ode(problem, short, short_lr, t=t, aligned=False)
        axis.plot(t, plain.risk, "k--", linewidth=1.0, label="short memory")
        axis.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=title)
        axis.legend(frameon=False)
    return figure
