"""A rule of one's own takes one function, and everything else takes it from there."""

import importlib

import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.cli import main

pytestmark = pytest.mark.long

MODULE = '''
import optax
import sdelimit as sl
from sdelimit.limits import Limit, sign_limit

def scaled_sign(factor=0.5):
    """u = factor sign(g): signSGD at another learning rate."""

    def limit(problem, batch_size):
        sign = sign_limit(problem.noise, batch_size)
        return Limit(lambda R: factor * sign.phi(R), lambda R: factor**2 * sign.psi(R), sign.power, sign.basis)

    return sl.Optimizer("scaled sign", optax.chain(optax.scale_by_sign(), optax.scale(factor)), limit)
'''
FACTOR, LR = 0.5, 0.6


@pytest.fixture
def rule(tmp_path, monkeypatch):
    """The rule, from a module in the current folder."""
    (tmp_path / "own_rules.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("own_rules").scaled_sign(FACTOR)


def test_the_limit_is_that_of_sign_sgd_at_another_learning_rate(rule, small_problem):
    t = np.linspace(0.0, 2.0, 9)
    mine, sign = (
        sl.solve_ode(small_problem, o, lr, t=t, aligned=False) for o, lr in ((rule, LR), (sl.sign_sgd(), FACTOR * LR))
    )
    np.testing.assert_allclose(mine.risk, sign.risk, rtol=1e-7)
    rates = [
        sl.stationary_risk(small_problem, o, lr, aligned=False) for o, lr in ((rule, LR), (sl.sign_sgd(), FACTOR * LR))
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)
    ours, theirs = (sl.limit_coefficients(o, small_problem.noise) for o in (rule, sl.sign_sgd()))
    assert ours.figure_of_merit(0.3) == pytest.approx(theirs.figure_of_merit(0.3), rel=1e-9)


def test_runs_paths_comparison_and_effects_take_the_rule(rule):
    problem = sl.LinearRegression(sl.covariance.ar1(60, 0.5), sl.noise.Gaussian(0.4))
    t = np.linspace(0.0, 2.0, 9)
    theory = sl.solve_ode(problem, rule, LR, t=t)
    runs = sl.simulate(problem, rule, LR, t=t, n_runs=200)
    paths = sl.solve_sde(problem, rule, LR, t=t, n_paths=200)
    for curves in (runs, paths):
        allowed = 4 * curves.standard_error + 3 / problem.d * theory.risk
        assert np.all(np.abs(curves.mean - theory.risk) <= allowed)
    assert "scaled sign" in sl.compare(theory, runs, paths).table()
    effects = sl.effects(problem, rule, LR, t=t)
    assert effects.identity_error < 1e-12
    sign = sl.effects(problem, sl.sign_sgd(), FACTOR * LR, t=t)
    np.testing.assert_allclose(effects.noise_compression.chi, sign.noise_compression.chi, rtol=1e-6)


def test_the_command_line_takes_the_rule_by_its_dotted_name(rule, tmp_path):
    """Of the shapes of the test before, so that both compile once."""
    given = ["-o", f"own_rules.scaled_sign:{FACTOR}", "-n", "gaussian:0.4", "--d", "60", "--t-max", "2"]
    given += ["--points", "9", "--runs", "200", "--paths", "200"]
    done = CliRunner().invoke(main, ["compare", *given, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "scaled sign" in done.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module.rule", "cannot import 'no_such_module'"),
        ("own_rules.missing", "must be a function that makes an optimizer"),
        ("math.sqrt:4", "must be an optimizer"),
        ("own_rules.scaled_sign:1.5.5", "cannot read the arguments"),
    ],
)
def test_what_is_no_rule_is_refused_by_name(rule, text, message):
    refused = CliRunner().invoke(main, ["compare", "-o", text, "--d", "20", "--t-max", "1"])
    assert refused.exit_code == 2 and message in refused.output and text.split(":")[0] in refused.output
