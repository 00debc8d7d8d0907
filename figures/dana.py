"""Momentum that grows with dimension: DANA against SGD on power-law random features.

See: left, loss over steps at two sizes, mean of runs (circles) on the exact recursion: momentum of a fixed length
changes little but the rate; a long average of small weight (DANA) is as fast at first and then faster, and with
constant weight its noise comes back at the end; right, the frontier, steepest for DANA with a decaying weight.
Claim: momentum must grow with the model to change the scaling.
"""

import numpy as np
from style import COLOURS, panels

import sdelimit as sl

ALPHA, BETA = 1.0, 0.3
LENGTH, WEIGHT = 8.0, 0.3
SHARE = 0.5
"""gamma tr K of the steps along the gradient."""


def forgetting(d):
    """d Delta(k) after k = t d steps: the average is over a fixed part of the steps so far."""
    return lambda t: d * LENGTH / (1 + LENGTH + t * d)


def sgd(d):
    return sl.sgd()


def momentum(d):
    return sl.sgd(momentum=0.9)


def dana_constant(d):
    """Weight gamma_2 / d of the average."""
    return sl.dana(1.0, WEIGHT, forgetting(d))


def dana_decaying(d):
    """Weight gamma_2 (1 + k)^(-1 / (2 alpha))."""
    return sl.dana(1.0, lambda t: d * WEIGHT * (1 + t * d) ** (-0.5 / ALPHA), forgetting(d))


RULES = {
    "SGD": (sgd, SHARE),
    "SGD, momentum 0.9": (momentum, 0.1 * SHARE),
    "DANA, constant weight": (dana_constant, SHARE),
    "DANA, decaying weight": (dana_decaying, SHARE),
}
"""Rule of each d, and lr tr K / d."""


def draw(quick=False):
    sizes, horizon = ((50, 71, 100, 141, 200), 1e6) if quick else ((100, 141, 200, 283, 400, 566, 800), 3e7)
    small, large, steps, n = (50, 200, 2_000, 8) if quick else (100, 400, 20_000, 256)
    figure, (left, right) = panels(2, width=5.4, height=4.2)
    for d, style in ((small, "-"), (large, "--")):
        problem = sl.power_law_random_features(4 * d, d, ALPHA, BETA)
        k = np.unique(np.geomspace(1, 300_000 if not quick else 20_000, 97).astype(int))
        for (name, (rule, share)), colour in zip(RULES.items(), COLOURS, strict=False):
            lr = share * d / problem.covariance.trace
            curve = sl.solve_ode(problem, rule(d), lr, t=np.append(0, k) / d, finite_d=True, save_modes=False)
            left.plot(k, curve.loss[1:], color=colour, linestyle=style, label=name if d == small else None)
            if d == small:
                at = np.unique(np.geomspace(3, steps, 13).astype(int))
                runs = sl.simulate(problem, rule(d), lr, t=at / d, n_runs=n)
                left.plot(at, runs.loss.mean(axis=0), "o", color=colour, markersize=3.5, markerfacecolor="white")
                exact = sl.solve_ode(problem, rule(d), lr, t=np.append(0, at) / d, finite_d=True).risk[1:]
                gap, error = np.abs(runs.mean / exact - 1), runs.standard_error / runs.mean
                print(
                    f"{name}: mean risk of {n} runs at most {gap.max():.1%} off, s.e. {error[gap.argmax()]:.1%} there"
                )
    left.set(xlabel="steps", ylabel="loss", xscale="log", yscale="log")
    left.set_title(f"d = {small} (circles: runs) and d = {large} (dashed)", fontsize=10)
    for (name, (rule, share)), colour in zip(RULES.items(), COLOURS, strict=False):
        law = sl.scaling_law(family, rule, sizes, horizon=horizon, lrs=lambda p, s=share: s * p.d / p.covariance.trace)
        right.plot(law.compute, law.frontier, color=colour, label=f"{name}: {law.loss_exponent.value:.2f}")
        right.plot(*law.crossings[[0, 2]], "o", color=colour, markersize=3.5, markerfacecolor="white")
        print(f"{name}: loss ~ compute^({law.loss_exponent}), size ~ compute^({law.size_exponent})")
    right.set(xlabel="compute = d steps", ylabel="loss at the best size", xscale="log", yscale="log")
    right.set_title(f"frontier of d = {min(sizes)} to {max(sizes)}, and its exponent", fontsize=10)
    right.legend(frameon=False, fontsize=9, loc="lower left")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def family(d):
    return sl.power_law_random_features(4 * d, d, ALPHA, BETA, deterministic=True)
