"""The options of commands that compare rules on a problem, and what they say together. No computation."""

from pathlib import Path

import click
from click.core import ParameterSource

OPTIONS = {
    "optimizer": (
        ("--optimizer", "-o"),
        {"multiple": True, "default": ("sign_sgd", "sgd")},
        "Rule; repeat for several on the same samples: see sdelimit list optimizers.",
    ),
    "d": (("--d",), {"type": int, "default": 600}, "Dimension."),
    "covariance": (
        ("--covariance", "-K"),
        {"default": "ar1:0.5"},
        "identity, power_law:EXPONENT[,rotate=True], ar1:RHO, spiked:[S1,S2], or a .npy/.csv file; those that bring "
        "their own d, too: see sdelimit list covariances.",
    ),
    "model": (
        ("--model",),
        {"default": "linear"},
        "linear, logistic:hard (labels 0 and 1), logistic:soft (their probabilities), softmax:hard,M (M classes, 3 if "
        "none is given), softmax:soft,M, probit, poisson, phase:OVERLAP (phase retrieval from a theta0 with this "
        "cosine to theta*, 0.5 if none is given), huber:THRESHOLD or absolute (linear regression with these losses).",
    ),
    "noise": (
        ("--noise", "-n"),
        {"multiple": True, "default": ("gaussian:0.5", "student_t:5,0.5")},
        "Label noise of the models linear, huber and absolute, one panel each: none, gaussian:STD, "
        "student_t:DF,SCALE, cauchy:SCALE, ... (sdelimit list noises), or a file of samples.",
    ),
    "target": (
        ("--target",),
        {"default": "dense"},
        "theta*: dense (Gaussian, of length about 1), e1, e2, ... (a unit vector), sparse:K (K equal entries, of "
        "length 1), or a .npy/.csv file.",
    ),
    "data": (
        ("--data", "data"),
        {"metavar": "FILE"},
        "Real data in place of --d, --covariance, --noise and --target: a table in a .csv, .tsv, .txt (or .gz of "
        "these), .parquet or .npy file, with the labels y in the column --label, or an .npz file with X (n, d) and "
        "y (n,). Runs use its rows, each once; dashed lines are theory from the rows. With --model logistic y is 1 "
        "and 0, or 1 and -1.",
    ),
    "label": (
        ("--label",),
        {"metavar": "NAME"},
        "The column of --data that holds the labels y: its name, or its number (0 for the first); or a file of them. "
        "Default: the last column.",
    ),
    "balance": (
        ("--balance",),
        {"is_flag": True},
        "Of two classes in --data, as many rows of the larger as the smaller has.",
    ),
    "lr": (
        ("--lr",),
        {"multiple": True, "default": ("0.5",)},
        "eta (a step moves theta by eta/d): a number, cosine:START, linear:START, inverse_sqrt:START; "
        "OPTIMIZER=... sets it for one rule: see sdelimit list schedules.",
    ),
    "t_max": (("--t-max",), {"type": float, "default": 4.0}, "Horizon t = steps / d."),
    "points": (("--points",), {"type": int, "default": 81}, "Times to evaluate at."),
    "batch_size": (("--batch-size",), {"type": int, "default": 1}, "Samples per step."),
    "seed": (("--seed",), {"type": int, "default": 0}, "Seed of target, samples and paths."),
}
"""{parameter: (names, settings of click, help)}."""


def problem_options(**defaults):
    """A decorator that adds the options of a problem and the rules on it, with other ``defaults`` for some."""

    def decorate(command):
        for name, (names, given, text) in reversed(OPTIONS.items()):
            own = {**given, **({"default": defaults[name]} if name in defaults else {})}
            command = click.option(*names, **own, help=text, show_default="default" in own)(command)
        return command

    return decorate


def checked_experiment(settings):
    """The experiment that the options of the current command say. ValueError naming the option that is wrong.

    ``settings["noise"]`` becomes what it is for the model.
    """
    from sdelimit.experiments.comparison_run import experiment_of

    _require_one_problem(settings)
    settings["noise"] = _noise_of_model(settings)
    experiment = experiment_of(settings)
    d = experiment.problems[0].d
    if was_given("d") and settings["d"] != d:
        raise ValueError(f"--covariance: {settings['covariance']} has d = {d}, got --d {settings['d']}")
    return experiment


def record_of(command, settings, experiment) -> dict:
    """What a result was made from: the settings, the inputs' checksums and the versions."""
    from sdelimit.support.files import describe_inputs
    from sdelimit.support.versions import version_info

    label = settings["label"] if settings["label"] and Path(settings["label"]).is_file() else None
    inputs = describe_inputs(settings["covariance"], settings["data"], label, settings["target"], *settings["noise"])
    return {"command": command, **settings, "d": experiment.problems[0].d, "inputs": inputs, **version_info()}


def was_given(option):
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _require_one_problem(settings):
    """--data brings what it replaces."""
    for option in ("d", "covariance", "noise", "target"):
        if settings["data"] and was_given(option):
            raise ValueError(f"--data brings its own --{option}; leave one of them out")


def _noise_of_model(settings):
    """--noise; without it, none for models that have no label noise."""
    from sdelimit.experiments.comparison_run import model_of

    return settings["noise"] if was_given("noise") or model_of(settings).takes_noise else ("none",)
