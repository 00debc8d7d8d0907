"""Matched learning rates: signSGD with eta_sgd / phi(R_t) drifts like SGD, and what then differs is the noise.

See: at matched effective learning rates signSGD ends above SGD under Gaussian noise, by its pi^2/4 times larger noise,
and below it when one label in ten is an outlier; right, the schedules that do it: signSGD has to slow down as the risk falls.
Claim (arXiv:2411.12135): constant-eta signSGD is SGD with eta proportional to 1/sqrt(P).
"""

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl

OUTLIERS = sl.noise.GaussianMixture([0.9, 0.1], [0.0, 0.0], [0.2, 4.0])
NAMES = {sl.noise.Gaussian: "Gaussian noise", sl.noise.GaussianMixture: "10% outliers"}


def draw(quick=False):
    d, n = (200, 16) if quick else (1000, 64)
    figure, axes = panels(3, width=4.2)
    t, lr = np.linspace(0.0, 5.0, 101), 0.4
    for axis, noise, style in zip(
        axes, (sl.noise.Gaussian(0.3), OUTLIERS), ("-", "--"), strict=False
    ):
        problem = sl.LinearRegression(sl.covariance.ar1(d, 0.5), noise)
        matched = sl.match_schedule(problem, sl.sgd(), sl.sign_sgd(), lr, 5.0)
        cases = (("SGD, constant lr", sl.sgd(), lr), ("signSGD, matched lr", sl.sign_sgd(), matched))
        for (name, rule, rate), colour in zip(cases, COLOURS, strict=False):
            runs = sl.simulate(problem, rule, rate, t=t, n_runs=n)
            axis.plot(t, sl.solve_ode(problem, rule, rate, t=t).risk, color=colour, label=name)
            draw_runs(axis, runs, colour, points=11)
        axis.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=NAMES[type(noise)])
        axis.legend(frameon=False)
        axes[2].plot(t, [float(matched(time)) for time in t], style, color=COLOURS[1], label=f"signSGD, {NAMES[type(noise)]}")
    axes[2].axhline(lr, color=COLOURS[0], label="SGD")
    axes[2].set(xlabel=TIME, ylabel="learning rate eta(t)", ylim=(0, None), title="schedules")
    axes[2].legend(frameon=False)
    return figure
