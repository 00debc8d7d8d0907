"""The figure of scaling laws. No computation."""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from sdelimit.results.plot import NotebookFigure

MOST_TICKS = 12


def plot_scaling(laws) -> Figure:
    """Loss against compute, one panel for each law on the same axes: sizes, the frontier, crossings and their fit."""
    figure = NotebookFigure((1.4 + 4.6 * len(laws), 4.4))
    panels = figure.subplots(1, len(laws), squeeze=False, sharex=True, sharey=True)[0]
    sizes = [curve.d for law in laws for curve in law.curves]
    colours = ScalarMappable(LogNorm(min(sizes), max(sizes)), colormaps["viridis_r"])
    for panel, law in zip(panels, laws, strict=True):
        draw_scaling(panel, law, colours)
        panel.set(xlabel="compute")
    panels[0].set_ylabel("loss")
    bar = figure.colorbar(colours, ax=list(panels), label="model size d")
    ticks = sorted(set(sizes)) if len(set(sizes)) <= MOST_TICKS else [min(sizes), max(sizes)]
    bar.set_ticks(ticks, labels=[str(d) for d in ticks])
    bar.minorticks_off()
    return figure


def draw_scaling(panel, law, colours):
    """The curves of one law; ``colours`` maps sizes to colours."""
    for curve, loss in zip(law.curves, law.losses, strict=True):
        panel.plot(law.compute, loss, color=colours.to_rgba(curve.d), linewidth=1.2)
    panel.plot(law.compute, law.frontier, color="black", linestyle=(0, (1, 1.2)), linewidth=1.4, label="frontier")
    compute, _, loss = law.crossings
    panel.plot(compute, loss, "o", color="black", markersize=4, markerfacecolor="white", label="overtaken by 2d")
    if np.isfinite(law.loss_exponent.value):
        middle = np.exp(np.mean(np.log(loss))) * (compute / np.exp(np.mean(np.log(compute)))) ** law.loss_exponent.value
        panel.plot(compute, middle, color="tab:red", linewidth=1.2, label="fit")
    panel.set(xscale="log", yscale="log")
    panel.set_title(
        f"{law.optimizer.name}: loss ~ compute$^{{{_number(law.loss_exponent)}}}$, "
        f"d ~ compute$^{{{_number(law.size_exponent)}}}$",
        fontsize=10,
    )
    panel.grid(alpha=0.25, which="major", linewidth=0.5)
    panel.legend(frameon=False, loc="lower left", fontsize=9)


def _number(exponent) -> str:
    return "?" if np.isnan(exponent.value) else f"{exponent.value:.2f}"
