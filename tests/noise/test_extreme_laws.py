"""Laws and rules at the ends of what floating point can hold."""

import numpy as np
import pytest
from scipy import integrate, stats

import sdelimit as sl

SIZES = {
    "std": sl.noise.Gaussian,
    "half_width": sl.noise.Uniform,
    "magnitude": sl.noise.TwoPoint,
    "scale": sl.noise.Laplace,
    "threshold": sl.clip_norm,
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [1e100, 1e-100])
def test_a_scale_that_tables_do_not_reach_is_refused_by_name(name, size):
    with pytest.raises(ValueError, match=rf"^{name} must lie between 1e-25 and 1e\+25: take another unit; got"):
        SIZES[name](size)


def test_other_extremes_are_refused_by_name():
    for law in (lambda s: sl.noise.Cauchy(s), lambda s: sl.noise.StudentT(3.0, s)):
        with pytest.raises(ValueError, match=r"^scale must lie between"):
            law(1e90)
    with pytest.raises(ValueError, match=r"^df must be >= 0\.2, below which"):
        sl.noise.StudentT(1e-300, 1.0)
    with pytest.raises(ValueError, match=r"^samples: the largest"):
        sl.noise.Empirical([1e100, 0.0])
    with pytest.raises(ValueError, match="means and stds: the largest of them must lie between 1e-25 and"):
        sl.noise.GaussianMixture([0.5, 0.5], [-1e100, 1e100], [1.0, 1.0])
    with pytest.raises(ValueError, match="means and stds: the largest of them must lie between 1e-25 and"):
        sl.noise.GaussianMixture([0.5, 0.5], [0.0, 0.0], [1e-200, 1e-200])
    for make in (sl.clip_coordinate, lambda c: sl.adam(0.9, 0.99, eps=c)):
        with pytest.raises(ValueError, match="must lie between"):
            make(1e90)


@pytest.mark.parametrize("df", [0.2, 0.5])
def test_the_heaviest_student_laws_have_the_drift_of_signs_by_quadrature(df):
    found = sl.limit_coefficients(sl.sign_sgd(), sl.noise.StudentT(df, 1.0)).phi(0.5)
    density = integrate.quad(lambda e: stats.t(df).pdf(e) * stats.norm.pdf(e), -40, 40, points=[0.0])[0]
    assert found == pytest.approx(2 * np.sqrt(2 / np.pi) * density, rel=1e-8)


@pytest.mark.parametrize("R", [1e-12, 1e-8, 1e-4, 1e-2, 0.1, 1.0])
def test_clipping_under_uniform_noise_has_the_probability_of_the_interval(R):
    """P(|s z - eps| < C); 0.3 for C = 0.3 and eps uniform on [-1, 1] as s -> 0."""
    s = np.sqrt(2 * R)
    expected = 0.3
    if R >= 1e-2:
        cdf = stats.norm(0, s).cdf
        expected = integrate.quad(lambda e: (cdf(0.3 - e) - cdf(-0.3 - e)) / 2, -1, 1, points=[-0.3, 0.3])[0]
    found = sl.limit_coefficients(sl.clip_norm(0.3), sl.noise.Uniform(1.0)).phi(R)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(("c", "other"), [(1e-10, sl.sign_sgd()), (1e10, sl.sgd())])
def test_effects_of_coordinate_clipping_are_those_of_its_ends(c, other):
    problem = sl.LinearRegression(np.geomspace(1e-2, 1.0, 16), sl.noise.Gaussian(0.3))
    clipped = sl.effects(problem, sl.clip_coordinate(c), 0.05 / min(c, 1.0), 5.0, sgd_lr=0.05).decomposition
    plain = sl.effects(problem, other, 0.05, 5.0, sgd_lr=0.05).decomposition
    assert set(clipped.risks) == set(plain.risks)
    for on, risk in plain.risks.items():
        np.testing.assert_allclose(clipped.risks[on], risk, rtol=1e-6)


@pytest.mark.slow
def test_high_powers_of_cauchy_gradients_stay_finite():
    """s3(0.9, 10): entries of u lie in [-1, 1], and phi falls with the risk as the signs' does."""
    coefficients = sl.limit_coefficients(sl.s3(0.9, 10, memory="fixed"), sl.noise.Cauchy(0.5))
    phi = np.array([float(coefficients.phi(R)) for R in (1e-4, 0.5, 50.0)])
    assert np.all(np.isfinite(phi)) and np.all(phi > 0) and np.all(np.diff(phi) < 0)


@pytest.mark.long
@pytest.mark.parametrize(("c", "other"), [(1e-10, sl.sign_sgd()), (1e10, sl.sgd())])
def test_coordinate_clipping_settles_where_its_ends_do(c, other):
    """Thresholds far below all gradients: c times signs; far above: SGD."""
    problem = sl.LinearRegression(np.geomspace(1e-2, 1.0, 16), sl.noise.Gaussian(0.3))
    found = sl.stationary_risk(problem, sl.clip_coordinate(c), 0.05 / min(c, 1.0))
    expected = sl.stationary_risk(problem, other, 0.05)
    assert found == pytest.approx(expected, rel=1e-4)
