"""Adam's coefficients on a grid of (b1, b2), one call each: python benchmarks/coefficients.py [points]

All pairs of a length of history share compiled code, random numbers and controls, and take a twentieth of the time of
the baseline, which samples each pair by itself, as other rules are: histories of 16 memories, 8 million gradients
without controls, and a program of its own. It is run for three pairs, and its kernels are compared with theirs.
"""

import sys
import time

import numpy as np
from _report import header, write

import sdelimit as sl
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.gradient_histories import estimates, residuals
from sdelimit.limits.sampled.ratio import RatioRule, kernel_products, total_weight
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics.jit import jit

NOISE = sl.noise.Gaussian(0.5)
SAMPLES = 8_000_000
ALONE = ((0.5, 0.9), (0.9, 0.99), (0.95, 0.999))


def clocks():
    """Wall and processor time, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def grid(points):
    """Seconds, wall and processor, for coefficients of points x points pairs, compilation included."""
    decays = 1 - np.geomspace(0.5, 1e-3, points)
    start = clocks()
    for b1 in decays:
        for b2 in decays:
            sl.limit_coefficients(sl.adam(float(b1), float(b2)), NOISE).kappa(1.0, 0.5)
    return clocks() - start


def alone(b1, b2):
    """(kappa, standard error) at ``RHO`` of one pair by the baseline, and its seconds, wall and processor."""
    rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)

    @jit
    def sample(draws, s, unit):
        radius = residuals(draws.z, draws.eps, s, unit).radius
        return kernel_products(radius, draws, lambda g: total_weight(rule, g))

    start = clocks()
    memory = max(1 / (1 - b1), 1 / (1 - b2))
    (found,) = estimates(sample, sl.noise.NoNoise(), [0.5], 1, memory, SAMPLES, 0)
    return found, clocks() - start


def main(points=20):
    """One table."""
    lines = [
        header(),
        f"Adam's phi and kappa, {NOISE}, b1 and b2 from 0.5 to 0.999; seconds a pair, wall and processor",
    ]
    each = grid(points) / points**2
    lines.append(
        f"{points} x {points} pairs   {each[0]:6.3f} {each[1]:6.3f}   all of them in {each[0] * points**2:.0f} s"
    )
    ratios, apart = [], 0.0
    for b1, b2 in ALONE:
        (kappa, error), seconds = alone(b1, b2)
        rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)
        (shared,) = rule.estimates(sl.noise.NoNoise(), [0.5], 1, SAMPLES)
        ratios.append(seconds / each)
        errors = np.hypot(error, shared.kappa_se)[1:]
        apart = max(apart, float(np.max(np.abs(shared.kappa - kappa)[1:] / errors)))
        ratio = f"{ratios[-1][0]:.0f} and {ratios[-1][1]:.0f} times the grid's"
        lines.append(f"b1 {b1:g}, b2 {b2:g} alone   {seconds[0]:6.3f} {seconds[1]:6.3f}   {ratio}")
    lines.append(f"kernels differ by at most {apart:.1f} standard errors at any of rho = {RHO[1:]}")
    write("coefficients", "\n".join(lines))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
