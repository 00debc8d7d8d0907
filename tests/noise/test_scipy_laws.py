"""Frozen distributions of SciPy as noise laws."""

import pickle

import jax
import numpy as np
import pytest
from conftest import LAWS
from scipy import stats

import sdelimit as sl
from sdelimit.noise.scipy_laws import as_noise

K = np.array([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize("name", [name for name in LAWS if name != "density"])
def test_laws_that_have_a_name_here_are_that_law(name):
    ours, scipys = LAWS[name]
    assert repr(sl.LinearRegression(K, noise=scipys).noise) == repr(ours)


@pytest.mark.slow  # SciPy integrates such a density for every quantile
def test_a_law_of_ones_own_is_not_taken_for_scipys_of_its_name():
    class Wide(stats.rv_continuous):
        def _pdf(self, x):
            return stats.norm.pdf(x, scale=2.0)

    law = sl.LinearRegression(np.ones(3), Wide(name="norm")()).noise
    assert law.second_moment == pytest.approx(4.0, rel=1e-4)


def test_scales_and_shapes_may_be_given_in_any_way():
    for law in (stats.t(3), stats.t(df=3), stats.t(3, 0, 1), stats.t(3, scale=1.0, loc=0)):
        assert repr(as_noise(law)) == repr(sl.noise.StudentT(3.0, 1.0))
    assert repr(as_noise(stats.uniform(-2, 4))) == "Uniform(half_width=2)"


OTHERS = [
    stats.gennorm(1.5, scale=0.3), stats.logistic(scale=0.2), stats.t(5, loc=0.1), stats.uniform(0, 1),
    stats.skewnorm(3), stats.norm(50, 0.01), stats.hypsecant(),
]  # fmt: skip


@pytest.mark.parametrize("law", OTHERS, ids=lambda law: law.dist.name)
def test_other_laws_are_their_density(law):
    noise = as_noise(law)
    assert isinstance(noise, sl.noise.Density)
    assert noise.second_moment == pytest.approx(law.moment(2), rel=1e-8)
    a = np.array([0.01, 1.0, 30.0])
    low, high = law.support()
    e = law.ppf((np.arange(200_000) + 0.5) / 200_000)
    np.testing.assert_allclose(noise.gaussian_factor(a), [np.mean(np.exp(-x * e**2)) for x in a], rtol=3e-4, atol=1e-12)
    drawn = np.asarray(noise.sample(jax.random.key(0), (20_000,)), float)
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-4
    assert drawn.min() >= low - 1e-6 and drawn.max() <= high + 1e-6


@pytest.mark.long
def test_equal_laws_are_equal_and_say_what_they_are():
    one, two = (as_noise(stats.gennorm(1.5, scale=0.3)) for _ in range(2))
    assert one.pdf == two.pdf and hash(one.pdf) == hash(two.pdf)
    assert one.pdf != as_noise(stats.gennorm(1.5, scale=0.4)).pdf
    assert repr(one) == "Density(pdf=scipy.stats.gennorm(1.5, scale=0.3))"
    assert repr(as_noise(stats.norm(50, 0.01)).pdf) == "scipy.stats.norm(loc=50, scale=0.01)"
    assert repr(pickle.loads(pickle.dumps(one))) == repr(one)


@pytest.mark.long
@pytest.mark.parametrize("law", [stats.t(1.5), stats.cauchy(), stats.lomax(1.5), stats.t(2, loc=0.3)])
def test_infinite_variance_is_seen(law):
    problem = sl.LinearRegression(K, noise=law)
    assert problem.noise.second_moment == np.inf
    with pytest.raises(ValueError, match="noise must have finite variance for SGD"):
        sl.limit_coefficients(sl.sgd(), law)
    assert 0 < sl.limit_coefficients(sl.sign_sgd(), law).phi(0.5) < np.inf


def test_all_that_takes_a_law_takes_them():
    law = stats.norm(scale=0.5)
    assert repr(sl.RobustRegression(K, threshold=0.5, noise=law).noise) == "Gaussian(std=0.5)"
    assert repr(sl.LinearRegression.from_spectrum([1.0, 2.0], [1.0, 1.0], law).noise) == "Gaussian(std=0.5)"
    ours = sl.limit_coefficients(sl.sign_sgd(), sl.noise.Gaussian(0.5))
    assert sl.limit_coefficients(sl.sign_sgd(), law).phi(0.3) == ours.phi(0.3)


@pytest.mark.parametrize(
    ("law", "error", "message"),
    [
        (stats.poisson(3), TypeError, "noise must be continuous, got the discrete scipy.stats.poisson"),
        (stats.t, TypeError, r"noise must have its parameters, as scipy.stats.t\(3\), got scipy.stats.t"),
        (stats.t(5, scale=[1, 2]), ValueError, "noise must have one number for each parameter"),
        (stats.t(-1), ValueError, r"noise: scipy.stats.t\(-1\): df must be > 0"),
        (stats.gennorm(-1), ValueError, "noise: .*gennorm.* its parameters must be those of a distribution"),
        (stats.norm(scale=1e-40), ValueError, "noise: .*norm.*: std must lie between"),
        (stats.levy_stable(1.5, 0), ValueError, "noise: .*levy_stable.* too slow"),
        (stats.multivariate_normal([0, 0]), TypeError, "noise must be a noise law from sdelimit.noise, or a frozen"),
        ("t(3)", TypeError, "noise must be a noise law from sdelimit.noise, or a frozen distribution of SciPy"),
    ],
)
def test_what_is_no_law_of_numbers_is_refused(law, error, message):
    for take in (lambda: sl.LinearRegression(K, noise=law), lambda: sl.limit_coefficients(sl.sign_sgd(), law)):
        with pytest.raises(error, match=message):
            take()
