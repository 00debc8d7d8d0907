"""SGD with momentum, Nesterov's and DANA's: a law with two numbers a mode (theory: section 16)."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import heteroscedastic

import sdelimit as sl
from sdelimit.experiments.specs import parse_optimizer
from sdelimit.limits.law import Law
from sdelimit.ode import modes as ode_modes

pytestmark = pytest.mark.long

D, V = 60, 0.5
PROBLEM = sl.LinearRegression(
    sl.covariance.power_law(D, 0.7, rotate=True, seed=3).scaled(np.full(D, 2.0)), sl.noise.Gaussian(V)
)
LAMBDA = np.linalg.eigvalsh(PROBLEM.covariance.to_dense())


def decaying(t):
    return 4 / (1 + t)


def step_of(problem, rule, eta, t):
    """(g1, g2, g3, Delta) of y' = (1 - Delta) y + g1 grad, theta' = theta - g2 grad - g3 y' as the rule is defined."""
    d, given = problem.d, rule.hyperparameters
    if rule.name == "dana":
        g1, g2, g3 = (given[name] for name in ("g1", "g2", "g3"))
        delta = given["delta"] if "delta" in given else decaying(t)
        return g1, eta / d * g2, eta / d * g3 / d, delta / d
    beta = given["momentum"]
    return (1.0, eta / d, beta * eta / d, 1 - beta) if given["nesterov"] else (1.0, 0.0, eta / d, 1 - beta)


def recursion(problem, rule, eta, steps, b=1):
    """The risk after 0, 1, ... steps from the three moments of each eigenvector of K, exact at every d."""
    lam, Q = np.linalg.eigh(problem.covariance.to_dense())
    A, variance = (Q.T @ problem.delta0) ** 2, problem.noise.second_moment
    B, C, risks = np.zeros_like(A), np.zeros_like(A), []
    for k in range(steps + 1):
        risks.append(lam @ A / 2)
        g1, g2, g3, Delta = step_of(problem, rule, eta, k / problem.d)
        r, q = 1 - Delta, -(g2 + g3 * g1)
        a, e = 1 + q * lam, -g3 * r
        N = ((lam @ A + variance) * lam + lam**2 * A) / b
        A, B, C = (
            a**2 * A + 2 * a * e * B + e**2 * C + q**2 * N,
            a * r * B + a * g1 * lam * A + e * r * C + e * g1 * lam * B + q * g1 * N,
            r**2 * C + 2 * r * g1 * lam * B + g1**2 * (lam**2 * A + N),
        )
    return np.array(risks)


def theta(problem, rule, eta, b=1):
    """The stationary noise a unit of noise makes: R_inf = Theta / (1 - Theta) E[eps^2] / 2, in the limit."""
    d, given = problem.d, rule.hyperparameters
    lam = np.linalg.eigvalsh(problem.covariance.to_dense())
    if rule.name == "dana":
        de, G1, G2, G3 = given["delta"], given["g1"], eta * given["g2"], eta * given["g3"]
    else:
        beta = given["momentum"]
        de = G1 = d * (1 - beta)
        G2, G3 = (eta, eta * beta / (1 - beta)) if given["nesterov"] else (0.0, eta / (1 - beta))
    return np.sum(lam * (G2 * de + G1 * G3 + G2**2 * lam) / (de + G2 * lam)) / (2 * b * d)


RULES = {
    "momentum": (sl.sgd(momentum=1 - 5 / D), 0.05),
    "nesterov": (sl.sgd(momentum=0.9, nesterov=True), 0.05),
    "dana": (sl.dana(g2=0.2, g3=1.0, delta=4.0), 0.6),
    "dana, g1": (sl.dana(g2=0.3, g3=1.5, delta=2.0, g1=0.4), 0.6),
}


@pytest.mark.parametrize(("rule", "lr"), RULES.values(), ids=RULES)
def test_it_settles_at_the_closed_form(rule, lr):
    for b in (1, 3):
        # The rate of forgetting is that of the steps, which moves Nesterov's and DANA's by O(1/d).
        x = theta(PROBLEM, rule, lr, b)
        expected = x / (1 - x) * V**2 / 2
        accuracy = 1e-8 if rule.name == "sgd_momentum" else 1e-2
        assert sl.stationary_risk(PROBLEM, rule, lr, b, aligned=False) == pytest.approx(expected, rel=accuracy)
        edge = sl.max_stable_lr(PROBLEM, rule, b)
        assert theta(PROBLEM, rule, edge, b) == pytest.approx(1.0, rel=accuracy)


def test_the_edge_of_momentum_is_that_of_sgd_whatever_the_memory():
    for beta in (0.2, 0.9, 0.995):
        edge = sl.max_stable_lr(PROBLEM, sl.sgd(momentum=beta))
        assert edge == pytest.approx(2 * D * (1 - beta) / PROBLEM.covariance.trace, rel=1e-6)


def test_a_memory_that_feeds_itself_has_no_stable_learning_rate():
    """With nothing forgotten Theta = g1 g3 / (2 g2) + eta g2 tr K / 2d."""
    assert sl.max_stable_lr(PROBLEM, sl.dana(g2=0.1, g3=0.3, delta=0.0)) < 1e-20
    edge = sl.max_stable_lr(PROBLEM, sl.dana(g2=0.2, g3=0.1, delta=0.0))
    assert edge == pytest.approx((1 - 0.25) * 2 * D / PROBLEM.covariance.trace / 0.2, rel=1e-5)


def test_beyond_its_edge_the_exact_mean_grows_and_short_of_it_settles():
    problem = sl.LinearRegression(sl.covariance.power_law(128, 0.5, rotate=True, seed=3), sl.noise.Gaussian(V))
    rule = sl.dana(g2=0.2, g3=1.0, delta=4.0)
    edge = sl.max_stable_lr(problem, rule)
    for factor, grows in ((1.05, True), (0.9, False)):
        risk = recursion(problem, rule, factor * edge, 60 * 128)
        growth = np.log(risk[-1] / risk[40 * 128]) / 20
        assert growth > 0.05 if grows else abs(growth) < 0.02
    with pytest.warns(sl.LimitWarning, match="grows without bounds if lr stays there"):
        sl.solve_ode(problem, rule, 1.05 * edge, 0.5, aligned=False)


CASES = {
    "momentum 1": (sl.sgd(momentum=1 - 1 / 1024), 0.5 / 1024, 1),
    "momentum 20": (sl.sgd(momentum=1 - 20 / 1024), 0.5 * 20 / 1024, 4),
    "nesterov": (sl.sgd(momentum=1 - 5 / 1024, nesterov=True), 0.5 * 5 / 1024, 1),
    "dana": (sl.dana(0.2, 1.0, 4.0), 0.8, 1),
    "dana, decaying": (sl.dana(0.5, 0.5, decaying), 0.5, 1),
}


SLOWLY = ("momentum 1", "nesterov", "dana")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in SLOWLY else case for case in CASES]
)
def test_the_ode_is_where_the_exact_mean_tends(case):
    """Within 5/d at all times: a coefficient 5% off, or a rate O(1) off, would fail."""
    rule, lr, b = CASES[case]
    d, times = 1024, np.array([4, 64, 512, 1024, 2048])
    problem = sl.LinearRegression(np.linspace(0.2, 3.0, d), sl.noise.Gaussian(V))
    risk = recursion(problem, rule, lr, times[-1], b)[times]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = sl.solve_ode(problem, rule, lr, t=np.concatenate([[0], times]) / d, batch_size=b)
    np.testing.assert_allclose(curve.risk[1:], risk, rtol=5 / d)


def test_no_memory_is_plain_sgd():
    assert sl.sgd(momentum=0.0) is sl.sgd() and sl.sgd(momentum=0, nesterov=True).name == "sgd"
    limit = sl.sgd(momentum=0.0).limit(PROBLEM, 1)
    assert limit.size == 1 and not limit.resolves_memory and not Law.resolves_memory


def test_however_long_the_memory_nothing_is_warned_of():
    problem = sl.LinearRegression(sl.covariance.identity(100), sl.noise.Gaussian(V))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sl.solve_ode(problem, sl.sgd(momentum=0.999), 0.001, 2.0).warnings == ()
        assert sl.solve_ode(problem, sl.from_optax(optax.ema(0.999)), 0.5, 2.0).warnings == ()


FEW = sl.LinearRegression(np.linspace(0.5, 1.5, 4000), sl.noise.Gaussian(V)), sl.sgd(momentum=0.5), np.linspace(0, 2, 5)


def test_a_memory_of_a_few_steps_is_left_out_where_it_costs_much():
    problem, rule, t = FEW
    short, plain = (sl.solve_ode(problem, one, lr, t=t).risk for one, lr in ((rule, 0.2), (sl.sgd(), 0.4)))
    np.testing.assert_allclose(short, plain, rtol=1e-9)


@pytest.mark.slow
def test_a_memory_of_a_few_steps_that_is_left_out_would_not_show(monkeypatch):
    problem, rule, t = FEW
    short = sl.solve_ode(problem, rule, 0.2, t=t).risk
    monkeypatch.setattr(ode_modes, "MANY_STEPS", 1e9)
    whole = sl.solve_ode(problem, rule, 0.2, t=t, save_modes=False).risk
    np.testing.assert_allclose(short, whole, rtol=1e-3)
    assert np.max(np.abs(short / whole - 1)) > 1e-6


SLOPES = {
    "momentum": (sl.sgd(momentum=1 - 5 / D), 0.05),
    "dana, decaying": (sl.dana(0.5, 0.5, decaying), 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOPES)
def test_the_slope_with_respect_to_the_learning_rate_is_a_difference_quotient(case):
    rule, lr = SLOPES[case]

    def last(lr):
        return sl.solve_ode(PROBLEM, rule, lr, t=[0.0, 2.0], rtol=1e-9, aligned=False).risk[-1]

    with jax.enable_x64(True):
        slope = float(jax.grad(last)(jnp.float64(lr)))
    h = 1e-3 * lr
    assert slope == pytest.approx(float(last(lr + h) - last(lr - h)) / (2 * h), rel=1e-4)


PATHS = {
    "nesterov": (sl.sgd(momentum=1 - 4 / 20, nesterov=True), 0.08),
    "dana, decaying": (sl.dana(0.5, 0.5, decaying), 0.4),
}


@pytest.mark.parametrize("case", ["nesterov", pytest.param("dana, decaying", marks=pytest.mark.slow)])
def test_paths_have_the_mean_of_the_ode(case):
    rule, lr = PATHS[case]
    problem = sl.LinearRegression(sl.covariance.ar1(20, 0.5), sl.noise.Gaussian(V))
    t = np.array([0.0, 0.5, 1.0, 2.0])
    paths = sl.solve_sde(problem, rule, lr, t=t, n_paths=1000)
    expected = sl.solve_ode(problem, rule, lr, t=t, aligned=False).risk
    assert np.all(np.abs(paths.mean - expected)[1:] < 4 * paths.standard_error[1:] + 2e-3 * expected[1:])
    assert np.all(4 * paths.standard_error[1:] < 0.12 * expected[1:])


SAME = {
    "trace": (optax.trace(0.95), sl.sgd(momentum=0.95), 1.0),
    "nesterov": (optax.trace(0.95, nesterov=True), sl.sgd(momentum=0.95, nesterov=True), 1.0),
    "chain": (optax.chain(optax.identity(), optax.trace(0.95)), sl.sgd(momentum=0.95), 1.0),
    "scaled": (optax.chain(optax.scale(0.5), optax.trace(0.95)), sl.sgd(momentum=0.95), 0.5),
    "ema": (optax.ema(0.95, debias=False), sl.sgd(momentum=0.95), 0.05),
}


@pytest.mark.parametrize("case", SAME)
def test_optax_has_the_same_curves(case):
    transform, rule, scale = SAME[case]
    ours = sl.solve_ode(PROBLEM, sl.from_optax(transform), 0.1, 1.0)
    assert ours.warnings == ()
    np.testing.assert_allclose(ours.risk, sl.solve_ode(PROBLEM, rule, 0.1 * scale, 1.0).risk, rtol=1e-9)


def test_an_average_without_the_bias_of_its_start_is_resolved_from_the_first_step():
    """d = 200: the ODE is within 5/d of the exact mean of m / (1 - beta^k), which starts at the full step."""
    problem = sl.LinearRegression(np.linspace(0.5, 1.5, 200), sl.noise.Gaussian(V))
    rule, beta, lr = sl.from_optax(optax.ema(0.98)), 0.98, 0.5
    g, lam, A = lr / 200, np.linspace(0.5, 1.5, 200), problem.delta0**2
    B, C, risks = 0 * A, 0 * A, []
    for k in range(201):
        risks.append(lam @ A / 2)
        N, h = lam * (lam @ A + V**2) + lam**2 * A, g / (1 - beta ** (k + 1))
        new_C = beta**2 * C + 2 * beta * (1 - beta) * lam * B + (1 - beta) ** 2 * (lam**2 * A + N)
        new_B = beta * B + (1 - beta) * lam * A  # E w y'
        A, B, C = A - 2 * h * new_B + h**2 * new_C, new_B - h * new_C, new_C
    t = np.array([0, 4, 20, 100, 200]) / 200
    exact = sl.solve_ode(problem, rule, lr, t=t, finite_d=True)
    np.testing.assert_allclose(exact.risk, np.array(risks)[[0, 4, 20, 100, 200]], rtol=1e-10)
    np.testing.assert_allclose(sl.solve_ode(problem, rule, lr, t=t).risk, exact.risk, rtol=5 / 200)


def test_the_command_line_takes_them():
    assert parse_optimizer("sgd:momentum=0.9") is sl.sgd(momentum=0.9)
    assert parse_optimizer("sgd:momentum=0.9,nesterov=True").name == "sgd_nesterov"
    assert parse_optimizer("dana:0.2,1,4") is sl.dana(0.2, 1, 4)


def test_what_needs_one_number_a_mode_is_refused():
    with pytest.raises(ValueError, match="one number a mode for the four effects, got 2: MomentumLaw"):
        sl.effects(PROBLEM, sl.sgd(momentum=0.9), 0.1, 1.0)
    with pytest.raises(ValueError, match="whose average of gradients"):
        sl.directional_sharpness(PROBLEM, sl.sgd(momentum=0.9))
    with pytest.raises(ValueError, match="problem must have a dimension for DANA"):
        sl.limit_coefficients(sl.dana(0.2, 1.0, 4.0), sl.noise.Gaussian(V))


def test_simulated_rules_are_their_definitions():
    d, steps = 20, 6
    problem = sl.LinearRegression(np.linspace(0.5, 2.0, d))
    gradients = np.random.default_rng(0).standard_normal((steps, d))
    for rule in (sl.sgd(momentum=0.7), sl.sgd(momentum=0.7, nesterov=True), sl.dana(0.3, 2.0, decaying, 0.7)):
        transform = rule.rule(problem, 1)
        state, m = transform.init(jnp.zeros(d)), 0.0
        for k, gradient in enumerate(gradients):
            u, state = transform.update(jnp.asarray(gradient, jnp.float32), state, jnp.zeros(d))
            g1, g2, g3, Delta = step_of(problem, rule, d, k / d)
            m = (1 - Delta) * m + g1 * gradient
            np.testing.assert_allclose(u, g2 * gradient + g3 * m, rtol=2e-5, atol=1e-6)


T512 = np.unique(np.concatenate([np.round(np.geomspace(4, 256, 8)), np.arange(1, 9) * 256])) / 512
ACCEPT = {
    "momentum 1": (sl.sgd(momentum=1 - 1 / 512), 1 / 512, 1),
    "momentum 5": (sl.sgd(momentum=1 - 5 / 512), 5 / 512, 1),
    "momentum 20": (sl.sgd(momentum=1 - 20 / 512), 20 / 512, 1),
    "nesterov": (sl.sgd(momentum=1 - 5 / 512, nesterov=True), 5 / 512, 1),
    "batch 4": (sl.sgd(momentum=1 - 5 / 512), 5 / 512, 4),
    "dana": (sl.dana(0.2, 1.0, 4.0), 1.5, 1),
    "dana, decaying": (sl.dana(0.5, 0.5, decaying), 0.75, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["ar1", "rotated"])
@pytest.mark.parametrize("case", ACCEPT)
def test_it_is_within_one_and_a_half_percent_of_runs_from_the_fourth_step_on(case, covariance):
    rule, lr, b = ACCEPT[case]
    made = sl.covariance.ar1(512, 0.6) if covariance == "ar1" else sl.covariance.power_law(512, 0.5, rotate=True)
    problem = sl.LinearRegression(heteroscedastic(made), sl.noise.Gaussian(0.4))
    lr = 0.5 * lr * 512 / problem.covariance.trace
    runs = sl.simulate(problem, rule, lr, t=T512, n_runs=384, batch_size=b, seed=2)
    curve = sl.solve_ode(problem, rule, lr, t=runs.t, batch_size=b)
    assert curve.warnings == () and not curve.aligned
    assert np.max(np.abs(curve.risk / runs.mean - 1)) < 0.015
