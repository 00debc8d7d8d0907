"""Where the risk settles, up to which learning rate, and how fast."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import heteroscedastic

import sdelimit as sl
from sdelimit.limits import Limit
from sdelimit.limits.exact.sgd import UnitDrift
from sdelimit.limits.exact.sign import UnitNoise

V = 0.5
GAUSSIAN = sl.noise.Gaussian(V)
DENSE = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(40, 0.5)), GAUSSIAN)
FACTOR = np.random.default_rng(1).standard_normal((12, 5))
NAN = float("nan")


def settled(problem, optimizer, lr, batch_size=1):
    """The risk at the end of an ODE solve of 25 times the slowest mode's decay."""
    t = 20 / sl.convergence_rate(problem, optimizer, lr, batch_size)
    return sl.solve_ode(problem, optimizer, lr, t=[t], batch_size=batch_size, rtol=1e-9, aligned=False).risk[-1]


@pytest.mark.parametrize("lr", [1e-3, 0.1, 1.0, 30.0])
def test_sign_sgd_has_its_closed_form_under_gaussian_noise(lr):
    """R phi = eta tr D / 4d with phi = (2/pi) / sqrt(2R + v^2): a quadratic equation in R."""
    load = lr * DENSE.covariance.std.mean() / 4 * np.pi / 2
    expected = load**2 + np.sqrt(load**4 + load**2 * V**2)
    assert sl.stationary_risk(DENSE, sl.sign_sgd(), lr, aligned=False) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_sgd_has_its_closed_form_up_to_its_edge_and_is_infinite_beyond(batch_size):
    edge = 2 * batch_size / DENSE.covariance.trace * 40
    assert sl.max_stable_lr(DENSE, sl.sgd(), batch_size) == pytest.approx(edge, rel=1e-12)
    share = np.array([[1e-3, 0.1], [0.5, 0.999]])
    found = sl.stationary_risk(DENSE, sl.sgd(), share * edge, batch_size, aligned=False)
    np.testing.assert_allclose(found, share / (1 - share) * V**2 / 2, rtol=1e-9)
    assert sl.stationary_risk(DENSE, sl.sgd(), 1.001 * edge, batch_size, aligned=False) == np.inf


def test_without_noise_sgd_settles_at_zero_and_sign_sgd_on_its_own_steps():
    """phi = (2/pi) (2R)^(-1/2): R = 2 (eta pi tr D / 8d)^2."""
    problem = sl.LinearRegression(DENSE.covariance)
    expected = 2 * (0.3 * np.pi * problem.covariance.std.mean() / 8) ** 2
    assert sl.stationary_risk(problem, sl.sign_sgd(), 0.3, aligned=False) == pytest.approx(expected, rel=1e-9)
    assert sl.stationary_risk(problem, sl.sgd(), 0.3, aligned=False) == 0.0
    assert sl.stationary_risk(problem, sl.sgd(), 3.0, aligned=False) == np.inf
    assert sl.stationary_risk(problem, sl.clip_norm(1.0), 0.3, aligned=False) == 0.0


@pytest.mark.slow
def test_clipping_without_noise_settles_above_sgds_edge():
    problem = sl.LinearRegression(DENSE.covariance)
    lr = 1.5 * sl.max_stable_lr(problem, sl.sgd())
    risk = sl.stationary_risk(problem, sl.clip_norm(1.0), lr, aligned=False)
    assert 0 < risk < np.inf and sl.max_stable_lr(problem, sl.clip_norm(1.0)) == np.inf
    assert risk == pytest.approx(settled(problem, sl.clip_norm(1.0), lr), rel=1e-5)


LAWS = [GAUSSIAN, sl.noise.StudentT(2.5, 0.3), sl.noise.TwoPoint(0.5)]
CASES = [(sl.sign_sgd(), LAWS[0])] + [
    pytest.param(rule, law, marks=pytest.mark.slow)
    for rule in (
        sl.sign_sgd(),
        sl.adam(0.9, 0.95, memory="fixed"),
        sl.adam(0.9, 0.999, memory="long"),
        sl.clip_norm(0.6),
        sl.clip_coordinate(0.4),
    )
    for law in LAWS
]


@pytest.mark.parametrize(("rule", "noise"), CASES, ids=lambda x: getattr(x, "name", type(x).__name__))
@pytest.mark.parametrize("shape", ["dense", pytest.param("diagonal", marks=pytest.mark.slow)])
def test_the_ode_settles_at_the_stationary_risk(rule, noise, shape):
    covariance = DENSE.covariance if shape == "dense" else DENSE.covariance.std**2
    problem = sl.LinearRegression(covariance, noise)
    assert settled(problem, rule, 0.4) == pytest.approx(sl.stationary_risk(problem, rule, 0.4, aligned=False), rel=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [sl.adam(eps=0.1, b2=0.9), sl.signum(0.5, "fixed"), sl.lion(0.5, 0.6, "fixed"), sl.rmsprop(0.8, memory="fixed"),
     sl.nadam(0.5, 0.8, memory="fixed"), sl.s3(0.5, memory="fixed"), sl.s_adam(0.5, 0.8),
     sl.from_optax(optax.trace(0.5))],
    ids=lambda x: x.name,
)  # fmt: skip
@pytest.mark.parametrize("noise", [GAUSSIAN, sl.noise.Laplace(0.4)], ids=repr)
def test_the_ode_settles_at_the_stationary_risk_of_every_other_rule(rule, noise):
    problem = sl.LinearRegression(DENSE.covariance, noise)
    for batch_size in (1, 2):
        expected = sl.stationary_risk(problem, rule, 0.2, batch_size, aligned=False)
        assert settled(problem, rule, 0.2, batch_size) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "rule", [sl.sign_sgd(), pytest.param(sl.clip_coordinate(0.4), marks=pytest.mark.slow)], ids=lambda x: x.name
)
def test_noise_along_directions_that_data_never_takes_does_not_count(rule):
    """K of rank 5 in 12 dimensions: a sign step moves theta along the null space of K too, at no cost in risk."""
    problem = sl.LinearRegression(FACTOR @ FACTOR.T / 5, GAUSSIAN)
    assert settled(problem, rule, 0.2) == pytest.approx(sl.stationary_risk(problem, rule, 0.2, aligned=False), rel=1e-5)


def test_coordinates_without_variance_do_not_count():
    with_flat = sl.LinearRegression([1.0, 0.5, 2.0, 0.0], GAUSSIAN)
    without = sl.LinearRegression([1.0, 0.5, 2.0], GAUSSIAN)
    for rule in (sl.sgd(), sl.clip_coordinate(0.4)):
        # d counts the flat coordinate: eta/d is what matters.
        expected = sl.stationary_risk(without, rule, 0.3 * 3 / 4, aligned=False)
        assert sl.stationary_risk(with_flat, rule, 0.3, aligned=False) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="covariance must have positive variance in every coordinate"):
        sl.stationary_risk(with_flat, sl.sign_sgd(), 0.3, aligned=False)


def assert_runs_settle(rules, lr, n_runs=64, d=200):
    """Averages over time and runs, once the start is forgotten, of rules that share one data stream."""
    covariance = sl.covariance.ar1(d, 0.2).scaled(np.linspace(0.8, 1.3, d))
    problem = sl.LinearRegression(covariance, sl.noise.Laplace(0.4))
    start = max(6 / sl.convergence_rate(problem, rule, lr) for rule in rules)
    for rule, runs in zip(
        rules, sl.simulate(problem, rules, lr, t=np.linspace(start, start + 15, 80), n_runs=n_runs), strict=True
    ):
        expected = sl.stationary_risk(problem, rule, lr)
        per_run = runs.risk.mean(axis=1)
        allowed = 4 * per_run.std(ddof=1) / np.sqrt(n_runs) + 5 / d * expected
        assert allowed < 0.05 * expected
        assert abs(per_run.mean() - expected) < allowed


@pytest.mark.slow
def test_simulated_runs_fluctuate_around_the_stationary_risk():
    assert_runs_settle([sl.sgd(), sl.sign_sgd()], 0.8)


@pytest.mark.slow
def test_simulated_runs_of_clipped_and_adaptive_rules_do_too():
    assert_runs_settle([sl.clip_coordinate(0.4), sl.clip_norm(0.6), sl.adam(0.5, 0.8), sl.signum(0.3)], 0.5, n_runs=128)


class Dip(eqx.Module):
    """R phi(R) rises, falls and rises again."""

    def __call__(self, R):
        x = jnp.log(R)
        return jnp.exp(0.5 * x + 2 * jnp.tanh(-(x + 3.0))) / R


def custom(phi, psi=None, power=1):
    limit = Limit(phi, psi or UnitNoise(), power, ("rho",))
    return sl.Optimizer("custom", optax.identity(), lambda problem, batch_size: limit)


@pytest.mark.parametrize(
    "log_risk", [pytest.param(-12.0, marks=pytest.mark.slow), -4.0, pytest.param(-2.6, marks=pytest.mark.slow), 4.0]
)
@pytest.mark.slow
def test_of_several_stable_risks_the_one_is_found_that_the_ode_goes_to(log_risk):
    """K = I: all modes decay alike, so the direction in which the risk moves decides."""
    d = 20
    theta_star = np.full(d, np.sqrt(2 * np.exp(log_risk) / d))
    problem = sl.LinearRegression(np.ones(d), theta_star=theta_star)
    found = sl.stationary_risk(problem, custom(Dip()), 1.0, aligned=False)
    curve = sl.solve_ode(problem, custom(Dip()), 1.0, t=[300.0], rtol=1e-9, aligned=False)
    assert curve.risk[-1] == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("excess", [-1e-4, 1e-12, 2e-5, 2e-3])
def test_a_start_next_to_the_stationary_risk_stays_there(excess):
    """Between the same two points of the grid, on either side."""
    for rule, lr, settled in ((sl.sgd(), 1.0, 0.5), (sl.sign_sgd(), 0.5, None)):
        problem = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(1.0))
        settled = settled or sl.stationary_risk(problem, rule, lr, aligned=False)
        start = np.eye(20)[0] * np.sqrt(2 * settled * (1 + excess))
        near = sl.LinearRegression(np.ones(20), sl.noise.Gaussian(1.0), theta_star=start)
        assert sl.stationary_risk(near, rule, lr, aligned=False) == pytest.approx(settled, rel=1e-9)
        assert sl.convergence_rate(near, rule, lr) == pytest.approx(sl.convergence_rate(problem, rule, lr), rel=1e-6)


def test_the_dip_has_two_stable_risks():
    found = {
        round(
            sl.stationary_risk(
                sl.LinearRegression(np.ones(4), theta_star=np.full(4, r)), custom(Dip()), 1.0, aligned=False
            ),
            9,
        )
        for r in (1e-5, 1e2)
    }
    assert len(found) == 2


class ShrinkingDrift(eqx.Module):
    """phi = 1 / (1 + R): R phi saturates, so a rule with bounded noise can be unstable."""

    def __call__(self, R):
        return 1 / (1 + R)


def test_a_rule_with_bounded_noise_may_have_an_edge_too():
    """R / (1 + R) = eta / 4 for K = I and kappa = 1: no root from eta = 4 on."""
    problem, rule = sl.LinearRegression(np.ones(10)), custom(ShrinkingDrift())
    assert sl.max_stable_lr(problem, rule) == pytest.approx(4.0, rel=1e-9)
    assert sl.stationary_risk(problem, rule, 3.0, aligned=False) == pytest.approx(3.0, rel=1e-9)
    assert sl.stationary_risk(problem, rule, 4.1, aligned=False) == np.inf


def jacobian_rates(problem, rule, lr, step=1e-6):
    """The rates and the risk of the equation for V = E[delta delta'], linearized by differences at its fixed point."""
    K, D, d = problem.covariance.to_dense(), problem.covariance.std, problem.d
    signs = 2 / np.pi * np.arcsin(K / D[:, None] / D)
    upper = np.triu_indices(d)

    def whole(v):
        V = np.zeros((d, d))
        V[upper] = v
        return V + np.triu(V, 1).T

    def field(v):
        R = np.sum(K * whole(v)) / 2
        noise = signs if rule.name == "sign_sgd" else (2 * R + V**2) * K
        drift = lr * K @ whole(v)
        if rule.name == "sign_sgd":
            drift = 2 / np.pi / np.sqrt(2 * R + V**2) * drift / D[:, None]
        return (lr**2 / d * noise - drift - drift.T)[upper]

    v = np.eye(d)[upper] * V**2 / d
    for _ in range(40):
        J = np.array([(field(v + step * e) - field(v - step * e)) / (2 * step) for e in np.eye(v.size)]).T
        change = np.linalg.solve(J, -field(v))
        v = v + change * min(1.0, np.abs(v).max() / np.abs(change).max() / 3)
    assert np.abs(field(v)).max() < 1e-9
    return np.sort(-np.linalg.eigvals(J).real), np.sum(K * whole(v)) / 2


@pytest.mark.parametrize("rule", [sl.sgd(), sl.sign_sgd()], ids=lambda x: x.name)
@pytest.mark.parametrize("lr", [0.1, 0.8])
def test_the_rate_is_the_slowest_eigenvalue_of_the_whole_matrix_equation(rule, lr):
    problem = sl.LinearRegression(heteroscedastic(sl.covariance.ar1(4, 0.5)), GAUSSIAN)
    rates, risk = jacobian_rates(problem, rule, lr)
    assert sl.stationary_risk(problem, rule, lr, aligned=False) == pytest.approx(risk, rel=1e-6)
    assert sl.convergence_rate(problem, rule, lr) == pytest.approx(rates[0], rel=1e-4)


# Distinct eigenvalues far apart, so that the slowest disturbance is soon alone.
APART = np.array([[2.0, 0.6, 0.0], [0.6, 0.9, 0.1], [0.0, 0.1, 0.1]])
RATE_CASES = [
    (sl.sgd(), GAUSSIAN, 0.5),
    (sl.sign_sgd(), sl.noise.NoNoise(), 0.3),
    pytest.param(sl.sign_sgd(), sl.noise.TwoPoint(0.5), 0.05, marks=pytest.mark.long),
    *(
        pytest.param(rule, noise, 0.3, marks=pytest.mark.slow)
        for rule, noise in [
            (sl.sign_sgd(), sl.noise.Cauchy(0.3)),
            (sl.clip_norm(0.6), GAUSSIAN),
            (sl.clip_coordinate(0.4), GAUSSIAN),
            (sl.adam(0.0, 0.999, memory="long"), GAUSSIAN),
            (sl.adam(0.0, 0.6, memory="long"), GAUSSIAN),
        ]
    ),
]


@pytest.mark.parametrize(("rule", "noise", "lr"), RATE_CASES, ids=lambda x: getattr(x, "name", None) or str(x))
@pytest.mark.parametrize("shape", ["dense", pytest.param("diagonal", marks=pytest.mark.slow)])
def test_the_ode_approaches_the_stationary_risk_at_the_convergence_rate(rule, noise, lr, shape):
    problem = sl.LinearRegression(APART if shape == "dense" else np.diag(APART), noise)
    rate = sl.convergence_rate(problem, rule, lr)
    t = np.array([5.0, 8.0]) / rate
    gap = sl.solve_ode(problem, rule, lr, t=t, rtol=1e-11, atol=1e-14, aligned=False).risk - sl.stationary_risk(
        problem, rule, lr, aligned=False
    )
    assert -np.diff(np.log(np.abs(gap)))[0] / 3 == pytest.approx(1.0, rel=0.02)


def test_equal_modes_are_one_and_their_rate_is_the_slope_of_a_scalar_equation():
    """K = I, SGD: dR/dt = -2 eta R + eta^2 (2R + v^2) / 2, so the rate is 2 eta - eta^2."""
    problem = sl.LinearRegression(np.ones(50), GAUSSIAN)
    lr = np.array([0.1, 1.0, 1.9])
    np.testing.assert_allclose(sl.convergence_rate(problem, sl.sgd(), lr), 2 * lr - lr**2, rtol=1e-10)


def test_small_learning_rates_converge_at_twice_the_effective_rate_times_lambda_min():
    """Theory section 4, up to a correction that shrinks with eta."""
    S = DENSE.covariance.to_dense() / np.sqrt(np.outer(DENSE.covariance.std, DENSE.covariance.std))
    smallest = np.linalg.eigvalsh(S)[0]
    error = []
    for lr in (0.02, 0.002, 0.0002):
        phi = sl.limit_coefficients(sl.sign_sgd(), GAUSSIAN).phi(
            sl.stationary_risk(DENSE, sl.sign_sgd(), lr, aligned=False)
        )
        error.append(1 - sl.convergence_rate(DENSE, sl.sign_sgd(), lr) / (2 * lr * phi * smallest))
    assert 0 < error[2] < 1e-3
    assert error[0] / error[1] == pytest.approx(10, rel=0.2) and error[1] / error[2] == pytest.approx(10, rel=0.05)


PROBLEM = sl.LinearRegression(np.ones(3), GAUSSIAN)


def test_there_is_no_rate_beyond_the_edge():
    with pytest.raises(ValueError, match=r"lr must be below 2\b.*got 2.1"):
        sl.convergence_rate(PROBLEM, sl.sgd(), 2.1)


def test_a_limit_that_is_not_a_number_is_reported():
    rule = custom(lambda R: R * NAN, power=0)
    with pytest.raises(ValueError, match="custom has no finite limit coefficients at R = "):
        sl.stationary_risk(PROBLEM, rule, 0.1, aligned=False)


def test_a_rule_as_sgd_has_its_risk():
    unit = custom(UnitDrift(), lambda R: jnp.array([2.0]) * R + V**2, power=0)
    assert sl.stationary_risk(PROBLEM, unit, 0.5, aligned=False) == pytest.approx(
        sl.stationary_risk(PROBLEM, sl.sgd(), 0.5, aligned=False)
    )


def dominated(d, *spikes, noise=0.3):
    """The identity plus a few directions of large variance, from the optimum on."""
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((d, len(spikes))))[0]
    return sl.LinearRegression(np.eye(d) + axes * spikes @ axes.T, sl.noise.Gaussian(noise), theta_star=np.zeros(d))


def long_average(problem, rule, lr, t_max, n_runs=256):
    """The mean over runs and over the last half of the time, and its standard error."""
    runs = sl.simulate(problem, rule, lr=lr, t=np.linspace(0, t_max, 200), n_runs=n_runs, progress=False)
    per_run = runs.risk[:, runs.t > t_max / 2].mean(axis=1)
    return per_run.mean(), per_run.std(ddof=1) / np.sqrt(n_runs)


TEN = dominated(100, *[30.0] * 10)
CORRELATED = {
    # The linear law is 11% too high, 3% too low and 5% too low.
    "sign_sgd": (sl.sign_sgd(), dominated(100, 300.0, 40.0, noise=0.03), 80.0, 0.02, 0.06),
    "rmsprop": pytest.param(sl.rmsprop(0.99), TEN, 60.0, 0.02, 0.02, marks=pytest.mark.slow),
    "diagonal": pytest.param(
        sl.rmsprop(0.99),
        sl.LinearRegression(np.append([3000.0, 1000.0], np.ones(98)), sl.noise.Gaussian(0.3), theta_star=np.zeros(100)),
        30.0, 0.02, 0.04, marks=pytest.mark.slow,
    ),
    "adam": pytest.param(sl.adam(0.9, 0.95), TEN, 60.0, 0.02, 0.0, marks=pytest.mark.slow),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("rule", "problem", "t_max", "allowed", "linear_gap"), CORRELATED.values(), ids=CORRELATED)
def test_runs_of_few_directions_settle_where_correlated_features_do(rule, problem, t_max, allowed, linear_gap):
    mean, error = long_average(problem, rule, 0.2, t_max)
    assert abs(sl.stationary_risk(problem, rule, 0.2) / mean - 1) < allowed + 4 * error / mean < 0.05
    with pytest.warns(sl.LimitWarning, match="aligned=True takes that into account"):
        linear = sl.stationary_risk(problem, rule, 0.2, aligned=False)
    assert abs(linear / mean - 1) > linear_gap


@pytest.mark.long
def test_where_the_risk_itself_fluctuates_a_memory_of_sizes_is_warned_of():
    problem = dominated(100, 300.0, 40.0, noise=0.03)
    with pytest.warns(sl.LimitWarning, match=r"up to \d+\.\d% off; what the risk is then is not known"):
        found = sl.stationary_risk(problem, sl.adam(0.9, 0.95), 0.2)
    with pytest.warns(sl.LimitWarning):
        assert found == sl.stationary_risk(problem, sl.adam(0.9, 0.95), 0.2, aligned=False)


@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("beta", [0.0, 0.8])
def test_sgd_settles_at_the_fixed_point_of_its_exact_moments(beta, b):
    """E of delta delta', delta m' and m m' in matrix form, from the fourth moments of Gaussian features."""
    K, d = np.diag([30.0, 4.0, 1.0, 0.5]), 4
    problem = sl.LinearRegression(K, sl.noise.Gaussian(0.5))
    lr = (0.4 if beta else 0.15) * sl.max_stable_lr(problem, sl.sgd(momentum=beta), b)
    g, eye = lr / d, np.eye(d)
    step = np.block([[eye - g * K, -g * beta * eye], [K, beta * eye]])
    kick = np.concatenate([-g * eye, eye])
    Y = np.zeros((2 * d, 2 * d))
    for _ in range(4000):
        V = Y[:d, :d]
        noise = (np.sum(K * V) * K + K @ V @ K + 0.25 * K) / b
        Y = step @ Y @ step.T + kick @ noise @ kick.T
    expected = np.sum(K * Y[:d, :d]) / 2
    assert sl.stationary_risk(problem, sl.sgd(momentum=beta), lr, b, aligned=True) == pytest.approx(expected, rel=1e-6)
    linear = sl.stationary_risk(problem, sl.sgd(momentum=beta), lr, b, aligned=False)
    assert abs(linear / expected - 1) > 0.02
    edge = 1.001 * sl.max_stable_lr(problem, sl.sgd(momentum=beta), b)
    assert sl.stationary_risk(problem, sl.sgd(momentum=beta), edge, b, aligned=True) == np.inf


@pytest.mark.long
def test_dense_problems_keep_the_linear_balance():
    problem = sl.LinearRegression(sl.covariance.ar1(300, 0.5), GAUSSIAN)
    for rule in (sl.sign_sgd(), sl.adam(0.9, 0.95)):
        plain = sl.stationary_risk(problem, rule, 0.3)
        assert plain == sl.stationary_risk(problem, rule, 0.3, aligned=False)
        assert sl.stationary_risk(problem, rule, 0.3, aligned=True) == pytest.approx(plain, rel=0.01)
