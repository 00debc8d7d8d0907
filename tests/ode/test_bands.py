"""The spread of single runs along a curve (theory: section 18), against equations that share no code with it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdelimit as sl

D = 64
TIMES = np.linspace(0.0, 4.0, 9)
S2 = 0.25
ETA = 0.4


def sphere(d=D, noise=None):
    """K = I, where R alone is a Markov process."""
    theta = np.random.default_rng(0).normal(size=d) / d**0.5
    return sl.LinearRegression(sl.covariance.identity(d), noise or sl.noise.Gaussian(S2**0.5), theta_star=theta)


def scalar_std(problem, slope, derivative, noise, times=TIMES):
    """sqrt(Var R) from d Var/dt = 2 h'(R) Var + q(R), dR/dt = h(R), of order 1/d."""

    def field(t, y):
        return [slope(t, y[0]), 2 * derivative(t, y[0]) * y[1] + noise(t, y[0])]

    found = solve_ivp(field, (0, times[-1]), [problem.initial_risk, 0.0], t_eval=times, rtol=1e-9, atol=1e-13)
    return np.sqrt(found.y[1] / problem.d)


def sgd_noise(eta, R):
    """q for SGD: the covariance of gradients, their part along the mean, and their length with the coupling."""
    P2, q4 = 2 * R + S2, 12 * R**2 + 12 * R * S2 + 3 * S2**2
    return eta**2 * (2 * R * P2 + 4 * R**2) - 4 * eta**3 * R * P2 + eta**4 / 4 * (q4 - P2**2)


def sgd_std(problem, eta):
    """Of SGD on K = I, for eta as a function of t."""
    return scalar_std(
        problem,
        lambda t, R: -2 * eta(t) * R + eta(t) ** 2 / 2 * (2 * R + S2),
        lambda t, R: eta(t) ** 2 - 2 * eta(t),
        lambda t, R: sgd_noise(eta(t), R),
    )


@pytest.mark.long
def test_sgd_on_the_sphere_obeys_its_scalar_equation():
    curve = sl.solve_ode(sphere(), sl.sgd(), ETA, t=TIMES)
    assert curve.std == pytest.approx(sgd_std(sphere(), lambda t: ETA), rel=1e-3)
    assert curve.std[0] == 0.0


@pytest.mark.long
def test_noiseless_sgd_is_a_geometric_random_walk():
    """d Var/dt = 2 (eta^2 - 2 eta) Var + 2 eta^2 R^2 (2 - eta)^2: Var = R^2 times the variance of log(1 + ..)."""
    curve = sl.solve_ode(sphere(noise=sl.noise.NoNoise()), sl.sgd(), ETA, t=TIMES)
    assert curve.std == pytest.approx(curve.risk * np.sqrt(2 * ETA**2 * (2 - ETA) ** 2 * TIMES / D), rel=1e-3)


@pytest.mark.long
def test_sgd_has_a_std_where_single_steps_along_directions_count():
    curve = sl.solve_ode(sphere(), sl.sgd(), ETA, t=TIMES, aligned=True)
    assert curve.aligned
    assert np.array_equal(curve.std, sl.solve_ode(sphere(), sl.sgd(), ETA, t=TIMES, aligned=False).std)


@pytest.mark.long
def test_a_learning_rate_that_changes_is_that_of_the_moment():
    schedule = sl.schedules.cosine(0.8, 4.0)
    curve = sl.solve_ode(sphere(), sl.sgd(), schedule, t=TIMES)
    assert curve.std == pytest.approx(sgd_std(sphere(), lambda t: 0.4 * (1 + np.cos(np.pi * t / 4))), rel=1e-3)


@pytest.mark.long
def test_signsgd_on_the_sphere_obeys_its_scalar_equation():
    phi = lambda R: 2 / np.pi / np.sqrt(2 * R + S2)  # noqa: E731
    expected = scalar_std(
        sphere(),
        lambda t, R: -2 * ETA * phi(R) * R + ETA**2 / 2,
        lambda t, R: -2 * ETA * phi(R) * (1 - R / (2 * R + S2)),
        lambda t, R: ETA**2 * (2 * R - phi(R) ** 2 * (2 * R) ** 2),
    )
    assert sl.solve_ode(sphere(), sl.sign_sgd(), ETA, t=TIMES).std == pytest.approx(expected, rel=1e-3)


def without_fluctuations(rule):
    """The same rule with gradients of the covariance 2P K and nothing else."""
    return sl.Optimizer("without", rule.transform, lambda *given: replace(rule.limit(*given), fluctuations=None))


@pytest.mark.long
@pytest.mark.parametrize("whole", [False, True])
def test_momentum_on_the_sphere_obeys_the_equation_of_its_three_overlaps(whole):
    """f = (w'w, w'y, y'y): df = J f dt + noise, with a 3 x 3 covariance; gradients have 2P I.

    The ``whole`` of l x has the variance 2 (E l z)^2 along w too, and a length of variance 2 (2P)^2 that goes with it.
    """
    beta, lr, d = 0.9, 0.3, D
    rate = -d * np.log(beta)

    def blocks(f):
        n = (f[0] + S2) / d
        J = np.array([[0, -2 * lr, 0], [rate, -rate, -lr], [0, 2 * rate, -2 * rate]], float)
        J[2, 0] += rate**2
        slope = J @ f
        slope[2] += rate**2 * S2
        # y moves by rate xi: 2 w'dw has no noise, w'dy = rate w'xi and d(y'y) = 2 rate y'xi.
        a, b, c = f
        cov = rate**2 * np.array([[0, 0, 0], [0, a, 2 * b], [0, 2 * b, 4 * c]]) * n * d
        if whole:
            moved, added = rate * np.array([0, a, 2 * b]), rate**2 * np.array([0, 0, n * d])
            cov += np.outer(moved, moved + 2 * added) + 2 * np.outer(added, moved + added)
        return slope, J, cov / d

    def field(t, y):
        slope, J, q = blocks(y[:3])
        S = y[3:].reshape(3, 3)
        return np.concatenate([slope, (J @ S + S @ J.T + q).ravel()])

    start = np.concatenate([[2 * sphere().initial_risk], np.zeros(11)])
    found = solve_ivp(field, (0, 4.0), start, t_eval=TIMES, rtol=1e-8, atol=1e-12, method="LSODA")
    rule = sl.sgd(momentum=beta) if whole else without_fluctuations(sl.sgd(momentum=beta))
    curve = sl.solve_ode(sphere(), rule, lr * (1 - beta), t=TIMES, aligned=False)
    assert curve.risk == pytest.approx(found.y[0] / 2, rel=1e-3)
    assert curve.std == pytest.approx(np.sqrt(found.y[3]) / 2, rel=2e-3)


def dense_sign_std(problem, eta, t_max, steps=2000):
    """signSGD's std at t_max: E w_i w_j and the covariance of w_i^2 as d x d matrices, forward by Heun's method."""
    K, d = problem.covariance.to_dense(), problem.d
    std = np.sqrt(np.diag(K))
    lam, Q = np.linalg.eigh(K / np.sqrt(np.outer(std, std)))
    C = Q.T @ (np.sqrt(np.outer(std, std)) * 2 / np.pi * np.arcsin(np.clip(K / np.outer(std, std), -1, 1))) @ Q
    w = Q.T @ (std**0.5 * (problem.theta0 - problem.theta_star))

    def field(V, S):
        y = np.diag(V)
        R = lam @ y / 2
        phi = 2 / np.pi / np.sqrt(2 * R + S2)
        dV = -eta * phi * (lam[:, None] + lam) * V + eta**2 / d * C
        A = np.diag(-2 * eta * phi * lam) + np.outer(2 * eta * phi / (2 * R + S2) * lam * y, lam / 2)
        q = 4 * eta**2 * (V * C - phi**2 * np.outer(lam * y, lam * y))
        return dV, A @ S + S @ A.T + q

    V, S, h = np.outer(w, w), np.zeros((d, d)), t_max / steps
    for _ in range(steps):
        first = field(V, S)
        second = field(V + h * first[0], S + h * first[1])
        V, S = (x + h / 2 * (a + b) for x, a, b in zip((V, S), first, second, strict=True))
    return np.sqrt(lam @ S @ lam / 4 / d)


@pytest.fixture(scope="module")
def correlated():
    rng = np.random.default_rng(3)
    covariance = sl.covariance.ar1(32, 0.6).scaled(np.exp(rng.uniform(-0.7, 0.7, 32)))
    return sl.LinearRegression(covariance, sl.noise.Gaussian(S2**0.5), theta_star=1.5 * rng.normal(size=32) / 32**0.5)


@pytest.mark.long
def test_exact_std_is_that_of_d_x_d_matrices(correlated):
    curve = sl.solve_ode(correlated, sl.sign_sgd(), 0.5, t=[0.3, 1.0, 3.0], aligned=False)
    expected = [dense_sign_std(correlated, 0.5, t) for t in curve.t]
    assert curve.exact_std == pytest.approx(expected, rel=2e-3)
    assert curve.std == pytest.approx(expected, rel=0.03)
    assert curve.std != pytest.approx(expected, rel=2e-3)


@pytest.mark.long
def test_exact_std_sees_a_start_that_one_direction_dominates():
    ones = sl.LinearRegression(sl.covariance.ar1(32, 0.6), sl.noise.Gaussian(S2**0.5), theta_star=np.full(32, 0.2))
    curve = sl.solve_ode(ones, sl.sign_sgd(), 0.5, t=[0.3, 1.0, 3.0], aligned=False)
    assert curve.exact_std == pytest.approx([dense_sign_std(ones, 0.5, t) for t in curve.t], rel=2e-3)


@pytest.mark.long
def test_rules_that_decouple_in_no_coordinates_have_the_std_of_their_neighbour_that_does():
    d, rule, t = 16, sl.clip_coordinate(1.0), np.linspace(0.0, 2.0, 5)
    theta = np.random.default_rng(2).normal(size=d) / d**0.5
    variances = np.linspace(0.5, 2.0, d)
    given = {"noise": sl.noise.Gaussian(0.5), "theta_star": theta}
    nearly = np.diag(variances)
    nearly[0, 1] = nearly[1, 0] = 1e-7
    exact = sl.solve_ode(sl.LinearRegression(variances, **given), rule, ETA, t=t)
    curve = sl.solve_ode(sl.LinearRegression(nearly, **given), rule, ETA, t=t)
    assert curve.std == pytest.approx(exact.std, rel=3e-3)


@pytest.mark.long
def test_several_learning_rates_have_the_std_of_each_and_a_divergence_is_infinite():
    with pytest.warns(sl.LimitWarning), pytest.warns(sl.DivergenceWarning):
        curve = sl.solve_ode(sphere(), sl.sgd(), [ETA, 5.0], t=TIMES)
    one = sl.solve_ode(sphere(), sl.sgd(), ETA, t=TIMES)
    assert curve.std[0] == pytest.approx(one.std, rel=1e-9)
    assert np.array_equal(curve.select(0).std, curve.std[0])
    assert np.array_equal(np.isinf(curve.std[1]), np.isinf(curve.risk[1]))
    assert np.isinf(curve.quantile(0.5)[1, -1])


def test_quantiles_are_lognormal_with_the_mean_and_the_std():
    curve = sl.solve_ode(sphere(), sl.sgd(), ETA, t=TIMES)
    q = (np.arange(20000) + 0.5) / 20000
    sample = curve.quantile(q)[:, 1:]
    assert sample.mean(axis=0) == pytest.approx(curve.risk[1:], rel=1e-5)
    assert sample.std(axis=0) == pytest.approx(curve.std[1:], rel=1e-3)
    assert curve.quantile(0.3).shape == TIMES.shape
    assert np.all(curve.quantile([0.1, 0.9])[:, 0] == curve.risk[0])


@pytest.mark.long
def test_curves_without_a_known_spread_say_so():
    sparse = sl.LinearRegression(np.ones(300), sl.noise.Gaussian(0.1), theta_star=np.eye(300)[0])
    curve = sl.solve_ode(sparse, sl.sign_sgd(), 0.1, t=[0.5, 1.0])
    assert curve.aligned
    with pytest.raises(ValueError, match="be correlated with the residual"):
        curve.std  # noqa: B018
    with pytest.raises(ValueError, match="not known for this ODE curve"):
        sl.solve_ode(sphere(), sl.sgd(), ETA, t=[0.5], finite_d=True).quantile(0.5)


@pytest.mark.long
@pytest.mark.parametrize("rule", [sl.sign_sgd(), sl.sgd(momentum=0.9)], ids=["signsgd", "momentum"])
def test_many_times_have_the_std_of_few(rule):
    given = {"aligned": False}
    few = sl.solve_ode(sphere(), rule, 0.1, t=TIMES, **given)
    many = sl.solve_ode(sphere(), rule, 0.1, t=np.linspace(0, 4, 161), **given)
    assert many.std[::20] == pytest.approx(few.std, rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "lr"),
    [(sl.sgd(), 0.4), (sl.sign_sgd(), 0.5), (sl.adam(0.9, 0.95), 0.4), (sl.sgd(momentum=0.9), 0.04)],
    ids=["sgd", "signsgd", "adam", "momentum"],
)
def test_std_is_that_of_the_paths_of_the_sde(rule, lr):
    """Within 2% and 4 standard errors of 4096 paths at d = 256, once paths resolve the memory."""
    d, n, t = 256, 4096, np.array([0.5, 1.0, 2.0, 3.0])
    theta = 1.5 * np.random.default_rng(5).normal(size=d) / d**0.5
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.6), sl.noise.Gaussian(0.5), theta_star=theta)
    paths = sl.solve_sde(problem, rule, lr, t=t, n_paths=n, aligned=False)
    curve = sl.solve_ode(problem, rule, lr, t=t, aligned=False)
    assert curve.std == pytest.approx(paths.risk.std(axis=0, ddof=1), rel=0.02 + 4 / np.sqrt(2 * n))
