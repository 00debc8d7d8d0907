"""Matched schedules, best constant learning rates and optimized schedules."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import sdelimit as sl
from sdelimit.numerics.precision import x64

pytestmark = pytest.mark.long

D, V, T_MAX = 200, 0.4, 8.0
# The same Gaussian law as a mixture: one class of noise, so that the problems share compiled code.
GAUSSIAN = sl.noise.GaussianMixture([0.5, 0.5], [0.0, 0.0], [V, V])
IDENTITY = sl.LinearRegression(sl.covariance.dense(np.eye(D)), GAUSSIAN, theta_star=np.full(D, np.sqrt(2 / D)))
OUTLIERS = sl.noise.GaussianMixture([0.9, 0.1], [0.0, 0.0], [0.2, 4.0])
CORRELATED = sl.LinearRegression(sl.covariance.ar1(D, 0.5).scaled(np.linspace(0.7, 1.4, D)), OUTLIERS)
SIGN, SGD = sl.sign_sgd(), sl.sgd()
C = 2 / np.pi


def decaying(t):
    return 0.9 / (1 + t / 3)


def constant_rate_risk(lr, t):
    """K = I, SGD, R(0) = 1: R' = -(2 eta - eta^2) R + eta^2 v^2 / 2."""
    settled = lr * V**2 / 2 / (2 - lr)
    return settled + (1 - settled) * np.exp(-(2 * lr - lr**2) * t)


def at(schedule, t):
    with x64():
        return np.array([float(schedule(jnp.float64(x))) for x in t])


@pytest.mark.parametrize(
    "t_max", [pytest.param(0.5, marks=pytest.mark.slow), T_MAX, pytest.param(100.0, marks=pytest.mark.slow)]
)
def test_best_constant_lr_for_a_horizon_is_that_of_the_closed_form(t_max):
    """Off the minimum by the accuracy of log lr, the risk is off by its square."""
    lrs = np.linspace(1e-3, 1.999, 200_001)
    risks = constant_rate_risk(lrs, t_max)
    found = sl.best_constant_lr(IDENTITY, SGD, t_max=t_max)
    assert found.lr == pytest.approx(lrs[np.argmin(risks)], rel=5e-3)
    assert found.risk == pytest.approx(risks.min(), rel=2e-5)
    assert found.time == t_max == found.curve.t[-1]
    assert np.all(found.values >= found.risk * (1 - 1e-6))


@pytest.mark.parametrize("target", [0.9, 0.05, 1e-3])
def test_best_constant_lr_for_a_target_is_that_of_the_closed_form(target):
    lrs = np.linspace(1e-3, 1.999, 200_001)
    settled = lrs * V**2 / 2 / (2 - lrs)
    with np.errstate(invalid="ignore", divide="ignore"):
        times = np.log((1 - settled) / (target - settled)) / (2 * lrs - lrs**2)
    times = np.where(settled < target, times, np.inf)
    found = sl.best_constant_lr(IDENTITY, SGD, target_risk=target)
    assert found.lr == pytest.approx(lrs[np.argmin(times)], rel=5e-3)
    assert found.time == pytest.approx(times.min(), rel=2e-5)
    assert found.risk == pytest.approx(target, rel=1e-5)


def optimal_risk(t, speed):
    """The least risk for K = I: R' = min over eta, that is R' = -2 c^2 R^2 / (2R + v^2), solved in closed form."""
    return brentq(lambda R: np.log(R) - V**2 / 2 * (1 / R - 1) + speed * t, 1e-9, 1.0, xtol=1e-15)


@pytest.mark.parametrize(
    ("rule", "c", "lr"),
    [
        pytest.param(SGD, 1.0, None, marks=pytest.mark.slow),
        pytest.param(SGD, 1.0, 0.3, marks=pytest.mark.slow),
        pytest.param(SIGN, C, lambda t: 1 / (1 + t), marks=pytest.mark.slow),
    ],
)
def test_an_optimized_schedule_is_the_optimal_one(rule, c, lr):
    """K = I and Gaussian noise: R' = -2 eta phi R + eta^2 psi / 2 is least at eta = 2 phi R / psi at every t."""
    found = sl.optimize_schedule(IDENTITY, rule, T_MAX, lr=lr)
    assert found.risk == pytest.approx(optimal_risk(T_MAX, c**2), rel=1e-3)
    t = np.linspace(0, T_MAX, 9)
    risk = np.array([optimal_risk(x, c**2) for x in t])
    expected = 2 * risk / (2 * risk + V**2) if rule is SGD else 2 * risk * C / np.sqrt(2 * risk + V**2)
    np.testing.assert_allclose(at(found.schedule, t), expected, rtol=0.08)
    assert found.status == "converged"
    assert np.all(np.diff(found.history) < 1e-9) and found.history[-1] == pytest.approx(found.risk, rel=1e-4)


@pytest.mark.slow
def test_matching_sgd_with_signs_has_the_scalar_equation_of_its_noise_compression():
    """K = I, Gaussian noise: eta_sign = eta_sgd / phi(R), R' = -2 eta_sgd R + (eta_sgd^2 / 2)(pi^2/4)(2R + v^2)."""
    matched = sl.match_schedule(IDENTITY, SGD, SIGN, decaying, T_MAX)
    t = np.linspace(0, T_MAX, 30)

    def field(t, R):
        return -2 * decaying(t) * R + decaying(t) ** 2 / 2 / C**2 * (2 * R + V**2)

    risk = solve_ivp(field, (0, T_MAX), [1.0], t_eval=t, rtol=1e-10, atol=1e-13).y[0]
    np.testing.assert_allclose(at(matched, t), decaying(t) * np.sqrt(2 * risk + V**2) / C, rtol=1e-5)
    found = sl.solve_ode(IDENTITY, SIGN, matched, T_MAX, save_modes=False, aligned=False)
    np.testing.assert_allclose(found.at(t), risk, rtol=1e-5)


PAIRS = [
    pytest.param(SGD, SIGN, marks=pytest.mark.slow),
    pytest.param(SIGN, SGD, marks=pytest.mark.slow),
    *(
        pytest.param(SGD, rule, marks=pytest.mark.slow)
        for rule in (
            sl.clip_norm(0.8),
            sl.clip_coordinate(0.5),
            sl.adam(0.9, 0.999, memory="long"),
            sl.adam(0.5, 0.8, memory="fixed"),
        )
    ),
    pytest.param(sl.adam(0.9, 0.999, memory="long"), sl.clip_norm(0.8), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda rule: rule.name)
def test_matched_rules_have_the_same_drift_each_along_its_own_curve(first, second):
    lr = sl.schedules.piecewise_constant([2.0], [0.3, 0.1])
    matched = sl.match_schedule(CORRELATED, first, second, lr, 4.0)
    t = np.array([0.0, 0.01, 0.3, 1.0, 1.9, 2.1, 4.0])
    a, b = (sl.solve_ode(CORRELATED, rule, s, t=t, aligned=False) for rule, s in ((first, lr), (second, matched)))
    np.testing.assert_allclose(b.lr * b.phi, a.lr * a.phi, rtol=2e-5)


@pytest.mark.slow
def test_matched_mean_decay_accounts_for_the_size_of_the_coordinates():
    """tr K / tr D on top."""
    plain, mean = (
        sl.match_schedule(CORRELATED, SGD, SIGN, decaying, 2.0, match=match) for match in ("effective_lr", "mean_decay")
    )
    std = CORRELATED.covariance.std
    np.testing.assert_allclose(at(mean, [0.0]) / at(plain, [0.0]), np.sum(std**2) / np.sum(std), rtol=1e-9)


@pytest.mark.slow
def test_a_rule_matched_with_itself_keeps_its_schedule():
    same = sl.match_schedule(CORRELATED, SIGN, SIGN, decaying, 2.0)
    t = np.linspace(0, 3, 7)
    np.testing.assert_allclose(at(same, t), decaying(t), rtol=1e-5)


@pytest.fixture(scope="module", params=[SGD, pytest.param(SIGN, marks=pytest.mark.slow)], ids=lambda rule: rule.name)
def contest(request):
    """A rule with its optimized schedule and with constant learning rates, and SGD's drift with signs, on one data
    stream: the risk of every run at T_MAX, and in the limit."""
    best = sl.best_constant_lr(CORRELATED, request.param, t_max=T_MAX).lr
    schedule = sl.optimize_schedule(CORRELATED, request.param, T_MAX, lr=best).schedule
    entries = {
        "optimized": (request.param, schedule),
        "best": (request.param, best),
        "low": (request.param, best / 2.5),
        "high": (request.param, best * 2.5),
        "matched": (SIGN, sl.match_schedule(CORRELATED, SGD, SIGN, decaying, T_MAX)),
        "source": (SGD, decaying),
    }
    rules, lrs = (list(column) for column in zip(*entries.values(), strict=True))
    runs = sl.simulate(CORRELATED, rules, lrs, t=[T_MAX], n_runs=128)
    risks = {name: run.risk[:, 0] for name, run in zip(entries, runs, strict=True)}
    curves = [
        sl.solve_ode(CORRELATED, rule, lr, T_MAX, save_modes=False, aligned=False) for rule, lr in entries.values()
    ]
    return risks, {name: curve.risk[-1] for name, curve in zip(entries, curves, strict=True)}


@pytest.mark.parametrize(
    ("better", "worse"),
    [("optimized", "best"), ("best", "low"), ("best", "high"), ("matched", "source")],
)
@pytest.mark.slow
def test_simulated_runs_gain_what_the_ode_predicts(contest, better, worse):
    """Paired runs; the gain itself is several times what the test allows it to be off."""
    risks, theory = contest
    gain = risks[worse] - risks[better]
    error = gain.std(ddof=1) / np.sqrt(gain.size)
    predicted = theory[worse] - theory[better]
    allowed = 4 * error + 5 / D * predicted
    assert predicted > 2 * allowed
    assert abs(gain.mean() - predicted) < allowed


def test_search_does_not_warn_of_learning_rates_that_lose(recwarn):
    sl.best_constant_lr(IDENTITY, SGD, t_max=1.0)
    assert not [w for w in recwarn if issubclass(w.category, sl.DivergenceWarning)]


def test_an_array_schedule_is_compiled_once():
    """Schedules made of numbers are traced: another one of the same shape takes no new compilation."""
    from sdelimit.schedules import LearningRate

    for schedule in (
        sl.schedules.log_linear([0.0, 1.0], [0.3, 0.1]),
        sl.schedules.piecewise_constant([1.0], [0.3, 0.1]),
        sl.schedules.cosine(0.3, 1.0),
    ):
        assert LearningRate.of(schedule).schedule is schedule


def test_log_linear_schedule():
    schedule = sl.schedules.log_linear([1.0, 3.0], [0.4, 0.1])
    np.testing.assert_allclose(at(schedule, [0.0, 1.0, 2.0, 3.0, 9.0]), [0.4, 0.4, 0.2, 0.1, 0.1])


P = sl.LinearRegression(np.ones(3), sl.noise.Gaussian(0.3))


@pytest.mark.slow
def test_drifts_that_cannot_be_had_are_reported_with_the_time():
    with pytest.raises(ValueError, match="lr must keep from_optimizer's risk finite up to t_max, but sgd diverged at"):
        sl.match_schedule(P, SGD, SIGN, 3.0, 100.0)
    # Variance 100: signs decay at 10 eta phi, where SGD with the same eta phi decays at 100 eta phi.
    large = sl.LinearRegression(np.full(3, 100.0), sl.noise.Gaussian(0.3))
    with pytest.raises(ValueError, match="to_optimizer cannot follow this drift: the risk of sgd diverges at t = "):
        sl.match_schedule(large, SIGN, SGD, 3.0, 500.0)
    with pytest.raises(ValueError, match="lr must keep the risk finite"):
        sl.optimize_schedule(P, SGD, 100.0, lr=3.0)
