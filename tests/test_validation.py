"""Bad input gets our own error, which names the argument."""

import numpy as np
import pytest

import sdelimit as sl

K = np.array([[2.0, 0.5], [0.5, 1.0]])
PROBLEM = sl.LinearRegression(K, sl.noise.Gaussian(0.3))
CAUCHY = sl.LinearRegression(K, sl.noise.Cauchy(0.3))
FLAT = sl.LinearRegression([1.0, 0.0])
RULE = sl.sign_sgd()
NAN, INF = float("nan"), float("inf")
ODE = sl.solve_ode(PROBLEM, RULE, 0.1, 1.0)
RUNS = sl.simulate(PROBLEM, RULE, 0.1, 1.0, n_runs=2)
noise, cov, sched = sl.noise, sl.covariance, sl.schedules

SOLVERS = {"solve_ode": sl.solve_ode, "solve_sde": sl.solve_sde, "simulate": sl.simulate}
COMMON = [
    (lambda f: f("problem", RULE, 0.1, 1.0), "problem"),
    (lambda f: f(K, RULE, 0.1, 1.0), "problem"),
    (lambda f: f(PROBLEM, "sign_sgd", 0.1, 1.0), "optimizer"),
    (lambda f: f(PROBLEM, sl.sign_sgd, 0.1, 1.0), "optimizer must be .* call it"),
    (lambda f: f(PROBLEM, RULE, -0.1, 1.0), "lr must be >= 0"),
    (lambda f: f(PROBLEM, RULE, NAN, 1.0), "lr must be finite"),
    (lambda f: f(PROBLEM, RULE, INF, 1.0), "lr must be finite"),
    (lambda f: f(PROBLEM, RULE, "fast", 1.0), "lr must be a real number"),
    (lambda f: f(PROBLEM, RULE, None, 1.0), "lr must be a real number"),
    (lambda f: f(PROBLEM, RULE, True, 1.0), "lr must be a real number"),
    (lambda f: f(PROBLEM, RULE, lambda t: 0.5 - t, 1.0), "lr must be finite and >= 0 at every t"),
    (lambda f: f(PROBLEM, RULE, lambda t: NAN * t, 1.0), "lr must be finite"),
    (lambda f: f(PROBLEM, RULE, lambda t: 0.1 if t < 1 else 0.2, 1.0), "lr must be a number or a function"),
    (lambda f: f(PROBLEM, RULE, lambda t: np.ones(3) * t, 1.0), "lr must return a real number"),
    (lambda f: f(PROBLEM, RULE, lambda: 0.1, 1.0), "lr must be a number or a function"),
    (lambda f: f(PROBLEM, RULE, lambda t: "x", 1.0), "lr must be a number or a function"),
    (lambda f: f(PROBLEM, RULE, [[0.1]], 1.0), "lr must have 1 dimension"),
    (lambda f: f(PROBLEM, RULE, 0.1), "t_max must be given"),
    (lambda f: f(PROBLEM, RULE, 0.1, 0.0), "t_max must be > 0"),
    (lambda f: f(PROBLEM, RULE, 0.1, -1.0), "t_max must be > 0"),
    (lambda f: f(PROBLEM, RULE, 0.1, INF), "t_max must be finite"),
    (lambda f: f(PROBLEM, RULE, 0.1, "long"), "t_max must be a real number"),
    (lambda f: f(PROBLEM, RULE, 0.1, t=[0.0, 0.0, 1.0]), "t must be >= 0 and strictly increasing"),
    (lambda f: f(PROBLEM, RULE, 0.1, t=[-1.0, 1.0]), "t must be >= 0"),
    (lambda f: f(PROBLEM, RULE, 0.1, t=[NAN]), "t must be finite"),
    (lambda f: f(PROBLEM, RULE, 0.1, t=[]), "t must not be empty"),
    (lambda f: f(PROBLEM, RULE, 0.1, t=[[0.0, 1.0]]), "t must have 0 or 1 dimension"),
    (lambda f: f(PROBLEM, RULE, 0.1, 1.0, t=[2.0]), "t must not pass t_max"),
    (lambda f: f(PROBLEM, RULE, 0.1, 1.0, batch_size=0), "batch_size must be >= 1"),
    (lambda f: f(PROBLEM, RULE, 0.1, 1.0, batch_size=1.5), "batch_size must be an integer"),
]
TABLE = [
    (lambda: sl.LinearRegression(np.ones((2, 3))), "covariance must be a square"),
    (lambda: sl.LinearRegression([[1.0, 2.0], [0.0, 1.0]]), "covariance must be symmetric"),
    (lambda: sl.LinearRegression([[1.0, 2.0], [2.0, 1.0]]), "covariance must be positive semidefinite"),
    (lambda: sl.LinearRegression([[1.0, NAN], [NAN, 1.0]]), "covariance must be finite"),
    (lambda: sl.LinearRegression([1.0, -1.0]), "covariance must be >= 0"),
    (lambda: sl.LinearRegression([0.0, 0.0]), "covariance must not be zero"),
    (lambda: sl.LinearRegression([]), "covariance must not be empty"),
    (lambda: sl.LinearRegression("K"), "covariance must"),
    (lambda: sl.LinearRegression(np.ones((2, 2, 2))), "covariance must have 1 or 2 dimension"),
    (lambda: sl.LinearRegression(K + 1j), "covariance must be real"),
    (lambda: sl.LinearRegression(K, noise=0.3), "noise must be a noise law"),
    (lambda: sl.LinearRegression(K, noise=noise.Gaussian), "noise must be a noise law"),
    (lambda: sl.LinearRegression(K, theta0=np.ones(3)), "theta0 must have shape"),
    (lambda: sl.LinearRegression(K, theta_star=[INF, 0.0]), "theta_star must be finite"),
    (lambda: sl.LinearRegression(K, theta_star="x"), "theta_star must"),
    (lambda: sl.LinearRegression(K, seed=-1), "seed must be >= 0"),
    (lambda: sl.LinearRegression(K, seed=1.5), "seed must be an integer"),
    (lambda: PROBLEM.risk([1.0]), "theta must have shape"),
    (lambda: cov.identity(0), "d must be >= 1"),
    (lambda: cov.identity("ten"), "d must be an integer"),
    (lambda: cov.diagonal([-1.0]), "values must be >= 0"),
    (lambda: cov.diagonal(K), "values must have 1 dimension"),
    (lambda: cov.power_law(2.5, 1.0), "d must be an integer"),
    (lambda: cov.power_law(3, NAN), "exponent must be finite"),
    (lambda: cov.ar1(3, 1.0), "rho must lie strictly between"),
    (lambda: cov.spiked(3, [-1.0]), "strengths must be > -1"),
    (lambda: cov.spiked(1, [1.0, 2.0]), "strengths must have at most"),
    (lambda: cov.block(), "blocks must hold"),
    (lambda: cov.block(K, [[1.0, 2.0]]), r"blocks\[1\] must be a square"),
    (lambda: cov.dense([1.0]), "K must have 2 dimension"),
    (lambda: cov.from_data([1.0]), "X must have 2 dimension"),
    (lambda: cov.from_data([[NAN]]), "X must be finite"),
    (lambda: cov.ar1(3, 0.5).scaled(0.0), "s must be > 0"),
    (lambda: cov.ar1(3, 0.5).scaled([1.0, 2.0]), "s must be a number or have shape"),
    (lambda: noise.Gaussian(0.0), "std must be > 0"),
    (lambda: noise.Gaussian("big"), "std must be a real number"),
    (lambda: noise.StudentT(0.0, 1.0), "df must be > 0"),
    (lambda: noise.StudentT(2.0, -1.0), "scale must be > 0"),
    (lambda: noise.Cauchy(INF), "scale must be finite"),
    (lambda: noise.Laplace(-1.0), "scale must be > 0"),
    (lambda: noise.Uniform(0.0), "half_width must be > 0"),
    (lambda: noise.TwoPoint(NAN), "magnitude must be finite"),
    (lambda: noise.GaussianMixture([0.5, 0.6], [0, 0], [1, 1]), "weights must be >= 0 and sum to 1"),
    (lambda: noise.GaussianMixture([1.0], [0, 0], [1]), "means must have shape"),
    (lambda: noise.GaussianMixture([1.0], [0], [-1]), "stds must be >= 0"),
    (lambda: noise.Empirical([]), "samples must not be empty"),
    (lambda: noise.Empirical([NAN]), "samples must be finite"),
    (lambda: noise.Density(0.5), "pdf must be a function"),
    (lambda: noise.Density(lambda e: -np.ones_like(e)), "pdf must be finite and >= 0"),
    (lambda: noise.Density(lambda e: np.exp(-np.abs(e)) / 2, support=(1, 0)), "support must be an interval"),
    (lambda: noise.Density(lambda e: np.exp(-np.abs(e)) / 2, support=3), "support must be a pair"),
    (lambda: noise.Density(lambda e: np.exp(-np.abs(e)) / 2, second_moment=-1), "second_moment must be >= 0"),
    (lambda: noise.Gaussian(1.0).residual_density([0.0]), "s must be > 0"),
    (lambda: sched.cosine(-1.0, 1.0), "start must be >= 0"),
    (lambda: sched.cosine(1.0, 0.0), "t_max must be > 0"),
    (lambda: sched.piecewise_constant([1.0], [0.1]), "values must have shape"),
    (lambda: sched.piecewise_constant([2.0, 1.0], [0.1, 0.1, 0.1]), "boundaries must be > 0 and increasing"),
    (lambda: sched.warmup("x", 1.0), "schedule must be a real number"),
    (lambda: sl.solve_ode(PROBLEM, RULE, 0.1, 1.0, rtol=0.0), "rtol must be > 0"),
    (lambda: sl.solve_ode(PROBLEM, RULE, 0.1, 1.0, atol=-1.0), "atol must be > 0"),
    (lambda: sl.solve_ode(PROBLEM, RULE, [0.1, -0.1], 1.0), "lr must be >= 0"),
    (lambda: sl.solve_ode(CAUCHY, sl.sgd(), 0.1, 1.0), "noise must have finite variance for SGD.*sign_sgd, clipping"),
    (lambda: sl.solve_sde(CAUCHY, sl.sgd(), 0.1, 1.0), "noise must have finite variance for SGD"),
    (lambda: sl.solve_ode(FLAT, RULE, 0.1, 1.0), "covariance must have positive variance in every coordinate"),
    (lambda: sl.solve_sde(PROBLEM, RULE, [0.1, 0.2], 1.0), "lr must be one concrete number"),
    (lambda: sl.solve_sde(PROBLEM, RULE, 0.1, 1.0, n_paths=0), "n_paths must be >= 1"),
    (lambda: sl.solve_sde(PROBLEM, RULE, 0.1, 1.0, seed=0.5), "seed must be an integer"),
    (lambda: sl.solve_sde(PROBLEM, RULE, 0.1, 1.0, step_tolerance=0.0), "step_tolerance must be > 0"),
    (lambda: sl.simulate(PROBLEM, RULE, 0.1, 1.0, n_runs=0), "n_runs must be >= 1"),
    (lambda: sl.simulate(PROBLEM, RULE, 0.1, 1.0, seed=-3), "seed must be >= 0"),
    (lambda: sl.simulate(PROBLEM, RULE, 0.1, 1.0, dtype=np.float16), "dtype must be float32 or float64"),
    (lambda: sl.simulate(PROBLEM, RULE, 0.1, 1.0, chunk_steps=0), "chunk_steps must be >= 1"),
    (lambda: sl.simulate(PROBLEM, [], 0.1, 1.0), "optimizer must name at least one"),
    (lambda: sl.simulate(PROBLEM, [RULE, "sgd"], 0.1, 1.0), r"optimizer\[1\] must be an optimizer"),
    (lambda: sl.simulate(PROBLEM, [RULE, RULE], [0.1], 1.0), "lr must have one entry for each of the 2"),
    (lambda: sl.compare(RUNS, RUNS), "theory must be a RiskCurve"),
    (lambda: sl.compare(ODE, ODE), "runs must be the RiskCurves of simulate"),
    (lambda: sl.compare(ODE, RUNS, RUNS), "paths must be the RiskCurves of solve_sde"),
    (lambda: sl.compare(sl.solve_ode(PROBLEM, RULE, 0.1, 0.4), RUNS), "t must lie in"),
    (
        lambda: sl.compare(sl.solve_ode(sl.LinearRegression(np.ones(3)), RULE, 0.1, 1.0), RUNS),
        "runs must be of theory's",
    ),
    (lambda: ODE.at([2.0]), "t must lie in"),
    (lambda: ODE.select(0), "select needs a result with an array"),
    (lambda: RUNS.quantile(1.5), "q must lie in"),
    (lambda: sl.limit_coefficients(RULE, "gaussian"), "noise must be a noise law"),
    (lambda: sl.limit_coefficients("sgd", noise.NoNoise()), "optimizer must be an optimizer"),
    (lambda: sl.limit_coefficients(RULE, noise.NoNoise()).phi(0.0), "R must be > 0"),
    (lambda: sl.limit_coefficients(RULE, noise.NoNoise()).kappa(1.5, 1.0), "rho must lie in"),
]


@pytest.mark.parametrize("row", range(len(TABLE)))
def test_bad_input_is_refused_by_name(row):
    call, message = TABLE[row]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("row", range(len(COMMON)))
def test_every_solver_refuses_bad_input_by_name(solver, row):
    call, message = COMMON[row]
    with pytest.raises((ValueError, TypeError), match=message):
        call(SOLVERS[solver])
