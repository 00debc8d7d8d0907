"""Every optimizer's limit on one problem, at the same initial drift, next to its figure of merit.

See: the runs (circles) on the lines for every rule; of rules that start with the same drift, the one that adds less
noise ends lower, in the order of the figure of merit phi^2 2P / kappa(1) (SGD: 1). Under heavy-tailed noise the rules
that bound a single residual gain as the risk falls; those that average first, like Adam, gain less.
Claim: limits of all coordinatewise rules, beyond the signSGD of arXiv:2411.12135.
"""

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl

RULES = (
    sl.sgd(),
    sl.clip_norm(1.0),
    sl.sign_sgd(),
    sl.signum(0.9),
    sl.rmsprop(0.9),
    sl.adam(0.9, 0.95),
    sl.s3(0.9, 3.0),
)


def draw(quick=False):
    d, n = (300, 16) if quick else (1500, 64)
    noise = sl.noise.StudentT(5.0, 0.5)
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.5), noise)
    R0 = problem.initial_risk
    found = [sl.limit_coefficients(rule, noise) for rule in RULES]
    rates = [0.35 / float(coefficients.phi(R0)) for coefficients in found]
    figure, (left, right) = panels(2, width=5.2)
    t = np.linspace(0, 8, 81)
    for rule, lr, colour, runs in zip(
        RULES, rates, COLOURS, sl.simulate(problem, RULES, rates, t=t, n_runs=n), strict=False
    ):
        left.plot(t, sl.solve_ode(problem, rule, lr, t=t).risk, color=colour, label=rule.name)
        draw_runs(left, runs, colour, points=9)
    left.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"same initial drift, d = {d}, {noise}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False)
    place = np.arange(len(RULES))
    for shift, R, hatch in ((-0.2, R0, ""), (0.2, R0 / 30, "///")):
        merit = [float(coefficients.figure_of_merit(R)) for coefficients in found]
        right.barh(place + shift, merit, 0.36, color=COLOURS[: len(RULES)], hatch=hatch, edgecolor="white")
        right.barh(0, 0, color="0.6", hatch=hatch, edgecolor="white", label=f"at risk {R:.2g}")
    right.set_yticks(place, [rule.name for rule in RULES])
    right.invert_yaxis()
    right.axvline(1.0, color="0.4", linewidth=0.8)
    right.set(xlabel=r"figure of merit $\varphi^2\, 2P / \kappa(1)$ (SGD: 1)")
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure
