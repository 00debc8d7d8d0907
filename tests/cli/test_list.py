"""``sdelimit list`` and ``python -m sdelimit``."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sdelimit.cli.main import main
from sdelimit.experiments.catalogue import KINDS, entries


def run(*arguments, columns=80):
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_all_lists_fit_the_terminal(columns):
    text = run("list", columns=columns)
    assert max(map(len, text.splitlines())) <= max(columns, 50)  # a long example is one word
    for kind in KINDS:
        for entry in entries(kind):
            assert entry.name in text
    assert "in Python only:" in text and "--covariance" in text


def test_one_list_has_parameters_defaults_and_a_line_from_the_code():
    text = run("list", "noises", columns=200)
    assert "  student_t  df, scale\n" in text and "for example student_t:2,0.3" in text
    assert "T Student-t with df degrees of freedom" in text and "sl.noise.Density(pdf" in text
    assert "adam" not in text
    assert "  adam  b1=0.9, b2=0.99, eps=0.0" in run("list", "optimizers", columns=200)


def test_json_is_all_there_is_on_standard_output():
    lists = json.loads(run("list", "--json"))
    assert set(lists) == set(KINDS)
    noises = {entry["name"]: entry for entry in lists["noises"]}
    assert noises["student_t"]["parameters"][0] == {"name": "df", "required": True, "default": None}
    assert noises["student_t"]["example"] == "student_t:2,0.3"
    assert not noises["sl.noise.Density"]["on_command_line"]
    adam = next(entry for entry in lists["optimizers"] if entry["name"] == "adam")
    assert {p["name"]: p["default"] for p in adam["parameters"]}["b1"] == 0.9
    assert set(json.loads(run("list", "models", "--json"))) == {"models"}


def test_the_package_is_a_program():
    command = [sys.executable, "-m", "sdelimit", "list", "schedules"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "inverse_sqrt" in done.stdout
    assert "Usage: python -m sdelimit " in subprocess.run(command[:3], capture_output=True, text=True).stderr
