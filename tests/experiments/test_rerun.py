"""Results repeated from their files."""

import importlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.cli.main import main

pytestmark = pytest.mark.long

SMALL = ["-o", "sgd", "--d", "12", "-n", "gaussian:0.3", "--t-max", "1", "--points", "5", "--runs", "3", "--paths", "2"]


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result made from a file of variances that was named relative to a folder with an awkward name."""
    folder = tmp_path_factory.mktemp("rerun") / "a földer"
    folder.mkdir()
    np.savetxt(folder / "variances.csv", np.linspace(0.5, 1.5, 12), delimiter=",")
    here = os.getcwd()
    os.chdir(folder)
    try:
        made = run("compare", *SMALL, "-K", "variances.csv", "--lr", "0.4", "--seed", "7", "--out", "out")
    finally:
        os.chdir(here)
    assert made.exit_code == 0, made.output
    return folder / "out" / "curves.npz"


def altered(result, path, change):
    """A copy of the file with its settings and arrays changed."""
    with np.load(result, allow_pickle=False) as file:
        arrays = dict(file)
    settings = json.loads(str(arrays["settings"]))
    change(settings, arrays)
    np.savez(path, **{**arrays, "settings": np.array(json.dumps(settings))})
    return path


def test_a_result_repeats_itself_in_another_folder(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = sl.rerun(result)
    assert again.agrees and again.max_difference <= 1e-6 and again.changes == {}
    assert set(again.differences) == set(np.load(result).files) - {"settings"}
    assert again.settings["seed"] == 7 and again.settings["versions"]["jax"]
    assert "0_sgd_run_risk" in again.table() and ("identical" in again.table() or "rounding" in again.table())
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_too_full_is_found_before_the_comparison(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    monkeypatch.setattr(importlib.import_module("sdelimit.experiments.comparison_run"), "run_experiment", None)
    refused = run("compare", *SMALL, "--out", tmp_path)
    assert refused.exit_code == 2 and "--out: cannot write to" in refused.output and "MiB are free" in refused.output


@pytest.mark.slow
def test_a_result_repeats_itself_in_another_process_and_folder(result, tmp_path):
    command = [sys.executable, "-c", "from sdelimit.cli import main; main()", "rerun", str(result)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("largest relative difference ")[1].split(")")[0]) < 1e-6


def test_a_result_that_names_no_model_is_one_of_linear_regression(result, tmp_path):
    again = sl.rerun(altered(result, tmp_path / "old.npz", lambda settings, arrays: settings.pop("model")))
    assert again.agrees and again.max_difference <= 1e-6


def test_a_difference_is_found_and_its_size_reported(result, tmp_path):
    def change(settings, arrays):
        arrays["0_sgd_run_risk"][1, 2] *= 1.01
        arrays["0_sgd_noise"] = np.array("Gaussian(std=1.0)")
        arrays["extra"] = np.ones(2)

    again = sl.rerun(altered(result, tmp_path / "changed.npz", change))
    assert not again.agrees and "DIFFERENT" in again.table()
    assert again.differences["0_sgd_run_risk"] == pytest.approx(1 - 1 / 1.01)
    assert again.differences["extra"] == np.inf and again.differences["0_sgd_noise"] == np.inf
    assert again.differences["0_sgd_ode_risk"] == 0
    assert run("rerun", tmp_path / "changed.npz").exit_code == 1


def test_other_versions_and_devices_are_named(result, tmp_path):
    def change(settings, arrays):
        settings["versions"]["jax"] = "0.0.1"
        settings["device"] = "abacus"

    again = run("rerun", altered(result, tmp_path / "old.npz", change))
    assert again.exit_code == 0
    assert "jax: 0.0.1 then, " in again.output and "device: abacus then, " in again.output


def test_input_files_are_found_beside_the_result_and_must_be_unchanged(result, tmp_path):
    def moved(settings, arrays):
        settings["inputs"]["variances.csv"]["path"] = "/nowhere/variances.csv"

    path = altered(result, tmp_path / "moved.npz", moved)
    with pytest.raises(ValueError, match=r"made from the file variances.csv, and it is not at .*nowhere"):
        sl.rerun(path)
    (tmp_path / "variances.csv").write_bytes((result.parents[1] / "variances.csv").read_bytes())
    assert sl.rerun(path).agrees
    (tmp_path / "variances.csv").write_text("1.0\n2.0\n")
    with pytest.raises(ValueError, match=r"variances.csv has changed"):
        sl.rerun(path)


@pytest.mark.long
def test_a_cell_of_a_sweep_repeats_itself(tmp_path):
    grid = {
        "optimizer": "sign_sgd",
        "lr": 0.3,
        "d": 12,
        "noise": "gaussian:0.3",
        "t_max": 1.0,
        "points": 5,
        "n_runs": 0,
    }
    sweep = sl.sweep(tmp_path, **{**grid, "seed": [0, 5]})
    again = run("rerun", tmp_path / "cells" / "00001.npz")
    assert again.exit_code == 0 and "identical" in again.output, again.output
    with np.load(tmp_path / "cells" / "00001.npz") as file:
        record = json.loads(str(file["settings"]))
    assert record["seed"] == 5 and record["row"] == sweep.rows[1] and "numpy" in record["versions"]


CELL = {"optimizer": "sign_sgd", "lr": 0.3, "d": 12, "t_max": 1.0, "points": 5, "n_runs": 0}


def test_the_numbers_of_the_table_are_compared_too(tmp_path):
    sl.sweep(tmp_path, **CELL, noise="gaussian:0.3")

    def change(settings, arrays):
        settings["row"]["theory_risk"] *= 1.01
        settings["row"]["seed"] = 3

    path = altered(tmp_path / "cells" / "00000.npz", tmp_path / "changed.npz", change)
    again = sl.rerun(path)
    assert not again.agrees and again.differences["row.seed"] == np.inf
    assert again.differences["row.theory_risk"] == pytest.approx(1 - 1 / 1.01)
    assert "DIFFERENT" in run("rerun", path).output
    path = altered(path, path, lambda settings, arrays: settings.update(row=5))
    with pytest.raises(ValueError, match="are not complete"):
        sl.rerun(path)


@pytest.mark.long
def test_a_cell_that_failed_or_fails_now_is_not_called_identical(tmp_path, monkeypatch):
    sl.sweep(tmp_path, **CELL)

    def fail(*arguments):
        raise ValueError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr("sdelimit.experiments.cell._outcome", fail)
        lost = run("rerun", tmp_path / "cells" / "00000.npz")
        assert lost.exit_code == 1 and "the repetition failed: failed: ValueError: no luck" in lost.output
        sl.sweep(tmp_path, **CELL, force=True)
        both = run("rerun", tmp_path / "cells" / "00000.npz")
    now = run("rerun", tmp_path / "cells" / "00000.npz")
    for result, repeated in ((both, "again failed: ValueError: no luck"), (now, "now ok")):
        assert result.exit_code == 1 and "identical" not in result.output
        assert "(failed: ValueError: no luck), so there is nothing to compare" in result.output
        assert f"the repetition is {repeated}" in result.output


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(result, tmp_path):
    harmful = np.array([Harmful(tmp_path / "harm")], dtype=object)
    np.savez(tmp_path / "object.npz", settings=harmful)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    with np.load(result, allow_pickle=False) as file:
        np.savez(tmp_path / "array.npz", **{**file, "0_sgd_t": harmful})
    for name in ("object.npz", "pickle.npz", "array.npz"):
        with pytest.raises(ValueError, match="is not a result of sdelimit compare"):
            sl.rerun(tmp_path / name)
        with pytest.raises(ValueError):
            sl.data.from_file(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a result"),
        (b"text", "is not a result"),
        ({"x": np.ones(3)}, "is not a result"),
        ({"settings": np.array("{")}, "is not a result"),
        ({"settings": np.array("[1]")}, "does not say which command made it"),
        ({"settings": np.array('{"command": "format the disk"}')}, "does not say which command made it"),
        ({"settings": np.array('{"command": "compare"}')}, "are not complete"),
        ({"settings": np.array('{"command": "sweep cell", "noise": "none"}')}, "are not complete"),
    ],
)
def test_a_file_that_is_no_result_is_refused(content, message, tmp_path):
    if isinstance(content, dict):
        np.savez(tmp_path / "file.npz", **content)
    else:
        (tmp_path / "file.npz").write_bytes(content)
    refused = run("rerun", tmp_path / "file.npz")
    assert refused.exit_code == 2 and message in " ".join(refused.output.split()), refused.output
