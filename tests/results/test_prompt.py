"""What a prompt shows is short, and what is pickled comes back."""

import copy
import csv
import pickle

import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.report.comparison import format_table
from sdelimit.results.text import rule_labels
from sdelimit.support.brief import LINES, WIDTH, brief, shorten

PROBLEM = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(0.5))
HEAVY = sl.LinearRegression(np.eye(12) / 2 + 0.5, sl.noise.StudentT(3.0, 0.3))
RULES = [
    "adam(0.9, 0.95)", "adam(eps=1e-8)", "adam(bias_correction=False)", "nadam()", "rmsprop(0.99)", "s3()",
    "s_adam(brake=0.5)", "sgd()", "sgd(momentum=0.9, nesterov=True)", "dana(1.0, 0.5, 2.0)", "sign_sgd()",
    "signum(0.8)", "lion(memory='fixed')", "clip_norm(1.0)", "clip_coordinate(2.0)", "long_memory_adam(0.9, 0.999)",
    "adamw(weight_decay=0.1)", "sign_sgd().with_weight_decay(0.1)", "sgd().with_weight_decay(0.1, coupled=True)",
]  # fmt: skip


def is_short(value):
    lines = repr(value).splitlines()
    return len(lines) <= LINES and max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("text", RULES)
def test_an_optimizer_is_the_call_that_made_it(text):
    names = {name: getattr(sl, name) for name in sl.__all__}
    rule = eval(text, names)
    assert eval(repr(rule), names) is rule
    assert pickle.loads(pickle.dumps(rule)) is rule
    assert copy.copy(rule) is rule and copy.deepcopy(rule) is rule


def test_the_numbers_of_a_rule_are_shown_and_other_defaults_are_not():
    assert repr(sl.adam()) == "adam(b1=0.9, b2=0.99)"
    assert repr(sl.adam(0.5, eps=1e-3)) == "adam(b1=0.5, b2=0.99, eps=0.001)"
    assert repr(sl.sgd()) == "sgd()" and repr(sl.sgd(momentum=0.9)) == "sgd(momentum=0.9)"
    decayed = sl.sgd(momentum=0.5).with_weight_decay(0.25)
    assert repr(decayed) == "sgd(momentum=0.5).with_weight_decay(0.25)"


def test_a_rule_that_no_call_made_shows_its_name_and_numbers():
    rule = sl.Optimizer("mine", optax.identity(), sl.sgd().limit, {"strength": 2.0})
    assert repr(rule) == "mine(strength=2.0)"
    assert repr(sl.from_optax(optax.scale_by_sign(), name="signs")) == "signs()"


RUNS = sl.simulate(PROBLEM, sl.sign_sgd(), 0.3, t_max=1.0, n_runs=3)
CURVE = sl.solve_ode(PROBLEM, sl.sign_sgd(), 0.3, t=RUNS.t)


def test_a_curve_says_what_it_is():
    first, problem, range_, status = repr(CURVE).splitlines()
    assert first == "ODE curve of sign_sgd(), lr 0.3"
    assert "LinearRegression, d=20" in problem and "Gaussian(std=0.5)" in problem
    assert f"risk from {CURVE.risk[0]:.4g} to {CURVE.risk[-1]:.4g}" in range_ and "t from 0 to 1 at 21" in range_
    assert status == "  status: ok"
    assert repr(RUNS).startswith("3 simulated runs of sign_sgd(), lr 0.3\n")
    ends = RUNS.risk[:, -1]
    assert f"{ends.min():.4g}..{ends.max():.4g}" in repr(RUNS)


def test_what_went_wrong_is_shown():
    with pytest.warns(sl.DivergenceWarning):
        curve = sl.solve_ode(PROBLEM, sl.sgd(), [0.5, 12.0], t_max=10.0, batch_size=2)
    assert "lr 2 from 0.5 to 12, batches of 2" in repr(curve)
    assert "status: ok" in repr(curve) and "status: diverged" in repr(curve) and "warning: " in repr(curve)
    assert is_short(curve)


@pytest.mark.long
@pytest.mark.parametrize("problem", [PROBLEM, HEAVY], ids=["diagonal", "dense"])
@pytest.mark.parametrize("rule", [sl.sign_sgd(), sl.clip_coordinate(1.0)], ids=repr)
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_results_come_back_from_a_pickle(problem, rule):
    curve = sl.solve_ode(problem, rule, 0.1, t_max=1.0)
    runs = sl.simulate(problem, rule, 0.1, t_max=1.0, n_runs=2)
    report, found = sl.compare(curve, runs), sl.effects(problem, rule, 0.1, 1.0)
    for result in (problem, curve, runs, report, found, found.decomposition, found.noise_reshaping):
        assert is_short(result) or result is report  # a row is as wide as it is
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)
    again = pickle.loads(pickle.dumps(curve))
    np.testing.assert_array_equal(again.risk, curve.risk)
    assert repr(again.optimizer) == repr(rule)
    if curve.has_spread:
        np.testing.assert_allclose(again.std, curve.std, rtol=1e-9)
    at = found.noise_compression.at
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(at))([0.1, 0.2]), at([0.1, 0.2]))
    assert pickle.loads(pickle.dumps(found)).table() == found.table()


def test_two_settings_of_one_rule_have_two_names(tmp_path):
    from sdelimit.experiments.curve_files import write_csv

    rules = [sl.adam(0.9, 0.9), sl.adam(0.9, 0.999), sl.sign_sgd()]
    assert list(rule_labels(rules).values()) == ["adam(b1=0.9, b2=0.9)", "adam(b1=0.9, b2=0.999)", "sign_sgd"]
    assert list(rule_labels([rules[0], rules[0]]).values()) == ["adam"]
    reports = [sl.compare(CURVE, RUNS), *(sl.compare(_of(CURVE, rule), _of(RUNS, rule)) for rule in rules[:2])]
    names = [line.split("  ")[0] for line in format_table(reports).splitlines()[2:]]
    assert names == ["sign_sgd", "adam(b1=0.9, b2=0.9)", "adam(b1=0.9, b2=0.999)"]
    write_csv(tmp_path / "curves.csv", reports)
    with open(tmp_path / "curves.csv", newline="") as file:
        assert list(dict.fromkeys(row["optimizer"] for row in csv.DictReader(file))) == names
    from sdelimit.report.plot import plot_reports

    axis = plot_reports(reports).axes[0]
    assert len({line.get_color() for line in axis.get_lines() if line.get_label().endswith(": ODE")}) == 3


def _of(curve, rule):
    from dataclasses import replace

    return replace(curve, optimizer=rule)


def test_texts_are_cut():
    assert brief(np.linspace(0, 2, 9)) == "9 array from 0 to 2"
    assert brief(np.array(["a"] * 9)) == "9 array" and brief(1 / 3) == "0.333333"
    assert brief(tuple(range(5))) == "5 of 0" and brief(dict.fromkeys(range(5))) == "5 entries"
    assert len(brief("x" * 500)) == WIDTH
    shown = shorten(str(i) * 200 for i in range(30)).splitlines()
    assert len(shown) == LINES and max(map(len, shown)) == WIDTH and shown[-1] == "... and 21 more"


@pytest.mark.parametrize("module", [sl, sl.noise, sl.covariance, sl.schedules, sl.data], ids=lambda m: m.__name__)
def test_dir_lists_what_is_public(module):
    assert {name for name in dir(module) if not name.startswith("__")} == set(module.__all__)
    assert sl.__version__.count(".") == 2
