"""Real data: one-pass runs on natural-image patches and on digits against both theories.

See: circles (median of runs over the data's own rows) on the solid line, the theory that takes its averages over the
rows; the dashed line assumes Gaussian features with the data's covariance, and is off where they are far from it.
Claim (arXiv:2411.12135): the limit describes runs on real data, with K and the noise estimated from them.
"""

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl

RULES = (sl.sgd(), sl.sign_sgd(), sl.adam(0.9, 0.99))


def draw(quick=False):
    n_runs = 8 if quick else 32
    cases = {
        "natural patches": (sl.data.natural_patches(9 if quick else 17, 4000 if quick else 20_000), (0.3, 0.1, 0.1)),
        "ReLU features of digits": (sl.data.digits(random_features=96 if quick else 192), (0.1, 0.1, 0.1)),
    }
    figure, axes = panels(len(cases), width=5.0)
    for axis, (name, (problem, rates)) in zip(axes, cases.items(), strict=True):
        t = np.linspace(0.0, min(5.0, 0.3 * problem.n / problem.d), 41)
        for rule, lr, colour in zip(RULES, rates, COLOURS, strict=False):
            runs = sl.simulate(problem, rule, lr, t=t, n_runs=n_runs)
            axis.plot(t, sl.data.solve_ode(problem, rule, lr, t=t).risk, color=colour, label=rule.name)
            axis.plot(t, sl.solve_ode(problem, rule, lr, t=t).risk, "--", color=colour, linewidth=1)
            draw_runs(axis, runs, colour, points=11)
        axis.set(
            xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"{name}, d = {problem.d}, n = {problem.n}"
        )
    axes[0].plot([], [], "k-", label="theory from the rows")
    axes[0].plot([], [], "k--", linewidth=1, label="Gaussian features")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure
