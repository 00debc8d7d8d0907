"""Few modes in place of many, against the sums they stand for."""

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.modes.compression import ERROR, NOISE_ERROR, OCTAVES, POINTS, compress
from sdelimit.ode import modes as ode_modes
from sdelimit.ode import solve

CLOCKS = np.geomspace(1e-4, 1e16, 121)

SPECTRA = {
    "power law": lambda rng: np.arange(1.0, 3001.0) ** -2,
    "one cluster": lambda rng: 0.7 * (1 + 0.05 * rng.random(2000)),
    "clusters, also at the ends of octaves": lambda rng: np.repeat([1.0, 0.5, 0.5 - 1e-12, 0.25001, 1e-9, 3e-10], 400),
    "condition number 1e12": lambda rng: 10 ** rng.uniform(-12, 0, 4000),
    "slower than the slowest octave, and zero": lambda rng: np.r_[1.0, np.repeat([2.0**-70, 0.0], 200)],
    "few": lambda rng: rng.random(9),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_error_is_below_the_stated_bound_at_every_clock(name):
    """Of exp(-lambda s), and of its integral over s, with weights of both signs that the nodes cannot know."""
    rng = np.random.default_rng(0)
    decay = SPECTRA[name](rng)
    weights = np.stack([rng.standard_normal(decay.size), decay * rng.random(decay.size)])
    nodes, shares = compress(decay, weights)
    assert nodes.size <= min(POINTS * (OCTAVES + 1), decay.size)
    exact, few = (w @ np.exp(-x[:, None] * CLOCKS) for x, w in ((decay, weights), (nodes, shares)))
    size = np.abs(weights).sum(axis=1, keepdims=True)
    assert np.all(np.abs(few - exact) <= (ERROR + 1e-14) * size)
    moving, moved = decay > 2.0**-OCTAVES, nodes > 2.0**-OCTAVES
    integral = weights[1, moving] @ (-np.expm1(-decay[moving, None] * CLOCKS) / decay[moving, None])
    short = shares[1, moved] @ (-np.expm1(-nodes[moved, None] * CLOCKS) / nodes[moved, None])
    np.testing.assert_allclose(short, integral, rtol=NOISE_ERROR)


def test_bounds_are_not_idle():
    """All weight at one end of an octave, the worst place: within a factor of 200 and of 5."""
    decay = np.r_[1.0, np.full(100, 0.5 + 1e-12)]
    nodes, shares = compress(decay, np.r_[0.0, np.full(100, 0.01)][None])
    clocks = np.linspace(10.0, 50.0, 301)
    error = np.abs(shares @ np.exp(-nodes[:, None] * clocks) - np.exp(-decay[-1] * clocks)).max()
    assert ERROR / 200 < error <= ERROR
    noise_error = np.abs(shares @ (1 / nodes) * decay[-1] - 1)
    assert NOISE_ERROR / 5 < noise_error <= NOISE_ERROR


def test_few_modes_are_kept_as_they_are():
    decay, weights = np.array([3.0, 1.0, 0.1]), np.array([[1.0, 2.0, 3.0]])
    nodes, shares = compress(decay, weights)
    np.testing.assert_array_equal(nodes, decay)
    np.testing.assert_array_equal(shares, weights)


@pytest.mark.long
@pytest.mark.parametrize("condition", [1e12, *(pytest.param(c, marks=pytest.mark.slow) for c in (1e15, 1e20))])
def test_modes_slower_than_all_others_by_any_factor_keep_their_risk(condition):
    """All of the risk in the slowest modes; what the rest of them adds is noise."""
    K = np.geomspace(1.0, 1 / condition, 2000)
    target = np.where(condition * K < 2, K**-0.5, 1e-3)
    problem = sl.LinearRegression(K, sl.noise.Gaussian(0.1), theta_star=target)
    full, few = (
        sl.solve_ode(problem, sl.sgd(), 0.5, t=[0.0, 1.0, 9.0], save_modes=s, aligned=False).risk for s in (True, False)
    )
    np.testing.assert_allclose(few, full, rtol=2e-6)
    assert few[0] == pytest.approx(full[0], rel=1e-9)


@pytest.mark.parametrize("rule", ["sgd", pytest.param("sign_sgd", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_curve_of_many_modes_is_by_default_compressed_and_the_same(monkeypatch, rule):
    """With 'many' lowered to 3000 modes."""
    monkeypatch.setattr(solve, "MOST_SAVED", 100_000)
    monkeypatch.setattr(solve, "MOST_MODES", 2_000)
    problem = sl.LinearRegression(sl.covariance.power_law(3_000, 3.0), sl.noise.Gaussian(0.01))
    t = np.append(0.0, np.geomspace(0.1, 1000.0, 199))
    full, few = (
        sl.solve_ode(problem, getattr(sl, rule)(), 0.5, t=t, rtol=1e-8, save_modes=s, aligned=False)
        for s in (True, None)
    )
    np.testing.assert_allclose(few.risk, full.risk, rtol=1e-7, atol=2e-10 * full.risk[0])
    np.testing.assert_allclose(few.slope, full.slope, rtol=1e-4, atol=1e-9 * np.abs(full.slope).max())
    assert few.modes is None and full.modes.shape == (200, 3_000)
    np.testing.assert_array_equal(few.decay, full.decay)


@pytest.mark.slow
def test_a_million_modes_of_condition_number_1e12_become_560_and_keep_six_digits(monkeypatch):
    """Against all the modes with a tolerance ten thousand times tighter."""
    sizes = []

    def counted(decay, weights):
        nodes, shares = compress(decay, weights)
        sizes.append((decay.size, nodes.size))
        return nodes, shares

    monkeypatch.setattr(ode_modes, "compress", counted)
    problem = sl.LinearRegression(sl.covariance.power_law(1_000_000, 2.0), sl.noise.Gaussian(0.1))
    t = np.linspace(0.0, 1000.0, 200)
    few = sl.solve_ode(problem, sl.sgd(), 0.5, t=t, aligned=False)
    ((d, k),) = sizes
    assert d == 1_000_000 and k <= 560
    tight = sl.solve_ode(problem, sl.sgd(), 0.5, t=t[[1, 10, 199]], rtol=1e-10, save_modes=True, aligned=False)
    np.testing.assert_allclose(few.risk[[1, 10, 199]], tight.risk, rtol=1e-6)
