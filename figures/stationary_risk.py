"""Stationary risk against the learning rate: where theory says runs settle, and where they do.

See: SGD's risk diverges at eta = 2d / tr K (dotted); signSGD settles at every learning rate, with a risk that grows
like eta at first and like eta^2 later, also under noise of infinite variance. Circles are time averages of runs.
Claim (arXiv:2411.12135): signSGD has a stationary risk at every learning rate, SGD up to a threshold.
"""

import numpy as np
from style import COLOURS, correlated, panels

import sdelimit as sl


def draw(quick=False):
    d, n, points = (150, 8, 4) if quick else (600, 24, 8)
    figure, axes = panels(2)
    covariance = correlated(sl.covariance.ar1(d, 0.5))
    for axis, noise in zip(axes, (sl.noise.Gaussian(0.5), sl.noise.StudentT(1.5, 0.3)), strict=True):
        problem = sl.LinearRegression(covariance, noise)
        rules = [sl.sign_sgd(), sl.sgd()] if np.isfinite(noise.second_moment) else [sl.sign_sgd()]
        for rule, colour in zip(rules, COLOURS, strict=False):
            draw_rule(axis, problem, rule, colour, n, points)
        axis.set(xscale="log", yscale="log", xlabel="learning rate eta", ylabel="stationary risk", title=f"{noise}")
        axis.legend(frameon=False)
    return figure


def draw_rule(axis, problem, rule, colour, n, points):
    top = sl.max_stable_lr(problem, rule)
    rates = np.geomspace(0.03, min(10.0, 0.98 * top), 60)
    axis.plot(rates, sl.stationary_risk(problem, rule, rates), color=colour, label=rule.name)
    if np.isfinite(top):
        axis.axvline(top, color=colour, linestyle=":", linewidth=1)
    tried = np.geomspace(0.1, min(4.0, 0.6 * top), points)
    settle = 6 / min(sl.convergence_rate(problem, rule, float(tried[0])), 1.5)
    runs = sl.simulate(problem, rule, tried, t=np.linspace(0.5 * settle, settle, 40), n_runs=n)
    mean = np.mean(runs.risk, axis=(1, 2))
    axis.plot(tried, mean, "o", color=colour, markerfacecolor="white", markersize=5)
