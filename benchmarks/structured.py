"""Time and memory against d for covariances with structure: python benchmarks/structured.py

Each row is a process of its own, so that its peak memory is its own. signSGD, 64 runs, times without compilation.
"""

import multiprocessing
import resource

import numpy as np
from _report import best_time, header, write

import sdelimit as sl
from sdelimit.modes.structured import structured_modes

RUNS = 64
SIZES = (1_000, 10_000, 100_000)
COVARIANCES = {
    "diagonal": lambda d: sl.covariance.power_law(d, 0.5),
    "ar1": lambda d: sl.covariance.ar1(d, 0.5),
    "spiked": lambda d: sl.covariance.spiked(d, [5.0, 2.0]),
    "block": lambda d: sl.covariance.block(sl.covariance.ar1(d // 2, 0.5), np.linspace(0.1, 2, d // 2)),
}


def measure(name, d):
    """Seconds for the modes (None where K has to be written out), a curve and one step of all runs; peak GiB."""
    problem = sl.LinearRegression(COVARIANCES[name](d), sl.noise.Gaussian(0.3))
    limit = sl.sign_sgd().limit(problem, 1)

    def find():
        return structured_modes(problem.covariance, limit.power, limit.basis, problem.delta0)

    modes = None if find() is None else best_time(find)
    steps = max(23, 200_000 // d)

    def curve():
        return sl.solve_ode(problem, sl.sign_sgd(), lr=0.5, t_max=2.0, save_modes=False).risk

    def runs():
        return sl.simulate(problem, sl.sign_sgd(), lr=0.5, t=[0, steps / d], n_runs=RUNS, progress=False).risk

    curve(), runs()  # compiles
    ode, step = best_time(curve), best_time(runs) / steps
    return modes, ode, step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    """One table."""
    lines = [header(), f"signSGD, {RUNS} runs; a step is one step of all of them; peak memory of the whole process"]
    lines.append(
        f"{'covariance':11}{'d':>8}{'modes ms':>10}{'ODE ms':>9}{'step ms':>9}{'ns/(run d)':>12}{'peak GiB':>10}"
    )
    context = multiprocessing.get_context("spawn")
    for name in COVARIANCES:
        for d in SIZES:
            with context.Pool(1) as pool:
                modes, ode, step, peak = pool.apply(measure, (name, d))
            shown = "dense" if modes is None else f"{1e3 * modes:.1f}"
            row = f"{name:11}{d:>8}{shown:>10}{1e3 * ode:>9.0f}{1e3 * step:>9.2f}"
            lines.append(f"{row}{1e9 * step / RUNS / d:>12.2f}{peak:>10.2f}")
            print(lines[-1], flush=True)
    write("structured", "\n".join(lines))


if __name__ == "__main__":
    main()
