"""Coefficients of single-index problems, by quadrature, against closed forms, tables of values and brute force."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import expit

import sdelimit as sl
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.noise_kernel import RHO
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.weights import Weights
from sdelimit.limits.single_index import coefficients
from sdelimit.limits.single_index.law import per_overlap
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.losses import Logistic, Phase, PoissonLoss, Probit, Residual
from sdelimit.problem.score_means import histogram, moments

NONE = sl.noise.NoNoise()
LOSSES = {"hard": Logistic(False), "soft": Logistic(True), "phase": Phase(), "probit": Probit()}
SIGN = SignedRule(Weights(1.0, 0.0, 0.0))


def adam(b1, b2):
    return RatioRule(Weights(0.0, 1 - b1, b1), Weights(0.0, 1 - b2, b2), 2)


def state(B11, B12, B22):
    """s, c and Var(u*) of overlaps theta' K theta, theta' K theta* and theta*' K theta*."""
    s = np.sqrt(B11 - 2 * B12 + B22)
    return s, (B12 - B22) / (s * np.sqrt(B22)), float(B22)


def phis(rule, loss, overlaps, batch_size=1, noise=NONE):
    """phi1, phi2 and the law of the gradient's length."""
    s, c, B22 = state(*overlaps)
    law = coefficients.law_at(histogram(loss, noise, B22, [s], [c], batch_size), 0)
    phi1, phi0 = per_overlap(coefficients.drift(rule, law)[None], np.array([s]), np.array([c]), np.sqrt(B22))
    return float(phi1[0]), float((phi0 - phi1)[0]), law


STATES = (1, 1, 4), (4, 3, 4)
REFERENCE = {
    ("sgd", 1): {
        "hard": [(0.2066, -0.1514, 0.2303), (0.1514, -0.1514, 0.2058)],
        "soft": [(0.2066, -0.1514, 0.0789), (0.1514, -0.1514, 0.0544)],
        "phase": [(-4, -8, 1008), (32, -24, 5376)],
        "probit": [(0.5236, -0.3151, 0.7322), (0.3825, -0.3624, 0.8252)],
    },
    (SIGN, 1): {
        "hard": [(0, -0.2416), (0, -0.2416)],
        "soft": [(0.3676, -0.3676), (0.4502, -0.4502)],
        "phase": [(-0.0285, -0.1269), (0.3020, -0.2800)],
        "probit": [(0, -0.2847), (0, -0.2847)],
    },
    (SIGN, 4): {
        "hard": [(0.5379, -0.4979), (0.4270, -0.5184)],
        "soft": [(1.0383, -0.8279), (0.9901, -0.9901)],
        "phase": [(-0.1105, -0.3588), (0.7357, -0.6436)],
        "probit": [(0.7518, -0.5838), (0.5297, -0.6212)],
    },
    (adam(0.9, 0.95), 1): {
        "hard": [(0.3920, -0.3080), (0.3074, -0.3216)],
        "soft": [(0.6898, -0.5184), (0.6181, -0.6181)],
        "phase": [(-0.0973, -0.2320), (0.4204, -0.3381)],
        "probit": [(0.5530, -0.3570), (0.3805, -0.3775)],
    },
    (SignedRule(Weights(0.0, 1.0, 0.9)), 1): {
        "hard": [(1.426, -1.104), (1.133, -1.177)],
        "soft": [(2.530, -1.893), (2.301, -2.301)],
        "phase": [(-0.431, -1.015), (1.807, -1.446)],
        "probit": [(2.050, -1.308), (1.473, -1.455)],
    },
}
"""phi1, phi2 (and E l^2) at ``STATES``, from other quadratures and Monte Carlo of theory: section 20's sources."""


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("rule", "batch_size"), REFERENCE, ids=["sgd", "sign", "sign-4", "adam", "signum"])
def test_coefficients_have_their_reference_values(rule, batch_size, name):
    """The references themselves are good to 1.5e-3 of the larger coefficient."""
    for overlaps, expected in zip(STATES, REFERENCE[rule, batch_size][name], strict=True):
        if rule == "sgd":
            s, c, B22 = state(*overlaps)
            h1, h0, square = (float(x[0]) for x in moments(LOSSES[name], NONE, B22, [s], [c]))
            np.testing.assert_allclose((h1, h0 - h1, square), expected, rtol=5e-4, atol=5e-5)
        else:
            found = phis(rule, LOSSES[name], overlaps, batch_size)[:2]
            np.testing.assert_allclose(found, expected, atol=1.5e-3 * np.abs(expected).max())


KERNELS = {
    "hard": [(0.4766, 0.9633), (0.4638, 0.9425)],
    "soft": [(0.4653, 0.9452), (0.4540, 0.9272)],
    "phase": [(0.3723, 0.7976), (0.3798, 0.8097)],
    "probit": [(0.4623, 0.9405), (0.4343, 0.8957)],
}
"""Adam(.9, .95)'s kappa(.5) and kappa(1)."""
SIGNUM_KERNELS = {"hard": (6.64, 7.08), "soft": (6.95, 7.28), "phase": (9.07, 8.98), "probit": (7.00, 7.91)}
"""Signum(.8)'s kappa(1), by Monte Carlo of 1e-3 to 2e-3."""


@pytest.mark.parametrize("name", LOSSES)
def test_kernels_have_their_reference_values(name):
    half, one = list(RHO).index(0.5), list(RHO).index(1.0)
    for overlaps, expected, signum in zip(STATES, KERNELS[name], SIGNUM_KERNELS[name], strict=True):
        law = phis(SIGN, LOSSES[name], overlaps)[2]
        np.testing.assert_allclose(coefficients.kernel(adam(0.9, 0.95), law)[[half, one]], expected, rtol=1.5e-3)
        signed = coefficients.kernel(SignedRule(Weights(0.0, 1.0, 0.8)), law)
        np.testing.assert_allclose(signed[one], signum, rtol=5e-3)


@pytest.mark.long
def test_the_sign_of_two_labels_is_that_of_brute_force():
    """2e7 pairs drawn: .2582 (1e-4)."""
    rng, (B11, B12, B22), b = np.random.default_rng(0), (4, 3, 4.0), 2
    rest, means = B11 - B12**2 / B22, []
    for _ in range(10):
        u_star, across = 2 * rng.standard_normal((10**6, b)), np.sqrt(rest) * rng.standard_normal((10**6, b))
        u = B12 / B22 * u_star + across
        y = np.where(rng.random(u.shape) < stats.norm.cdf(u_star), 1.0, -1.0)
        slope = -y * np.exp(stats.norm.logpdf(u) - stats.norm.logcdf(y * u))
        length = np.sqrt(np.sum(slope**2, axis=1))
        means.append(np.sqrt(2 / np.pi) * np.mean(np.sum(slope * across, axis=1) / length) / rest)
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    found = phis(SIGN, Probit(), (B11, B12, B22), b)[0]
    assert error < 0.002 * found
    assert abs(found - np.mean(means)) < 4 * error


@pytest.mark.long
def test_adam_on_batches_is_that_of_brute_force():
    """The drift and kappa(1) of Adam(.6, .8) on hard labels in batches of 2, from histories drawn at random.

    phi1 tau = E sum_j dF/dg_j l_j z_j = E[sum_j xi_j z_j F] along a history, and kappa(1) the variance of sums of F.
    """
    rng, (B11, B12, B22), b, chains, steps = np.random.default_rng(1), (1.0, 1.0, 4.0), 2, 4000, 600
    tau, b1, b2 = np.sqrt(B11 - B12**2 / B22), 0.6, 0.8
    m = v = np.zeros(chains)
    pulls, sums = [], np.zeros(chains)
    memory = np.zeros((40, chains))
    for step in range(steps + 100):
        u_star, z = 2 * rng.standard_normal((chains, b)), rng.standard_normal((chains, b))
        u = B12 / B22 * u_star + tau * z
        y = np.where(rng.random(u.shape) < expit(u_star), 1.0, -1.0)
        slope, xi = -y * expit(-y * u), rng.standard_normal((chains, b))
        g = np.mean(slope * xi, axis=1)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        F = m / np.sqrt(v)
        memory = np.vstack([np.sum(xi * z, axis=1), memory[:-1]])
        if step >= 100:
            pulls.append(np.mean(F * memory.sum(axis=0)))
            sums += F
    phi1, _, law = phis(adam(b1, b2), Logistic(False), (B11, B12, B22), b)
    blocks = np.reshape(pulls, (20, -1)).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(20)
    assert error < 0.02 * phi1 * tau
    assert abs(blocks.mean() - phi1 * tau) < 4 * error
    kappa = coefficients.kernel(adam(b1, b2), law)[-1]
    sampled = sums.var() / steps
    # The sum over a window leaves the memory's ends out, 1/steps of it.
    assert abs(sampled / kappa - 1) < 4 * np.sqrt(2 / chains) + 10 / steps


CLOSED = {"phase": Phase(), "poisson": PoissonLoss()}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("overlaps", [(0.25, 0.25, 1), (1, 0.75, 1), (0.5, -0.3, 0.4)])
def test_quadrature_agrees_with_closed_forms(name, overlaps):
    s, c, B22 = state(*overlaps)
    found = [float(x[0]) for x in moments(CLOSED[name], NONE, B22, [s], [c])]
    exact = evaluate_in_float64(lambda a, b: jnp.stack(CLOSED[name].moments(a, b, B22)), s**2, c * s * np.sqrt(B22))
    # Quadrature ends at 8.5 standard deviations, where exp(2 u) has some weight left.
    np.testing.assert_allclose(found, exact, rtol=5e-5, atol=1e-10)


HEAVY = sl.noise.StudentT(1.5, 0.3)


@pytest.mark.parametrize(("noise", "expected"), [
    (HEAVY, [(0.2108, 0.2147, 0.3405), (0.2510, 0.2079, 0.4079)]),
    (sl.noise.Cauchy(0.3), [(0.1992, 0.2166, 0.3218), (0.2359, 0.2104, 0.3831)]),
])  # fmt: skip
def test_huber_under_heavy_tails_has_its_reference_values(noise, expected):
    """h1, E l^2 and the sign's phi1 at s^2 = 3 and 2, with threshold .5."""
    for square, (h1, slope, sign) in zip((3.0, 2.0), expected, strict=True):
        s, loss = np.sqrt(square), Residual(0.5)
        found = moments(loss, noise, 1.0, [s], [0.0])
        np.testing.assert_allclose([found.h1[0], found.square[0]], [h1, slope], atol=6e-5)
        law = coefficients.law_at(histogram(loss, noise, 1.0, [s], [0.0]), 0)
        np.testing.assert_allclose(coefficients.drift(SIGN, law)[0] / s, sign, atol=1e-4)


def test_the_absolute_loss_jumps_and_has_its_density_for_a_drift():
    """h1 = 2 p_r(0) under Cauchy noise, r = s z - eps; arXiv formulas of signSGD have the same density."""
    noise, s = sl.noise.Cauchy(0.3), np.sqrt(3.0)
    density = float(noise.residual_density(s))
    assert moments(Residual(0.0), noise, 1.0, [s], [0.0]).h1[0] == pytest.approx(2 * density, rel=1e-5)


def table_errors(limit, rule, loss, B22, noise=NONE, batch_size=1):
    """The largest errors of a law's phi1 s + phi0 sd and psi, relative to their sums, at states drawn at random."""
    rng, sd = np.random.default_rng(0), np.sqrt(B22)
    s, c = np.exp(rng.uniform(np.log(0.01), np.log(2.5), 24)) * sd, rng.uniform(-0.999, 0.999, 24)
    source = limit.source.value
    exact = source.exact(s**2, c * s * sd)
    own = np.array([evaluate_in_float64(limit._scaled, a**2, b * a * sd, 0.0) for a, b in zip(s, c, strict=True)])
    scale = np.abs(exact[:, :2]).sum(axis=1, keepdims=True)
    if isinstance(rule, RatioRule):  # exact along curves only: kernels are interpolated between states
        rows = histogram(loss, noise, B22, s[:8], c[:8], batch_size)
        exact[:8, 2] = [coefficients.kernel(rule, coefficients.law_at(rows, i))[-1] for i in range(8)]
        exact[8:, 2] = own[8:, 2]
    return np.max(np.abs(own[:, :2] - exact[:, :2]) / scale), np.max(np.abs(own[:, 2] / exact[:, 2] - 1))


@pytest.mark.long
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("B22", [0.01, 1.0, 4.0])
def test_tables_of_sgd_and_signs_are_accurate_at_all_states(labels, B22):
    problem = sl.LogisticRegression(np.ones(4), labels=labels, theta_star=np.sqrt(B22 / 4) * np.ones(4))
    for rule in (sl.sgd(), sl.sign_sgd()):
        drift, noise = table_errors(rule.limit(problem, 1), None, problem.loss, B22)
        assert drift < 5e-4
        assert noise < 5e-4


@pytest.mark.long
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_tables_of_adam_are_accurate_at_all_states(labels):
    problem = sl.LogisticRegression(np.ones(4), labels=labels, theta_star=np.full(4, 0.5))
    drift, noise = table_errors(sl.adam(0.9, 0.95).limit(problem, 1), adam(0.9, 0.95), problem.loss, 1.0)
    assert drift < 1e-4
    assert noise < 3e-3


def gaussian_squares(noise):
    """Least squares through the general path, and as it is known."""
    K, target = sl.covariance.power_law(60, 0.7), np.random.default_rng(3).standard_normal(60) / np.sqrt(60)
    own = sl.SingleIndex(K, loss=lambda u, u_star, eps: (u - u_star - eps) ** 2 / 2, noise=noise, theta_star=target)
    return own, sl.LinearRegression(K, noise, theta_star=target)


@pytest.mark.long
@pytest.mark.parametrize("rule", [sl.sgd(), sl.sign_sgd()], ids=lambda rule: rule.name)
def test_least_squares_through_the_general_path_is_linear_regression(rule):
    own, linear = gaussian_squares(sl.noise.Gaussian(0.4))
    given = {"lr": 0.5, "t_max": 3.0, "rtol": 1e-9}
    general, known = sl.solve_ode(own, rule, **given), sl.solve_ode(linear, rule, aligned=False, **given)
    tolerance = 1e-8 if rule.name == "sgd" else 1e-4  # the sign's phi is tabulated
    np.testing.assert_allclose(general.risk, known.risk, rtol=tolerance)


@pytest.mark.long
def test_a_loss_given_as_a_function_is_the_built_in_one():
    K = sl.covariance.ar1(40, 0.5)
    built = sl.LogisticRegression(K, labels="soft")
    own = sl.SingleIndex(K, loss=lambda u, u_star, eps: jnp.logaddexp(0.0, u) - u / (1 + jnp.exp(-u_star)))
    for rule in (sl.sgd(), sl.sign_sgd()):
        curves = [sl.solve_ode(p, rule, lr=0.7, t_max=2.0, rtol=1e-9) for p in (built, own)]
        scale = 1e-6 if rule.name == "sgd" else 3e-4  # it is checked along the curve to that
        np.testing.assert_allclose(curves[1].risk, curves[0].risk, rtol=scale)


def two_equations(problem, lr, t, decay=0.0):
    """The overlaps of SGD on identity K, where they close: an integrator and a quadrature of their own."""
    B22 = problem.target_variance

    def slope(_, y):
        S2, X = y
        s = np.sqrt(max(S2, 1e-14))
        c = np.clip(X / (s * np.sqrt(B22)), -1 + 1e-9, 1 - 1e-9)
        h1, h0, square = (float(v[0]) for v in moments(problem.loss, problem.noise, B22, [s], [c]))
        return [
            -2 * lr * (h1 * S2 + h0 * X) - 2 * lr * decay * (S2 + X) + lr**2 * square,
            -lr * (h1 * X + h0 * B22) - lr * decay * (X + B22),
        ]

    return solve_ivp(slope, (0, t[-1]), problem.initial_overlaps, t_eval=t, rtol=1e-7, atol=1e-10 * B22).y


@pytest.mark.long
@pytest.mark.parametrize("start", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("B22", [1e-6, 1.0])
def test_curves_start_anywhere(B22, start):
    """theta0 = 0, theta* and -theta*, at scales where the loss is quadratic and where it is not."""
    target = np.full(16, np.sqrt(B22 / 16))
    problem = sl.LogisticRegression(np.ones(16), theta_star=target, theta0=start * target)
    t = np.linspace(0.0, 3.0, 7)
    curve = sl.solve_ode(problem, sl.sgd(), lr=0.5, t=t)
    S2, X = two_equations(problem, 0.5, t)
    expected = np.stack([S2 + 2 * X + B22, X + B22], axis=1)
    np.testing.assert_allclose(curve.overlaps[:, :2], expected, rtol=1e-4, atol=1e-4 * B22)
    assert np.all(np.isfinite(curve.risk))


@pytest.mark.long
@pytest.mark.parametrize("labels", [pytest.param("hard", marks=pytest.mark.slow), "soft"])
def test_tables_that_are_rough_are_mended_along_the_curve(labels):
    """Var(u*) = 1e4: logistic losses bend within 1% of sd(u*)."""
    B22 = 1e4
    target = np.full(16, np.sqrt(B22 / 16))
    problem = sl.LogisticRegression(np.ones(16), theta_star=target, labels=labels)
    t = np.linspace(0.0, 3.0, 7)
    curve = sl.solve_ode(problem, sl.sgd(), lr=20.0, t=t)
    S2, X = two_equations(problem, 20.0, t)
    np.testing.assert_allclose(curve.overlaps[:, 0], S2 + 2 * X + B22, rtol=3e-3)
    np.testing.assert_allclose(curve.overlaps[1:, 1], X[1:] + B22, rtol=3e-3)


@pytest.mark.long
def test_weight_decay_pulls_the_overlaps():
    problem = sl.LogisticRegression(np.ones(16), theta_star=np.full(16, 0.25))
    t = np.linspace(0.0, 4.0, 5)
    curve = sl.solve_ode(problem, sl.sgd().with_weight_decay(0.3), lr=0.5, t=t)
    S2, X = two_equations(problem, 0.5, t, decay=0.3)
    np.testing.assert_allclose(curve.overlaps[:, 1], X + 1.0, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curve.overlaps[:, 0], S2 + 2 * X + 1.0, rtol=1e-4, atol=1e-5)
    coupled = sl.solve_ode(problem, sl.sgd().with_weight_decay(0.3, coupled=True), lr=0.5, t=t)
    np.testing.assert_allclose(coupled.risk, curve.risk, rtol=1e-12)


@pytest.mark.long
def test_signs_of_hard_labels_run_away_in_the_wrong_direction():
    """theta drifts at constant speed along D^-1 K theta*: theory: section 20."""
    std = np.where(np.arange(60) % 2, 2.0, 0.5)
    problem = sl.LogisticRegression(std**2, theta_star=np.ones(60) / std)
    far = sl.solve_ode(problem, sl.sign_sgd(), lr=0.2, t=[0.0, 400.0, 800.0])
    direction = std**2 * problem.theta_star / std  # D^-1 K theta*
    K = std**2
    limit = (
        direction
        @ (K * problem.theta_star)
        / np.sqrt((direction @ (K * direction)) * (problem.theta_star @ (K * problem.theta_star)))
    )
    assert far.alignment[-1] == pytest.approx(limit, abs=2e-3)
    assert limit < 0.9
    norm = np.sqrt(far.overlaps[:, 0])
    assert norm[2] == pytest.approx(2 * norm[1], rel=0.02)
    assert np.isinf(sl.stationary_risk(problem, sl.sign_sgd(), 0.2))


@pytest.mark.long
def test_error_rate_and_risk_are_those_of_fresh_samples():
    problem = sl.LogisticRegression(np.ones(8), theta_star=np.full(8, 0.6), theta0=np.r_[np.ones(4), np.zeros(4)])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10**6, 8))
    u, u_star = x @ problem.theta0, x @ problem.theta_star
    y = np.where(rng.random(10**6) < expit(u_star), 1.0, -1.0)
    wrong = np.mean(np.sign(u) != y)
    curve = sl.solve_ode(problem, sl.sgd(), lr=0.1, t=[0.0, 0.1])
    assert abs(curve.error_rate[0] - wrong) < 4 * np.sqrt(wrong * (1 - wrong) / 10**6)
    excess = np.logaddexp(0, -y * u) - np.logaddexp(0, -y * u_star)
    assert abs(problem.initial_risk - excess.mean()) < 4 * excess.std() / 1e3
    assert excess.std() / 1e3 < 0.01 * problem.initial_risk


@pytest.mark.long
@pytest.mark.parametrize(("make", "overlaps", "expected"), [
    (sl.LogisticRegression, (1, 1, 4), 0.19262), (sl.LogisticRegression, (4, 3, 4), 0.15143),
    (sl.PhaseRetrieval, (1, 1, 4), 39), (sl.PhaseRetrieval, (4, 3, 4), 28),
    (sl.ProbitRegression, (1, 1, 4), 0.36023), (sl.ProbitRegression, (4, 3, 4), 0.34048),
    (sl.PoissonRegression, (0.25, 0.25, 1), 0.72097), (sl.PoissonRegression, (1, 0.75, 1), 0.41218),
])  # fmt: skip
def test_excess_risks_have_their_reference_values(make, overlaps, expected):
    B11, B12, B22 = overlaps
    target = np.array([np.sqrt(B22), 0.0])
    theta = np.array([B12 / np.sqrt(B22), np.sqrt(B11 - B12**2 / B22)])
    problem = make(np.ones(2), theta_star=target, theta0=theta)
    assert problem.initial_risk == pytest.approx(expected, rel=1e-4)
    assert problem.risk(target) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(("rule", "batch_size", "inflation"), [
    (sl.sign_sgd(), 4, 1.404), pytest.param(sl.sign_sgd(), 8, 1.157, marks=pytest.mark.slow),
    pytest.param(sl.signum(0.9), 1, 1.079, marks=pytest.mark.slow), (sl.adam(0.9, 0.95), 1, 1.101),
], ids=["b4", "b8", "signum", "adam"])  # fmt: skip
def test_scale_free_rules_settle_at_an_inflated_norm(rule, batch_size, inflation):
    from sdelimit.analysis.settled_overlaps import settled_overlaps

    problem = sl.LogisticRegression(np.ones(16), theta_star=np.full(16, 0.25))
    settled = settled_overlaps(problem, rule.limit(problem, batch_size), 1e-6)
    np.testing.assert_allclose(settled.X, inflation - 1, atol=1e-3)


@pytest.mark.long
def test_the_stationary_risk_is_where_the_curve_settles():
    problem = sl.LogisticRegression(np.ones(30), theta_star=np.full(30, 30**-0.5))
    for rule in (sl.sgd(), sl.sign_sgd()):
        batch_size = 1 if rule.name == "sgd" else 4
        end = sl.solve_ode(problem, rule, lr=0.3, t=[0.0, 400.0], batch_size=batch_size)
        assert sl.stationary_risk(problem, rule, 0.3, batch_size) == pytest.approx(end.risk[-1], rel=1e-3)


@pytest.mark.parametrize("rule", [
    sl.s_adam(), sl.clip_coordinate(1.0), sl.adam(0.9, 0.95, eps=0.5),
], ids=lambda rule: rule.name)  # fmt: skip
def test_rules_without_a_limit_there_are_refused_by_name(rule):
    problem = sl.LogisticRegression(np.ones(8))
    with pytest.raises(NoLimitError, match=f"optimizer must be .* on LogisticRegression, got {rule.name}"):
        sl.solve_ode(problem, rule, lr=0.1, t_max=1.0)


def test_rules_from_optax_that_are_named_ones_have_their_limits():
    problem = sl.LogisticRegression(np.ones(8))
    for transform, own in ((optax.identity(), sl.sgd()), (optax.scale_by_sign(), sl.sign_sgd())):
        found = sl.from_optax(transform).limit(problem, 1)
        assert found is own.limit(problem, 1)


@pytest.mark.long
def test_runs_take_any_rule():
    problem = sl.LogisticRegression(np.ones(8))
    rules = [sl.s3(0.9, 3), sl.clip_norm(1.0), sl.sgd(momentum=0.9), sl.adam(0.9, 0.95, eps=0.5)]
    for runs in sl.simulate(problem, rules, lr=0.1, t_max=1.0, n_runs=2):
        assert np.all(np.isfinite(runs.risk))


def absolute_residual(u, u_star, eps):
    return jnp.abs(u - u_star - eps)


def log_cosh(u, u_star, eps):
    """ln(2 cosh r) without overflow."""
    return jnp.logaddexp(u - u_star - eps, u_star + eps - u)


def noisy_phase(u, u_star, eps):
    return (u**2 - u_star**2 - eps) ** 2


def hinge(u, u_star, eps):
    return jnp.maximum(0.0, 1 - jnp.sign(u_star) * u)


@pytest.mark.parametrize("s", [1.0, 0.1, 0.01, 1e-3])
def test_own_losses_of_a_residual_see_label_noise_near_the_target(s):
    """h1 of |r| is twice the density of r at 0, and signs of an odd l are those of r, however small s is."""
    density, noise = stats.norm.pdf(0, scale=np.hypot(s, 0.5)), sl.noise.Gaussian(0.5)
    own = [sl.SingleIndex(np.ones(4), loss).loss for loss in (absolute_residual, log_cosh)]
    np.testing.assert_allclose(moments(own[0], noise, 1.0, [s], [0.0]).h1, 2 * density, rtol=1e-6)
    for loss in own:
        signs = histogram(loss, noise, 1.0, [s], [0.0]).signs[0, 0]
        np.testing.assert_allclose(signs / s, 2 * density, rtol=1e-6)


@pytest.mark.parametrize(("loss", "of_residual"), [(log_cosh, True), (noisy_phase, False), (hinge, False)])
def test_losses_of_a_residual_are_told_from_others(loss, of_residual):
    assert sl.SingleIndex(np.ones(4), loss).loss.of_residual == of_residual


@pytest.mark.long
def test_own_losses_whose_signs_label_noise_hides_are_refused():
    """Signs of 4 u (u^2 - u*^2 - eps) jump at one eps for each u; SGD needs no signs."""
    problem = sl.SingleIndex(np.ones(4), noisy_phase, noise=sl.noise.Gaussian(0.5), theta_star=np.full(4, 0.5))
    with pytest.raises(NoLimitError, match="loss must have a gradient in u that under this label noise"):
        sl.sign_sgd().limit(problem, 1)
    sl.sgd().limit(problem, 1)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_signs_of_a_flat_loss_stand_still_as_often_as_it_is_flat(batch_size):
    """The hinge loss moves theta where sign(u*) u < 1; the kernel of signs is that part of arcsin's."""
    loss, s, c = sl.SingleIndex(np.ones(4), hinge).loss, 1.0, 0.5
    law = coefficients.law_at(histogram(loss, NONE, 1.0, [s], [c], batch_size), 0)
    u_star, z = np.random.default_rng(0).standard_normal((2, 10**6))
    moves = np.mean(np.sign(u_star) * ((1 + c * s) * u_star + s * np.sqrt(1 - c**2) * z) < 1)
    expected = 1 - (1 - moves) ** batch_size
    np.testing.assert_allclose(coefficients.kernel(SIGN, law)[-1], expected, atol=4 * batch_size * 0.5e-3)


@pytest.mark.long
def test_a_risk_that_is_infinite_at_a_finite_time_diverges():
    """E l^2 of Poisson regression grows as exp(2 theta' K theta): no step before the end is short enough."""
    problem = sl.PoissonRegression(np.ones(16), theta_star=np.eye(16)[2])
    with pytest.warns(sl.DivergenceWarning, match="diverged at t ="):
        curve = sl.solve_ode(problem, sl.sgd(), lr=0.5, t_max=5.0, aligned=False)
    assert np.isinf(curve.risk[-1])
    assert curve.diverged_at < 5.0


def test_adam_of_long_memory_is_refused():
    with pytest.raises(NoLimitError, match="got adam with memory='long'"):
        sl.adam(0.9, 0.95, memory="long").limit(sl.LogisticRegression(np.ones(4)), 1)


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.5])
def test_coefficients_of_residuals_depend_on_s_alone(c):
    """Of Huber's loss, wherever theta is: h1 = P(|r| < threshold), h0 = 0, and the sign's phi1 twice a density."""
    noise, s, B22 = sl.noise.Gaussian(0.5), 1.3, 9.0
    sd = np.hypot(s, 0.5)
    h1, h0, _ = (part[0] for part in moments(Residual(0.5), noise, B22, [s], [c]))
    np.testing.assert_allclose([h1, h0], [2 * stats.norm.cdf(0.5 / sd) - 1, 0.0], rtol=1e-6, atol=1e-12)
    law = coefficients.law_at(histogram(Residual(0.5), noise, B22, [s], [c]), 0)
    found = per_overlap(coefficients.drift(SIGN, law)[None], np.array([s]), np.array([c]), np.sqrt(B22))
    expected = [2 * np.sqrt(2 / np.pi) * stats.norm.pdf(0, scale=sd), 0.0]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-6, atol=1e-12)
