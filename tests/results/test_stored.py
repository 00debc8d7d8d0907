"""What is saved comes back equal, without pickles; and equality is that of content."""

import json
import pickle
import subprocess
import sys

import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.support.structure import NotSaved, put_together, take_apart

PROBLEM = sl.LinearRegression(sl.covariance.ar1(20, 0.5), sl.noise.StudentT(5.0, 0.5), theta0=np.full(20, 0.1))
CURVE = sl.solve_ode(PROBLEM, sl.sign_sgd(), sl.schedules.cosine(0.3, 1.0), t_max=1.0, aligned=False)
RUNS = sl.simulate(PROBLEM, sl.sign_sgd(), 0.3, t_max=1.0, n_runs=4, sharpness=True)


SETTINGS = np.array('{"format": 1, "versions": {"sdelimit": "0.1.0"}}')


def again(result, folder):
    result.save(folder / "result.npz")
    return sl.load(folder / "result.npz")


def test_a_curve_comes_back(tmp_path):
    loaded = again(CURVE, tmp_path)
    assert loaded == CURVE and repr(loaded) == repr(CURVE) and loaded is not CURVE
    np.testing.assert_array_equal(loaded.std, CURVE.std)
    np.testing.assert_array_equal(loaded.at([0.013, 0.7]), CURVE.at([0.013, 0.7]))
    assert loaded.optimizer == sl.sign_sgd() and loaded.problem == PROBLEM


def test_a_file_says_what_it_holds(tmp_path):
    CURVE.save(tmp_path / "curve.npz")
    with np.load(tmp_path / "curve.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["risk"], CURVE.risk)
        np.testing.assert_array_equal(file["problem.theta_star"], PROBLEM.theta_star)
        settings = json.loads(str(file["settings"]))
    assert settings["what"] == "RiskCurve" and settings["summary"] == repr(CURVE)
    assert settings["versions"]["sdelimit"] == sl.__version__


@pytest.mark.parametrize("change", ["risk", "seed", "noise", "rule", "class"])
def test_equality_is_of_content(change):
    from dataclasses import replace

    same = pickle.loads(pickle.dumps(RUNS))
    assert same == RUNS and hash(same) == hash(RUNS) and same.problem == PROBLEM
    assert hash(same.problem) == hash(PROBLEM)
    other = {
        "risk": lambda: replace(RUNS, risk=np.nextafter(RUNS.risk, 1)),
        "seed": lambda: replace(RUNS, seed=1),
        "noise": lambda: replace(RUNS, problem=sl.LinearRegression(PROBLEM.covariance, sl.noise.StudentT(5.0, 0.6))),
        "rule": lambda: replace(RUNS, optimizer=sl.sgd()),
        "class": lambda: CURVE,
    }[change]()
    assert other != RUNS


def test_numbers_that_are_none_are_equal():
    from dataclasses import replace

    gone = replace(CURVE, risk=np.full_like(CURVE.risk, np.nan))
    assert gone == replace(CURVE, risk=np.full_like(CURVE.risk, np.nan)) != CURVE


def test_rules_of_equal_calls_are_equal():
    rule, other = sl.adam(0.9, 0.95), sl.adam(0.9, 0.96)
    from sdelimit.optimizers.optimizer import Optimizer  # made anew, past the memo

    made = object.__new__(Optimizer)
    vars(made).update(vars(rule))
    assert made == rule and hash(made) == hash(rule) and made is not rule
    assert rule != other and rule != sl.adamw(0.9, 0.95, 0.1) and rule != "adam"
    mine = sl.Optimizer("mine", optax.identity(), sl.sgd().limit)
    assert mine == mine and mine != sl.Optimizer("mine", mine.transform, sl.sgd().limit)


def test_runs_come_back_and_have_parts(tmp_path):
    assert again(RUNS, tmp_path) == RUNS
    assert len(RUNS) == 4 and [run.risk.shape for run in RUNS] == [(1, 21)] * 4
    np.testing.assert_array_equal(RUNS[-1].risk[0], RUNS.risk[3])
    np.testing.assert_array_equal(RUNS[1:3].sharpness, RUNS.sharpness[1:3])
    np.testing.assert_array_equal(RUNS[[0, 2]].risk, RUNS.risk[[0, 2]])
    with pytest.raises(IndexError):
        RUNS[4]


@pytest.mark.filterwarnings("ignore::sdelimit.DivergenceWarning", "ignore::sdelimit.LimitWarning")
def test_parts_of_runs_have_their_own_status():
    problem = sl.LinearRegression(np.ones(20))
    runs = sl.simulate(problem, sl.sgd(), [0.5, 30.0], t_max=20.0, n_runs=3)
    assert len(runs) == 2 and runs[1] == runs.select(1) == runs[-1] and runs[0].status == "ok"
    assert "3 of 3 runs diverged" in runs[1].status and "1 of 1 runs diverged, the first by t = " in runs[1][0].status
    curve = sl.solve_ode(problem, sl.sgd(), [0.5, 1.0], t_max=1.0)
    assert len(curve) == 2 and [part.lr[0] for part in curve] == [0.5, 1.0] and curve[-1] == curve.select(1)
    for bad in (lambda: len(curve[0]), lambda: curve[0][0], lambda: curve["a"], lambda: runs[0:1]):
        with pytest.raises(TypeError):
            bad()
    with pytest.raises(IndexError):
        curve[2]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_reports_and_paths_come_back(tmp_path):
    theory = sl.solve_ode(PROBLEM, sl.sgd().with_weight_decay(0.1), 0.3, t_max=1.0)
    runs = sl.simulate(PROBLEM, theory.optimizer, 0.3, t_max=1.0, n_runs=2)
    paths = sl.solve_sde(PROBLEM, theory.optimizer, 0.3, t_max=1.0, n_paths=3)
    for result in (paths, sl.compare(theory, runs, paths)):
        assert again(result, tmp_path) == result and repr(sl.load(tmp_path / "result.npz")) == repr(result)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_every_result_comes_back(tmp_path):
    theory = sl.solve_ode(PROBLEM, sl.sign_sgd(), 0.3, t_max=1.0)
    paths = sl.solve_sde(PROBLEM, sl.sign_sgd(), 0.3, t_max=1.0, n_paths=3)
    data = sl.data.from_arrays(np.random.default_rng(0).standard_normal((200, 5)), np.arange(200.0))
    logistic = sl.LogisticRegression(sl.covariance.identity(30))
    results = [
        paths,
        sl.compare(theory, RUNS, paths),
        sl.effects(PROBLEM, sl.sign_sgd(), 0.3, 1.0),
        sl.best_constant_lr(PROBLEM, sl.sign_sgd(), t_max=1.0),
        sl.best_weight_decay(PROBLEM, sl.sign_sgd(), 0.3),
        sl.optimize_schedule(PROBLEM, sl.sgd(), t_max=1.0, n_knots=4, iterations=2),
        sl.optimal_clipping(PROBLEM, 0.3, t_max=1.0),
        sl.solve_ode(data, sl.sign_sgd(), 0.1, t_max=1.0),
        sl.solve_ode(logistic, sl.sgd(), 0.5, t_max=1.0),
        sl.solve_ode(PROBLEM, sl.adam(0.9, 0.95), [0.1, 0.2], t_max=1.0),
        sl.solve_ode(PROBLEM, sl.sgd().with_weight_decay(0.1), 0.2, t_max=1.0),
        sl.solve_ode(PROBLEM, sl.clip_coordinate(1.0), 0.2, t_max=1.0),
    ]
    for result in results:
        loaded = again(result, tmp_path)
        assert loaded == result and repr(loaded) == repr(result)
    effects = again(results[2], tmp_path)
    np.testing.assert_array_equal(effects.noise_compression.at(0.1), results[2].noise_compression.at(0.1))
    assert effects.decomposition.log_shares() == results[2].decomposition.log_shares()


def test_functions_of_ones_own_are_left_out_and_refuse_to_be_used(tmp_path):
    rule = sl.from_optax(optax.scale_by_sign(), name="signs")
    curve = sl.solve_ode(PROBLEM, rule, 0.3, t_max=1.0, aligned=False)
    with pytest.warns(UserWarning, match="save: functions are not saved"):
        loaded = again(curve, tmp_path)
    assert repr(loaded.optimizer) == repr(rule) and loaded.optimizer != rule
    assert loaded == loaded and loaded != curve
    np.testing.assert_array_equal(loaded.risk, curve.risk)
    for use in (sl.solve_ode, sl.simulate):
        with pytest.raises(ValueError, match="was not saved with the result"):
            use(PROBLEM, loaded.optimizer, 0.3, t_max=1.0)


def test_functions_of_the_same_name_are_not_equal(tmp_path):
    def law(scale):
        return sl.noise.Density(lambda e: np.exp(-np.abs(e) / scale) / (2 * scale))

    problems = [sl.LinearRegression(np.ones(20), law(scale)) for scale in (0.3, 0.3)]
    assert problems[0] == problems[0] != problems[1]
    curve = sl.solve_ode(problems[0], sl.sign_sgd(), 0.3, t_max=1.0, aligned=False)
    with pytest.warns(UserWarning, match="lambda"):
        loaded, other = again(curve, tmp_path), again(curve, tmp_path)
    assert loaded.problem != problems[0] and loaded.problem != other.problem


class Mine(sl.LinearRegression):
    """A class of one's own."""


def test_problems_of_ones_own_class_compare_and_are_not_saved(tmp_path):
    a, b = Mine(np.ones(20)), Mine(np.ones(20))
    assert a == b and hash(a) == hash(b) and a != sl.LinearRegression(np.ones(20)) and a != Mine(np.ones(20), seed=1)
    curve = sl.solve_ode(a, sl.sign_sgd(), 0.3, t_max=1.0, aligned=False)
    with pytest.raises(TypeError, match="whose class is not of this package"):
        curve.save(tmp_path / "curve.npz")
    assert not list(tmp_path.iterdir())


def test_looking_at_a_curve_does_not_change_what_it_is():
    same = pickle.loads(pickle.dumps(CURVE))
    assert same.std is not None and same == CURVE


def test_what_is_loaded_cannot_be_written_to(tmp_path):
    loaded = again(CURVE, tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        loaded.problem.theta0[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        loaded.risk[0] = 1.0


def test_a_file_is_read_in_a_new_process(tmp_path):
    CURVE.save(tmp_path / "curve.npz")
    code = "import sys, sdelimit as sl; c = sl.load(sys.argv[1]); print(c.risk[-1].hex(), hash(c) is not None)"
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "curve.npz")], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split()[0] == float(CURVE.risk[-1]).hex()


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "sdelimit.support.files:os.system",
        "sdelimit.support.files:nothing",
        "sdelimit.support.files:writable_folder",
        "sdelimit.experiments.specs:parse_optimizer",
        "sdelimit.results.stored:Stored.save",
    ],
)
def test_a_file_calls_nothing_but_what_makes_optimizers(name):
    for tree in ({"name": name}, {"new": name, "arguments": []}, {"call": name, "arguments": ["os.system:x"]}):
        with pytest.raises(ValueError, match=r"it (names|calls) "):
            put_together(tree, {})
    wrapped = {"new": "sdelimit.numerics.jit:_ByComputation", "arguments": [], "state": [["makes_optimizers", True]]}
    with pytest.raises((ValueError, AttributeError)):
        put_together({"call": wrapped, "arguments": ["os.system:x"]}, {})


def test_a_file_does_not_change_the_rules_of_the_process():
    tree = {"call": "sdelimit.optimizers.sign:sign_sgd", "arguments": [], "state": [["memory", 77.0]]}
    assert put_together(tree, {}) is sl.sign_sgd() and sl.sign_sgd().memory == 1.0


def test_an_object_that_lacks_a_part_is_refused():
    tree = take_apart(CURVE).tree
    tree["state"] = [part for part in tree["state"] if part[0] != "slope"]
    with pytest.raises(ValueError, match="its RiskCurve has no slope"):
        put_together(tree, take_apart(CURVE).arrays)


def test_a_file_of_no_result_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", risk=np.ones(3))
    with pytest.raises(ValueError, match=r"path: .*a\.npz holds no result"):
        sl.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", structure=np.array('{"name": "sdelimit.results.curves:RiskCurve"}'), settings=SETTINGS)
    with pytest.raises(ValueError, match="it is a type"):
        sl.load(tmp_path / "b.npz")
    CURVE.save(tmp_path / "c.npz")
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="path: "):
        sl.load(tmp_path / "c.npz")


def test_a_file_of_a_later_version_is_refused(tmp_path):
    later = np.array('{"format": 2, "versions": {"sdelimit": "9.1"}}')
    np.savez(tmp_path / "b.npz", structure=np.array("{}"), settings=later)
    with pytest.raises(ValueError, match=r"its format is 2, of sdelimit 9\.1"):
        sl.load(tmp_path / "b.npz")
    tree = take_apart(CURVE).tree
    tree["new"] = "sdelimit.results.curves:Curve"
    np.savez(tmp_path / "a.npz", structure=np.array(json.dumps(tree)), settings=SETTINGS, **take_apart(CURVE).arrays)
    with pytest.raises(ValueError, match=r"it names sdelimit\.results\.curves:Curve, which this version"):
        sl.load(tmp_path / "a.npz")


def test_optax_rules_pickle_by_cloudpickle():
    import cloudpickle

    rule = sl.from_optax(optax.scale_by_sign(), name="signs")
    there = pickle.loads(cloudpickle.dumps(rule))
    a, b = (sl.solve_ode(PROBLEM, one, 0.3, t_max=1.0, aligned=False).risk for one in (rule, there))
    np.testing.assert_array_equal(a, b)


def test_tables():
    frame = CURVE.to_dataframe()
    assert list(frame.columns) == ["t", "lr", "risk", "phi"] and len(frame) == CURVE.t.size
    np.testing.assert_array_equal(frame.risk, CURVE.risk)
    assert frame.attrs["optimizer"] == "sign_sgd()"
    runs = RUNS.to_dataframe()
    assert list(runs.columns) == ["run", "t", "lr", "risk", "curvature", "squared_length"]
    chosen = runs[(runs.run == 2) & (runs.t == RUNS.t[5])]
    assert chosen.risk.item() == RUNS.risk[2, 5]
    data = RUNS.to_xarray()
    assert data.risk.dims == ("run", "t") and data.attrs["kind"] == "simulation"
    np.testing.assert_array_equal(data.risk.sel(t=RUNS.t[5]), RUNS.risk[:, 5])
    assert sl.solve_ode(PROBLEM, sl.sgd(), 0.3, t_max=1.0, save_modes=True).to_xarray().modes.dims == ("t", "mode")


@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_tables_of_several_rates():
    curve = sl.solve_ode(PROBLEM, sl.sgd(), [0.2, 0.4], t=[0.0, 0.5, 1.0])
    frame = curve.to_dataframe()
    assert len(frame) == 6 and set(frame.columns) == {"rate", "t", "lr", "risk", "phi"}
    row = frame[(frame.rate == 1) & (frame.t == 0.5)]
    assert row.risk.item() == curve.risk[1, 1] and row.lr.item() == 0.4
    assert curve.to_xarray().risk.dims == ("rate", "t")


def test_a_report_as_a_table():
    theory = sl.solve_ode(PROBLEM, sl.sign_sgd(), 0.3, t_max=1.0, aligned=False)
    report = sl.compare(theory, RUNS)
    frame = report.to_dataframe()
    np.testing.assert_array_equal(frame.run_mean, RUNS.mean)
    np.testing.assert_allclose(np.abs(frame.run_mean / frame.ode_risk - 1), frame.relative_error, atol=1e-14)


def test_jupyter_shows_a_table():
    shown = CURVE._repr_html_()
    assert shown.startswith("<table>") and "sign_sgd()" in shown and "&lt;LinearRegression" in shown
    shown = sl.LogisticRegression(sl.covariance.identity(7), labels="soft")._repr_html_()
    assert shown.startswith("<table>") and "soft" in shown and ">7<" in shown and "R(0)" in shown
    shown = sl.adam(0.9, 0.99)._repr_html_()
    assert "adam(b1=0.9, b2=0.99" in shown and "10 steps" in shown


def test_what_is_not_saved_is_named():
    lost = NotSaved("f")
    assert repr(lost) == "<f, not saved>" and lost == lost != NotSaved("f")
    with pytest.raises(AttributeError, match="f was not saved with the result"):
        lost.d  # noqa: B018


def test_curves_are_drawn(tmp_path):
    from matplotlib.figure import Figure

    figure = CURVE.plot(label="mine", path=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = figure.axes
    (line,) = axis.get_lines()
    np.testing.assert_allclose(line.get_ydata(), CURVE.risk, rtol=1e-12)
    axis = Figure().subplots()
    assert RUNS.plot(ax=axis) is axis and CURVE.plot(axis, band=False) is axis
    assert "<img" in CURVE._repr_html_() and "<img" in RUNS._repr_html_()
