"""The normals that simulations are made of: the published hash, the right law, no correlations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import numpy_normals
from scipy import stats

import sdelimit as sl
from sdelimit.numerics import normals

RUNS, STEPS, D, ROUNDS_OF_STEPS = 32, 64, 1024, 16
SIZE = RUNS * STEPS * D * ROUNDS_OF_STEPS
SIGMAS = np.arange(1.0, 5.5, 0.5)
BINS = stats.norm.ppf(np.linspace(0, 1, 201)[1:-1])


NORMALS = jax.jit(normals.normal_pairs, static_argnums=(2, 3, 4))


def words(runs, seed=0):
    return jax.random.key_data(jax.vmap(lambda run: normals.run_key(seed, run))(jnp.arange(runs, dtype=jnp.uint32)))


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (13, [(0x9D1C5EC6, 0x8BD50731), (0xFD36D048, 0x2D17272C), (0xBA3E4725, 0xF27D669E)]),
        (20, [(0x6B200159, 0x99BA4EFE), (0x1CB996FC, 0xBB002BE7), (0xC4923A9C, 0x483DF7A0)]),
    ],
)
def test_the_hash_gives_the_known_answers_of_threefry(rounds, expected):
    """Known-answer vectors of the Random123 distribution: key, counter of zeros, of ones, and of digits of pi."""
    pi = [0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3]
    asked = np.array([[0] * 4, [2**32 - 1] * 4, pi], np.uint32)
    found = normals.threefry(*asked.T, rounds)
    assert list(zip(*np.asarray(found).tolist(), strict=True)) == expected


@pytest.mark.parametrize("generator", ["threefry", "fast"])
def test_normals_are_those_of_the_formula(generator):
    """Against Box and Muller's formula in float64, for odd d, several runs, steps and samples a step."""
    index, d, keys = np.array([0, 5, 70_000], np.uint32), 7, words(3, seed=9)
    found = normals.unpack_pairs(NORMALS(keys, index, 2, d, generator), d)
    for s, step in enumerate(index):
        for run in range(3):
            expected = numpy_normals(normals.run_key(9, run), int(step), 2, d, normals.ROUNDS[generator])
            np.testing.assert_allclose(found[s, run], expected, atol=3e-6)


def test_the_largest_and_smallest_words_give_finite_normals():
    edge = np.array([0, 1, 2, 3, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    first, second = np.asarray(normals.box_muller(*np.meshgrid(edge, edge)))
    assert np.all(np.isfinite(first)) and np.all(np.isfinite(second))
    assert 6.7 < np.max(np.abs(first)) < 6.8


@pytest.fixture(scope="module", params=["threefry", pytest.param("fast", marks=pytest.mark.slow)])
def statistics(request):
    """Sums over 2^25 normals."""

    @jax.jit
    def collect(index):
        z = normals.unpack_pairs(normals.normal_pairs(words(RUNS), index, 1, D, request.param), D)[:, :, 0]
        half = D // 2
        lags = {
            "coordinate": (z[..., 1:], z[..., :-1]), "pair": (z[..., half:], z[..., :half]),
            "step": (z[1:], z[:-1]), "run": (z[:, 1:], z[:, :-1]),
        }  # fmt: skip
        return {
            "powers": [jnp.mean(z**p, dtype=jnp.float32) for p in (1, 2, 3, 4)],
            "beyond": [jnp.sum(jnp.abs(z) > s) for s in SIGMAS],
            "above": [jnp.sum(z > s) for s in SIGMAS],
            "counts": jnp.bincount(jnp.searchsorted(jnp.asarray(BINS, z.dtype), z.ravel()[::8]), length=200),
            "products": {k: (jnp.mean(a * b), jnp.mean((a**2 - 1) * (b**2 - 1))) for k, (a, b) in lags.items()},
        }

    parts = [collect(np.arange(STEPS, dtype=np.uint32) + STEPS * i) for i in range(ROUNDS_OF_STEPS)]
    return jax.tree.map(lambda *leaves: np.sum(np.asarray(leaves, np.float64), axis=0), *parts)


def test_moments_are_those_of_a_normal(statistics):
    """Mean, variance, third and fourth moment within 4 standard errors; the variance to 1e-3."""
    found = np.array(statistics["powers"]) / ROUNDS_OF_STEPS
    allowed = 4 * np.sqrt(np.array([1, 2, 15, 96]) / SIZE)
    np.testing.assert_array_less(np.abs(found - [0, 1, 0, 3]), allowed)


def test_tails_to_five_sigma_have_the_right_weight(statistics):
    """Two-sided and one-sided counts within 4 standard errors; 19 draws beyond 5 sigma are expected."""
    for name, share in (("beyond", 2 * stats.norm.sf(SIGMAS)), ("above", stats.norm.sf(SIGMAS))):
        found, expected = np.array(statistics[name]), share * SIZE
        assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected)), (found, expected)
    assert statistics["beyond"][-1] > 0


def test_the_whole_law_is_normal(statistics):
    """Chi-squared test over 200 bins of equal probability."""
    counts = statistics["counts"]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("lag", ["coordinate", "pair", "step", "run"])
def test_neighbours_are_uncorrelated(statistics, lag):
    """Correlations of the draws and of their squares, within 4.5 standard errors."""
    linear, squares = (total / ROUNDS_OF_STEPS for total in statistics["products"][lag])
    pairs = SIZE / 2 if lag == "pair" else SIZE
    assert abs(linear) < 4.5 / np.sqrt(pairs) and abs(squares) < 4.5 * 2 / np.sqrt(pairs)


def test_the_default_stream_never_changes():
    """Pinned: a run of a given seed is the same on every device and in every version."""
    z = normals.unpack_pairs(NORMALS(words(2, seed=1), np.arange(2, dtype=np.uint32), 1, 4, "threefry"), 4)
    expected = [
        [0.6272532, 0.5645943, 2.588219, 0.1801191],
        [-0.5309789, 0.7947898, -0.1551237, 0.1394642],
        [0.4366293, -0.847394, 0.2724797, -2.0819909],
        [1.1679849, -1.7829607, -0.9963731, -0.5089152],
    ]  # steps 0 and 1, runs 0 and 1 of each
    np.testing.assert_allclose(np.asarray(z)[:, :, 0].reshape(4, 4), expected, atol=2e-6)


def test_generators_make_different_runs_of_the_same_experiment():
    problem = sl.LinearRegression(sl.covariance.power_law(20, 0.5), sl.noise.Gaussian(0.3))
    runs = [sl.simulate(problem, sl.sgd(), 0.3, 1.0, n_runs=400, generator=g) for g in ("threefry", "fast")]
    gap = np.abs(runs[0].mean - runs[1].mean)[1:]
    assert np.all(gap > 0)
    assert np.all(gap < 5 * np.hypot(runs[0].standard_error, runs[1].standard_error)[1:])
