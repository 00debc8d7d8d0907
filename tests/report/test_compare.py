"""Comparison reports and their figures."""

import dataclasses

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.report.plot import plot_reports
from sdelimit.results.curves import RiskCurve, RiskCurves


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


@pytest.mark.parametrize("panels", [1, 2])
def test_no_figure_cuts_its_legend(experiment, panels, tmp_path):
    theory, runs, paths = experiment
    other = sl.LinearRegression(theory.problem.covariance, sl.noise.Laplace(0.3))
    reports = [sl.compare(theory, runs, paths)]
    if panels == 2:
        again = [dataclasses.replace(result, problem=other) for result in (theory, runs, paths)]
        reports.append(sl.compare(*again))
    figure = plot_reports(reports, tmp_path / "figure.png")
    figure.canvas.draw()
    (legend,), box = figure.legends, figure.bbox
    extent = legend.get_window_extent()
    assert extent.x0 >= box.x0 and extent.x1 <= box.x1 and extent.y0 >= box.y0 and extent.y1 <= box.y1
