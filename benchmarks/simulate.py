"""What ``simulate`` costs next to drawing its normals, and next to the loops it replaces: python benchmarks/simulate.py

One run prints the table and keeps it in results/. Every row is divided by the number of normals that it needs, wall and
processor time of the fastest of a few repeats; compare rows of one table only.
"""

import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from _report import header, write

import sdelimit as sl
from sdelimit.numerics import normals
from sdelimit.simulation.loop import block_length

D, RUNS, STEPS, DENSE_STEPS, LR = 1000, 64, 1000, 200, 0.3
CORES = len(jax.devices()) if jax.default_backend() != "cpu" else 2
RATES = np.linspace(0.1, 0.8, 8)
RULES = [sl.sign_sgd(), sl.sgd(), sl.adam()]


def problem(covariance):
    return sl.LinearRegression(covariance, sl.noise.Gaussian(0.3))


def timed(f, normals, repeats=4):
    """Nanoseconds a normal, (wall, processor), the least of ``repeats`` calls after one that compiles."""
    jax.block_until_ready(f())
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        jax.block_until_ready(f())
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return np.min(times, axis=0) / normals * 1e9


# The floor: drawing the normals, and for dense K the product with its factor.


def numpy_normals(bit_generator, steps):
    """float32 normals from one generator a core, in threads, a step at a time into the same memory."""
    generators = [np.random.Generator(bit_generator(i)) for i in range(CORES)]
    parts = [np.empty((RUNS // CORES, D), np.float32) for _ in generators]

    def work(i):
        for _ in range(steps):
            generators[i].standard_normal(dtype=np.float32, out=parts[i])

    def draw():
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(work, range(CORES)))

    return draw


def jax_normals(impl, steps):
    """jax.random.normal of one key for every step."""

    @jax.jit
    def draw(key):
        def step(last, i):
            return jax.random.normal(jax.random.fold_in(key, i), (RUNS, D)), None

        return jax.lax.scan(step, jnp.zeros((RUNS, D)), jnp.arange(steps))[0]

    return lambda: draw(jax.random.key(0, impl=impl))


def own_normals(generator, steps, factor=None):
    """simulate's own, in its blocks of steps; times ``factor`` if there is one."""
    block = block_length(RUNS * D * 4)
    keys = jax.random.key_data(jax.vmap(lambda run: normals.run_key(0, run))(jnp.arange(RUNS, dtype=jnp.uint32)))

    @jax.jit
    def draw(keys, factor):
        def pairs(index):
            return normals.normal_pairs(keys, index, 1, D, generator)

        def step(carry, index):
            z = normals.unpack_pairs(carry[0], D)
            return (pairs(index), z if factor is None else z @ factor), None

        index = jnp.arange(steps // block * block, dtype=jnp.uint32).reshape(-1, block)
        first = pairs(index[0])
        return jax.lax.scan(step, (first, jnp.zeros((block, RUNS, 1, D))), index)[0][1]

    return lambda: draw(keys, factor)


# The loops that people write. signSGD, 64 runs, risk before every step.


def numpy_loop(sigma, steps):
    """(a) A loop over steps in NumPy."""

    def run():
        rng, star = np.random.default_rng(0), np.ones(D) / np.sqrt(D)
        theta, risk = np.zeros((RUNS, D)), []
        for _ in range(steps):
            risk.append(0.5 * (((theta - star) * sigma) ** 2).sum(axis=1))
            x = rng.standard_normal((RUNS, D)) * sigma
            y = x @ star + 0.3 * rng.standard_normal(RUNS)
            gradient = ((x * theta).sum(axis=1) - y)[:, None] * x
            theta = theta - LR / D * np.sign(gradient)
        return risk

    return run


def _step(sigma, delta, key):
    """One step of one run in JAX, as plainly as possible."""
    own, noise = jax.random.split(key)
    x = sigma * jax.random.normal(own, (D,))
    gradient = (x @ delta - 0.3 * jax.random.normal(noise)) * x
    return delta - LR / D * jnp.sign(gradient), 0.5 * jnp.sum((sigma * delta) ** 2)


def jitted_step_loop(sigma, steps):
    """(b) A Python loop with one jitted step, over runs by vmap."""
    step = jax.jit(jax.vmap(lambda delta, key: _step(jnp.asarray(sigma, jnp.float32), delta, key)))
    split = jax.jit(lambda key: jax.random.split(key, RUNS))

    def run():
        key, delta, risk = jax.random.key(0), jnp.full((RUNS, D), -1 / np.sqrt(D)), []
        for i in range(steps):
            delta, now = step(delta, split(jax.random.fold_in(key, i)))
            risk.append(now)
        return jax.block_until_ready(risk)

    return run


def scan_vmap(sigma, steps):
    """(c) lax.scan over steps, vmap over runs."""

    scales = jnp.asarray(sigma, jnp.float32)

    @jax.jit
    @jax.vmap
    def run(key):
        start = jnp.full(D, -1 / np.sqrt(D), jnp.float32)
        keys = jax.random.split(key, steps)
        return jax.lax.scan(lambda delta, key: _step(scales, delta, key), start, keys)

    return lambda: run(jax.random.split(jax.random.key(0), RUNS))


def simulated(covariance, rules, lr, steps, **options):
    """The risk is recorded every 50 steps, as by default up to T = 10."""
    p, t = problem(covariance), np.linspace(0, steps / D, steps // 50 + 1)
    return lambda: sl.simulate(p, rules, lr, t=t, n_runs=RUNS, **options)


# Tables


def table(title, rows):
    lines = [title, f"  {'':44s}{'wall ns':>9s}{'cpu ns':>9s}"]
    return "\n".join([*lines, *(f"  {name:44s}{wall:9.2f}{cpu:9.2f}" for name, (wall, cpu) in rows.items())])


def ratios(pairs, rows):
    return "\n".join(
        f"  {text:60s} wall {rows[a][0] / rows[b][0]:6.2f}  cpu {rows[a][1] / rows[b][1]:6.2f}" for text, a, b in pairs
    )


def diagonal():
    """Diagonal K against the floor and the loops."""
    K, normals = sl.covariance.power_law(D, 0.7), D * RUNS * STEPS
    makers = {
        "floor: NumPy SFC64, threads": numpy_normals(np.random.SFC64, STEPS),
        "floor: NumPy Philox, threads": numpy_normals(np.random.Philox, STEPS),
        "floor: jax.random.normal, threefry": jax_normals("threefry2x32", STEPS),
        "floor: jax.random.normal, rbg": jax_normals("rbg", STEPS),
        "floor: simulate's own, threefry": own_normals("threefry", STEPS),
        "floor: simulate's own, fast": own_normals("fast", STEPS),
        "simulate sign_sgd": simulated(K, RULES[0], LR, STEPS),
        "simulate sign_sgd, fast": simulated(K, RULES[0], LR, STEPS, generator="fast"),
        "simulate sgd": simulated(K, RULES[1], LR, STEPS),
        "simulate adam": simulated(K, RULES[2], LR, STEPS),
        "simulate 8 rates x 3 rules": simulated(K, RULES, RATES, STEPS),
        "(a) NumPy loop": numpy_loop(K.std, STEPS),
        "(b) JAX loop, jitted step": jitted_step_loop(K.std, STEPS),
        "(c) lax.scan and vmap": scan_vmap(K.std, STEPS),
    }
    rows = {name: timed(f, normals, repeats=3) for name, f in makers.items()}
    libraries = [name for name in rows if "NumPy SFC" in name or "NumPy Phi" in name or "jax.random" in name]
    best = min(libraries, key=lambda name: rows[name][0])
    one = "simulate sign_sgd"
    compared = [
        (f"simulate / {best.removeprefix('floor: ')}", one, best),
        ("simulate / its own draws", one, "floor: simulate's own, threefry"),
        ("simulate fast / its own draws", "simulate sign_sgd, fast", "floor: simulate's own, fast"),
        *((f"8 rates x 3 rules / one {rule}", "simulate 8 rates x 3 rules", f"simulate {rule}") for rule in
          ("sign_sgd", "sgd", "adam")),
        *((f"{loop} / simulate", loop, one) for loop in rows if loop.startswith("(")),
    ]  # fmt: skip
    return "\n".join([table(f"Diagonal K, d = {D}, {RUNS} runs, {STEPS} steps", rows), ratios(compared, rows)])


def dense():
    """Dense K against normals and the matrix product."""
    K, normals = sl.covariance.power_law(D, 0.7, rotate=True), D * RUNS * DENSE_STEPS
    factor = jnp.asarray(K.factor.T, jnp.float32)
    makers = {
        "floor: own normals and matrix product": own_normals("threefry", DENSE_STEPS, factor),
        "simulate sign_sgd": simulated(K, RULES[0], LR, DENSE_STEPS),
        "simulate adam": simulated(K, RULES[2], LR, DENSE_STEPS),
        "simulate 8 rates x 3 rules": simulated(K, RULES, RATES, DENSE_STEPS),
    }
    rows = {name: timed(f, normals, repeats=3) for name, f in makers.items()}
    compared = [
        ("simulate / (own normals and matrix product)", "simulate sign_sgd", "floor: own normals and matrix product"),
        ("8 rates x 3 rules / one sign_sgd", "simulate 8 rates x 3 rules", "simulate sign_sgd"),
    ]
    return "\n".join([table(f"Dense K, d = {D}, {RUNS} runs, {DENSE_STEPS} steps", rows), ratios(compared, rows)])


def scaling():
    """Cost and memory against d, each in a process of its own."""
    lines = [f"signSGD, {RUNS} runs, against d", f"  {'':16s}{'d':>8s}{'wall ns':>9s}{'cpu ns':>9s}{'peak MB':>9s}"]
    for name in ("diagonal", "ar1", "spiked"):
        for d in (1_000, 10_000, 100_000):
            found = subprocess.run([sys.executable, __file__, name, str(d)], check=True, capture_output=True, text=True)
            wall, cpu, peak = map(float, found.stdout.split()[-3:])
            lines.append(f"  {name:16s}{d:8d}{wall:9.2f}{cpu:9.2f}{peak:9.0f}")
    return "\n".join(lines)


def one_size(name, d):
    """Prints ns a normal and the peak memory of this process, for a few steps in dimension d."""
    make = {"diagonal": lambda: sl.covariance.power_law(d, 0.5), "ar1": lambda: sl.covariance.ar1(d, 0.5),
            "spiked": lambda: sl.covariance.spiked(d, [4.0, 2.0])}  # fmt: skip
    p, steps = problem(make[name]()), max(16, 320_000 // d)
    t = np.linspace(0, steps / d, 5)
    wall, cpu = timed(lambda: sl.simulate(p, RULES[0], LR, t=t, n_runs=RUNS, chunk_steps=16), d * RUNS * steps, 3)
    print(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one_size(sys.argv[1], int(sys.argv[2]))
    else:
        write("simulate", "\n\n".join([header(), diagonal(), dense(), scaling()]))
