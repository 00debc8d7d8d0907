"""What is not to be relied on is found, named, kept in ``.status`` and ``.warnings``, and warned of."""

import dataclasses
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.limits.limit import CoefficientErrors
from sdelimit.limits.measured.step_counts import StartUp
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.optimizers.from_optax import measured_optimizer
from sdelimit.results import trust
from sdelimit.results.trust import LARGEST_ERROR, _edge, run_warnings, theory_warnings

pytestmark = pytest.mark.long

D = 20
T = np.linspace(0.0, 10.0, 6)
VARIANCE = 0.25
PROBLEM = sl.LinearRegression(np.ones(D), sl.noise.Gaussian(np.sqrt(VARIANCE)))
HEAVY = sl.LinearRegression(np.ones(D), sl.noise.StudentT(3.0, 0.3))
CAUCHY = sl.LinearRegression(np.ones(D), sl.noise.Cauchy(0.3))
SGD, SIGN = sl.sgd(), sl.sign_sgd()
KINDS = (sl.DivergenceWarning, sl.LimitWarning)


ODE, SDE, RUN = (sl.solve_ode, {}), (sl.solve_sde, {"n_paths": 2}), (sl.simulate, {"n_runs": 3})


def said(solve, own, *arguments, **options):
    """(result, what was warned of); it must be what ``.warnings`` has, and come from the caller's own line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = solve(*arguments, **{"t": T, **own, **options})
    ours = [w for w in caught if issubclass(w.category, KINDS)]
    assert tuple(str(w.message) for w in ours) == result.warnings
    assert all(w.filename == __file__ for w in ours)
    return result, {str(w.message): w.category for w in ours}


def only(texts, category):
    (text,) = texts
    assert texts[text] is category
    return text


@pytest.mark.parametrize("solve", [ODE, SDE, RUN], ids=["ode", "sde", "runs"])
def test_a_sound_result_says_nothing(solve):
    result, texts = said(*solve, PROBLEM, SGD, 0.15)  # 0.7% of the decay is lost by infinitesimal steps
    assert result.status == "ok" and not texts


def test_a_risk_that_blows_up_is_named_with_the_threshold_that_was_passed():
    curve, texts = said(*ODE, PROBLEM, SGD, 12.0)
    diverged, unstable = curve.warnings
    assert texts[diverged] is sl.DivergenceWarning and texts[unstable] is sl.LimitWarning
    assert diverged == f"solve_ode(sgd): {curve.status}" and "diverged at t = " in curve.status
    assert "lr reaches 12, and from 2 on the risk grows" in unstable
    assert np.isinf(curve.risk[-1]) and np.isfinite(curve.diverged_at)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_threshold_of_sgd_is_two_d_b_over_the_trace(batch_size):
    edge = 2 * batch_size
    assert sl.max_stable_lr(PROBLEM, SGD, batch_size) == pytest.approx(edge, rel=1e-9)
    assert not said(*ODE, PROBLEM, SGD, edge * (1 - 1e-6), batch_size=batch_size)[1]
    text = only(said(*ODE, PROBLEM, SGD, edge * (1 + 1e-6), batch_size=batch_size)[1], sl.LimitWarning)
    assert f"from {edge} on" in text


def test_rules_with_bounded_steps_have_no_threshold():
    problem = sl.LinearRegression(np.ones(400), PROBLEM.noise)  # the risk of a run hardly fluctuates
    curve, texts = said(*ODE, problem, SIGN, 100.0)
    assert not texts
    for rule in (SIGN, sl.clip_norm(1.0)):
        assert not theory_warnings(curve, rule.limit(problem, 1))
    assert theory_warnings(curve, SGD.limit(problem, 1))


LAWS_OF_ANY_TAIL = [
    sl.noise.Cauchy(0.3), sl.noise.StudentT(1.5, 0.3), sl.noise.StudentT(3.0, 0.3), sl.noise.Laplace(0.3),
    sl.noise.Empirical([-1.0, 0.5, 0.5]), sl.noise.Uniform(1.0), sl.noise.Gaussian(0.3), sl.noise.NoNoise(),
]  # fmt: skip


@pytest.mark.parametrize("noise", LAWS_OF_ANY_TAIL, ids=str)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_clipping_has_no_threshold_under_any_noise(noise, batch_size):
    """Where R is far beyond the threshold and the noise, steps have length C, and phi = 2 C p(0) = C / sqrt(pi R)."""
    problem = sl.LinearRegression(np.ones(D), noise)
    limit = sl.clip_norm(1.0).limit(problem, batch_size)
    curve = dataclasses.replace(sl.solve_ode(PROBLEM, SIGN, 0.5, t=T), problem=problem)  # of which only that is read
    assert _edge(curve, limit) == np.inf
    if batch_size == 1:
        R = np.geomspace(1e12, 1e40, 8)
        phi, psi = (evaluate_in_float64(jax.vmap(f), R) for f in (limit.phi, limit.psi))
        # Cauchy noise of size s is beyond R^(1/2) with a probability of order s / R^(1/2).
        np.testing.assert_allclose(phi * np.sqrt(np.pi * R), 1.0, rtol=1e-5)
        np.testing.assert_allclose(psi[:, 0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("ratio", [-1.0, 0.0, np.nan, np.inf, 1e-30])
def test_a_threshold_that_is_no_trustworthy_number_is_none(monkeypatch, ratio):
    """Whatever rounding makes of the coefficients at a risk of 1e20 and of 1e40."""
    curve, limit = sl.solve_ode(PROBLEM, SGD, 0.5, t=T), SGD.limit(PROBLEM, 1)
    assert _edge(curve, limit) == pytest.approx(2.0)
    for rates in ([1.0, ratio], [ratio, 1.0], [ratio, ratio]):
        if rates != [1e-30, 1e-30]:  # a tiny threshold, and the same at both
            monkeypatch.setattr(trust, "_balancing_rates", lambda limit, risks, rates=rates: jnp.asarray(rates))
            assert _edge(curve, limit) == np.inf


def test_of_several_learning_rates_each_keeps_its_own_divergence():
    curves, texts = said(*ODE, PROBLEM, SGD, [0.5, 10.0, 12.0])
    assert len(texts) == 3
    assert [sum("diverged" in text for text in curves.select(i).warnings) for i in range(3)] == [0, 1, 1]
    assert "lr 12 at t = 0" in curves.select(2).warnings[0]


def test_a_warning_knows_its_category_and_its_learning_rate():
    """Two equal rates have the same text: each curve has it once. Pickled, a warning is what it was."""
    curves, _ = said(*ODE, PROBLEM, SGD, [0.5, 12.0, 12.0])
    assert [(text.category, text.learning_rate) for text in curves.warnings] == [
        (sl.DivergenceWarning, 1),
        (sl.DivergenceWarning, 2),
        (sl.LimitWarning, None),
    ]
    assert curves.warnings[0] == curves.warnings[1]
    assert [sum("diverged" in text for text in curves.select(i).warnings) for i in range(3)] == [0, 1, 1]
    again = pickle.loads(pickle.dumps(curves.warnings))
    assert again == curves.warnings and again[1].learning_rate == 2 and again[2].category is sl.LimitWarning
    single, _ = said(*ODE, PROBLEM, SGD, 12.0)
    assert single.warnings[0].learning_rate is None


def test_a_users_own_text_stays_whatever_it_ends_with():
    curves, _ = said(*ODE, PROBLEM, SGD, [0.5, 12.0])
    noted = dataclasses.replace(curves, warnings=(f"my note: {curves.status[1]}", *curves.warnings))
    assert noted.select(0).warnings[0] == f"my note: {curves.status[1]}"


def test_runs_that_leave_the_floating_point_range_are_counted():
    runs, texts = said(*RUN, PROBLEM, SGD, 60.0)
    assert only(texts, sl.DivergenceWarning) == f"simulation of sgd: {runs.status}"
    assert "3 of 3 runs diverged" in runs.status and np.isinf(runs.mean[-1])
    assert not np.isnan(runs.risk).any()


def test_a_momentum_is_too_long_when_it_covers_a_quarter_of_the_fastest_decay():
    curve = sl.solve_ode(PROBLEM, SIGN, 0.5, t=T)
    fastest = 0.5 * curve.phi.max()
    for share in (0.24, 0.26):
        slow = dataclasses.replace(SIGN, name="slow", memory=share * D / fastest)
        slow_sgd = dataclasses.replace(SGD, name="slow", memory=share * D / 0.15)
        texts = said(*ODE, PROBLEM, slow, 0.5)[1]
        assert ("the limit needs d (1 - beta) large" in str(texts)) == (share > 0.25)
    paths, texts = said(*SDE, PROBLEM, slow_sgd, 0.15)
    assert only(texts, sl.LimitWarning).startswith("sde of slow: the rule averages about")
    assert paths.status == "ok"


def test_a_denominator_is_too_slow_when_it_remembers_an_eighth_of_d_and_twenty_steps():
    large = dataclasses.replace(sl.solve_ode(PROBLEM, SIGN, 0.5, t=T), problem=sl.LinearRegression(np.ones(800)))
    for problem, steps in ((large.problem, 100), (PROBLEM, 20)):
        for share in (0.99, 1.01):
            slow = dataclasses.replace(SIGN, size_memory=share * steps)
            texts = theory_warnings(dataclasses.replace(large, problem=problem, optimizer=slow), SIGN.limit(problem, 1))
            assert any("remembers the size of gradients" in text for text in texts) == (share > 1)
    adam = sl.adam(0.5, 0.999)  # its limit follows the denominator
    assert adam.size_memory == pytest.approx(1000) and sl.rmsprop(0.97).size_memory == pytest.approx(1 / 0.03)
    followed = dataclasses.replace(large, problem=PROBLEM, optimizer=adam, fluctuation=0.0)
    assert not theory_warnings(followed, adam.limit(PROBLEM, 1))
    for rule in (SIGN, sl.adam(0.5, 0.999, eps=0.1)):  # theirs do not
        assert any("remembers the size" in text for text in theory_warnings(followed, rule.limit(PROBLEM, 1)))


def test_a_start_is_warned_of_from_a_twenty_fifth_of_the_risk_on():
    """Twice the fastest rate times the time of drift lost, and of noise won at the lowest risk."""
    curve = sl.solve_ode(PROBLEM, SIGN, 0.5, t=T)
    fastest, ratio = 0.5 * curve.phi.max(), curve.risk.min() / curve.risk.max()
    for share in (0.99, 1.01):
        steps = share * 0.04 * D / (2 * fastest)
        for start in (StartUp(drift=steps), StartUp(drift=-steps), StartUp(noise=steps / ratio)):
            texts = theory_warnings(
                dataclasses.replace(curve, optimizer=dataclasses.replace(SIGN, start_up=start)), SIGN.limit(PROBLEM, 1)
            )
            assert any("first steps of the rule" in text for text in texts) == (share > 1)


def test_a_batch_comparable_to_d_is_warned_of_and_costs_what_it_says():
    """The mean of |delta|^2 by its own recursion: E|g|^2 = (1 + (d+1)/b) |delta|^2 + v d/b, for K = I."""
    for batch_size in (2, 4):
        lr = float(batch_size)
        curve, texts = said(sl.solve_ode, {"aligned": False}, PROBLEM, SGD, lr, t=10 * T, batch_size=batch_size)
        exact = PROBLEM.initial_risk
        for _ in range(100 * D):
            square = (1 + (D + 1) / batch_size) * exact + VARIANCE * D / batch_size / 2
            exact += -2 * lr / D * exact + (lr / D) ** 2 * square
        assert 1 - curve.risk[-1] / exact == pytest.approx((batch_size + 1) / D, rel=1e-3)
        assert len(texts) == batch_size // 2  # both are off by single steps
    assert any("batch_size 4 is 20% of d = 20" in text for text in texts)


def test_the_spread_of_sgd_needs_a_fourth_moment_of_the_noise():
    assert "jumps that no diffusion shows" in only(said(*SDE, HEAVY, SGD, 0.15)[1], sl.LimitWarning)
    runs, texts = said(*RUN, HEAVY, SGD, 0.3)
    assert "no standard error is reliable" in only(texts, sl.LimitWarning)
    assert not run_warnings(dataclasses.replace(runs, optimizer=SIGN))
    assert not run_warnings(dataclasses.replace(runs, problem=PROBLEM))
    assert "the mean risk is infinite" in run_warnings(dataclasses.replace(runs, problem=CAUCHY))[0]


def test_adam_of_long_memory_needs_a_fourth_moment_of_the_noise():
    rule = sl.long_memory_adam(0.0, 0.95)
    assert "averages of squared gradients settle slowly" in only(said(*ODE, HEAVY, rule, 0.1)[1], sl.LimitWarning)
    lighter = sl.LinearRegression(np.ones(D), sl.noise.StudentT(5.0, 0.3))
    assert not said(*ODE, lighter, rule, 0.1)[1]


@pytest.mark.parametrize("coefficient", ["phi", "kappa"])
def test_coefficients_sampled_too_crudely_are_warned_of_where_the_curve_needs_them(coefficient):
    """Standard errors of 3% at risks above 10, and next to none below 1."""
    start = PROBLEM.initial_risk
    log_R = np.log(start) + np.array([-20.0, 1.0, 3.0])
    crude = np.array([1e-3, 1e-3, 3 * LARGEST_ERROR])
    fine = np.full(3, 1e-3)
    phi, kappa = (crude, fine) if coefficient == "phi" else (fine, crude)
    errors = CoefficientErrors(log_R, phi, np.array([0.5, 1.0]), np.stack([fine, kappa], axis=1))

    def limit(problem, batch_size):
        return dataclasses.replace(SIGN.limit(problem, batch_size), errors=errors)

    rule = dataclasses.replace(SIGN, limit=limit)
    assert not said(*ODE, PROBLEM, rule, 0.3)[1]
    far = sl.LinearRegression(np.ones(D), PROBLEM.noise, theta_star=PROBLEM.theta_star * np.exp(1.5))
    assert "standard errors of up to 3.0%" in only(said(*ODE, far, rule, 0.3)[1], sl.LimitWarning)


@pytest.mark.slow
def test_a_probe_that_is_asked_for_little_says_what_it_got():
    rms = optax.scale_by_rms(decay=0.9, eps=1e-20, eps_in_sqrt=False, bias_correction=True)
    rule = measured_optimizer(rms, "rms", relative_error=0.1)
    text = only(said(*ODE, PROBLEM, rule, 0.1)[1], sl.LimitWarning)
    assert "were sampled with relative standard errors of up to" in text


def test_a_comparison_keeps_what_was_said_of_its_parts():
    runs = said(*RUN, PROBLEM, SGD, 0.5)[0]
    theory = said(*ODE, PROBLEM, dataclasses.replace(SGD, memory=100.0), 0.5)[0]
    assert len(theory.warnings) == 1 and sl.compare(theory, runs).warnings == theory.warnings
    heavy = dataclasses.replace(runs, warnings=("something of the runs",))
    assert sl.compare(theory, heavy).warnings == (*theory.warnings, "something of the runs")


def test_the_curve_of_a_data_set_says_when_it_uses_up_the_rows_and_when_it_diverges():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2600, 26))
    problem = sl.data.from_arrays(X, X[:, 0] + 0.3 * rng.standard_normal(2600))
    assert not said(sl.data.solve_ode, {}, problem, SGD, 0.3)[1]
    assert "40% of the rows" in only(said(sl.data.solve_ode, {}, problem, SGD, 0.3, t=4 * T)[1], sl.LimitWarning)
    curve, texts = said(sl.data.solve_ode, {}, problem, SGD, 30.0)
    assert only(texts, sl.DivergenceWarning).endswith(curve.status)


@pytest.mark.parametrize("solve", [ODE, SDE], ids=["ode", "sde"])
def test_theory_of_fresh_samples_says_from_a_tenth_of_the_rows_on_what_a_run_uses(solve):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2600, 26))
    problem = sl.data.from_arrays(X, X[:, 0] + 0.3 * rng.standard_normal(2600))
    assert not said(*solve, problem, SGD, 0.1)[1]
    text = only(said(*solve, problem, SGD, 0.1, batch_size=2)[1], sl.LimitWarning)
    assert "a run to t = 10 uses 20% of the rows, each once" in text
    assert not said(*solve, problem.gaussian(), SGD, 0.1, batch_size=2)[1]


def test_few_columns_and_interpolated_rows_are_said_of_theory_and_not_of_runs():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 24))
    given = {"t": np.linspace(0, 1, 3)}
    few = sl.data.from_arrays(X, X[:, 0] + rng.standard_normal(500))
    exact = sl.data.from_arrays(X, X[:, 0])
    for solve in (sl.solve_ode, sl.data.solve_ode):
        assert "d = 24 columns are few" in only(said(solve, {}, few, SGD, 0.1, **given)[1], sl.LimitWarning)
        texts = said(solve, {}, exact, SGD, 0.1, **given)[1]
        assert len(texts) == 2 and "the rows are interpolated (n = 500, d = 24)" in next(iter(texts))
    short = sl.data.from_arrays(X[:20], rng.standard_normal(20))
    assert "interpolated (n = 20, d = 24)" in short.doubts[0]
    assert len(sl.data.from_arrays(X[:20], rng.standard_normal(20), ridge=0.1).doubts) == 1
    assert not said(*RUN, few, SGD, 0.1, **given)[1] and not few.gaussian().doubts
    classes = sl.data.from_arrays(X, X[:, 0] + rng.standard_normal(500) > 0, model="logistic")
    assert "d = 24 columns are few" in classes.doubts[0]
