"""Keys by content, and the bounded memory of results."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sdelimit as sl
from sdelimit.limits import RatioRule, Weights
from sdelimit.noise import scale_mixtures
from sdelimit.numerics.memo import SIZE, Memo, content_key, memoized


def density(e):
    return np.exp(-np.abs(e)) / 2


def same_density(e):
    return np.exp(-np.abs(e)) / 2


PROBLEM = sl.LinearRegression(np.array([1.0, 2.0]), sl.noise.Gaussian(0.5))
DATA = np.random.default_rng(0).standard_normal(100)
ALIKE = {
    "numbers": lambda: sl.noise.StudentT(3.0, 0.3),
    "arrays": lambda: sl.noise.Empirical(DATA.copy()),
    "a function": lambda: sl.noise.Density(density),
    "a covariance": lambda: sl.covariance.ar1(5, 0.5).scaled(np.arange(1.0, 6.0)),
    "a rule": lambda: RatioRule(Weights(0.0, 0.1, 0.9), Weights(0.0, 0.01, 0.99), 2),
    "a limit": lambda: sl.clip_coordinate(0.5).limit(PROBLEM, 2),
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_what_is_made_alike_has_one_key(make):
    assert make() is not make()
    assert content_key(make()) == content_key(make()) and hash(content_key(make())) == hash(content_key(make()))


def test_different_content_has_different_keys():
    changed = DATA.copy()
    changed[50] = np.nextafter(changed[50], 2)
    weights = Weights(0.0, 0.1, 0.9)
    objects = [
        *(sl.noise.StudentT(*given) for given in ((3.0, 0.3), (3.0, 0.4), (4.0, 0.3))),
        *(law(0.3) for law in (sl.noise.Gaussian, sl.noise.Laplace, sl.noise.Cauchy, sl.noise.Uniform)),
        *(sl.noise.Empirical(data) for data in (DATA, changed)),
        *(sl.noise.Density(pdf) for pdf in (density, same_density)),
        *(RatioRule(weights, weights, p) for p in (2, 3)),
        *(sl.clip_coordinate(c).limit(PROBLEM, b) for c in (0.5, 0.6) for b in (1, 2)),
        *(optax.clip(1.0), optax.clip(1.0)),  # functions are told apart by identity
        *(1, 1.0, True, "1", None, np.float32(1), np.ones(1), np.ones((1, 1)), (1,), [1], ((1,),)),
        *(np.zeros(100), np.zeros((10, 10)), np.zeros(100, ">f8"), 0.0, -0.0, 10**30),
    ]
    assert len({content_key(one) for one in objects}) == len(objects)
    assert content_key(1, 2) != content_key(12) != content_key((1, 2))


def test_jax_and_numpy_arrays_of_the_same_content_have_one_key():
    x = np.arange(50, dtype=np.float32)
    assert content_key(x) == content_key(jnp.asarray(x))


def test_what_has_no_content_to_compare_has_no_key():
    for value in ({1, 2}, np.array([{}], dtype=object)):
        with pytest.raises(TypeError):
            content_key(value)
    with pytest.raises(TypeError):
        jax.jit(lambda x: content_key(x) and x)(1.0)


def test_the_result_not_asked_for_the_longest_goes_first():
    memo, computed = Memo(3), []
    for key in (1, 2, 3, 1, 4, 1, 2, 3):
        assert memo.get(key, lambda key=key: computed.append(key) or 10 * key) == 10 * key
        assert len(memo) <= 3
    assert computed == [1, 2, 3, 4, 2, 3]
    memo.clear()
    assert len(memo) == 0


def test_an_error_is_not_remembered():
    memo = Memo()
    with pytest.raises(ZeroDivisionError):
        memo.get(0, lambda: 1 / 0)
    assert memo.get(0, lambda: 5) == 5


def test_many_threads_get_one_object():
    memo = Memo(4)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: (i % 4, memo.get(i % 4, object)), range(400)))
    assert len({id(result) for _, result in found}) == 4
    memo = Memo(4)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: memo.get(f"{i % 50}", lambda: i % 50), range(4000)))
    assert found == [i % 50 for i in range(4000)] and len(memo) == 4


def test_copies_of_a_memo_start_empty_and_problems_can_be_copied():
    memo = Memo(5)
    memo.get(1, lambda: 1)
    for other in (copy.deepcopy(memo), pickle.loads(pickle.dumps(memo))):
        assert other.size == 5 and len(other) == 0
    assert copy.deepcopy(PROBLEM).initial_risk == PROBLEM.initial_risk


def test_calls_with_equal_arguments_give_the_same_object():
    made = []

    @memoized(size=2)
    def make(a, b=2.0, *, c=None):
        """Makes."""
        made.append(a)
        return [a, b, c]

    assert make(1) is make(1, 2.0) is make(b=2.0, a=1) is make(1, c=None)
    assert make.__doc__ == "Makes." and len(make.memo) == 1
    assert make({1}) is not make({1})  # no key: not remembered
    assert make(True) is not make(1) and len(make.memo) == 2
    with pytest.raises(TypeError, match=r"make\(\) missing 1 required positional argument"):
        make()
    assert made == [1, {1}, {1}, True]


MAKERS = {
    "adam": lambda i: sl.adam(0.5, 0.5 + i / 2000),
    "adam with eps": lambda i: sl.adam(0.5, 0.9, 1.0 + i),
    "signum": lambda i: sl.signum(i / 1000),
    "clip_norm": lambda i: sl.clip_norm(1.0 + i),
    "clip_coordinate": lambda i: sl.clip_coordinate(1.0 + i),
    "s3": lambda i: sl.s3(0.9, 1.0 + i),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_five_hundred_rules_take_bounded_memory_and_are_right_after_they_were_forgotten(make):
    rules = [make(i) for i in range(500)]
    assert make(499) is rules[499] and make(450) is rules[450]
    again = make(0)  # forgotten, and made anew
    assert again is not rules[0] and again.hyperparameters == rules[0].hyperparameters
    for made in (sl.adam, sl.signum, sl.clip_norm, sl.clip_coordinate, sl.s3):
        assert len(made.memo) <= SIZE


def test_a_problem_remembers_a_bounded_number_of_results():
    problem = sl.LinearRegression(np.array([1.0, 2.0]), sl.noise.Gaussian(0.5))
    R = 0.3

    def sharpness(c):
        return sl.stationary_risk(problem, sl.clip_coordinate(c), R)

    first = sharpness(0.5)
    for i in range(500):
        problem.cached(("result", i), lambda i=i: i)
    assert len(problem._cache) <= 32
    assert sharpness(0.5) == first


def test_tables_of_many_noise_laws_take_bounded_memory(monkeypatch):
    table = memoized(scale_mixtures._student_table.__wrapped__, size=8)
    monkeypatch.setattr(scale_mixtures, "_student_table", table)
    factors = [float(sl.noise.StudentT(2.0 + i, 1.0).gaussian_factor(0.5)) for i in range(20)]
    assert len(table.memo) == 8
    assert float(sl.noise.StudentT(2.0, 1.0).gaussian_factor(0.5)) == factors[0]
