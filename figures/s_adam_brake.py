"""S-Adam against Adam: what its brake does to the learning rate and to the risk.

See: left, the limit (lines) and runs (circles) of Adam and of S-Adam with two probe lengths at the same learning rate:
braked steps are shorter at all times, so that the risk falls later and settles lower. Right, the drift as a fraction
of Adam's along those curves: short probes see a linear loss, whose differences vary by chance alone, and brake by one
factor at every risk; long ones see its curvature, the more the smaller the risk, differ less from each other, and brake
less.
Claim (arXiv:2605.29547): the factor exp(-brake rho) slows Adam where probes of the loss are irregular. On least
squares, which is smooth, it is a smaller learning rate.
"""

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl

RULES = {
    "Adam": sl.s_adam(0.9, 0.95, brake=0.0, n_probes=4),
    "S-Adam, probes of 0.1": sl.s_adam(0.9, 0.95, brake=1.0, probe_scale=0.1, n_probes=4),
    "S-Adam, probes of 3": sl.s_adam(0.9, 0.95, brake=1.0, probe_scale=3.0, n_probes=4),
}


def draw(quick=False):
    d, n = (100, 8) if quick else (400, 24)
    problem = sl.LinearRegression(sl.covariance.identity(d), sl.noise.Gaussian(0.3))
    rules = list(RULES.values())
    t = np.linspace(0, 10, 41)
    figure, (left, right) = panels(2, width=5.0)
    curves = [sl.solve_ode(problem, rule, 0.4, t=t) for rule in rules]
    runs = sl.simulate(problem, rules, 0.4, t=t, n_runs=n)
    for name, curve, own, colour in zip(RULES, curves, runs, COLOURS, strict=False):
        left.plot(t, curve.risk, color=colour, label=name)
        draw_runs(left, own, colour, points=11)
        adam = np.interp(curve.risk, curves[0].risk[::-1], curves[0].phi[::-1])
        known = (curve.risk >= curves[0].risk[-1]) & (curve.risk <= curves[0].risk[0])
        right.plot(curve.risk[known], (curve.phi / adam)[known], color=colour, label=name)
    left.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"learning rate 0.4, d = {d}")
    right.set(xlabel="excess risk R", xscale="log", ylabel="drift / Adam's drift", ylim=(0, 1.1))
    right.set_xticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"], minor=False)
    right.set_xticks([], minor=True)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
