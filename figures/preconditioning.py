"""Diagonal preconditioning: the spectrum of S = D^-1/2 K D^-1/2 against that of K.

See: on a diagonal K the condition number is square-rooted; badly scaled coordinates are mended; on AR(1) with unit
variances nothing changes, and on a rotated power law next to nothing: signs do not see a rotation.
Claim (arXiv:2411.12135): signSGD preconditions by the diagonal of K, which helps or not with the basis.
"""

import numpy as np
from style import COLOURS, correlated, panels

import sdelimit as sl


def draw(quick=False):
    d = 100 if quick else 500
    cases = {
        "diagonal power law": sl.covariance.power_law(d, 1.0),
        "AR(1), unit variances": sl.covariance.ar1(d, 0.8),
        "rotated power law": sl.covariance.power_law(d, 1.0, rotate=True),
        "AR(1), scales from 1/10 to 10": correlated(sl.covariance.ar1(d, 0.8), spread=10.0),
    }
    figure, axes = panels(4, width=3.6)
    for axis, (name, covariance) in zip(axes, cases.items(), strict=True):
        problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.5))
        found = sl.effects(problem, lr=0.01, t=[0.0, 0.1]).preconditioning
        spectra = (found.sgd_rates, found.sgd_condition_number), (found.rates, found.condition_number)
        for (rates, number), colour, label in zip(spectra, COLOURS, ("SGD, K", "signSGD, S"), strict=False):
            axis.plot(np.arange(1, d + 1) / d, rates[::-1], color=colour, label=f"{label}: {short(number)}")
        axis.set(yscale="log", title=name, xlabel="share of modes")
        axis.legend(frameon=False, title="condition number", loc="upper right")
    axes[0].set(ylabel="decay rate / mean rate")
    return figure


def short(number):
    return f"{number:.0f}" if number < 1e4 else f"{number:.1e}"
