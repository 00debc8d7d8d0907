"""Texts for optimizers, noise laws, covariances, schedules, models and targets."""

import numpy as np
import pytest
import scipy.linalg

import sdelimit as sl
from sdelimit.experiments import specs
from sdelimit.experiments.catalogue import KINDS, NO_DEFAULT, entries, first_sentence
from sdelimit.experiments.comparison_run import _rates
from sdelimit.experiments.grid import grid_settings

PARSERS = {
    "optimizers": specs.parse_optimizer,
    "noises": specs.parse_noise,
    "covariances": lambda text: specs.parse_covariance(text, 6),
    "schedules": lambda text: specs.parse_schedule(text, 4.0),
    "models": specs.parse_model,
}


@pytest.mark.parametrize(
    ("texts", "rule"),
    [
        (("sign_sgd", "signSGD", "SignSGD", "Sign-SGD", "SIGNSGD"), sl.sign_sgd()),
        (("adam", "Adam", "ADAM:0.9"), sl.adam()),
        (("s_adam", "S-Adam", "sadam"), sl.s_adam()),
        (("AdamW:weight_decay=0.3",), sl.adamw(weight_decay=0.3)),
        (("Signum:0.8,memory=fixed",), sl.signum(0.8, memory="fixed")),
    ],
)
def test_optimizers_are_named_as_papers_spell_them(texts, rule):
    assert {repr(specs.parse_optimizer(text)) for text in texts} == {repr(rule)}


def test_other_things_are_named_in_any_case_and_by_their_class():
    assert specs.parse_noise("StudentT:2,0.3") == specs.parse_noise("student_t:2,0.3") == sl.noise.StudentT(2, 0.3)
    assert isinstance(specs.parse_noise("NoNoise"), sl.noise.NoNoise)
    assert specs.parse_covariance("AR1:0.5", 4) == sl.covariance.ar1(4, 0.5)
    assert specs.parse_schedule("Cosine:0.5", 3.0) == sl.schedules.cosine(0.5, 3.0)
    assert specs.parse_model("LogisticRegression:soft").options == {"labels": "soft"}
    np.testing.assert_array_equal(specs.parse_target("E2", 3, 0), [0, 1, 0])
    assert specs.parse_target("Dense", 3, 0) is None


def test_a_learning_rate_goes_to_its_optimizer_in_any_spelling():
    assert _rates(["0.4", "signsgd=0.1", "Signum:0.8=0.2"], ["SignSGD", "sgd", "signum:0.8"], 4.0) == [0.1, 0.4, 0.2]
    settings = grid_settings(optimizer=["SignSGD", "sgd"], lr={"sign_sgd": 0.1, "SGD": 0.2}, t_max=1.0, d=8)
    assert settings["lr"] == {"SignSGD": [0.1], "sgd": [0.2]}


def test_covariances_that_bring_their_dimension():
    def dense(text):
        return specs.parse_covariance(text, 600).to_dense()

    np.testing.assert_array_equal(dense("diagonal:[2,1,0.5]"), np.diag([2, 1, 0.5]))
    np.testing.assert_array_equal(dense("dense:[[2,0.5],[0.5,1]]"), [[2, 0.5], [0.5, 1]])
    blocks = scipy.linalg.block_diag(sl.covariance.ar1(3, 0.5).to_dense(), np.diag([2, 1]), np.eye(2))
    np.testing.assert_allclose(dense("block:ar1(3,0.5),[2,1],Identity(2)"), blocks)
    assert specs.brings_dimension("block:identity(3)") and not specs.brings_dimension("ar1:0.5")
    with pytest.raises(ValueError, match=r"holds a matrix with d = 2, got d = 8"):
        grid_settings(optimizer="sgd", lr=0.1, t_max=1.0, d=8, covariance="diagonal:[1,2]")


def test_schedules_of_schedules_know_the_horizon():
    made = specs.parse_schedule("warmup:cosine(0.5),1", 4.0)
    expected = sl.schedules.warmup(sl.schedules.cosine(0.5, 4.0), 1)
    assert [float(made(t)) for t in (0.5, 2.0, 3.9)] == [float(expected(t)) for t in (0.5, 2.0, 3.9)]
    assert specs.parse_schedule("cosine:0.5,2", 4.0) == sl.schedules.cosine(0.5, 2)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("noises", "student_t", "noise: 'student_t' needs df and scale; for example student_t:2,0.3"),
        ("noises", "StudentT:2", "noise: 'StudentT:2' needs scale; for example student_t:2,0.3"),
        ("noises", "none:3", "noise: 'none:3' takes no arguments, and has 1; for example none"),
        ("noises", "gaussian:0.1,0.2", "takes at most 1 argument(s), std, and has 2; for example gaussian:0.5"),
        ("optimizers", "clip_norm", "optimizer: 'clip_norm' needs threshold; for example clip_norm:1"),
        ("optimizers", "adam:b3=1", "optimizer: 'adam:b3=1' has no argument 'b3' (did you mean 'b2'?)"),
        ("optimizers", "adam:0.9,b1=0.9", "has the argument 'b1' twice"),
        ("covariances", "ar1", "covariance: 'ar1' needs rho; for example ar1:0.5"),
        ("covariances", "ar1:d=3", "covariance: 'ar1:d=3' has no argument 'd'"),
        ("covariances", "block:ar1(0.5)", "covariance: 'block:ar1(0.5)' needs rho"),
        ("covariances", "block:foo(3)", "covariance: unknown value 'foo'"),
        ("covariances", "block:d=3", "covariance: 'block:d=3' takes no 'd'; for example block:ar1(300,0.5)"),
        ("schedules", "cosine", "lr: 'cosine' needs start; for example cosine:0.5"),
        ("schedules", "warmup:cosin(0.5),1", "lr: unknown value 'cosin' (did you mean 'cosine'?)"),
        ("models", "logistic:hard,labels=soft", "model: 'logistic:hard,labels=soft' has the argument 'labels' twice"),
        ("models", "linear:seed=3", "model: 'linear:seed=3' has no argument 'seed': it takes no arguments"),
    ],
)
def test_texts_without_their_arguments_say_which_and_how(kind, text, message):
    with pytest.raises(ValueError) as error:
        PARSERS[kind](text)
    assert message in str(error.value)
    assert "positional" not in str(error.value) and "__init__" not in str(error.value)


@pytest.mark.parametrize("kind", PARSERS)
def test_every_example_of_the_catalogue_works(kind):
    said = [entry for entry in entries(kind) if entry.example is not None]
    assert {entry.name for entry in said} == set(KINDS[kind].texts)
    for entry in said:
        PARSERS[kind](entry.example)
        assert entry.description and (NO_DEFAULT in entry.parameters.values()) == (":" in entry.example)


def test_the_catalogue_holds_all_that_is_public():
    """In one of its two parts."""
    for kind, base in {
        "noises": {"NoiseLaw"},
        "covariances": {"Covariance", "as_covariance"},
        "schedules": set(),
    }.items():
        room = getattr(sl, kind.removesuffix("s") if kind != "schedules" else kind)
        made = {make.__name__ for make in KINDS[kind].texts.values()}
        rest = {entry.name.rpartition(".")[2] for entry in entries(kind) if entry.example is None}
        assert made | rest == set(room.__all__) - base and not made & rest
    only_python = [entry.name for entry in entries("models") if entry.example is None]
    assert only_python == ["sl.SingleIndex", "sl.MultiOutputRegression", "sl.power_law_random_features"]


def test_first_sentences():
    def f():
        """u = g / |g|, e.g. ``1.5``
        or so (theory: section 3; arXiv:1). Another.

        More.
        """

    assert first_sentence(f) == "u = g / |g|, e.g. 1.5 or so."
