"""The command that opens the explorer in JupyterLab. No computation."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import click

from sdelimit.cli.problem_options import was_given

NOTEBOOK = "sdelimit-explore.ipynb"
INTRODUCTION = (
    "Move the sliders: the risk curve follows at once, the four effects when they rest. `explorer.state`, "
    "`explorer.curve` and `explorer.runs` are what they are at."
)


@click.command(name="explore")
@click.option("--d", type=click.IntRange(min=1), default=200, show_default=True, help="Dimension.")
@click.option("--data", metavar="FILE", help="Real data in place of --d, as for sdelimit compare.")
@click.option("--label", metavar="NAME", help="The column of --data that holds the labels.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=NOTEBOOK,
    show_default=True,
    help="The notebook. One that exists is opened as it is.",
)
@click.option("--write-only", is_flag=True, help="Write the notebook, and do not open it.")
def explore_command(d, data, label, out, write_only):
    """Sliders that redraw risk curves and the four effects: writes a notebook and opens it in JupyterLab."""
    from sdelimit.support.files import replacing

    given = [f"--{name}" for name in ("d", "data", "label") if was_given(name)]
    if out.exists() and given:
        raise click.UsageError(f"{out} exists and is opened as it is: leave {given[0]} out, or choose another --out")
    if data and was_given("d"):
        raise click.UsageError("--data brings its own --d; leave one of them out")
    if data and not Path(data).is_file():
        raise click.UsageError(f"--data: cannot read {data}: No such file")
    if label and not data:
        raise click.UsageError("--label is of the rows of --data")
    if out.suffix != ".ipynb":
        raise click.UsageError(f"--out must end in .ipynb, got {out}")
    if not write_only and importlib.util.find_spec("jupyterlab") is None:
        raise click.UsageError('JupyterLab is not installed: pip install "sdelimit[notebooks]"')
    if not out.exists():
        try:
            with replacing(out, "w", encoding="utf-8") as file:
                json.dump(_notebook(_problem(d, data and _from(out, data), label)), file, indent=1)
        except OSError as error:
            raise click.ClickException(f"cannot write {out}: {error.strerror}") from error
        click.echo(f"Wrote {out}.")
    else:
        click.echo(f"{out} exists.")
    if not write_only:
        sys.exit(subprocess.call([sys.executable, "-m", "jupyterlab", str(out)]))


def _from(out, data) -> str:
    """The path of ``data`` from the notebook's folder, where its kernel starts; where there is none, the whole path."""
    try:
        return os.path.relpath(data, out.resolve().parent)
    except ValueError:  # on another drive
        return str(Path(data).resolve())


def _problem(d, data, label) -> str:
    """The line of code that makes the problem."""
    if data is None:
        return f"problem = sl.LinearRegression(sl.covariance.ar1({d}, 0.5), sl.noise.Gaussian(0.5))"
    target = f", target={label!r}" if label else ""
    return f"problem = sl.data.from_file({data!r}{target})"


def _notebook(problem) -> dict:
    """A notebook, as its format 4.5 has it, with one cell of text and one of code."""
    code = ["import sdelimit as sl", "", "sl.enable_cache()  # the next time starts faster", problem]
    code += ["explorer = sl.explore(problem)", "explorer"]
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"cell_type": "markdown", "id": "text", "metadata": {}, "source": INTRODUCTION},
            {
                "cell_type": "code", "id": "explorer", "metadata": {}, "source": "\n".join(code), "outputs": [],
                "execution_count": None,
            },
        ],
    }  # fmt: skip
