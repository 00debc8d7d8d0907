"""Limit coefficients of the memoryful scale-free rules (theory: section 6)."""

import logging
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl
from sdelimit.analysis.coefficients import LimitCoefficients
from sdelimit.limits import RatioRule, SignedRule, Weights
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled import tabulated
from sdelimit.limits.sampled.gradient_effects import CORRELATIONS, control_products, effect_products, sampled_kernels
from sdelimit.limits.sampled.gradient_histories import estimates, residuals
from sdelimit.limits.sampled.laplace_transform import ratio_drift, signed_drift
from sdelimit.limits.sampled.ratio import kernel_products, total_weight
from sdelimit.limits.sampled.sign_of_average import _arcsin, _lag_rule
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import Memo
from sdelimit.numerics.precision import evaluate_in_float64, precision
from sdelimit.problem.infinite import InfiniteProblem

NONE = sl.noise.NoNoise()
FEW = 200_000
MEMORYLESS = Weights(1.0, 0.0, 0.0)
LAWS = [
    sl.noise.Gaussian(0.7),
    sl.noise.Cauchy(0.3),
    sl.noise.StudentT(1.5, 0.2),
    sl.noise.Laplace(0.5),
    sl.noise.Uniform(1.0),
    sl.noise.GaussianMixture([0.9, 0.1], [0.0, 0.0], [0.0, 3.0]),
]


class FoundRuleError(Exception):
    """Carries the rule that would be tabulated."""


def tabulated_rule(optimizer):
    """The rule whose coefficients are tabulated for the limit of ``optimizer``."""

    def stop(rule, *given):
        raise FoundRuleError(rule)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(FoundRuleError) as found:
        patch.setattr(tabulated, "_coefficients", stop)
        optimizer.limit(InfiniteProblem(NONE), 1)
    return found.value.args[0]


def unit_coefficients(optimizer):
    """c, kappa(0.5), kappa(1) at unit residual variance, with the standard errors of the last two."""
    c = sl.limit_coefficients(optimizer, NONE)
    rho = np.array([0.5, 1.0])
    return c.phi(0.5), c.kappa(rho, 0.5), c.kappa_standard_error(rho, 0.5)


# --- Drift, by Laplace transform ---


@pytest.mark.parametrize(
    ("optimizer", "c"),
    [
        (sl.adam(0.9, 0.99), 0.980554),
        pytest.param(sl.adam(0.9, 0.95), 0.952770, marks=pytest.mark.slow),
        pytest.param(sl.adam(0.9, 0.9), 0.959234, marks=pytest.mark.slow),
        (sl.adam(0.5, 0.5), 0.839090),
        pytest.param(sl.rmsprop(0.9), 0.865993, marks=pytest.mark.slow),
    ],
)
def test_exact_drift_matches_the_reference_table(optimizer, c):
    assert sl.limit_coefficients(optimizer, NONE).phi(0.5) == pytest.approx(c, abs=6e-6)


def test_nadam_drifts_as_a_mean_of_rmsprop_and_adam():
    """Its numerator (1-b1) g + b1 m over their common denominator: phi is linear in it."""
    b1, b2, R = 0.7, 0.9, np.array([1e-3, 0.5])
    for noise, rtol in ((NONE, 1e-9), (sl.noise.Laplace(0.5), 1e-4)):
        nadam, rmsprop, adam = (
            tabulated_rule(rule).drift(noise, R, 1) for rule in (sl.nadam(b1, b2), sl.rmsprop(b2), sl.adam(b1, b2))
        )
        np.testing.assert_allclose(nadam, (1 - b1) * rmsprop + b1 * adam, rtol=rtol)


@pytest.mark.parametrize("noise", LAWS, ids=repr)
@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_rule_without_memory_drifts_as_sign_sgd(noise, batch_size):
    R = np.geomspace(1e-4, 1e4, 7)
    expected = sl.limit_coefficients(sl.sign_sgd(), noise, batch_size).phi(R)
    np.testing.assert_allclose(signed_drift(MEMORYLESS, noise, R, batch_size), expected, rtol=1e-8)
    np.testing.assert_allclose(ratio_drift(MEMORYLESS, MEMORYLESS, noise, R, batch_size), expected, rtol=1e-8)


@pytest.mark.parametrize("noise", LAWS, ids=repr)
def test_a_vanishing_memory_drifts_as_none(noise):
    nearly = Weights(0.0, 1.0, 1e-10)
    R = np.array([1e-2, 1.0, 1e2])
    np.testing.assert_allclose(signed_drift(nearly, noise, R), signed_drift(MEMORYLESS, noise, R), rtol=1e-6)


def test_signum_drift_without_noise_is_the_mean_of_a_ratio():
    # phi = sqrt(2/pi) E[A^-1/2 sum_j b_j z_j^2], A = sum_j b_j^2 z_j^2, drawn directly.
    z2 = np.random.default_rng(0).standard_normal((20000, 120)) ** 2
    b = 0.9 ** np.arange(120)
    values = np.sqrt(2 / np.pi) * (z2 @ b) / np.sqrt(z2 @ b**2)
    drift = signed_drift(Weights(0.0, 1.0, 0.9), NONE, 0.5)
    assert abs(drift - values.mean()) < 4 * values.std() / np.sqrt(values.size)


@pytest.mark.slow
def test_adam_approaches_normalized_sgd_as_b2_approaches_one():
    gaps = [abs(unit_coefficients(sl.adam(0.9, b2))[0] - 1) for b2 in (0.99, 0.997, 0.999)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 3e-3
    kappa = sl.limit_coefficients(sl.adam(0.9, 0.999), NONE).kappa(RHO, 0.5)
    np.testing.assert_allclose(kappa, RHO, atol=6e-3)


# --- Kernels, by sampling ---


@pytest.mark.parametrize(
    ("optimizer", "half", "one"),
    [
        (sl.adam(0.9, 0.99), 0.482, 0.971),
        pytest.param(sl.adam(0.9, 0.95), 0.462, 0.939, marks=pytest.mark.slow),
        pytest.param(sl.adam(0.9, 0.9), 0.471, 0.966, marks=pytest.mark.slow),
        (sl.adam(0.5, 0.5), 0.401, 0.888),
        pytest.param(sl.rmsprop(0.9), 0.394, 0.823, marks=pytest.mark.slow),
        (sl.s3(0.9, 3), 0.2837, 0.5863),
        pytest.param(sl.s3(0.95, 1), 1.145, 2.316, marks=pytest.mark.slow),
        (sl.signum(0.9), 6.354, 14.02),
        pytest.param(sl.lion(0.9, 0.99), 33.6, 69.0, marks=pytest.mark.long),
    ],
)
def test_kernel_matches_the_reference_table(optimizer, half, one):
    _, kappa, error = unit_coefficients(optimizer)
    reference = np.array([half, one])
    assert np.all(np.abs(kappa - reference) < 3 * np.hypot(error, 1.2e-3 * reference))


@pytest.mark.parametrize(
    ("optimizer", "c"), [(sl.s3(0.9, 3), 0.7417), pytest.param(sl.s3(0.95, 1), 1.508, marks=pytest.mark.long)]
)
def test_sampled_drift_matches_the_reference_table(optimizer, c):
    found = sl.limit_coefficients(optimizer, NONE)
    assert abs(found.phi(0.5) - c) < 3 * np.hypot(found.phi_standard_error(0.5), 1e-3 * c)


@pytest.mark.parametrize(
    "noise",
    [sl.noise.Laplace(0.5), pytest.param(sl.noise.StudentT(3.0, 0.3), marks=pytest.mark.slow), sl.noise.Cauchy(0.3)],
    ids=repr,
)
def test_derivative_along_histories_agrees_with_the_laplace_transform(noise):
    # p slightly off 2 takes the sampling branch; p = 2 the exact one.
    a, w = Weights(0.0, 0.2, 0.8), Weights(0.0, 0.1, 0.9)
    R = np.array([1e-3, 0.05, 20.0])
    sampled = RatioRule(a, w, 2 + 1e-9).estimates(noise, R, 1, 300_000)
    phi, error = np.array([e.phi for e in sampled]), np.array([e.phi_se for e in sampled])
    assert np.all(error < 0.03 * phi)
    assert np.all(np.abs(phi - ratio_drift(a, w, noise, R)) < 4 * error)


def few_samples(optimizer, noise, batch_size=1):
    """The coefficients from tables made with few samples, for speed."""
    limit = tabulated.tabulated_limit(tabulated_rule(optimizer), noise, batch_size, samples=FEW)
    return LimitCoefficients(limit, noise, optimizer.name)


def brute_force(optimizer, noise, R, batch_size, chains=15_000, burn_in=100, steps=400, h=0.05):
    """phi, kappa(0.5), kappa(1) and their standard errors from the optax rule itself, run on scalar histories: a
    finite difference, and the covariance of sums of F over a window."""
    s, rho = np.sqrt(2 * R), 0.5
    rule = optimizer.transform

    def step(states, key):
        keys = jax.random.split(key, 4)
        z = jax.random.normal(keys[0], (batch_size, chains))
        xi, other = (jax.random.normal(k, (batch_size, chains)) for k in keys[1:3])
        l = s * z - noise.sample(keys[3], (batch_size, chains))  # noqa: E741
        xs = [xi + h * z, xi - h * z, xi, rho * xi + np.sqrt(1 - rho**2) * other]
        outputs = [rule.update(jnp.mean(l * x, axis=0), state) for x, state in zip(xs, states, strict=True)]
        return tuple(state for _, state in outputs), jnp.stack([u for u, _ in outputs])

    with precision(np.float32):
        states = (rule.init(jnp.zeros(chains)),) * 4
        states, _ = jax.lax.scan(step, states, jax.random.split(jax.random.key(1), burn_in))
        _, u = jax.lax.scan(step, states, jax.random.split(jax.random.key(2), steps))
    plus, minus, one, half = np.asarray(u, np.float64).sum(axis=0) / np.sqrt(steps)
    samples = np.stack([(plus - minus) / (2 * h * s * np.sqrt(steps)), one * half, one * one])
    return samples.mean(axis=1), samples.std(axis=1) / np.sqrt(chains)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "noise", "batch_size"),
    [
        (sl.adam(0.8, 0.9), sl.noise.Laplace(0.5), 1),
        (sl.nadam(0.5, 0.9), NONE, 2),
        (sl.rmsprop(0.8), sl.noise.Cauchy(0.5), 1),
        (sl.s3(0.7, 3), sl.noise.Laplace(0.5), 2),
        (sl.signum(0.8), sl.noise.Cauchy(0.3), 1),
        (sl.lion(0.7, 0.85), sl.noise.TwoPoint(0.8), 3),
    ],
    ids=lambda value: getattr(value, "name", repr(value)),
)
def test_coefficients_match_the_optax_rule_run_on_scalar_histories(optimizer, noise, batch_size):
    R = 0.2
    c = few_samples(optimizer, noise, batch_size)
    expected, error = brute_force(optimizer, noise, R, batch_size)
    found = np.array([c.phi(R), c.kappa(0.5, R), c.kappa(1.0, R)])
    # The lags that stick out at the ends of the window, and h^2 in the finite difference, cost up to 2%.
    assert np.all(error < 0.025 * expected)
    assert np.all(np.abs(found - expected) < 3.5 * error + 0.02 * expected)


def test_lag_rule_sums_smooth_correlations():
    for decay in (0.5, 0.9, 0.99):
        lags, weights = _lag_rule(decay)
        m = np.arange(1, 20000)
        exact = np.sum(decay**m / np.sqrt(1 + m))
        assert weights @ (decay**lags / np.sqrt(1.0 + lags)) == pytest.approx(exact, rel=2e-4)


def test_fast_arcsine():
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(evaluate_in_float64(_arcsin, x), np.arcsin(x), atol=1e-7)


# --- Limits valid at every risk ---


def test_gaussian_noise_of_any_size_reuses_one_estimate():
    R = np.array([0.01, 1.0, 30.0])
    for std in (0.1, 2.0):
        c = sl.limit_coefficients(sl.adam(0.9, 0.99), sl.noise.Gaussian(std))
        np.testing.assert_allclose(c.phi(R), 0.98055394 / np.sqrt(2 * R + std**2), rtol=1e-7)
        assert np.ptp(c.kappa(1.0, R)) == 0


@pytest.fixture(scope="module")
def student_s3():
    return sl.s3(0.8, 3), sl.noise.StudentT(3.0, 0.3)


@pytest.mark.slow
def test_tables_interpolate_between_their_nodes(student_s3):
    optimizer, noise = student_s3
    c = few_samples(optimizer, noise)
    rule = tabulated_rule(optimizer)
    nodes = c.limit.errors.log_R
    middle = np.exp((nodes[1:] + nodes[:-1]) / 2)[2:-2:3]
    direct = rule.estimates(noise, middle, 1, FEW)
    np.testing.assert_allclose(c.phi(middle), [e.phi for e in direct], rtol=3e-3)
    for rho, k in ((0.5, 2), (1.0, 6)):
        np.testing.assert_allclose(c.kappa(rho, middle), [e.kappa[k] for e in direct], rtol=3e-3)


@pytest.mark.slow
def test_tables_extrapolate_by_power_laws(student_s3):
    c, free = few_samples(*student_s3), few_samples(student_s3[0], NONE)
    large = np.array([1e6, 1e12, 1e20])
    np.testing.assert_allclose(c.phi(large) / free.phi(large), 1, rtol=0.015)
    np.testing.assert_allclose(c.kappa(1.0, large) / free.kappa(1.0, large), 1, rtol=6e-3)
    small = c.phi(np.array([1e-10, 1e-14]))
    assert small[0] == pytest.approx(small[1], rel=1e-3)


@pytest.mark.slow
def test_exact_drift_is_tabulated_to_five_digits():
    noise, R = sl.noise.Laplace(0.4), np.geomspace(1e-6, 1e4, 31)
    rule = tabulated_rule(sl.adam(0.9, 0.95))
    c = few_samples(sl.adam(0.9, 0.95), noise)
    np.testing.assert_allclose(c.phi(R), rule.drift(noise, R, 1), rtol=3e-5)
    assert np.all(c.phi_standard_error(R) == 0)


def test_standard_errors_cover_another_seed():
    rule = tabulated_rule(sl.rmsprop(0.9))
    first, second = (rule.estimates(NONE, [0.5], 1, 500_000, seed=seed)[0] for seed in (1, 2))
    gap = np.abs(first.kappa - second.kappa)[1:] / np.hypot(first.kappa_se, second.kappa_se)[1:]
    assert np.all(gap < 4) and np.any(gap > 0)


# --- Kernels of rules that divide by a root mean square ---


def circle_effects(g, a, w):
    """W_s = g_s sum_m a_m V_{s+m}^(-1/2) on a circle of T steps, from its definition, lag by lag."""
    T = g.size
    lags = np.arange(40 * T)
    a_m, w_m = (x.past * x.decay**lags + x.now * (lags == 0) for x in (a, w))
    V = np.array([np.sum(w_m * g[(t - lags) % T] ** 2) for t in range(T)])
    return g * np.array([np.sum(a_m / np.sqrt(V[(s + lags) % T])) for s in range(T)])


def test_effects_are_those_of_a_loop_over_a_circle():
    a, w = Weights(0.05, 0.1, 0.9), Weights(0.02, 0.2, 0.8)
    rng = np.random.default_rng(0)
    g, independent = rng.standard_normal((2, 16, 3))
    found = effect_products(
        g.astype(np.float32), independent.astype(np.float32), *((x.now, x.past, x.decay) for x in (a, w))
    )
    own = np.stack([circle_effects(g[:, n], a, w) for n in range(3)], axis=1)
    for k, rho in enumerate(CORRELATIONS):
        other = rho * g + np.sqrt(1 - rho**2) * independent
        there = np.stack([circle_effects(other[:, n], a, w) for n in range(3)], axis=1)
        np.testing.assert_allclose(found[k], np.mean(own * there, axis=0), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("law", [NONE, sl.noise.Cauchy(1.0)], ids=str)
def test_controls_have_mean_zero(law):
    """The mean of each product of odd functions is known, whatever the law of residuals."""
    n = 2**18
    rng = np.random.default_rng(0)
    radius, xi, other = rng.standard_normal((3, 4, n // 4)).astype(np.float32)
    radius = np.abs(radius if law is NONE else rng.standard_cauchy(radius.shape).astype(np.float32))
    found = np.asarray(jax.jit(control_products)(radius, xi, other), np.float64)
    mean, error = found.mean(-1), found.std(-1) / np.sqrt(found.shape[-1])
    assert np.all(np.abs(mean) <= 4 * error + 1e-9)
    assert np.all(error < 0.03) and np.all(error[1:] > 1e-5)


PAIRS = [(0.9, 0.99, NONE, 1), (0.5, 0.9, NONE, 2), (0.9, 0.9, sl.noise.StudentT(2.0, 0.5), 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("b1", "b2", "noise", "batch_size"), PAIRS)
def test_shared_histories_give_the_kernel_that_those_of_one_rule_do(b1, b2, noise, batch_size):
    """Sampled for this rule alone, without controls and in histories of its own length."""
    rule = RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)

    @jit
    def sample(draws, s, unit):
        radius = residuals(draws.z, draws.eps, s, unit).radius
        return kernel_products(radius, draws, lambda g: total_weight(rule, g))

    R = [0.05, 0.5]
    alone = estimates(sample, noise, R, batch_size, 1 / (1 - b2), 4_000_000, 1)
    for (kappa, error), shared in zip(alone, rule.estimates(noise, R, batch_size, 8_000_000), strict=True):
        gap = np.abs(shared.kappa - kappa)[1:] / np.hypot(shared.kappa_se, error)[1:]
        assert np.all(gap < 4)
        assert np.all(shared.kappa_se[1:] < error[1:] * np.sqrt(2 if noise is NONE else 1))


def test_another_pair_of_decays_compiles_nothing(caplog):
    R = np.array([0.5])
    rules = [RatioRule(Weights(0.0, 1 - b, b), Weights(0.0, 0.06, 0.94), 2) for b in (0.9, 0.3)]
    first = sampled_kernels(rules[0].a, rules[0].w, NONE, R, 1, 200_000, 5)
    with caplog.at_level(logging.WARNING, "jax"), jax.log_compiles():
        second = sampled_kernels(rules[1].a, rules[1].w, NONE, R, 1, 200_000, 5)
    assert not [record for record in caplog.records if record.getMessage().startswith("Compiling")]
    assert abs(first[0][0][-1] - second[0][0][-1]) > 1e-3


def test_figure_of_merit():
    merit = sl.limit_coefficients(sl.adam(0.9, 0.99), sl.noise.Gaussian(1.0)).figure_of_merit(0.3)
    assert merit == pytest.approx(0.99, abs=3e-3)
    sign = sl.limit_coefficients(sl.sign_sgd(), NONE)
    assert sign.figure_of_merit(2.0) == pytest.approx(4 / np.pi**2) and sign.phi_standard_error(2.0) == 0
    assert sl.limit_coefficients(sl.sign_sgd(), sl.noise.Cauchy(1.0)).figure_of_merit(1.0) == np.inf


@pytest.mark.parametrize("make", [sl.rmsprop, sl.signum, sl.s3])
def test_zero_memory_is_sign_sgd(make):
    R = np.array([0.01, 1.0])
    for noise in (NONE, sl.noise.Laplace(1.0)):
        c, sign = few_samples(make(0.0), noise), sl.limit_coefficients(sl.sign_sgd(), noise)
        np.testing.assert_allclose(c.phi(R), sign.phi(R), rtol=1e-4)
        np.testing.assert_allclose(c.kappa(0.6, R), sign.kappa(0.6, R), rtol=1e-6)


@pytest.mark.long
def test_a_second_solve_computes_no_coefficients_and_compiles_nothing(monkeypatch, caplog):
    problem = sl.LinearRegression(sl.covariance.ar1(64, 0.5), sl.noise.Gaussian(0.5))
    sl.solve_ode(problem, sl.adam(0.9, 0.99), 0.5, 2.0)
    monkeypatch.setattr(tabulated, "compute_coefficients", None)
    with caplog.at_level(logging.WARNING, "jax"), jax.log_compiles():
        sl.solve_ode(problem, sl.adam(0.9, 0.99), 0.3, 2.0)
    assert not [record for record in caplog.records if record.getMessage().startswith("Compiling")]


# --- Cache ---


class CountingRule(SignedRule):
    """Counts its estimates."""

    samples = 20_000
    calls = 0

    def estimates(self, *args):
        type(self).calls += 1
        return super().estimates(*args)


@pytest.mark.parametrize("text", ["off", "", None])
def test_no_tables_are_kept_where_the_environment_names_no_folder(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tabulated, "TABLES", Memo())
    monkeypatch.setattr(tabulated, "compute_coefficients", lambda *given: given)
    monkeypatch.delenv("SDELIMIT_CACHE", raising=False)
    if text is not None:
        monkeypatch.setenv("SDELIMIT_CACHE", text)
    tabulated._from_folder(CountingRule(Weights(0.0, 1.0, 0.5)), sl.noise.Laplace(0.7), 1, 8, 0, None)
    assert not list(tmp_path.iterdir())


def test_tables_are_kept_on_disk_and_damaged_files_replaced(tmp_path, monkeypatch):
    rule, noise = CountingRule(Weights(0.0, 1.0, 0.5)), sl.noise.Laplace(0.7)
    monkeypatch.setattr(tabulated, "TABLES", Memo())
    monkeypatch.setenv("SDELIMIT_CACHE", str(tmp_path))
    first = tabulated.tabulated_limit(rule, noise, 1)
    calls = CountingRule.calls
    tabulated.TABLES.clear()
    second = tabulated.tabulated_limit(rule, noise, 1)
    assert CountingRule.calls == calls
    assert jax.tree.all(jax.tree.map(np.array_equal, first, second))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    tabulated.TABLES.clear()
    with pytest.warns(UserWarning, match="computed again"):
        tabulated.tabulated_limit(rule, noise, 1)
    assert CountingRule.calls > calls
    tabulated.TABLES.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tabulated.tabulated_limit(rule, sl.noise.Laplace(0.7), 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_tables_of_different_laws_are_kept_apart(monkeypatch):
    rule = CountingRule(Weights(0.0, 1.0, 0.5))
    monkeypatch.setattr(tabulated, "TABLES", Memo())
    R = np.array(0.1)
    limits = [tabulated.tabulated_limit(rule, law, 1) for law in (sl.noise.Laplace(0.1), sl.noise.Laplace(1.0))]
    a, b = (evaluate_in_float64(limit.phi, R) for limit in limits)
    assert a > 1.5 * b


def test_tables_of_many_laws_take_bounded_memory_and_are_made_again_when_needed(monkeypatch):
    monkeypatch.setattr(tabulated, "TABLES", Memo(8))
    monkeypatch.setattr(tabulated, "compute_coefficients", lambda rule, noise, *given: (rule, noise, *given))
    rules = [RatioRule(Weights(0.0, 1 - b, b), Weights(0.0, 1 - b, b), 2) for b in np.linspace(0.1, 0.9, 5)]
    laws = [sl.noise.Laplace(scale) for scale in np.linspace(0.1, 1.0, 20)]
    for _ in range(2):
        for rule in rules:
            for law in laws:
                found = tabulated._coefficients(rule, law, 1, 10, 0, "")
                assert found[:2] == (rule, law) and len(tabulated.TABLES) <= 8
