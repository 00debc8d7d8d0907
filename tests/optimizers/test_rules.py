"""The rules that are simulated: their definitions written as NumPy loops, and what follows from them."""

import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl

B1, B2 = 0.7, 0.9
STEPS, D = 6, 20
PROBLEM = sl.LinearRegression(np.linspace(0.5, 2.0, D))
GRADIENTS = np.random.default_rng(0).standard_normal((STEPS, D)) * np.geomspace(0.1, 10.0, D)


def averages(b, values):
    """b v + (1 - b) value, from zero."""
    v, found = 0.0, []
    for value in values:
        v = b * v + (1 - b) * value
        found.append(v)
    return np.array(found)


COUNT = np.arange(1, STEPS + 1)[:, None]
M, V = averages(B1, GRADIENTS), averages(B2, GRADIENTS**2)
ROOT = np.sqrt(V / (1 - B2**COUNT))
NADAM = B1 * M / (1 - B1 ** (COUNT + 1)) + (1 - B1) * GRADIENTS / (1 - B1**COUNT)
LENGTH = np.linalg.norm(GRADIENTS, axis=1, keepdims=True)
LION = np.sign(B1 * np.concatenate([np.zeros((1, D)), averages(B2, GRADIENTS)[:-1]]) + (1 - B1) * GRADIENTS)
RULES = [
    (sl.sgd(), GRADIENTS),
    (sl.sign_sgd(), np.sign(GRADIENTS)),
    (sl.adam(B1, B2), M / (1 - B1**COUNT) / ROOT),
    (sl.adam(B1, B2, eps=0.3), M / (1 - B1**COUNT) / (ROOT + 0.3)),
    (sl.long_memory_adam(B1, B2), M / (1 - B1**COUNT) / ROOT),
    (sl.nadam(B1, B2), NADAM / ROOT),
    (sl.rmsprop(B2), GRADIENTS / ROOT),
    (sl.signum(B1), np.sign(M)),
    (sl.lion(B1, B2), LION),
    (sl.clip_norm(3.0), GRADIENTS * np.minimum(1, 3.0 * np.sqrt(25.0) / LENGTH)),
    (
        sl.clip_norm(sl.schedules.linear(4.0, 0.5, 1.0)),
        GRADIENTS * np.minimum(1, (4.0 - 3.0 * (COUNT - 1) / D / 0.5) * 5 / LENGTH),
    ),
    (sl.clip_coordinate(0.4), np.clip(GRADIENTS, -0.4, 0.4)),
]


@pytest.mark.parametrize(("optimizer", "expected"), RULES, ids=lambda x: getattr(x, "name", ""))
def test_a_simulated_rule_is_its_definition(optimizer, expected):
    """sum_i K_ii = 25, so that clip_norm(C) clips at 5 C."""
    rule = optimizer.rule(PROBLEM, 1)
    state, found = rule.init(jnp.zeros(D)), []
    for g in GRADIENTS:
        u, state = rule.update(jnp.asarray(g, jnp.float32), state, jnp.zeros(D))
        found.append(u)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("optimizer", [sl.adam(), sl.nadam(), sl.rmsprop(), sl.s3(), sl.signum(), sl.lion()])
def test_zero_gradients_give_zero_steps_and_scale_does_not_matter(optimizer):
    rule, rng = optimizer.transform, np.random.default_rng(0)
    state = scaled_state = rule.init(jnp.zeros(5))
    for _ in range(4):
        g = jnp.asarray(rng.standard_normal(5), jnp.float32).at[0].set(0.0)
        u, state = rule.update(g, state)
        scaled, scaled_state = rule.update(1024 * g, scaled_state)
        assert u[0] == 0
        np.testing.assert_allclose(u, scaled, rtol=1e-5)


def test_s3_follows_its_definition_and_stays_in_the_unit_box():
    rule, rng, beta, p = sl.s3(0.7, 2.5).transform, np.random.default_rng(1), 0.7, 2.5
    state, m, v = rule.init(jnp.zeros(50)), 0.0, 0.0
    for _ in range(20):
        g = rng.standard_cauchy(50)
        u, state = rule.update(jnp.asarray(g, jnp.float32), state)
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * np.abs(g) ** p
        n, b = beta * m + (1 - beta) * g, beta * v + (1 - beta) * np.abs(g) ** p
        np.testing.assert_allclose(u, n / b ** (1 / p), rtol=1e-4, atol=1e-6)
        assert np.all(np.abs(u) <= 1 + 1e-6)
