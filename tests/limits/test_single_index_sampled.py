"""S3 on single-index problems: sampled coefficients against exact ones, brute force and runs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

import sdelimit as sl
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.weights import Weights
from sdelimit.limits.single_index import coefficients
from sdelimit.limits.single_index.sampled import sample, scaled_drifts
from sdelimit.problem.losses import Logistic
from sdelimit.problem.score_means import histogram

NONE = sl.noise.NoNoise()
HALF = list(RHO).index(0.5)


def law_of(s, c, B22, loss=Logistic(False)):  # noqa: B008
    return coefficients.law_at(histogram(loss, NONE, B22, [s], [c]), 0)


def s3(beta):
    nesterov = Weights(1 - beta, beta * (1 - beta), beta)
    return RatioRule(nesterov, nesterov, 3.0)


@pytest.mark.slow
def test_the_sampled_kernel_of_adam_is_the_exact_one():
    """Powers close to 2 are sampled like any other."""
    adam = RatioRule(Weights(0.0, 0.1, 0.9), Weights(0.0, 0.05, 0.95), 2)
    laws = [law_of(s, c, 4.0) for s, c in ((1.7, -0.87), (2.0, -0.3), (0.01, 0.3))]
    for law, found in zip(laws, sample(replace(adam, p=2.0000001), laws), strict=True):
        exact = coefficients.kernel(adam, law)
        assert found.error < 2e-3
        np.testing.assert_allclose(found.kappa[[HALF, -1]], exact[[HALF, -1]], rtol=5e-3)
        assert abs(found.ratio - 1) < 1e-5


@pytest.mark.slow
def test_the_drift_of_s3_is_that_of_brute_force():
    """E[F Q] = E[F sum_j xi_j Q_j] along histories of a recursion in NumPy, with Q_j of the samples themselves."""
    beta, s, c, chains, steps = 0.8, 1.7, -0.5, 8000, 400
    rng, tau = np.random.default_rng(1), s * np.sqrt(1 - c**2)
    m = v = np.zeros(chains)
    past = np.zeros((60, 2, chains))
    pulls, sums = [], np.zeros(chains)
    for step in range(steps + 60):
        u_star, z, xi = rng.standard_normal((3, chains))
        u = (1 + c * s) * u_star + tau * z
        y = np.where(rng.random(chains) < expit(u_star), 1.0, -1.0)
        g = -y * expit(-y * u) * xi
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * np.abs(g) ** 3
        F = (beta * m + (1 - beta) * g) / (beta * v + (1 - beta) * np.abs(g) ** 3) ** (1 / 3)
        past = np.concatenate([[np.stack([xi * z, xi * u_star])], past[:-1]])
        if step >= 60:
            pulls.append((F * past.sum(axis=0)).mean(axis=1))
            sums += F
    law = law_of(s, c, 1.0)
    (found,) = sample(s3(beta), [law])
    drift = scaled_drifts(s3(beta), [law], np.array([found.ratio]))[0]
    blocks = np.reshape(pulls, (20, -1, 2)).mean(axis=1)
    error = blocks.std(axis=0, ddof=1) / np.sqrt(20)
    assert np.all(error < 0.02 * np.abs(drift).max())
    assert np.all(np.abs(blocks.mean(axis=0) - drift) < 4 * error + 2 * found.error * np.abs(drift).max())
    # The sum over a window leaves the memory's ends out, about 10 / steps of it.
    assert abs(sums.var() / steps / found.kappa[-1] - 1) < 4 * np.sqrt(2 / chains) + 10 / steps


@pytest.mark.slow
def test_s3_without_memory_is_the_sign():
    problem = sl.LogisticRegression(np.ones(8), labels="soft")
    law, sign = sl.s3(0.0, 3).limit(problem, 1), sl.sign_sgd().limit(problem, 1)
    states = np.array([0.5, 2.0]), np.array([0.1, -0.4])
    np.testing.assert_allclose(law.source.value.exact(*states), sign.source.value.exact(*states), rtol=1e-6)


@pytest.mark.slow
def test_tables_agree_with_histories_drawn_at_other_states():
    law = sl.s3(0.8, 3).limit(sl.LogisticRegression(np.ones(8)), 1)
    source, rng = law.source.value, np.random.default_rng(1)
    s, c = np.exp(rng.uniform(np.log(0.03), np.log(2.5), 6)) * source.sd_target, rng.uniform(-1, 1, 6)
    ratio, kappa = source.sampled.at(s, c)
    direct = sample(source.rule, [law_of(*state, source.B22) for state in zip(s, c, strict=True)])
    np.testing.assert_allclose(ratio, [one.ratio for one in direct], rtol=0.01)
    np.testing.assert_allclose(kappa[-1], [one.kappa[-1] for one in direct], rtol=0.015)
    assert law.relative_error == source.sampled.error < 0.015


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_mean_of_runs_follows_the_curve(batch_size):
    problem, rule = sl.LogisticRegression(sl.covariance.ar1(1024, 0.6)), sl.s3(0.8, 3)
    runs = sl.simulate(problem, rule, lr=0.3, t=np.linspace(0.0, 4.0, 41), n_runs=64, batch_size=batch_size)
    curve = sl.solve_ode(problem, rule, lr=0.3, t=runs.t, batch_size=batch_size)
    gap, error = np.abs(runs.mean / curve.risk - 1)[1:], (runs.standard_error / curve.risk)[1:]
    print(f"s3 {batch_size}: {gap.max():.2%} (s.e. {error[gap.argmax()]:.2%})")
    assert np.all(gap < 0.01 + 3 * error)
    assert np.max(error) < 0.015
