"""Rare huge residuals: S3, whose steps are bounded by one, against Adam, at a learning rate and at ten times as much.

See: one label in five hundred has noise a hundred times larger. Left and middle, single runs (thin), their mean
(circles, two standard errors) and the limit's mean (thick): at ten times the rate outliers throw Adam's risk up, from
where it takes long to come back, and S3's hardly. Right, the longest entry of each step: Adam's exceeds one after an
outlier, by at most (1 - b1) / sqrt(1 - b2), S3's never.
Claim (arXiv:2507.06464): bounding updates to [-1, 1] by equal averages in numerator and denominator avoids loss spikes
that Adam has, also at ten times the learning rate.
"""

import jax
import jax.numpy as jnp
import numpy as np
from style import COLOURS, TIME, panels

import sdelimit as sl

NOISE = sl.noise.GaussianMixture([0.998, 0.002], [0.0, 0.0], [0.3, 30.0])
RULES = (sl.adam(0.9, 0.999), sl.s3(0.9, 3.0))


def draw(quick=False):
    d, n = (100, 8) if quick else (300, 32)
    problem = sl.LinearRegression(sl.covariance.identity(d), NOISE)
    figure, axes = panels(3, width=4.4)
    t = np.arange(0, 8 * d, max(d // 60, 1)) / d
    for axis, lr in zip(axes, (0.1, 1.0), strict=False):
        for rule, colour in zip(RULES, COLOURS, strict=False):
            runs = sl.simulate(problem, rule, lr, t=t, n_runs=n)
            for risk in runs.risk[:2]:
                axis.plot(t, risk, color=colour, linewidth=0.6, alpha=0.6)
            axis.plot(
                t, sl.solve_ode(problem, rule, lr, t=t).risk, color=colour, linewidth=2, label=f"{rule.name}: limit"
            )
            some = slice(None, None, max(t.size // 12, 1))
            axis.errorbar(
                t[some], runs.mean[some], 2 * runs.standard_error[some], color=colour, fmt="o", markersize=3,
                markerfacecolor="white", label=f"{rule.name}: mean of {n} runs",
            )  # fmt: skip
        axis.set(xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"learning rate {lr:g}, d = {d}")
    low, high = (f(axis.get_ylim()[i] for axis in axes[:2]) for i, f in ((0, min), (1, max)))
    for axis in axes[:2]:
        axis.set_ylim(low, high)
    for rule, colour in zip(RULES, COLOURS, strict=False):
        sizes = np.sort(longest_entries(problem, rule, 1.0, 8 * d))[::-1]
        axes[2].plot(sizes, (1 + np.arange(sizes.size)) / sizes.size, color=colour, label=rule.name)
    axes[2].axvline(1.0, color="0.4", linewidth=0.8)
    axes[2].set(
        xlabel="longest entry of a step", ylabel="share of steps with a longer one", yscale="log", xlim=(0, None)
    )
    axes[2].set_title("steps at learning rate 1")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def longest_entries(problem, rule, lr, steps, seed=0):
    """max_i |u_i| of each of the first steps of one run on isotropic features."""
    draws, labels = jax.random.split(jax.random.key(seed))
    X = jax.random.normal(draws, (steps, problem.d))
    eps = problem.noise.sample(labels, (steps,))
    theta_star = jnp.asarray(problem.theta_star, jnp.float32)

    def step(carry, sample):
        theta, state = carry
        x, e = sample
        update, state = rule.transform.update((x @ (theta - theta_star) - e) * x, state, theta)
        return (theta - lr / problem.d * update, state), jnp.max(jnp.abs(update))

    start = jnp.zeros(problem.d)
    return np.asarray(jax.jit(lambda: jax.lax.scan(step, (start, rule.transform.init(start)), (X, eps))[1])())
