"""Transformations from optax: recognized, warned of, averaged over their period, or refused with the way out."""

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.limits.exact.long_memory_adam import LongMemoryLimit
from sdelimit.limits.sampled.adam_eps import AdamEpsLimit
from sdelimit.optimizers.recognized import advice, parts, uncorrected_start
from sdelimit.results.trust import theory_warnings

pytestmark = pytest.mark.long

D = 500
PROBLEM = sl.LinearRegression(sl.covariance.identity(D), sl.noise.Gaussian(0.1))


@pytest.fixture(scope="module")
def curve():
    """A curve whose fastest mode decays at the rate 1 / 2; warnings see of a rule what it says of itself."""
    return sl.solve_ode(PROBLEM, sl.sgd(), 0.5, 1.0)


def said(curve, rule):
    """What is said of a curve like ``curve`` of another rule."""
    return theory_warnings(dataclasses.replace(curve, optimizer=rule), curve.optimizer.limit(PROBLEM, 1))


@pytest.mark.parametrize(
    ("transform", "known"),
    [
        (optax.scale_by_lion(), sl.lion()),
        (optax.masked(optax.scale_by_lion(0.9, 0.98), True), sl.lion(0.9, 0.98)),
        (optax.inject_hyperparams(optax.scale_by_lion)(b1=0.9, b2=0.99), sl.lion()),
        (optax.chain(optax.trace(0.998), optax.scale_by_sign()), sl.signum(0.998)),
        (optax.scale_by_adam(), sl.adam(0.9, 0.999)),
        (optax.scale_by_rms(0.999, bias_correction=True), sl.rmsprop(0.999)),
    ],
    ids=["lion", "masked", "injected", "signum", "adam", "rmsprop"],
)
def test_a_named_rule_is_recognized_and_says_what_the_named_one_says(curve, transform, known):
    """At d = 500 a rule may average half a thousand gradients, and remember sizes for 62 steps, without a warning."""
    rule = sl.from_optax(transform, name=known.name)
    assert rule.transform is transform and rule.formula is None
    assert (rule.memory, rule.size_memory) == pytest.approx((known.memory, known.size_memory), rel=1e-5)
    for key in known.hyperparameters.keys() - {"eps", "memory"}:
        assert rule.hyperparameters[key] == pytest.approx(known.hyperparameters[key], rel=1e-6)
    assert said(curve, rule) == said(curve, known)
    assert bool(said(curve, rule)) == (max(rule.memory / 4, rule.size_memory) > D / 8)


@pytest.mark.parametrize(
    ("transform", "memory", "gain", "noise"),
    [
        (optax.trace(0.9), 10.0, 10.0, 100.0),
        (optax.apply_every(4), 2.5, 1.0, 1.0),
        (optax.scale_by_optimistic_gradient(), 1.0, 1.0, 1.0),
        pytest.param(optax.MultiSteps(optax.identity(), 4), 2.5, 0.25, 1 / 16, marks=pytest.mark.slow),
        pytest.param(optax.trace(0.99), 100.0, 100.0, 1e4, marks=pytest.mark.slow),
        pytest.param(optax.ema(0.999), 1000.0, 1.0, 1.0, marks=pytest.mark.slow),
    ],
    ids=["trace", "apply_every", "optimistic", "MultiSteps", "trace(.99)", "ema(.999)"],
)
def test_a_linear_rule_has_its_memory_and_its_mean_over_a_period(curve, transform, memory, gain, noise):
    rule = sl.from_optax(transform)
    assert rule.memory == pytest.approx(memory, rel=1e-6)
    ours, sgd = (sl.limit_coefficients(one, PROBLEM.noise) for one in (rule, sl.sgd()))
    assert ours.phi(0.3) == pytest.approx(gain * sgd.phi(0.3), rel=1e-6)
    assert ours.kappa(1.0, 0.3) == pytest.approx(noise * sgd.kappa(1.0, 0.3), rel=1e-6)
    assert any("averages about" in text for text in said(curve, rule)) == (memory > D / 2)


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 4])
def test_every_kth_step_of_a_rule_is_averaged_over_the_period(k):
    """sign(mean of k gradients) at every k-th step has 1/k of the drift and of the noise of a batch of k."""
    rule = sl.from_optax(optax.MultiSteps(optax.scale_by_sign(), k), relative_error=0.003)
    ours = sl.limit_coefficients(rule, sl.noise.NoNoise())
    batch = sl.limit_coefficients(sl.sign_sgd(), sl.noise.NoNoise(), batch_size=k)
    assert abs(ours.phi(0.5) - batch.phi(0.5) / k) < 4 * ours.phi_standard_error(0.5)
    assert abs(ours.kappa(1.0, 0.5) - 1 / k) < 4 * ours.kappa_standard_error(1.0, 0.5) + 1e-3


@pytest.mark.slow
def test_measured_memories_are_those_of_the_averages():
    for b1, b2 in ((0.9, 0.99), (0.5, 0.9)):
        rule = sl.from_optax(optax.scale_by_adam(b1, b2, eps_root=1e-12))
        assert rule.hyperparameters == {}
        assert rule.memory == pytest.approx(1 / (1 - b1), rel=0.1)
        assert rule.size_memory == pytest.approx(1 / (1 - b2), rel=0.1)
    sign = sl.from_optax(optax.chain(optax.trace(0.9, nesterov=True), optax.scale_by_sign()))
    assert 5 < sign.memory < 10


@pytest.mark.slow
def test_a_start_without_bias_correction_is_measured_and_warned_of(curve):
    """Steps g / sqrt(v) with v = (1 - b^k) times its later size exceed later ones by sum_k (1 - b^k)^(-1/2) - 1."""
    rule = sl.from_optax(optax.chain(optax.scale_by_rms(0.99, eps=1e-30), optax.scale(2.0)))
    expected = uncorrected_start(0.99)
    assert rule.start_up.drift == pytest.approx(expected.drift, rel=0.1)
    assert rule.start_up.noise == pytest.approx(expected.noise, rel=0.2)
    assert any("first steps of the rule" in text for text in said(curve, rule))


def test_a_recognized_rule_without_bias_correction_is_warned_of(curve):
    rule = sl.from_optax(optax.scale_by_rms(0.98))
    k = np.arange(1, 5000)
    assert rule.start_up.drift == pytest.approx(np.sum((1 - 0.98**k) ** -0.5 - 1), rel=1e-6)
    assert any("first steps of the rule" in text for text in said(curve, rule))
    assert not said(curve, sl.rmsprop(0.98))


SCHEDULES = {
    "cosine": optax.cosine_decay_schedule(1.0, 1000),
    "linear": optax.linear_schedule(1.0, 0.1, 10**5),
    "piecewise": optax.piecewise_constant_schedule(1.0, {50_000: 0.5}),
    "warm-up": optax.linear_schedule(0.0, 1.0, 300),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_inside_a_rule_is_refused_and_sent_to_lr(name):
    transform = optax.chain(optax.scale_by_sign(), optax.scale_by_schedule(SCHEDULES[name]))
    with pytest.raises(ValueError, match=r"change with the step count.*lr=.*Write sl.from_optax\(optax.scale_by_sign"):
        sl.from_optax(transform)


@pytest.mark.slow
def test_a_warm_up_hidden_in_the_start_of_a_long_memory_is_refused():
    """Shorter than Adam's own memory of 10,000 steps."""
    schedule = optax.scale_by_schedule(SCHEDULES["warm-up"])
    with pytest.raises(ValueError, match="change with the step count"):
        sl.from_optax(optax.chain(optax.scale_by_adam(), schedule))
    sl.from_optax(optax.scale_by_adam())  # its bias correction is no schedule


def test_a_full_optimizer_is_told_what_to_write():
    hint = advice(optax.adam(3e-3, b1=0.8))
    assert hint.startswith("Write sl.from_optax(optax.scale_by_adam(b1=0.8, b2=0.999, eps=1e-08")
    assert "its rate 0.003 is lr=0.003 * d here" in hint
    assert parts(optax.sgd(0.1, momentum=0.7)) == [("trace", {"decay": 0.7}), ("scale", {"step_size": -0.1})]
    assert "sl.clip_norm" in advice(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)))
    assert advice(optax.contrib.prodigy()) == ""


def test_steps_that_grow_faster_than_the_gradient_are_refused():
    with pytest.raises(ValueError, match=r"\|g\|\^3.*moments"):
        sl.from_optax(optax.stateless_with_tree_map(lambda g, p: g**3))


def test_names_only_propose():
    """A function called scale_by_adam that computes a sign is a sign."""

    def scale_by_adam():
        return optax.stateless(lambda g, p: jnp.sign(g))

    rules = sl.from_optax(scale_by_adam()), sl.sign_sgd()
    phi = [sl.limit_coefficients(rule, PROBLEM.noise).phi([0.1, 1.0]) for rule in rules]
    np.testing.assert_array_equal(*phi)


def test_an_eps_far_below_the_gradients_costs_and_means_nothing():
    ar1 = sl.LinearRegression(sl.covariance.ar1(D, 0.5), sl.noise.Gaussian(0.1))
    long = sl.adam(0.9, 0.999, eps=1e-8).limit(ar1, 1).without_memory
    assert isinstance(long, LongMemoryLimit) and long.rate == pytest.approx(D * 0.001)


@pytest.mark.parametrize(
    ("eps", "sigma", "noise", "batch_size", "counts"),
    [
        (0.99e-5, 1.0, sl.noise.Gaussian(0.1), 1, False),
        (1.01e-5, 1.0, sl.noise.Gaussian(0.1), 1, True),
        (0.51e-5, 1.0, sl.noise.Gaussian(0.1), 4, True),
        (0.2e-5, 0.1, sl.noise.Gaussian(0.1), 1, True),
        (1e-12, 0.0, sl.noise.Gaussian(0.1), 1, True),
        pytest.param(1e-8, 1.0, sl.noise.Cauchy(0.1), 1, False, marks=pytest.mark.slow),
        (1e-8, 1.0, sl.noise.NoNoise(), 1, False),
        (1e-6, 1.0, sl.noise.NoNoise(), 1, True),
    ],
)
def test_an_eps_counts_from_a_ten_thousandth_of_the_smallest_gradient_on(eps, sigma, noise, batch_size, counts):
    """1e-4 min_i sigma_i 0.1 / sqrt(b) here; without noise sqrt(2 R) at a millionth of the initial R."""
    variances = np.full(16, 1.0)
    variances[3] = sigma**2
    problem = sl.LinearRegression(variances, noise)
    assert isinstance(sl.adam(0.5, 0.999, eps=eps).limit(problem, batch_size), AdamEpsLimit) == counts


@pytest.mark.slow
def test_an_eps_that_the_problem_feels_is_measured():
    """scale_by_rms has sqrt(v + 1e-8): at gradients of 1e-4 its steps are 0.7 of those without eps."""
    rule = sl.from_optax(optax.scale_by_rms(0.5, bias_correction=True), relative_error=0.02)
    small = sl.LinearRegression(
        np.full(100, 1e-6), sl.noise.Gaussian(0.1), theta_star=np.zeros(100), theta0=np.ones(100)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sl.LimitWarning)
        lr = 3e2
        theory = sl.solve_ode(small, rule, lr, 2.0)
        plain = sl.solve_ode(small, sl.rmsprop(0.5), lr, 2.0)
        runs = sl.simulate(small, rule, lr, t=theory.t[::20], n_runs=64)
    gap = np.abs(theory.risk[::20] - runs.mean)
    assert np.all(gap < 4 * runs.standard_error + 0.04 * runs.mean)
    assert np.max(np.abs(plain.risk[::20] - runs.mean) / runs.mean) > 0.1
