"""Do two versions of the package give the same numbers on thirty problems?

    python tools/before_after.py record before.npz          # with the old version on the path
    python tools/before_after.py record after.npz           # with the new one
    python tools/before_after.py compare before.npz after.npz

``record`` keeps, for each problem, what ``solve_ode``, ``simulate``, ``solve_sde``, ``compare``, ``effects``,
``stationary_risk`` and the rates give. ``compare`` prints the largest relative difference of each kind and ends with
status 1 if a simulation differs at all, or anything else by more than 1e-6 (paths of the SDE, drawn in float32: 1e-4).
"""

import argparse
import sys
import warnings

import numpy as np

import sdelimit as sl

D = 40
KINDS = {"simulate": 0.0, "sde": 1e-4}
"""Largest relative difference allowed; 1e-6 for every other kind."""


def problems():
    """Thirty names and (covariance, noise, optimizer, lr, batch_size)."""
    c, n = sl.covariance, sl.noise
    scale = np.geomspace(0.5, 2.0, D)
    ar1, rotated = c.ar1(D, 0.6), c.power_law(D, 0.7, rotate=True, seed=1)
    power, spiked = c.power_law(D, 0.5), c.spiked(D, [5.0, 2.0], seed=2)
    scaled, block = c.ar1(D, 0.4).scaled(scale), c.block(c.ar1(D // 2, 0.5), c.identity(D // 2))
    gauss, t3, cauchy, laplace = n.Gaussian(0.5), n.StudentT(3.0, 0.3), n.Cauchy(0.3), n.Laplace(0.4)
    return {
        "sign, AR(1), Gaussian": (ar1, gauss, sl.sign_sgd(), 0.5, 1),
        "sign, rotated, Student-t": (rotated, t3, sl.sign_sgd(), 0.4, 1),
        "sign, identity, none": (c.identity(D), n.NoNoise(), sl.sign_sgd(), 0.2, 1),
        "sign, scaled AR(1), Cauchy": (scaled, cauchy, sl.sign_sgd(), 0.5, 1),
        "sign, spiked, uniform": (spiked, n.Uniform(0.8), sl.sign_sgd(), 0.3, 1),
        "sign, block, two points": (block, n.TwoPoint(0.5), sl.sign_sgd(), 0.3, 1),
        "sign, batch 4, Gaussian": (ar1, gauss, sl.sign_sgd(), 0.5, 4),
        "sign, batch 3, Laplace": (power, laplace, sl.sign_sgd(), 0.5, 3),
        "sgd, AR(1), Gaussian": (ar1, gauss, sl.sgd(), 0.4, 1),
        "sgd, power law, Student-t": (power, n.StudentT(5.0, 0.3), sl.sgd(), 0.5, 1),
        "sgd, rotated, batch 2": (rotated, gauss, sl.sgd(), 0.6, 2),
        "sgd, mixture": (scaled, n.GaussianMixture([0.9, 0.1], [0.0, 0.0], [0.2, 1.0]), sl.sgd(), 0.3, 1),
        "sgd, decaying lr": (ar1, gauss, sl.sgd(), sl.schedules.inverse_sqrt(0.5), 1),
        "sign, cosine": (rotated, gauss, sl.sign_sgd(), sl.schedules.cosine(0.6, 3.0), 1),
        "adam, Gaussian": (ar1, gauss, sl.adam(0.9, 0.95), 0.4, 1),
        "adam, rotated, Student-t": (rotated, t3, sl.adam(0.9, 0.95), 0.4, 1),
        "rmsprop, power law": (power, gauss, sl.rmsprop(0.9), 0.4, 1),
        "signum, AR(1)": (ar1, gauss, sl.signum(0.8), 0.1, 1),
        "lion, AR(1)": (ar1, gauss, sl.lion(0.9, 0.95), 0.05, 1),
        "s3, spiked": (spiked, gauss, sl.s3(0.9, 3.0), 0.4, 1),
        "nadam, block": (block, gauss, sl.nadam(0.9, 0.95), 0.4, 1),
        "long-memory adam, AR(1)": (ar1, gauss, sl.long_memory_adam(0.9, 0.95), 0.4, 1),
        "long-memory adam, diagonal, batch 2": (power, gauss, sl.long_memory_adam(0.5, 0.9), 0.4, 2),
        "long-memory adam, rotated, Student-t": (rotated, n.StudentT(5.0, 0.3), sl.adam(0.9, 0.99), 0.4, 1),
        "clip_norm, AR(1)": (ar1, gauss, sl.clip_norm(0.5), 0.5, 1),
        "clip_norm, Student-t": (rotated, t3, sl.clip_norm(0.5), 0.5, 1),
        "clip_coordinate, diagonal": (power, gauss, sl.clip_coordinate(0.5), 0.5, 1),
        "clip_coordinate, AR(1)": (scaled, gauss, sl.clip_coordinate(0.5), 0.5, 1),
        "adam with eps, diagonal": (power, gauss, sl.adam(0.9, 0.95, eps=0.3), 0.4, 1),
        "s_adam, AR(1)": (ar1, gauss, sl.s_adam(), 0.4, 1),
    }


def record(name, covariance, noise, optimizer, lr, batch_size) -> dict[str, np.ndarray]:
    """Everything that is compared of one problem."""
    problem = sl.LinearRegression(covariance, noise, seed=3)
    t, out = np.linspace(0.0, 3.0, 13), {}
    settings = {"t": t, "batch_size": batch_size}
    theory = sl.solve_ode(problem, optimizer, lr, **settings)
    runs = sl.simulate(problem, optimizer, lr, n_runs=4, seed=5, **settings)
    paths = sl.solve_sde(problem, optimizer, lr, n_paths=4, seed=6, **settings)
    out["ode"] = np.concatenate([theory.risk, theory.phi, theory.slope])
    out["simulate"], out["sde"] = runs.risk, paths.risk
    out["compare"] = np.asarray(sl.compare(theory, runs).relative_error)
    found = sl.effects(problem, optimizer, lr, t_max=2.0, batch_size=batch_size)
    parts = [found.learning_rate.factor, found.preconditioning.spectrum, found.noise_compression.matched_noise]
    risks = found.decomposition.risks
    between = [risks[on] for on in sorted(risks, key=sorted)]
    out["effects"] = np.concatenate([*parts, found.noise_reshaping.ratio, *between])
    constant = lr if isinstance(lr, float) else 0.4
    out["stationary"] = np.array(
        [
            float(sl.stationary_risk(problem, optimizer, constant, batch_size=batch_size)),
            float(sl.convergence_rate(problem, optimizer, constant, batch_size=batch_size)),
            float(sl.max_stable_lr(problem, optimizer, batch_size=batch_size)),
        ]
    )
    return {f"{name}/{kind}": np.asarray(value, np.float64) for kind, value in out.items()}


def compare(before, after) -> int:
    """Print the largest relative difference of each kind; 1 if one is too large."""
    kinds, failed = {}, sorted(set(before) ^ set(after))
    for key in sorted(set(before) & set(after)):
        a, b = before[key], after[key]
        kind = key.rpartition("/")[2]
        size = np.nanmax(np.abs(a[np.isfinite(a)]), initial=0.0)
        same = np.array_equal(a, b, equal_nan=True)
        finite = np.isfinite(a) & np.isfinite(b)
        gap = 0.0 if same else np.max(np.abs(a - b)[finite], initial=0.0) / (size or 1.0)
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            gap = np.inf
        if gap > kinds.get(kind, (-1.0,))[0]:
            kinds[kind] = gap, key
        if gap > KINDS.get(kind, 1e-6):
            failed.append(f"{key}: {gap:.2e}")
    for kind, (gap, key) in sorted(kinds.items()):
        print(f"{kind:<12} {gap:9.2e}   ({key})")
    for line in failed:
        print("differs:", line)
    return int(bool(failed))


def main(arguments=None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--only", default="", help="problems whose names contain this")
    given = parser.parse_args(arguments)
    if given.what == "compare":
        before, after = (dict(np.load(file)) for file in given.files)
        return compare(before, after)
    out = {}
    warnings.simplefilter("ignore")
    for name, settings in problems().items():
        if given.only in name:
            print(name, flush=True)
            out |= record(name, *settings)
    np.savez(given.files[0], **out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
