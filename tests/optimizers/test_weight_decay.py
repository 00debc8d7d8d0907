"""Weight decay of every rule: closed forms, brute force, and simulations (theory: section 19)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.experiments.specs import parse_optimizer
from sdelimit.limits.weight_decay import DecayedLaw
from sdelimit.modes.alignment import _mean
from sdelimit.modes.decoupled import modes

pytestmark = pytest.mark.filterwarnings("ignore:.*correlated with the residual:sdelimit.LimitWarning")
STD = 0.5
NOISE = sl.noise.Gaussian(STD)
START = np.random.default_rng(3).standard_normal(40) / np.sqrt(40)
AR = sl.LinearRegression(sl.covariance.ar1(40, 0.6).scaled(np.linspace(0.6, 1.5, 40)), NOISE, theta0=START, seed=1)
DIAGONAL = sl.LinearRegression(np.linspace(0.4, 2.0, 40), NOISE, theta0=START, seed=1)
ISOTROPIC = sl.LinearRegression(sl.covariance.identity(400), NOISE)


def moments_by_euler(problem, phi, covariance, eta, omega, t, steps, power=1):
    """R(t) of d delta = -eta (phi(R) D^-p K delta + omega (delta + theta*)) dt + noise: E delta and E delta delta'."""
    K, std, d = problem.covariance.to_dense(), problem.covariance.std, problem.d
    m, V = problem.delta0.copy(), np.outer(problem.delta0, problem.delta0)
    M, h = np.diag(std ** -float(power)) @ K, t / steps
    for _ in range(steps):
        R = np.sum(K * V) / 2
        A = eta * (phi(R) * M + omega * np.eye(d))
        pull = eta * omega * np.outer(m, problem.theta_star)
        V = V + h * (-A @ V - V @ A.T - pull - pull.T + eta**2 / d * covariance(R))
        m = m + h * (-A @ m - eta * omega * problem.theta_star)
    return np.sum(K * V) / 2


def sign_coefficients(problem):
    khat = problem.covariance.to_dense() / np.outer(problem.covariance.std, problem.covariance.std)
    noise = 2 / np.pi * np.arcsin(np.clip(khat, -1, 1))
    return lambda R: 2 / np.pi / np.sqrt(2 * R + STD**2), lambda R: noise


def sgd_coefficients(problem):
    K = problem.covariance.to_dense()
    return lambda R: 1.0, lambda R: (2 * R + STD**2) * K


@pytest.mark.parametrize("problem", [AR, DIAGONAL], ids=["AR(1)", "diagonal"])
@pytest.mark.parametrize(
    ("rule", "coefficients", "power"),
    [(sl.sgd(), sgd_coefficients, 0), (sl.sign_sgd(), sign_coefficients, 1)],
    ids=["sgd", "sign_sgd"],
)
def test_the_ode_is_the_limit_of_an_euler_loop_for_the_mean_and_the_second_moments(problem, rule, coefficients, power):
    decayed = rule.with_weight_decay(0.7)
    found = sl.solve_ode(problem, decayed, lr=0.4, t=[3.0], aligned=False).risk[0]
    one, two = (
        moments_by_euler(problem, *coefficients(problem), 0.4, 0.7, 3.0, steps, power) for steps in (3000, 6000)
    )
    assert found == pytest.approx(2 * two - one, rel=2e-6)
    hardly = sl.solve_ode(problem, rule.with_weight_decay(0.01), lr=0.4, t=[3.0], aligned=False).risk[0]
    assert found != pytest.approx(hardly, rel=0.05)


@pytest.mark.long
def test_a_rule_that_depends_on_scale_has_the_same_curve_with_modes_and_with_matrices():
    """clip_coordinate on a diagonal K, and on the same K with a coupling too small to matter."""
    rule = sl.clip_coordinate(0.5).with_weight_decay(0.5)
    K = np.diag(DIAGONAL.covariance.std**2)
    K[0, 1] = K[1, 0] = 1e-9
    dense = sl.LinearRegression(K, NOISE, theta0=START, theta_star=DIAGONAL.theta_star)
    t = [0.5, 4.0]
    curves = [sl.solve_ode(problem, rule, lr=0.4, t=t, aligned=False) for problem in (DIAGONAL, dense)]
    np.testing.assert_allclose(curves[1].risk, curves[0].risk, rtol=1e-5)
    np.testing.assert_allclose(curves[1].slope, curves[0].slope, rtol=1e-4)
    settled = [sl.stationary_risk(problem, rule, 0.4, aligned=False) for problem in (DIAGONAL, dense)]
    assert settled[1] == pytest.approx(settled[0], rel=1e-7)
    assert sl.solve_ode(DIAGONAL, rule, 0.4, t=[100.0]).risk[0] == pytest.approx(settled[0], rel=1e-6)


@pytest.mark.parametrize(
    ("rule", "lr"),
    [(sl.sgd().with_weight_decay(0.3), 0.5), (sl.sgd(momentum=0.9).with_weight_decay(3.0), 0.05)],
    ids=["sgd", "momentum"],
)
def test_finite_d_is_the_recursion_of_the_matrix_of_second_moments(rule, lr):
    """The state (delta, m, 1) of one step, with the exact covariance of a gradient of Gaussian features."""
    problem = sl.LinearRegression(sl.covariance.ar1(24, 0.5), NOISE, theta0=START[:24], seed=2)
    d, K, omega = problem.d, problem.covariance.to_dense(), rule.hyperparameters["weight_decay"]
    beta = rule.hyperparameters.get("momentum", 0.0)
    one, column = np.eye(d), np.zeros((d, 1))
    # m' = beta m + K delta + nu;  delta' = delta - g (m' + omega (delta + theta*))
    g = lr / d
    step = np.block(
        [
            [one - g * K - g * omega * one, -g * beta * one, -g * omega * problem.theta_star[:, None]],
            [K, beta * one, column],
            [column.T, column.T, np.ones((1, 1))],
        ]
    )
    kick = np.concatenate([-g * one, one, column.T])
    state = np.concatenate([problem.delta0, np.zeros(d), [1.0]])
    Y = np.outer(state, state)
    for _ in range(3 * d):
        V = Y[:d, :d]
        N = (np.sum(K * V) + STD**2) * K + K @ V @ K
        Y = step @ Y @ step.T + kick @ N @ kick.T
    found = sl.solve_ode(problem, rule, lr, t=[3.0], finite_d=True).risk[0]
    assert found == pytest.approx(np.sum(K * Y[:d, :d]) / 2, rel=1e-10)


@pytest.mark.long
def test_coupled_decay_of_momentum_enters_the_average():
    """d of 24 and exact moments, as above, with m' = beta m + K delta + nu + omega (delta + theta*)."""
    problem = sl.LinearRegression(sl.covariance.ar1(24, 0.5), NOISE, theta0=START[:24], seed=2)
    d, K, omega, beta, g = problem.d, problem.covariance.to_dense(), 0.4, 0.9, 0.05 / problem.d
    rule = sl.sgd(momentum=beta).with_weight_decay(omega, coupled=True)
    column, target = np.zeros((d, 1)), problem.theta_star[:, None]
    into = np.concatenate([K + omega * np.eye(d), beta * np.eye(d), omega * target], axis=1)
    keep = np.concatenate([np.eye(d), np.zeros((d, d)), column], axis=1)
    step = np.concatenate([keep - g * into, into, np.eye(1, 2 * d + 1, 2 * d)])
    kick = np.concatenate([-g * np.eye(d), np.eye(d), column.T])
    state = np.concatenate([problem.delta0, np.zeros(d), [1.0]])
    Y = np.outer(state, state)
    for _ in range(3 * d):
        V = Y[:d, :d]
        Y = step @ Y @ step.T + kick @ ((np.sum(K * V) + STD**2) * K + K @ V @ K) @ kick.T
    found = sl.solve_ode(problem, rule, 0.05, t=[3.0], finite_d=True).risk[0]
    assert found == pytest.approx(np.sum(K * Y[:d, :d]) / 2, rel=1e-10)
    plain, coupled = sl.sgd().with_weight_decay(0.4), sl.sgd().with_weight_decay(0.4, coupled=True)
    ours, same = (sl.solve_ode(problem, one, 0.3, t=[2.0]).risk[0] for one in (plain, coupled))
    assert ours == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "lr"), [pytest.param(sl.sgd(), 0.4, marks=pytest.mark.long), (sl.sign_sgd(), 0.5)], ids=["sgd", "sign_sgd"]
)
def test_stationary_risk_and_best_decay_of_isotropic_features_are_in_closed_form(rule, lr):
    """R = omega^2 T / (2 q^2) + eta kappa / (4 q), q = phi + omega, T = |theta*|^2; R' = 0 at the best omega."""
    found = sl.best_weight_decay(ISOTROPIC, rule, lr)
    known = sl.limit_coefficients(rule, NOISE)
    phi, kappa = float(known.phi(found.risk)), float(known.kappa(1.0, found.risk))
    T, omega = np.sum(ISOTROPIC.theta_star**2), found.weight_decay
    q = phi + omega
    assert found.risk == pytest.approx(omega**2 * T / (2 * q**2) + lr * kappa / (4 * q), rel=1e-8)
    assert omega == pytest.approx(lr * kappa * phi / (4 * phi * T - lr * kappa), rel=1e-4)
    assert found.risk < found.undecayed == pytest.approx(sl.stationary_risk(ISOTROPIC, rule, lr, aligned=False))
    decayed = rule.with_weight_decay(omega)
    assert sl.stationary_risk(ISOTROPIC, decayed, lr, aligned=False) == pytest.approx(found.risk, rel=1e-9)
    assert sl.solve_ode(ISOTROPIC, decayed, lr, t=[80.0]).risk[0] == pytest.approx(found.risk, rel=1e-6)


@pytest.mark.long
def test_the_best_decay_may_be_none_or_without_end():
    small = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(3.0), theta_star=np.full(100, 1e-3))
    endless = sl.best_weight_decay(small, sl.sgd(), 1.0)
    assert endless.weight_decay == np.inf
    assert endless.risk == pytest.approx(100 * 1e-6 / 2)
    assert sl.best_weight_decay(ISOTROPIC, sl.sgd(), 0.1, t_max=1.0).weight_decay == 0.0
    finite = sl.best_weight_decay(ISOTROPIC, sl.sign_sgd(), 0.5, t_max=5.0)
    around = [
        sl.solve_ode(ISOTROPIC, sl.sign_sgd().with_weight_decay(finite.weight_decay * x), 0.5, t=[5.0]).risk[0]
        for x in (0.8, 1.0, 1.25)
    ]
    assert around[1] < min(around[0], around[2])


@pytest.mark.long
@pytest.mark.parametrize(("rule", "lr"), [(sl.sign_sgd(), 0.2), (sl.sgd(), 0.3), (sl.sgd(momentum=0.8), 0.05)])
def test_the_rate_at_which_the_risk_settles_is_that_of_the_ode(rule, lr):
    """Two distinct variances, so that the slowest rate is soon all that is left."""
    problem = sl.LinearRegression(np.repeat([0.5, 2.0], 20), NOISE, theta0=START, seed=1)
    decayed = rule.with_weight_decay(0.5)
    rate = sl.convergence_rate(problem, decayed, lr)
    t = np.array([18.0, 19.0, 20.0]) / rate
    risk = sl.solve_ode(problem, decayed, lr, t=t, rtol=1e-11, atol=1e-14, aligned=False).risk
    assert np.log((risk[0] - risk[1]) / (risk[1] - risk[2])) == pytest.approx(1.0, rel=0.02)
    assert risk[-1] == pytest.approx(sl.stationary_risk(problem, decayed, lr, aligned=False), rel=1e-4)


@pytest.mark.long
def test_of_isotropic_features_the_risk_solves_a_scalar_pair_of_equations():
    """m = E delta along theta*, R: K = I and theta_0 = 0."""
    problem = sl.LinearRegression(sl.covariance.identity(300), NOISE, seed=4)
    eta, omega, T = 0.6, 0.3, np.sum(problem.theta_star**2)

    def field(t, y):
        R, a = y  # E delta = a theta*
        phi = 2 / np.pi / np.sqrt(2 * R + STD**2)
        return [-2 * eta * (phi + omega) * R - eta * omega * a * T + eta**2 / 2, -eta * (phi * a + omega * (a + 1))]

    expected = solve_ivp(field, (0, 4), [T / 2, -1.0], rtol=1e-11, atol=1e-13).y[0, -1]
    found = sl.solve_ode(problem, sl.sign_sgd().with_weight_decay(omega), eta, t=[4.0]).risk[0]
    assert found == pytest.approx(expected, rel=2e-6)


@pytest.mark.long
def test_paths_have_the_mean_of_the_ode():
    for rule, problem in ((sl.sign_sgd(), AR), (sl.clip_coordinate(0.7), AR), (sl.sgd(momentum=0.9), DIAGONAL)):
        lr = 0.04 if rule.name == "sgd_momentum" else 0.4
        decayed = rule.with_weight_decay(1.0)
        t = [1.0, 3.0]
        paths = sl.solve_sde(problem, decayed, lr, t=t, n_paths=600, aligned=False)
        mean = sl.solve_ode(problem, decayed, lr, t=t, aligned=False).risk
        assert np.all(np.abs(paths.mean / mean - 1) < 4 * paths.standard_error / paths.mean + 0.01)
        hardly = sl.solve_ode(problem, rule.with_weight_decay(0.01), lr, t=t, aligned=False).risk
        assert np.all(np.abs(mean / hardly - 1) > 0.03)


def test_a_run_is_the_rule_written_as_a_loop():
    rule = sl.sign_sgd().with_weight_decay(2.0)
    transform = rule.rule(AR, 1)
    theta, g = AR.theta0, jnp.ones(40)
    update, _ = transform.update(g, transform.init(theta), jnp.asarray(theta))
    np.testing.assert_allclose(update, 1 + 2.0 * theta, rtol=1e-6)
    coupled = sl.sgd(momentum=0.5).with_weight_decay(2.0, coupled=True).rule(AR, 1)
    update, state = coupled.update(g, coupled.init(theta), jnp.asarray(theta))
    update, _ = coupled.update(g, state, jnp.asarray(theta))
    np.testing.assert_allclose(update, 1.5 * (1 + 2.0 * theta), rtol=1e-6)


def test_decays_add_up_and_none_is_the_rule_itself():
    assert sl.sgd().with_weight_decay(0.0) is sl.sgd()
    twice = sl.adam(0.9, 0.95).with_weight_decay(0.1).with_weight_decay(0.2)
    assert twice.hyperparameters["weight_decay"] == pytest.approx(0.3)
    once = sl.adamw(0.9, 0.95, weight_decay=0.3)
    laws = [rule.limit(DIAGONAL, 1) for rule in (once, twice)]
    assert all(jax.tree.leaves(jax.tree.map(np.allclose, *laws)))
    law = laws[1]
    assert isinstance(law, DecayedLaw) and not isinstance(law.rule, DecayedLaw)


@pytest.mark.long
def test_decay_in_an_optax_chain_is_found():
    found = sl.from_optax(optax.chain(optax.scale_by_sign(), optax.add_decayed_weights(0.25)))
    assert found.hyperparameters["weight_decay"] == 0.25
    ours = sl.sign_sgd().with_weight_decay(0.25)
    a, b = (sl.solve_ode(AR, rule, 0.3, t=[2.0], aligned=False).risk[0] for rule in (found, ours))
    assert a == pytest.approx(b, rel=1e-9)
    mask = optax.masked(optax.add_decayed_weights(0.5), mask=True)
    assert sl.from_optax(optax.chain(optax.identity(), mask)).hyperparameters["weight_decay"] == 0.5


def test_the_command_line_takes_a_decay_of_every_rule():
    rule = parse_optimizer("signum:0.8,weight_decay=0.25")
    assert rule.hyperparameters == {"beta": 0.8, "weight_decay": 0.25}
    assert parse_optimizer("adamw:weight_decay=0.5").hyperparameters["weight_decay"] == 0.5
    with pytest.raises(ValueError, match="weight_decay must be >= 0"):
        parse_optimizer("sgd:weight_decay=-1")


@pytest.mark.long
def test_effects_have_a_fifth_term_and_still_add_up():
    rule = sl.sign_sgd().with_weight_decay(0.5)
    found = sl.effects(AR, rule, 0.3, t=np.linspace(0, 2, 5))
    assert found.identity_error < 1e-6
    every = frozenset(found.decomposition.names)
    assert len(every) == 5
    np.testing.assert_allclose(found.decomposition.risks[every], found.curve.risk, rtol=1e-6)
    shares = found.decomposition.log_shares()
    assert sum(shares.values()) == pytest.approx(
        np.log(found.curve.risk[-1] / found.decomposition.risks[frozenset()][-1]), rel=1e-9
    )
    sgd = sl.solve_ode(AR, sl.sgd().with_weight_decay(0.5), 0.3, t=[2.0], aligned=False).risk[0]
    assert found.decomposition.risks[frozenset(["weight_decay"])][-1] == pytest.approx(sgd, rel=1e-6)
    assert "weight decay" in found.table()


def test_the_mean_under_decay_is_the_same_from_eigenvectors_and_by_polynomials():
    ar = sl.covariance.ar1(120, 0.7)
    problems = [sl.LinearRegression(K, NOISE, seed=3) for K in (ar, ar.to_dense())]
    limit = sl.sign_sgd().limit(problems[0], 1)
    for index in (0, 3, 9):
        found, expected = (_mean(problem, limit, 0.3, index) for problem in problems)
        np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.long
def test_features_that_decay_keeps_correlated_are_warned_of():
    """theta_0 = theta* = e_1: correlated only because decay pulls theta away."""
    target = np.eye(200)[0]
    problem = sl.LinearRegression(sl.covariance.identity(200), sl.noise.Gaussian(0.1), target, target)
    assert sl.solve_ode(problem, sl.sign_sgd(), 0.1, 5.0).drift_error < 0.01
    with pytest.warns(sl.LimitWarning):
        curve = sl.solve_ode(problem, sl.sign_sgd().with_weight_decay(1.0), 0.1, 5.0, aligned=False)
    assert curve.drift_error > 0.05


@pytest.mark.long
@pytest.mark.parametrize("covariance", [sl.covariance.identity(200), sl.covariance.ar1(200, 0.3)], ids=["I", "AR(1)"])
def test_correlated_features_with_decay_follow_runs(covariance):
    """theta_0 = 0, theta* = e_1: the linear law is several percent off at all times."""
    problem = sl.LinearRegression(covariance, sl.noise.Gaussian(0.1), theta_star=np.eye(200)[0])
    rule, t = sl.sign_sgd().with_weight_decay(0.5), np.array([0.5, 2.0, 5.0])
    runs = sl.simulate(problem, rule, 0.1, t=t, n_runs=128)
    aligned, linear = (sl.solve_ode(problem, rule, 0.1, t=t, aligned=choice).risk for choice in (None, False))
    error = 4 * runs.standard_error
    assert np.all(np.abs(aligned - runs.mean) < error + 0.01 * runs.mean)
    assert np.all(np.abs(linear - runs.mean) > error + 0.02 * runs.mean)
    paths = sl.solve_sde(problem, rule, 0.1, t=t, n_paths=256)
    assert np.all(np.abs(paths.mean - aligned) < 4 * paths.standard_error + 0.01 * aligned)


@pytest.mark.long
@pytest.mark.parametrize(("rule", "lr"), [(sl.sgd(), 0.3), (sl.sgd(momentum=0.9), 0.03)], ids=["sgd", "momentum"])
def test_the_recursion_with_decay_settles_at_its_fixed_point(rule, lr):
    problem = sl.LinearRegression(sl.covariance.spiked(40, [6.0]), NOISE, seed=2)
    decayed = rule.with_weight_decay(0.4)
    settled = sl.solve_ode(problem, decayed, lr, t=[300.0], finite_d=True).risk[0]
    assert sl.stationary_risk(problem, decayed, lr, aligned=True) == pytest.approx(settled, rel=1e-6)


@pytest.mark.long
def test_spiked_modes_follow_both_vectors():
    spiked = sl.covariance.spiked(60, [5.0, 2.0])
    problems = [sl.LinearRegression(K, NOISE, theta0=np.ones(60) / 8, seed=5) for K in (spiked, spiked.to_dense())]
    rule = sl.sgd().with_weight_decay(0.6)
    assert modes(problems[0], rule.limit(problems[0], 1)).vectors is None
    a, b = (sl.solve_ode(problem, rule, 0.2, t=[0.5, 3.0]).risk for problem in problems)
    np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.long
def test_gradients_with_respect_to_the_learning_rate_are_finite_differences():
    rule = sl.sign_sgd().with_weight_decay(0.5)

    def final(lr):
        return sl.solve_ode(AR, rule, lr, t=[2.0], aligned=False).risk[0]

    with jax.enable_x64(True):
        solve = jax.jit(jax.value_and_grad(final))
        (low, _), (value, slope), (high, _) = map(solve, (0.299, 0.3, 0.301))
    assert float(slope) == pytest.approx(float(high - low) / 0.002, rel=1e-4)
    assert float(value) == pytest.approx(final(0.3), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.3, 1.0])
@pytest.mark.parametrize(
    ("rule", "lr"),
    [
        (sl.sgd(), 0.4),
        (sl.sign_sgd(), 0.4),
        (sl.adam(0.9, 0.95), 0.4),
        (sl.signum(0.9), 0.05),
        (sl.lion(0.9, 0.95), 0.03),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("rotated", [False, True])
def test_runs_follow_the_ode(rule, lr, decay, rotated):
    d = 1024
    rng = np.random.default_rng(8)
    K = sl.covariance.power_law(d, 0.5, rotate=True, seed=31) if rotated else sl.covariance.ar1(d, 0.6)
    K = K.scaled(rng.uniform(0.6, 1.6, d))
    problem = sl.LinearRegression(K, NOISE, theta0=rng.standard_normal(d) / np.sqrt(d), seed=6)
    t = np.linspace(0.25, 5, 20)
    decayed = rule.with_weight_decay(decay)
    runs = sl.simulate(problem, decayed, lr, t=t, n_runs=96)
    theory = sl.solve_ode(problem, decayed, lr, t=t)
    gap = np.abs(theory.risk / runs.mean - 1)
    assert np.all(gap < 0.015 + 2 * runs.standard_error / runs.mean)
