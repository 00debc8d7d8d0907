"""Signs of single hard labels run away and turn; batches and Adam cure it: logistic regression.

See: with batch 1, signSGD's excess risk (left) falls, turns and grows for ever, and its direction (middle) tends to
that of D^-1 K theta* (dashed) instead of theta*; batches and Adam settle. Right, where rules settle without noise: at
c theta*, c > 1, a floor that no decay of the learning rate removes; c comes down with the batch and with memory.
Claim: scale-free rules settle at an inflated norm under label noise, and signs of single hard labels nowhere.
"""

import numpy as np
from style import COLOURS, TIME, correlated, panels

import sdelimit as sl
from sdelimit.analysis.settled_overlaps import settled_overlaps

LR, SMALL_LR = 0.15, 1e-4
ADAM = sl.adam(0.9, 0.95)
DRAWN = [(sl.sign_sgd(), 1), (sl.sign_sgd(), 2), (sl.sign_sgd(), 4), (sl.sign_sgd(), 8), (ADAM, 1)]
SETTLED = [*DRAWN[1:4], (sl.signum(0.9), 1), (sl.rmsprop(0.9), 1), (ADAM, 1), (sl.adam(0.9, 0.99), 1)]
NAMES = {"signum": "Signum", "rmsprop": "RMSprop", "adam": "Adam"}


def draw(quick=False):
    d, n = (256, 8) if quick else (512, 32)
    covariance = correlated(sl.covariance.ar1(d, 0.6))
    problem = hard_labels(covariance, 1.0)
    t = np.concatenate([[0.0], np.geomspace(0.1, 40.0, 61)])
    figure, (left, middle, right) = panels(3, width=4.8, height=3.9)
    for (rule, batch_size), colour in zip(DRAWN, COLOURS, strict=False):
        curve = sl.solve_ode(problem, rule, LR, t=t, batch_size=batch_size)
        runs = sl.simulate(problem, rule, LR, t=t[1::4], n_runs=n, batch_size=batch_size)
        label = named(rule, batch_size)
        for axis, line, points in ((left, curve.risk, runs.risk), (middle, curve.alignment, runs.alignment)):
            axis.plot(t[1:], line[1:], color=colour, label=label)
            low, median, high = np.quantile(points, (0.1, 0.5, 0.9), axis=0)
            axis.errorbar(
                runs.t, median, yerr=[median - low, high - median], color=colour, fmt="o", markersize=3,
                markerfacecolor="white", elinewidth=0.8, capsize=1.6,
            )  # fmt: skip
        at = curve.at(runs.t)
        gap = runs.mean / at - 1
        late = runs.t > 0.2
        cosine = runs.alignment.mean(axis=0)[-1], np.interp(runs.t[-1], t, curve.alignment)
        print(
            f"{label}: mean risk at most {np.abs(gap[late]).max():.1%} off, at the end {runs.mean[-1]:.4f} "
            f"+- {runs.standard_error[-1]:.4f} (theory {at[-1]:.4f}), cosine {cosine[0]:.4f} (theory {cosine[1]:.4f})"
        )
    limit = runaway_cosine(problem)
    print(f"limit of the cosine {limit:.4f}")
    middle.axhline(limit, color=COLOURS[0], linestyle="--", linewidth=1.0)
    middle.text(0.11, limit + 0.01, r"direction $D^{-1}K\theta^*$", color=COLOURS[0], va="bottom")
    left.set(xlabel=TIME, ylabel="excess risk", xscale="log", yscale="log")
    left.set_title(f"logistic regression, hard labels, d = {d}", fontsize=10)
    middle.set(xlabel=TIME, ylabel=r"cosine of $\theta$ and $\theta^*$ in $K$", xscale="log", ylim=(0, 1.02))
    middle.set_title(f"learning rate {LR:g}, Var u* = 1", fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    draw_inflation(right, problem)
    return figure


def draw_inflation(axis, problem):
    """c - 1 and the floor of each rule, without noise."""
    place = np.arange(len(SETTLED))
    found = [settled_overlaps(problem, rule.limit(problem, b), SMALL_LR) for rule, b in SETTLED]
    inflation = np.array([state.X for state in found]) / problem.target_variance
    floor = np.array([float(problem.risk_of(*state)) for state in found])
    for shift, values, colour, label in (
        (-0.2, inflation, COLOURS[5], "c - 1"), (0.2, floor, COLOURS[4], "excess risk at c θ*")
    ):  # fmt: skip
        axis.barh(place + shift, values, 0.36, color=colour, label=label)
        for y, value in zip(place + shift, values, strict=True):
            axis.text(value * 1.15, y, f"{value:.2g}", va="center", fontsize=8)
    for (rule, b), c, risk in zip(SETTLED, 1 + inflation, floor, strict=True):
        print(f"{named(rule, b)}: c = {c:.4f}, floor {risk:.3g}")
    axis.set_yticks(place, [named(rule, b) for rule, b in SETTLED])
    axis.invert_yaxis()
    axis.set(xscale="log", xlim=(2e-5, 20))
    axis.set_title("where each settles as the learning rate goes to 0", fontsize=10)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=2)


def hard_labels(covariance, variance, labels="hard"):
    """Logistic regression from theta = 0 with Var u* = ``variance``."""
    theta = np.random.default_rng(1).normal(size=covariance.d)
    theta *= np.sqrt(variance / sl.LogisticRegression(covariance, theta_star=theta).target_variance)
    return sl.LogisticRegression(covariance, labels=labels, theta_star=theta, theta0=np.zeros(covariance.d))


def runaway_cosine(problem):
    """The cosine in K of D^-1 K theta* and theta*."""
    K, std = problem.covariance.to_dense(), np.sqrt(np.diag(problem.covariance.to_dense()))
    K_target = K @ problem.theta_star
    direction = K_target / std
    return float(direction @ K_target / np.sqrt(direction @ K @ direction * problem.target_variance))


def named(rule, batch_size):
    """As in "signSGD, batch 4" and "Adam(0.9, 0.95)"."""
    if rule.name == "sign_sgd":
        return f"signSGD, batch {batch_size}"
    decays = (str(value) for key, value in rule.hyperparameters.items() if key.startswith("b"))
    return f"{NAMES[rule.name]}({', '.join(decays)})"
