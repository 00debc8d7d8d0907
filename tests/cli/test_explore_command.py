"""The notebook that ``sdelimit explore`` writes runs."""

import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner

from sdelimit.cli.main import main


def written(folder, *options):
    out = folder / "explore.ipynb"
    result = CliRunner().invoke(main, ["explore", "--write-only", "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return nbformat.read(out, as_version=4)


def test_the_notebook_is_valid_and_kept(tmp_path):
    notebook = written(tmp_path, "--d", "30")
    nbformat.validate(notebook)
    assert "ar1(30, 0.5)" in notebook.cells[1].source
    assert written(tmp_path) == notebook  # what exists is opened as it is
    refused = CliRunner().invoke(main, ["explore", "--d", "40", "--out", str(tmp_path / "explore.ipynb")])
    assert refused.exit_code == 2 and "exists and is opened as it is: leave --d out" in refused.output


@pytest.mark.long
def test_its_code_runs_on_data(tmp_path):
    table = "size,price\n" + "".join(f"{x},{x % 7}\n" for x in range(1, 200))
    (tmp_path / "cars.csv").write_text(table)
    code = written(tmp_path, "--data", str(tmp_path / "cars.csv"), "--label", "price").cells[1].source
    code = code.replace("sl.enable_cache()", "None") + "\nprint(explorer.curve.problem.d)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[-1] == "1"
