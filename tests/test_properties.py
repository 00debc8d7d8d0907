"""What must hold for every problem, law and rule, on random ones.

Each property is tried on a few examples, always the same; on 1,000 new ones, and with those that take longest, by
``SDELIMIT_EXAMPLES=1000 pytest -m "" tests/test_properties.py``. All problems have the same dimension and number of
times, so that everything is compiled once.
"""

import os

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import sdelimit as sl

EXAMPLES = int(os.environ.get("SDELIMIT_EXAMPLES", "10"))
settings.register_profile(
    "sdelimit", max_examples=EXAMPLES, derandomize=EXAMPLES <= 20, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("sdelimit")

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::sdelimit.results.curves.DivergenceWarning"),
    pytest.mark.filterwarnings("ignore::sdelimit.results.curves.LimitWarning"),
]

D = 6
UNIT = np.linspace(0.0, 1.0, 5)
RULES = {"sgd": sl.sgd(), "sign_sgd": sl.sign_sgd()}
every_rule = pytest.mark.parametrize("name", RULES)
seeds = st.integers(0, 2**32 - 1)


def decades(low, high):
    """Numbers from 10^low to 10^high."""
    return st.floats(low, high).map(lambda x: float(10.0**x))


def vectors(elements):
    return st.lists(elements, min_size=D, max_size=D).map(np.array)


def rotation(seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]


@st.composite
def matrices(draw):
    """Positive definite K with condition numbers up to 1000, every other one diagonal."""
    values = draw(vectors(decades(-1.5, 1.5)))
    if draw(st.booleans()):
        return np.diag(values)
    u = rotation(draw(seeds))
    return (u * values) @ u.T


@st.composite
def problems(draw):
    """K, theta* - theta0 of any size, and Gaussian label noise."""
    target = draw(vectors(st.floats(-1, 1)).filter(lambda v: np.abs(v).max() > 1e-2)) * draw(decades(-1, 1))
    return sl.LinearRegression(draw(matrices()), sl.noise.Gaussian(draw(decades(-1, 1))), theta_star=target)


unimodal = st.one_of(
    decades(-2, 2).map(sl.noise.Gaussian),
    decades(-2, 2).map(sl.noise.Laplace),
    decades(-2, 2).map(sl.noise.Cauchy),
    decades(-2, 2).map(sl.noise.Uniform),
    st.builds(sl.noise.StudentT, st.sampled_from([0.7, 1.5, 2.0, 3.0, 8.0]), decades(-2, 2)),
)
laws = unimodal | st.builds(sl.noise.TwoPoint, decades(-2, 2)) | st.just(sl.noise.NoNoise())


def rates(problem, rule):
    """(A, B) of dR/dt = -A eta + B eta^2 / d at t = 0, from K itself (theory: section 1)."""
    K, delta = problem.covariance.to_dense(), problem.delta0
    sigma = np.sqrt(np.diag(K))
    P2 = 2 * problem.initial_risk + problem.noise.second_moment
    if rule.name == "sgd":
        return delta @ K @ K @ delta, P2 * np.trace(K @ K) / 2
    phi = 2 / np.pi / np.sqrt(P2)
    khat = np.clip(K / np.outer(sigma, sigma), -1, 1)
    np.fill_diagonal(khat, 1)
    return phi * delta @ K @ (K @ delta / sigma), np.sum(K * 2 / np.pi * np.arcsin(khat)) / 2


def fastest(problem, rule):
    """The largest decay rate at t = 0 for eta = 1."""
    K, sigma = problem.covariance.to_dense(), problem.covariance.std
    if rule.name == "sgd":
        return np.linalg.eigvalsh(K)[-1]
    phi = 2 / np.pi / np.sqrt(2 * problem.initial_risk + problem.noise.second_moment)
    return phi * np.linalg.eigvalsh(K / np.sqrt(np.outer(sigma, sigma)))[-1]


def safe_lr(problem, rule, share):
    """``share`` of the learning rate at which the risk stands still at first."""
    A, B = rates(problem, rule)
    return share * problem.d * A / B


def solve(problem, rule, lr, horizon):
    return sl.solve_ode(problem, rule, lr, t=horizon * UNIT, aligned=False)


def changed(problem, K=None, target=None, noise=None):
    target = -problem.delta0 if target is None else target
    return sl.LinearRegression(
        problem.covariance if K is None else K, problem.noise if noise is None else noise, theta_star=target
    )


# Risk curves


@every_rule
@given(problem=problems(), share=decades(-3, 1), length=decades(-1, 1))
def test_the_risk_is_positive_and_starts_as_the_equations_say(name, problem, share, length):
    rule = RULES[name]
    lr = safe_lr(problem, rule, share)
    curve = solve(problem, rule, lr, length / (lr * fastest(problem, rule)))
    assert curve.risk[0] == pytest.approx(problem.initial_risk, rel=1e-9)
    assert not np.isnan(curve.risk).any() and np.all(curve.risk >= 0)
    assert np.isfinite(curve.risk).all() == (curve.status == "ok")
    A, B = rates(problem, rule)
    assert curve.slope[0] == pytest.approx(-A * lr + B * lr**2 / D, rel=1e-6, abs=1e-6 * A * lr)


@every_rule
@given(problem=problems(), labels=decades(-2, 2), inputs=decades(-2, 2), share=decades(-2, 0))
def test_rescaling_coordinates_labels_and_noise_together_rescales_the_risk(name, problem, labels, inputs, share):
    """x -> s x and y -> a y: R -> a^2 R with eta / s^2 for SGD and eta a / s for signSGD."""
    rule = RULES[name]
    lr = safe_lr(problem, rule, share)
    horizon = 1 / (lr * fastest(problem, rule))
    noise = sl.noise.Gaussian(labels * problem.noise.std)
    other = changed(problem, problem.covariance.scaled(inputs), -problem.delta0 * labels / inputs, noise)
    other_lr = lr / inputs**2 if name == "sgd" else lr * labels / inputs
    expected = labels**2 * solve(problem, rule, lr, horizon).risk
    np.testing.assert_allclose(solve(other, rule, other_lr, horizon).risk, expected, rtol=1e-4)


@given(problem=problems(), seed=seeds, share=decades(-2, 0.3))
def test_rotating_k_changes_nothing_for_sgd(problem, seed, share):
    u, rule = rotation(seed), RULES["sgd"]
    lr = safe_lr(problem, rule, share)
    horizon = 1 / (lr * fastest(problem, rule))
    turned = changed(problem, u @ problem.covariance.to_dense() @ u.T, -u @ problem.delta0)
    np.testing.assert_allclose(solve(turned, rule, lr, horizon).risk, solve(problem, rule, lr, horizon).risk, rtol=1e-4)


@every_rule
@given(problem=problems(), order=st.permutations(range(D)), share=decades(-2, 0.3))
def test_permuting_coordinates_changes_nothing(name, problem, order, share):
    rule = RULES[name]
    lr = safe_lr(problem, rule, share)
    horizon = 1 / (lr * fastest(problem, rule))
    K = problem.covariance.to_dense()[np.ix_(order, order)]
    moved = changed(problem, K, -problem.delta0[list(order)])
    np.testing.assert_allclose(solve(moved, rule, lr, horizon).risk, solve(problem, rule, lr, horizon).risk, rtol=1e-4)


@every_rule
@given(problem=problems(), share=decades(-6, -3))
def test_the_risk_falls_monotonically_as_the_learning_rate_vanishes(name, problem, share):
    rule = RULES[name]
    lr = safe_lr(problem, rule, share)
    assert np.all(np.diff(solve(problem, rule, lr, 1 / (lr * fastest(problem, rule))).risk) < 0)


# Stationary risk


@every_rule
@given(problem=problems(), shares=st.tuples(st.floats(0.01, 0.4), st.floats(0.5, 0.9)))
def test_the_stationary_risk_balances_drift_and_noise_and_grows_with_the_learning_rate(name, problem, shares):
    """R phi(R) = eta psi(R) tr D^(2-p) / (4 d) (theory: section 4); relative to the edge 2 d / tr K of SGD."""
    rule, std = RULES[name], problem.covariance.std
    lrs = np.array(shares) * 2 * D / problem.covariance.trace
    R = sl.stationary_risk(problem, rule, lrs, aligned=False)
    P2 = 2 * R + problem.noise.second_moment
    phi, noise = (1.0, P2 * np.sum(std**2)) if name == "sgd" else (2 / np.pi / np.sqrt(P2), np.sum(std))
    np.testing.assert_allclose(R * phi, lrs * noise / (4 * D), rtol=1e-8)
    assert R[0] < R[1]


@pytest.mark.slow
@every_rule
@given(problem=problems(), share=st.floats(0.05, 0.5))
def test_the_risk_settles_where_and_as_fast_as_is_said(name, problem, share):
    rule = RULES[name]
    lr = share * 2 * D / problem.covariance.trace
    end, rate = sl.stationary_risk(problem, rule, lr, aligned=False), sl.convergence_rate(problem, rule, lr)
    far = np.log(1 + problem.initial_risk / end)
    if name == "sign_sgd":  # the decay is that much slower at first
        far *= np.sqrt(1 + 2 * problem.initial_risk / (2 * end + problem.noise.second_moment))
    assert solve(problem, rule, lr, (15 + 2 * far) / rate).risk[-1] == pytest.approx(end, rel=1e-3)


@given(problem=problems(), batch_size=st.integers(1, 5))
def test_sgd_is_stable_up_to_its_threshold(problem, batch_size):
    edge = sl.max_stable_lr(problem, RULES["sgd"], batch_size)
    assert edge == pytest.approx(2 * D * batch_size / problem.covariance.trace, rel=1e-12)
    assert np.isfinite(sl.stationary_risk(problem, RULES["sgd"], 0.99 * edge, batch_size, aligned=False))
    assert sl.stationary_risk(problem, RULES["sgd"], 1.01 * edge, batch_size, aligned=False) == np.inf


# Learning rates


@pytest.mark.slow
@every_rule
@given(problem=problems(), length=decades(-0.5, 1), factor=st.floats(0.3, 3))
def test_no_constant_learning_rate_beats_the_best_one(name, problem, length, factor):
    rule = RULES[name]
    t_max = length / (safe_lr(problem, rule, 0.5) * fastest(problem, rule))
    best = sl.best_constant_lr(problem, rule, t_max=t_max)
    assert best.risk <= problem.initial_risk
    assert best.risk == pytest.approx(solve(problem, rule, best.lr, t_max).risk[-1], rel=1e-4)
    assert solve(problem, rule, best.lr * factor, t_max).risk[-1] >= best.risk * (1 - 1e-4)


@pytest.mark.slow
@given(problem=problems(), share=decades(-3, -0.5))
def test_a_matched_schedule_gives_the_same_drift(problem, share):
    sgd, sign = RULES.values()
    lr = safe_lr(problem, sgd, share)
    t = UNIT / (lr * fastest(problem, sgd))
    try:
        matched = sl.match_schedule(problem, sgd, sign, lr, t[-1])
    except ValueError as error:  # its own noise can be too strong for it to follow
        assert "cannot follow" in str(error)
        assume(False)
    a, b = sl.solve_ode(problem, sgd, lr, t=t, aligned=False), sl.solve_ode(problem, sign, matched, t=t, aligned=False)
    np.testing.assert_allclose(b.lr * b.phi, a.lr * a.phi, rtol=1e-4)


@pytest.mark.slow
@given(problem=problems(), share=decades(-2, 0))
def test_an_optimized_schedule_is_no_worse_than_what_it_starts_from(problem, share):
    sgd = RULES["sgd"]
    lr = safe_lr(problem, sgd, share)
    t_max = 1 / (lr * fastest(problem, sgd))
    found = sl.optimize_schedule(problem, sgd, t_max, lr=lr, n_knots=4, iterations=3)
    start = solve(problem, sgd, lr, t_max).risk[-1]
    assert found.risk <= start * (1 + 1e-4)
    assert found.history[0] == pytest.approx(start, rel=1e-4) and np.all(np.diff(found.history) <= 1e-9 * start)


# Effects


@pytest.mark.slow
@given(problem=problems(), share=decades(-2, -0.3))
def test_the_four_effects_together_are_the_slope_of_sign_sgd(problem, share):
    sign, K, delta = RULES["sign_sgd"], problem.covariance.to_dense(), problem.delta0
    lr = safe_lr(problem, sign, share)
    e = sl.effects(problem, sign, lr, t=UNIT / (lr * fastest(problem, sign)))
    eta, chi, ratio = e.learning_rate.effective[0], e.noise_compression.chi[0], e.noise_reshaping.ratio[0]
    assert chi == pytest.approx(np.pi**2 / 4, rel=1e-9)
    drift = delta @ K @ (e.preconditioning.preconditioner * (K @ delta))
    noise = chi * (2 * problem.initial_risk + problem.noise.second_moment) * ratio * np.sum(K * K)
    A, B = rates(problem, sign)
    assert -eta * drift + eta**2 / (2 * D) * noise == pytest.approx(-A * lr + B * lr**2 / D, abs=1e-9 * A * lr)
    assert e.identity_error < 1e-9


# Coefficients


@given(noise=unimodal, R=decades(-6, 6), ratio=decades(0.01, 2), batch_size=st.sampled_from([1, 3]))
def test_phi_falls_with_the_risk_for_unimodal_symmetric_noise(noise, R, ratio, batch_size):
    phi = sl.limit_coefficients(RULES["sign_sgd"], noise, batch_size).phi(np.array([R, R * ratio]))
    assert np.all(np.isfinite(phi)) and phi[0] >= phi[1] * (1 - 1e-7) and phi[1] > 0


@given(noise=laws, R=decades(-4, 4), scale=decades(-2, 2))
def test_phi_of_sign_is_a_density_of_the_residual(noise, R, scale):
    """phi = 2 sqrt(2/pi) p_l(0), at most that without noise; with noise a times as large phi(a^2 R) = phi(R) / a."""
    phi = sl.limit_coefficients(RULES["sign_sgd"], noise).phi(R)
    assert phi == pytest.approx(2 * np.sqrt(2 / np.pi) * noise.residual_density(np.sqrt(2 * R)), rel=1e-6)
    assert 0 <= phi <= 2 / np.pi / np.sqrt(2 * R) * (1 + 1e-9)
    larger = rescaled(noise, scale)
    np.testing.assert_allclose(
        sl.limit_coefficients(RULES["sign_sgd"], larger).phi(scale**2 * R), phi / scale, rtol=1e-6, atol=1e-300
    )


def rescaled(noise, a):
    if isinstance(noise, sl.noise.NoNoise):
        return noise
    if isinstance(noise, sl.noise.StudentT):
        return sl.noise.StudentT(noise.df, a * noise.scale)
    (size,) = (getattr(noise, n) for n in ("std", "scale", "half_width", "magnitude") if hasattr(noise, n))
    return type(noise)(a * size)


CLIPPING = pytest.param(sl.clip_norm(1.0), marks=pytest.mark.slow)


@pytest.mark.parametrize("rule", [sl.sgd(), sl.sign_sgd(), CLIPPING], ids=lambda rule: rule.name)
@given(std=decades(-2, 2), R=decades(-4, 4), rho=st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(np.sort))
def test_kappa_is_odd_increasing_and_within_its_bounds(rule, std, R, rho):
    coefficients = sl.limit_coefficients(rule, sl.noise.Gaussian(std))
    kappa, top = coefficients.kappa(rho, R), coefficients.kappa(1.0, R)
    np.testing.assert_allclose(coefficients.kappa(-rho, R), -kappa, rtol=1e-12)
    assert np.all(np.diff(kappa) >= -1e-12 * top) and np.all(np.abs(kappa) <= top * (1 + 1e-12))
    assert top <= {"sgd": 2 * R + std**2, "sign_sgd": 1.0, "clip_norm": min(1.0, 2 * R + std**2)}[rule.name] * (
        1 + 1e-9
    )


@given(problem=problems(), R=decades(-3, 3))
def test_directional_sharpness_lies_between_the_smallest_and_the_largest_curvature(problem, R):
    low, high = np.linalg.eigvalsh(problem.covariance.to_dense())[[0, -1]]
    for rule in RULES.values():
        assert low * (1 - 1e-9) <= sl.directional_sharpness(problem, rule, R) <= high * (1 + 1e-9)


# Covariances, laws, schedules


@st.composite
def structured(draw):
    """Every kind of covariance."""
    d, c = D, sl.covariance
    return draw(
        st.one_of(
            st.just(c.identity(d)),
            st.builds(lambda v: c.diagonal(v), vectors(decades(-1, 1))),
            st.builds(lambda a, s: c.power_law(d, a, rotate=True, seed=s), st.floats(-2, 2), seeds),
            st.builds(lambda rho: c.ar1(d, rho), st.floats(-0.99, 0.99)),
            st.builds(lambda a, s: c.spiked(d, [a], seed=s), st.floats(-0.9, 10), seeds),
            st.builds(lambda rho, v: c.block(c.ar1(d - 2, rho), [v, 1.0]), st.floats(-0.9, 0.9), decades(-1, 1)),
            matrices().map(c.dense),
        )
    )


@given(covariance=structured(), s=vectors(decades(-1, 1)), v=vectors(st.floats(-5, 5)))
def test_a_covariance_and_its_rescaling_are_positive_and_apply_as_their_matrices_do(covariance, s, v):
    for K, dense in (
        (covariance, covariance.to_dense()),
        (covariance.scaled(s), s[:, None] * covariance.to_dense() * s[None, :]),
    ):
        size = np.abs(dense).max()
        np.testing.assert_allclose(K.to_dense(), dense, atol=1e-12 * size)
        np.testing.assert_allclose(K.apply(jnp.asarray(v, jnp.float32)), dense @ v, rtol=1e-4, atol=1e-4 * size)
        assert np.linalg.eigvalsh(dense)[0] > -1e-12 * size
        assert K.trace == pytest.approx(np.trace(dense), rel=1e-12)
        khat = K.correlation()
        assert np.all(np.diag(khat) == 1) and np.all(np.abs(khat) <= 1)


@given(noise=laws, a=decades(-6, 6), ratio=decades(0.01, 3))
def test_the_gaussian_factor_is_a_falling_mean_of_at_most_one_that_the_quadrature_reproduces(noise, a, ratio):
    factor = np.array([float(noise.gaussian_factor(jnp.float32(x))) for x in (a, a * ratio)])
    assert np.all(factor >= 0) and np.all(factor <= 1 + 1e-5) and factor[1] <= factor[0] * (1 + 1e-5)
    nodes, weights = noise.quadrature()
    assert weights.sum() == pytest.approx(1, rel=1e-9) and np.all(weights >= 0)
    assert np.sum(weights * np.exp(-a * nodes**2)) == pytest.approx(factor[0], rel=5e-3, abs=1e-5)


@given(start=decades(-3, 1), share=st.floats(0, 1), t_max=decades(-1, 2), t=decades(-3, 3), later=decades(0, 2))
def test_schedules_stay_between_their_ends_and_fall(start, share, t_max, t, later):
    s, end, slack = sl.schedules, share * start, 1e-5 * start
    for schedule, low in (
        (s.cosine(start, t_max, end), end),
        (s.linear(start, t_max, end), end),
        (s.inverse_sqrt(start, t_max), 0.0),
    ):
        first, second = (float(schedule(jnp.float32(x))) for x in (t, t * later))
        assert low - slack <= second <= first + slack <= start + 2 * slack
        assert 0 <= float(s.warmup(schedule, t_max)(jnp.float32(t))) <= first + slack
    through = s.log_linear([0.0, t_max], [start, end + 1e-3])
    assert float(through(jnp.float32(t))) == pytest.approx(
        start * ((end + 1e-3) / start) ** min(t / t_max, 1), rel=1e-3
    )


# Simulated runs


@given(labels=st.integers(-8, 8), inputs=st.integers(-8, 8), share=decades(-1, 0), values=vectors(decades(-1, 1)))
def test_rescaled_runs_are_the_same_runs(labels, inputs, share, values):
    """By powers of two, so that float32 rounds alike."""
    a, s = 2.0**labels, 2.0**inputs
    lr = np.float32(share * D / values.sum())
    rules = [RULES["sgd"], RULES["sign_sgd"]]
    target = np.ones(D, np.float32)
    runs = [
        sl.simulate(problem, rules, each, 2.0, n_runs=2, seed=1, t=2 * UNIT)
        for problem, each in (
            (sl.LinearRegression(values, sl.noise.Gaussian(0.5), theta_star=target), [float(lr), float(lr)]),
            (
                sl.LinearRegression(values * s**2, sl.noise.Gaussian(0.5 * a), theta_star=target * a / s),
                [float(lr / s**2), float(lr * a / s)],
            ),
        )
    ]
    for one, other in zip(*runs, strict=True):
        assert not np.isnan(one.risk).any() and np.all(one.risk >= 0)
        np.testing.assert_allclose(other.risk, a**2 * one.risk, rtol=1e-5)


@pytest.mark.slow
@every_rule
@given(labels=st.integers(-8, 8), inputs=st.integers(-8, 8), share=decades(-1, 0), values=vectors(decades(-1, 1)))
def test_rescaled_paths_are_the_same_paths_however_many_there_are(name, labels, inputs, share, values):
    a, s, lr = 2.0**labels, 2.0**inputs, share * D / values.sum()
    other_lr = lr / s**2 if name == "sgd" else lr * a / s
    one, other = (
        sl.solve_sde(
            sl.LinearRegression(values * k**2, sl.noise.Gaussian(0.5 * m), theta_star=np.ones(D) * m / k),
            RULES[name], each, t=2 * UNIT, n_paths=n, seed=1,
        ).risk
        for m, k, each, n in ((1.0, 1.0, lr, 3), (a, s, other_lr, 2))
    )  # fmt: skip
    assert np.all(one >= 0)
    np.testing.assert_allclose(other, a**2 * one[:2], rtol=1e-4)


@pytest.mark.slow
@given(rows=st.lists(vectors(st.floats(-3, 3)), min_size=12, max_size=12), order=st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter_to_their_problem(rows, order):
    table = np.array(rows) + np.eye(12, D)
    X, y, order = table[:, 1:], table[:, 0], list(order)
    as_is = {"center": False, "scale": False}
    one, other = sl.data.from_arrays(X, y, **as_is), sl.data.from_arrays(X[order], y[order], **as_is)
    np.testing.assert_allclose(other.covariance.to_dense(), X.T @ X / 12, atol=1e-12)
    np.testing.assert_allclose(other.theta_star, one.theta_star, rtol=1e-5, atol=1e-7)
    assert other.initial_risk == pytest.approx(one.initial_risk, rel=1e-5, abs=1e-9)


@given(risk=st.lists(st.floats(0, 1e30), min_size=8, max_size=8), q=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_quantiles_of_runs_are_ordered_and_inside(risk, q):
    values = np.array(risk).reshape(4, 2)
    problem = sl.LinearRegression(np.ones(D))
    runs = sl.RiskCurves(UNIT[:2], values, np.ones(2), np.full(4, np.inf), "ok", "simulation", problem, sl.sgd())
    low, high = runs.quantile(sorted(q))
    slack = 1e-9 * values.max(axis=0)
    assert np.all(values.min(axis=0) - slack <= low) and np.all(low <= high + slack)
    assert np.all(high <= values.max(axis=0) + slack)


# Bad input


not_a_number = st.one_of(
    st.none(), st.text(max_size=3), st.binary(max_size=2), st.booleans(), st.complex_numbers(), st.dates(),
    st.lists(st.text(max_size=2), max_size=2), st.dictionaries(st.text(max_size=1), st.integers(), max_size=1),
    st.sets(st.integers(), max_size=2), st.just(object()), st.just(np.ones((2, 3))), st.just(np.array("x")),
)  # fmt: skip
not_finite = st.sampled_from([np.nan, np.inf, -np.inf, 10**400, np.float32("nan")])
negative = st.floats(max_value=-1e-300, allow_infinity=False)
not_positive = st.one_of(not_a_number, not_finite, negative, st.just(0.0))
not_in_unit = st.one_of(not_a_number, not_finite, negative, st.floats(1.0, allow_infinity=False))
fractions = st.floats(0.1, 1e6).filter(lambda x: not x.is_integer())
not_a_count = st.one_of(not_a_number, not_finite, fractions, st.integers(max_value=0), st.integers(2**31))
not_a_seed = st.one_of(not_a_number, not_finite, fractions, st.integers(max_value=-1), st.integers(2**32))
not_a_flag = st.one_of(not_a_number.filter(lambda v: not isinstance(v, bool)), st.integers(), st.floats())
ragged = st.sampled_from([[[1.0], [1.0, 2.0]], [1.0, "x"], np.ones((2, 2, 2, 2)), [], [np.nan] * D])
not_an_array = not_a_number.filter(lambda v: not isinstance(v, np.ndarray) or v.dtype.kind == "U") | ragged | not_finite
P = sl.LinearRegression(np.ones(D), sl.noise.Gaussian(0.3))
GIVEN = (P, sl.sign_sgd(), 0.1, 1.0)
OBJECTS = {"problem": 0, "optimizer": 1, "lr": 2, "t_max": 3}
X = np.random.default_rng(0).standard_normal((20, 2))
SOLVERS = (sl.solve_ode, sl.solve_sde, sl.simulate)
rates_that_are_none = not_a_number.filter(lambda v: not (isinstance(v, np.ndarray) and v.ndim)) | not_finite | negative
CATALOGUE = [
    *((f, GIVEN[:0], dict(zip(OBJECTS, GIVEN, strict=True)), name, bad)
      for f in SOLVERS
      for name, bad in (
          ("problem", not_a_number), ("optimizer", not_a_number), ("lr", rates_that_are_none),
          ("t_max", not_positive.filter(lambda v: v is not None)), ("batch_size", not_a_count),
          ("t", not_an_array.filter(lambda v: v is not None)),
      )),
    *((f, (2,), {}, "seed", not_a_seed) for f in (lambda d, seed: sl.LinearRegression(np.ones(d), seed=seed),)),
    *((f, GIVEN, {}, "seed", not_a_seed) for f in (sl.solve_sde, sl.simulate)),
    *((f, GIVEN, {}, "progress", not_a_flag.filter(lambda v: v is not None)) for f in (sl.solve_sde, sl.simulate)),
    (sl.simulate, GIVEN, {}, "n_runs", not_a_count),
    (sl.simulate, GIVEN, {}, "sharpness", not_a_flag),
    (sl.solve_sde, GIVEN, {}, "n_paths", not_a_count),
    (sl.solve_ode, GIVEN, {}, "rtol", not_positive),
    *((getattr(sl.noise, law), (), {}, name, not_positive)
      for law, name in (("Gaussian", "std"), ("Cauchy", "scale"), ("Laplace", "scale"), ("Uniform", "half_width"),
                        ("TwoPoint", "magnitude"))),
    *((sl.noise.StudentT, (), {"df": 2.0, "scale": 1.0}, name, not_positive) for name in ("df", "scale")),
    (sl.noise.Empirical, (), {}, "samples", not_an_array),
    (sl.LinearRegression, (), {}, "covariance", not_an_array),
    (sl.LinearRegression, (np.ones(D),), {}, "theta0", not_an_array.filter(lambda v: v is not None)),
    *((f, (), {}, "d", not_a_count) for f in (sl.covariance.identity,)),
    (sl.covariance.ar1, (3,), {}, "rho", st.one_of(not_a_number, not_finite, st.floats(1.0, 1e9))),
    (sl.covariance.from_data, (X,), {}, "center", not_a_flag),
    (sl.data.from_arrays, (X,), {}, "y", not_an_array),
    *((f, (), {}, name, not_in_unit) for f, name in ((sl.signum, "beta"), (sl.rmsprop, "b2"), (sl.s3, "beta"),
                                                     (sl.adam, "b1"), (sl.nadam, "b1"), (sl.lion, "b1"))),
    *((f, (), {}, "threshold", not_positive) for f in (sl.clip_norm, sl.clip_coordinate)),
    *((f, GIVEN[:2], {}, "lr", st.one_of(not_a_number.filter(lambda v: not isinstance(v, np.ndarray)), not_positive
                                         .filter(lambda v: not isinstance(v, np.ndarray))))
      for f in (sl.stationary_risk, sl.convergence_rate)),
    *((f, GIVEN[:2], {}, "t_max", not_positive) for f in (sl.optimize_schedule,)),
    (sl.schedules.cosine, (1.0,), {}, "t_max", not_positive),
    (sl.schedules.constant, (), {}, "value", st.one_of(not_a_number, not_finite, negative)),
]  # fmt: skip


@given(data=st.data(), which=st.integers(0, len(CATALOGUE) - 1))
def test_random_bad_input_gets_our_own_error_that_names_the_argument(data, which):
    function, arguments, options, name, bad = CATALOGUE[which]
    value = data.draw(bad)
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        function(*arguments, **{**options, name: value})
    assert type(caught.value) in (ValueError, TypeError)  # no class of JAX or NumPy derived from them
