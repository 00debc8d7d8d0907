"""The exponential integrator against closed forms, high-precision arithmetic and SciPy."""

from decimal import Decimal, localcontext

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.numerics.precision import x64
from sdelimit.ode import modes
from sdelimit.ode.equations import risk_system
from sdelimit.ode.exponential_integrator import Exponential, phi_functions
from sdelimit.schedules import constant

V = 0.3


def diagonal_problem(d, fastest, slowest):
    """Variances from ``fastest`` down to ``slowest``, with every mode's share of the risk of the same size."""
    values = np.geomspace(fastest, slowest, d)
    signs = np.where(np.arange(d) % 3, 1.0, -1.0)
    return sl.LinearRegression(values, sl.noise.Gaussian(V), theta_star=signs / np.sqrt(d * values))


def system_of(problem, rule, eta, t, rtol=1e-6):
    limit = rule.limit(problem, 1)
    return risk_system(problem, limit, np.atleast_1d(t), rtol, None, np.array([eta]))


def fixed_steps(problem, rule, eta, t_max, steps):
    """Risk at t_max after so many equal steps of the exponential integrator."""
    with x64():
        system = system_of(problem, rule, eta, t_max)

        @jax.jit
        def risk(dt):
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, args: system.field(eta, y)),
                Exponential(), 0.0, t_max, dt, system.initial(), (constant(eta), system),
                stepsize_controller=diffrax.ConstantStepSize(), max_steps=1000,
            )  # fmt: skip
            return system.risk(solution.ys[0])

        return np.array([risk(t_max / n) for n in steps])


def sgd_in_closed_form(problem, eta, t):
    """SGD's ODE is linear: dm_i/dt = -2 eta lambda_i m_i + (eta^2/d) lambda_i (2R + v^2); its matrix exponential."""
    decay, d = problem.covariance.std**2, problem.d
    matrix = np.zeros((d + 1, d + 1))
    matrix[:d, :d] = eta**2 / d * np.outer(decay, decay) - 2 * eta * np.diag(decay)
    matrix[:d, d] = eta**2 / d * decay * V**2
    start = np.append(problem.delta0**2, 1.0)
    return np.array([(scipy.linalg.expm(s * matrix) @ start)[:d] @ decay / 2 for s in np.atleast_1d(t)])


def sign_sgd_by_scipy(problem, eta, t, rtol=1e-11):
    """signSGD's ODE in the shares of the risk, by SciPy's implicit Radau method."""
    decay, d = problem.covariance.std, problem.d

    def field(_, y):
        phi = 2 / np.pi / np.sqrt(2 * y.sum() + V**2)
        return -2 * eta * phi * decay * y + eta**2 / (2 * d) * decay**2

    def jacobian(_, y):
        variance = 2 * y.sum() + V**2
        slope = -2 * eta * decay * y * (-2 / np.pi) * variance**-1.5
        return np.diag(-2 * eta * 2 / np.pi / np.sqrt(variance) * decay) + slope[:, None]

    start = decay**2 * problem.delta0**2 / 2
    solution = solve_ivp(field, (0, t[-1]), start, "Radau", t, jac=jacobian, rtol=rtol, atol=1e-13 * start.sum())
    assert solution.success
    return solution.y.sum(axis=0)


def test_phi_functions_have_full_precision():
    """J_k by its upward recursion in 400 digits."""
    points = np.concatenate([[0.0, 1.4999999, 1.5, 1.5000001], np.geomspace(1e-9, 1e13, 67)])
    exact = np.empty((5, points.size))
    with localcontext() as context:
        context.prec = 400
        for i, x in enumerate(map(Decimal, points.tolist())):
            value = (1 - (-x).exp()) / x if x else None
            for k in range(5):
                exact[k, i] = float(value) if x else 1 / (k + 1)
                value = (1 - (k + 1) * value) / x if x else None
    with x64():
        decayed, functions = phi_functions(jnp.asarray(points), 5)
    np.testing.assert_allclose(functions, exact, rtol=5e-15)
    np.testing.assert_allclose(decayed, np.exp(-points), rtol=1e-14)


@pytest.mark.parametrize("rule", ["sgd", pytest.param("sign_sgd", marks=pytest.mark.slow)])
def test_fixed_steps_converge_with_order_five_or_better(rule):
    problem, eta, t_max = diagonal_problem(20, 3.0, 0.1), 0.8, 4.0
    if rule == "sgd":
        exact = sgd_in_closed_form(problem, eta, t_max)[0]
    else:
        exact = sign_sgd_by_scipy(problem, eta, np.array([0.0, t_max]), 3e-14)[-1]
    steps = np.array([4, 8, 16])
    error = np.abs(fixed_steps(problem, getattr(sl, rule)(), eta, t_max, steps) / exact - 1)
    order = np.log2(error[:-1] / error[1:])
    assert error[0] > 1e-9, "too small to show an order"
    assert order.min() > 4.7, (error, order)


@pytest.mark.long
def test_stiff_sgd_is_its_closed_form():
    """lambda_max eta T = 10^9 and condition number 10^12: explicit steps would be 10^9."""
    problem = diagonal_problem(40, 30.0, 3e-11)
    t = np.array([1e-3, 0.1, 10.0, 1e3, 1e5, 3e7])
    curve = sl.solve_ode(problem, sl.sgd(), 1.0, t=t, aligned=False)
    np.testing.assert_allclose(curve.risk, sgd_in_closed_form(problem, 1.0, t), rtol=1e-7)


@pytest.mark.slow
def test_stiff_sign_sgd_is_scipys_radau_and_dense_output_is_as_good_as_steps():
    problem = diagonal_problem(40, 1e6, 1e-6)
    t = np.append(np.geomspace(1e-4, 1e4, 30), 2e4)
    curve = sl.solve_ode(problem, sl.sign_sgd(), 0.5, t=t, aligned=False)
    reference = sign_sgd_by_scipy(problem, 0.5, np.append(0.0, t))[1:]
    np.testing.assert_allclose(curve.risk, reference, rtol=1e-6)
    np.testing.assert_allclose(curve.modes @ curve.decay / 2, curve.risk, rtol=1e-12)
    slope = np.gradient(np.log(curve.risk), np.log(t), edge_order=2)
    np.testing.assert_allclose(curve.slope * t / curve.risk, slope, atol=0.02)


def stop_and_go(t):
    """Up from zero, a pause, and down to zero along a parabola."""
    return jnp.where(t < 1.0, 0.6 * t, jnp.where(t < 1.5, 0.0, 0.3 * (3.0 - t) ** 2))


@pytest.mark.slow
def test_both_integrators_agree_where_the_learning_rate_vanishes(monkeypatch):
    """At a point or for a while: it stops the clock that the exponential integrator goes by."""
    problem, t = diagonal_problem(40, 3.0, 1e-4), np.linspace(0.0, 3.0, 7)
    explicit = sl.solve_ode(problem, sl.sign_sgd(), stop_and_go, t=t, rtol=1e-9, aligned=False)
    monkeypatch.setattr(modes, "STIFF", -1.0)
    exact = sl.solve_ode(problem, sl.sign_sgd(), stop_and_go, t=t, rtol=1e-9, aligned=False)
    np.testing.assert_allclose(exact.risk, explicit.risk, rtol=3e-8)
    np.testing.assert_allclose(exact.risk[2], exact.risk[3], rtol=1e-12)


@pytest.mark.slow
def test_stiff_solves_are_batched_and_differentiated_in_the_learning_rate():
    problem, t = diagonal_problem(40, 1e6, 1e-6), np.array([1.0, 1e2])
    step = 1e-4 * 0.5
    many = sl.solve_ode(problem, sl.sign_sgd(), [0.1, 0.5 - step, 0.5 + step], t=t, rtol=1e-9, aligned=False)
    reference = sign_sgd_by_scipy(problem, 0.1, np.append(0.0, t))[1:]
    np.testing.assert_allclose(many.risk[0], reference, rtol=1e-8)
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(lambda lr: sl.solve_ode(problem, sl.sign_sgd(), lr, t=t, rtol=1e-9).risk[-1]))(0.5)
    difference = (many.risk[2, -1] - many.risk[1, -1]) / (2 * step)
    assert abs(difference) > 1e-3 * many.risk[2, -1]
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_exponential_integrator_is_chosen_where_modes_are_stiff_and_only_there():
    for fastest, lr, stiff in ((1.0, 0.5, False), (1e4, 0.5, True), (1e4, 1e-5, False)):
        assert system_of(diagonal_problem(40, fastest, 0.1), sl.sgd(), lr, 10.0).stiff is stiff
