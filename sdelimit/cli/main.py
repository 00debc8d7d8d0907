"""The command line. No computation: it parses, calls the library, prints and writes."""

import _thread
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path

import click
from click.core import ParameterSource

from sdelimit.cli.commands import report_command, rerun_command, sweep_command
from sdelimit.cli.common import computes
from sdelimit.cli.listing import list_command
from sdelimit.cli.scaling import scaling_command
from sdelimit.experiments.comparison_run import experiment_of, model_of, run_experiment
from sdelimit.experiments.curve_files import write_csv, write_npz
from sdelimit.report.comparison import format_table
from sdelimit.support.arguments import nearest
from sdelimit.support.files import describe_inputs, replacing, writable_folder
from sdelimit.support.versions import version_info


class Suggesting(click.Group):
    """A command group that suggests the nearest command for a misspelt one."""

    def resolve_command(self, ctx, args):
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


@click.group(cls=Suggesting, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sdelimit")
def main():
    """Exact high-dimensional risk curves of stochastic optimizers, next to simulated runs."""


for command in (list_command, sweep_command, report_command, rerun_command, scaling_command):
    main.add_command(command)


@main.command(name="compare")
@click.option(
    "--optimizer",
    "-o",
    "optimizer",
    multiple=True,
    default=("sign_sgd", "sgd"),
    show_default=True,
    help="Rule; repeat for several on the same samples: see sdelimit list optimizers.",
)
@click.option("--d", "d", type=int, default=600, show_default=True, help="Dimension.")
@click.option(
    "--covariance",
    "-K",
    default="ar1:0.5",
    show_default=True,
    help="identity, power_law:EXPONENT[,rotate=True], ar1:RHO, spiked:[S1,S2], or a .npy/.csv file; all that "
    "bring their own d, too: see sdelimit list covariances.",
)
@click.option(
    "--model",
    default="linear",
    show_default=True,
    help="linear, logistic:hard (labels 0 and 1), logistic:soft (their probabilities), probit, poisson, phase:OVERLAP "
    "(phase retrieval from a theta0 with this cosine to theta*, 0.5 if none is given), huber:THRESHOLD or absolute "
    "(linear regression with these losses).",
)
@click.option(
    "--noise",
    "-n",
    multiple=True,
    default=("gaussian:0.5", "student_t:5,0.5"),
    show_default=True,
    help="Label noise of the models linear, huber and absolute, one panel each: none, gaussian:STD, "
    "student_t:DF,SCALE, cauchy:SCALE, ... (sdelimit list noises), or a file of samples.",
)
@click.option(
    "--target",
    default="dense",
    show_default=True,
    help="theta*: dense (Gaussian, of length about 1), e1, e2, ... (a unit vector), sparse:K (K equal entries, of "
    "length 1), or a .npy/.csv file.",
)
@click.option(
    "--data",
    "data",
    metavar="FILE",
    help="Real data in place of --d, --covariance, --noise and --target: an .npz file with X (n, d) and y (n,), or "
    ".npy/.csv with y in the last column. Runs use its rows, each once; dashed lines are theory from the rows. With "
    "--model logistic y is 1 and 0, or 1 and -1.",
)
@click.option(
    "--balance", is_flag=True, help="Of two classes in --data, as many rows of the larger as the smaller has."
)
@click.option(
    "--lr",
    "lr",
    multiple=True,
    default=("0.5",),
    show_default=True,
    help="eta (a step moves theta by eta/d): a number, cosine:START, linear:START, inverse_sqrt:START; "
    "OPTIMIZER=... sets it for one rule: see sdelimit list schedules.",
)
@click.option("--t-max", type=float, default=4.0, show_default=True, help="Horizon t = steps / d.")
@click.option("--points", type=int, default=81, show_default=True, help="Times to evaluate at.")
@click.option("--runs", "n_runs", type=int, default=64, show_default=True, help="Simulated runs.")
@click.option("--paths", "n_paths", type=int, default=64, show_default=True, help="SDE paths.")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Samples per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of target, samples and paths.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Output folder; default sdelimit-compare, or sdelimit-compare-2, -3, ... if that exists.",
)
@click.option("--force", is_flag=True, help="Overwrite the output of an earlier run.")
@computes
def compare_command(**settings):
    """ODE, SDE band and finite-dimensional runs on one figure, with their distance in a table.

    Writes comparison.png and .pdf, curves.npz and .csv, and settings.json to the output folder.
    """
    started = time.perf_counter()
    try:
        _require_one_problem(settings)
        settings["noise"] = _noise_of_model(settings)
        experiment = experiment_of(settings)
        _require_dimension(settings, experiment.problems[0].d)
        inputs = describe_inputs(*(settings[name] for name in ("covariance", "data", "target")), *settings["noise"])
        record = {"command": "compare", **settings, "d": experiment.problems[0].d, "inputs": inputs, **version_info()}
        out = _prepare(settings["out"], settings["force"], _largest(settings))
        reports = run_experiment(experiment, settings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(format_table(reports))
    try:
        _write(out, reports, {**record, "out": str(out)})
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror}") from error
    click.echo(f"\nWrote {', '.join(FILES)} to {out} in {time.perf_counter() - started:.0f} s.")


def _require_one_problem(settings):
    """--data brings what it replaces."""
    source = click.get_current_context().get_parameter_source
    for option in ("d", "covariance", "noise", "target"):
        if settings["data"] and source(option) is ParameterSource.COMMANDLINE:
            raise ValueError(f"--data brings its own --{option}; leave one of them out")


def _require_dimension(settings, d):
    """--d, where it is given beside a covariance that brings its own, is that."""
    source = click.get_current_context().get_parameter_source
    if source("d") is ParameterSource.COMMANDLINE and settings["d"] != d:
        raise ValueError(f"--covariance: {settings['covariance']} has d = {d}, got --d {settings['d']}")


def _noise_of_model(settings):
    """--noise; without it, none for models that have no label noise."""
    asked = click.get_current_context().get_parameter_source("noise") is ParameterSource.COMMANDLINE
    return settings["noise"] if asked or model_of(settings).takes_noise else ("none",)


FILES = ("comparison.png", "comparison.pdf", "curves.npz", "curves.csv", "settings.json")
FOLDER = "sdelimit-compare"


def _largest(settings):
    """Bytes of the output, at most."""
    curves = len(settings["optimizer"]) * len(settings["noise"]) * settings["points"]
    return 2**22 + 64 * curves * (settings["n_runs"] + settings["n_paths"])


def _prepare(out, force, needed):
    """The output folder, made and found writable before any work is done; a new one if none was named."""
    if out is None:
        out = next(path for path in _folders() if force or not path.exists())
    existing = [name for name in FILES if (out / name).exists()]
    if existing and not force:
        raise ValueError(f"--out: {out} already holds {existing[0]}; choose another folder or pass --force")
    return writable_folder("--out", out, needed)


def _folders():
    yield Path(FOLDER)
    for i in itertools.count(2):
        yield Path(f"{FOLDER}-{i}")


def _write(out, reports, record):
    from sdelimit.report.plot import plot_reports  # and matplotlib with it

    plot_reports(reports, [out / "comparison.png", out / "comparison.pdf"])
    write_npz(out / "curves.npz", reports, record)
    write_csv(out / "curves.csv", reports)
    with replacing(out / "settings.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=2, default=str) + "\n")


def run():
    """``main`` as a program. After Ctrl-C it leaves at once: Python's shutdown under threads that compile can crash."""
    sys.unraisablehook = _again_if_interrupted
    try:
        status = main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted!", err=True)
        status = INTERRUPTED
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        status = INTERRUPTED
    if status == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(status or 0)


def _again_if_interrupted(ignored):
    """Ctrl-C again, a moment later, where Python drops it: in a finalizer or a callback there is nobody to catch it."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        again = threading.Timer(MOMENT, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


MOMENT = 0.05
"""Seconds."""
INTERRUPTED = 130
"""What shells give a command that Ctrl-C has ended."""
