"""Does the optimizer change the scaling? Exponents of SGD, signSGD and Adam over (alpha, beta) on random features.

See: above, the loss that compute buys at the best size and rate, for three pairs of exponents; below, the exponent of
the loss, -d log loss / d log compute, for SGD, and by how much those of signSGD and Adam are larger. Sizes are d = 50
to 200, so that exponents are not those of infinite compute; one draw of the features scatters by about 0.05.
Claim: signs and Adam keep the exponents of SGD where features are random: the constant changes, not the slope.
"""

import numpy as np
from style import COLOURS, panels

import sdelimit as sl

RULES = {"SGD": sl.sgd(), "signSGD": sl.sign_sgd(), "Adam(.9, .95)": sl.adam(0.9, 0.95, memory="fixed")}
ALPHAS, BETAS = (0.5, 0.75, 1.0), (0.3, 0.6, 0.9)
DRAWN = ((0.5, 0.3), (1.0, 0.3), (1.0, 0.9))


def draw(quick=False):
    alphas, betas = (ALPHAS[::2], BETAS[::2]) if quick else (ALPHAS, BETAS)
    sizes, horizon, count = ((30, 42, 60, 85, 120), 3e5, 5) if quick else ((50, 71, 100, 141, 200), 3e6, 8)
    laws = {}
    for alpha in alphas:
        for beta in betas:
            for name, rule in RULES.items():
                law = sl.scaling_law(
                    lambda d, a=alpha, b=beta: sl.power_law_random_features(4 * d, d, a, b, seed=1),
                    rule, sizes, horizon=horizon, lrs=lambda p, n=name: rates(p, n, count),
                )  # fmt: skip
                laws[alpha, beta, name] = law
                print(
                    f"alpha {alpha}, beta {beta}, {name}: loss {law.loss_exponent}, size {law.size_exponent}",
                    flush=True,
                )
    drawn = [pair for pair in DRAWN if (*pair, "SGD") in laws]
    figure, axes = panels(max(len(drawn), 3), rows=2, width=3.6, height=3.2)
    above, below = axes[: len(axes) // 2], axes[len(axes) // 2 :]
    for axis, (alpha, beta) in zip(above, drawn, strict=False):
        for (name, _), colour in zip(RULES.items(), COLOURS, strict=False):
            law = laws[alpha, beta, name]
            axis.plot(law.compute, law.frontier, color=colour, label=name)
        axis.set(xscale="log", yscale="log", xlabel="compute = d steps", ylabel="loss at the best size")
        axis.set_title(rf"$\alpha$ = {alpha:g}, $\beta$ = {beta:g}", fontsize=10)
    above[0].legend(frameon=False, fontsize=9)
    steep = {n: np.array([[-laws[a, b, n].loss_exponent.value for b in betas] for a in alphas]) for n in RULES}
    maps = {"SGD": steep["SGD"], **{f"{n} minus SGD": steep[n] - steep["SGD"] for n in list(RULES)[1:]}}
    for axis, (title, values) in zip(below, maps.items(), strict=False):
        signed = "minus" in title
        axis.grid(False)
        image = axis.imshow(
            values, origin="lower", cmap="RdBu_r" if signed else "viridis", vmin=-0.3 if signed else None,
            vmax=0.3 if signed else None, aspect="auto",
        )  # fmt: skip
        for (i, j), value in np.ndenumerate(values):
            dark = not signed and value < np.nanmean(values)
            text = "-" if np.isnan(value) else f"{value:+.2f}" if signed else f"{value:.2f}"
            axis.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
        axis.set_xticks(range(len(betas)), [f"{b:g}" for b in betas])
        axis.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
        axis.set(xlabel=r"$\beta$", ylabel=r"$\alpha$")
        axis.set_title(f"loss exponent: {title}", fontsize=10)
        figure.colorbar(image, ax=axis, shrink=0.9)
    for axis in [*above[len(drawn) :], *below[len(maps) :]]:
        axis.set_axis_off()
    return figure


def rates(problem, name, count):
    """Half of SGD's edge of stability; for the others equal ratios below the rate that holds the initial risk."""
    d, trace = problem.d, problem.covariance.trace
    if name == "SGD":
        return 0.5 * d / trace
    spread = np.sqrt(2 * problem.initial_risk) * 2 / np.sqrt(np.pi / 2) * d / problem.covariance.std.sum()
    return 0.5 * spread / np.geomspace(1, 300, count)
