"""Figures of the four effects. No computation, and no change of matplotlib's global state."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sdelimit.analysis.effects.names import EFFECTS, NAMES, WEIGHT_DECAY
from sdelimit.results.plot import COLOURS, NotebookFigure
from sdelimit.results.text import describe_noise

SGD_COLOUR, RULE_COLOUR = "#666666", COLOURS[0]
STEP_COLOURS = dict(
    zip((*EFFECTS, WEIGHT_DECAY), (COLOURS[4], COLOURS[2], COLOURS[1], COLOURS[3], COLOURS[5]), strict=True)
)
"""One colour for each effect, the same in curves and bars."""


def plot_effects(effects, path=None) -> Figure:
    """The four effects, the curves between SGD's and the rule's, and the shares, in six panels."""
    figure, axes = _figure(2, 3)
    name = effects.optimizer.name
    for axis, part in zip(axes, ("learning_rate", "noise_compression", "preconditioning"), strict=False):
        DRAW[part](axis, getattr(effects, part), name)
    draw_reshaping(axes[3], effects.noise_reshaping, name)
    draw_curves(axes[4], effects.decomposition)
    draw_shares(axes[5], effects.decomposition)
    figure.suptitle(f"{name} against SGD: {describe_noise(effects.problem)}, d = {effects.problem.d}", fontsize=11)
    return _save(figure, path)


def plot_part(kind: str, part, path=None) -> Figure:
    """One effect."""
    figure, axes = _figure(1, 1)
    DRAW[kind](axes[0], part, "the rule")
    return _save(figure, path)


def plot_decomposition(decomposition, path=None) -> Figure:
    """The curves along one order of the effects, and each effect's share at the last time."""
    figure, axes = _figure(1, 2)
    draw_curves(axes[0], decomposition)
    draw_shares(axes[1], decomposition)
    return _save(figure, path)


def draw_learning_rate(axis, part, name):
    """Learning rates of SGD with the rule's drift, over time."""
    marker = _marker(part.t)
    axis.plot(part.t, part.effective, color=RULE_COLOUR, marker=marker, linewidth=1.8, label=f"{name}: effective")
    axis.plot(part.t, part.sgd_lr, color=SGD_COLOUR, marker=marker, linestyle="--", label="SGD")
    axis.set(title="effective learning rate", xlabel="time t = steps / d", ylabel="learning rate (SGD's units)")
    _finish(axis, y=_scale(part.effective, part.sgd_lr))
    axis.legend(frameon=False, fontsize=9)


def draw_compression(axis, part, name):
    """chi against the risk, from the largest to the smallest risk of the curve."""
    axis.set(title="noise compression", xlabel="excess risk R", ylabel="noise / SGD's, at equal drift")
    if np.all(part.chi == 0):
        message = "0 at every risk:\nlabel noise of infinite variance,\nSGD's noise is infinite"
        axis.text(0.5, 0.5, message, ha="center", va="center", transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    some = part.risk > 0
    order = np.argsort(part.risk[some])
    risk, chi = part.risk[some][order], part.chi[some][order]
    axis.plot(risk, chi, color=RULE_COLOUR, marker=_marker(risk), linewidth=1.8, label=f"{name}: $\\chi(R)$")
    axis.axhline(1.0, color=SGD_COLOUR, linestyle="--", label="SGD")
    _finish(axis, x=_scale(part.risk[some]), y=_scale(part.chi, [1.0]))
    axis.legend(frameon=False, fontsize=9)


def draw_preconditioning(axis, part, name):
    """Decay rates of the modes relative to their mean, fastest first."""
    _spectra(axis, part.sgd_rates, part.rates, name)
    labels = f"SGD: condition number {part.sgd_condition_number:.3g}", f"{name}: {part.condition_number:.3g}"
    axis.set(title="preconditioning", xlabel="mode, fastest first", ylabel="decay rate / mean rate")
    axis.legend(labels, frameon=False, fontsize=9, loc="lower left")


def draw_reshaping(axis, part, name):
    """Eigenvalues of the noise covariances relative to their mean, largest first."""
    _spectra(axis, part.sgd_spectrum, part.spectrum, name)
    axis.set(title="noise reshaping", xlabel="eigenvalue, largest first", ylabel="noise eigenvalue / mean")
    labels = "SGD: K", f"{name}: N, trace ratio {part.ratio[-1]:.3g}"
    axis.legend(labels, frameon=False, fontsize=9, loc="lower left")


def draw_curves(axis, decomposition):
    """Risk curves as effects are switched on, in the first of the orders."""
    last = len(decomposition.names)
    for i, (name, risk) in enumerate(decomposition.path()):
        colour = STEP_COLOURS.get(name, SGD_COLOUR)
        label = "SGD" if i == 0 else f"+ {NAMES[name]}" + (f" = {decomposition.name}" if i == last else "")
        if i == 0 and not np.isfinite(risk).any():
            axis.plot([], [], color=colour, linestyle="--", label="SGD: infinite")
            continue
        shown = np.where(np.isfinite(risk) & (risk > 0), risk, np.nan)
        style = {0: "--", last: "-"}.get(i, "-.")
        line = {"linestyle": style, "linewidth": 2.2 if i == last else 1.5, "marker": _marker(shown)}
        axis.plot(decomposition.t, shown, color=colour, label=label, **line)
    axis.set(title="SGD, one effect after the other", xlabel="time t = steps / d", ylabel="excess risk R(t)")
    _finish(axis, y="log")
    axis.legend(frameon=False, fontsize=8)


def draw_shares(axis, decomposition):
    """Factor on the risk at the last time of each effect; whiskers span the orders."""
    axis.set_title(f"share of each effect at t = {decomposition.t[-1]:.3g}")
    reason = decomposition.undefined()
    if reason:
        axis.text(0.5, 0.5, reason.replace(": ", ":\n"), ha="center", va="center", wrap=True, transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    shares, ranges = decomposition.log_shares(), decomposition.log_range()
    total = sum(shares.values())
    bars = {NAMES[n]: (shares[n], *ranges[n], STEP_COLOURS[n]) for n in decomposition.names}
    bars["all four" if len(decomposition.names) == 4 else "all five"] = (total, total, total, RULE_COLOUR)
    for y, (value, low, high, colour) in enumerate(bars.values()):
        if not np.isfinite(value):
            axis.text(1.0, y, " 0: SGD's risk is infinite", va="center", fontsize=9)
            continue
        axis.barh(y, np.exp(value) - 1, left=1.0, color=colour, height=0.6)
        if high > low:
            axis.plot(np.exp([low, high]), [y, y], color="black", linewidth=1.0, marker="|", markersize=7)
        edge = np.exp(max(value, high, 0.0))
        axis.annotate(f"×{np.exp(value):.3g}", (edge, y), xytext=(6, 0), textcoords="offset points", va="center")
    axis.axvline(1.0, color="black", linewidth=0.8)
    ends = np.exp([v for b in bars.values() for v in b[:3] if np.isfinite(v)] + [0.0])
    _finish(axis, x="log")
    count = len(decomposition.orders)
    how = f", mean and range over {count} orders" if count > 1 else ""
    axis.set(yticks=range(len(bars)), yticklabels=bars, xlabel=f"factor on the risk{how}\n(left is better)")
    _factor_axis(axis, ends.min(), ends.max())
    axis.set_ylim(len(bars) - 0.5, -0.5)


DRAW = {
    "learning_rate": draw_learning_rate,
    "noise_compression": draw_compression,
    "preconditioning": draw_preconditioning,
    "noise_reshaping": draw_reshaping,
}


def _factor_axis(axis, low, high):
    """Limits with room for labels on the right, and round factors as ticks."""
    margin = (high / low) ** 0.1 * 1.02
    low, high = low / margin, high * margin * (high / low) ** 0.3
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    steps = (1, 1.1, 1.2, 1.4, 1.6, 2, 3, 5, 6, 7, 8, 9) if high / low < 6 else (1, 2, 5) if high / low < 1e3 else (1,)
    ticks = [step * 10.0**k for k in decades for step in steps]
    axis.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(ticks))
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.set_xlim(low, high)


def _spectra(axis, sgd, rule, name):
    """Two ascending spectra of mean 1, largest first, without zeros."""
    shown = [values[::-1][values[::-1] > 1e-15 * values[-1]] for values in (sgd, rule)]
    for values, colour, style, layer in zip(shown, (SGD_COLOUR, RULE_COLOUR), ("--", "-"), (3, 2), strict=True):
        marker = _marker(values)
        rank = np.arange(1, values.size + 1)
        axis.plot(rank, values, color=colour, linestyle=style, linewidth=1.8, marker=marker, zorder=layer)
    _finish(axis, x="log", y=_scale(*shown))


def _finish(axis, x="linear", y="linear"):
    """Scales, grid, and tick labels on logarithmic axes that span less than a decade."""
    axis.set(xscale=x, yscale=y)
    for line, scale in ((axis.xaxis, x), (axis.yaxis, y)):
        if scale == "log":
            line.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: _number(value)))
            line.set_minor_formatter(PlainLabels(minor_thresholds=(1.2, 0.5)))
    axis.grid(alpha=0.25, which="both", linewidth=0.5)


class PlainLabels(matplotlib.ticker.LogFormatter):
    """Minor labels where a logarithmic axis would otherwise have fewer than two, as plain numbers."""

    def _num_to_string(self, x, vmin, vmax):
        return _number(x)


def _number(value):
    """As it is, or as a power of ten if that is shorter."""
    return f"{value:g}" if 1e-4 < value < 1e5 else f"$10^{{{np.log10(value):.0f}}}$"


def _marker(values):
    """Dots where there are few points."""
    return "." if len(values) < 30 else None


def _scale(*values):
    """A logarithmic axis for positive values that span more than a factor 5."""
    values = np.concatenate([np.asarray(v) for v in values])
    return "log" if values.min() > 0 and values.max() > 5 * values.min() else "linear"


def _figure(rows, columns):
    figure = NotebookFigure((5.0 * columns, 3.8 * rows))
    return figure, np.atleast_1d(figure.subplots(rows, columns)).ravel()


def _save(figure, path):
    for name in [path] if isinstance(path, str) or hasattr(path, "__fspath__") else (path or []):
        figure.savefig(name, dpi=150)
    return figure
