"""Frontiers and exponents of scaling laws (theory: section 21)."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.analysis.scaling import size_curve
from sdelimit.analysis.scaling.frontier import crossings, exponent, on_grid
from sdelimit.cli import main

NINE = [round(200 * 2 ** (k / 2)) for k in range(9)]


def features(beta, **options):
    return lambda d: sl.power_law_random_features(4 * d, d, 1.0, beta, **options)


def test_crossings_and_exponents_of_power_laws_are_exact():
    """Of losses d^-p + n^-q after n steps, where two sizes meet is known."""
    p, q, ds = 1.5, 0.8, [100, 141, 200, 282, 400]
    steps = [np.geomspace(1, 1e7, 300)] * len(ds)
    losses = [d**-p + steps[0] ** -q for d in ds]
    compute, size, loss = crossings(ds, ds, steps, losses)
    expected = []
    for i, j in ((0, 2), (1, 3), (2, 4)):
        # In compute f, d_i^-p - d_j^-p = f^-q (d_j^q - d_i^q).
        f = ((ds[j] ** q - ds[i] ** q) / (ds[i] ** -p - ds[j] ** -p)) ** (1 / q)
        expected.append((f, np.sqrt(ds[i] * ds[j]), ds[i] ** -p + (f / ds[i]) ** -q))
    np.testing.assert_allclose(np.transpose([compute, size, loss]), expected, rtol=1e-4)
    assert exponent(compute, compute**-0.3 * 7) == pytest.approx((-0.3, 0.0), abs=1e-12)
    bent = exponent(np.geomspace(1, 100, 5), np.array([1.0, 0.5, 0.25, 0.24, 0.23]))
    assert bent.error > 0.1 and str(exponent(compute[:2], loss[:2])) == "-"


def test_values_outside_a_curve_are_not_made_up():
    steps = np.geomspace(1, 100, 5)
    found = on_grid(steps, np.array([5.0, 4.0, 3.0, np.inf, np.inf]), np.array([0.5, 1.0, 10.0, 50.0, 1e3]))
    assert np.isnan(found[[0, 3, 4]]).all() and found[[1, 2]] == pytest.approx([5.0, 3.0])


@pytest.mark.long
def test_the_frontier_is_the_least_loss_that_compute_buys():
    ds = [30, 42, 60, 84, 120]
    law = sl.scaling_law(features(0.75, deterministic=True), sl.sgd(), ds, horizon=3e6, lrs=lambda p: [8.0, 1e4])
    assert [curve.d for curve in law.curves] == ds and law.losses.shape == (5, law.compute.size)
    np.testing.assert_array_equal(law.frontier, np.nanmin(law.losses, axis=0))
    for f, loss, d, rate in zip(law.compute, law.frontier, law.optimal_size, law.best_lr, strict=True):
        assert rate == 8.0  # the other diverges
        curve = law.curves[ds.index(d)]
        if f > 20 * d:  # after more steps lines between them are good enough to compare with
            line = np.exp(np.interp(np.log(f / d), np.log(curve.steps), np.log(curve.best)))
            assert loss == pytest.approx(line, rel=0.01)
    assert np.isinf(law.curves[0].losses[1]).any() and law.warnings == ()
    problem = features(0.75, deterministic=True)(60)
    direct = sl.solve_ode(problem, sl.sgd(), 8.0, t=np.append(0.0, law.curves[2].steps / 60), finite_d=True)
    np.testing.assert_allclose(law.curves[2].losses[0], direct.loss[1:], rtol=1e-9)
    slope = np.polyfit(*np.log(law.crossings[[0, 2]]), 1)[0]
    assert law.loss_exponent.value == pytest.approx(slope) and f"{slope:.3f}" in law.table()
    assert law.plot().axes[0].get_xlabel() == "compute"


def test_it_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    solved, of_size = [], size_curve.size_curve
    family, given = features(0.5, deterministic=True), {"lrs": [10.0], "horizon": 1e5, "out": tmp_path / "law"}

    def counted(problem, *args, **options):
        if len(solved) == 2:
            raise KeyboardInterrupt
        solved.append(problem.d)
        return of_size(problem, *args, **options)

    monkeypatch.setattr("sdelimit.analysis.scaling.scaling_law.size_curve", counted)
    with pytest.raises(KeyboardInterrupt):
        sl.scaling_law(family, sl.sgd(), [20, 30, 40], **given)
    assert solved == [20, 30] and len(list((tmp_path / "law").glob("size-*.npz"))) == 2
    solved[:] = [-1]
    law = sl.scaling_law(family, sl.sgd(), [20, 30, 40], **given)
    assert solved == [-1, 40]
    monkeypatch.undo()
    again = sl.scaling_law(family, sl.sgd(), [20, 30, 40], **{**given, "out": None})
    np.testing.assert_array_equal(law.frontier, again.frontier)
    with pytest.raises(ValueError, match=r"size-20\.npz belongs to another computation, with another rates; delete it"):
        sl.scaling_law(family, sl.sgd(), [20, 30, 40], **{**given, "lrs": [11.0]})
    with pytest.raises(ValueError, match=r"with another .*optimizer"):
        sl.scaling_law(family, sl.sgd(momentum=0.5), [20, 30, 40], **given)
    (tmp_path / "law" / "size-30.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"size-30\.npz is damaged"):
        sl.scaling_law(family, sl.sgd(), [20, 30, 40], **given)


@pytest.mark.long
def test_schedules_take_their_peak_from_the_rates():
    """A decay at the end of a run removes noise: its loss is below that of the constant rate at the same compute."""
    family, given = features(0.75, deterministic=True), {"lrs": [30.0], "horizon": 2e6}
    laws = {
        name: sl.scaling_law(family, sl.sgd(), [50, 100], schedule=name, **given)
        for name in ("constant", "inverse_sqrt", "wsd")
    }
    ends = {name: law.curves[0].best[-1] for name, law in laws.items()}
    assert ends["wsd"] < 0.9 * ends["constant"]
    steps = laws["wsd"].curves[0].steps
    t = steps[-1] / 50
    curve = sl.solve_ode(family(50), sl.sgd(), sl.schedules.wsd(30.0, t), t, finite_d=True)
    assert curve.loss[-1] == pytest.approx(ends["wsd"], rel=1e-9)
    slow = sl.solve_ode(family(50), sl.sgd(), sl.schedules.inverse_sqrt(30.0), t, finite_d=True)
    assert slow.loss[-1] == pytest.approx(ends["inverse_sqrt"], rel=1e-9)


@pytest.mark.long
def test_default_rates_of_large_batches_do_not_diverge_and_who_diverges_is_told():
    family = features(0.3, deterministic=True)
    for batch_size in (1, 16, 64):
        law = sl.scaling_law(family, sl.sgd(), [20, 40], horizon=3e5 * batch_size, batch_size=batch_size)
        assert np.isfinite(law.frontier).all() and law.warnings == ()
        assert law.frontier[-1] < 3 * law.curves[-1].irreducible
    lost = sl.scaling_law(family, sl.sgd(), [20, 40], horizon=3e5, lrs=[1e4])
    assert any("every learning rate has diverged by step" in text for text in lost.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(
    ("beta", "loss", "size"), [(0.3, -(2 + 0.6 - 1) / 3, 1 / 3), (0.75, -(2 + 1.5 - 1) / 3.5, 0.75 / 1.75)]
)
def test_exponents_of_sgd_are_the_published_ones(beta, loss, size, deterministic):
    """arXiv:2405.15074, phases Ia and II at alpha = 1, d = 200 to 3200."""
    law = sl.scaling_law(features(beta, deterministic=deterministic), sl.sgd(), NINE, horizon=3e8)
    assert law.loss_exponent.value == pytest.approx(loss, abs=0.06)
    assert law.size_exponent.value == pytest.approx(size, abs=0.06)


def test_the_command_line_writes_table_and_figure(tmp_path):
    runner = CliRunner()
    command = ["scaling", "--deterministic", "--beta", "0.75", "--horizon", "3e5", "--out", str(tmp_path / "out")]
    sizes = [word for d in (20, 30, 40, 60, 80) for word in ("-d", str(d))]
    result = runner.invoke(main, [*command, *sizes, "--lr", "3", "--lr", "sgd=10"])
    assert result.exit_code == 0, result.output
    assert "loss ~ compute^(" in result.output
    rows = [line.split(",") for line in (tmp_path / "out" / "scaling.csv").read_text().splitlines()]
    assert rows[0] == ["optimizer", "d", "steps", "compute", "lr", "loss", "on_frontier"]
    assert {row[4] for row in rows[1:]} == {"10.0"} and all(float(r[3]) == int(r[1]) * int(r[2]) for r in rows[1:])
    assert (tmp_path / "out" / "scaling.png").stat().st_size > 5000
    record = json.loads(str(np.load(tmp_path / "out" / "sgd" / "size-20.npz")["record"]))
    assert math.isclose(record["cost"], 20.0)
    wrong = runner.invoke(main, [*command, *sizes, "--lr", "fast"])
    assert wrong.exit_code == 2 and "--lr must be a number" in wrong.output
