"""The fused kernel, interpreted on CPU: the same runs as the plain path and as a NumPy loop; it lowers for CUDA."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import numpy_normals

import sdelimit as sl
from sdelimit.numerics import normals
from sdelimit.simulation.fused.kernel import advance
from sdelimit.simulation.fused.rules import fused_rule
from sdelimit.simulation.fused.samplers import fused_sampler

pytestmark = pytest.mark.long

RULES = [sl.sgd(), sl.sign_sgd(), sl.adam(0.8, 0.9)]
RATES = [[0.3, 0.1], 0.2, 0.3]
COVARIANCES = {
    "diagonal": sl.covariance.power_law(11, 0.5),
    "scaled ar1": sl.covariance.ar1(11, -0.6).scaled(np.linspace(0.5, 2, 11)),
}


def numpy_replay(problem, rule, lr, steps, run, noise):
    """One run as a loop over the same normals; AR(1) by its recursion, Adam by its formulas."""
    d, rho = problem.d, getattr(getattr(problem.covariance, "base", None), "rho", 0.0)
    key, delta, risks = normals.run_key(0, run), problem.delta0.copy(), []
    m, v, k = np.zeros(d), np.zeros(d), problem.covariance.to_dense()
    for step in range(steps):
        risks.append(delta @ k @ delta / 2)
        z = numpy_normals(key, step, 1, d)[0]
        x = np.zeros(d)
        for i in range(d):
            x[i] = rho * x[i - 1] + np.sqrt(1 - rho**2) * z[i] if i else z[0]
        x = x * problem.covariance.std
        own = jax.random.split(normals.step_key(key, np.uint32(step)))[1]
        gradient = (x @ delta - noise * float(jax.random.normal(own, (1,))[0])) * x
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        adam = m / (1 - 0.8 ** (step + 1)) / np.sqrt(v / (1 - 0.9 ** (step + 1)))
        delta = delta - lr / d * {"sgd": gradient, "sign_sgd": np.sign(gradient), "adam": adam}[rule.name]
    return np.array([*risks, delta @ k @ delta / 2])


@pytest.fixture(scope="module", params=[pytest.param("diagonal", marks=pytest.mark.slow), "scaled ar1"])
def fused(request):
    """Three rules, three runs, the risk at 9 times, in chunks of 9 steps."""
    problem = sl.LinearRegression(COVARIANCES[request.param], sl.noise.Gaussian(0.4))
    t = np.array([0, 1, 2, 5, 9, 10, 17, 21, 22]) / 11
    return problem, partial(sl.simulate, problem, RULES, RATES, t=t, n_runs=3, chunk_steps=9)


def test_fused_runs_are_the_plain_ones_and_those_of_a_numpy_loop(fused):
    problem, run = fused
    for plain, found, rule, lr in zip(run(path="plain"), run(path="fused"), RULES, (0.3, 0.2, 0.3), strict=True):
        assert found.details["path"] == "fused" and plain.details["path"] == "plain"
        np.testing.assert_allclose(found.risk, plain.risk, rtol=1e-4)
        own = found.risk.reshape(-1, 3, found.t.size)[0, 2]
        steps = np.rint(found.t * 11).astype(int)
        np.testing.assert_allclose(own, numpy_replay(problem, rule, lr, 22, 2, 0.4)[steps], rtol=1e-4)


def test_mean_and_spread_of_fused_runs_are_those_of_independent_plain_runs():
    """Other seeds, 512 runs each: mean and standard deviation within 4 standard errors, which are below 5%."""
    problem = sl.LinearRegression(sl.covariance.power_law(24, 0.5), sl.noise.Gaussian(0.4))
    runs = partial(sl.simulate, problem, sl.sign_sgd(), 0.3, t=[1.0], n_runs=512)
    plain, fused = runs(path="plain", seed=1).risk[:, -1], runs(path="fused", seed=2).risk[:, -1]
    error = np.hypot(plain.std(), fused.std()) / np.sqrt(512)
    assert 4 * error < 0.05 * plain.mean()
    assert abs(plain.mean() - fused.mean()) < 4 * error
    spread = [np.sqrt(((r - r.mean()) ** 2).var() / 512) / (2 * r.std()) for r in (plain, fused)]
    assert abs(plain.std() - fused.std()) < 4 * np.hypot(*spread)


def test_a_changed_adam_is_not_taken_for_adam():
    assert fused_rule(sl.adam(0.8, b2=0.9)) is not None
    assert fused_rule(dataclasses.replace(sl.adam(), transform=optax.scale_by_amsgrad())) is None
    assert fused_rule(sl.long_memory_adam(0.9, 0.99)) is None  # without eps, 0/0 where a block is filled up


def test_the_kernel_knows_a_rule_by_its_formula_and_not_by_its_name():
    for rule in RULES:
        renamed = dataclasses.replace(rule, name="another")
        assert fused_rule(renamed) == fused_rule(rule)
        assert dataclasses.replace(rule, transform=optax.trace(0.9)).formula is None
        assert fused_rule(sl.from_optax(optax.trace(0.9), name=rule.name)) is None
    assert fused_rule(sl.from_optax(optax.scale_by_adam(0.9, 0.99), name="adam")) is None


@pytest.mark.parametrize(("name", "d"), [("power_law", 20), ("power_law", 8192), ("ar1", 2048)])
def test_the_kernel_lowers_for_cuda(name, d):
    """To Triton's language, on this machine; compiling that needs a GPU."""
    sampler = fused_sampler(getattr(sl.covariance, name)(d, 0.5))
    for rule in RULES:
        fused = fused_rule(rule)
        run = jax.jit(partial(advance, fused, sampler.sample, sampler.several, "threefry", False))
        state = [jnp.zeros((64, 2, sampler.half))] * (2 + 2 * fused.n_state)
        lowered = run.trace(
            np.zeros(3, np.int32), np.zeros((64, 2), np.uint32), jnp.zeros((100, 64)), jnp.zeros((100, 2)),
            jnp.ones(1), jnp.zeros((max(1, len(fused.decays)), 100)), sampler.tables, state,
        ).lower(lowering_platforms=("cuda",))  # fmt: skip
        assert "triton" in lowered.as_text()


def test_auto_is_plain_on_cpu():
    problem = sl.LinearRegression(np.ones(4))
    assert sl.simulate(problem, sl.sgd(), 0.1, 1.0, n_runs=1).details["path"] == "plain"
