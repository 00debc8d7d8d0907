"""signSGD and SGD on features like those of images and of texts: one-pass runs against both theories.

See: circles (median of runs over the rows) on the solid lines, theory from the rows; dashed lines take the features to
be Gaussian. On images (correlated pixels of equal variance, a spectrum that falls like a power) signs precondition
nothing; on bags of words (uncorrelated counts, with Zipf's law of frequencies) they divide by the scale of a word.
Claim (arXiv:2411.12135): the limit describes runs on real data too; here on generated stand-ins for images and texts,
and on CIFAR-10 itself where the environment variable CIFAR10 names the folder of its Python batches.
"""

import os

import numpy as np
from style import COLOURS, TIME, draw_runs, panels

import sdelimit as sl

RULES = (sl.sgd(), sl.sign_sgd())


def draw(quick=False):
    n_runs, side, words = (8, 8, 100) if quick else (32, 16, 300)
    cases = {
        "image-like": (image_like(side, 20 * side**2), (0.3, 0.1)),
        "text-like": (text_like(words, 20 * words), (0.05, 0.05)),
    }
    if folder := os.environ.get("CIFAR10"):
        cases["CIFAR-10"] = (sl.data.cifar10(folder, random_features=side**2), (0.3, 0.1))
    figure, axes = panels(len(cases), width=5.0)
    for axis, (name, (problem, rates)) in zip(axes, cases.items(), strict=True):
        t = np.linspace(0.0, min(6.0, 0.3 * problem.n / problem.d), 31)
        for rule, lr, colour in zip(RULES, rates, COLOURS, strict=False):
            axis.plot(
                t,
                sl.data.solve_ode(problem, rule, lr, t=t).risk,
                color=colour,
                label=f"{rule.name}: theory from the rows",
            )
            gaussian = sl.solve_ode(problem, rule, lr, t=t).risk
            axis.plot(t, gaussian, "--", color=colour, linewidth=1, label=f"{rule.name}: Gaussian features")
            runs = sl.simulate(problem, rule, lr, t=t, n_runs=n_runs)
            draw_runs(axis, runs, colour, label=f"{rule.name}: {n_runs} runs", points=11)
        axis.set(
            xlabel=TIME, ylabel="excess risk R(t)", yscale="log", title=f"{name}, d = {problem.d}, n = {problem.n}"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def image_like(side, n, seed=0):
    """Fields with a power spectrum |k|^-2 and a contrast each, as patches of images have, and linear labels."""
    rng = np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    amplitude = 1 / np.maximum(k, 1 / side)
    fields = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, side, side))) * amplitude).real.reshape(n, -1)
    X = np.exp(0.3 * rng.standard_normal((n, 1))) * fields / fields.std()
    return sl.data.from_arrays(X, linear_labels(X, rng), name="image-like")


def text_like(words, n, seed=0):
    """Counts of words with frequencies by Zipf's law in texts of 4 times the vocabulary, and linear labels."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, words + 1)
    X = rng.poisson(4 * words * frequency / frequency.sum(), (n, words)).astype(float)
    return sl.data.from_arrays(X, linear_labels(X - X.mean(axis=0), rng), scale=False, name="text-like")


def linear_labels(X, rng):
    """A score of all columns with standard deviation 1, and as much heavy-tailed noise."""
    score = X @ rng.standard_normal(X.shape[1])
    return score / score.std() + 0.5 * rng.standard_t(3.0, X.shape[0])
