"""Adam against SGD as labels get noisier, and phase retrieval from a small overlap.

See: left, the same logistic regression with soft labels (their probabilities) and hard ones, every rule at its best
constant learning rate for this horizon. Middle, the excess risk that each is left with, over that at the start, as
labels get noisier to the right (the smaller Var u*, the less is known from a label). With soft labels SGD and Adam are
close and signSGD of batches of four is far ahead; with hard ones all three are left with tens of times as much, and
what signs gained is mostly gone. Right, phase retrieval from a cosine of 0.1: after a plateau theta turns to theta*.
Claim: noise in labels takes away most of what sign-like steps gain over SGD.
"""

import numpy as np
from runaway import hard_labels
from style import COLOURS, TIME, correlated, draw_runs, panels

import sdelimit as sl

HORIZON = 10.0
RULES = [(sl.sgd(), 1, "SGD"), (sl.sign_sgd(), 4, "signSGD, batch 4"), (sl.adam(0.9, 0.95), 1, "Adam(0.9, 0.95)")]
KNOWN = [4.0, 2.0, 1.0, 0.5]
"""Var u* of hard labels."""
LABELS = {"soft": ":", "hard": "-"}
PHASE = [(sl.sgd(), 1, 0.015), (sl.sign_sgd(), 1, 0.15), (sl.adam(0.9, 0.95), 1, 0.15)]
COSINE = 0.1


def draw(quick=False):
    d, n = (256, 8) if quick else (512, 32)
    covariance = correlated(sl.covariance.ar1(d, 0.6))
    figure, (left, middle, right) = panels(3, width=4.8, height=3.9)
    draw_curves(left, covariance, n)
    draw_noise(middle, covariance)
    draw_phase(right, covariance, n)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def best(problem, rule, batch_size):
    """The best constant learning rate."""
    return sl.best_constant_lr(problem, rule, t_max=HORIZON, batch_size=batch_size).lr


def draw_curves(axis, covariance, n):
    """Excess risk over time with both kinds of labels, runs for the hard ones."""
    t = np.linspace(0.0, HORIZON, 101)
    for labels, line in LABELS.items():
        problem = hard_labels(covariance, 4.0, labels)
        for (rule, batch_size, name), colour in zip(RULES, COLOURS, strict=False):
            lr = best(problem, rule, batch_size)
            curve = sl.solve_ode(problem, rule, lr, t=t, batch_size=batch_size)
            axis.plot(t, curve.risk, line, color=colour, label=f"{name}, {labels} labels")
            print(
                f"{name}, {labels} labels: learning rate {lr:.3g}, risk at the end {curve.risk[-1] / curve.risk[0]:.4f}"
            )
            if labels == "hard":
                runs = sl.simulate(problem, rule, lr, t=t[::10], n_runs=n, batch_size=batch_size)
                draw_runs(axis, runs, colour)
                gap, error = runs.mean[-1] / curve.risk[-1] - 1, runs.standard_error[-1] / curve.risk[-1]
                print(f"  runs {gap:+.2%} +- {error:.2%}")
    axis.set(xlabel=TIME, ylabel="excess risk", yscale="log")
    axis.set_title(f"logistic regression, d = {covariance.d}, Var u* = 4", fontsize=10)


def draw_noise(axis, covariance):
    """What is left of the excess risk, by how noisy labels are."""
    problems = [hard_labels(covariance, KNOWN[0], "soft"), *(hard_labels(covariance, known) for known in KNOWN)]
    names = ["soft", *(f"hard, {known:g}" for known in KNOWN)]
    for (rule, batch_size, _), colour in zip(RULES, COLOURS, strict=False):
        left = []
        for problem in problems:
            found = sl.best_constant_lr(problem, rule, t_max=HORIZON, batch_size=batch_size)
            left.append(found.risk / problem.initial_risk)
        axis.plot(names, left, "o-", color=colour)
        print(rule.name, np.round(left, 4))
    axis.set(
        xlabel="labels, and Var u*", ylabel=f"excess risk at t = {HORIZON:g}, over that at the start", yscale="log"
    )
    axis.set_title("best constant learning rates; noisier to the right", fontsize=10)


def draw_phase(axis, covariance, n):
    """The cosine of theta and theta* in phase retrieval."""
    problem, t = small_overlap(covariance), np.linspace(0.0, 40.0, 161)
    for (rule, batch_size, lr), colour in zip(PHASE, COLOURS, strict=False):
        curve = sl.solve_ode(problem, rule, lr, t=t, batch_size=batch_size)
        runs = sl.simulate(problem, rule, lr, t=t[::16], n_runs=n, batch_size=batch_size)
        axis.plot(t, curve.alignment, color=colour, label=f"{rule.name}, learning rate {lr:g}")
        low, median, high = np.quantile(runs.alignment, (0.1, 0.5, 0.9), axis=0)
        axis.errorbar(
            runs.t, median, yerr=[median - low, high - median], color=colour, fmt="o", markersize=3,
            markerfacecolor="white", elinewidth=0.8, capsize=1.6,
        )  # fmt: skip
        print(f"{rule.name}: cosine {curve.alignment[-1]:.3f}, median of runs {median[-1]:.3f}")
    axis.set(xlabel=TIME, ylabel=r"cosine of $\theta$ and $\theta^*$ in $K$", ylim=(0, 1.02))
    axis.set_title(f"phase retrieval from a cosine of {COSINE:g}", fontsize=10)
    axis.legend(frameon=False, loc="lower right", fontsize=8)


def small_overlap(covariance):
    """Phase retrieval with Var u* = Var u = 1 at the start, and a cosine of ``COSINE`` between theta and theta*."""
    rng = np.random.default_rng(1)
    target, other = rng.normal(size=(2, covariance.d))
    K = covariance.to_dense()
    target /= np.sqrt(target @ K @ target)
    other -= (target @ K @ other) * target
    other /= np.sqrt(other @ K @ other)
    theta0 = COSINE * target + np.sqrt(1 - COSINE**2) * other
    return sl.PhaseRetrieval(covariance, theta_star=target, theta0=theta0)
