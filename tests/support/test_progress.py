"""Progress bars are shown when asked for, and by themselves only on a terminal."""

import io

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.support.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("show", "stream", "shown"),
    [(True, io.StringIO, True), (False, Terminal, False), (None, io.StringIO, False), (None, Terminal, True)],
)
def test_a_bar_is_shown_on_request_or_on_a_terminal(show, stream, shown):
    out = stream()
    with progress_bar(show, 3, "step", file=out) as bar:
        bar.update(3)
    assert ("3/3" in out.getvalue()) == shown


@pytest.mark.long
def test_every_long_call_takes_the_switch(capsys, tmp_path):
    problem, t = sl.LinearRegression(np.ones(3), sl.noise.Gaussian(0.3)), [1.0]
    calls = (
        lambda show: sl.simulate(problem, sl.sgd(), 0.1, t=t, n_runs=2, progress=show),
        lambda show: sl.solve_sde(problem, sl.sgd(), 0.1, t=[0.0, 1.0], n_paths=2, progress=show),
        lambda show: sl.optimize_schedule(problem, sl.sgd(), 1.0, n_knots=2, iterations=2, progress=show),
        lambda show: sl.sweep(tmp_path / str(show), optimizer="sgd", lr=0.1, t_max=1.0, d=3, n_runs=0, progress=show),
    )
    for call in calls:
        for show in (False, True):
            call(show)
            assert bool(capsys.readouterr().err) == show
