"""The effective learning rate phi(R) and the noise compression chi(R) of signSGD, for every label noise law.

See: phi rises like R^-1/2 as the risk falls until the noise takes over, then levels off at 2 sqrt(2/pi) times the
density of the noise at zero (without noise it keeps rising; where the noise avoids zero it falls to zero); chi is
pi^2/4 for Gaussian noise at every R, below one for heavy tails at small risk, zero where the variance is infinite.
Claim (arXiv:2411.12135): signSGD compresses heavy-tailed noise and pays pi^2/4 for it under Gaussian noise.
"""

import numpy as np
from style import COLOURS, panels

import sdelimit as sl

NOISES = (
    ("none", sl.noise.NoNoise()),
    ("Gaussian", sl.noise.Gaussian(1.0)),
    ("Laplace", sl.noise.Laplace(1.0)),
    ("uniform", sl.noise.Uniform(1.0)),
    ("two points", sl.noise.TwoPoint(1.0)),
    ("Student-t(3)", sl.noise.StudentT(3.0, 1.0)),
    ("Student-t(2.1)", sl.noise.StudentT(2.1, 1.0)),
    ("Cauchy (chi = 0)", sl.noise.Cauchy(1.0)),
)


def draw(quick=False):
    R = np.geomspace(1e-4, 1e3, 40 if quick else 160)
    figure, (left, right) = panels(2)
    styles = [(colour, style) for style in ("-", "--") for colour in COLOURS[:4]]
    for (name, noise), (colour, style) in zip(NOISES, styles, strict=True):
        coefficients = sl.limit_coefficients(sl.sign_sgd(), noise)
        left.plot(R, coefficients.phi(R), style, color=colour, label=name)
        if np.isfinite(noise.second_moment):
            with np.errstate(divide="ignore", over="ignore"):  # two points: infinite where no sign is ever flipped
                chi = 1 / coefficients.figure_of_merit(R)
            right.plot(R, chi, style, color=colour)
    right.axhline(np.pi**2 / 4, color="0.6", linewidth=0.8, zorder=0)
    right.text(1.3e-4, np.pi**2 / 4 * 1.12, r"$\pi^2/4$", color="0.3")
    right.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    left.set(
        xscale="log", yscale="log", ylim=(1e-2, 1e2), xlabel="excess risk R", ylabel=r"$\varphi(R)$: effective lr / lr"
    )
    right.set(
        xscale="log", yscale="log", ylim=(0.05, 100), xlabel="excess risk R", ylabel=r"noise compression $\chi(R)$"
    )
    left.set_title("effective learning rate")
    right.set_title("noise at matched drift, signSGD / SGD")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
