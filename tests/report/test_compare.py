"""Comparison reports and their figures."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

import sdelimit as sl
from sdelimit.report.plot import plot_reports
from sdelimit.results.curves import RiskCurve, RiskCurves
from sdelimit.results.plot import plot_curves, style_of
from sdelimit.results.text import describe_panel


@pytest.fixture(scope="module")
def experiment():
    """Of the shapes of tests/cli/test_cli.py, so that both compile once."""
    problem = sl.LinearRegression(sl.covariance.ar1(120, 0.5), sl.noise.Cauchy(0.2))
    rule, t = sl.sign_sgd(), np.linspace(0, 2, 21)
    return (
        sl.solve_ode(problem, rule, 0.5, t=t),
        sl.simulate(problem, rule, 0.5, t=t, n_runs=40),
        sl.solve_sde(problem, rule, 0.5, t=t, n_paths=100),
    )


def made_up(theory, runs, factor):
    """Runs whose mean is exactly ``factor`` times the theory, with a known spread."""
    spread = np.array([0.9, 1.0, 1.1])[:, None]
    return RiskCurves(
        t=theory.t, risk=theory.risk * factor * spread, lr=runs.lr, diverged_at=np.full(3, np.inf), status="ok",
        kind="simulation", problem=theory.problem, optimizer=theory.optimizer,
    )  # fmt: skip


@pytest.mark.long
def test_error_is_the_largest_relative_gap_of_the_mean(experiment):
    theory, runs, _ = experiment
    factor = np.ones(21)
    factor[7] = 1.25
    report = sl.compare(theory, made_up(theory, runs, factor))
    assert report.max_relative_error == pytest.approx(0.25)
    assert report.worst_time == theory.t[7]
    assert report.standard_error == pytest.approx(1.25 * 0.1 / np.sqrt(3))


def test_coverage_is_the_fraction_of_runs_inside_the_band(experiment):
    theory, runs, paths = experiment
    report = sl.compare(theory, made_up(theory, runs, np.where(np.arange(21) <= 10, 1.0, 100.0)), paths)
    low, high = paths.quantile([0.1, 0.9])
    inside = np.mean(
        [(theory.risk[1:11] * f >= low[1:11]) & (theory.risk[1:11] * f <= high[1:11]) for f in (0.9, 1, 1.1)]
    )
    assert report.coverage == pytest.approx(inside / 2)
    assert 0.65 < sl.compare(theory, runs, paths).coverage < 0.92


def test_theory_at_other_times_is_interpolated(experiment):
    theory, runs, _ = experiment
    coarse = sl.solve_ode(theory.problem, theory.optimizer, 0.5, t=np.linspace(0, 2, 14), rtol=1e-9)
    same = sl.compare(theory, runs).max_relative_error
    assert sl.compare(coarse, runs).max_relative_error == pytest.approx(same, abs=2e-3)


def test_table_and_figure_show_the_report(experiment, tmp_path):
    report = sl.compare(*experiment)
    assert "sign_sgd" in report.table() and f"{report.max_relative_error:.2%}" in report.table()
    figure = report.plot(tmp_path / "a figure.png")
    assert (tmp_path / "a figure.png").stat().st_size > 10_000
    axis = figure.axes[0]
    assert axis.get_xlabel() == "time t = steps / d" and axis.get_ylabel() == "excess risk R(t)"
    line = next(entry for entry in axis.lines if entry.get_label().endswith("ODE"))
    np.testing.assert_allclose(line.get_ydata(), experiment[0].risk)


@pytest.mark.long
def test_divergence_is_named_in_the_table_and_never_nan():
    problem, t = sl.LinearRegression(sl.covariance.identity(64), sl.noise.Gaussian(0.5)), np.linspace(0.0, 4.0, 9)
    with pytest.warns(sl.DivergenceWarning):
        theory = sl.solve_ode(problem, sl.sgd(), 20.0, t=t)
        runs = sl.simulate(problem, sl.sgd(), 20.0, t=t, n_runs=4)
    table = sl.compare(theory, runs).table()
    assert "diverged at t = " in table and "4 of 4 runs diverged" in table
    assert "nan" not in table.lower()
    sl.compare(theory, runs).plot()


@pytest.mark.slow
def test_select_picks_one_learning_rate(experiment):
    theory, _, _ = experiment
    many = sl.solve_ode(theory.problem, theory.optimizer, [0.4, 0.5], t=theory.t)
    runs_many = sl.simulate(theory.problem, theory.optimizer, [0.4, 0.5], t=theory.t, n_runs=4)
    one, runs = many.select(1), runs_many.select(1)
    assert isinstance(one, RiskCurve)
    np.testing.assert_array_equal(one.risk, many.risk[1])
    np.testing.assert_array_equal(runs.risk, runs_many.risk[1])
    expected = np.abs(runs_many.risk[1].mean(axis=0) / many.risk[1] - 1)
    np.testing.assert_allclose(sl.compare(one, runs).relative_error, expected, rtol=1e-6)


@pytest.mark.long
def test_without_paths_the_band_is_that_of_the_ode():
    problem = sl.LinearRegression(sl.covariance.identity(64), sl.noise.Gaussian(0.5))
    t = np.linspace(0.0, 4.0, 9)
    theory = sl.solve_ode(problem, sl.sgd(), 0.4, t=t)
    report = sl.compare(theory, sl.simulate(problem, sl.sgd(), 0.4, t=t, n_runs=4))
    (band,) = report.plot().axes[0].collections[:1]
    drawn = band.get_paths()[0].vertices
    for q in (0.1, 0.9):
        assert np.any(np.isclose(drawn[:, 1], theory.quantile(q)[-1], rtol=1e-9))


def like(results, **changes):
    return [dataclasses.replace(result, **changes) for result in results]


LONG = sl.noise.GaussianMixture([0.5, 0.3, 0.2], [0.0, 0.0, 0.0], [0.1, 0.2, 3.0])
MANY = [sl.adam(0.9, 0.99 + 0.0005 * i) for i in range(18)]


@pytest.mark.parametrize("panels", [1, 2, 4])
@pytest.mark.parametrize("rules", [1, 18])
def test_no_figure_cuts_its_legend_or_titles(experiment, panels, rules, tmp_path):
    noises = [LONG, sl.noise.Laplace(0.3), sl.noise.Uniform(1.0), sl.noise.Cauchy(0.1)]
    reports = []
    for noise in noises[:panels]:
        problem = sl.LinearRegression(experiment[0].problem.covariance, noise)
        reports += [sl.compare(*like(experiment, problem=problem, optimizer=rule)) for rule in MANY[:rules]]
    figure = plot_reports(reports, tmp_path / "figure.png")
    figure.canvas.draw()
    (legend,), box = figure.legends, figure.bbox
    shown = [axis.get_tightbbox() for axis in figure.axes]
    for extent in (legend.get_window_extent(), *shown):
        assert extent.x0 >= box.x0 and extent.x1 <= box.x1 and extent.y0 >= box.y0 and extent.y1 <= box.y1
    assert all(extent.y0 >= legend.get_window_extent().y1 for extent in shown)
    assert all(axis.get_window_extent().height > 200 for axis in figure.axes)
    assert len({axis.get_ylim() for axis in figure.axes[:3]}) == 1
    assert [bool(axis.get_ylabel()) for axis in figure.axes] == [True, False, False, True][:panels]


def test_legends_say_in_words_what_is_drawn(experiment):
    theory, runs, paths = experiment
    (legend,) = sl.compare(theory, runs, paths).plot().legends
    texts = [text.get_text() for text in legend.get_texts()]
    first, *kinds = texts
    assert first == "sign_sgd, learning rate 0.5"
    assert kinds == ["theory (ODE)", "theory of runs, 10-90% (SDE)", "40 runs, median and 10-90%"]
    handles = dict(zip(texts, legend.legend_handles, strict=True))
    assert handles["sign_sgd, learning rate 0.5"].get_linestyle() == "-"
    nothing = dataclasses.replace(sl.compare(theory, runs), theory=None)
    (legend,) = nothing.plot().legends
    assert [text.get_text() for text in legend.get_texts()] == [texts[0], texts[-1]]
    assert legend.legend_handles[0].get_linestyle() == "None"


@pytest.mark.long
def test_no_two_of_many_rules_look_alike(experiment):
    theory, runs, _ = experiment
    axis = plot_reports([sl.compare(*like((theory, runs), optimizer=rule)) for rule in MANY]).axes[0]
    lines = [line for line in axis.lines if line.get_label().endswith(": ODE")]
    looks = {(line.get_color(), str(line.get_linestyle()), line._dash_pattern[1] is None) for line in lines}
    assert len({line.get_color() for line in lines[:16]}) == 16 and len(looks) >= 18
    assert len({container.lines[0].get_marker() for container in axis.containers[:14]}) == 14
    assert len({style_of(i) for i in range(100)}) == 100


def test_a_report_is_drawn_into_given_axes_and_shows_itself(experiment, tmp_path, monkeypatch):
    report = sl.compare(*experiment)
    host = Figure()
    left, right = host.subplots(1, 2)
    assert report.plot(ax=left) is left and not right.lines and not host.legends
    assert left.get_legend() is not None and left.get_title() == repr(experiment[0].problem.noise)
    report.plot(tmp_path / "host.png", ax=left)
    assert (tmp_path / "host.png").stat().st_size > 5000
    with pytest.raises(TypeError, match="ax must be axes of matplotlib or None, got 'left'"):
        report.plot(ax="left")
    other = sl.LinearRegression(experiment[0].problem.covariance, sl.noise.Laplace(0.3))
    with pytest.raises(ValueError, match="ax must be None for reports of 2 problems"):
        plot_reports([report, sl.compare(*like(experiment, problem=other))], ax=left)
    figure = report.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    with pytest.raises(AttributeError, match="pyplot"):
        figure.show()
    monkeypatch.setattr("IPython.get_ipython", lambda: "a shell")
    figure.show()
    assert shown == [figure]


def test_curves_are_drawn_together_whatever_they_are(experiment):
    theory, runs, paths = experiment
    axis = plot_curves(experiment).axes[0]
    assert axis.get_yscale() == "log" and axis.get_xlabel() == "time t = steps / d"
    kinds = {"ODE", "ODE 10-90%", "SDE 10-90%", "40 runs, median and 10-90%"} if theory.has_spread else set()
    labels = axis.get_legend_handles_labels()[1]
    assert set(labels) == {f"sign_sgd, learning rate 0.5: {kind}" for kind in kinds}
    bare = plot_curves([theory, paths, runs], band=False).axes[0]
    assert not bare.collections and len(bare.lines) == 3  # line, median, points
    host = Figure().subplots()
    assert plot_curves(theory, ax=host, labels="mine") is host
    assert "mine: ODE" in host.get_legend_handles_labels()[1]
    doubled = dataclasses.replace(theory, batch_size=2)
    names = [text.get_text() for text in plot_curves([theory, doubled], band=False).legends[0].get_texts()]
    assert names[:2] == ["sign_sgd, learning rate 0.5, batch 1", "sign_sgd, learning rate 0.5, batch 2"]
    stacked = {name: np.stack([getattr(theory, name)] * 2) for name in ("risk", "slope", "phi", "modes")}
    several = dataclasses.replace(
        theory, lr=np.outer([0.5, 0.7], np.ones(21)), status=("ok", "ok"), diverged_at=np.full(2, np.inf),
        drift_error=np.zeros(2), aligned=np.zeros(2, bool), saturation=np.zeros(2), fluctuation=np.zeros(2),
        spread=None, **stacked,
    )  # fmt: skip
    for labels, names in [
        (None, ["sign_sgd, learning rate 0.5", "sign_sgd, learning rate 0.7"]),
        (["a", "b"], ["a", "b"]),
        ("a", ["a, learning rate 0.5", "a, learning rate 0.7"]),
    ]:
        shown = [text.get_text() for text in plot_curves(several, labels=labels).legends[0].get_texts()]
        assert shown[:2] == names
    for arguments, message in [(([theory, 3],), "curves must be risk curves, got 3"), (([],), "got \\[\\]")]:
        with pytest.raises(TypeError, match=message):
            plot_curves(*arguments)
    with pytest.raises(ValueError, match="labels must be 2, one for each of the curves, got 1"):
        plot_curves([theory, runs], labels=["a"])


def test_data_are_called_by_their_name(experiment):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 30))
    for name, title, noise in [
        ("homes.csv", "homes.csv: n = 300, d = 30", "homes.csv"),
        (None, "data: n = 300, d = 30", "Empirical(samples=<300 values"),
    ]:
        problem = sl.data.from_arrays(X, X[:, 0] + rng.standard_normal(300), name=name)
        report = sl.compare(*like(experiment[:2], problem=problem))
        assert report.plot().axes[0].get_title() == title
        assert f"  {noise}" in report.table()
        classes = sl.data.from_arrays(X, X[:, 0] + rng.standard_normal(300) > 0, model="logistic", name=name)
        assert describe_panel(classes) == title.replace(":", ", logistic:")
