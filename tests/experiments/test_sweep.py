"""Sweeps: their numbers, their interruptions, and what they refuse."""

import csv
import errno
import importlib
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.cli.main import main
from sdelimit.experiments import best, folder
from sdelimit.support import files as support_files

pytestmark = pytest.mark.long

cell_file_of_sweep = importlib.import_module("sdelimit.experiments.cell")
sweep_module = importlib.import_module("sdelimit.experiments.sweep")
GRID = {
    "optimizer": ["sgd", "sign_sgd"],
    "lr": [0.3, 40.0],
    "d": 8,
    "noise": ["gaussian:0.3", "gaussian:0.5"],
    "t_max": 4.0,
    "n_runs": 3,
    "points": 9,
}
"""All cells have the same shapes: two optimizers are compiled. SGD diverges at the second rate."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return sl.sweep(tmp_path_factory.mktemp("whole"), **GRID)


def table(folder):
    return (folder / "table.csv").read_bytes()


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_cell_holds_what_the_solvers_give(whole):
    problem = sl.LinearRegression(np.ones(8), sl.noise.Gaussian(0.5), seed=0)
    t = np.linspace(0, 4, 9)
    theory = sl.solve_ode(problem, sl.sign_sgd(), 0.3, t=t, save_modes=False)
    runs = sl.simulate(problem, sl.sign_sgd(), 0.3, t=t, n_runs=3, seed=0)
    row, curves = whole.rows[6], whole.curves(6)
    assert (row["optimizer"], row["noise"], row["lr"]) == ("sign_sgd", "gaussian:0.5", 0.3)
    np.testing.assert_array_equal(curves["theory_risk"], theory.risk)
    np.testing.assert_array_equal(curves["run_risk"], runs.risk)
    assert curves["theory_aligned"] == theory.aligned
    assert row["theory_risk"] == theory.risk[-1] and row["run_risk"] == runs.mean[-1]
    assert row["run_standard_error"] == runs.standard_error[-1] and row["run_q90"] == runs.quantile(0.9)[-1]
    assert row["max_relative_error"] == sl.compare(theory, runs).max_relative_error


def test_cells_of_other_models_hold_their_overlaps(tmp_path):
    given = {**GRID, "optimizer": "sign_sgd", "noise": "none", "lr": 0.3, "model": ["linear", "logistic:soft"]}
    result = sl.sweep(tmp_path, **given)
    assert [row["model"] for row in result.rows] == ["linear", "logistic:soft"]
    problem, t = sl.LogisticRegression(np.ones(8), labels="soft", seed=0), np.linspace(0, 4, 9)
    theory = sl.solve_ode(problem, sl.sign_sgd(), 0.3, t=t, save_modes=False)
    runs = sl.simulate(problem, sl.sign_sgd(), 0.3, t=t, n_runs=3, seed=0)
    curves = result.curves(1)
    np.testing.assert_array_equal(curves["theory_risk"], theory.risk)
    np.testing.assert_array_equal(curves["theory_overlaps"], theory.overlaps)
    np.testing.assert_array_equal(curves["run_overlaps"], runs.overlaps)
    assert result.rows[1]["run_risk"] == runs.mean[-1] and "theory_overlaps" not in result.curves(0)
    assert [best["model"] for best in result.best()] == ["linear", "logistic:soft"]
    axis = result.plot("model")["best-lr"].axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["linear", "logistic:soft"]
    again = CliRunner().invoke(main, ["rerun", str(tmp_path / "cells" / "00001.npz")])
    assert again.exit_code == 0 and "run_overlaps" in again.output, again.output


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning", "ignore:the last column")
def test_rows_of_a_file_are_swept_and_repeated(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    table = np.column_stack([X @ np.arange(4) + rng.standard_normal(300), X])
    np.savetxt(tmp_path / "cars.csv", table, delimiter=",", header="price,a,b,c,e", comments="")
    file, given = str(tmp_path / "cars.csv"), {"t_max": 5.0, "n_runs": 3, "points": 6}
    result = sl.sweep(tmp_path / "out", optimizer="sign_sgd", lr=[0.1, 0.2], data=file, label="price", **given)
    row = result.rows[1]
    assert (row["d"], row["covariance"], row["noise"], row["status"]) == (4, file, "rows:price", "ok")
    problem = sl.data.from_file(file, "price")
    runs = sl.simulate(problem, sl.sign_sgd(), 0.2, t=result.curves(1)["t"], n_runs=3, seed=0)
    np.testing.assert_array_equal(result.curves(1)["run_risk"], runs.risk)
    assert len(result.best()) == 1 and sl.rerun(tmp_path / "out" / "cells" / "00001.npz").agrees
    assert sl.sweep(tmp_path / "out", optimizer="sign_sgd", lr=[0.1, 0.2], data=file, label="price", **given).rows == (
        result.rows
    )
    (tmp_path / "cars.csv").write_text("price,a\n1,2\n3,5\n8,4\n")
    with pytest.raises(ValueError, match="t_max must be at most"):
        sl.sweep(tmp_path / "out", optimizer="sign_sgd", lr=[0.1, 0.2], data=file, label="price", **given)


def test_a_folder_that_names_no_model_is_one_of_linear_regression(whole, tmp_path):
    """Sweeps of versions that had no other; the same call goes on in it."""
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    identity = json.loads((tmp_path / "sweep.json").read_text())
    assert identity["settings"].pop("model") == ["linear"]
    (tmp_path / "sweep.json").write_text(json.dumps(identity))
    for path in (tmp_path / "cells").iterdir():
        with np.load(path) as file:
            arrays = dict(file)
        record = json.loads(str(arrays["settings"]))
        assert record.pop("model") == record["row"].pop("model") == "linear"
        np.savez(path, **{**arrays, "settings": np.array(json.dumps(record))})
    assert sl.read_sweep(tmp_path).rows == whole.rows
    (tmp_path / "cells" / "00003.npz").unlink()
    assert sl.sweep(tmp_path, **GRID).rows == whole.rows
    again = sl.rerun(tmp_path / "cells" / "00002.npz")
    assert again.agrees and set(again.differences) == set(sl.rerun(whole.folder / "cells" / "00002.npz").differences)
    with pytest.raises(ValueError, match=r"model \['linear'\] there, \['absolute'\] here"):
        sl.sweep(tmp_path, **{**GRID, "model": "absolute"})


def test_what_goes_wrong_in_a_cell_is_recorded_with_its_reason(whole, tmp_path):
    assert [row["status"] for row in whole.rows] == ["ok", "diverged", "ok", "ok"] * 2
    assert "theory: diverged at t = " in whole.rows[1]["reason"] and "3 of 3 runs" in whole.rows[1]["reason"]
    assert "8 cells: 6 ok, 2 diverged, 0 to do" in whole.table()
    (heavy,) = sl.sweep(tmp_path, **{**GRID, "optimizer": "sgd", "noise": "cauchy:0.2", "lr": 0.3, "n_runs": 0}).rows
    assert heavy["status"] == "no theory" and "finite variance" in heavy["reason"] and heavy["theory_risk"] is None


def test_a_cell_that_fails_does_not_stop_the_rest(tmp_path, monkeypatch):
    np.save(tmp_path / "huge.npy", np.full(8, 1e40))
    given = {**GRID, "noise": "gaussian:0.3", "covariance": [str(tmp_path / "huge.npy"), "identity"], "lr": 0.3}
    result = sl.sweep(tmp_path / "out", **given)
    assert [row["status"] for row in result.rows] == ["failed", "failed", "ok", "ok"]
    assert "dtype must be float64" in result.rows[0]["reason"]
    computed = []
    run_cell = sweep_module.cell_file.run_cell
    monkeypatch.setattr(sweep_module.cell_file, "run_cell", lambda i, *a: computed.append(i) or run_cell(i, *a))
    sl.sweep(tmp_path / "out", **given)
    assert computed == []
    sl.sweep(tmp_path / "out", **given, retry_failed=True)
    assert computed == [0, 1]


def test_the_table_is_tidy_and_complete(whole):
    with (whole.folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cell"]) for row in rows] == list(range(8))
    assert float(rows[6]["theory_risk"]) == pytest.approx(whole.rows[6]["theory_risk"], rel=1e-8)
    assert rows[1]["theory_risk"] == "inf" and rows[0]["reason"] == ""
    assert files(whole.folder) == {"table.csv", "sweep.json", *(f"cells/{i:05d}.npz" for i in range(8))}
    again = sl.read_sweep(whole.folder)
    assert again.rows == whole.rows and again.total == 8 and again.settings == whole.settings


def test_reading_a_table_imports_no_rule_that_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = {"optimizer": "os.system:'touch out'", "model": "linear", "noise": "none"}
    assert cell_file_of_sweep.has_mean(row) and not (tmp_path / "out").exists()
    assert not cell_file_of_sweep.has_mean(row | {"noise": "cauchy:0.1"})


def test_the_table_is_a_data_frame(whole):
    frame = whole.to_dataframe()
    assert len(frame) == whole.total and list(frame.optimizer) == [row["optimizer"] for row in whole.rows]
    np.testing.assert_array_equal(frame.run_risk, [row["run_risk"] for row in whole.rows])


def test_cells_of_one_shape_compile_once(whole, tmp_path, caplog):
    changed = {**GRID, "lr": [0.2, 0.7], "noise": ["gaussian:0.4", "gaussian:0.6"], "seed": 3}
    with caplog.at_level(logging.WARNING, "jax"), jax.log_compiles():
        sl.sweep(tmp_path / "out", **changed)
    assert not [record for record in caplog.records if record.getMessage().startswith("Compiling")]


def interrupt_at(monkeypatch, cell, error):
    run_cell = sweep_module.cell_file.run_cell

    def interrupted(index, *arguments):
        if index == cell:
            raise error
        return run_cell(index, *arguments)

    monkeypatch.setattr(sweep_module.cell_file, "run_cell", interrupted)


def test_an_interrupted_sweep_goes_on_to_the_same_table(whole, tmp_path):
    for cell in (0, 3, 6):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_at(patch, cell, KeyboardInterrupt)
            sl.sweep(tmp_path, **GRID)
        assert len(table(tmp_path).splitlines()) == 1 + cell
        assert len(sl.read_sweep(tmp_path).rows) == cell
    for name in ("table.csv", "sweep.json", "cells/00005.npz"):
        support_files.temporary(tmp_path / name).write_text("left by a killed process")
    (tmp_path / "cells" / "00001.npz").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"00001.npz is damaged"):
        result = sl.sweep(tmp_path, **GRID)
    assert table(tmp_path) == table(whole.folder) and files(tmp_path) == files(whole.folder)
    assert result.rows == whole.rows


def test_a_disk_that_fills_up_loses_nothing_that_was_done(whole, tmp_path, monkeypatch):
    calls, fsync = iter(range(100)), os.fsync

    def full(handle):
        if next(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=r"cell \d cannot be written .* No space left on device; all before it are kept"
        ):
            sl.sweep(tmp_path, **GRID)
    done = files(tmp_path)
    assert 1 < len(done) < 8 and not any(name.endswith(".tmp") for name in done)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in done if name.startswith("cells")}
    sl.sweep(tmp_path, **GRID)
    assert table(tmp_path) == table(whole.folder) and files(tmp_path) == files(whole.folder)
    assert all((tmp_path / name).stat().st_mtime_ns == when for name, when in before.items())


KILLED = """
import os, signal, sys
import sdelimit as sl
from sdelimit.experiments import cell
cell.run_cell = lambda index, *rest: ({"status": "not to be kept"}, {})
replace = os.replace
def killed(old, new):
    if str(new).endswith("00001.npz"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)
os.replace = killed
sl.sweep(sys.argv[1], **eval(sys.argv[2]))
"""


def test_a_process_killed_while_it_writes_leaves_whole_files_only(whole, tmp_path):
    out = tmp_path / "ünïcode and spaces"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, 1, KeyboardInterrupt)
        sl.sweep(out, **GRID)
    process = subprocess.run([sys.executable, "-c", KILLED, str(out), repr(GRID)])
    assert process.returncode == -signal.SIGKILL
    assert files(out) == {"sweep.json", "table.csv", "cells/00000.npz", "cells/.00001.npz.tmp", ".lock"}
    sl.sweep(out, **GRID)
    assert table(out) == table(whole.folder) and files(out) == files(whole.folder)


def test_results_of_other_settings_or_versions_are_not_mixed(whole, tmp_path, monkeypatch):
    sl.sweep(tmp_path, **{**GRID, "n_runs": 0, "lr": 0.3, "noise": "gaussian:0.3", "optimizer": "sign_sgd"})
    with pytest.raises(ValueError, match=r"must not be mixed.*n_runs 0 there, 3 here"):
        sl.sweep(tmp_path, **GRID)
    (tmp_path / "notes.txt").write_text("mine")
    sl.sweep(tmp_path, **GRID, force=True)
    assert table(tmp_path) == table(whole.folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    monkeypatch.setattr(folder, "numeric_versions", lambda: {"jax": "another"})
    with pytest.raises(ValueError, match=r"must not be mixed.*jax .* there, another here"):
        sl.sweep(tmp_path, **GRID)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(ValueError, match=r"holds results but no sweep\.json"):
        sl.sweep(tmp_path, **GRID)


def test_a_changed_input_file_is_another_sweep(tmp_path):
    given = {**GRID, "covariance": str(tmp_path / "K.npy"), "optimizer": "sgd", "noise": "gaussian:0.3", "n_runs": 0}
    np.save(tmp_path / "K.npy", np.ones(8))
    sl.sweep(tmp_path / "out", **given)
    np.save(tmp_path / "K.npy", np.full(8, 2.0))
    with pytest.raises(ValueError, match=r"must not be mixed.*inputs"):
        sl.sweep(tmp_path / "out", **given)


def changed_during(monkeypatch, cell, change):
    run_cell = sweep_module.cell_file.run_cell

    def and_change(index, *arguments):
        if index == cell:
            change()
        return run_cell(index, *arguments)

    monkeypatch.setattr(sweep_module.cell_file, "run_cell", and_change)


@pytest.mark.parametrize("name", ["K.npy", "K.csv"])
def test_an_input_file_that_changes_while_cells_are_computed_stops_the_sweep(name, tmp_path):
    path = tmp_path / name
    write = np.save if name == "K.npy" else np.savetxt
    one = {"covariance": [str(path), "identity"], "optimizer": "sgd", "noise": "gaussian:0.3", "n_runs": 0}
    given = {**GRID, **one, "seed": [0, 1]}
    write(path, np.ones(8))
    reference = sl.sweep(tmp_path / "reference", **given)
    changes = [(2, path.unlink, "cannot be read: No such file"), (3, lambda: write(path, np.full(8, 2.0)), "changed")]
    for cell, change, message in changes:
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(ValueError, match=rf"input file .*{name}.* {message}"),
        ):
            changed_during(patch, cell, change)
            sl.sweep(tmp_path / "out", **given)
        assert len(sl.read_sweep(tmp_path / "out").rows) == len(table(tmp_path / "out").splitlines()) - 1 == cell
        write(path, np.ones(8))
    assert sl.sweep(tmp_path / "out", **given).rows == reference.rows


def recorded(path, change):
    """The file with its record changed."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    record = json.loads(str(arrays["settings"]))
    record = change(record) or record
    np.savez(path, **{**arrays, "settings": np.array(json.dumps(record))})


def without(record, name):
    del record["row"][name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(noise="gaussian:0.4"), "its noise is 'gaussian:0.4', not 'gaussian:0.3' of this sweep"),
        (lambda r: r["row"].update(cell=4), "its cell is 4, not 0"),
        (lambda r: r["row"].update(lr=0.1), "its lr is 0.1, not 0.3"),
        (lambda r: r.update(t_max=5.0), "its t_max is 5.0, not 4.0"),
        (lambda r: r["versions"].update(jax="0.0.1"), "its jax is '0.0.1'"),
        (lambda r: r.update(inputs={"K.npy": {"sha256": "1"}}), "its inputs is {'K.npy': '1'}, not {}"),
        (lambda r: r.update(row={}), "its row has no cell"),
        (lambda r: r.update(row=5), "it has no row"),
        (lambda r: [1], "it has no row"),
        (lambda r: without(r, "status"), "its row has no status"),
        (lambda r: r["row"].update(run_risk="low"), "its run_risk is no number: 'low'"),
        (lambda r: r["row"].update(status="good"), "its status or reason is none"),
        (lambda r: r.update(inputs=5), "it has no inputs"),
        (lambda r: r.update(versions=5), "it has no versions"),
    ],
)
def test_a_cell_that_is_not_the_planned_one_is_computed_again(change, message, whole, tmp_path, monkeypatch):
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    recorded(tmp_path / "cells" / "00000.npz", change)
    with pytest.warns(UserWarning, match=rf"00000.npz is damaged and is left out.*{re.escape(message)}"):
        assert len(sl.read_sweep(tmp_path).rows) == 7
    interrupt_at(monkeypatch, 0, KeyboardInterrupt)
    with (
        pytest.warns(UserWarning, match=rf"00000.npz is damaged and will be computed again.*{re.escape(message)}"),
        pytest.raises(KeyboardInterrupt),
    ):
        sl.sweep(tmp_path, **GRID)


def test_a_cell_of_another_index_or_a_folder_in_its_place_is_computed_again(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    cells = tmp_path / "cells"
    shutil.copy(cells / "00006.npz", cells / "00000.npz")
    with pytest.warns(UserWarning, match=r"00000.npz is damaged and will be computed again: its cell is 6, not 0"):
        assert sl.sweep(tmp_path, **GRID).rows == whole.rows
    (cells / "00001.npz").unlink()
    (cells / "00001.npz").mkdir()
    with pytest.warns(UserWarning, match=r"00001.npz is damaged .* it is a folder"):
        sl.read_sweep(tmp_path)
    (cells / "00001.npz" / "notes").write_text("")
    with pytest.raises(ValueError, match=r"00001.npz is a folder, where a file of the sweep belongs; move it away"):
        sl.sweep(tmp_path, **GRID)
    (cells / "00001.npz" / "notes").unlink()
    assert sl.sweep(tmp_path, **GRID).rows == whole.rows and table(tmp_path) == table(whole.folder)


@pytest.mark.parametrize(
    "content",
    [{}, [], None, 5, {"settings": 5}, {"settings": {}}, {"versions": 5}, {"d": 8}, {"lr": {}}, {"noise": [1]}],
)
def test_a_damaged_identity_is_refused(content, whole, tmp_path):
    identity = json.loads((whole.folder / "sweep.json").read_text())
    if content and isinstance(content, dict):
        place = identity if content.keys() <= {"settings", "versions"} else identity["settings"]
        place.update(content)
        content = identity
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    for call in (lambda: sl.sweep(tmp_path, **GRID), lambda: sl.read_sweep(tmp_path)):
        with pytest.raises(ValueError, match=r"sweep.json is damaged: .*; choose another folder, or discard"):
            call()
    identity["format"] = 99
    (tmp_path / "sweep.json").write_text(json.dumps(identity))
    with pytest.raises(ValueError, match=r"format 99|is damaged"):
        sl.read_sweep(tmp_path)


def test_an_interruption_after_a_cell_is_written_keeps_its_row(whole, tmp_path, monkeypatch):
    save = sweep_module._save

    def interrupted(folder, index, *rest):
        save(folder, index, *rest)
        if index == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sweep_module, "_save", interrupted)
        sl.sweep(tmp_path, **GRID)
    assert table(tmp_path).splitlines() == table(whole.folder).splitlines()[:4]


def test_runs_without_a_mean_risk_have_no_best_rate(tmp_path):
    result = sl.sweep(tmp_path, **{**GRID, "noise": "cauchy:0.2", "lr": [0.3, 0.5]})
    sgd, sign = result.best()
    assert result.rows[0]["run_risk"] > 0 and sgd["run_best_lr"] is None and sgd["run_best_risk"] is None
    assert sign["run_best_lr"] == min(result.rows[2:], key=lambda row: row["run_risk"])["lr"]
    assert "No best rate by runs (-) where the noise has infinite variance" in result.table()
    labels = result.plot()["risk"].axes[0].get_legend_handles_labels()[1]
    assert labels == ["sign_sgd: theory (ODE)", "sign_sgd: runs (mean)"]


def test_force_discards_the_figures_of_the_report_and_no_other_files(tmp_path, monkeypatch):
    mine = {"best-lr.txt", "risk-of-mine.png", "notes.pdf"}
    for name in mine | {"best-lr.png", "heat-map.pdf", "heat-map-2.png", "risk-12.pdf"}:
        (tmp_path / name).write_text("")
    interrupt_at(monkeypatch, 0, KeyboardInterrupt)
    for made in (0, 4):
        with pytest.raises(KeyboardInterrupt):
            sl.sweep(tmp_path, **GRID, force=True)
        assert len(files(tmp_path) - mine) == 6 - made


def test_a_report_without_any_risk_says_where_the_reasons_are(tmp_path):
    sl.sweep(tmp_path, **{**GRID, "optimizer": "sgd", "noise": "cauchy:0.2", "lr": 0.3, "n_runs": 0})
    assert "finite variance" in sl.read_sweep(tmp_path).rows[0]["reason"]
    report = run("report", tmp_path)
    assert report.exit_code == 2 and "no cell has a risk to draw" in report.output and "table.csv" in report.output


def test_only_the_cells_to_do_need_room(whole, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 3000})())
    assert sl.sweep(whole.folder, **GRID).rows == whole.rows
    with pytest.raises(ValueError, match=r"3 KiB are free, up to 36 KiB are needed"):
        sl.sweep(whole.folder, **GRID, force=True)


def test_two_processes_do_not_work_on_one_folder(tmp_path):
    with (
        support_files.folder_lock("out", tmp_path),
        pytest.raises(RuntimeError, match=rf"in use by process {os.getpid()} on "),
    ):
        sl.sweep(tmp_path, **GRID)


def test_a_folder_that_cannot_take_the_results_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_module.cell_file, "run_cell", None)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out", "/proc/out"):
        with pytest.raises(ValueError, match="out: cannot write to"):
            sl.sweep(out, **GRID)
    with pytest.raises(ValueError, match="file: it is a file, not a folder"):
        sl.sweep(tmp_path / "file", **GRID)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(ValueError, match=r"out: cannot write to .* 0 MiB are free"):
        sl.sweep(tmp_path, **GRID)


def test_a_matrix_of_another_dimension_is_refused(tmp_path):
    np.save(tmp_path / "K.npy", np.eye(5))
    with pytest.raises(ValueError, match="holds a matrix with d = 5, got d = 8"):
        sl.sweep(tmp_path / "out", **{**GRID, "covariance": str(tmp_path / "K.npy")})


def row(optimizer, lr, seed, theory, run, error=0.1):
    given = dict(zip(best.GROUP, (optimizer, 10, "identity", "none", 1, "linear"), strict=True))
    numbers = {"theory_risk": theory, "run_risk": run, "run_standard_error": error}
    return given | numbers | {"lr": lr, "lr_start": lr, "seed": seed, "status": "ok"}


def test_the_best_rate_has_the_lowest_mean_over_seeds():
    rows = [
        *(row("sgd", 0.1, seed, 3.0, run) for seed, run in enumerate((1.0, 9.0))),
        *(row("sgd", 0.2, seed, 2.0, run) for seed, run in enumerate((4.0, 4.0))),
        *(row("sgd", 0.4, seed, 1.0, run) for seed, run in enumerate((0.0, np.inf))),
        row("adam", 0.1, 0, None, np.inf),
    ]
    sgd, adam = best.best_rates(rows)
    assert (sgd["theory_best_lr"], sgd["theory_best_risk"], sgd["theory_at_edge"]) == (0.4, 1.0, True)
    assert (sgd["run_best_lr"], sgd["run_best_risk"], sgd["run_at_edge"]) == (0.2, 4.0, False)
    assert adam["theory_best_lr"] is None and adam["run_best_lr"] is None
    means = best.seed_means(rows)
    assert means["sgd", 10, "identity", "none", 1, "linear"][0.1]["error"] == pytest.approx(0.1 / np.sqrt(2))


def test_rates_of_each_optimizer_and_in_equal_ratios(tmp_path):
    lr = {"sgd": {"from": 0.1, "to": 0.4, "points": 3}, "sign_sgd": ["cosine:0.3", 0.5]}
    result = sl.sweep(tmp_path, **{**GRID, "lr": lr, "n_runs": 0, "noise": "gaussian:0.3"})
    assert [row["lr"] for row in result.rows] == [0.1, 0.2, 0.4, "cosine:0.3", 0.5]
    assert result.curves(3)["lr"][-1] == pytest.approx(0.0, abs=1e-12)
    assert result.rows[0]["run_risk"] is None and "run_risk" not in result.curves(0)
    with pytest.raises(ValueError, match="cell must be one of the 5 that are done"):
        result.curves(5)


CONFIG = """
optimizer = ["sgd", "sign_sgd"]
lr = [0.3, 40.0]
d = 8
noise = ["gaussian:0.3", "gaussian:0.5"]
t_max = 4.0
n_runs = 3
points = 9
"""


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_command_line_sweeps_reports_and_does_not_overwrite(whole, tmp_path):
    config, out = tmp_path / "a config.toml", tmp_path / "an öutput folder"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 5, KeyboardInterrupt)
        stopped = run("sweep", config, "--out", out)
    assert stopped.exit_code == 130 and "3 to do; the same command goes on" in stopped.output
    assert run("report", out, "--axis", "noise").exit_code == 0
    finished = run("sweep", config, "--out", out)
    assert finished.exit_code == 0 and "0 to do" in finished.output, finished.output
    assert table(out) == table(whole.folder)
    again = run("report", out, "--axis", "noise")
    assert again.exit_code == 2 and "--force" in again.output
    figures = {f"{name}.{kind}" for name in ("heat-map", "best-lr") for kind in ("png", "pdf")}
    assert files(out) == files(whole.folder) | figures
    config.write_text(CONFIG.replace("0.3,", "0.4,"))
    other = run("sweep", config, "--out", out)
    assert other.exit_code == 2 and "must not be mixed" in other.output
    assert run("report", tmp_path).exit_code == 2


def test_a_sweep_stopped_before_its_first_cell_says_so(tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    (tmp_path / "config.toml").write_text(CONFIG)
    monkeypatch.setattr(folder, "make_folder", stop)
    stopped = run("sweep", tmp_path / "config.toml", "--out", tmp_path / "out")
    assert stopped.exit_code == 130 and "No cell is done" in stopped.output


@pytest.mark.slow
def test_figures_show_the_risks_that_the_rows_hold(whole):
    figures = whole.plot("noise")
    heat = figures["heat-map"]
    panels = {axis.get_title(): axis for axis in heat.axes}
    image = panels["sign_sgd: theory (ODE)"].images[0].get_array()
    np.testing.assert_allclose(image, [[whole.rows[i]["theory_risk"] for i in pair] for pair in ((2, 3), (6, 7))])
    diverged = panels["sgd: runs (mean)"]
    assert len(diverged.patches) == 2 and diverged.get_xlabel() == "learning rate"
    assert np.ma.is_masked(diverged.images[0].get_array()[0, 1]) or np.isnan(diverged.images[0].get_array()[0, 1])
    rate, risk = figures["best-lr"].axes
    assert rate.get_ylabel() == "best learning rate" and risk.get_xlabel() == "label noise"
    line = next(line for line in risk.lines if line.get_label() == "sign_sgd: theory (ODE)")
    np.testing.assert_allclose(line.get_ydata(), [whole.rows[2]["theory_risk"], whole.rows[6]["theory_risk"]])
    assert set(whole.plot("d")) == {"heat-map-1", "heat-map-2", "risk-1", "risk-2"}
    with pytest.raises(ValueError, match="axis: unknown value"):
        whole.plot("nois")


def test_parquet_holds_the_same_table(whole, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    sl.sweep(tmp_path, **GRID, parquet=True)
    stored = parquet.read_table(tmp_path / "table.parquet").to_pydict()
    assert stored["theory_risk"] == [row["theory_risk"] for row in whole.rows]
    assert stored["reason"] == [row["reason"] for row in whole.rows]


def test_parquet_without_pyarrow_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="parquet needs pyarrow"):
        sl.sweep(tmp_path / "out", **GRID, parquet=True)


SIXTY = {
    **GRID,
    "noise": ["gaussian:0.3", "cauchy:0.2"],
    "lr": {"from": 0.1, "to": 40.0, "points": 5},
    "d": [6, 8, 10],
    "covariance": "ar1:0.3",
}
RUN = "import sys, sdelimit as sl; sl.sweep(sys.argv[1], **eval(sys.argv[2]), progress=True)"


@pytest.mark.slow
def test_sixty_cells_killed_twenty_times_give_the_same_table(tmp_path):
    out, log = tmp_path / "killed", tmp_path / "log"
    rng, kills = random.Random(0), 0

    def cells():
        return {path.name: path.read_bytes() for path in out.glob("cells/*.npz")}

    while kills < 20:
        done, wanted = cells(), rng.choice([0, 0, 1, 2, 3])
        with log.open("w") as stderr:
            process = subprocess.Popen([sys.executable, "-c", RUN, str(out), repr(SIXTY)], stderr=stderr)
            while process.poll() is None and len(cells()) < len(done) + wanted:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.1 if wanted else 4.0))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "finished before the last kill"
        kills += 1
        now = cells()
        assert all(now[name] == content for name, content in done.items())
        reported = [int(n) for n in re.findall(r"(\d+)/60", log.read_text())]
        assert len(now) >= max(reported, default=0)
    assert 0 < len(cells()) < 60
    resumed = sl.sweep(out, **SIXTY)
    whole = sl.sweep(tmp_path / "whole", **SIXTY)
    assert table(out) == table(tmp_path / "whole") and resumed.rows == whole.rows
    assert files(out) == files(tmp_path / "whole") and len(whole.rows) == 60
