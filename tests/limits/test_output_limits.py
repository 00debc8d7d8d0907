"""Limits of several outputs (theory: section 22): coefficients, and curves against other curves and runs."""

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.limits.multi_output.coefficients import drift_at, noise_at
from sdelimit.limits.multi_output.cross_noise import _joint, _ratio_kernel, _signed_kernel
from sdelimit.limits.multi_output.slopes import slopes_at
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.sampled.ratio import RatioRule
from sdelimit.limits.sampled.sign_of_average import SignedRule
from sdelimit.limits.sampled.weights import Weights
from sdelimit.limits.single_index.coefficients import RHO
from sdelimit.problem.output_scores import softmax_risks

SIGN = SignedRule(Weights(1.0, 0.0, 0.0))
SIGNUM = SignedRule(Weights(0.0, 1.0, 0.8))
ADAM = RatioRule(Weights(0.0, 0.1, 0.9), Weights(0.0, 0.05, 0.95), 2)
D = 64
K = sl.covariance.ar1(D, 0.4)
TARGET = np.random.default_rng(5).standard_normal((D, 3)) / np.sqrt(D)
CORRELATED = sl.noise.MultivariateGaussian([[0.5, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 0.4]])


def state(B11, B12, B22):
    """S, X and Theta*' K Theta* of three outputs whose blocks of overlaps are these times the identity."""
    one = np.eye(3)
    return (B11 - 2 * B12 + B22) * one, (B12 - B22) * one, B22 * one


NEAR, FAR = state(4.0, 3.0, 4.0), state(1.0, 1.0, 4.0)


def phi(rule, at, soft, batch_size=1):
    """Phi1 and Phi2."""
    Phi1, Phi0 = drift_at(rule, *at, soft, batch_size)
    return Phi1, Phi0 - Phi1


@pytest.mark.parametrize(
    ("at", "Phi1", "hard", "soft"), [(FAR, 0.1728, 0.2068, 0.0888), (NEAR, 0.1180, 0.1827, 0.0647)]
)
def test_coefficients_of_sgd_are_those_of_quadrature(at, Phi1, hard, soft):
    found, other = phi(None, at, False)
    assert found[0, 0] == pytest.approx(Phi1, abs=2e-4)
    assert other[0, 0] == pytest.approx(-0.1181, abs=2e-4)
    np.testing.assert_allclose([found[0, 1], other[1, 2]], [-Phi1 / 2, 0.05905], atol=3e-4)
    assert noise_at(None, *at, False, 1)[0, 0, 0] == pytest.approx(hard, abs=3e-4)
    assert noise_at(None, *at, True, 1)[0, 1, 1] == pytest.approx(soft, abs=3e-4)
    np.testing.assert_allclose(noise_at(None, *at, False, 4), noise_at(None, *at, False, 1) / 4)


@pytest.mark.parametrize("at", [FAR, NEAR], ids=["far", "near"])
def test_signs_of_hard_labels_see_no_scores(at):
    """Phi1 = 0 and Phi2 = -2 (2/pi)^(1/2) E[diag p* - p* p*'], with noise 1 - 2 (pi_a + pi_b) in common."""
    Phi1, Phi2 = phi(SIGN, at, False)
    np.testing.assert_allclose(Phi1, 0.0, atol=2e-3)
    np.testing.assert_allclose(Phi2, -0.1884 * (1.5 * np.eye(3) - 0.5), atol=1e-3)
    np.testing.assert_allclose(noise_at(SIGN, *at, False, 1)[0], np.eye(3) * 4 / 3 - 1 / 3, atol=2e-3)


@pytest.mark.parametrize(("at", "Phi", "common"), [(FAR, 0.282, -0.336), (NEAR, 0.345, -0.332)], ids=["far", "near"])
def test_signs_of_soft_labels(at, Phi, common):
    """Diagonals of Phi1 and Phi2 are opposite."""
    Phi1, Phi2 = phi(SIGN, at, True)
    np.testing.assert_allclose(np.diag(Phi1), Phi, atol=3e-3)
    np.testing.assert_allclose(np.diag(Phi2), -Phi, atol=3e-3)
    noise = noise_at(SIGN, *at, True, 1)[0]
    np.testing.assert_allclose(noise[np.triu_indices(3, 1)], common, atol=1e-2)


@pytest.mark.parametrize(("at", "excess"), [(FAR, 0.4317), (NEAR, 0.3539)])
def test_the_excess_risk_is_that_of_quadrature(at, excess):
    S, X, B22 = at
    assert softmax_risks(S[None], X[None], B22)[0] == pytest.approx(excess, rel=3e-3)


@pytest.mark.parametrize("soft", [False, True])
def test_mean_signs_of_batches_are_those_of_samples(soft):
    """E[sign(g) sum_j xi_j Q_j] over batches of 4, within 5 standard errors and 1%."""
    S, X, B22 = FAR
    overlaps, batch, n, rng = np.block([[S, X], [X.T, B22]]), 4, 100_000, np.random.default_rng(0)
    q = rng.standard_normal((batch, n, 6)) @ np.linalg.cholesky(overlaps + 1e-12 * np.eye(6)).T
    u_star = q[..., 3:]
    p, label = (np.exp(u) / np.exp(u).sum(axis=-1, keepdims=True) for u in (q[..., :3] + u_star, u_star))
    if not soft:
        label = np.eye(3)[np.argmax(rng.random((batch, n, 1)) < np.cumsum(label, axis=-1), axis=-1)]
    xi = rng.standard_normal((batch, n, 1))
    signs = np.sign(np.sum((p - label) * xi, axis=0))
    products = np.einsum("na,nb->nab", np.sum(xi * q, axis=0), signs)
    expected = overlaps @ np.concatenate(drift_at(SIGN, *FAR, soft, batch))
    error = 5 * products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - expected) < error + 0.01 * np.abs(expected).max())


def test_noise_in_common_of_two_equal_outputs_is_their_own():
    """The kernels of pairs, for an output and itself, against quadrature of one output."""
    from sdelimit.limits.multi_output.coefficients import law_of
    from sdelimit.limits.single_index import coefficients as single

    for batch_size in (1, 3):
        at = slopes_at(*FAR, True)
        l, law = at.of_batches(batch_size, 2**15)[..., 0], law_of(at, 0, batch_size)  # noqa: E741
        signed, ratio = single.kernel(SIGNUM, law), single.kernel(ADAM, law)
        np.testing.assert_allclose(_signed_kernel(SIGNUM.b, l, l)[1:], signed[1:], rtol=0.02)
        np.testing.assert_allclose(_ratio_kernel(ADAM.a, ADAM.w, _joint(l, l), law, law)[1:], ratio[1:], rtol=0.04)
        assert RHO[0] == 0 and signed[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("rule", [sl.sgd(), sl.sign_sgd(), sl.adam(0.9, 0.95, memory="fixed")], ids=lambda r: r.name)
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_one_column_has_the_curve_of_a_vector(rule, batch_size):
    noise, given = sl.noise.StudentT(3.0, 0.3), {"lr": 0.3, "t_max": 2.0, "batch_size": batch_size}
    column = sl.solve_ode(sl.LinearRegression(K, noise, theta_star=TARGET[:, :1]), rule, **given)
    vector = sl.solve_ode(sl.LinearRegression(K, noise, theta_star=TARGET[:, 0]), rule, aligned=False, **given)
    np.testing.assert_allclose(column.risk, vector.risk, rtol=1e-5)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_outputs_of_a_linear_regression_decouple():
    """The risk is the sum of those of each output, with or without weight decay; correlated noise does not matter."""
    for rule in (sl.sign_sgd(), sl.sign_sgd().with_weight_decay(0.3), sl.sgd().with_weight_decay(0.3)):
        given = {"lr": 0.3, "t_max": 2.0, "batch_size": 2}
        together = sl.solve_ode(sl.LinearRegression(K, CORRELATED, theta_star=TARGET), rule, **given)
        stds = np.sqrt(np.diag(CORRELATED.covariance))
        each = [sl.LinearRegression(K, sl.noise.Gaussian(s), theta_star=v) for s, v in zip(stds, TARGET.T, strict=True)]
        apart = sum(sl.solve_ode(one, rule, aligned=False, **given).risk for one in each)
        np.testing.assert_allclose(together.risk, apart, rtol=1e-5)


@pytest.mark.long
def test_overlaps_of_outputs_are_left_open_where_noise_in_common_is_not_known():
    problem = sl.LinearRegression(sl.covariance.identity(400), sl.noise.Cauchy(0.3), theta0=np.zeros((400, 2)))
    curve = sl.solve_ode(problem, sl.sign_sgd(), 0.3, 1.0)
    assert np.all(np.isfinite(curve.risk)) and np.all(np.isnan(curve.overlaps[:, 0, 0, 1]))
    assert np.all(np.isfinite(curve.overlaps[:, 1])) and np.all(np.isfinite(curve.overlaps[:, 0, 1, 1]))


RULES = {
    "sgd": (sl.sgd(), 1),
    "sign": (sl.sign_sgd(), 1),
    "sign-3": (sl.sign_sgd(), 3),
    "adam": (sl.adam(0.9, 0.95), 1),
    "adam-2": (sl.adam(0.9, 0.95), 2),
    "signum": (sl.signum(0.8), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_two_classes_have_the_curve_of_a_logistic_regression_at_twice_the_rate(rule, labels):
    """Opposite columns: their difference has logistic regression's drift and noise, twice as far a step."""
    optimizer, batch_size = RULES[rule]
    target, given = 2 * TARGET[:, 0], {"t_max": 3.0, "batch_size": batch_size}
    two = sl.SoftmaxRegression(K, labels=labels, theta_star=np.stack([target, -target], axis=1) / 2)
    several = sl.solve_ode(two, optimizer, lr=0.1, **given)
    single = sl.solve_ode(sl.LogisticRegression(K, labels=labels, theta_star=target), optimizer, lr=0.2, **given)
    np.testing.assert_allclose(several.risk, single.risk, rtol=1e-2)
    np.testing.assert_allclose(several.error_rate, single.error_rate, atol=3e-3)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
@pytest.mark.parametrize("labels", ["hard", pytest.param("soft", marks=pytest.mark.slow)])
def test_a_curve_of_three_classes_is_near_its_runs(labels):
    """Within 4 standard errors and 4% (d = 64): risk, overlaps and error rate, with weight decay too."""
    problem = sl.SoftmaxRegression(K, labels=labels, theta_star=2 * TARGET)
    for rule in (sl.sgd(), sl.sign_sgd().with_weight_decay(0.3)):
        runs = sl.simulate(problem, rule, lr=0.2, t=np.linspace(0, 3, 7), n_runs=256, batch_size=2)
        curve = sl.solve_ode(problem, rule, lr=0.2, t=runs.t, batch_size=2)
        assert np.all(np.abs(runs.mean - curve.risk) < 4 * runs.standard_error + 0.04 * curve.risk)
        spread = 4 * runs.overlaps.std(axis=0) / 16
        largest = np.abs(curve.overlaps).max()
        assert np.all(np.abs(runs.overlaps.mean(axis=0) - curve.overlaps) < spread + 0.04 * largest)
        np.testing.assert_allclose(runs.error_rate.mean(axis=0), curve.error_rate, atol=0.02)
        report = sl.compare(curve, runs)
        assert report.max_relative_error < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sdelimit.LimitWarning")
def test_curves_of_several_learning_rates_are_those_of_each(tmp_path):
    problem = sl.SoftmaxRegression(K, theta_star=TARGET)
    both = sl.solve_ode(problem, sl.sign_sgd(), lr=np.array([0.1, 0.3]), t_max=1.0)
    one = sl.solve_ode(problem, sl.sign_sgd(), lr=0.3, t_max=1.0)
    np.testing.assert_allclose(both.risk[1], one.risk, rtol=1e-4)
    assert both.overlaps.shape == (2, 200, 3, 3, 3) and both.select(1).alignment.shape == (200,)
    one.save(tmp_path / "curve.npz")
    again = sl.load(tmp_path / "curve.npz")
    assert again.problem == problem
    np.testing.assert_array_equal(again.overlaps, one.overlaps)
    assert len(repr(one).splitlines()) <= 10


@pytest.mark.parametrize("rule", [sl.sgd(momentum=0.9), sl.clip_norm(1.0), sl.adam(eps=1.0)], ids=lambda r: r.name)
def test_rules_without_a_limit_are_refused_by_name(rule):
    with pytest.raises(NoLimitError, match=f"SoftmaxRegression, got {rule.name}"):
        sl.solve_ode(sl.SoftmaxRegression(K, outputs=3), rule, 0.1, 1.0)
    with pytest.raises(NoLimitError, match=f"MultiOutputRegression, got {rule.name}"):
        sl.solve_ode(sl.LinearRegression(K, theta_star=TARGET), rule, 0.1, 1.0)


def test_paths_of_several_outputs_are_refused():
    with pytest.raises(TypeError, match="problem must have one output for solve_sde, got a SoftmaxRegression"):
        sl.solve_sde(sl.SoftmaxRegression(K, outputs=3), sl.sgd(), 0.1, 1.0)
