"""The law with two numbers a mode: SGD with momentum (w, y), whose moments have closed equations.

With y' = c (lambda w + noise - y) and w' = -eta y, c = d (1 - beta), SGD's noise of variance n c_i with n = 2P / d:

    A' = -2 eta B,    B' = -c B - eta C + c lambda A,    C' = -2 c C + 2 c lambda B + c^2 n lambda,

A = E w^2, B = E wy, C = E y^2 and R = 1/2 sum lambda A.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.limits.law import Law, moment_pairs
from sdelimit.numerics.matrices import exponentials
from sdelimit.numerics.precision import evaluate_in_float64

pytestmark = pytest.mark.long

D, NOISE, MEMORY, ETA = 60, 0.5, 5.0, 0.4
PROBLEM = sl.LinearRegression(sl.covariance.power_law(D, 0.7, rotate=True, seed=3), sl.noise.Gaussian(NOISE))


class Momentum(Law):
    """SGD on an exponential average of gradients, 1 - beta = c / d."""

    size: ClassVar[int] = 2
    c: float
    variance: float
    power: int = eqx.field(static=True, default=0)
    basis: tuple[str, ...] = eqx.field(static=True, default=("rho",))

    def drift(self, eta, q, m):
        constant = jnp.array([[0.0, -eta], [0.0, -self.c]])
        return constant, jnp.array([[[0.0, 0.0], [self.c, 0.0]]])

    def noise(self, eta, q, m):
        return jnp.zeros((1, 2, 2)).at[0, 1, 1].set(self.c**2 * (q[0] + self.variance))

    def effective_rates(self, q, m):
        return jnp.ones(1)


def momentum(c=MEMORY):
    return sl.Optimizer("momentum", sl.sgd().transform, lambda problem, b: Momentum(c, problem.noise.second_moment / b))


def moments_by_scipy(problem, c, eta, t):
    """(R at ``t``, A at the last) from the equations at the top."""
    lam, Q = np.linalg.eigh(problem.covariance.to_dense())
    A0 = (Q.T @ problem.delta0) ** 2

    def field(t, y):
        A, B, C = y.reshape(3, -1)
        n = (lam @ A + NOISE**2) / problem.d
        moved = -2 * eta * B, -c * B - eta * C + c * lam * A, -2 * c * C + 2 * c * lam * B + c**2 * n * lam
        return np.concatenate(moved)

    start = np.concatenate([A0, np.zeros(2 * lam.size)])
    out = solve_ivp(field, (0.0, t[-1]), start, t_eval=t, rtol=1e-10, atol=1e-13, method="DOP853")
    A = out.y[: lam.size]
    return lam @ A / 2, A[:, -1]


def test_moments_are_kept_in_the_order_of_the_upper_triangle():
    assert moment_pairs(1) == [(0, 0)] and moment_pairs(2) == [(0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("c", [0.5, 5.0, 50.0])
def test_the_ode_solves_the_equations_of_all_moments(c):
    t = np.linspace(0.0, 8.0, 17)
    expected, energies = moments_by_scipy(PROBLEM, c, ETA, t)
    curve = sl.solve_ode(PROBLEM, momentum(c), ETA, t=t)
    np.testing.assert_allclose(curve.risk, expected, rtol=2e-5)
    np.testing.assert_allclose(np.sort(curve.modes[-1]), np.sort(energies), rtol=1e-4, atol=1e-7)


def test_a_few_hundred_modes_carry_all_moments():
    problem = sl.LinearRegression(np.geomspace(0.05, 2.0, 3000), sl.noise.Gaussian(NOISE))
    sl.solve_ode(problem, sl.sgd(), ETA, 6.0, save_modes=False)  # few modes of another law are on the problem already
    all_modes, few = (sl.solve_ode(problem, momentum(), ETA, 6.0, save_modes=kept) for kept in (True, False))
    assert few.decay.size == 3000 and few.modes is None
    np.testing.assert_allclose(few.risk, all_modes.risk, rtol=1e-5)


def test_where_it_settles_does_not_depend_on_the_memory():
    """Theta = eta tr K / 2d and R = Theta / (1 - Theta) E[eps^2] / 2, as without momentum."""
    theta = ETA * PROBLEM.covariance.trace / (2 * D)
    for c in (0.5, 5.0, 50.0):
        settled = sl.stationary_risk(PROBLEM, momentum(c), ETA, aligned=False)
        assert settled == pytest.approx(theta / (1 - theta) * NOISE**2 / 2, rel=1e-8)


def test_it_settles_at_the_rate_of_the_slowest_disturbance():
    """The moments obey a linear equation, with the risk a sum over modes: its slowest eigenvalue."""
    lam, c = np.linalg.eigvalsh(PROBLEM.covariance.to_dense()), MEMORY
    one, zero, L = np.eye(D), np.zeros((D, D)), np.diag(lam)
    of_risk = c**2 * np.outer(lam, lam) / D
    matrix = np.block([[zero, -2 * ETA * one, zero], [c * L, -c * one, -ETA * one], [of_risk, 2 * c * L, -2 * c * one]])
    slowest = -np.linalg.eigvals(matrix).real.max()
    assert sl.convergence_rate(PROBLEM, momentum(), ETA) == pytest.approx(slowest, rel=1e-6)


@pytest.mark.parametrize("aligned", [None, True, False])
@pytest.mark.parametrize("ask", [sl.solve_ode, sl.solve_sde, sl.stationary_risk])
def test_a_limit_that_is_no_law_is_named(ask, aligned):
    nothing = sl.Optimizer("nothing", sl.sgd().transform, lambda problem, batch_size: None)
    given = {"aligned": aligned} if ask is sl.stationary_risk else {"aligned": aligned, "t_max": 1.0}
    with pytest.raises(TypeError, match="must return a Law, got None"):
        ask(PROBLEM, nothing, 0.5, **given)


def test_effects_of_a_law_with_several_numbers_a_mode_are_refused():
    with pytest.raises(ValueError, match="one number a mode for the four effects, got 2: Momentum"):
        sl.effects(PROBLEM, momentum(), 0.1, 1.0)


class Constant(Momentum):
    """A number beside w that never moves: no moments are stationary."""

    def drift(self, eta, q, m):
        return jnp.zeros((2, 2)), jnp.array([[[-eta, 0.0], [0.0, 0.0]]])

    def noise(self, eta, q, m):
        return jnp.zeros((1, 2, 2)).at[0, 0, 0].set(eta**2 * (q[0] + self.variance))


def test_where_moments_do_not_settle_no_stationary_risk_is_made_up():
    rule = sl.Optimizer("constant", sl.sgd().transform, lambda problem, b: Constant(1.0, NOISE**2))
    with pytest.raises(ValueError, match="no finite limit coefficients"):
        sl.stationary_risk(PROBLEM, rule, ETA, aligned=False)


def test_exponentials_of_small_matrices_are_those_of_scipy():
    matrices = np.random.default_rng(0).standard_normal((50, 3, 3)) * np.geomspace(1e-3, 30, 50)[:, None, None]
    found = evaluate_in_float64(exponentials, matrices)
    for one, expected in zip(found, map(linalg.expm, matrices), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


def test_paths_have_the_mean_of_the_ode_and_the_spread_of_an_euler_loop():
    """At every time within 4 standard errors; a noise or a decay 5% off would fail."""
    problem = sl.LinearRegression(sl.covariance.ar1(20, 0.5), sl.noise.Gaussian(NOISE))
    t, n = np.array([0.0, 1.0, 2.0, 4.0]), 1000
    paths = sl.solve_sde(problem, momentum(), ETA, t=t, n_paths=n)
    expected = sl.solve_ode(problem, momentum(), ETA, t=t).risk
    assert np.all(np.abs(paths.mean - expected)[1:] < 4 * paths.standard_error[1:] + 2e-3 * expected[1:])
    assert np.all(4 * paths.standard_error[1:] < 0.1 * expected[1:])
    risks = paths.risk[:, -1], euler(problem, t[-1], steps=800, n=n)
    spread, error = zip(*(deviation(risk) for risk in risks), strict=True)
    assert abs(spread[0] - spread[1]) < 4 * np.hypot(*error)


def deviation(x):
    """The standard deviation of a sample and its standard error."""
    centred = x - x.mean()
    kurtosis = np.mean(centred**4) / x.var() ** 2
    return x.std(), x.std() * np.sqrt((kurtosis - 1) / (4 * x.size))


def euler(problem, t_max, steps, n):
    """Risks at ``t_max`` of paths of dw = -eta y dt, dy = c (K w - y) dt + c sqrt(2P / d) K^(1/2) dB."""
    K, rng, h = problem.covariance.to_dense(), np.random.default_rng(0), t_max / steps
    root = np.linalg.cholesky(K)
    w, y = np.tile(problem.delta0, (n, 1)), np.zeros((n, problem.d))
    for _ in range(steps):
        Kw = w @ K
        P2 = np.sum(w * Kw, axis=1, keepdims=True) + NOISE**2
        z = rng.standard_normal((n, problem.d)) @ root.T
        w, y = w - ETA * h * y, y + MEMORY * h * (Kw - y) + MEMORY * np.sqrt(P2 * h / problem.d) * z
    return np.sum((w @ K) * w, axis=1) / 2
