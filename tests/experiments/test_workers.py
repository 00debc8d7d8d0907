"""Sweeps whose cells are computed by others: the same table, and nothing lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.experiments import executor as executors
from sdelimit.experiments import worker

pytestmark = pytest.mark.long

GRID = {
    "optimizer": ["sgd", "sign_sgd"],
    "lr": [0.3, 40.0],
    "d": 8,
    "noise": ["gaussian:0.3", "gaussian:0.5"],
    "t_max": 4.0,
    "n_runs": 3,
    "points": 9,
}
"""As in test_sweep.py: SGD diverges at the second rate."""
CONFIG = """
optimizer = ["sgd", "sign_sgd"]
lr = [0.3, 40.0]
d = 8
noise = ["gaussian:0.3", "gaussian:0.5"]
t_max = 4.0
n_runs = 3
points = 9
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return sl.sweep(tmp_path_factory.mktemp("whole"), **GRID)


def assert_same(folder, whole):
    assert (folder / "table.csv").read_bytes() == (whole.folder / "table.csv").read_bytes()
    result = sl.read_sweep(folder)
    for index in range(whole.total):
        for name, values in whole.curves(index).items():
            np.testing.assert_array_equal(result.curves(index)[name], values)


class Bare:
    """As little as an executor can be."""

    def __init__(self, refused=None, failed=()):
        self.refused, self.failed, self.given = refused, failed, []

    def submit(self, function, *arguments):
        index = arguments[0]
        if self.refused is not None and len(self.given) >= self.refused:
            raise RuntimeError("shut down")
        self.given.append(index)
        return Result(function, arguments, index in self.failed)


class Result:
    def __init__(self, function, arguments, fails):
        self.function, self.arguments, self.fails = function, arguments, fails

    def result(self):
        if self.fails:
            raise ConnectionError("worker gone")
        return self.function(*self.arguments)


def test_any_executor_gives_the_same_table(tmp_path, whole):
    bare = Bare()
    sl.sweep(tmp_path, **GRID, executor=bare)
    assert_same(tmp_path, whole)
    assert bare.given == list(range(8))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Bare(failed=(2,)), r"has not done cell 2 \(ConnectionError: worker gone\)"),
        (Bare(refused=3), r"has not done 5 cells \(RuntimeError: shut down\)"),
        (Bare(refused=0), "has not done 8 cells"),
    ],
    ids=["a lost cell", "broken after three", "broken at once"],
)
def test_what_an_executor_loses_is_computed_here(broken, message, tmp_path, whole):
    with pytest.warns(UserWarning, match=message):
        sl.sweep(tmp_path, **GRID, executor=broken)
    assert_same(tmp_path, whole)


def test_cells_are_written_as_they_are_done(tmp_path, whole, monkeypatch):
    """In any order, with no more given to the executor than are waited for."""
    monkeypatch.setattr(executors, "AHEAD", 3)
    given, seen = [], []

    class Late:
        def submit(self, function, *arguments):
            future = Future()
            given.append((future, function, arguments))
            if len(given) == 3:
                while given:
                    seen.append(len(list((tmp_path / "cells").glob("*.npz"))))
                    last, f, a = given.pop()
                    last.set_result(f(*a))
            return future

    grid = {**GRID, "noise": ["gaussian:0.3", "gaussian:0.5", "none"]}
    result = sl.sweep(tmp_path, **grid, executor=Late())
    assert len(result.rows) == 12 and [row["cell"] for row in result.rows] == list(range(12))
    assert seen[0] == 0 and seen[-1] >= 3


def test_workers_of_other_versions_are_refused(tmp_path):
    class Other(Bare):
        def submit(self, function, *arguments):
            return super().submit(lambda *a: (*function(*a)[:2], {"jax": "0.1"}), *arguments)

    with pytest.raises(ValueError, match=r"executor: its workers must have the versions .*'jax': '0.1'}"):
        sl.sweep(tmp_path, **GRID, executor=Other())


def test_input_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("residuals.csv", np.linspace(-1, 1, 9))
    (tmp_path / "elsewhere").mkdir()

    class Elsewhere(Bare):
        def submit(self, function, *arguments):
            with contextlib.chdir(tmp_path / "elsewhere"):
                future = Future()
                future.set_result(function(*arguments))
                return future

    grid = {**GRID, "lr": 0.3, "optimizer": "sgd", "noise": "residuals.csv"}
    rows = sl.sweep(tmp_path / "out", **grid, executor=Elsewhere()).rows
    assert rows[0]["status"] == "ok" and rows[0]["noise"] == "residuals.csv"


def end(*arguments):
    os._exit(1)


class Dying:
    """Processes of which one dies at a cell."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, function, *arguments):
        return self.pool.submit(end if arguments[0] == 3 else function, *arguments)


@pytest.mark.slow
def test_processes_give_the_same_table_and_may_be_killed(tmp_path, whole):
    sl.sweep(tmp_path / "two", **GRID, workers=2)
    assert_same(tmp_path / "two", whole)
    with executors.processes(2) as pool, pytest.warns(UserWarning, match="BrokenProcessPool"):
        assert isinstance(pool, ProcessPoolExecutor)
        sl.sweep(tmp_path / "killed", **GRID, executor=Dying(pool))
    assert_same(tmp_path / "killed", whole)


def descendants(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


def alive(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def await_that(condition, seconds=180):
    end_of = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_of
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command_and_it_goes_on(sent, tmp_path, whole):
    (tmp_path / "sweep.toml").write_text(CONFIG)
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{listen}; from sdelimit.cli import run; run()"
    command = [sys.executable, "-c", script, "sweep", "sweep.toml", "--out", "out", "--workers", "2"]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    cells = tmp_path / "out" / "cells"
    with subprocess.Popen(command, **options) as process:
        await_that(lambda: any(cells.glob("*.npz")))
        children = descendants(process.pid)
        assert len(children) >= 2
        process.send_signal(sent)
        _, error = process.communicate(timeout=60)
    assert process.returncode == (130 if sent == signal.SIGINT else -sent), error
    await_that(lambda: not any(map(alive, children)), 20)
    if sent == signal.SIGINT:
        assert "Stopped." in error and "goes on" in error
    again = subprocess.run(command, **options)
    assert again.returncode == 0, again.stderr
    assert_same(tmp_path / "out", whole)


@pytest.mark.slow
def test_dask_workers_give_the_same_table_and_may_be_killed(tmp_path, whole):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        pids = list(client.run(os.getpid).values())

        class Killing:
            """The client's executor, of which a worker is killed when the fourth cell is given."""

            def __init__(self):
                self.executor, self.count = client.get_executor(), 0

            def submit(self, *given):
                self.count += 1
                future = self.executor.submit(*given)
                if self.count == 4:
                    os.kill(pids[0], signal.SIGKILL)
                return future

        sl.sweep(tmp_path / "killed", **GRID, executor=Killing())
        assert_same(tmp_path / "killed", whole)
        (tmp_path / "sweep.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "sdelimit", "sweep", "sweep.toml", "--out", "out", "--dask"]
        done = subprocess.run([*command, cluster.scheduler_address], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "out", whole)


def test_a_worker_has_one_thread_and_leaves_interrupts_to_its_parent():
    """In a process of its own: it changes signals and the environment."""
    code = """
import multiprocessing, os, signal, sys
from sdelimit.experiments import worker
assert "jax" not in sys.modules and "numpy" not in sys.modules
alive, ours = multiprocessing.Pipe(duplex=False)
worker.start(alive, None)
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
assert "--xla_cpu_multi_thread_eigen=false" in os.environ["XLA_FLAGS"] and os.environ["NPROC"] == "1"
import jax.numpy as jnp
jnp.ones(3).sum()
print("ready", flush=True)
ours.close()
signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("ready\n", 1), done.stderr
    assert worker.THREADS["OMP_NUM_THREADS"] == "1"
