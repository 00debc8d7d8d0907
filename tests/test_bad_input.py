"""Bad input of every kind, to everything public, gets our own error that names the argument.

A row of ``TABLE`` is (callable, exception, regular expression, arguments). Nothing here solves or simulates: what is
wrong is found before that.
"""

import dataclasses
import inspect
import re
from typing import NamedTuple

import click
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.analysis.coefficients import LimitCoefficients
from sdelimit.cli.main import main
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.support.files import FileError

noise, cov, sched, data = sl.noise, sl.covariance, sl.schedules, sl.data
OWN = (NoLimitError, FileError)
"""Our own classes derived from ValueError."""
NAN, INF, HUGE = float("nan"), float("inf"), 10**400
K = np.array([[2.0, 0.5], [0.5, 1.0]])
SGD, SIGN = sl.sgd(), sl.sign_sgd()
P = sl.LinearRegression(K, noise.Gaussian(0.3))
CAUCHY = sl.LinearRegression(K, noise.Cauchy(0.3))
FLAT = sl.LinearRegression([1.0, 0.0])
OTHER = sl.LinearRegression(np.ones(3))
AT_REST = sl.LinearRegression(np.ones(3), theta_star=np.zeros(3))
X = np.random.default_rng(0).standard_normal((30, 2))
Y = X[:, 0]
ROWS = data.from_arrays(X, Y)
T = np.linspace(0.0, 1.0, 5)
CURVE = sl.RiskCurve(T, np.ones(5), None, np.ones(2), np.full(5, 0.1), np.ones(5), np.zeros(5), INF, "ok", P, SIGN)
RUNS = sl.RiskCurves(T, np.ones((3, 5)), np.full(5, 0.1), np.full(3, INF), "ok", "simulation", P, SIGN)
PATHS = dataclasses.replace(RUNS, kind="sde")
MANY = dataclasses.replace(CURVE, risk=np.ones((2, 5)), lr=np.full((2, 5), 0.1), status=("ok", "ok"))
COEFFICIENTS = sl.limit_coefficients(SIGN, noise.NoNoise())
GRID = {"optimizer": "sgd", "lr": 0.1, "t_max": 1.0, "d": 8}


class Odd:
    """What NumPy cannot turn into an array, with a message that begins like ours."""

    def __array__(self, *args, **kwargs):
        raise TypeError("values are my own")


def odd_rate(t):
    raise TypeError("lr is my own")


class Row(NamedTuple):
    function: object
    error: type
    message: str
    arguments: tuple
    options: dict


def value(function, message, *arguments, **options):
    return Row(function, ValueError, message, arguments, options)


def kind(function, message, *arguments, **options):
    return Row(function, TypeError, message, arguments, options)


def cli(command, *arguments):
    """The command line; the error as it is shown."""
    try:
        main.main([command, *arguments], standalone_mode=False)
    except click.UsageError as error:
        raise click.UsageError(error.format_message()) from error


def usage(message, command, *arguments):
    return Row(cli, click.UsageError, message, (command, *arguments), {})


def config(text):
    """``sdelimit sweep`` with this configuration file."""
    with open("config.toml", "w", encoding="utf-8") as file:
        file.write(text)
    cli("sweep", "config.toml", "--out", "out")


def wrong_config(message, text):
    return Row(config, click.UsageError, message, (text,), {})


def quadratic(e):
    return np.exp(-np.abs(e)) / 2


SOLVERS = [
    row
    for solve in (sl.solve_ode, sl.solve_sde, sl.simulate)
    for row in (
        kind(solve, "problem must be a LinearRegression", "problem", SIGN, 0.1, 1.0),
        kind(solve, "problem must be a LinearRegression", K, SIGN, 0.1, 1.0),
        kind(solve, "optimizer must be an optimizer", P, "sign_sgd", 0.1, 1.0),
        kind(solve, "optimizer must be .* call it", P, sl.sign_sgd, 0.1, 1.0),
        kind(solve, r"optimizer(\[0\])? must be an optimizer", P, optax.sgd(0.1), 0.1, 1.0),
        value(solve, "lr must be >= 0", P, SIGN, -0.1, 1.0),
        value(solve, "lr must be finite", P, SIGN, NAN, 1.0),
        value(solve, "lr must be finite", P, SIGN, INF, 1.0),
        value(solve, "lr must be finite", P, SIGN, HUGE, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, "fast", 1.0),
        kind(solve, "lr must be a real number", P, SIGN, None, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, True, 1.0),
        kind(solve, "lr must be a real number", P, SIGN, 0.1j, 1.0),
        kind(solve, "lr must be an array of real numbers", P, SIGN, [[0.1], [0.1, 0.2]], 1.0),
        kind(solve, "lr must be a number or a function of t that JAX can trace", P, SIGN, odd_rate, 1.0),
        value(solve, "lr must have 1 dimension", P, SIGN, [[0.1]], 1.0),
        value(solve, "lr must not be empty", P, SIGN, [], 1.0),
        value(solve, "lr must be finite and >= 0 at every t", P, SIGN, lambda t: 0.5 - t, 1.0),
        value(solve, "lr must be finite", P, SIGN, lambda t: NAN * t, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: 0.1 if t < 1 else 0.2, 1.0),
        kind(solve, "lr must return a real number", P, SIGN, lambda t: np.ones(3) * t, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda: 0.1, 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: "x", 1.0),
        kind(solve, "lr must be a number or a function", P, SIGN, lambda t: 1 / 0, 1.0),
        value(solve, "t_max must be given", P, SIGN, 0.1),
        value(solve, "t_max must be > 0", P, SIGN, 0.1, 0.0),
        value(solve, "t_max must be > 0", P, SIGN, 0.1, -1.0),
        value(solve, "t_max must be finite", P, SIGN, 0.1, INF),
        value(solve, "t_max must be finite", P, SIGN, 0.1, HUGE),
        kind(solve, "t_max must be a real number", P, SIGN, 0.1, "long"),
        value(solve, "t must be >= 0 and strictly increasing", P, SIGN, 0.1, t=[0.0, 0.0, 1.0]),
        value(solve, "t must be >= 0", P, SIGN, 0.1, t=[-1.0, 1.0]),
        value(solve, "t must be finite", P, SIGN, 0.1, t=[NAN]),
        value(solve, "t must not be empty", P, SIGN, 0.1, t=[]),
        value(solve, "t must have 0 or 1 dimension", P, SIGN, 0.1, t=[[0.0, 1.0]]),
        kind(solve, "t must hold real numbers", P, SIGN, 0.1, t=["now"]),
        value(solve, "t must not pass t_max", P, SIGN, 0.1, 1.0, t=[2.0]),
        value(solve, "batch_size must be >= 1", P, SIGN, 0.1, 1.0, batch_size=0),
        value(solve, "batch_size must be < 2147483648", P, SIGN, 0.1, 1.0, batch_size=1e300),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=1.5),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=True),
        kind(solve, "batch_size must be an integer", P, SIGN, 0.1, 1.0, batch_size=None),
    )
]
ONE_SOLVER = [
    value(sl.solve_ode, "rtol must be > 0", P, SIGN, 0.1, 1.0, rtol=0.0),
    value(sl.solve_ode, "rtol must be < 1", P, SIGN, 0.1, 1.0, rtol=1.0),
    value(sl.solve_ode, "atol must be > 0", P, SIGN, 0.1, 1.0, atol=-1.0),
    kind(sl.solve_ode, "atol must be a real number", P, SIGN, 0.1, 1.0, atol="small"),
    kind(sl.solve_ode, "save_modes must be True, False or None", P, SIGN, 0.1, 1.0, save_modes="no"),
    value(sl.solve_ode, "lr must be >= 0", P, SIGN, [0.1, -0.1], 1.0),
    value(sl.solve_ode, "noise must have finite variance for SGD.*sign_sgd, clipping", CAUCHY, SGD, 0.1, 1.0),
    value(sl.solve_ode, "covariance must have positive variance in every coordinate", FLAT, SIGN, 0.1, 1.0),
    value(sl.solve_sde, "noise must have finite variance for SGD", CAUCHY, SGD, 0.1, 1.0),
    kind(sl.solve_sde, "lr must be one concrete number", P, SIGN, [0.1, 0.2], 1.0),
    value(sl.solve_sde, "n_paths must be >= 1", P, SIGN, 0.1, 1.0, n_paths=0),
    kind(sl.solve_sde, "seed must be an integer", P, SIGN, 0.1, 1.0, seed=0.5),
    value(sl.solve_sde, "step_tolerance must be > 0", P, SIGN, 0.1, 1.0, step_tolerance=0.0),
    kind(sl.solve_sde, "progress must be True, False or None", P, SIGN, 0.1, 1.0, progress="no"),
    value(sl.simulate, "n_runs must be >= 1", P, SIGN, 0.1, 1.0, n_runs=0),
    value(sl.simulate, "n_runs must be < 2147483648", P, SIGN, 0.1, 1.0, n_runs=HUGE),
    value(sl.simulate, "seed must be >= 0", P, SIGN, 0.1, 1.0, seed=-3),
    value(sl.simulate, "seed must be < 4294967296", P, SIGN, 0.1, 1.0, seed=2**32),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=np.float16),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=None),
    value(sl.simulate, "dtype must be float32 or float64", P, SIGN, 0.1, 1.0, dtype=np.ones((2, 3))),
    value(sl.simulate, "chunk_steps must be >= 1", P, SIGN, 0.1, 1.0, chunk_steps=0),
    value(sl.simulate, "chunk_steps must be < 2147483648", P, SIGN, 0.1, 1.0, chunk_steps=1e300),
    value(sl.simulate, "t_max .*must reach one step", P, SIGN, 0.1, 0.1),
    value(sl.simulate, "t_max .*must be < 2147483648", P, SIGN, 0.1, 1e300),
    value(sl.simulate, "optimizer must name at least one", P, [], 0.1, 1.0),
    kind(sl.simulate, r"optimizer\[1\] must be an optimizer", P, [SIGN, "sgd"], 0.1, 1.0),
    value(sl.simulate, "lr must have one entry for each of the 2", P, [SIGN, SIGN], [0.1], 1.0),
    kind(sl.simulate, "sharpness must be True or False", P, SIGN, 0.1, 1.0, sharpness="yes"),
    kind(sl.simulate, "progress must be True, False or None", P, SIGN, 0.1, 1.0, progress="no"),
    kind(sl.simulate, "checkpoint must be a path", P, SIGN, 0.1, 1.0, checkpoint=3),
    value(sl.simulate, "checkpoint: cannot read", P, SIGN, 0.1, 1.0, checkpoint="folder"),
    value(sl.simulate, "t_max must be at most .* for n = 30 rows", ROWS, SGD, 0.1, 100.0),
]
PROBLEMS = [
    value(sl.LinearRegression, "covariance must be a square", np.ones((2, 3))),
    value(sl.LinearRegression, "covariance must be symmetric", [[1.0, 2.0], [0.0, 1.0]]),
    value(sl.LinearRegression, "covariance must be positive semidefinite", [[1.0, 2.0], [2.0, 1.0]]),
    value(sl.LinearRegression, "covariance must be finite", [[1.0, NAN], [NAN, 1.0]]),
    value(sl.LinearRegression, "covariance must be >= 0", [1.0, -1.0]),
    value(sl.LinearRegression, "covariance must not be zero", [0.0, 0.0]),
    value(sl.LinearRegression, "covariance must not be empty", []),
    value(sl.LinearRegression, "covariance must have a finite trace", [1e308, 1e308]),
    value(sl.LinearRegression, "covariance must have 1 or 2 dimension", np.ones((2, 2, 2))),
    value(sl.LinearRegression, "covariance must have 1 or 2 dimension", 3.0),
    kind(sl.LinearRegression, "covariance must", "K"),
    kind(sl.LinearRegression, "covariance must be real", K + 1j),
    kind(sl.LinearRegression, "covariance must be a covariance", cov.Covariance()),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=0.3),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=noise.Gaussian),
    kind(sl.LinearRegression, "noise must be a noise law", K, noise=noise.NoiseLaw()),
    value(sl.LinearRegression, "theta0 must have shape", K, theta0=np.ones(3)),
    value(sl.LinearRegression, "theta_star must be finite", K, theta_star=[INF, 0.0]),
    value(sl.LinearRegression, "theta0 and theta_star must give a finite initial risk", K, theta_star=[1e200, 0.0]),
    kind(sl.LinearRegression, "theta_star must", K, theta_star="x"),
    value(sl.LinearRegression, "seed must be >= 0", K, seed=-1),
    kind(sl.LinearRegression, "seed must be an integer", K, seed=1.5),
    value(P.risk, "theta must have shape", [1.0]),
    value(P.risk, "theta must be finite", [HUGE, 0]),
    value(P.risk, "theta must give a finite risk", [1e200, -1e200]),
    value(cov.identity, "d must be >= 1", 0),
    value(cov.identity, "d must be < 2147483648", 1e300),
    kind(cov.identity, "d must be an integer", "ten"),
    value(cov.diagonal, "values must be >= 0", [-1.0]),
    value(cov.diagonal, "values must have 1 dimension", K),
    kind(cov.diagonal, "values must be an array of real numbers", [1.0, object()]),
    kind(cov.diagonal, r"values must be an array of real numbers, got <.*Odd", Odd()),
    kind(cov.power_law, "d must be an integer", 2.5, 1.0),
    value(cov.power_law, "exponent must be finite", 3, NAN),
    kind(cov.power_law, "rotate must be True or False", 3, 1.0, rotate="no"),
    value(cov.power_law, "seed must be >= 0", 3, 1.0, seed=-1),
    value(cov.ar1, "rho must lie strictly between", 3, 1.0),
    kind(cov.ar1, "rho must be a real number", 3, [0.5]),
    value(cov.spiked, "strengths must be > -1", 3, [-1.0]),
    value(cov.spiked, "strengths must have at most", 1, [1.0, 2.0]),
    kind(cov.spiked, "seed must be an integer", 3, [1.0], seed="x"),
    value(cov.block, "blocks must hold"),
    value(cov.block, r"blocks\[1\] must be a square", K, [[1.0, 2.0]]),
    value(cov.dense, "K must have 2 dimension", [1.0]),
    value(cov.dense, "K must be symmetric", [[1.0, 2.0], [0.0, 1.0]]),
    value(cov.from_data, "X must have 2 dimension", [1.0]),
    value(cov.from_data, "X must be finite", [[NAN]]),
    kind(cov.from_data, "center must be True or False", X, center="no"),
    kind(cov.as_covariance, "covariance must hold real numbers", "identity"),
    value(cov.as_covariance, "covariance must be a square", np.ones((2, 3))),
    value(cov.ar1(3, 0.5).scaled, "s must be > 0", 0.0),
    value(cov.ar1(3, 0.5).scaled, "s must be a number or have shape", [1.0, 2.0]),
    kind(cov.ar1(3, 0.5).scaled, "s must", "x"),
]
NOISES = [
    value(noise.Gaussian, "std must be > 0", 0.0),
    kind(noise.Gaussian, "std must be a real number", "big"),
    kind(noise.Gaussian, "std must be a real number", np.ones(2)),
    value(noise.StudentT, "df must be > 0", 0.0, 1.0),
    value(noise.StudentT, "df must be <= 1e[+]08", 1e300, 1.0),
    value(noise.StudentT, "scale must be > 0", 2.0, -1.0),
    value(noise.Cauchy, "scale must be finite", INF),
    value(noise.Laplace, "scale must be > 0", -1.0),
    value(noise.Uniform, "half_width must be > 0", 0.0),
    value(noise.TwoPoint, "magnitude must be finite", NAN),
    value(noise.GaussianMixture, "weights must be >= 0 and sum to 1", [0.5, 0.6], [0, 0], [1, 1]),
    value(noise.GaussianMixture, "weights must be >= 0", [1.5, -0.5], [0, 0], [1, 1]),
    value(noise.GaussianMixture, "means must have shape", [1.0], [0, 0], [1]),
    value(noise.GaussianMixture, "stds must be >= 0", [1.0], [0], [-1]),
    value(noise.Empirical, "samples must not be empty", []),
    value(noise.Empirical, "samples must be finite", [NAN]),
    kind(noise.Empirical, "samples must be an array of real numbers", {1.0}),
    kind(noise.Density, "pdf must be a function", 0.5),
    value(noise.Density, "pdf must be finite and >= 0", lambda e: -np.ones_like(e)),
    value(noise.Density, "pdf must integrate to 1", lambda e: np.exp(-(e**2))),
    value(noise.Density, "pdf must map an array of shape", lambda e: 0.5),
    kind(noise.Density, "pdf must map an array", lambda e: "x"),
    value(noise.Density, "support must be an interval", quadratic, support=(1, 0)),
    kind(noise.Density, "support must be a pair", quadratic, support=3),
    kind(noise.Density, "support must be a pair", quadratic, support=(0, 1, 2)),
    value(noise.Density, "second_moment must be >= 0", quadratic, second_moment=-1),
    kind(noise.Density, "points must be a sequence", quadratic, points=0.5),
    kind(noise.NoNoise, "positional argument", 0.3),
    value(noise.Gaussian(1.0).residual_density, "s must be > 0", [0.0]),
    kind(noise.Gaussian(1.0).residual_density, "s must", "x"),
]
SCHEDULES = [
    value(sched.constant, "value must be >= 0", -1.0),
    value(sched.cosine, "start must be >= 0", -1.0, 1.0),
    value(sched.cosine, "t_max must be > 0", 1.0, 0.0),
    value(sched.linear, "end must be finite", 1.0, 1.0, NAN),
    kind(sched.linear, "start must be a real number", [1.0], 1.0),
    value(sched.inverse_sqrt, "t_scale must be > 0", 1.0, 0.0),
    value(sched.piecewise_constant, "values must have shape", [1.0], [0.1]),
    value(sched.piecewise_constant, "boundaries must be > 0 and increasing", [2.0, 1.0], [0.1, 0.1, 0.1]),
    value(sched.piecewise_constant, "values must be >= 0", [1.0], [0.1, -0.1]),
    value(sched.log_linear, "times must be >= 0 and increasing", [0.0, 0.0], [1.0, 1.0]),
    value(sched.log_linear, "values must be > 0", [0.0, 1.0], [1.0, 0.0]),
    value(sched.log_linear, "values must have shape", [0.0, 1.0], [1.0]),
    kind(sched.warmup, "schedule must be a real number", "x", 1.0),
    value(sched.warmup, "t_warmup must be > 0", 0.1, 0.0),
]
OPTIMIZERS = [
    kind(sl.Optimizer, "name must be a text", 3, optax.identity(), lambda problem, b: None),
    value(sl.Optimizer, "name must not be empty", "", optax.identity(), lambda problem, b: None),
    kind(sl.Optimizer, "transform must be an optax", "mine", "sgd", lambda problem, b: None),
    kind(sl.Optimizer, "limit must be a function", "mine", optax.identity(), 1.0),
    value(sl.Optimizer, "memory must be > 0", "mine", optax.identity(), lambda problem, b: None, memory=0.0),
    kind(sl.Optimizer, "formula must be an UpdateFormula", "mine", optax.identity(), lambda p, b: None, formula="sgd"),
    kind(sl.sgd, "positional argument", 0.1),
    kind(sl.sign_sgd, "positional argument", 0.1),
    value(sl.signum, r"beta must lie in \[0, 1\)", 1.0),
    kind(sl.signum, "beta must be a real number", [0.9]),
    value(sl.lion, r"b1 must lie in \[0, 1\)", 1.0, 0.9),
    value(sl.lion, "b2 must lie in", 0.9, 0.0),
    value(sl.rmsprop, r"b2 must lie in \[0, 1\)", -0.1),
    kind(sl.rmsprop, "b2 must be a real number", {"b2": 0.9}),
    value(sl.adam, "b1 must lie in", 1.0),
    value(sl.adam, "b2 must be > 0 when b1 > 0", 0.9, 0.0),
    value(sl.adam, "eps must be >= 0", 0.9, 0.9, eps=-1.0),
    value(sl.adam, "memory: unknown value 'lnog'.*did you mean 'long'", memory="lnog"),
    kind(sl.adam, "memory must be a text", memory=3),
    value(sl.adam, "memory must be 'auto' or 'fixed' for eps > 0", eps=0.1, memory="long"),
    kind(sl.adam, "b1 must be a real number", True),
    value(sl.nadam, "b2 must be finite", 0.9, NAN),
    kind(sl.nadam, "b2 must be a real number", 0.9, None),
    value(sl.nadam, "b1 must be finite", HUGE),
    value(sl.s3, "p must be >= 1", 0.9, 0.5),
    value(sl.s3, "beta must lie in", 1.0),
    value(sl.s_adam, "brake must be >= 0", brake=-1.0),
    value(sl.s_adam, "probe_scale must be > 0", probe_scale=0.0),
    value(sl.s_adam, "n_probes must be >= 2", n_probes=1),
    kind(sl.s_adam, "bias_correction must be True or False", bias_correction="no"),
    value(sl.long_memory_adam, "b2 must be < 1", 0.9, 1.0),
    kind(sl.long_memory_adam, "b1 must be a real number", np.array([0.9]), 0.999),
    value(sl.clip_norm, "threshold must be > 0", 0.0),
    kind(sl.clip_norm, "threshold must be a real number", [1.0]),
    kind(sl.clip_norm, "threshold must be a real number", True),
    value(sl.clip_coordinate, "threshold must be finite", INF),
    kind(sl.clip_coordinate, "threshold must be a real number", "small"),
    kind(sl.from_optax, "transform must be an optax.GradientTransformation", optax.scale_by_adam),
    kind(sl.from_optax, "transform must be an optax.GradientTransformation", SIGN),
    kind(sl.from_optax, "name must be a text", optax.identity(), name=3),
    value(sl.from_optax, "relative_error must be > 0", optax.identity(), relative_error=0.0),
    value(sl.from_optax, "seed must be < 4294967296", optax.identity(), seed=1e300),
]
QUESTIONS = [
    kind(sl.limit_coefficients, "noise must be a noise law", SIGN, "gaussian"),
    kind(sl.limit_coefficients, "optimizer must be an optimizer", "sgd", noise.NoNoise()),
    kind(sl.limit_coefficients, "batch_size must be an integer", SIGN, noise.NoNoise(), "one"),
    value(sl.limit_coefficients, "noise must have finite variance for SGD", SGD, noise.Cauchy(1.0)),
    value(sl.limit_coefficients, "optimizer must act alike", sl.clip_coordinate(1.0), noise.NoNoise()),
    value(COEFFICIENTS.phi, "R must be > 0", 0.0),
    value(COEFFICIENTS.phi, "R must be finite", [1.0, NAN]),
    value(COEFFICIENTS.kappa, "rho must lie in", 1.5, 1.0),
    value(COEFFICIENTS.kappa, "rho and R must broadcast", [0.1, 0.2], [1.0, 2.0, 3.0]),
    kind(COEFFICIENTS.kappa, "rho must", "all", 1.0),
    value(COEFFICIENTS.phi_standard_error, "R must be > 0", -1.0),
    value(COEFFICIENTS.kappa_standard_error, "rho must lie in", 2.0, 1.0),
    value(COEFFICIENTS.figure_of_merit, "R must be > 0", 0.0),
    *(
        row
        for ask in (sl.stationary_risk, sl.convergence_rate)
        for row in (
            kind(ask, "problem must be a LinearRegression", "problem", SGD, 0.1),
            kind(ask, "optimizer must be .* call it", P, sl.sgd, 0.1),
            value(ask, "lr must be > 0", P, SGD, 0.0),
            value(ask, "lr must be > 0", P, SGD, [0.1, -1.0]),
            value(ask, "lr must be finite", P, SGD, NAN),
            kind(ask, "lr must", P, SGD, "fast"),
            kind(ask, "lr must be a number or an array", P, SGD, lambda t: 0.1),
            value(ask, "batch_size must be >= 1", P, SGD, 0.1, batch_size=0),
            value(ask, "noise must have finite var", CAUCHY, SGD, 0.1),
        )
    ),
    kind(sl.max_stable_lr, "problem must be a LinearRegression", np.eye(2), SGD),
    kind(sl.max_stable_lr, "optimizer must be an optimizer", P, None),
    value(sl.max_stable_lr, "batch_size must be >= 1", P, SGD, -1),
    kind(sl.directional_sharpness, "problem must be a LinearRegression", K, SIGN),
    value(sl.directional_sharpness, "risk must be > 0", P, SIGN, risk=0.0),
    kind(sl.directional_sharpness, "risk must", P, SIGN, risk="low"),
    kind(sl.directional_sharpness, "batch_size must be an integer", P, SIGN, batch_size=[1]),
    value(sl.best_constant_lr, "t_max or target_risk must be given", P, SGD),
    value(sl.best_constant_lr, "t_max or target_risk must be given, and not", P, SGD, t_max=1.0, target_risk=0.1),
    value(sl.best_constant_lr, "t_max must be > 0", P, SGD, t_max=0.0),
    value(sl.best_constant_lr, "target_risk must be > 0", P, SGD, target_risk=-1.0),
    value(sl.best_constant_lr, "target_risk must be below the initial risk", P, SGD, target_risk=1e3),
    value(sl.best_constant_lr, "problem must start at a positive risk", AT_REST, SGD, t_max=1.0),
    kind(sl.optimize_schedule, "problem must be", "P", SGD, 1.0),
    value(sl.optimize_schedule, "t_max must be > 0", P, SGD, -1.0),
    value(sl.optimize_schedule, "n_knots must be >= 2", P, SGD, 1.0, n_knots=1),
    value(sl.optimize_schedule, "n_knots must be < 2147483648", P, SGD, 1.0, n_knots=1e300),
    value(sl.optimize_schedule, "iterations must be >= 1", P, SGD, 1.0, iterations=0),
    value(sl.optimize_schedule, "lr must be > 0 at every knot", P, SGD, 1.0, lr=0.0),
    kind(sl.optimize_schedule, "progress must be True, False or None", P, SGD, 1.0, progress="no"),
    kind(sl.match_schedule, "to_optimizer must be an optimizer", P, SGD, "sign", 0.1, 1.0),
    kind(sl.match_schedule, "from_optimizer must be .* call it", P, sl.sgd, SIGN, 0.1, 1.0),
    value(sl.match_schedule, "lr must be >= 0", P, SGD, SIGN, -0.1, 1.0),
    value(sl.match_schedule, "match: unknown value 'drift'", P, SGD, SIGN, 0.1, 1.0, match="drift"),
    kind(sl.match_schedule, "match must be a text", P, SGD, SIGN, 0.1, 1.0, match=np.ones(2)),
    kind(sl.effects, "problem must be a LinearRegression", "problem"),
    kind(sl.effects, "optimizer must be an optimizer", P, "sign_sgd"),
    kind(sl.effects, "lr must be a real number", P, lr=[0.1, 0.2]),
    value(sl.effects, "sgd_lr must be finite and >= 0", P, sgd_lr=lambda t: -t - 1.0),
    kind(sl.effects, "order must be a sequence", P, order="learning_rate"),
    kind(sl.effects, "order must be a sequence", P, order=np.array("x")),
    value(sl.effects, "order: unknown value 'learning_rat'.*did you mean", P, order=["learning_rat"]),
    value(sl.effects, "order must name each of", P, order=["learning_rate"]),
    value(sl.effects, "covariance must have positive variance", FLAT),
]
RESULTS = [
    kind(sl.compare, "theory must be a RiskCurve", RUNS, RUNS),
    kind(sl.compare, "runs must be the RiskCurves of simulate", CURVE, CURVE),
    kind(sl.compare, "runs must be the RiskCurves of simulate", CURVE, PATHS),
    kind(sl.compare, "paths must be the RiskCurves of solve_sde", CURVE, RUNS, RUNS),
    value(sl.compare, "t must lie in", dataclasses.replace(CURVE, t=T / 2), RUNS),
    value(sl.compare, "runs must be of theory's", dataclasses.replace(CURVE, problem=OTHER), RUNS),
    value(sl.compare, "runs must have theory's batch_size 4", dataclasses.replace(CURVE, batch_size=4), RUNS),
    value(sl.compare, "runs must have theory's learning rate", dataclasses.replace(CURVE, lr=np.full(5, 0.3)), RUNS),
    value(sl.compare, "theory must hold one learning rate", MANY, RUNS),
    value(CURVE.at, "t must lie in", [2.0]),
    kind(CURVE.at, "t must", "later"),
    kind(CURVE.select, "select needs a result with an array", 0),
    value(MANY.select, "index must be < 2", 2),
    kind(MANY.select, "index must be an integer", "last"),
    value(RUNS.quantile, "q must lie in", 1.5),
    kind(RUNS.quantile, "q must", "median"),
    value(RUNS._require_sharpness, "sharpness was not recorded"),
    *(
        kind(made_here, "missing .* required positional argument")
        for made_here in (
            sl.BestLearningRate,
            sl.Effects,
            sl.OptimizedSchedule,
            sl.Report,
            sl.Rerun,
            sl.RiskCurve,
            sl.RiskCurves,
            sl.Sweep,
        )
    ),
    kind(sl.sweep, "optimizer must be a text", "out", **{**GRID, "optimizer": SGD}),
    value(sl.sweep, "optimizer must hold at least one value", "out", **{**GRID, "optimizer": []}),
    value(sl.sweep, "did you mean 'sgd'", "out", **{**GRID, "optimizer": "sdg"}),
    kind(sl.sweep, "noise must be a text", "out", **GRID, noise=np.array("none")),
    value(sl.sweep, "lr must be finite", "out", **{**GRID, "lr": [NAN]}),
    value(sl.sweep, "lr must be numbers, or a table", "out", **{**GRID, "lr": {"from": 1.0}}),
    kind(sl.sweep, "d must be an integer", "out", **{**GRID, "d": "many"}),
    value(sl.sweep, "t_max must reach one step", "out", **{**GRID, "t_max": 0.01}),
    kind(sl.sweep, "force must be True or False", "out", **GRID, force="no"),
    kind(sl.sweep, "retry_failed must be True or False", "out", **GRID, retry_failed=1),
    kind(sl.sweep, "parquet must be True or False", "out", **GRID, parquet="yes"),
    kind(sl.sweep, "progress must be True, False or None", "out", **GRID, progress="no"),
    kind(sl.sweep, "out must be a path", 3, **GRID),
    kind(sl.read_sweep, "folder must be a path", None),
    value(sl.read_sweep, "folder: .* holds no sweep", "nowhere"),
    kind(sl.rerun, "file must be a path", 3),
    value(sl.rerun, "file: cannot read", "nowhere.npz"),
    value(sl.rerun, "file: .* is not a result", "bad.npy"),
]
DATA = [
    value(data.from_arrays, "X must be finite", [[1.0], [NAN]], [0.0, 1.0]),
    value(data.from_arrays, "y must have shape", X, Y[:-1]),
    kind(data.from_arrays, "y must hold real numbers", X, ["cat"] * 30),
    value(data.from_arrays, "X must not have a constant column", np.ones((30, 2)), Y),
    value(data.from_arrays, "ridge must be >= 0", X, Y, ridge=-1),
    value(data.from_arrays, "random_features must be >= 1", X, Y, random_features=0),
    kind(data.from_arrays, "center must be True or False", X, Y, center="no"),
    kind(data.from_arrays, "scale must be True or False", X, Y, scale=2),
    kind(data.from_arrays, "seed must be an integer", X, Y, seed="x"),
    value(data.DataRegression, "residuals must have shape", X, Y[:-1], np.zeros(2)),
    kind(data.DataRegression, "theta_star must", X, Y, "x"),
    value(data.DataRegression, "theta_star must have shape", X, Y, None),
    kind(data.solve_ode, "problem must come from", P, SGD, 0.1, 1.0),
    kind(data.solve_ode, "lr must be one concrete number", ROWS, SGD, [0.1, 0.2], 1.0),
    value(data.solve_ode, "optimizer must be sgd, sign_sgd or adam", ROWS, sl.lion(), 0.1, 1.0),
    value(data.solve_ode, "tolerance must be > 0", ROWS, SGD, 0.1, 1.0, tolerance=0.0),
    value(data.solve_ode, "t_max must be at most", ROWS, SGD, 0.1, 100.0),
    kind(data.covers, "optimizer must be an optimizer", ROWS, "sgd"),
    kind(data.covers, "problem must be a LinearRegression", X, SGD),
    value(data.covers, "batch_size must be >= 1", ROWS, SGD, -1),
    value(data.digits, "ridge must be >= 0", ridge=-1.0),
    value(data.natural_patches, "size must be odd", size=4),
    kind(data.natural_patches, "n must be an integer", n="all"),
    kind(data.cifar10, "folder must be a path", None),
    value(data.cifar10, "folder must hold", "nowhere"),
    value(data.cifar10, "classes must be two different labels", "nowhere", classes=(1, 1)),
    kind(data.from_file, "path must be a path", b"x"),
    value(data.from_file, "path: data file type", "data.txt"),
    value(data.from_file, "cannot read nowhere.npz", "nowhere.npz"),
    value(data.from_file, "does not hold an array", "bad.npy"),
]
CONFIG = 'optimizer = "sgd"\nlr = 0.1\nd = 8\nt_max = 1.0\n'
COMMANDS = [
    usage("No such option '?--runz", "compare", "--runz", "3"),
    usage("did you mean 'compare'", "compair"),
    usage("did you mean 'sign_sgd'", "compare", "-o", "sgn_sgd"),
    usage("did you mean 'gaussian'", "compare", "-n", "gausian:0.3"),
    usage("did you mean 'ar1'", "compare", "-K", "ar:0.3"),
    usage("did you mean 'cosine'", "compare", "--lr", "cosin:0.3"),
    usage("did you mean 'sgd'", "compare", "--lr", "sdg=0.3"),
    usage("no learning rate for sign_sgd", "compare", "--lr", "sgd=0.3"),
    usage("lr must be >= 0", "compare", "--lr", "-0.3"),
    usage("lr must be finite", "compare", "--lr", "nan"),
    usage("std must be > 0", "compare", "-n", "gaussian:-1"),
    usage("gaussian.*missing", "compare", "-n", "gaussian"),
    usage("gaussian.*positional argument", "compare", "-n", "gaussian:0.1,0.2,0.3"),
    usage("rho must lie strictly between", "compare", "-K", "ar1:2"),
    usage("cannot read the arguments", "compare", "-K", "ar1:import"),
    usage("cannot read the arguments", "compare", "-K", "ar1:0.5)+(1"),
    usage("cannot read the arguments", "compare", "-K", "ar1:*[1]"),
    usage("cannot read nowhere.npy", "compare", "-K", "nowhere.npy"),
    usage("bad.npy does not hold an array", "compare", "-K", "bad.npy"),
    usage("bad.npy does not hold an array", "compare", "-n", "bad.npy"),
    usage("cannot read nowhere.npz", "compare", "--data", "nowhere.npz"),
    usage("--data brings its own --d", "compare", "--data", "nowhere.npz", "--d", "3"),
    usage("--runs must be >= 1", "compare", "--runs", "0"),
    usage("'--runs': 'many' is not a valid int", "compare", "--runs", "many"),
    usage("--paths must be >= 1", "compare", "--paths", "0"),
    usage("d must be >= 1", "compare", "--d", "0"),
    usage("--t-max > 0", "compare", "--t-max", "0"),
    usage("'--t-max': 'soon' is not a valid float", "compare", "--t-max", "soon"),
    usage("--t-max must reach one step", "compare", "--t-max", "1e-9"),
    usage("--points must be >= 2", "compare", "--points", "1"),
    usage("batch_size must be >= 1", "compare", "--d", "20", "--batch-size", "0"),
    usage("seed must be >= 0", "compare", "--d", "20", "--seed", "-1"),
    usage("--out: cannot write to", "compare", "--d", "20", "--out", "bad.npy/out"),
    usage("Missing argument 'CONFIG'", "sweep", "--out", "out"),
    usage("Missing option '--out'", "sweep", "config.toml"),
    usage("config: cannot read nowhere.toml", "sweep", "nowhere.toml", "--out", "out"),
    usage("config: bad.npy is not a TOML file", "sweep", "bad.npy", "--out", "out"),
    wrong_config("config: .* has no optimizer", "lr = 0.1\n"),
    wrong_config("config: unknown value 'lrs'.*did you mean 'lr'", CONFIG + "lrs = 0.1\n"),
    wrong_config("config: .* is not a TOML file", "lr = \n"),
    wrong_config("n_runs must be an integer", CONFIG + 'n_runs = "many"\n'),
    wrong_config("points must be >= 2", CONFIG + "points = 1\n"),
    wrong_config("batch_size must be >= 1", CONFIG + "batch_size = [0]\n"),
    wrong_config("noise must be a text", CONFIG + "noise = 0.3\n"),
    usage("Missing argument 'FOLDER'", "report"),
    usage("holds no sweep", "report", "nowhere"),
    usage("No such option '?--axes", "report", "nowhere", "--axes", "d"),
    usage("Missing argument 'FILE'", "rerun"),
    usage("file: cannot read", "rerun", "nowhere.npz"),
    usage("file: bad.npy is not a result", "rerun", "bad.npy"),
    usage("unexpected extra argument", "rerun", "a.npz", "b.npz"),
]  # fmt: skip
TABLE = [
    *SOLVERS, *ONE_SOLVER, *PROBLEMS, *NOISES, *SCHEDULES, *OPTIMIZERS, *QUESTIONS, *RESULTS, *DATA, *COMMANDS
]  # fmt: skip


def _name(row):
    where = row.arguments[0] if row.function is cli else getattr(row.function, "__name__", "call")
    return re.sub(r"[^\w]+", "-", f"{where} {row.message}")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A working folder with a file that is nothing, and a folder."""
    path = tmp_path_factory.mktemp("bad")
    (path / "bad.npy").write_bytes(b"\xff\xfe not an array")
    (path / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@pytest.mark.parametrize("row", [pytest.param(row, id=_name(row)) for row in TABLE])
def test_bad_input_is_refused_by_name(row):
    with pytest.raises(row.error, match=row.message) as caught:
        row.function(*row.arguments, **row.options)
    assert type(caught.value) in {row.error, *OWN}  # no class of JAX or NumPy derived from it


def test_the_table_has_at_least_200_rows_all_different():
    assert len({repr(row) for row in TABLE}) == len(TABLE) >= 200


ABSTRACT = {noise.NoiseLaw, cov.Covariance}
WARNINGS = {sl.DivergenceWarning, sl.LimitWarning}


def test_every_public_callable_is_in_the_table():
    rooms = (sl, cov, noise, sched, data)
    public = {getattr(room, name) for room in rooms for name in room.__all__ if callable(getattr(room, name))}
    missing = public - {row.function for row in TABLE} - ABSTRACT - WARNINGS
    assert not missing


def test_every_method_that_takes_numbers_is_in_the_table():
    called = {getattr(row.function, "__func__", None) for row in TABLE}
    questions = [sl.RiskCurve.at, sl.RiskCurve.select, sl.RiskCurves.quantile, sl.LinearRegression.risk]
    questions += [cov.Covariance.scaled, noise.NoiseLaw.residual_density]
    questions += [m for name, m in inspect.getmembers(LimitCoefficients, inspect.isfunction) if name[0] != "_"]
    assert not set(questions) - called


def test_every_command_is_in_the_table():
    given = {row.arguments[0] for row in TABLE if row.function is cli}
    assert set(main.commands) <= given
