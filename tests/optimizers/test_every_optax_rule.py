"""Every transformation that optax offers is right, or warned of, or refused with the reason: none is silently wrong."""

import functools
import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import sdelimit as sl

pytestmark = pytest.mark.slow

COSINE = optax.cosine_decay_schedule(1.0, 1000)


def multiplied(transform, schedule):
    return optax.chain(transform, optax.scale_by_schedule(schedule))


def injected(factory, **settings):
    return optax.inject_hyperparams(factory)(**settings)


NAMED = {
    "identity": (optax.identity(), sl.sgd()),
    "scale(1)": (optax.scale(1.0), sl.sgd()),
    "chain of nothing": (optax.chain(optax.identity(), optax.identity()), sl.sgd()),
    "named_chain": (optax.named_chain(("one", optax.scale_by_sign()), ("two", optax.identity())), sl.sign_sgd()),
    "centralize": (optax.centralize(), sl.sgd()),
    "zero_nans": (optax.zero_nans(), sl.sgd()),
    "freeze(False)": (optax.freeze(False), sl.sgd()),
    "snapshot": (optax.snapshot("size", lambda u: jnp.sum(u**2)), sl.sgd()),
    "stateless": (optax.stateless(lambda g, p: g), sl.sgd()),
    "stateless_with_tree_map": (optax.stateless_with_tree_map(lambda g, p: jnp.sign(g)), sl.sign_sgd()),
    "scale_by_sign": (optax.scale_by_sign(), sl.sign_sgd()),
    "with_extra_args_support": (optax.with_extra_args_support(optax.scale_by_sign()), sl.sign_sgd()),
    "flatten": (optax.flatten(optax.scale_by_sign()), sl.sign_sgd()),
    "masked": (optax.masked(optax.scale_by_lion(), True), sl.lion()),
    "partition": (optax.partition({"all": optax.scale_by_lion()}, "all"), sl.lion()),
    "multi_transform": (optax.multi_transform({"all": optax.scale_by_sign()}, "all"), sl.sign_sgd()),
    "selective_transform": (optax.selective_transform(optax.scale_by_sign(), freeze_mask=False), sl.sign_sgd()),
    "apply_if_finite": (optax.apply_if_finite(optax.scale_by_sign(), 3), sl.sign_sgd()),
    "conditionally_transform": (
        optax.conditionally_transform(optax.scale_by_sign(), lambda step: step >= 0),
        sl.sign_sgd(),
    ),
    "conditionally_mask": (optax.conditionally_mask(optax.scale_by_sign(), lambda step: step >= 0), sl.sign_sgd()),
    "split_real_and_imaginary": (contrib.split_real_and_imaginary(optax.scale_by_sign()), sl.sign_sgd()),
    "MultiSteps(1)": (optax.MultiSteps(optax.scale_by_sign(), 1), sl.sign_sgd()),
    "apply_every(1)": (optax.apply_every(1), sl.sgd()),
    "scale_by_lion": (optax.scale_by_lion(0.8, 0.95), sl.lion(0.8, 0.95)),
    "scale_by_adam": (optax.scale_by_adam(), sl.adam(0.9, 0.999)),
    "scale_by_adam(.5, .9)": (optax.scale_by_adam(0.5, 0.9), sl.adam(0.5, 0.9)),
    "scale_by_adam(b2=.9999)": (optax.scale_by_adam(b2=0.9999), sl.adam(0.9, 0.9999)),
    "scale_by_adam(eps=.1)": (optax.scale_by_adam(0.9, 0.95, eps=0.1), sl.adam(0.9, 0.95, eps=0.1)),
    "scale_by_adam(nesterov)": (optax.scale_by_adam(0.9, 0.95, nesterov=True), sl.nadam(0.9, 0.95)),
    "inject_hyperparams": (injected(optax.scale_by_adam, b1=0.9, b2=0.99), sl.adam(0.9, 0.99)),
    "inject_stateful_hyperparams": (
        optax.inject_stateful_hyperparams(optax.scale_by_rms)(decay=0.9, bias_correction=True),
        sl.rmsprop(0.9),
    ),
    "scale_by_rms": (optax.scale_by_rms(0.9), sl.rmsprop(0.9)),
    "scale_by_rms(bias_correction)": (optax.scale_by_rms(0.9, bias_correction=True), sl.rmsprop(0.9)),
    "trace and sign": (optax.chain(optax.trace(0.9), optax.scale_by_sign()), sl.signum(0.9)),
    "ema and sign": (optax.chain(optax.ema(0.9), optax.scale_by_sign()), sl.signum(0.9)),
    "scale_by_galore": (contrib.scale_by_galore(), sl.adam(0.9, 0.999)),  # it leaves vectors alone
    "clip": (optax.clip(0.5), sl.clip_coordinate(0.5)),
    "add_decayed_weights": (optax.add_decayed_weights(1e-2), sl.sgd().with_weight_decay(1e-2)),
    "adam with weight decay": (
        optax.chain(optax.scale_by_adam(0.9, 0.95), optax.add_decayed_weights(0.1)),
        sl.adamw(0.9, 0.95, weight_decay=0.1),
    ),
    "L2 before momentum": (
        optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)),
        sl.sgd(momentum=0.9).with_weight_decay(0.1, coupled=True),
    ),
}
"""Transformations that are a named rule, and which."""

LINEAR = {
    "scale(2)": (optax.scale(2.0), 2.0, 4.0),
    "trace(.9)": (optax.trace(0.9), 10.0, 100.0),
    "trace(.9, nesterov)": (optax.trace(0.9, nesterov=True), 10.0, 100.0),
    "trace(.99)": (optax.trace(0.99), 100.0, 1e4),
    "ema(.9)": (optax.ema(0.9), 1.0, 1.0),
    "ema(.9, no debias)": (optax.ema(0.9, debias=False), 1.0, 1.0),
    "ema(.999)": (optax.ema(0.999), 1.0, 1.0),
    "measure_with_ema": (optax.measure_with_ema(lambda u: u, 0.9), 1.0, 1.0),
    "scale_by_optimistic_gradient": (optax.scale_by_optimistic_gradient(), 1.0, 1.0),
    "apply_every(4)": (optax.apply_every(4), 1.0, 1.0),
    "apply_every(70)": (optax.apply_every(70), 1.0, 1.0),
    "MultiSteps(identity, 4)": (optax.MultiSteps(optax.identity(), 4), 0.25, 1 / 16),
    "MultiSteps(trace, 3)": (optax.MultiSteps(optax.trace(0.5), 3), 2 / 3, 4 / 9),
    "scale and trace": (optax.chain(optax.scale(0.1), optax.trace(0.9)), 1.0, 1.0),
}
"""Transformations u = sum_j a_j g_-j, with the mean effect A of a gradient on all updates, and the mean of A^2."""

MEASURED = {
    "scale_by_adamax(.9, .9)": optax.scale_by_adamax(0.9, 0.9),
    "scale_by_adamax": optax.scale_by_adamax(),
    "scale_by_belief(.9, .95)": optax.scale_by_belief(0.9, 0.95),
    "scale_by_belief": optax.scale_by_belief(),
    "scale_by_stddev": optax.scale_by_stddev(),
    "scale_by_yogi(.9, .9)": optax.scale_by_yogi(0.9, 0.9, eps=1e-12, initial_accumulator_value=1e-12),
    "scale_by_adadelta": optax.scale_by_adadelta(),
    "scale_by_adan": optax.scale_by_adan(),
    "scale_by_adan(short)": optax.scale_by_adan(0.9, 0.9, 0.9),
    "scale_by_radam(short)": optax.scale_by_radam(0.9, 0.9),
    "scale_by_simplified_ademamix": contrib.scale_by_simplified_ademamix(),
    "scale_by_ademamix(short)": contrib.scale_by_ademamix(0.8, 0.9, b3=0.9),
    "scale_by_adam(eps_root)": optax.scale_by_adam(0.9, 0.9, eps_root=1e-3),
    "scale(2) and adam": optax.chain(optax.scale_by_adam(0.9, 0.95), optax.scale(2.0)),
    "MultiSteps(adam, 4)": optax.MultiSteps(optax.scale_by_adam(0.9, 0.9), 4),
    "MultiSteps(sign, 3)": optax.MultiSteps(optax.scale_by_sign(), 3),
    "trace of rms": optax.chain(optax.scale_by_rms(0.9, bias_correction=True), optax.trace(0.9)),
    "nesterov signum": optax.chain(optax.trace(0.9, nesterov=True), optax.scale_by_sign()),
    "clip and trace": optax.chain(optax.clip(0.3), optax.trace(0.5)),
}
"""Transformations with a measured limit: held to simulations, unless a warning says what is wrong."""

ASKS = "also asks for"
SIGNED = "point along the gradient.*give the rate as lr"
DECAY = "weight decay towards zero.*with_weight_decay"
PARAMETERS = "must not depend on the parameters"
ALONE = "each coordinate by itself"
COUNTS = "must not change with the step count.*lr="
FORGETS = "does forget, with a memory of about"
FAILS = "fails on it"
RATE = 1e-3
ADVERSARY = optax.chain(contrib.normalize(), optax.sgd(0.01))


def full(room, reason, *names):
    """Optimizers with sign and learning rate, all refused for one reason."""
    return {name: (functools.partial(getattr(room, name), RATE), reason) for name in names}


REFUSED = {
    **full(
        optax,
        SIGNED,
        "adabelief",
        "adadelta",
        "adagrad",
        "adam",
        "adamax",
        "adan",
        "amsgrad",
        "nadam",
        "optimistic_adam",
        "optimistic_adam_v2",
        "optimistic_gradient_descent",
        "radam",
        "rmsprop",
        "sgd",
        "sign_sgd",
        "sm3",
        "signum",
        "yogi",
    ),
    **full(optax, ALONE, "novograd", "noisy_sgd"),
    **full(optax, DECAY, "adamw", "lion", "nadamw", "adamaxw"),
    **full(optax, PARAMETERS, "fromage", "lamb", "lars"),
    **full(contrib, SIGNED, "ademamix", "adopt", "simplified_ademamix"),
    **full(contrib, PARAMETERS, "cocob", "dog", "dowg", "madgrad", "prodigy", "schedule_free_adamw"),
    "dadapt_adamw": (contrib.dadapt_adamw, ALONE),
    "acprop": (lambda: contrib.acprop(RATE), "finite variance"),
    "rprop": (lambda: optax.rprop(RATE), "finite variance"),
    "adafactor": (optax.adafactor, PARAMETERS),
    "adam(schedule)": (lambda: optax.adam(COSINE), SIGNED),
    "sgd(momentum)": (lambda: optax.sgd(0.1, momentum=0.9), "optax.trace.decay=0.9.*0.1 is lr=0.1"),
    "lbfgs": (optax.lbfgs, ASKS),
    "polyak_sgd": (optax.polyak_sgd, ASKS),
    "momo": (contrib.momo, ASKS),
    "momo_adam": (contrib.momo_adam, ASKS),
    "muon": (lambda: contrib.muon(RATE), SIGNED),
    "galore": (lambda: contrib.galore(RATE), SIGNED),
    "sophia": (lambda: contrib.sophia(RATE), ASKS),
    "dpsgd": (lambda: contrib.dpsgd(0.1, 1.0, 0.1, 0), "each sample of a batch"),
    "sam": (lambda: contrib.sam(optax.sgd(0.1), ADVERSARY), PARAMETERS),
    "mechanize": (lambda: contrib.mechanize(optax.sgd(0.1)), PARAMETERS),
    "schedule_free": (lambda: contrib.schedule_free(optax.sgd(1.0), 1.0), PARAMETERS),
    "schedule_free_sgd": (contrib.schedule_free_sgd, PARAMETERS),
    "lookahead": (lambda: optax.lookahead(optax.sgd(0.1), 5, 0.5), "lookahead"),
    "add_noise": (lambda: optax.add_noise(0.1, 0.5, 0), "draw random numbers"),
    "set_to_zero": (optax.set_to_zero, "zero updates"),
    "freeze(True)": (lambda: optax.freeze(True), "zero updates"),
    "monitor": (lambda: optax.monitor({"size": lambda u: jnp.sum(u**2)}), "state changes its structure"),
    "measure_with_ema": (lambda: optax.measure_with_ema(lambda u: jnp.sum(u**2), 0.9), "it measures"),
    "differentially_private_aggregate": (
        lambda: contrib.differentially_private_aggregate(1.0, 0.1, 0),
        "each sample of a batch",
    ),
    "reduce_on_plateau": (contrib.reduce_on_plateau, ASKS),
    "clip_by_global_norm": (lambda: optax.clip_by_global_norm(1.0), "write sl.clip_norm"),
    "clip_by_block_rms": (lambda: optax.clip_by_block_rms(1.0), ALONE),
    "adaptive_grad_clip": (lambda: optax.adaptive_grad_clip(0.1), PARAMETERS),
    "normalize": (contrib.normalize, ALONE),
    "normalize_by_update_norm": (optax.normalize_by_update_norm, ALONE),
    "keep_params_nonnegative": (optax.keep_params_nonnegative, PARAMETERS),
    "scale(-.001)": (lambda: optax.scale(-RATE), SIGNED),
    "scale_by_learning_rate": (lambda: optax.scale_by_learning_rate(RATE), SIGNED),
    "scale_by_schedule": (lambda: optax.scale_by_schedule(COSINE), COUNTS),
    "adam, cosine": (lambda: multiplied(optax.scale_by_adam(), COSINE), COUNTS),
    "sign, linear": (lambda: multiplied(optax.scale_by_sign(), optax.linear_schedule(1.0, 0.1, 10**5)), COUNTS),
    "sign, piecewise": (
        lambda: multiplied(optax.scale_by_sign(), optax.piecewise_constant_schedule(1.0, {50_000: 0.5})),
        COUNTS,
    ),
    "adam, warm-up": (lambda: multiplied(optax.scale_by_adam(), optax.linear_schedule(0.0, 1.0, 500)), COUNTS),
    "sgd, short warm-up": (lambda: multiplied(optax.identity(), optax.linear_schedule(0.0, 1.0, 20)), COUNTS),
    "injected schedule": (lambda: injected(optax.scale, step_size=COSINE), COUNTS),
    "conditionally_mask": (lambda: optax.conditionally_mask(optax.scale_by_sign(), lambda step: step < 999), COUNTS),
    "conditionally_transform": (
        lambda: optax.conditionally_transform(optax.scale_by_sign(), lambda step: step < 999),
        COUNTS,
    ),
    "scale_by_radam": (optax.scale_by_radam, COUNTS),
    "scale_by_ademamix": (contrib.scale_by_ademamix, FORGETS),
    "scale_by_adopt": (contrib.scale_by_adopt, FORGETS),
    "scale_by_adopt(short)": (lambda: contrib.scale_by_adopt(0.9, 0.9), COUNTS),  # its clipping grows
    "scale_by_adopt(no clipping)": (lambda: contrib.scale_by_adopt(0.9, 0.9, use_clipping=False), "finite variance"),
    "scale_by_yogi": (optax.scale_by_yogi, FORGETS),
    "scale_by_amsgrad": (optax.scale_by_amsgrad, "keeps a maximum"),
    "scale_by_rss": (optax.scale_by_rss, "accumulates all gradients"),
    "scale_by_sm3": (optax.scale_by_sm3, "accumulates all gradients"),
    "scale_by_novograd": (optax.scale_by_novograd, ALONE),
    "scale_by_factored_rms": (optax.scale_by_factored_rms, "must"),
    "scale_by_param_block_norm": (optax.scale_by_param_block_norm, PARAMETERS),
    "scale_by_param_block_rms": (optax.scale_by_param_block_rms, PARAMETERS),
    "scale_by_trust_ratio": (optax.scale_by_trust_ratio, PARAMETERS),
    "scale_by_distance_over_gradients": (optax.scale_by_distance_over_gradients, PARAMETERS),
    "scale_by_lbfgs": (optax.scale_by_lbfgs, "must"),
    "scale_by_polyak": (optax.scale_by_polyak, ASKS),
    "scale_by_backtracking_linesearch": (lambda: optax.scale_by_backtracking_linesearch(5), ASKS),
    "scale_by_zoom_linesearch": (lambda: optax.scale_by_zoom_linesearch(5), ASKS),
    "scale_by_rprop": (lambda: optax.scale_by_rprop(0.01), "finite variance"),
    "scale_by_acprop": (contrib.scale_by_acprop, "finite variance"),
    "scale_by_cocob": (contrib.scale_by_cocob, PARAMETERS),
    "scale_by_madgrad": (lambda: contrib.scale_by_madgrad(0.01), PARAMETERS),
    "scale_by_muon": (contrib.scale_by_muon, FAILS),
    "hutchinson_estimator_diag_hessian": (contrib.hutchinson_estimator_diag_hessian, ASKS),
    "cubic": (lambda: optax.stateless_with_tree_map(lambda g, p: g**3), "faster than the gradient"),
    "square": (lambda: optax.stateless(lambda g, p: g**2), "odd"),
}
"""Transformations without a limit, and the reason that they are given."""


def offered():
    """Names of what optax has that returns a transformation."""
    names = {"MultiSteps", "dog", "dowg", "monitor", "hutchinson_estimator_diag_hessian"}  # without an annotation
    for room in (optax, contrib):
        for name, function in inspect.getmembers(room, callable):
            try:
                returns = str(inspect.signature(function).return_annotation)
            except (TypeError, ValueError):
                continue
            if "GradientTransformation" in returns and not name.startswith("_"):
                names.add(name)
    return names


def test_the_tables_have_all_that_optax_offers():
    tables = (NAMED, LINEAR, MEASURED, REFUSED)
    covered = {re.match(r"\w+", key)[0] for table in tables for key in table}
    assert not offered() - covered
    assert sum(map(len, tables)) > 150


@pytest.fixture(autouse=True, scope="module")
def little_compiled_code():
    """Each rule that is measured leaves compiled code behind."""
    yield
    jax.clear_caches()


D = 400
DIAGONAL = sl.LinearRegression(np.random.default_rng(0).uniform(0.5, 2.0, D) ** 2, sl.noise.Gaussian(0.5))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_rule_has_its_own_limit(name):
    transform, known = NAMED[name]
    rule = sl.from_optax(transform)
    assert (rule.memory, rule.size_memory) == pytest.approx((known.memory, known.size_memory), rel=1e-5)
    assert rule.needs_variance == known.needs_variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sl.LimitWarning)
        ours, theirs = (sl.solve_ode(DIAGONAL, one, 0.3, 1.0).risk for one in (rule, known))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3 if "inject" in name else 1e-6)  # float32 numbers, sampled anew


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_rule_has_its_gain_and_its_noise(name):
    transform, gain, noise_gain = LINEAR[name]
    rule = sl.from_optax(transform)
    ours, sgd = (sl.limit_coefficients(one, sl.noise.Laplace(0.5), 2) for one in (rule, sl.sgd()))
    np.testing.assert_allclose(ours.phi(0.3), gain * sgd.phi(0.3), rtol=1e-6)
    np.testing.assert_allclose(ours.kappa(0.5, 0.3), noise_gain * sgd.kappa(0.5, 0.3), rtol=1e-6)


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_rule_follows_its_simulation_or_says_why_not(name):
    """The learning rate is such that the fastest mode moves at the rate 1."""
    jax.clear_caches()
    rule = sl.from_optax(MEASURED[name], relative_error=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sl.LimitWarning)
        speed = sl.solve_ode(DIAGONAL, rule, 1e-3, 0.01)
        lr = 1 / (speed.phi[0] * speed.decay.max())
        theory = sl.solve_ode(DIAGONAL, rule, lr, 3.0)
    runs = sl.simulate(DIAGONAL, rule, lr, t=theory.t[::5], n_runs=48)
    gap = np.abs(theory.risk[::5] - runs.mean)
    good = np.all(gap <= np.maximum(0.04 * runs.mean, 4 * runs.standard_error))
    print(name, "gap", np.max(gap / runs.mean), theory.warnings)
    assert good or theory.warnings


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_limit_is_refused_with_the_reason(name):
    make, reason = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        transform = make()
    with pytest.raises(ValueError, match=reason) as caught:
        sl.from_optax(transform)
    assert type(caught.value) is ValueError
