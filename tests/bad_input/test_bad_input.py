"""Bad input of every kind, to everything public, gets our own error that names the argument.

The tables are in the files beside this one. Nothing here solves, simulates or writes: what is wrong
is found before that.
"""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import sdelimit as sl
from bad_input import (
    analysis,
    cli,
    covariance,
    data,
    experiments,
    limits,
    noise,
    optimizers,
    problem,
    results,
    schedules,
    solvers,
)
from sdelimit.analysis.coefficients import LimitCoefficients
from sdelimit.cli.main import main
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.support.files import FileError

OWN = (NoLimitError, FileError)
"""Our own classes derived from ValueError."""
ROOMS = (analysis, cli, covariance, data, experiments, limits, noise, optimizers, problem, results, schedules, solvers)
TABLE = [row for room in ROOMS for row in room.TABLE]


def _name(row):
    where = row.arguments[0] if row.function is cli.command else getattr(row.function, "__name__", "call")
    return re.sub(r"[^\w]+", "-", f"{where} {row.message}")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A working folder with a file that is nothing, and a folder."""
    path = tmp_path_factory.mktemp("bad")
    (path / "bad.npy").write_bytes(b"\xff\xfe not an array")
    (path / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(
            importlib.import_module("sdelimit.experiments.sweep").cell_file, "run_cell", None
        )  # no cell is computed
        yield path


@pytest.mark.parametrize("row", [pytest.param(row, id=_name(row)) for row in TABLE])
def test_bad_input_is_refused_by_name(row):
    with pytest.raises(row.error, match=row.message) as caught:
        row.function(*row.arguments, **row.options)
    assert type(caught.value) in {row.error, *OWN}  # no class of JAX or NumPy derived from it
    assert not Path("out").exists()


def test_no_row_is_there_twice():
    assert len({repr(row) for row in TABLE}) == len(TABLE)


ABSTRACT = {sl.noise.NoiseLaw, sl.covariance.Covariance}
WARNINGS = {sl.DivergenceWarning, sl.LimitWarning}


def test_every_public_callable_is_in_the_table():
    rooms = (sl, sl.covariance, sl.noise, sl.schedules, sl.data)
    public = {getattr(room, name) for room in rooms for name in room.__all__ if callable(getattr(room, name))}
    missing = public - {row.function for row in TABLE} - ABSTRACT - WARNINGS
    assert not missing


def test_every_method_that_takes_numbers_is_in_the_table():
    called = {getattr(row.function, "__func__", None) for row in TABLE}
    questions = [sl.RiskCurve.at, sl.RiskCurve.select, sl.RiskCurves.quantile, sl.LinearRegression.risk]
    questions += [sl.covariance.Covariance.scaled, sl.noise.NoiseLaw.residual_density]
    questions += [m for name, m in inspect.getmembers(LimitCoefficients, inspect.isfunction) if name[0] != "_"]
    assert not set(questions) - called


def test_every_command_is_in_the_table():
    given = {row.arguments[0] for row in TABLE if row.function is cli.command}
    assert set(main.commands) <= given
