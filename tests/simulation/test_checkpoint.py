"""Simulations that are stopped and go on."""

import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.simulation import checkpoint, scan

PROBLEM = sl.LinearRegression(sl.covariance.power_law(12, 0.5), sl.noise.StudentT(1.5, 0.3))
SETTINGS = {"t_max": 5.0, "n_runs": 3, "chunk_steps": 7, "seed": 4}
RULES = [sl.sign_sgd(), sl.adam(0.9, 0.99)]
RATES = [[0.5, 0.2], 0.3]


def run(checkpoint=None, rules=RULES, rates=RATES, problem=PROBLEM, **changed):
    return sl.simulate(problem, rules, rates, checkpoint=checkpoint, **{"sharpness": True, **SETTINGS, **changed})


def interrupt_after(monkeypatch, saves):
    """Ctrl-C as soon as this many chunks have been saved; every chunk is."""
    monkeypatch.setattr(checkpoint, "SHARE", np.inf)
    keep, count = checkpoint.Checkpoint.keep, iter(range(saves))

    def interrupted(*arguments, **named):
        keep(*arguments, **named)
        if next(count, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "keep", interrupted)


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def assert_same(some, others):
    for a, b in zip(some, others, strict=True):
        for name in ("t", "risk", "lr", "curvature", "squared_length"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_an_interrupted_run_goes_on_to_bitwise_the_same_result(uninterrupted, tmp_path, monkeypatch):
    path = tmp_path / "a folder with ünïcode" / "run"
    for saves in (0, 3, 1):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_after(patch, saves)
            run(path)
    assert int(np.load(path)["step"]) == 7 * 7
    path.with_name(".run.tmp").write_text("left by a killed process")
    assert_same(run(path), uninterrupted)
    assert os.listdir(path.parent) == ["run"]


def test_a_finished_checkpoint_gives_its_result_without_another_step(uninterrupted, tmp_path, monkeypatch):
    run(tmp_path / "run")
    monkeypatch.setattr(scan, "_advance", None)
    assert_same(run(tmp_path / "run"), uninterrupted)


def test_saving_is_spared_when_it_would_take_too_long(tmp_path, monkeypatch):
    saves, replacing = [], checkpoint.replacing
    monkeypatch.setattr(checkpoint, "replacing", lambda path: saves.append(path) or replacing(path))
    monkeypatch.setattr(checkpoint, "SHARE", 1e-9)
    run(tmp_path / "run")
    assert len(saves) == 2, "the first chunk and the last"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"n_runs": 4}, "n_runs"),
        ({"seed": 5}, "seed"),
        ({"t_max": 6.0}, "t"),
        ({"batch_size": 2}, "batch_size"),
        ({"chunk_steps": 8}, "chunk_steps"),
        ({"rates": [[0.5, 0.3], 0.3]}, "lr"),
        ({"rules": [sl.sign_sgd(), sl.adam(0.9, 0.98)]}, r"optimizer\[1\]"),
        ({"problem": sl.LinearRegression(sl.covariance.power_law(12, 0.4), PROBLEM.noise)}, "problem.covariance"),
        ({"problem": sl.LinearRegression(PROBLEM.covariance, sl.noise.StudentT(1.6, 0.3))}, "problem.noise"),
        ({"problem": sl.LinearRegression(PROBLEM.covariance, PROBLEM.noise, seed=1)}, "problem.theta_star"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changed, named, finished):
    with pytest.raises(ValueError, match=f"belongs to another run: .*{named}"):
        run(finished, **changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    run(path)
    return path


CLASSIFIER = sl.LogisticRegression(PROBLEM.covariance)


@pytest.mark.long
def test_runs_on_other_losses_go_on_with_their_overlaps(tmp_path, monkeypatch):
    given = {"problem": CLASSIFIER, "sharpness": False}
    whole = run(**given)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 3)
        run(tmp_path / "run", **given)
    again = run(tmp_path / "run", **given)
    for one, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one.risk, other.risk)
        np.testing.assert_array_equal(one.overlaps, other.overlaps)
        assert np.ptp(one.overlaps[..., 0]) > 0
    soft = sl.LogisticRegression(PROBLEM.covariance, labels="soft")
    for problem, named in ((soft, "problem.loss"), (sl.LinearRegression(PROBLEM.covariance), "problem.loss")):
        with pytest.raises(ValueError, match=f"belongs to another run: .*{named}"):
            run(tmp_path / "run", problem=problem, sharpness=False)


def test_losses_are_told_apart_by_what_they_do():
    """Functions of a user may have one name."""

    def identity(loss, **given):
        problem = sl.SingleIndex(PROBLEM.covariance, loss, **given)
        return checkpoint.checkpoint_of("run", problem, [], 1).identity["problem.loss"]

    def plus(u_star, eps):
        return u_star + eps

    def square(u, y):
        return (u - y) ** 2

    losses = [lambda u, v, e, c=c: jnp.log(jnp.cosh(c * (u - v - e))) for c in (1.0, 1.5)]
    labels = [plus, lambda v, e: v - e]
    found = [*map(identity, losses), *(identity(square, label=label) for label in labels)]
    built_in = [sl.RobustRegression(PROBLEM.covariance, threshold=c) for c in (0.5, 0.6)]
    found += [checkpoint.checkpoint_of("run", problem, [], 1).identity["problem.loss"] for problem in built_in]
    assert len(set(found)) == len(found)
    assert identity(losses[0]) == found[0] and identity(square, label=plus) == found[2]


def test_optax_rules_are_told_apart_by_what_they_do():
    def describe(transform):
        rule = sl.Optimizer("same name", transform, lambda problem, batch_size: None)
        return checkpoint._describe(rule, PROBLEM, batch_size=1)

    rules = [optax.scale_by_rms(0.9), optax.scale_by_rms(0.8), optax.clip(1.0), optax.clip(2.0), optax.identity()]
    assert len({describe(rule) for rule in rules}) == len(rules)
    assert describe(optax.clip(1.0)) == describe(optax.clip(1.0))
    by_problem = [describe(lambda problem, batch_size, c=c: optax.clip(c)) for c in (1.0, 2.0)]
    assert by_problem[0] != by_problem[1] and by_problem[0] == describe(optax.clip(1.0))


@pytest.mark.long
def test_chains_and_rearranged_blocks_are_told_apart(tmp_path):
    """A chain asks for extra arguments; blocks in another order have the same numbers."""
    first, second = (sl.from_optax(optax.chain(optax.scale_by_sign(), optax.scale(b))) for b in (1.0, 0.1))
    chains = [checkpoint._describe(rule, PROBLEM, 1) for rule in (first, second)]
    assert chains[0] != chains[1]
    again = [checkpoint._describe(sl.s_adam(0.5, 0.8), PROBLEM, 1) for _ in range(2)]
    assert again[0] == again[1]
    long, short = sl.covariance.ar1(8, 0.9), sl.covariance.ar1(4, 0.9)
    one, other = (sl.covariance.block(*blocks) for blocks in ((long, short), (short, long)))
    assert checkpoint._digest(one) != checkpoint._digest(other)


def test_versions_are_part_of_what_a_checkpoint_belongs_to(finished, monkeypatch):
    monkeypatch.setattr(checkpoint, "numeric_versions", lambda: {"jax": "another"})
    with pytest.raises(ValueError, match="jax"):
        run(finished)


def test_a_file_that_is_no_checkpoint_is_neither_used_nor_overwritten(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.ones(3))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "empty").write_bytes(b"")
    for path in tmp_path.iterdir():
        before = path.read_bytes()
        with pytest.raises(ValueError, match="is not a checkpoint of simulate"):
            run(path)
        assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_found_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_advance", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="checkpoint: cannot write to"):
        run(tmp_path / "file" / "run")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(ValueError, match=r"checkpoint: .* MiB are free"):
        run(tmp_path / "run")


SCRIPT = """
import sys, numpy as np, optax, sdelimit as sl
from sdelimit.simulation import checkpoint
checkpoint.SHARE = np.inf
problem = sl.LinearRegression(sl.covariance.ar1(30, 0.5), sl.noise.Gaussian(0.3))
rule = sl.from_optax(optax.chain(optax.trace(0.5), optax.scale_by_sign()))
runs = sl.simulate(problem, rule, 0.3, 400.0, n_runs=4, chunk_steps=8, checkpoint=sys.argv[1] or None)
np.save(sys.argv[2], runs.risk)
"""


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_in_another(tmp_path):
    def command(checkpoint, result):
        return [sys.executable, "-c", SCRIPT, str(checkpoint), str(tmp_path / result)]

    subprocess.run(command("", "plain.npy"), check=True)
    path, kills = tmp_path / "run", 0
    for pause in (0.05, 0.3, 0.15):
        process = subprocess.Popen(command(path, "resumed.npy"))
        step = int(np.load(path)["step"]) if path.exists() else 0
        while process.poll() is None and not (path.exists() and int(np.load(path)["step"]) > step):
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    subprocess.run(command(path, "resumed.npy"), check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "plain.npy"))
    assert {p.name for p in tmp_path.iterdir()} == {"run", "plain.npy", "resumed.npy"}
