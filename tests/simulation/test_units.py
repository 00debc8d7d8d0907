"""Runs in other units: features or labels multiplied by a power of two change nothing but units."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl

D = 16
K, TARGET = np.linspace(0.3, 2.0, D), np.random.default_rng(0).standard_normal(D) / 4
RULES = [
    sl.sign_sgd(), sl.signum(0.8), sl.lion(0.8, 0.9), sl.adam(0.8, 0.9), sl.adam(0.8, 0.9, bias_correction=False),
    sl.long_memory_adam(0.8, 0.9), sl.nadam(0.8, 0.9), sl.rmsprop(0.9), sl.s3(0.9, 3), sl.s3(0.9, 10), sl.s3(0.8, 2.5),
]  # fmt: skip
RATE = 0.3


def problem(features=1.0, labels=1.0):
    """y = <x, theta*> + eps with x in units of 1 / ``features`` and y in units of 1 / ``labels``."""
    noise = sl.noise.Gaussian(0.3 * labels)
    return sl.LinearRegression(features**2 * K, noise, theta_star=TARGET * labels / features)


def runs(rules, features=1.0, labels=1.0, lr=None, **settings):
    """Risks in units of the labels; steps of theta have the unit labels / features."""
    lr = RATE * labels / features if lr is None else lr
    several = sl.simulate(problem(features, labels), rules, lr, 4.0, n_runs=8, seed=1, **settings)
    return np.array([one.risk for one in several]) / labels**2


@pytest.fixture(scope="module")
def plain():
    return runs(RULES)


@pytest.mark.parametrize("k", [-60, 33, *(pytest.param(k, marks=pytest.mark.long) for k in (-33, 7, 60))])
def test_features_in_other_units_change_nothing_else(plain, k):
    assert (plain[:, :, -1].mean(axis=1) < 0.7 * plain[:, :, 0].mean(axis=1)).all()
    np.testing.assert_array_equal(runs(RULES, features=2.0**k), plain)


@pytest.mark.parametrize("k", [-45, pytest.param(45, marks=pytest.mark.long)])
def test_labels_in_other_units_change_nothing_else(plain, k):
    """The risk is 2^2k times as large; float32 holds it up to 1e30."""
    np.testing.assert_allclose(runs(RULES, labels=2.0**k), plain, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "size"), [(sl.s3(0.9, 10), 1e4), (sl.s3(0.9, 3), 1e-14), (sl.adam(), 1e20)])
def test_gradients_in_raw_units_move_the_risk_as_the_ode_says(rule, size):
    features = np.sqrt(size)
    p = problem(features, features)
    risk = sl.simulate(p, rule, 0.1, 4.0, n_runs=64, seed=1).risk
    curve = sl.solve_ode(p, rule, 0.1, 4.0, aligned=False)
    error = risk[:, -1].std() / 8
    assert abs(risk[:, -1].mean() - curve.risk[-1]) < 4 * error + 0.1 * curve.risk[-1]  # d is small
    assert curve.risk[-1] < 0.8 * p.initial_risk


def test_s3_keeps_going_when_gradients_fall_by_orders_of_magnitude():
    """Without noise and with steps that shrink as it does, the risk falls to 1e-12; tenth powers would be of 1e-60."""
    p = sl.LinearRegression(np.ones(D), theta_star=TARGET)
    risk = sl.simulate(p, sl.s3(0.9, 10), lambda t: 0.3 * jnp.exp(-0.06 * t), 250.0, n_runs=4).risk
    assert (risk[:, -1] < 1e-10 * risk[:, 0]).all()


@pytest.mark.long
@pytest.mark.parametrize("k", [-60, 60])
def test_s_adam_changes_with_the_length_of_its_probes_only(k):
    """A probe has the unit of theta."""
    one, other = (runs([sl.s_adam(0.8, 0.9, probe_scale=0.1 * 2.0**-unit)], features=2.0**unit) for unit in (0, k))
    np.testing.assert_allclose(one, other, rtol=1e-5)


SQUARES = optax.GradientTransformation(lambda theta: (), lambda g, state, theta=None: (g / (1e-3 + g**2), state))
SCALE_FREE = optax.chain(optax.scale_by_rms(0.9, eps=0.0), optax.scale(0.5))


@pytest.mark.long
def test_other_rules_run_or_are_refused_with_the_size_of_the_gradients():
    transforms = {"squares": SQUARES, "scale_free": SCALE_FREE}
    rules = {name: sl.Optimizer(name, t, lambda problem, batch_size: None) for name, t in transforms.items()}
    rules |= {"adam": sl.adam(0.9, 0.99, eps=1e-8), "clip_norm": sl.clip_norm(1.0), "sgd": sl.sgd()}
    for name in ("adam", "clip_norm", "squares"):
        with pytest.raises(
            ValueError, match=rf"problem must have gradients whose .* float32 under {name}, got .* 1e\+21:"
        ):
            runs([rules[name]], 2.0**35, 2.0**35)
    runs([rules[name] for name in ("adam", "clip_norm", "squares")], 2.0**20)
    others = [rules["scale_free"], rules["sgd"]]
    rates = {0: RATE, 40: RATE / 4.0**40, 60: 0.0}  # the last of which float32 does not have
    one, other, far = (runs(others, 2.0**k, lr=[RATE / 2.0**k, rate]) for k, rate in rates.items())
    np.testing.assert_array_equal(far[0], one[0])
    np.testing.assert_allclose(other[1], one[1], rtol=1e-5)


@pytest.mark.parametrize("rule", [sl.sign_sgd(), sl.adam(0.8, 0.9)])
def test_the_fused_kernel_does_so_too(rule):
    one, other = (runs([rule], features=2.0**k, path="fused", chunk_steps=16) for k in (0, 60))
    np.testing.assert_array_equal(one, other)
