"""The fused kernel against the plain scan, on a GPU: python benchmarks/gpu.py

Also compares their risks, and prints what the plain path must move at least: every normal written and read once.
"""

import sys

import jax
import numpy as np
from _report import best_time, header, write

import sdelimit as sl

D, RUNS, STEPS, LR = 2048, 1024, 2048, 0.3


def main():
    if jax.default_backend() != "gpu":
        sys.exit("no GPU here: the fused kernel is only interpreted, which its tests do")
    normals = D * RUNS * STEPS
    lines = [header(), f"d = {D}, {RUNS} runs, {STEPS} steps, picoseconds a normal", ""]
    lines += [f"{'':24s}{'plain':>10s}{'fused':>10s}{'ratio':>8s}{'largest relative gap of the mean risk':>40s}"]
    for covariance in (sl.covariance.power_law(D, 0.5), sl.covariance.ar1(D, 0.5)):
        problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.3))
        for rule in (sl.sign_sgd(), sl.sgd(), sl.adam()):
            times, means = {}, {}
            for path in ("plain", "fused"):

                def run(rule=rule, problem=problem, path=path):
                    t = np.linspace(0, STEPS / D, 41)
                    return sl.simulate(problem, rule, LR, t=t, n_runs=RUNS, path=path)

                means[path] = run().mean
                times[path] = best_time(run, 3) / normals * 1e12
            gap = np.max(np.abs(means["fused"] / means["plain"] - 1))
            name = f"{type(covariance).__name__} {rule.name}"
            ratio = times["plain"] / times["fused"]
            lines.append(f"{name:24s}{times['plain']:10.2f}{times['fused']:10.2f}{ratio:8.2f}{gap:40.2e}")
    write("gpu", "\n".join([*lines, "", f"plain path: at least {normals * 8 / 1e9:.0f} GB through memory"]))


if __name__ == "__main__":
    main()
