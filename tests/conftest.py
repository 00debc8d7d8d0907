"""Problems and laws that several test files use, and a memory of compiled code for the whole test run."""

import gc
import os
from pathlib import Path
from types import SimpleNamespace

# Before JAX is imported, here and in the processes that tests start: most of the time of a run goes into compiling, and
# processes and later runs compile the same code: single operations, of which there are thousands, too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ["SDELIMIT_CACHE"] = "off"  # the command line keeps nothing in the user's folder

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

import sdelimit as sl
from sdelimit.numerics import normals
from sdelimit.numerics.precision import x64
from sdelimit.sde.equations import path_stepper

gc.freeze()  # what was imported stays: to look through it again and again takes seconds

LAWS = {
    "gaussian": (sl.noise.Gaussian(0.5), stats.norm(scale=0.5)),
    "student_t(1.5)": (sl.noise.StudentT(1.5, 0.3), stats.t(1.5, scale=0.3)),
    "student_t(2)": (sl.noise.StudentT(2.0, 0.3), stats.t(2.0, scale=0.3)),
    "student_t(7.3)": (sl.noise.StudentT(7.3, 1.2), stats.t(7.3, scale=1.2)),
    "student_t(60)": (sl.noise.StudentT(60.0, 0.4), stats.t(60.0, scale=0.4)),
    "cauchy": (sl.noise.Cauchy(0.3), stats.cauchy(scale=0.3)),
    "laplace": (sl.noise.Laplace(0.4), stats.laplace(scale=0.4)),
    "uniform": (sl.noise.Uniform(0.8), stats.uniform(loc=-0.8, scale=1.6)),
    "density": (
        sl.noise.Density(lambda e: np.exp(-np.abs(e) / 0.4) / 0.8),
        stats.laplace(scale=0.4),
    ),
}
"""Laws with a density, next to SciPy's version of each."""

MIXTURE = sl.noise.GaussianMixture([0.3, 0.5, 0.2], [-1.0, 0.2, 1.5], [0.5, 0.1, 0.8])


def label_noise(law, n, seed=0):
    """(n,) samples of a law in float32, in draws of one size: a sampler of Student's law compiles for seconds."""
    draws = [law.sample(jax.random.fold_in(jax.random.key(seed), part), (100_000,)) for part in range(-(-n // 100_000))]
    return np.concatenate(draws)[:n]


def heteroscedastic(covariance, seed=0):
    """The covariance with coordinates rescaled by factors between 1/2 and 2."""
    factors = np.exp(np.random.default_rng(seed).uniform(np.log(0.5), np.log(2), covariance.d))
    return covariance.scaled(factors)


def assert_mean_follows(runs, theory, bias_times_d=5.0):
    """The mean of runs is within 4 standard errors plus O(1/d) of the theory at all times.

    Less than 5% of the theory may hide in that: a coefficient that is wrong by 5% shows.
    """
    expected = theory.at(runs.t)
    allowed = 4 * runs.standard_error + bias_times_d / runs.problem.d * expected
    assert np.max(allowed / expected) < 0.05
    gap = np.abs(runs.mean - expected)
    worst = int(np.argmax(gap / allowed))
    assert np.all(gap <= allowed), f"gap {gap[worst] / expected[worst]:.2%} at t = {runs.t[worst]:.3g}"


def one_step(problem, limit, dt, eta, n_paths=50_000):
    """State of many paths, all from t = 0, after one step of the SDE, and their risks."""
    R = problem.initial_risk
    theory = SimpleNamespace(t=np.array([0.0, dt]), risk=np.array([R, R]), lr=np.array([eta, eta]))
    with x64():
        advance, state, _ = path_stepper(problem, limit, theory)
        keys = jax.vmap(lambda run: normals.run_key(0, run))(jnp.arange(n_paths, dtype=jnp.uint32))
        states = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), (n_paths, *np.shape(x))), state)
        moved = advance(states, keys, np.zeros(1, np.uint32), np.array([dt]), np.array([eta]))
        return jax.tree.map(np.asarray, moved)


def assert_mean_and_covariance(y, mean, covariance, bias):
    """Of the rows of ``y``: along ``mean`` and in trace, within 4 standard errors plus what a long step misses.

    An error of 5% in the exponent of a decay by at least a quarter would fail, and one of 5% in the noise.
    """
    along = y @ mean / (mean @ mean)
    error = 4 * along.std() / np.sqrt(len(y)) + bias
    assert error < 0.01 and abs(along.mean() - 1) < error
    squares = np.sum((y - y.mean(axis=0)) ** 2, axis=1) / np.trace(covariance)
    error = 4 * squares.std() / np.sqrt(len(y)) + bias
    assert error < 0.04 and abs(squares.mean() - 1) < error
    np.testing.assert_allclose(np.cov(y.T), covariance, atol=0.05 * np.trace(covariance) / len(mean))


def numpy_normals(key, step, batch_size, d, rounds=20):
    """(batch_size, d) normals of one step of a run: Threefry from JAX, Box and Muller's formula in float64.

    With 13 rounds the hash is this file's own loop in Python integers.
    """
    half = -(-d // 2)
    k = [int(word) for word in jax.random.key_data(key)]
    counts = np.array([[step + 1, position] for position in range(batch_size * half)], np.uint32).T
    if rounds == 20:
        hashed = threefry_2x32(np.array(k, np.uint32), counts.ravel())
        words = np.asarray(hashed, np.float64).reshape(2, batch_size, half)
    else:
        words = np.array([_threefry(*k, *map(int, c), rounds) for c in counts.T], np.float64).T
        words = words.reshape(2, batch_size, half)
    r = np.sqrt(-2 * np.log((words[0] + 0.5) / 2.0**32))
    angle = np.floor(words[1] / 4) * (np.pi / 2 / 2.0**30)
    real = r * np.cos(angle) * (1 - 2 * (words[1] % 2))
    imag = r * np.sin(angle) * (1 - 2 * (words[1] // 2 % 2))
    return np.concatenate([real, imag], axis=-1)[:, :d]


def _threefry(k0, k1, x0, x1, rounds):
    mask, keys = 2**32 - 1, (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = (x0 + k0) & mask, (x1 + k1) & mask
    for i in range(rounds):
        by = (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]
        x0 = (x0 + x1) & mask
        x1 = ((x1 << by | x1 >> (32 - by)) & mask) ^ x0
        if i % 4 == 3:
            n = i // 4 + 1
            x0, x1 = (x0 + keys[n % 3]) & mask, (x1 + keys[(n + 1) % 3] + n) & mask
    return x0, x1


@pytest.fixture(scope="session")
def small_problem():
    """A 60-dimensional correlated, heteroscedastic problem with Gaussian noise."""
    return sl.LinearRegression(heteroscedastic(sl.covariance.ar1(60, 0.5)), sl.noise.Gaussian(0.4))
