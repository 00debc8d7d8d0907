"""Coordinate clipping where a few coordinates are bad: sharpness of its steps against the share of bad coordinates.

See: a share of the coordinates has ten times the scale of the others. Left, the directional sharpness of clipped steps
over SGD's (lines: limit, circles: runs): the fewer coordinates are bad, the more clipping gains; where all are bad it
gains nothing. Right, of what a step is made at 1% bad coordinates: they carry half of SGD's squared length, and
clipping takes it from them, while at thresholds of 3 to 30 it leaves nearly all others alone.
Claim (arXiv:2306.00204): a small fraction of the coordinates causes SGD's sharpness, and clipping coordinates cures it
when that fraction is small.
"""

import numpy as np
from style import COLOURS, panels

import sdelimit as sl

BAD = 10.0
SHARES = (0.01, 0.1, 1.0)


def draw(quick=False):
    d, n = (200, 16) if quick else (1000, 32)
    thresholds = np.logspace(-1.5, 2, 8 if quick else 15)
    figure, (left, right) = panels(2, width=5.0)
    for share, colour in zip(SHARES, COLOURS, strict=False):
        problem = with_bad(d, share)
        sgd = sl.directional_sharpness(problem, sl.sgd())
        limits = [sl.directional_sharpness(problem, sl.clip_coordinate(c)) / sgd for c in thresholds]
        left.plot(thresholds, limits, color=colour, label=f"{share:.0%} bad")
        measured = np.array(first_steps(problem, thresholds[::3], n)) / sgd
        left.plot(thresholds[::3], measured, "o", color=colour, markerfacecolor="white", markersize=4)
    left.set(xscale="log", xlabel="threshold c", ylabel="directional sharpness / SGD's", ylim=(0, 1.15))
    left.set_title(f"steps at the initial risk, d = {d}")
    left.legend(frameon=False, loc="center left", bbox_to_anchor=(0, 0.6))
    _made_of(right, with_bad(d, SHARES[0]), thresholds, SHARES[0])
    return figure


def with_bad(d, share):
    """Independent coordinates with equal parts in the risk, a ``share`` of them of scale ``BAD``, the others of 1."""
    bad = np.arange(d) < round(share * d)
    scale = np.where(bad, BAD, 1.0)
    return sl.LinearRegression(scale**2, sl.noise.Gaussian(0.5), theta_star=1 / (scale * np.sqrt(d)))


def first_steps(problem, thresholds, n):
    """E[u'Ku] / E[|u|^2] over the first ten steps, too short to move the risk, of ``n`` runs with each threshold."""
    t = np.arange(11) / problem.d
    rules = [sl.clip_coordinate(c) for c in thresholds]
    found = sl.simulate(problem, rules, 1e-4, t=t, n_runs=n, sharpness=True)
    return [runs.curvature.sum() / runs.squared_length.sum() for runs in found]


def _made_of(axis, problem, thresholds, share):
    """Shares in a step's squared length, and of entries that are clipped, by sampling g = l x of each kind."""
    rng = np.random.default_rng(0)
    residual = np.sqrt(2 * problem.initial_risk) * rng.standard_normal(200_000) - 0.5 * rng.standard_normal(200_000)
    g = np.abs(residual * rng.standard_normal(200_000))
    bad, good = (np.array([np.mean(np.minimum(scale * g, c) ** 2) for c in thresholds]) for scale in (BAD, 1.0))
    bad, good = share * bad, (1 - share) * good
    axis.plot(thresholds, bad / (bad + good), color=COLOURS[3], label="squared length in the bad ones")
    for scale, style, name in ((BAD, "--", "bad"), (1.0, ":", "other")):
        clipped = [np.mean(scale * g > c) for c in thresholds]
        axis.plot(thresholds, clipped, style, color=COLOURS[4], label=f"{name} ones that are clipped")
    axis.axhline(share, color="0.5", linewidth=0.8)
    axis.set(xscale="log", xlabel="threshold c", ylabel="share", ylim=(0, 1.4), title=f"{share:.0%} bad coordinates")
    axis.legend(frameon=False, loc="upper right", fontsize=9)
