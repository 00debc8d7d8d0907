"""Gradient-noise reshaping: where the noise lands, K_sigma = (2/pi) arcsin(Khat) against K.

See: left, the arcsine shrinks correlations, so K_sigma has a flatter spectrum than K with smaller top eigenvalues;
right, the noise's effect on the risk per unit of trace, tr(K N)/tr N, is below SGD's: the more so the more unequal
the coordinates, and with equal ones the more correlated they are; points are measured on simulated updates.
Claim (arXiv:2411.12135): the sign changes the shape of the gradient noise, not only its size.
"""

import numpy as np
from style import COLOURS, correlated, panels

import sdelimit as sl


def draw(quick=False):
    d = 100 if quick else 500
    figure, (left, right) = panels(2)
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.8), sl.noise.StudentT(3.0, 0.5))
    found = sl.effects(problem, lr=0.01, t=[0.0, 0.1]).noise_reshaping
    share = np.arange(1, d + 1) / d
    left.plot(share, found.sgd_spectrum[::-1], color=COLOURS[0], label="SGD: K")
    left.plot(share, found.spectrum[::-1], color=COLOURS[1], label=r"signSGD: $K_\sigma$")
    left.set(yscale="log", xlabel="share of eigenvalues", ylabel="eigenvalue / mean", title="AR(1), correlation 0.8")
    left.legend(frameon=False)
    correlations = np.linspace(0.0, 0.95, 5 if quick else 11)
    for spread, colour in ((1.0, COLOURS[0]), (3.0, COLOURS[1]), (10.0, COLOURS[2])):
        label = "unit variances" if spread == 1 else f"scales from 1/{spread:.0f} to {spread:.0f}"
        limit, measured = np.array([ratios(d, rho, spread) for rho in correlations]).T
        right.plot(correlations, limit, color=colour, label=label)
        right.plot(correlations, measured, "o", color=colour, markerfacecolor="white", markersize=4)
    right.set(xlabel="correlation of neighbours", ylabel="tr(K N) / tr N, signSGD / SGD", ylim=(0, 1.05))
    right.legend(frameon=False)
    return figure


def ratios(d, rho, spread):
    """Limit of the trace ratio, and u'Ku / |u|^2 of 4000 sampled updates relative to SGD's limit."""
    covariance = correlated(sl.covariance.ar1(d, rho), spread)
    problem = sl.LinearRegression(covariance, sl.noise.StudentT(3.0, 0.5))
    sgd, sign = (sl.directional_sharpness(problem, rule) for rule in (sl.sgd(), sl.sign_sgd()))
    K = covariance.to_dense()
    x = np.random.default_rng(1).standard_normal((4000, d)) @ np.linalg.cholesky(K).T
    u = np.sign(x)  # the sign of the residual changes nothing in u'Ku
    return sign / sgd, np.mean(np.sum((u @ K) * u, axis=1)) / d / sgd
