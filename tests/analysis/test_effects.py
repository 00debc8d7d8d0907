"""The four effects against closed forms, brute force and simulated updates."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from conftest import heteroscedastic
from scipy.integrate import solve_ivp
from scipy.special import erfcx

import sdelimit as sl
from sdelimit.analysis.effects import four_effects
from sdelimit.analysis.effects.along_the_curve import Factors, identity_error
from sdelimit.analysis.effects.second_moments import dynamics

D = 100
EFFECTS = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")
COVARIANCE = sl.covariance.dense(heteroscedastic(sl.covariance.ar1(D, 0.5)).to_dense())
K = COVARIANCE.to_dense()
STD = COVARIANCE.std
SIGNS = 2 / np.pi * np.arcsin(COVARIANCE.correlation())
RMS = np.sqrt(np.trace(K) / D)
LAPLACE, ETA, T = 0.5, 0.4, 2.0
LAWS = {"gaussian": sl.noise.Gaussian(0.5), "laplace": sl.noise.Laplace(LAPLACE), "cauchy": sl.noise.Cauchy(0.3)}


def of(noise, rule=None, covariance=COVARIANCE, **settings):
    problem = sl.LinearRegression(covariance, noise, seed=3)
    return sl.effects(problem, rule or sl.sign_sgd(), ETA, T, **settings)


@functools.cache
def sign(law):
    """Effects of signSGD under one law."""
    return of(LAWS[law])


@functools.cache
def clipped():
    """Effects of coordinate clipping: drift and noise differ between coordinates."""
    return of(LAWS["gaussian"], sl.clip_coordinate(0.7))


def sign_drift(R):
    """phi of signSGD under Laplace noise (theory: section 2)."""
    return 2 * np.sqrt(2 / np.pi) * erfcx(np.sqrt(2 * R) / (LAPLACE * np.sqrt(2))) / (2 * LAPLACE)


# -- the identity ----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    "law", [next(iter(LAWS)), *(pytest.param(law, marks=pytest.mark.slow) for law in list(LAWS)[1:])]
)
def test_four_effects_together_are_the_slope_of_sign_sgd_to_rounding(law):
    """dR/dt from the published numbers, in the original coordinates, against the mode equations' slope."""
    e, delta = sign(law), sign(law).problem.delta0
    eta = e.learning_rate.effective[0]
    matched = e.noise_compression.matched_noise[0]
    drift = delta @ K @ (e.preconditioning.preconditioner * (K @ delta))
    noise = matched * e.noise_reshaping.ratio[0] * np.sum(K * K)
    slope = -eta * drift + eta**2 / (2 * D) * noise
    assert abs(slope - e.curve.slope[0]) < 1e-10 * eta * drift
    assert e.identity_error < 1e-10
    if np.isfinite(e.problem.noise.second_moment):
        variance = 2 * e.curve.risk[0] + e.problem.noise.second_moment
        assert matched == pytest.approx(e.noise_compression.chi[0] * variance, rel=1e-12)


@pytest.mark.slow
def test_identity_and_decomposition_hold_for_scale_dependent_rules():
    assert clipped().identity_error < 1e-10
    assert_ends_and_sums(clipped())


@pytest.mark.slow
def test_identity_notices_a_wrong_effect():
    e = sign("laplace")
    rule = dynamics(e.problem, e.optimizer.limit(e.problem, 1))
    wrong, none = replace(rule, noise_curvature=rule.noise_curvature * 1.001), np.zeros((e.curve.t.size, 0))
    assert identity_error(Factors(rule, 1, e.curve, none)) < 1e-10
    assert identity_error(Factors(wrong, 1, e.curve, none)) > 1e-5


# -- each number against a measurement or a closed form --------------------------------------------------------


def measured(rule, noise, delta, batches=50, size=2000):
    """E[u], E[l^2], E|u|^2 and E[u'Ku] of each batch of single-sample updates u = rule(l x) at a fixed delta."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(K)
    rows = []
    for _ in range(batches):
        x = rng.standard_normal((size, D)) @ factor.T
        l = x @ delta - noise(rng, size)  # noqa: E741
        u = rule(l[:, None] * x)
        rows.append((u.mean(axis=0), np.mean(l**2), np.sum(u**2) / size, np.sum((u @ K) * u) / size))
    return [np.array(column) for column in zip(*rows, strict=True)]


def assert_matches(per_batch, expected, bias=2.0 / D):
    """Within 4 standard errors plus the O(1/d) by which finite dimension differs from the limit."""
    error = per_batch.std(ddof=1) / np.sqrt(per_batch.size)
    assert 4 * error + bias * abs(expected) < 0.05 * abs(expected)
    assert abs(per_batch.mean() - expected) < 4 * error + bias * abs(expected)


def assert_effects_are_measured(e, update, noise, Mhat):
    """At the first point of the curve: drift projected on Mhat K delta, noise at matched drift, where it lands."""
    delta = e.problem.delta0
    mean, square, length, curvature = measured(update, noise, delta)
    direction = Mhat * (K @ delta)
    rate = mean @ direction / (direction @ direction)
    assert_matches(rate, e.learning_rate.factor[0])
    compression = length / rate.mean() ** 2 / (square.mean() * np.trace(K))
    spread = compression.std() / compression.mean() + 2 * rate.std() / rate.mean() + square.std() / square.mean()
    gap = abs(compression.mean() / e.noise_compression.chi[0] - 1)
    assert gap < 4 * spread / np.sqrt(rate.size) + 2 / D < 0.1
    assert_matches(curvature / length / (np.sum(K * K) / np.trace(K)), e.noise_reshaping.ratio[0])


@pytest.mark.slow
def test_effects_are_those_of_simulated_signs():
    def noise(rng, n):
        return rng.laplace(scale=LAPLACE, size=n)

    assert_effects_are_measured(sign("laplace"), np.sign, noise, sign("laplace").preconditioning.preconditioner)


@pytest.mark.slow
def test_effects_are_those_of_simulated_clipped_updates():
    def noise(rng, n):
        return rng.normal(scale=0.5, size=n)

    Mhat = preconditioner_at_start(clipped())
    assert_effects_are_measured(clipped(), lambda g: np.clip(g, -0.7, 0.7), noise, Mhat)


def preconditioner_at_start(e):
    """Mhat of a scale-dependent rule at the first risk; the result has it at the last."""
    drift = e.optimizer.limit(e.problem, 1).drift(e.problem.initial_risk, STD)
    return drift / np.sqrt(np.sum(drift**2 * STD**2) / np.sum(STD**2))


def test_sign_sgd_has_the_closed_forms_of_its_effects():
    e = sign("laplace")
    R = np.geomspace(1e-3, 10, 7)
    variance = 2 * R + 2 * LAPLACE**2
    np.testing.assert_allclose(e.learning_rate.at(R), sign_drift(R) / RMS, rtol=1e-8)
    np.testing.assert_allclose(e.noise_compression.at(R), 1 / (sign_drift(R) ** 2 * variance), rtol=1e-8)
    ratio = np.sum(K * SIGNS) / D / (np.sum(K * K) / np.trace(K))
    np.testing.assert_allclose(e.noise_reshaping.at(R), ratio, rtol=1e-12)
    np.testing.assert_allclose(e.learning_rate.effective, ETA * sign_drift(e.curve.risk) / RMS, rtol=1e-8)
    np.testing.assert_allclose(e.preconditioning.preconditioner, RMS / STD, rtol=1e-12)


@pytest.mark.long
def test_compression_under_gaussian_noise_is_pi_squared_over_four_at_every_risk():
    e = sign("gaussian")
    np.testing.assert_allclose(e.noise_compression.chi, np.pi**2 / 4, rtol=1e-12)
    np.testing.assert_allclose(e.noise_compression.at([1e-12, 1.0, 1e12]), np.pi**2 / 4, rtol=1e-12)


@pytest.mark.slow
def test_compression_at_small_risk_is_the_efficiency_of_the_median():
    """chi -> pi / (8 f(0)^2 E eps^2): (pi/2) / ARE, so pi/4 for Laplace noise; 0 for infinite variance."""
    f0, variance = 1 / (2 * LAPLACE), 2 * LAPLACE**2
    assert sign("laplace").noise_compression.at(1e-12) == pytest.approx(np.pi / (8 * f0**2 * variance), rel=1e-5)
    assert np.all(sign("cauchy").noise_compression.chi == 0)
    assert np.isfinite(sign("cauchy").noise_compression.matched_noise).all()


def test_condition_number_is_square_rooted_for_diagonal_covariance():
    e = of(LAWS["gaussian"], covariance=np.geomspace(0.01, 4.0, D))
    assert e.preconditioning.sgd_condition_number == pytest.approx(400)
    assert e.preconditioning.condition_number == pytest.approx(20)
    np.testing.assert_allclose(e.preconditioning.rates, np.geomspace(0.1, 2, D) / np.geomspace(0.1, 2, D).mean())
    np.testing.assert_allclose(e.noise_reshaping.spectrum, 1.0)
    assert e.noise_reshaping.ratio[0] == pytest.approx(e.problem.covariance.trace**2 / D / np.sum(STD_DIAGONAL**2))
    assert e.identity_error < 1e-10


STD_DIAGONAL = np.geomspace(0.01, 4.0, D)


def test_spectra_are_those_of_the_matrices():
    e = sign("laplace")
    S = K / np.sqrt(STD)[:, None] / np.sqrt(STD)[None, :]
    values = np.linalg.eigvalsh(S)
    np.testing.assert_allclose(e.preconditioning.rates, values / values.mean(), rtol=1e-8)
    assert e.preconditioning.sgd_condition_number == pytest.approx(np.linalg.cond(K), rel=1e-8)
    np.testing.assert_allclose(e.noise_reshaping.spectrum, np.linalg.eigvalsh(SIGNS), rtol=1e-8)
    np.testing.assert_allclose(e.noise_reshaping.sgd_spectrum, np.linalg.eigvalsh(K) / RMS**2, rtol=1e-8)


# -- the decomposition -----------------------------------------------------------------------------------------


def brute_force(delta, on):
    """R(T) of SGD with the effects ``on`` of signSGD, Laplace noise: dV/dt in the original coordinates."""
    Mhat = RMS / STD if "preconditioning" in on else np.ones(D)
    shape = SIGNS * np.trace(K) / D if "noise_reshaping" in on else K

    def field(_, y):
        V = y.reshape(D, D)
        R = np.sum(K * V) / 2
        alpha = sign_drift(R) / RMS if "learning_rate" in on else 1.0
        level = 1 / sign_drift(R) ** 2 if "noise_compression" in on else 2 * R + 2 * LAPLACE**2
        drift = ETA * alpha * Mhat[:, None] * (K @ V)
        return ((ETA * alpha) ** 2 * level / D * shape - drift - drift.T).ravel()

    V = solve_ivp(field, (0, T), np.outer(delta, delta).ravel(), rtol=1e-7, atol=1e-10).y[:, -1].reshape(D, D)
    return np.sum(K * V) / 2


@pytest.mark.slow
def test_curves_in_between_are_those_of_the_definitions():
    """All sixteen combinations against an integration of the d x d matrix equation."""
    e = sign("laplace")
    assert len(e.decomposition.risks) == 16
    for on, risk in e.decomposition.risks.items():
        assert risk[-1] == pytest.approx(brute_force(e.problem.delta0, on), rel=1e-5), sorted(on)


def assert_ends_and_sums(e):
    """SGD's curve first, the rule's last, and shares that add up to what lies between."""
    curves = e.decomposition.risks
    sgd, rule = curves[frozenset()], curves[frozenset(EFFECTS)]
    np.testing.assert_allclose(sgd, sl.solve_ode(e.problem, sl.sgd(), ETA, T, rtol=1e-8, aligned=False).risk, rtol=1e-6)
    np.testing.assert_allclose(rule, e.curve.risk, rtol=1e-10)
    for order in (None, EFFECTS, EFFECTS[::-1]):
        logs, changes = e.decomposition.log_shares(order=order), e.decomposition.risk_shares(order=order)
        assert sum(logs.values()) == pytest.approx(np.log(rule[-1] / sgd[-1]), rel=1e-11)
        assert sum(changes.values()) == pytest.approx(rule[-1] - sgd[-1], rel=1e-11)
    middle = sum(e.decomposition.log_shares(e.curve.t[50]).values())
    assert middle == pytest.approx(np.log(rule[50] / sgd[50]), rel=1e-11)


def test_decomposition_goes_from_sgd_to_the_rule_and_adds_up_exactly():
    assert_ends_and_sums(sign("laplace"))


def test_shares_average_over_orders_is_the_shapley_value():
    """Weights |A|! (3 - |A|)! / 4! over the sets A without the effect."""
    decomposition = sign("laplace").decomposition
    logs = {on: np.log(risk[-1]) for on, risk in decomposition.risks.items()}
    weight = [6, 2, 2, 6]
    for name in EFFECTS:
        without = [on for on in logs if name not in on]
        value = sum(weight[len(on)] / 24 * (logs[on | {name}] - logs[on]) for on in without)
        assert decomposition.log_shares()[name] == pytest.approx(value, abs=1e-12)
        low, high = decomposition.log_range()[name]
        assert low <= value <= high


def test_one_order_solves_five_curves_and_gives_their_steps():
    order = ("noise_compression", "learning_rate", "noise_reshaping", "preconditioning")
    one = of(LAWS["laplace"], order=order).decomposition
    assert len(one.risks) == 5 and one.orders == (order,)
    every = sign("laplace").decomposition
    assert one.log_shares() == pytest.approx(every.log_shares(order=order), abs=1e-12)
    assert [name for name, _ in one.path()] == ["SGD", *order]


def test_learning_rate_of_the_sgd_compared_with_can_be_chosen():
    e = of(LAWS["laplace"], sgd_lr=0.2, order=EFFECTS)
    slow = sl.solve_ode(e.problem, sl.sgd(), 0.2, T, rtol=1e-8, aligned=False).risk
    np.testing.assert_allclose(e.decomposition.risks[frozenset()], slow, rtol=1e-6)
    np.testing.assert_allclose(e.learning_rate.sgd_lr, 0.2)
    same = sign("laplace").decomposition.risks
    for on in (["learning_rate"], EFFECTS):
        np.testing.assert_allclose(e.decomposition.risks[frozenset(on)], same[frozenset(on)], rtol=1e-9)


@pytest.mark.slow
def test_infinite_variance_puts_compression_first():
    decomposition = sign("cauchy").decomposition
    shares = decomposition.log_shares()
    assert shares["noise_compression"] == -np.inf
    compressed, rule = (decomposition.risks[frozenset(on)][-1] for on in (["noise_compression"], EFFECTS))
    others = sum(value for name, value in shares.items() if name != "noise_compression")
    assert others == pytest.approx(np.log(rule / compressed), rel=1e-12)
    assert len(decomposition.risks) == 9 and len(decomposition.orders) == 6
    assert not any("nan" in text for text in (decomposition.table(), sign("cauchy").table()))


# -- other rules -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_long_memory_adam_compresses_nothing():
    """Its direction is SGD's, divided by what it remembers: chi = 1 along the curve."""
    e = of(LAWS["gaussian"], sl.long_memory_adam(0.0, 0.98))
    np.testing.assert_allclose(e.noise_compression.chi, 1.0, rtol=1e-12)
    np.testing.assert_allclose(e.learning_rate.factor, e.curve.phi / RMS, rtol=1e-9)
    assert abs(e.decomposition.log_shares()["noise_compression"]) < 1e-10
    assert e.identity_error < 1e-10
    with pytest.raises(ValueError, match="R does not determine the effects of a rule with long memory"):
        e.learning_rate.at(1.0)


RULES = [
    sl.sgd(), sl.clip_norm(1.0), sl.signum(0.5), sl.lion(0.5, 0.8), sl.rmsprop(0.8), sl.adam(0.5, 0.9),
    sl.adam(0.5, 0.9, eps=0.3), sl.nadam(0.5, 0.9), sl.s3(0.5), sl.s_adam(0.5, 0.9),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_rule_has_its_four_effects(rule, batch_size):
    e = of(LAWS["gaussian"], rule, batch_size=batch_size)
    assert e.identity_error < 1e-10
    np.testing.assert_allclose(e.decomposition.risks[frozenset(EFFECTS)], e.curve.risk, rtol=1e-9)
    sgd = sl.solve_ode(e.problem, sl.sgd(), ETA, T, rtol=1e-8, batch_size=batch_size, aligned=False)
    np.testing.assert_allclose(e.decomposition.risks[frozenset()], sgd.risk, rtol=1e-6)
    if rule.name in ("sgd", "clip_norm"):
        assert e.noise_reshaping.ratio == pytest.approx(1.0)
        np.testing.assert_allclose(e.preconditioning.preconditioner, 1.0)


# -- tables, figures, bad questions ------------------------------------------------------------------------------


def test_tables_and_figures_show_every_effect(tmp_path):
    e = sign("laplace")
    parts = [e.learning_rate, e.preconditioning, e.noise_compression, e.noise_reshaping, e.decomposition]
    text = e.table()
    assert all(name.replace("_", " ") in text for name in EFFECTS) and "nan" not in text
    figure = e.plot(tmp_path / "effects.png")
    assert (tmp_path / "effects.png").stat().st_size > 10_000 and len(figure.axes) == 6
    for part in parts:
        assert "nan" not in part.table()
        for axis in part.plot().axes:
            assert axis.get_xlabel() and axis.get_title()


def test_sgd_that_diverges_is_said_not_shown_as_a_number():
    e = of(LAWS["gaussian"], covariance=sl.covariance.identity(D).scaled(4.0))
    assert "SGD has diverged by t = 2" in e.decomposition.table()
    assert "diverged" in e.table()
    with pytest.raises(ValueError, match="SGD has diverged by t = 2"):
        e.decomposition.log_shares()
    assert np.isfinite(e.noise_compression.chi).all()
    assert e.plot()


def test_what_is_frozen_cannot_change():
    with pytest.raises(AttributeError):
        sign("laplace").identity_error = 0.0
    with pytest.raises(ValueError, match="read-only"):
        sign("laplace").decomposition.risks[frozenset()][0] = 0.0


@pytest.mark.long
def test_bad_questions_to_a_result_are_refused_by_name():
    e = sign("laplace")
    for call, message in (
        (lambda: e.learning_rate.at(0.0), "R must be > 0"),
        (lambda: e.noise_compression.at([np.nan]), "R must be finite"),
        (lambda: e.decomposition.log_shares(5.0), "t must lie in"),
        (lambda: e.decomposition.log_shares("now"), "t must be a real number"),
        (lambda: e.table(-1.0), "t must lie in"),
        (lambda: sign("cauchy").decomposition.log_shares(order=EFFECTS), "order must be one of those solved"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


@pytest.mark.slow
def test_a_rule_that_diverges_itself_is_refused():
    problem = sl.LinearRegression(np.full(D, 16.0), sl.noise.Gaussian(0.3))
    with pytest.warns(sl.DivergenceWarning), pytest.raises(ValueError, match="lr must be one at which sgd is stable"):
        sl.effects(problem, sl.sgd(), 1.0, 20.0)


@pytest.mark.slow
def test_sgd_on_a_steep_direction_is_followed_to_where_it_settles():
    """A direction 3000 times as steep as the others, over a horizon in which these settle: 10^5 times its own decay."""
    problem = sl.LinearRegression(np.concatenate([[30.0], np.full(31, 0.01)]), sl.noise.Gaussian(0.1))
    found = sl.effects(problem, sl.sign_sgd(), 0.1, 1.5e5, order=ORDER)
    assert np.isfinite(found.curve.risk).all()
    sgd = found.decomposition.risks[frozenset()]
    assert sgd[-1] == pytest.approx(sl.stationary_risk(problem, sl.sgd(), 0.1, aligned=False), rel=1e-3)


@pytest.mark.long
def test_an_sgd_that_is_too_stiff_is_reported_and_the_rest_goes_on(monkeypatch):
    """Where a solve of SGD takes all the steps there are, which is what is put in here."""
    solve = four_effects.integrate
    first = []

    def stopping(lr, system, *rest):
        out = solve(lr, system, *rest)
        if not first:
            first.append(True)
            late = system.times > 0.5
            out |= {"finished": False, "end_time": 0.5, "risk": np.where(late, np.inf, out["risk"])}
        return out

    monkeypatch.setattr(four_effects, "integrate", stopping)
    problem = sl.LinearRegression(np.linspace(0.5, 2.0, 16), sl.noise.Gaussian(0.1))
    with pytest.warns(sl.LimitWarning, match="SGD is too stiff at this lr to be followed beyond t = 0.5"):
        found = sl.effects(problem, sl.sign_sgd(), 0.1, 1.0, order=ORDER)
    assert any("too stiff" in text for text in found.curve.warnings)
    assert np.isfinite(found.curve.risk).all()
    assert "all four" in found.table(0.4) and "no decomposition at t = 1" in found.table()
    assert np.isinf(found.decomposition.risks[frozenset()][-1])


ORDER = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")
