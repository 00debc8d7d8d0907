"""SGD with a memory on single-index problems, against equations of their own, plain SGD and where curves settle."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdelimit as sl
from sdelimit.problem.score_means import moments

D = 16
TARGET = np.full(D, 0.25)


def six_equations(problem, beta, lr, t, nesterov=False, decay=0.0, coupled=0.0):
    """(S2, X) of momentum on K = 1, where the six products of w, y and w* close: another integrator and quadrature."""
    B22, rate = problem.target_variance, -problem.d * np.log(beta)
    into, now, past = rate, lr * float(nesterov), lr * (beta if nesterov else 1.0) / (1 - beta)

    def slope(_, y):
        ww, wy, yy, wt, yt = y
        s = np.sqrt(max(ww, 1e-14))
        c = np.clip(wt / (s * np.sqrt(B22)), -1 + 1e-9, 1 - 1e-9)
        h1, h0, square = (float(v[0]) for v in moments(problem.loss, problem.noise, B22, [s], [c]))
        gw, gt = h1 + coupled, h0 + coupled  # the gradient is gw w + gt w*
        w_of_w, w_of_t, y_of_w, y_of_t = -now * gw - lr * decay, -now * gt - lr * decay, into * gw, into * gt
        return [
            2 * (w_of_w * ww + w_of_t * wt - past * wy) + now**2 * square,
            w_of_w * wy + w_of_t * yt - past * yy + y_of_w * ww + y_of_t * wt - rate * wy - now * into * square,
            2 * (y_of_w * wy + y_of_t * yt - rate * yy) + into**2 * square,
            w_of_w * wt + w_of_t * B22 - past * yt,
            y_of_w * wt + y_of_t * B22 - rate * yt,
        ]

    S2, X = problem.initial_overlaps
    found = solve_ivp(slope, (0, t[-1]), [S2, 0.0, 0.0, X, 0.0], t_eval=t, rtol=1e-8, atol=1e-11, method="LSODA")
    return found.y[0], found.y[3]


@pytest.mark.long
@pytest.mark.parametrize("nesterov", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("decay", "coupled"), [(0.0, 0.0), pytest.param(0.3, 0.0, marks=pytest.mark.slow), (0.0, 0.3)])
def test_overlaps_are_those_of_their_six_equations(decay, coupled, nesterov):
    """d (1 - beta) = 5, from a start of either sign along theta*."""
    problem = sl.LogisticRegression(np.ones(D), theta_star=TARGET, theta0=TARGET * np.r_[np.full(8, 2.0), np.ones(8)])
    beta, lr, t = 1 - 5 / D, 1.0, np.linspace(0.0, 3.0, 7)
    rule = sl.sgd(momentum=beta, nesterov=nesterov).with_weight_decay(decay)
    rule = rule.with_weight_decay(coupled, coupled=True) if coupled else rule
    curve = sl.solve_ode(problem, rule, lr=lr, t=t)
    S2, X = six_equations(problem, beta, lr, t, nesterov, decay, coupled)
    np.testing.assert_allclose(curve.overlaps[:, 1], X + 1.0, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curve.overlaps[:, 0], S2 + 2 * X + 1.0, rtol=1e-4)


@pytest.mark.long
def test_without_a_part_in_the_step_the_memory_changes_nothing():
    problem = sl.LogisticRegression(np.linspace(0.5, 2, D), theta_star=TARGET)
    t = np.linspace(0.0, 3.0, 7)
    plain = sl.solve_ode(problem, sl.sgd(), lr=0.7, t=t, rtol=1e-10)
    idle = sl.solve_ode(problem, sl.dana(g2=1.0, g3=0.0, delta=4.0), lr=0.7, t=t, rtol=1e-10)
    np.testing.assert_allclose(idle.risk, plain.risk, rtol=1e-8)
    np.testing.assert_allclose(idle.overlaps, plain.overlaps, rtol=1e-8)


@pytest.mark.long
def test_a_short_memory_is_a_larger_learning_rate():
    problem = sl.ProbitRegression(sl.covariance.identity(10**6))
    assert problem.d * (1 - 0.5) > 1e5
    t = np.linspace(0.0, 2.0, 5)
    plain = sl.solve_ode(problem, sl.sgd(), lr=0.4, t=t, save_modes=False)
    short = sl.solve_ode(problem, sl.sgd(momentum=0.5), lr=0.2, t=t, save_modes=False)
    np.testing.assert_allclose(short.risk, plain.risk, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [sl.sgd(momentum=0.7), sl.dana(g2=0.5, g3=2.0, delta=4.0)], ids=lambda r: r.name)
def test_the_stationary_risk_is_where_the_curve_settles(rule):
    problem = sl.LogisticRegression(np.linspace(0.5, 2.0, 30), theta_star=np.full(30, 30**-0.5))
    end = sl.solve_ode(problem, rule, lr=0.5, t=[0.0, 400.0])
    assert sl.stationary_risk(problem, rule, 0.5) == pytest.approx(end.risk[-1], rel=1e-3)


@pytest.mark.long
def test_least_squares_as_an_own_loss_is_the_law_of_linear_regression():
    K, noise = np.linspace(0.5, 2.0, 30), sl.noise.Gaussian(0.5)
    own = sl.SingleIndex(K, loss=lambda u, u_star, eps: (u - u_star - eps) ** 2 / 2, noise=noise, seed=3)
    linear = sl.LinearRegression(K, noise, seed=3)
    for rule in (sl.sgd(momentum=0.8), sl.dana(g2=0.5, g3=lambda t: 2 / (1 + t), delta=lambda t: 3 / (1 + t))):
        curves = [sl.solve_ode(p, rule, lr=0.3, t_max=3.0, rtol=1e-9, aligned=False) for p in (own, linear)]
        np.testing.assert_allclose(curves[0].risk, curves[1].risk, rtol=3e-5)


@pytest.mark.long
def test_paths_spread_around_the_curve():
    problem = sl.LogisticRegression(np.ones(400))
    given = {"lr": 0.02, "t_max": 2.0}
    rule = sl.sgd(momentum=0.98)
    curve = sl.solve_ode(problem, rule, **given)
    paths = sl.solve_sde(problem, rule, n_paths=64, t=curve.t, lr=0.02)
    gap = np.abs(paths.mean - curve.risk)[1:] / paths.standard_error[1:]
    assert np.max(gap) < 4.5
    assert np.max(paths.standard_error / curve.risk) < 0.02


@pytest.mark.slow
def test_the_best_learning_rate_is_found_far_below_one():
    problem = sl.LogisticRegression(np.ones(100))
    plain = sl.best_constant_lr(problem, sl.sgd(), t_max=3.0)
    short = sl.best_constant_lr(problem, sl.dana(g2=0.0, g3=40.0, delta=40.0), t_max=3.0)
    assert short.lr == pytest.approx(plain.lr, rel=0.1)


def test_a_memory_that_forgets_more_than_it_has_is_refused():
    with pytest.raises(ValueError, match="delta must be < d"):
        sl.dana(g2=0.5, g3=1.0, delta=20.0).limit(sl.LogisticRegression(np.ones(D)), 1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [
    (sl.sgd(momentum=1 - 5 / 400), 5.0 * 5 / 400), (sl.dana(g2=0.5, g3=4.0, delta=4.0), 1.5),
], ids=["momentum", "dana"])  # fmt: skip
@pytest.mark.parametrize("rotated", [False, True])
def test_the_mean_of_runs_follows_the_curve(rule, rotated):
    """d (1 - beta) = 5: plain SGD's curve at lr / (1 - beta) is 10 to 30% away."""
    optimizer, lr = rule
    K = sl.covariance.power_law(400, 0.5, rotate=True) if rotated else sl.covariance.ar1(400, 0.6)
    problem = sl.LogisticRegression(K)
    runs = sl.simulate(problem, optimizer, lr=lr, t=np.linspace(0.0, 5.0, 41), n_runs=64)
    curve = sl.solve_ode(problem, optimizer, lr=lr, t=runs.t)
    gap, error = np.abs(runs.mean / curve.risk - 1)[1:], (runs.standard_error / curve.risk)[1:]
    assert np.all(gap < 0.01 + 3 * error)
    assert np.max(error) < 0.02
