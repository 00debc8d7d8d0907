"""The risk ODE and SDE against research-script ways to compute them: python benchmarks/ode.py

Ratios within one run. Baselines are NumPy, as one writes them by hand; those that would take hours are timed over a few
steps and scaled, which their line says. "warm" is without compilation, "cold" with it.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from _report import best_time, header, write
from scipy.integrate import solve_ivp
from scipy.signal import lfilter

import sdelimit as sl
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import x64

V, ETA, DT = 0.3, 0.5, 1e-3


def once(f):
    """(seconds, value) of one call."""
    start = time.perf_counter()
    value = f()
    return time.perf_counter() - start, value


def phi_sign(R):
    return 2 / np.pi / np.sqrt(2 * R + V**2)


def euler_in_modes(decay, energy, forcing, t_max):
    """signSGD's risk by fixed-step Euler, the modes given."""
    energy, risks = energy.copy(), []
    for _ in range(round(t_max / DT)):
        R = np.sum(decay * energy) / 2
        risks.append(R)
        energy = energy + DT * (-2 * ETA * phi_sign(R) * decay * energy + ETA**2 / decay.size * forcing)
    return np.array([*risks, np.sum(decay * energy) / 2])


def modes_by_eig(K):
    """Eigenvalues of D^-1 K, which is not symmetric, and what start and noise are along its eigenvectors."""
    std = np.sqrt(np.diag(K))
    values, right = np.linalg.eig(K / std[:, None])
    left = np.linalg.inv(right)
    noise = 2 / np.pi * np.arcsin(np.clip(K / np.outer(std, std), -1, 1))
    return values, right, np.einsum("ij,ji->i", left @ noise, K @ right)


def euler_of_second_moments(K, steps):
    """The same without modes: V = E[delta delta'], d x d."""
    d, std = K.shape[0], np.sqrt(np.diag(K))
    noise = 2 / np.pi * np.arcsin(np.clip(K / np.outer(std, std), -1, 1))
    second = np.eye(d) / d
    for _ in range(steps):
        R = np.sum(K * second) / 2
        drift = (K @ second) / std[:, None]
        second = second + DT * (-ETA * phi_sign(R) * (drift + drift.T) + ETA**2 / d * noise)
    return R


def sign_sgd_lines(d=2000, t_max=10.0):
    """signSGD on a dense K against Euler, with and without the factorization."""
    problem = sl.LinearRegression(sl.covariance.power_law(d, 0.7, rotate=True), sl.noise.Gaussian(V))
    K = problem.covariance.to_dense()
    factorize, own = once(lambda: modes(problem, sl.sign_sgd().limit(problem, 1)))
    t = np.linspace(0.0, t_max, 201)

    def solve(rtol=1e-6):
        return sl.solve_ode(problem, sl.sign_sgd(), ETA, t=t, rtol=rtol, save_modes=False).risk

    exact, risk = solve(1e-11), solve()
    warm = best_time(solve, 20)
    steps = best_time(lambda: euler_in_modes(own.decay, own.w0**2, own.forcing[0], t_max), 2)
    euler = euler_in_modes(own.decay, own.w0**2, own.forcing[0], t_max)[:: round(t_max / DT) // 200]
    ours_off, euler_off = (np.max(np.abs(r / exact - 1)) for r in (risk, euler))
    eig, _ = once(lambda: modes_by_eig(K))
    matrix = once(lambda: euler_of_second_moments(K, 2))[0] / 2 * t_max / DT
    total = factorize + warm
    return [
        (f"signSGD, dense K, d = {d}, T = {t_max:g}: ours, warm", warm, f"error {ours_off:.0e}"),
        ("  Euler, dt = 0.001, modes given", steps, f"error {euler_off:.0e}, {steps / warm:.0f}x ours"),
        ("  ours with its eigenproblem", total, f"eigenproblem {factorize:.2f} s"),
        ("  Euler with numpy.linalg.eig of D^-1 K", eig + steps, f"{(eig + steps) / total:.1f}x ours"),
        ("  Euler on V = E[delta delta'], 2 steps scaled", matrix, f"{matrix / total:.0f}x ours"),
    ]


def small_line(d=1000):
    problem = sl.LinearRegression(sl.covariance.power_law(d, 0.7), sl.noise.StudentT(2.0, V))

    def solve():
        return sl.solve_ode(problem, sl.sign_sgd(), ETA, 10.0).risk

    cold = once(solve)[0]
    return [(f"signSGD, Student-t noise, d = {d}, 200 times: warm", best_time(solve, 20), f"cold {cold:.1f} s")]


def sampled_adam(R, rng, b1=0.9, b2=0.99, samples=10_000, history=500, h=0.15):
    """phi(R) and kappa(1; R) of Adam from simulated histories, the derivative by a finite difference."""
    z, xi = rng.standard_normal((2, samples, history))
    size = np.sqrt(2 * R) * z - V * rng.standard_normal((samples, history))

    def updates(gradient):
        first, second = lfilter([1 - b1], [1, -b1], gradient), lfilter([1 - b2], [1, -b2], gradient**2)
        return first[:, history // 2 :] / np.sqrt(second[:, history // 2 :])

    u = updates(size * xi)
    phi = np.mean(updates(size * (xi + h * z)) - u) / h / np.sqrt(2 * R)
    return phi, np.mean(u.sum(axis=1) ** 2) / u.shape[1]


def adam_lines(d=1000, t_max=10.0, steps=1000, timed=3):
    """Adam's ODE against coefficients sampled anew at each of 1000 steps."""
    problem = sl.LinearRegression(sl.covariance.power_law(d, 0.7), sl.noise.Gaussian(V))
    rng = np.random.default_rng(0)

    def solve():
        return sl.solve_ode(problem, sl.adam(0.9, 0.99, memory="fixed"), ETA, t_max).risk

    cold = once(solve)[0]
    warm = best_time(solve, 10)
    sampled = once(lambda: [sampled_adam(1.0, rng) for _ in range(timed)])[0] / timed * steps
    return [
        (f"Adam(0.9, 0.99), d = {d}: warm", warm, ""),
        ("  cold: compilation, and its coefficients made once", cold, ""),
        (
            f"  coefficients sampled at each of {steps} steps, {timed} steps scaled",
            sampled,
            f"{sampled / warm:.0f}x warm, {sampled / cold:.0f}x cold",
        ),
    ]


def radau(problem, t):
    """SGD's risk with R's coupling written out, by SciPy's Radau at a tight tolerance."""
    decay, d = problem.covariance.std**2, problem.d
    jacobian = ETA**2 / (2 * d) * 2 * np.outer(decay**2, np.ones(d)) - np.diag(2 * ETA * decay)
    source = ETA**2 / (2 * d) * decay**2 * V**2
    start = decay * problem.delta0**2 / 2
    solution = solve_ivp(
        lambda _, y: jacobian @ y + source,
        (0, t[-1]),
        start,
        "Radau",
        t,
        jac=jacobian,
        rtol=1e-9,
        atol=1e-12 * start.sum(),
    )
    return solution.y.sum(axis=0)


def million_lines(t_max=1000.0):
    """Many modes of condition number 10^12 and 10^14: time, and error on all modes and on every 2500th of them."""
    t, lines = np.linspace(0.0, t_max, 200), []
    some = [1, 10, 100, 199]
    for d in (10**6, 10**7):
        build, problem = once(lambda d=d: sl.LinearRegression(sl.covariance.power_law(d, 2.0), sl.noise.Gaussian(V)))
        solve = lambda p=problem: sl.solve_ode(p, sl.sgd(), ETA, t=t)  # noqa: E731
        cold, curve = once(solve)
        note = f"cold {cold:.1f} s; problem built in {build:.1f} s"
        if d == 10**6:
            tight = sl.solve_ode(problem, sl.sgd(), ETA, t=t[some], rtol=1e-10, save_modes=True)
            note += f"; error {np.max(np.abs(curve.risk[some] / tight.risk - 1)):.0e} against all modes, rtol 1e-10"
        lines.append((f"SGD, d = {d:.0e}, lambda = i^-2, T = {t_max:g}: warm", best_time(solve, 2), note))
    few = np.concatenate([np.arange(1.0, 101.0), np.arange(101.0, 1e6, 2500)]) ** -2
    sample = sl.LinearRegression(few, sl.noise.Gaussian(V))
    seconds, exact = once(lambda: radau(sample, t[some]))
    curve = sl.solve_ode(sample, sl.sgd(), ETA, t=t)
    off = np.max(np.abs(curve.risk[some] / exact - 1))
    lines.append((f"  {few.size} of these modes by SciPy's Radau", seconds, f"ours is off by {off:.0e}"))
    return lines


def sde_lines(d=2000, paths=64):
    """One SDE step of all paths against one d x d product with them."""
    problem = sl.LinearRegression(sl.covariance.power_law(d, 0.7, rotate=True), sl.noise.Gaussian(V))
    with x64():
        matrix, z = jnp.asarray(problem.covariance.to_dense()), jnp.ones((paths, d))
        product = jax.jit(lambda z: z @ matrix)
        bare = best_time(lambda: product(z), 50)
    lines = [(f"SDE, dense K, d = {d}, {paths} paths: bare float64 product", bare, "")]
    for rule in (sl.sgd(), sl.sign_sgd(), sl.adam(0.9, 0.99, memory="fixed")):

        def solve(steps, rule=rule):
            return sl.solve_sde(problem, rule, 0.5, t=np.linspace(0, 0.1, steps + 1), n_paths=paths, progress=False)

        assert solve(64).details["steps"] == 64
        step = (best_time(lambda: solve(256).risk) - best_time(lambda: solve(64).risk)) / 192
        lines.append((f"  {rule.name}: a step of all paths", step, f"{step / bare:.2f}x the product"))
    steps = sl.solve_sde(problem, sl.sign_sgd(), 0.5, 10.0, n_paths=1, progress=False).details["steps"]
    lines[0] = (*lines[0][:2], f"signSGD to T = 10 takes {steps} steps (the optimizer itself {10 * d})")
    return lines


def main():
    lines = [*small_line(), *sign_sgd_lines(), *adam_lines(), *million_lines(), *sde_lines()]
    table = "\n".join(f"{name:62s} {_seconds(seconds):>10s}  {note}".rstrip() for name, seconds, note in lines)
    write("ode", f"{header()}\n\n{table}")


def _seconds(s):
    return f"{s * 1e3:.3g} ms" if s < 0.5 else f"{s:.3g} s"


if __name__ == "__main__":
    main()
