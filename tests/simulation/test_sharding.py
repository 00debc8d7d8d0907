"""Runs spread over devices and processes: the same results as on one device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.simulation import loop
from sdelimit.simulation.sharding import RunSharding

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
import numpy as np
import jax
if len(sys.argv) > 2:
    jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
import sdelimit as sl
problem = sl.LinearRegression(sl.covariance.ar1(48, 0.5), sl.noise.Laplace(0.3))
rows = sl.data.from_arrays(np.random.default_rng(0).standard_normal((300, 6)), np.arange(300) / 300)
runs = sl.simulate(problem, [sl.sign_sgd(), sl.adam()], [[0.5, 0.2], 0.3], 1.0, n_runs=7, seed=3, sharpness=True)
fused = sl.simulate(problem, sl.sgd(), 0.3, t=[0.5], n_runs=7, path="fused")
passes = sl.simulate(rows, sl.sgd(), 0.2, 4.0, n_runs=7)
if jax.process_index() == 0:
    np.savez(sys.argv[1], sign=runs[0].risk, adam=runs[1].risk, sharp=runs[1].sharpness, data=passes.risk,
             fused=fused.risk, devices=[r.details["devices"] for r in (*runs, passes)])
"""


def environment(**extra):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **extra}


def results(folder, *arguments, **extra):
    """What the program saves, run once for each item of ``arguments``, all at the same time."""
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder / "runs.npz"), *own], env=environment(**extra))
        for own in arguments
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * len(processes)
    return np.load(folder / "runs.npz")


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("one") / "runs.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["program", path])
        exec(PROGRAM, {})
    found = np.load(path)
    assert found["devices"].tolist() == [1, 1, 1]
    return found


def assert_same(found, expected):
    assert found["sign"].shape == (2, 7, 49)
    for name in ("sign", "adam", "sharp", "data", "fused"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5)


def test_four_devices_give_the_results_of_one_and_do_not_talk_to_each_other(tmp_path, one_device):
    """7 runs on 4 devices; no collective operation in the compiled steps."""
    dump = tmp_path / "hlo"
    flags = f"--xla_force_host_platform_device_count=4 --xla_dump_to={dump} --xla_dump_hlo_as_text"
    found = results(tmp_path, [], XLA_FLAGS=flags)
    assert found["devices"].tolist() == [4, 4, 4]
    assert_same(found, one_device)
    programs = [p.read_text() for p in dump.glob("*after_optimizations.txt")]
    steps = [text for text in programs if " while(" in text and "num_partitions=4" in text]
    assert steps
    for text in steps:
        assert not any(word in text for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute"))


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(tmp_path, one_device):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    found = results(tmp_path, [address, "0"], [address, "1"], XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert found["devices"].tolist() == [4, 4, 4]
    assert_same(found, one_device)


def test_one_run_uses_one_device():
    runs = sl.simulate(sl.LinearRegression(np.ones(3)), sl.sgd(), 0.3, 1.0, n_runs=1)
    assert runs.details["devices"] == 1


def test_runs_that_do_not_fit_in_cache_go_one_group_after_another(monkeypatch):
    problem = sl.LinearRegression(sl.covariance.ar1(16, 0.5), sl.noise.Gaussian(0.3))
    together = sl.simulate(problem, sl.sgd(), [0.3, 0.1], 2.0, n_runs=7, sharpness=True)
    monkeypatch.setattr(loop, "GROUP_BYTES", 3 * 16 * 4)
    groups = sl.simulate(problem, sl.sgd(), [0.3, 0.1], 2.0, n_runs=7, sharpness=True)
    np.testing.assert_allclose(together.risk, groups.risk, rtol=2e-5)
    np.testing.assert_allclose(together.sharpness, groups.sharpness, rtol=2e-5)


@pytest.mark.parametrize(("n_runs", "largest"), [(7, 3), (6, 3), (5, 100), (4, 1), (3, 0)])
def test_groups_are_equal_and_hold_every_run_once(n_runs, largest):
    groups = RunSharding(n_runs).groups(largest)
    assert [i for g in groups for i in range(g.first, g.first + g.n_runs)] == list(range(n_runs))
    assert len({g.rows for g in groups}) == 1 and groups[0].rows <= max(largest, 1)
    assert all(0 < g.n_runs <= g.rows for g in groups)
