"""Label-noise laws: Gaussian factors, residual densities, moments and samplers."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import LAWS, MIXTURE, label_noise
from scipy import integrate, special, stats

import sdelimit as sl
from sdelimit.noise.scale_mixtures import _erfcx
from sdelimit.numerics.precision import evaluate_in_float64

RISKS = np.logspace(-4, 3, 8)


def residual_density_by_quadrature(law, s):
    """p_l(0) = E[f_eps(s z)] for z ~ N(0, 1), by adaptive quadrature over z.

    Independent of the Gaussian factor: the convolution is written the other way round.
    """
    kinks = [p / s for p in (-0.8, 0.0, 0.8) if abs(p / s) < 40]
    edges = sorted({-40.0, -8.0, *kinks, *(k * 0.1 / s for k in (-9, -1, 1, 9) if 0.9 / s < 40), 8.0, 40.0})
    return sum(
        integrate.quad(
            lambda z: law.pdf(s * z) * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
            a,
            b,
            epsabs=0,
            epsrel=1e-11,
            limit=500,
        )[0]
        for a, b in itertools.pairwise(edges)
    )


@pytest.mark.parametrize("name", LAWS)
def test_phi_agrees_with_quadrature_over_seven_decades_of_risk(name):
    ours, scipys = LAWS[name]
    phi = sl.limit_coefficients(sl.sign_sgd(), ours).phi(RISKS)
    s = np.sqrt(2 * RISKS)
    expected = 2 * np.sqrt(2 / np.pi) * np.array([residual_density_by_quadrature(scipys, x) for x in s])
    np.testing.assert_allclose(phi, expected, rtol=1e-7)


def test_phi_of_noise_with_atoms_is_a_sum_of_gaussian_densities():
    s = np.sqrt(2 * RISKS)
    for law, points, weights in (
        (sl.noise.NoNoise(), [0.0], [1.0]),
        (sl.noise.TwoPoint(0.3), [-0.3, 0.3], [0.5, 0.5]),
        (sl.noise.Empirical([-0.2, 0.1, 0.4, 0.4]), [-0.2, 0.1, 0.4], [0.25, 0.25, 0.5]),
    ):
        expected = sum(w * stats.norm.pdf(p, scale=s) for p, w in zip(points, weights, strict=True))
        keep = expected > 1e-250
        np.testing.assert_allclose(law.residual_density(s)[keep], expected[keep], rtol=2e-6)
        assert np.all(law.residual_density(s)[~keep] < 1e-200)


def test_phi_of_a_gaussian_mixture_is_the_mixture_of_densities():
    s = np.sqrt(2 * RISKS)
    parts = zip(MIXTURE.weights, MIXTURE.means, MIXTURE.stds, strict=True)
    expected = sum(w * stats.norm.pdf(m, scale=np.sqrt(s**2 + v**2)) for w, m, v in parts)
    np.testing.assert_allclose(MIXTURE.residual_density(s), expected, rtol=1e-12)


OTHER_LAWS = [pytest.param(law, marks=pytest.mark.slow) for law, _ in LAWS.values()]


@pytest.mark.parametrize("law", [*OTHER_LAWS, sl.noise.TwoPoint(0.5), MIXTURE, sl.noise.StudentT(1.5, 0.3)], ids=repr)
def test_phi_is_the_slope_of_the_mean_sign(law):
    """E[sign(g_i)] = phi (K delta)_i / sigma_i, by brute force on scalar samples.

    With r = corr(x_i, <x, delta>) the mean is phi s r (1 + O(r^2)).
    """
    rng = np.random.default_rng(0)
    n, s, r = 2_000_000, 0.7, 0.1
    xi, z = rng.standard_normal((2, n), dtype=np.float32)
    shift = s * np.sqrt(1 - r**2) * z - label_noise(law, n, seed=1)
    # xi and -xi share z and eps: most of the variance cancels.
    values = np.sign(xi) * (np.sign(shift + s * r * xi) - np.sign(shift - s * r * xi)) / 2 / (s * r)
    phi = sl.limit_coefficients(sl.sign_sgd(), law).phi(s**2 / 2)
    error = values.std() / np.sqrt(n)
    assert 4 * error + r**2 * phi < 0.04 * phi
    assert abs(values.mean() - phi) < 4 * error + r**2 * phi


@pytest.mark.parametrize("name", LAWS)
def test_samples_follow_the_law(name):
    ours, scipys = LAWS[name]
    samples = label_noise(ours, 100_000)
    assert stats.kstest(samples, scipys.cdf).pvalue > 1e-4
    assert abs(stats.spearmanr(samples[:-1], samples[1:]).statistic) < 4 / np.sqrt(samples.size)


def test_samples_of_discrete_and_mixed_laws():
    signs = label_noise(sl.noise.TwoPoint(0.5), 100_000)
    assert set(np.unique(signs)) == {-0.5, 0.5}
    assert abs(signs.mean()) < 4 * 0.5 / np.sqrt(signs.size)
    mixture = label_noise(MIXTURE, 100_000)
    parts = list(zip(MIXTURE.weights, MIXTURE.means, MIXTURE.stds, strict=True))
    assert stats.kstest(mixture, lambda x: sum(w * stats.norm.cdf(x, m, v) for w, m, v in parts)).pvalue > 1e-4
    data = np.array([-1.0, 2.0, 5.0])
    drawn = label_noise(sl.noise.Empirical(data), 90_000)
    counts = [np.sum(drawn == v) for v in data]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("name", LAWS)
def test_moments_and_density_at_zero(name):
    ours, scipys = LAWS[name]
    variance = scipys.var() if np.isfinite(scipys.var()) else np.inf
    np.testing.assert_allclose(ours.second_moment, variance, rtol=1e-6)
    fourth = np.inf if name in ("cauchy", "student_t(1.5)", "student_t(2)") else scipys.moment(4)
    np.testing.assert_allclose(ours.fourth_moment, fourth, rtol=1e-6)
    np.testing.assert_allclose(ours.density_at_zero, scipys.pdf(0.0), rtol=1e-9)


def test_phi_tends_to_the_noise_density_at_small_risk_and_to_no_noise_at_large_risk():
    for ours, _ in LAWS.values():
        coefficients = sl.limit_coefficients(sl.sign_sgd(), ours)
        np.testing.assert_allclose(coefficients.phi(1e-14), 2 * np.sqrt(2 / np.pi) * ours.density_at_zero, rtol=1e-4)
        np.testing.assert_allclose(coefficients.phi(1e12) * np.sqrt(2e12), 2 / np.pi, rtol=1e-4)


@pytest.mark.parametrize(
    "law", [law for law, _ in LAWS.values()] + [MIXTURE, sl.noise.Empirical([0.1, -2.0])], ids=repr
)
def test_gaussian_factor_falls_from_one_to_zero_over_a_hundred_decades(law):
    """G(a) = E exp(-a eps^2) at any a that floating point can hold, tables extrapolated or not."""
    a = np.exp(np.linspace(-120.0, 120.0, 481))
    factor = evaluate_in_float64(law.gaussian_factor, a)
    assert np.all(np.diff(factor) <= 1e-11) and np.all(factor >= 0)
    heavy = 1e-12 if np.isfinite(law.second_moment) else 1e-8
    assert abs(factor[0] - 1) < heavy


def test_density_detects_an_infinite_variance():
    assert sl.noise.Density(stats.cauchy(scale=0.5).pdf).second_moment == np.inf


@pytest.mark.slow
def test_narrow_density_away_from_zero_is_resolved():
    spike = stats.norm(5.0, 0.01)
    law = sl.noise.Density(lambda e: 0.5 * spike.pdf(e) + 0.5 * spike.pdf(-e), points=[-5.0, 5.0])
    s = np.array([1.0, 3.0, 10.0])
    np.testing.assert_allclose(law.residual_density(s), stats.norm.pdf(5.0, scale=np.sqrt(s**2 + 1e-4)), rtol=1e-7)


NARROW_OR_FAR = {
    "N(20, 0.05)": (stats.norm(20, 0.05), ()),
    "N(1000, 5)": (stats.norm(1000, 5), ()),
    "N(20, 0.01)": (stats.norm(20, 0.01), ()),
    "N(-1e6, 1)": (stats.norm(-1e6, 1), ()),
    "N(0, 1e-8)": (stats.norm(0, 1e-8), ()),
    "N(-3, 1e-6)": (stats.norm(-3, 1e-6), (-3.0,)),
    "uniform": (stats.uniform(499.9, 0.2), ()),
    "Student": (stats.t(3.5, loc=2.0, scale=0.1), ()),
}


@pytest.mark.parametrize("name", NARROW_OR_FAR)
def test_a_density_that_is_narrow_or_far_from_zero_has_its_moments_factor_and_samples(name):
    frozen, points = NARROW_OR_FAR[name]
    law = sl.noise.Density(frozen.pdf, points=points)
    mean, std = frozen.mean(), frozen.std()
    assert law.second_moment == pytest.approx(mean**2 + std**2, rel=1e-6)
    x, weights = law.quadrature(4096)
    assert weights @ x == pytest.approx(mean, abs=0.01 * std)
    assert weights @ (x - mean) ** 2 == pytest.approx(std**2, rel=0.01)
    levels = np.linspace(0.02, 0.98, 49)
    rounding = np.spacing(np.float32(abs(mean)))
    with jax.enable_x64(True):  # float32 has few digits of 1e6 + x
        draws = np.asarray(law.sample(jax.random.key(0), (100_000,), jnp.float64))
    assert stats.kstest(draws, frozen.cdf).statistic < 1.95 / np.sqrt(draws.size)  # with probability 0.999
    np.testing.assert_allclose(
        np.quantile(law.sample(jax.random.key(1), (100_000,)), levels),
        frozen.ppf(levels),
        atol=0.03 * std + 2 * rounding,
    )


def test_the_factor_of_a_density_far_from_zero_is_the_closed_form():
    a = np.geomspace(1e-6, 1e-2, 9)
    factor = evaluate_in_float64(sl.noise.Density(stats.norm(50, 2).pdf).gaussian_factor, a)
    np.testing.assert_allclose(factor, np.exp(-2500 * a / (1 + 8 * a)) / np.sqrt(1 + 8 * a), rtol=1e-5)


@pytest.mark.long
def test_no_sample_falls_between_two_peaks_or_off_the_end():
    near, far = stats.norm(-30, 0.02), stats.norm(500, 2)
    law = sl.noise.Density(lambda e: 0.5 * near.pdf(e) + 0.5 * far.pdf(e))
    draws = np.asarray(law.sample(jax.random.key(0), (2**21,)))
    assert not np.any((draws > -29.8) & (draws < 480))
    heavy = np.asarray(sl.noise.Density(stats.cauchy.pdf).sample(jax.random.key(0), (2**24,)))
    # P(|eps| > x) = 2 / (pi x): of 2^24 draws the largest is beyond 4e10 with probability 3e-4.
    assert 1e5 < np.abs(heavy).max() < 4e10


def test_a_second_moment_that_is_not_the_density_s_is_refused():
    with pytest.raises(ValueError, match=r"second_moment must be that of pdf, which is 1, got 1\.1"):
        sl.noise.Density(stats.norm.pdf, second_moment=1.1)
    assert sl.noise.Density(stats.norm.pdf, second_moment=1.0).second_moment == 1.0
    with pytest.raises(ValueError, match="pdf must integrate to 1 over its support, got 0; points= says where"):
        sl.noise.Density(stats.norm(7.0, 1e-9).pdf)


def test_erfcx_has_no_hole():
    x = np.geomspace(1e-6, 1e30, 20001)
    np.testing.assert_allclose(evaluate_in_float64(_erfcx, x), special.erfcx(x), rtol=1e-13)


def test_student_factor_tends_to_one():
    a = np.geomspace(1e-40, 1e-20, 21)
    np.testing.assert_allclose(evaluate_in_float64(sl.noise.StudentT(1.5, 0.2).gaussian_factor, a), 1, rtol=1e-10)
