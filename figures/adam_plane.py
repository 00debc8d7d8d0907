"""Adam's (b1, b2) plane: the figure of merit, drift squared per noise relative to SGD's, at a large and a small risk.

See: numbers above 1 gain on SGD. At a large risk, where residuals are nearly Gaussian, nothing does; at a small one,
where heavy-tailed noise dominates, a short memory of the size (b2 = 0.5 or 0.9) gains half, since a huge residual is
divided by itself. The gain goes as b2 tends to 1, where Adam's noise is SGD's, and where gradients are averaged for
much longer than sizes (top left).
Claim: which memory is best depends on the noise and on the risk.
"""

import numpy as np
from style import panels

import sdelimit as sl

NOISE = sl.noise.StudentT(3.0, 0.5)


def draw(quick=False):
    b1s, b2s = ((0.0, 0.9), (0.5, 0.99)) if quick else ((0.0, 0.5, 0.9, 0.99), (0.5, 0.9, 0.99, 0.999))
    risks = (10.0, 0.01)
    merits = np.array([[_merits(b1, b2, risks) for b2 in b2s] for b1 in b1s])
    figure, axes = panels(len(risks), width=4.6, height=3.8)
    limit = np.max(np.abs(np.log(merits)))
    for axis, R, own in zip(axes, risks, np.moveaxis(merits, -1, 0), strict=True):
        image = axis.imshow(np.log(own), cmap="RdBu", vmin=-limit, vmax=limit, origin="lower", aspect="auto")
        for place, merit in np.ndenumerate(own):
            strong = abs(np.log(merit)) > 0.6 * limit
            axis.text(*place[::-1], f"{merit:.2f}", ha="center", va="center", color="white" if strong else "black")
        axis.set_xticks(range(len(b2s)), [f"{b:g}" for b in b2s])
        axis.set_yticks(range(len(b1s)), [f"{b:g}" for b in b1s])
        axis.grid(False)
        axis.set(xlabel=r"$\beta_2$", ylabel=r"$\beta_1$", title=f"risk {R:g}")
    bar = figure.colorbar(image, ax=axes, label="figure of merit (SGD: 1)")
    ticks = [tick for tick in (0.5, 0.7, 1.0, 1.4, 2.0) if abs(np.log(tick)) <= limit]
    bar.set_ticks(np.log(ticks), labels=[f"{tick:g}" for tick in ticks])
    return figure


def _merits(b1, b2, risks):
    found = sl.limit_coefficients(sl.adam(b1, b2, memory="fixed"), NOISE)
    return [float(found.figure_of_merit(R)) for R in risks]
