"""The command line, as a user types it."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import click
import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.cli.compare import FILES
from sdelimit.cli.main import main
from sdelimit.experiments import specs
from sdelimit.experiments.rerun import rerun
from sdelimit.experiments.specs import parse_target

SMALL = ["--d", "60", "--t-max", "1", "--points", "11", "--runs", "6", "--paths", "6"]
DENSE = ["--d", "120", "--t-max", "2", "--points", "21", "--runs", "6", "--paths", "100"]
"""Where no feature is correlated with the residual."""


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_compare_writes_figure_curves_and_settings(tmp_path):
    out = tmp_path / "an output folder"
    lr = ["--lr", "0.4", "--lr", "sgd=cosine:0.3"]
    result = run("compare", *DENSE, *lr, "-n", "cauchy:0.2", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == set(FILES)
    assert "sign_sgd" in result.output and "Cauchy(scale=0.2)" in result.output
    assert "no limit" in result.output and "finite variance" in result.output
    curves = np.load(out / "curves.npz", allow_pickle=False)
    assert curves["0_sign_sgd_run_risk"].shape == (6, 21)
    assert curves["1_sgd_lr"][-1] == pytest.approx(0.0, abs=1e-12)
    assert json.loads(str(curves["settings"])) == json.loads((out / "settings.json").read_text())
    rows = list(csv.DictReader((out / "curves.csv").open()))
    assert len(rows) == 2 * 21
    assert float(rows[5]["ode_risk"]) == curves["0_sign_sgd_ode_risk"][5]
    assert rows[-1]["ode_risk"] == "" and float(rows[-1]["run_mean"]) > 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["d"] == 120 and settings["seed"] == 0 and "jax" in settings["versions"]


@pytest.mark.long
def test_an_earlier_result_is_not_overwritten_unless_asked(tmp_path):
    (tmp_path / "curves.npz").write_text("an earlier result")
    again = run("compare", *SMALL, "-n", "none", "--out", str(tmp_path))
    assert again.exit_code == 2 and "--force" in again.output
    assert (tmp_path / "curves.npz").read_text() == "an earlier result"
    assert run("compare", *SMALL, "-n", "none", "-o", "sgd", "--out", str(tmp_path), "--force").exit_code == 0
    assert np.load(tmp_path / "curves.npz")["0_sgd_t"][-1] == 1.0


@pytest.mark.slow
def test_covariance_and_noise_from_files(tmp_path):
    k = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.save(tmp_path / "K.npy", np.kron(np.eye(20), k))
    np.savetxt(tmp_path / "residuals.csv", np.linspace(-1, 1, 50), delimiter=",")
    files = ["-K", str(tmp_path / "K.npy"), "-n", str(tmp_path / "residuals.csv")]
    result = run("compare", *SMALL[2:], *files, "-o", "sgd", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "Empirical" in result.output


@pytest.mark.long
def test_targets_are_sparse_where_asked(tmp_path):
    for text, entries in (("e3", [2]), ("sparse:4", None)):
        out = tmp_path / text.replace(":", "-")
        result = run(
            "compare", *SMALL, "-o", "sgd", "-n", "none", "-K", "identity", "--target", text, "--out", str(out)
        )
        assert result.exit_code == 0, result.output
        # R(0) = 1/2 |theta*|^2 on isotropic data.
        assert np.load(out / "curves.npz")["0_sgd_ode_risk"][0] == pytest.approx(0.5)
        target = parse_target(text, 60, 0)
        assert np.flatnonzero(target).size == (1 if entries else 4) and np.sum(target**2) == pytest.approx(1)
        assert entries is None or list(np.flatnonzero(target)) == entries
        assert rerun(out / "curves.npz").agrees
    assert parse_target("dense", 60, 0) is None
    assert np.any(parse_target("sparse:4", 60, 1) != parse_target("sparse:4", 60, 0))


@pytest.mark.long
def test_other_models_are_compared_written_and_repeated(tmp_path):
    out = tmp_path / "out"
    result = run("compare", *SMALL, "--model", "logistic:hard", "-o", "sign_sgd", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "LogisticRegression(labels='hard')" in result.output
    settings = json.loads((out / "settings.json").read_text())
    assert settings["model"] == "logistic:hard" and settings["noise"] == ["none"]
    problem = sl.LogisticRegression(sl.covariance.ar1(60, 0.5), seed=0)
    curves = np.load(out / "curves.npz", allow_pickle=False)
    theory = sl.solve_ode(problem, sl.sign_sgd(), 0.5, t=curves["0_sign_sgd_t"])
    np.testing.assert_allclose(curves["0_sign_sgd_ode_risk"], theory.risk, rtol=1e-9)
    np.testing.assert_allclose(curves["0_sign_sgd_ode_overlaps"], theory.overlaps, atol=1e-9)
    runs = sl.simulate(problem, sl.sign_sgd(), 0.5, t=curves["0_sign_sgd_t"], n_runs=6, seed=0)
    np.testing.assert_allclose(curves["0_sign_sgd_run_overlaps"], runs.overlaps, atol=1e-5)
    rows = list(csv.DictReader((out / "curves.csv").open()))
    assert float(rows[-1]["ode_error_rate"]) == pytest.approx(theory.error_rate[-1])
    assert float(rows[-1]["ode_alignment"]) == pytest.approx(theory.alignment[-1])
    assert float(rows[-1]["run_alignment"]) == pytest.approx(runs.alignment[:, -1].mean(), rel=1e-4)
    assert rerun(out / "curves.npz").agrees


@pytest.mark.long
def test_robust_regression_takes_noise_without_a_mean(tmp_path):
    """Under which SGD on squares has no limit."""
    out = tmp_path / "out"
    given = ["--model", "huber:0.5", "-n", "cauchy:0.3", "-o", "sgd", "-K", "identity", "--out", str(out)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Cauchy")
        result = run("compare", *SMALL, *given)
    assert result.exit_code == 0, result.output
    assert "RobustRegression(loss='huber', threshold=0.5)" in result.output and "no limit" not in result.output
    rows = list(csv.DictReader((out / "curves.csv").open()))
    assert rows[-1]["ode_error_rate"] == "" and 0 < float(rows[-1]["ode_alignment"]) < 1


def test_models_are_texts_with_the_arguments_of_their_classes():
    def made(text):
        return specs.parse_model(text).problem(np.ones(50), sl.noise.Gaussian(0.3), seed=3)

    assert isinstance(made("linear"), sl.LinearRegression) and made("linear").noise == sl.noise.Gaussian(0.3)
    assert made("logistic").loss == made("logistic:hard").loss != made("logistic:labels=soft").loss
    assert made("huber:0.7").loss.threshold == 0.7 and made("absolute").loss.threshold == 0
    assert isinstance(made("probit"), sl.ProbitRegression) and isinstance(made("poisson"), sl.PoissonRegression)
    assert {name for name in specs.MODELS if specs.parse_model(name).takes_noise} == {"linear", "huber", "absolute"}
    for text, cosine in (("phase", 0.5), ("phase:0.1", 0.1), ("phase:-1", -1.0)):
        start, target = made(text).theta0, made(text).theta_star
        assert start @ target / np.linalg.norm(target) ** 2 == pytest.approx(cosine)
        assert np.linalg.norm(start) == pytest.approx(np.linalg.norm(target))
    np.testing.assert_array_equal(made("phase").theta_star, made("linear").theta_star)


@pytest.mark.parametrize(
    "stopped", [KeyboardInterrupt(), click.Abort(), SystemExit(130)], ids=lambda e: type(e).__name__
)
def test_a_command_that_is_interrupted_ends_at_once_with_the_status_of_shells(stopped, monkeypatch):
    """Without Python's shutdown, which crashes while threads of XLA compile."""
    module, left = importlib.import_module("sdelimit.cli.main"), []

    def main(standalone_mode):
        assert not standalone_mode
        raise stopped

    monkeypatch.setattr(module, "main", main)
    monkeypatch.setattr(module.os, "_exit", left.append)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # to be restored
    with pytest.raises(SystemExit):
        module.run()
    assert left == [130]


@pytest.mark.long
def test_ctrl_c_in_a_finalizer_is_not_lost(tmp_path):
    """Python only reports what is raised there, and goes on."""
    script = """
import importlib, signal, time, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)
import sdelimit.cli
class Thing: pass
def main(standalone_mode):
    thing = Thing()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    print("dropped", flush=True)
    for _ in range(1000):
        time.sleep(0.01)
importlib.import_module("sdelimit.cli.main").main = main
sdelimit.cli.run()
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "dropped\n"
    assert (ended.returncode, ended.stderr) == (130, "Aborted!\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [6.0, 9.0, 12.0, 15.0])
def test_ctrl_c_while_xla_compiles_does_not_crash(seconds, tmp_path):
    # A shell starts what runs in the background with SIGINT ignored, and so are the tests and what they start.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{listen}; from sdelimit.cli import run; print('ready', flush=True); run()"
    command = [sys.executable, "-c", script, "compare"]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    options = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--d", "300", "--out", "out"], **options) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.rstrip().endswith("Aborted!")


@pytest.mark.long
def test_several_outputs_are_compared_without_paths(tmp_path):
    given = ["--model", "softmax:hard,3", "--d", "40", "--t-max", "0.5", "--runs", "4", "-o", "sgd"]
    result = CliRunner().invoke(main, ["compare", *given, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "SoftmaxRegression(labels='hard')" in result.output
    assert (tmp_path / "out" / "comparison.png").exists()
