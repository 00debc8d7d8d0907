"""Compiled programs: shared by what computes the same, and bounded in number."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdelimit.limits.measured.scalar_gradients import trajectory
from sdelimit.numerics.jit import PROGRAMS, jit

MAPS = Path("/proc/self/maps")
linux = pytest.mark.skipif(not MAPS.exists(), reason="counts memory maps, as Linux lists them")


def n_maps():
    return len(MAPS.read_text().splitlines())


def momentum(decay):
    """A rule that no other call has: its functions are its own."""

    def update(g, m, params=None):
        m = decay * m + g
        return m, m

    return optax.GradientTransformation(jnp.zeros_like, update)


def moments(decay, gradients):
    m, found = np.zeros(gradients.shape[1]), []
    for g in gradients:
        m = decay * m + g
        found.append(m)
    return np.array(found)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(PROGRAMS, "size", 8)
    monkeypatch.setattr(PROGRAMS, "spare", 4)


def test_numbers_share_a_program_and_what_names_it_does_not():
    traced = []

    @jit
    def scaled(x, factor, power):
        traced.append(power)
        return factor * x**power

    for factor in (2.0, 3.0):
        for power in (1, 2):
            for n in (3, 4):
                np.testing.assert_allclose(
                    scaled(np.arange(float(n)), factor, power=power), factor * np.arange(n) ** power
                )
    assert traced == [1, 1, 2, 2]


@pytest.mark.long
@linux
def test_what_no_rule_uses_any_more_is_dropped(few):
    """Memory maps of compiled code stay bounded; before, every rule left its own behind for good."""
    gradients = np.random.default_rng(0).standard_normal((5, 2))
    seen = []
    for decay in np.linspace(0.1, 0.9, 30):
        found = trajectory(momentum(float(decay)), gradients, np.zeros(2))
        np.testing.assert_allclose(found, moments(decay, gradients), atol=1e-5)
        seen.append(n_maps())
        assert len(PROGRAMS) <= 8
    each = max(np.diff(seen[8:]))
    assert each > 5  # a program takes maps ...
    assert max(seen[14:]) <= max(seen[:14]) + each  # ... and gives them back


@pytest.mark.long
def test_a_program_that_was_dropped_is_compiled_again(few):
    gradients = np.random.default_rng(0).standard_normal((5, 2))
    rules = [momentum(decay) for decay in (0.2, 0.7)]
    for _ in range(2):
        for rule, decay in zip(rules, (0.2, 0.7), strict=True):
            np.testing.assert_allclose(trajectory(rule, gradients, np.zeros(2)), moments(decay, gradients), atol=1e-5)
        for other in range(9):
            trajectory(momentum(other / 10), gradients, np.zeros(2))


MANY = """
import jax.numpy as jnp
import optax
import sdelimit as sl
from pathlib import Path

def soft_sign(decay):
    def init(params):
        return jnp.zeros_like(params), jnp.zeros_like(params)

    def update(g, state, params=None):
        m = decay * state[0] + (1 - decay) * g
        v = decay * state[1] + (1 - decay) * jnp.abs(g)
        return m / (jnp.abs(m) + v + 1e-20), (m, v)

    return optax.GradientTransformation(init, update)

problem = sl.LinearRegression([1.0, 1.0])
for i in range(300):
    rule = sl.from_optax(soft_sign(0.5), relative_error=0.5)
    if i % 10 == 0:
        assert rule.limit(problem, 1).phi(0.5) > 0
    if i % 50 == 49:
        print(len(Path("/proc/self/maps").read_text().splitlines()), flush=True)
"""


@linux
@pytest.mark.slow
def test_one_process_makes_three_hundred_rules():
    """Linux lets a process have 65,530 memory maps; 70 rules used them up, and the next one ended the process."""
    made = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    maps = list(map(int, made.stdout.split()))
    assert len(maps) == 6 and max(maps) < 32_000
    assert maps[-1] < 1.1 * max(maps[:3])


SOLVES = """
from pathlib import Path
import numpy as np
import sdelimit as sl

def resident():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

rng = np.random.default_rng(0)
for i in range(200):
    factor = rng.standard_normal((80, 160))
    problem = sl.LinearRegression(factor @ factor.T / 160, sl.noise.Gaussian(0.3 + i / 500), seed=i)
    sl.solve_ode(problem, sl.sign_sgd(), 0.3, 2.0, aligned=False)
    sl.solve_ode(problem, sl.sgd(), 0.3, 2.0, aligned=False)
    if i % 40 == 39:
        print(resident(), len(Path("/proc/self/maps").read_text().splitlines()), flush=True)
"""


@linux
@pytest.mark.long
def test_one_process_solves_two_hundred_problems():
    """Each has a covariance, modes and a noise law of its own: what is remembered of them is bounded."""
    made = subprocess.run([sys.executable, "-c", SOLVES], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    megabytes, maps = np.array(made.stdout.split(), float).reshape(-1, 2).T
    assert megabytes.size == 5
    # One problem's K, modes and kernels take half a megabyte: 120 of them, kept, would be 60.
    assert megabytes[-1] - megabytes[1] < 30
    assert maps[-1] < 1.1 * maps[1] + 100
