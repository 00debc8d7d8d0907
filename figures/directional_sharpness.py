"""Directional sharpness u'Ku / |u|^2 of SGD, Adam, signSGD and coordinate clipping.

See: on a badly scaled problem SGD steps along the sharpest directions, signs and Adam do not, and coordinate clipping
lies in between and falls as it clips more; the measured values lie on the limits tr(K N)/tr N.
Claim (arXiv:2306.00204): coordinatewise clipping and adaptivity lower the directional sharpness of the update.
"""

import itertools

import numpy as np
from style import COLOURS, TIME, correlated, panels

import sdelimit as sl

RULES = (
    ("SGD", sl.sgd(), 0.05),
    ("clip_coordinate(1)", sl.clip_coordinate(1.0), 0.1),
    ("clip_coordinate(0.1)", sl.clip_coordinate(0.1), 0.5),
    ("signSGD", sl.sign_sgd(), 0.2),
    ("Adam", sl.adam(0.9, 0.95), 0.2),
)


def draw(quick=False):
    d, n = (200, 16) if quick else (1000, 48)
    problem = sl.LinearRegression(correlated(sl.covariance.ar1(d, 0.5), spread=6.0), sl.noise.StudentT(3.0, 0.5))
    figure, (left, right) = panels(2)
    edges = np.linspace(0.5, 3.0, 6)
    names, rules, rates = zip(*RULES, strict=True)
    t = np.linspace(edges[0], edges[-1], 251)
    for i, runs in enumerate(sl.simulate(problem, list(rules), list(rates), t=t, n_runs=n, sharpness=True)):
        middle, measured, error = averages(runs, edges)
        theory = sl.solve_ode(problem, rules[i], rates[i], t=np.concatenate([[0.0], middle]))
        limit = sl.directional_sharpness(problem, rules[i], theory.risk[1:])
        left.errorbar(middle, measured, 2 * error, fmt="o", color=COLOURS[i], markersize=4, markerfacecolor="white")
        left.plot(middle, limit, color=COLOURS[i], label=names[i])
        right.errorbar(
            i, measured.mean(), 2 * error.mean(), fmt="o", color=COLOURS[i], markerfacecolor="white", zorder=3
        )
        right.bar(i, limit.mean(), 0.6, color=COLOURS[i], alpha=0.5)
    left.set(xlabel=TIME, ylabel="directional sharpness", ylim=(0, None), title=f"d = {d}, scales from 1/6 to 6")
    left.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.9))
    right.set_xticks(range(len(names)), names, rotation=30, ha="right")
    right.set(ylabel="directional sharpness", title="bars: limit, circles: runs")
    return figure


def averages(runs, edges):
    """Middle of each window, ratio of sums over it, and its standard error over runs."""
    windows = [(runs.t >= low) & (runs.t < high) for low, high in itertools.pairwise(edges)]
    curvature, length = (
        np.stack([x[:, w].sum(axis=1) for w in windows]) for x in (runs.curvature, runs.squared_length)
    )
    ratio = curvature.sum(axis=1) / length.sum(axis=1)
    error = np.std(curvature - ratio[:, None] * length, axis=1) / length.mean(axis=1) / np.sqrt(length.shape[1])
    return (edges[:-1] + edges[1:]) / 2, ratio, error
