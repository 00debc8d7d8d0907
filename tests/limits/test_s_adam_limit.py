"""S-Adam's weight: its law given the residual, the coefficients of its limit, and the simulated rule."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import numpy_normals
from scipy.signal import lfilter

import sdelimit as sl
from sdelimit.limits import RatioRule
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.s_adam import SAdamRule, weight
from sdelimit.limits.sampled.weights import Weights
from sdelimit.numerics import normals
from sdelimit.problem.infinite import InfiniteProblem

B1, B2 = 0.4, 0.6
ADAM = Weights(0.0, 1 - B1, B1), Weights(0.0, 1 - B2, B2), 2


def irregularity(residual, h, tau2, fourth=3.0):
    """rho of infinitely many probes, D = l tau n + h tau^2 n^2 / 2, for E n^4 = ``fourth``."""
    square = residual**2 * tau2 + fourth * (h * tau2) ** 2 / 4
    return 1 - (h * tau2 / 2) ** 2 / square


def test_weight_of_many_probes_has_the_closed_form_of_theory_section_8():
    residual, h, tau, brake = np.array([0.0, 0.3, 0.7, 2.0]), 0.8, 1.2, 6.0
    rule = SAdamRule(*ADAM, brake, h, 500_000, tau)
    found = weight(jnp.asarray(residual[None], jnp.float32), jax.random.key(0), rule)
    np.testing.assert_allclose(found, np.exp(-brake * irregularity(residual, h, tau**2)), rtol=0.02)


def rule_of(monkeypatch, **settings):
    """The rule whose coefficients ``sl.s_adam`` tabulates for its limit."""
    module = importlib.import_module("sdelimit.optimizers.s_adam")  # the package's attribute is the function
    monkeypatch.setattr(module, "tabulated_limit", lambda rule, noise, batch_size: rule)
    return sl.s_adam(B1, B2, **settings).limit(InfiniteProblem(sl.noise.Gaussian(0.5)), 1)


def test_without_brake_the_limit_drifts_as_adam(monkeypatch):
    noise, R = sl.noise.Gaussian(0.5), np.array([0.05, 2.0])
    found = [e.phi for e in rule_of(monkeypatch, brake=0.0).estimates(noise, R, 1, 20_000)]
    np.testing.assert_allclose(found, RatioRule(*ADAM).drift(noise, R, 1), rtol=1e-5)


@pytest.mark.long
def test_coefficients_match_histories_run_in_numpy(monkeypatch):
    """phi = (1/s) E[w dF/dh], kappa = E[W W'], W_s = g_s sum_m a_m w_(s+m) / b_(s+m), with the closed-form weight."""
    R, v, h, brake, T, n = 0.3, 0.5, 1.5, 0.7, 100, 4000
    (found,) = rule_of(monkeypatch, brake=brake, probe_scale=h, n_probes=100).estimates(
        sl.noise.Gaussian(v), [R], 1, 60_000
    )
    s, rng = np.sqrt(2 * R), np.random.default_rng(0)
    z, eps, xi, other = rng.standard_normal((4, n, T))
    residual = s * z - v * eps
    w = np.exp(-brake * irregularity(residual, h, 1.0))

    def average(b, x):
        return lfilter([1 - b], [1, -b], x, axis=1)

    def effect(x):
        g = residual * x
        return g * average(B1, (w / np.sqrt(average(B2, g**2)))[:, ::-1])[:, ::-1]

    g, slope = residual * xi, residual * z
    m, V = average(B1, g), average(B2, g**2)
    drift = w * (average(B1, slope) / np.sqrt(V) - m * average(B2, g * slope) / V**1.5)
    half = RHO[2] * xi + np.sqrt(1 - RHO[2] ** 2) * other
    samples = np.stack([drift / s, effect(xi) * effect(half), effect(xi) ** 2])[..., 30:-30].mean(axis=2)
    expected, error = samples.mean(axis=1), samples.std(axis=1) / np.sqrt(n)
    ours = np.array([found.phi, found.kappa[2], found.kappa[-1]])
    error = np.hypot(error, [found.phi_se, found.kappa_se[2], found.kappa_se[-1]])
    assert np.all(error < 0.012 * expected)
    assert np.all(np.abs(ours - expected) < 4 * error + 0.01 * expected)


@pytest.mark.parametrize("correction", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_simulated_step_is_a_weighted_one_of_adam(correction):
    """From delta = 0 with eps = +-m the first step has the length w (1-b1) / sqrt(1-b2), w at l = m, or w if corrected.

    A probe moves the loss by l <x, v> + h <x, v>^2 / 2, and E<x, v>^4 = 3 |x|^4 / (d (d + 2)) on the sphere.
    """
    d, m, h, brake, runs = 10, 0.3, 0.6, 4.0, 1
    problem = sl.LinearRegression(np.ones(d), sl.noise.TwoPoint(m), theta0=np.ones(d), theta_star=np.ones(d))
    rule = sl.s_adam(B1, B2, brake, h, 100_000, correction)
    risk = sl.simulate(problem, rule, 1.0, t=[1 / d], n_runs=runs, seed=3).risk[:, -1]
    for run, found in enumerate(risk):
        tau2 = float(np.mean(numpy_normals(normals.run_key(3, run), 0, 1, d) ** 2))
        w = np.exp(-brake * irregularity(m, h, tau2, 3 * d / (d + 2)))
        length = w if correction else w * (1 - B1) / np.sqrt(1 - B2)
        assert np.sqrt(2 * found * d) == pytest.approx(length, rel=0.02)
