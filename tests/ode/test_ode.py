"""The risk ODE against independent computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl

V = 0.4


def euler_in_matrix_form(problem, rule, lr, t_max, steps):
    """Fixed-step Euler for V = E[delta delta'] in the original coordinates: no modes, no diagonalization.

    dV/dt = -eta phi (M K V + V K M) + (eta^2/d) psi N, R = tr(K V) / 2, Gaussian label noise of std ``V``.
    """
    k, d = problem.covariance.to_dense(), problem.d
    std = np.sqrt(np.diag(k))
    sign = rule == "sign_sgd"
    m = np.diag(1 / std) if sign else np.eye(d)
    n = 2 / np.pi * np.arcsin(np.clip(k / np.outer(std, std), -1, 1)) if sign else k
    second = np.outer(problem.delta0, problem.delta0)
    dt, risks = t_max / steps, []
    for step in range(steps + 1):
        risk = np.trace(k @ second) / 2
        risks.append(risk)
        variance = 2 * risk + V**2
        phi, psi = ((2 / np.pi) / np.sqrt(variance), 1.0) if sign else (1.0, variance)
        eta = lr(step * dt)
        drift = m @ k @ second
        second = second + dt * (-eta * phi * (drift + drift.T) + eta**2 / d * psi * n)
    return np.array(risks)


@pytest.mark.parametrize("rule", [pytest.param("sgd", marks=pytest.mark.long), "sign_sgd"])
@pytest.mark.parametrize(
    "lr",
    [pytest.param(lambda t: 0.6, marks=pytest.mark.slow), lambda t: 0.6 * jnp.exp(-t)],
    ids=["constant", "decaying"],
)
def test_ode_is_the_limit_of_an_euler_loop_in_matrix_form(small_problem, rule, lr):
    """Euler's error halves with its step, and what it extrapolates to is our curve."""
    t_max = 2.0
    curve = sl.solve_ode(small_problem, getattr(sl, rule)(), lr, t=np.linspace(0, t_max, 41), rtol=1e-9, aligned=False)
    coarse, fine = (euler_in_matrix_form(small_problem, rule, lr, t_max, 40 * m)[::m] for m in (10, 20))
    error = np.abs(np.stack([coarse, fine]) / curve.risk - 1).max(axis=1)
    assert 1.8 < error[0] / error[1] < 2.2
    np.testing.assert_allclose(2 * fine - coarse, curve.risk, rtol=2e-5)


def test_result_is_consistent(small_problem):
    curve = sl.solve_ode(small_problem, sl.sign_sgd(), sl.schedules.cosine(0.6, 3.0), 3.0, rtol=1e-9, aligned=False)
    assert curve.t.shape == curve.risk.shape == (200,)
    assert curve.status == "ok"
    np.testing.assert_allclose(curve.modes @ curve.decay / 2, curve.risk, rtol=1e-12)
    np.testing.assert_allclose(curve.risk[0], small_problem.initial_risk, rtol=1e-12)
    np.testing.assert_allclose(curve.lr, 0.3 * (1 + np.cos(np.pi * curve.t / 3)), atol=1e-12)
    phi = sl.limit_coefficients(sl.sign_sgd(), small_problem.noise).phi(curve.risk)
    np.testing.assert_allclose(curve.phi, phi, rtol=1e-12)
    slope = np.gradient(curve.risk, curve.t, edge_order=2)
    np.testing.assert_allclose(curve.slope, slope, atol=2e-3 * np.abs(slope).max())
    between = np.append((curve.t[:-1] + curve.t[1:]) / 2, 3.0)  # as many as before: the same compiled code
    exact = sl.solve_ode(
        small_problem, sl.sign_sgd(), sl.schedules.cosine(0.6, 3.0), t=between, rtol=1e-9, aligned=False
    )
    np.testing.assert_allclose(curve.at(between), exact.risk, rtol=1e-6)


def test_rtol_controls_the_error(small_problem):
    reference = sl.solve_ode(small_problem, sl.sign_sgd(), 0.6, 3.0, rtol=1e-11, aligned=False).risk
    errors = [
        np.abs(sl.solve_ode(small_problem, sl.sign_sgd(), 0.6, 3.0, rtol=r, aligned=False).risk / reference - 1).max()
        for r in (1e-4, 1e-6, 1e-8)
    ]
    assert errors[0] < 1e-4 and errors[1] < 1e-6 and errors[2] < 1e-8


def test_many_learning_rates_in_one_call_equal_single_calls(small_problem):
    rates = [0.2, 0.5, 0.9]
    many = sl.solve_ode(small_problem, sl.sign_sgd(), rates, 2.0, aligned=False)
    assert many.risk.shape == (3, 200)
    for i, lr in enumerate(rates):
        single = sl.solve_ode(small_problem, sl.sign_sgd(), lr, 2.0, aligned=False)
        np.testing.assert_allclose(many.risk[i], single.risk, rtol=1e-5)
        np.testing.assert_allclose(many.select(i).risk, many.risk[i])


LEARNING_RATES = {
    "number": lambda a: a,
    "schedule": lambda a: sl.schedules.cosine(a, 2.0),
    "function": lambda a: lambda t: a / (1 + t),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "wrap"),
    [
        pytest.param("number", lambda f: f, marks=pytest.mark.slow),
        pytest.param("function", jax.jit, marks=pytest.mark.slow),
        ("number", jax.jit),
        pytest.param("schedule", lambda f: f, marks=pytest.mark.slow),
    ],
    ids=["number-grad", "function-jit(grad)", "number-jit(grad)", "schedule-grad"],
)
def test_gradient_in_the_learning_rate_is_the_finite_difference(small_problem, kind, wrap):
    make = LEARNING_RATES[kind]

    def final_risk(a):
        return sl.solve_ode(small_problem, sl.sign_sgd(), make(a), 2.0, rtol=1e-9, aligned=False).risk[-1]

    gradient = wrap(jax.grad(final_risk))(0.5)
    step = 1e-4
    difference = (final_risk(0.5 + step) - final_risk(0.5 - step)) / (2 * step)
    np.testing.assert_allclose(gradient, difference, rtol=1e-4)


@pytest.mark.long
def test_short_pulses_of_the_learning_rate_are_not_stepped_over(small_problem):
    """A pulse of width 0.01 after a pause: same as solving the three pieces one after the other."""
    pulse = sl.schedules.piecewise_constant([2.0, 2.01], [0.0, 1.0, 0.0])
    curve = sl.solve_ode(small_problem, sl.sgd(), pulse, t=[1.0, 3.0, 4.0], aligned=False)
    direct = sl.solve_ode(small_problem, sl.sgd(), 1.0, t=[0.01], rtol=1e-10, aligned=False)
    np.testing.assert_allclose(curve.risk, [small_problem.initial_risk, direct.risk[0], direct.risk[0]], rtol=1e-5)


@pytest.mark.long
def test_a_learning_rate_that_reads_a_variable_is_read_anew(small_problem):
    """Also inside a warmup."""
    size = [1.0]

    def lr(t):
        return size[0] * jnp.exp(-t)

    wrapped = sl.schedules.warmup(lr, 0.5)
    first = sl.solve_ode(small_problem, sl.sgd(), lr, t=[0.0, 1.0])
    size[0] = 0.1
    for schedule in (lr, wrapped):
        assert sl.solve_ode(small_problem, sl.sgd(), schedule, t=[0.0, 1.0]).lr[1] == pytest.approx(0.1 * np.exp(-1))
    assert first.lr[0] == 1.0


@pytest.mark.long
def test_after_a_divergence_the_learning_rate_is_still_known(small_problem):
    with pytest.warns(sl.DivergenceWarning, match=r"lr 40 at t = 0"):
        curve = sl.solve_ode(small_problem, sl.sgd(), lambda t: 40 / (1 + t), t=[30.0, 50.0])
    np.testing.assert_allclose(curve.lr, [40 / 31, 40 / 51])
    assert np.all(np.isinf(curve.risk))


@pytest.mark.long
def test_vmap_and_jit_over_the_learning_rate(small_problem):
    def risk(a):
        return sl.solve_ode(small_problem, sl.sgd(), a, 1.0, aligned=False).risk

    rates = jnp.array([0.3, 0.6])
    expected = [sl.solve_ode(small_problem, sl.sgd(), float(a), 1.0, aligned=False).risk for a in rates]
    np.testing.assert_allclose(jax.vmap(risk)(rates), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(risk)(rates[0]), expected[0], rtol=1e-5)


def test_theory_is_float64_without_touching_the_users_precision(small_problem):
    before = jax.config.jax_enable_x64
    curve = sl.solve_ode(small_problem, sl.sgd(), 0.5, 1.0)
    assert curve.risk.dtype == np.float64
    assert jax.config.jax_enable_x64 == before
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_sign_sgd_settles_at_its_stationary_risk(small_problem, eta):
    """R phi(R) = eta tr(D) / (4d); with phi = (2/pi) / sqrt(2R + v^2) a quadratic equation in R."""
    load = eta * small_problem.covariance.std.sum() / (4 * small_problem.d) * np.pi / 2
    expected = load**2 + np.sqrt(load**4 + load**2 * V**2)
    curve = sl.solve_ode(small_problem, sl.sign_sgd(), eta, t=[400.0 / eta], aligned=False)
    np.testing.assert_allclose(curve.risk[-1], expected, rtol=1e-5)


@pytest.mark.slow
def test_sgd_settles_at_its_stationary_risk(small_problem):
    """R = (eta tr K / 2d)(E eps^2 / 2) / (1 - eta tr K / 2d); batch size b divides the noise."""
    for eta, b in ((0.3, 1), (0.9, 1), (0.9, 3)):
        load = eta * small_problem.covariance.trace / (2 * small_problem.d) / b
        curve = sl.solve_ode(small_problem, sl.sgd(), eta, t=[800.0], batch_size=b, aligned=False)
        np.testing.assert_allclose(curve.risk[-1], load * V**2 / 2 / (1 - load), rtol=1e-5)


def test_sgd_is_unstable_beyond_twice_d_over_trace(small_problem):
    """Just below 2d / tr K the risk settles; just above it grows without bound and is reported."""
    edge = 2 * small_problem.d / small_problem.covariance.trace
    below = sl.solve_ode(small_problem, sl.sgd(), 0.98 * edge, t=np.linspace(2000, 2100, 200), aligned=False)
    np.testing.assert_allclose(below.risk[0], 0.98 / 0.02 * V**2 / 2, rtol=1e-3)
    with pytest.warns(sl.DivergenceWarning, match="diverged at t = "):
        above = sl.solve_ode(small_problem, sl.sgd(), 1.05 * edge, t=np.linspace(1, 5000, 200), aligned=False)
    assert "diverged at t = " in above.status and 0 < above.diverged_at < 5000
    assert np.isfinite(above.risk[0]) and above.risk[-1] == np.inf
    assert not np.isnan(above.phi).any()


@pytest.mark.long
def test_starting_at_the_target_and_without_noise_is_not_a_singularity():
    problem = sl.LinearRegression(np.full(50, 2.0), theta0=np.ones(50), theta_star=np.ones(50))
    curve = sl.solve_ode(problem, sl.sign_sgd(), 0.5, 40.0, aligned=False)
    load = 0.5 * np.sqrt(2.0) / 4 * np.pi / 2
    np.testing.assert_allclose(curve.risk[-1], 2 * load**2, rtol=1e-5)
    assert np.all(np.diff(curve.risk) > -1e-7)


def test_singular_covariance_under_sgd():
    factor = np.random.default_rng(0).standard_normal((40, 10))
    problem = sl.LinearRegression(np.pad(factor @ factor.T / 10, (0, 1)), sl.noise.Gaussian(V))
    curve = sl.solve_ode(problem, sl.sgd(), 0.2, 1.0, rtol=1e-9, aligned=False)
    fine = euler_in_matrix_form(problem, "sgd", lambda t: 0.2, 1.0, 4000)
    np.testing.assert_allclose(curve.risk[-1], fine[-1], rtol=1e-3)


@pytest.mark.long
def test_dense_and_structured_descriptions_of_one_matrix_agree():
    for covariance in (heteroscedastic(sl.covariance.spiked(40, [5.0])), sl.covariance.power_law(40, 0.7)):
        curves = []
        for k in (covariance, covariance.to_dense()):
            problem = sl.LinearRegression(k, sl.noise.Cauchy(0.2))
            curves.append(sl.solve_ode(problem, sl.sign_sgd(), 0.5, 2.0, aligned=False).risk)
        np.testing.assert_allclose(*curves, rtol=1e-6)
