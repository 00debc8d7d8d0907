"""Rules that are probed rather than derived (theory: section 6)."""

import jax
import numpy as np
import optax
import pytest
from conftest import MIXTURE

import sdelimit as sl
from sdelimit.limits.measured.forgetting_time import Memory
from sdelimit.limits.measured.gradient_scales import memory_by_size, size_nodes
from sdelimit.limits.measured.monte_carlo import ProbeWarning, probe
from sdelimit.limits.measured.rule_checks import inspect_rule
from sdelimit.limits.noise_kernel import RHO
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.optimizers.from_optax import measured_optimizer
from sdelimit.problem.infinite import InfiniteProblem

pytestmark = pytest.mark.long

NO_NOISE = sl.noise.NoNoise()
SIGNUM = optax.chain(optax.trace(0.9), optax.scale_by_sign())
RMS = optax.scale_by_rms(0.5)
ANY_SIZE = {1e-5: Memory(0, 0), 1e5: Memory(0, 0)}
YOGI = optax.scale_by_yogi(0.9, 0.9, eps=1e-12, initial_accumulator_value=1e-12)


def test_sign_has_c_2_over_pi_and_the_arcsin_kernel():
    estimate, details = probe(optax.scale_by_sign(), NO_NOISE, 0.5, details=True)
    assert details.method == "stein"  # automatic differentiation sees no slope in a sign
    assert abs(estimate.phi - 2 / np.pi) < 4 * estimate.phi_se
    assert np.all(np.abs(estimate.kappa - 2 / np.pi * np.arcsin(RHO)) < 4 * estimate.kappa_se + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "c", "kappa_half", "kappa_one", "reference_error"),
    [
        (optax.scale_by_adam(0.9, 0.9), 0.959234, 0.471, 0.966, 1e-3),
        (optax.scale_by_rms(0.9), 0.865993, 0.394, 0.823, 2e-3),
        (SIGNUM, 3.501, 6.354, 14.02, 1e-3),
    ],
)
def test_probe_agrees_with_the_known_constants(transform, c, kappa_half, kappa_one, reference_error):
    estimate = probe(transform, NO_NOISE, 0.5)
    for value, error, known in (
        (estimate.phi, estimate.phi_se, c),
        (estimate.kappa[2], estimate.kappa_se[2], kappa_half),
        (estimate.kappa[-1], estimate.kappa_se[-1], kappa_one),
    ):
        assert abs(value - known) < 3.5 * np.hypot(error, reference_error * known)
    assert max(estimate.phi_se / estimate.phi, estimate.kappa_se[-1] / estimate.kappa[-1]) < 3e-3


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_seeds():
    estimates = [probe(RMS, NO_NOISE, 0.5, seed=seed, relative_error=1e-2) for seed in range(8)]
    for value, claimed in (
        ([e.phi for e in estimates], [e.phi_se for e in estimates]),
        ([e.kappa[-1] for e in estimates], [e.kappa_se[-1] for e in estimates]),
    ):
        assert 0.3 < np.std(value, ddof=1) / np.mean(claimed) < 1.9  # chi with 7 degrees of freedom


@pytest.mark.slow
def test_same_seed_gives_same_numbers():
    one, two = (probe(RMS, NO_NOISE, 0.5, seed=3, relative_error=0.02) for _ in range(2))
    assert one.phi == two.phi and np.array_equal(one.kappa, two.kappa)


@pytest.mark.slow
def test_probe_warns_when_it_stops_short_of_the_wanted_error():
    with pytest.warns(ProbeWarning, match="relative Monte-Carlo error"):
        probe(RMS, NO_NOISE, 0.5, relative_error=1e-6, max_chain_steps=10)


@pytest.mark.parametrize(
    ("noise", "batch_size"),
    [(sl.noise.Laplace(0.5), 1), pytest.param(sl.noise.Cauchy(0.3), 4, marks=pytest.mark.slow)],
    ids=repr,
)
def test_sign_under_other_noise_agrees_with_quadrature(noise, batch_size):
    known = sl.limit_coefficients(sl.sign_sgd(), noise, batch_size)
    estimate = probe(optax.scale_by_sign(), noise, 0.1, batch_size, relative_error=1e-2)
    assert abs(estimate.phi - known.phi(0.1)) < 4 * estimate.phi_se


@pytest.mark.slow
def test_gaussian_noise_and_risk_enter_through_the_population_risk_only():
    direct = probe(RMS, sl.noise.Gaussian(0.7), 0.2, seed=1)
    limit = sl.limit_coefficients(measured_optimizer(RMS, "rms"), sl.noise.Gaussian(0.7))
    assert abs(direct.phi - limit.phi(0.2)) < 4 * np.hypot(direct.phi_se, 2e-3)
    assert abs(direct.kappa[-1] - limit.kappa(1.0, 0.2)) < 4 * np.hypot(direct.kappa_se[-1], 3e-3)


@pytest.mark.parametrize(
    ("transform", "kind", "linear"),
    [
        (optax.scale_by_adam(0.9, 0.9), "scale_free", False),
        pytest.param(SIGNUM, "scale_free", False, marks=pytest.mark.slow),
        (optax.identity(), "degree_1", True),
        pytest.param(optax.trace(0.9), "degree_1", True, marks=pytest.mark.slow),
        (optax.scale_by_optimistic_gradient(), "degree_1", True),
        (optax.clip(0.1), "scale_dependent", False),
        pytest.param(optax.scale_by_adam(0.9, 0.9, eps=1e-2), "scale_dependent", False, marks=pytest.mark.slow),
    ],
)
def test_kinds_of_rules(transform, kind, linear):
    report = inspect_rule(transform)
    assert (report.kind, report.linear) == (kind, linear)


def test_memory_of_adam_is_that_of_its_averages():
    memory = inspect_rule(optax.scale_by_adam(0.5, 0.9)).memory
    assert 40 < memory.burn_in < 90  # 0.9^65 = 1e-3
    assert 8 < memory.window < 14  # 0.5^10 = 1e-3: signs are forgotten at the rate b1


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (optax.clip_by_global_norm(1.0), "each coordinate by itself"),
        (optax.add_noise(0.1, 0.5, 0), "random"),
        (optax.adamw(1e-3), "weight decay towards zero"),
        (optax.scale_by_trust_ratio(), "parameters"),
        (optax.adam(1e-3), r"against it.*Write sl.from_optax\(optax.scale_by_adam"),
        (optax.set_to_zero(), "zero updates"),
        (optax.stateless(lambda g, p: g**2), "odd"),
        (optax.stateless(lambda g, p: g / (g - g)), "non-finite"),
        (optax.scale_by_polyak(), "asks for the loss"),
        pytest.param(optax.scale_by_rss(), "forget", marks=pytest.mark.slow),
    ],
)
def test_rules_outside_the_theory_are_refused_with_the_reason(transform, reason):
    with pytest.raises(ValueError, match=reason):
        sl.from_optax(transform)


def test_momentum_sgd_has_the_limit_of_sgd_with_its_gain():
    noise = sl.noise.Laplace(0.5)
    optimizer = sl.from_optax(optax.trace(0.9))
    momentum = sl.limit_coefficients(optimizer, noise, 2)
    sgd = sl.limit_coefficients(sl.sgd(), noise, 2)
    R = np.array([0.1, 2.0])
    np.testing.assert_allclose(momentum.phi(R), 10 * sgd.phi(R), rtol=1e-9)
    np.testing.assert_allclose(momentum.kappa(0.5, R), 100 * sgd.kappa(0.5, R), rtol=1e-9)
    with pytest.raises(ValueError, match="finite variance"):
        optimizer.limit(InfiniteProblem(sl.noise.Cauchy(1.0)), 1)


@pytest.mark.slow
def test_nonlinear_rule_of_degree_one_scales_with_the_residual():
    soft = optax.chain(optax.scale_by_rms(0.9), optax.ema(0.5, debias=False))
    rule = optax.GradientTransformation(*_times_size(soft))
    limit = sl.limit_coefficients(sl.from_optax(rule, "soft"), sl.noise.Gaussian(1.0))
    np.testing.assert_allclose(limit.phi(0.1), limit.phi(5.0), rtol=1e-9)
    np.testing.assert_allclose(limit.kappa(1.0, 5.0) / limit.kappa(1.0, 0.1), 11 / 1.2, rtol=1e-9)


def _times_size(rule):
    """The rule multiplied by a running mean of |g|: homogeneous of degree one, not linear."""

    def init(params):
        return rule.init(params), optax.tree.zeros_like(params)

    def update(updates, state, params=None):
        inner, size = state
        direction, inner = rule.update(updates, inner, params)
        size = 0.5 * size + 0.5 * abs(updates)
        return direction * size, (inner, size)

    return init, update


@pytest.mark.slow
@pytest.mark.parametrize("noise", [sl.noise.Laplace(0.5), sl.noise.Cauchy(0.3)], ids=repr)
@pytest.mark.parametrize(
    ("transform", "known"), [(optax.scale_by_adam(0.8, 0.9), sl.adam(0.8, 0.9)), (SIGNUM, sl.signum(0.9))]
)
def test_tables_agree_with_known_limits_over_24_decades_of_risk(transform, known, noise):
    found, exact = (sl.limit_coefficients(o, noise) for o in (measured_optimizer(transform, "measured"), known))
    R = np.geomspace(1e-12, 1e12, 97)
    np.testing.assert_allclose(found.phi(R), exact.phi(R), rtol=0.01)
    for rho in (0.5, 1.0):
        np.testing.assert_allclose(found.kappa(rho, R), exact.kappa(rho, R), rtol=0.015)


def test_components_of_the_noise_have_the_law_of_its_samples():
    for noise in (sl.noise.StudentT(3.0, 0.3), sl.noise.Cauchy(0.3), sl.noise.Laplace(0.5), MIXTURE):
        means, variances = (np.asarray(x, float) for x in noise.sample_components(jax.random.key(0), (100_000,)))
        for a in (0.1, 1.0, 10.0):
            factor = np.exp(-a * means**2 / (1 + 2 * a * variances)) / np.sqrt(1 + 2 * a * variances)
            error = np.std(factor) / np.sqrt(factor.size)
            assert abs(factor.mean() - evaluate_in_float64(noise.gaussian_factor, a)) < 4 * error


SIGMA = np.geomspace(0.02, 20, 6)
KHAT = sl.covariance.ar1(6, 0.7).correlation()


def assert_same_limit(found, known, R, drift=0.01, noise=0.015):
    """Drifts within a fraction ``drift``, covariances within ``noise`` times the standard deviations."""
    np.testing.assert_allclose(found.drift(R, SIGMA), known.drift(R, SIGMA), rtol=drift)
    N = known.covariance(R, SIGMA, KHAT)
    size = np.sqrt(np.diag(N))
    np.testing.assert_allclose(
        found.covariance(R, SIGMA, KHAT) / np.outer(size, size), N / np.outer(size, size), atol=noise
    )


@pytest.mark.parametrize("batch_size", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_probing_coordinate_clipping_finds_its_limit(batch_size):
    noise = sl.noise.Gaussian(0.5)
    found = measured_optimizer(optax.clip(0.5), "clip").limit(InfiniteProblem(noise), batch_size)
    assert found.relative_error < 3e-3
    for R in (1e-4, 0.1, 100.0):
        assert_same_limit(found, sl.clip_coordinate(0.5).limit(InfiniteProblem(noise), batch_size), R)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [sl.noise.StudentT(3.0, 0.3), sl.noise.Laplace(0.5)], ids=repr)
def test_probing_coordinate_clipping_under_other_noise_finds_its_limit(noise):
    rules = measured_optimizer(optax.clip(0.5), "clip"), sl.clip_coordinate(0.5)
    found, known = (rule.limit(InfiniteProblem(noise), 1) for rule in rules)
    for R in (1e-4, 0.01, 0.3, 100.0):
        assert_same_limit(found, known, R, noise=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [sl.noise.Gaussian(0.5), sl.noise.Laplace(0.5)], ids=repr)
def test_probing_adam_with_eps_finds_its_limit(noise):
    adam = optax.scale_by_adam(0.9, 0.95, eps=0.1)
    rules = measured_optimizer(adam, "measured"), sl.adam(0.9, 0.95, eps=0.1)
    found, known = (rule.limit(InfiniteProblem(noise), 1) for rule in rules)
    for R in (1e-4, 0.1, 100.0):
        assert_same_limit(found, known, R)


@pytest.mark.slow
def test_a_sharper_probe_is_a_more_precise_one():
    loose, sharp = (
        measured_optimizer(optax.clip(0.5), "clip", relative_error=error)
        .limit(InfiniteProblem(NO_NOISE), 1)
        .relative_error
        for error in (0.02, 0.005)
    )
    assert sharp < 0.005 < loose < 0.02


def test_nodes_are_dense_where_a_rule_changes_and_few_elsewhere():
    near, far = (
        np.sum(np.abs(size_nodes(optax.clip(c), ANY_SIZE) - x) < 1.5) for c, x in ((0.1, np.log(0.1)), (1e4, 0))
    )
    assert near >= 5 and far <= 2


@pytest.mark.slow
def test_yogi_is_not_asked_about_gradients_it_never_gets_used_to():
    sizes = memory_by_size(optax.scale_by_yogi(0.9, 0.9))
    assert min(sizes) > 1e-5 and max(sizes) > 1e4


def test_optimizers_are_made_once():
    assert sl.from_optax(SIGNUM) is sl.from_optax(SIGNUM)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [sl.noise.Gaussian(0.5), sl.noise.Laplace(0.5)], ids=repr)
def test_ode_of_rules_without_a_formula_follows_their_simulations(noise):
    d = 1024
    scales = np.random.default_rng(0).uniform(0.5, 2.0, d)
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.5).scaled(scales), noise)
    rules = [
        sl.from_optax(optax.scale_by_belief(0.9, 0.95)),
        sl.from_optax(YOGI),
        sl.from_optax(optax.scale_by_adamax(0.9, 0.9)),
    ]
    lr = [0.3, 0.5, 0.6]
    runs = sl.simulate(problem, rules, lr, 5.0, n_runs=96, seed=1)
    for rule, eta, curves in zip(rules, lr, runs, strict=True):
        theory = sl.solve_ode(problem, rule, eta, 5.0)
        assert np.max(np.abs(theory.risk / curves.mean - 1)) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "rule", "lr"),
    [
        (sl.noise.Gaussian(0.5), optax.chain(optax.clip(0.5), optax.scale_by_adam(0.9, 0.9)), 0.3),
        (sl.noise.Laplace(0.5), optax.scale_by_belief(0.8, 0.9, eps=0.5), 0.3),
    ],
    ids=["clipped adam", "belief with a large eps"],
)
def test_ode_of_scale_dependent_rules_without_a_formula_follows_their_simulations(noise, rule, lr):
    d = 512
    scales = np.random.default_rng(0).uniform(0.5, 2.0, d)
    problem = sl.LinearRegression(sl.covariance.ar1(d, 0.5).scaled(scales), noise)
    rule = sl.from_optax(rule)
    runs = sl.simulate(problem, rule, lr, 4.0, n_runs=64, seed=1)
    gap = np.abs(runs.mean / sl.solve_ode(problem, rule, lr, t=runs.t).risk - 1)
    assert np.max(gap[runs.t > 0.25]) < 0.03
