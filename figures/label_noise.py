"""Adam against SGD on logistic regression as label noise changes, and phase retrieval from a small overlap.

See: circles (runs) on lines (theory) at the constant learning rates that theory finds best for t = 10; below right,
rates as given.
Claim: losses of two overlaps have a limit, for SGD, signs and Adam alike.
"""

import numpy as np
from runaway import ADAM, hard_labels
from style import COLOURS, TIME, correlated, draw_runs, panels

import sdelimit as sl

HORIZON = 10.0
CASES = [("soft", 4.0), ("hard", 4.0), ("hard", 1.0)]
RULES = [("SGD", sl.sgd()), ("Adam(0.9, 0.95)", ADAM)]
RATES = np.geomspace(0.02, 5.0, 25)
OVERLAP = 0.1
PHASE = [("SGD", sl.sgd(), 0.02), ("signSGD", sl.sign_sgd(), 0.3), ("Adam(0.9, 0.95)", ADAM, 0.3)]


def draw(quick=False):
    d, n = (256, 8) if quick else (512, 48)
    covariance = correlated(sl.covariance.ar1(d, 0.6))
    figure, axes = panels(2, 2, width=4.8)
    t = np.linspace(0, HORIZON, 81)
    for axis, (labels, variance) in zip(axes, CASES, strict=False):
        problem = hard_labels(covariance, variance, labels)
        for (name, rule), colour in zip(RULES, COLOURS, strict=False):
            lr = best_rate(problem, rule)
            draw_case(axis, problem, rule, lr, t, n, colour, f"{name}, lr {lr:.2g}", f"{labels}, {variance:g}")
        axis.set(xlabel=TIME, ylabel="excess risk", yscale="log")
        axis.set_title(f"logistic, {labels} labels, Var u* = {variance:g}", fontsize=10)
        axis.legend(frameon=False)
    problem = phase_retrieval(covariance)
    t = np.linspace(0, 20.0, 81)
    for (name, rule, lr), colour in zip(PHASE, (COLOURS[0], COLOURS[2], COLOURS[1]), strict=True):
        draw_case(axes[3], problem, rule, lr, t, n, colour, f"{name}, lr {lr:g}", "phase")
    axes[3].set(xlabel=TIME, ylabel="excess risk", yscale="log")
    axes[3].set_title(f"phase retrieval from a cosine of {OVERLAP:g}, d = {d}", fontsize=10)
    axes[3].legend(frameon=False)
    return figure


def draw_case(axis, problem, rule, lr, t, n, colour, label, case):
    curve = sl.solve_ode(problem, rule, lr, t=t)
    runs = sl.simulate(problem, rule, lr, t=t[::5], n_runs=n)
    axis.plot(t, curve.risk, color=colour, label=label)
    draw_runs(axis, runs, colour)
    gap = np.abs(runs.mean / curve.risk[::5] - 1)
    print(
        f"{case}, {label}: mean risk at most {gap.max():.1%} off, at the end {runs.mean[-1]:.5f} +- "
        f"{runs.standard_error[-1]:.5f} (theory {curve.risk[-1]:.5f}, from {curve.risk[0]:.5f})"
    )


def best_rate(problem, rule):
    """The constant learning rate, of ``RATES``, with the lowest risk at ``HORIZON`` in theory."""
    curves = sl.solve_ode(problem, rule, RATES, t=[0.0, HORIZON / 2, HORIZON])
    return float(RATES[np.nanargmin(curves.risk[:, -1])])


def phase_retrieval(covariance):
    """Var u = Var u* = 1 at the start, of correlation ``OVERLAP``."""
    apply = covariance.to_dense().__matmul__
    target, other = np.random.default_rng(1).normal(size=(2, covariance.d))
    target /= np.sqrt(target @ apply(target))
    other -= (other @ apply(target)) * target
    other /= np.sqrt(other @ apply(other))
    start = OVERLAP * target + np.sqrt(1 - OVERLAP**2) * other
    return sl.PhaseRetrieval(covariance, theta_star=target, theta0=start)
