"""What the commands print: tables that fit, warnings in a line, JSON, and what they leave behind."""

import csv
import importlib
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.analysis.scaling import size_curve
from sdelimit.cli import listing, scaling, theory
from sdelimit.cli.common import OneLine, finite, holding_doubts
from sdelimit.cli.main import main
from sdelimit.cli.output import new_folder, output_folder
from sdelimit.experiments import comparison_run
from sdelimit.experiments.catalogue import KINDS
from sdelimit.report.fitted import fitted

SMALL = ["--d", "60", "--t-max", "1", "--points", "11"]
RUNS = ["--runs", "6", "--paths", "6"]


def run(*arguments, **environment):
    return CliRunner(env=environment).invoke(main, list(map(str, arguments)))


def test_help_and_completion_import_nothing_heavy():
    code = "import sys, sdelimit.cli; print([name for name in ('jax', 'numpy', 'scipy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_what_the_options_choose_from_is_what_there_is():
    """They are spelt out so that help needs no imports."""
    assert set(listing.LISTS) == set(KINDS)
    assert scaling.SCHEDULES == size_curve.SCHEDULES


ROWS = [("optimizer", "d", "risk"), ("sign_sgd", "600", "0.125"), ("sgd", "600", "0.25")]


def test_a_table_that_is_too_wide_loses_columns_that_are_all_alike_and_then_its_columns():
    wide = fitted(ROWS, None)
    assert wide.splitlines()[0] == "optimizer  d    risk" and fitted(ROWS, 22) == wide
    narrower = fitted(ROWS, 17).splitlines()
    assert narrower[0] == "d 600" and narrower[2] == "optimizer  risk"
    assert fitted(ROWS, 13).splitlines() == [
        "sign_sgd",
        "  d 600, risk",
        "    0.125",
        "",
        "sgd",
        "  d 600, risk",
        "    0.25",
    ]
    assert fitted([("a", "b"), ("x", "y" * 8)], 9).splitlines() == ["x", "  b yyyyy", "    yyy"]


def test_warnings_are_a_line_each_and_said_once(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = OneLine()
        for _ in range(2):
            warnings.warn("first\n  line", UserWarning, stacklevel=1)
        warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
        with holding_doubts() as doubts:
            warnings.warn("a doubt", sl.LimitWarning, stacklevel=1)
            warnings.warn("something else", UserWarning, stacklevel=1)
        with pytest.raises(ZeroDivisionError), holding_doubts():
            warnings.warn("a lost doubt", sl.LimitWarning, stacklevel=1)
            raise ZeroDivisionError
    assert doubts == ["a doubt"]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "warning: first line\nwarning: something else\nwarning: a lost doubt\n"


def test_json_has_no_numbers_that_json_does_not_have():
    assert finite({"a": [1.0, float("inf")], "b": (float("nan"), None)}) == {"a": [1.0, None], "b": [None, None]}


def test_a_new_folder_is_removed_if_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(new_folder("x")) == "x"
    with pytest.raises(KeyboardInterrupt), output_folder(new_folder("x")) as folder:
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert not folder.exists()
    (tmp_path / "empty").mkdir()
    with output_folder(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()
    with output_folder(folder):
        (folder / "result").write_text("kept")
    assert (folder / "result").exists() and str(new_folder("x")) == "x-2"


def test_an_interrupted_comparison_leaves_no_folder(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison_run, "solve_ode", interrupted)
    done = run("compare", *SMALL, *RUNS, "--out", tmp_path / "out")
    assert done.exit_code == 1 and "Aborted" in done.output
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of two settings of one rule and one that has no limit, as JSON."""
    out = tmp_path_factory.mktemp("compare") / "out"
    rules = ["-o", "signum:0.5", "-o", "signum:0.8", "-o", "sgd", "-n", "cauchy:0.2", "-K", "identity"]
    done = run("compare", *SMALL, *RUNS, *rules, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


@pytest.mark.long
def test_compare_as_json_has_the_rules_by_their_labels(compared):
    out, record = compared
    reports = record["reports"]["Cauchy(scale=0.2)"]
    assert list(reports) == ["signum(beta=0.5)", "signum(beta=0.8)", "sgd"]
    assert reports["sgd"]["theory_risk"] is None and "finite variance" in reports["sgd"]["status"]
    curves = np.load(out / "curves.npz")
    assert reports["signum(beta=0.8)"]["theory_risk"] == curves["1_signum_ode_risk"][-1]
    assert reports["signum(beta=0.8)"]["run_mean"] == curves["1_signum_run_risk"][:, -1].mean()
    assert record["seed"] == 0 and record["out"] == str(out) and set(record["files"]) <= {p.name for p in out.iterdir()}


@pytest.mark.long
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_tables_of_compare_are_no_wider_than_the_terminal(columns, tmp_path):
    given = ["-n", "none", "-K", "identity", "-o", "sgd", "-o", "sign_sgd", "--lr", "sgd=60", "--lr", "sign_sgd=0.5"]
    done = run("compare", *SMALL, *RUNS, *given, "--out", tmp_path / "out", COLUMNS=str(columns))
    assert done.exit_code == 0, done.output
    table = done.stdout[: done.stdout.index("\nWrote")]
    assert max(map(len, table.splitlines())) <= columns
    assert "diverged at t=" in " ".join(table.split()) and "  ! " in table


@pytest.mark.long
def test_ode_is_solve_ode_and_writes_only_where_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [*SMALL, "-K", "identity", "-n", "gaussian:0.5", "-o", "sgd", "-o", "signSGD", "--lr", "signsgd=0.3"]
    given += ["--lr", "0.5"]
    record = json.loads(run("ode", *given, "--json").stdout)
    assert not list(tmp_path.iterdir())
    limits = record["limits"]["Gaussian(std=0.5)"]
    problem = sl.LinearRegression(sl.covariance.identity(60), sl.noise.Gaussian(0.5), seed=0)
    for name, rule, lr in (("sgd", sl.sgd(), 0.5), ("sign_sgd", sl.sign_sgd(), 0.3)):
        expected = sl.solve_ode(problem, rule, lr, t=limits[name]["t"])
        np.testing.assert_allclose(limits[name]["risk"], expected.risk, rtol=1e-12)
    done = run("ode", *given, "--out", "out", COLUMNS="60")
    assert done.exit_code == 0 and f"{limits['sgd']['risk'][-1]:.4g}" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(theory.FILES)
    rows = list(csv.DictReader((tmp_path / "out" / "theory.csv").open()))
    assert len(rows) == 22 and float(rows[10]["ode_risk"]) == limits["sgd"]["risk"][-1]
    assert np.load(tmp_path / "out" / "theory.npz")["1_sign_sgd_ode_risk"][-1] == limits["sign_sgd"]["risk"][-1]
    again = run("ode", *given, "--out", "out")
    assert again.exit_code == 2 and "already holds" in again.output and "--force" in again.output
    none = json.loads(run("ode", *SMALL, "-n", "cauchy:0.3", "-o", "sgd", "--json").stdout)
    assert "finite variance" in none["limits"]["Cauchy(scale=0.3)"]["sgd"]["status"]


@pytest.mark.long
def test_effects_are_those_of_the_library():
    given = ["--d", "60", "--t-max", "2", "--points", "9", "-K", "identity", "-o", "sign_sgd", "-o", "clip_norm:1"]
    record = json.loads(run("effects", *given, "--json").stdout)["effects"]["Gaussian(std=0.5)"]
    assert list(record) == ["sign_sgd", "clip_norm"]
    problem = sl.LinearRegression(sl.covariance.identity(60), sl.noise.Gaussian(0.5), seed=0)
    expected = sl.effects(problem, sl.sign_sgd(), 0.5, t=np.linspace(0, 2, 9))
    assert record["sign_sgd"]["noise_compression"] == pytest.approx(expected.noise_compression.chi[-1])
    assert record["sign_sgd"]["log_shares"] == pytest.approx(expected.decomposition.log_shares())
    assert record["sign_sgd"]["effective_lr"] == pytest.approx(expected.learning_rate.effective[-1])
    table = run("effects", *given).stdout
    assert expected.table().splitlines()[2] in table and "clip_norm on Gaussian" in table


def test_stages_of_a_comparison_are_named(monkeypatch):
    said = []
    module = importlib.import_module("sdelimit.experiments.comparison_run")
    for name in ("solve_ode", "solve_sde"):
        monkeypatch.setattr(module, name, lambda *a, **k: None)
    monkeypatch.setattr(module, "simulate", lambda problem, rules, *a, **k: [])
    monkeypatch.setattr(module, "_at", lambda curve, times: None)

    class Bar:
        def set_description(self, text):
            said.append(text)

        def update(self, n=1):
            said.append(n)

        def __enter__(self):
            return self

        def __exit__(self, *ended):
            return None

    monkeypatch.setattr(module, "progress_bar", lambda show, total, unit, **options: said.append(total) or Bar())
    problem = sl.LinearRegression([1.0, 1.0], sl.noise.Gaussian(0.5))
    experiment = module.Experiment([problem], [sl.sgd(), sl.sign_sgd()], [0.1, 0.2], np.linspace(0, 1, 3))
    with pytest.raises(ValueError, match="zip"):
        module.run_experiment(experiment, {"seed": 0, "batch_size": 1, "n_runs": 2, "n_paths": 2})
    assert said[:3] == [5, "theory of sgd, rule 1 of 2, problem 1 of 1", 1]
    assert said[3] == "SDE of sgd, rule 1 of 2, problem 1 of 1" and said[-2:] == [
        "simulation of 2 rules, problem 1 of 1",
        1,
    ]
    assert sum(n for n in said[1:] if isinstance(n, int)) == 5
