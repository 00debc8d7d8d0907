"""The command line. No computation: it parses, calls the library, prints and writes."""

import itertools
import json
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from click.core import ParameterSource

from sdelimit import _specs as specs
from sdelimit import data
from sdelimit._export import version_info, write_csv, write_npz
from sdelimit._validation import nearest
from sdelimit.compare import RunsOnly, compare, format_table
from sdelimit.ode import solve_ode
from sdelimit.optimizers import Optimizer
from sdelimit.plot import plot_reports
from sdelimit.problem import LinearRegression
from sdelimit.sde import solve_sde
from sdelimit.simulate import simulate


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


@main.command(name="compare")
@click.option(
    "--optimizer",
    "-o",
    "optimizer",
    multiple=True,
    default=("sign_sgd", "sgd"),
    show_default=True,
    help="Rule; repeat for several on the same samples.",
)
@click.option("--d", "d", type=int, default=600, show_default=True, help="Dimension.")
@click.option(
    "--covariance",
    "-K",
    default="ar1:0.5",
    show_default=True,
    help="identity, power_law:EXPONENT[,rotate=True], ar1:RHO, spiked:[S1,S2], or a .npy/.csv file.",
)
@click.option(
    "--noise",
    "-n",
    multiple=True,
    default=("gaussian:0.5", "student_t:5,0.5"),
    show_default=True,
    help="Label noise, one panel each: none, gaussian:STD, student_t:DF,SCALE, cauchy:SCALE, laplace:SCALE, "
    "uniform:HALF_WIDTH, two_point:MAGNITUDE, or a file of samples.",
)
@click.option(
    "--data",
    "data",
    metavar="FILE",
    help="Real data in place of --d, --covariance and --noise: an .npz file with X (n, d) and y (n,), or .npy/.csv "
    "with y in the last column. Runs use its rows, each once; dashed lines are theory from the rows themselves.",
)
@click.option(
    "--lr",
    "lr",
    multiple=True,
    default=("0.5",),
    show_default=True,
    help="eta (a step moves theta by eta/d): a number, cosine:START, linear:START, inverse_sqrt:START; "
    "OPTIMIZER=... sets it for one rule.",
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
def compare_command(**settings):
    """ODE, SDE band and finite-dimensional runs on one figure, with their distance in a table.

    Writes comparison.png and .pdf, curves.npz and .csv, and settings.json to the output folder.
    """
    started = time.perf_counter()
    try:
        experiment = _experiment(settings)
        record = {**settings, "d": experiment.problems[0].d, **version_info()}
        out = _prepare(settings["out"], settings["force"])
        reports = _compare(experiment, settings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(format_table(reports))
    _write(out, reports, {**record, "out": str(out)})
    click.echo(f"\nWrote {', '.join(FILES)} to {out} in {time.perf_counter() - started:.0f} s.")


FILES = ("comparison.png", "comparison.pdf", "curves.npz", "curves.csv", "settings.json")
FOLDER = "sdelimit-compare"


def _prepare(out, force):
    """The output folder, made and found writable before any work is done; a new one if none was named."""
    if out is None:
        out = next(path for path in _folders() if force or not path.exists())
    existing = [name for name in FILES if (out / name).exists()]
    if existing and not force:
        raise ValueError(f"--out: {out} already holds {existing[0]}; choose another folder or pass --force")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--out: cannot write to {out}: {error.strerror}") from error
    return out


def _folders():
    yield Path(FOLDER)
    for i in itertools.count(2):
        yield Path(f"{FOLDER}-{i}")


class Experiment(NamedTuple):
    """The settings as objects."""

    problems: list[LinearRegression]
    optimizers: list[Optimizer]
    rates: list
    times: np.ndarray


def _experiment(settings):
    t_max = settings["t_max"]
    if settings["points"] < 2 or not 0 < t_max < float("inf"):
        raise ValueError(f"--points must be >= 2 and --t-max > 0, got {settings['points']} and {t_max:g}")
    for option, name in (("--runs", "n_runs"), ("--paths", "n_paths")):
        if settings[name] < 1:
            raise ValueError(f"{option} must be >= 1, got {settings[name]}")
    problems = _data_problem(settings) if settings["data"] else _made_up_problems(settings)
    if t_max * problems[0].d < 1:
        raise ValueError(f"--t-max must reach one step, 1/d = {1 / problems[0].d:g}, got {t_max:g}")
    return Experiment(
        problems,
        [specs.parse_optimizer(text) for text in settings["optimizer"]],
        _rates(settings["lr"], settings["optimizer"], t_max),
        np.linspace(0.0, t_max, settings["points"]),
    )


def _made_up_problems(settings):
    """One problem for each noise law."""
    covariance = specs.parse_covariance(settings["covariance"], settings["d"])
    noises = [specs.parse_noise(text) for text in settings["noise"]]
    return [LinearRegression(covariance, noise, seed=settings["seed"]) for noise in noises]


def _data_problem(settings):
    """The problem of the data file, alone in a list."""
    source = click.get_current_context().get_parameter_source
    for option in ("d", "covariance", "noise"):
        if source(option) is ParameterSource.COMMANDLINE:
            raise ValueError(f"--data brings its own --{option}; leave one of them out")
    problem = data.from_file(settings["data"])
    problem.require_rows(settings["t_max"], settings["batch_size"])
    return [problem]


def _compare(experiment, settings):
    """Theory first: it refuses what the problem cannot have before the simulation spends its time."""
    seed, batch_size = settings["seed"], settings["batch_size"]
    reports = []
    for problem in experiment.problems:
        times = np.unique(np.rint(experiment.times * problem.d)) / problem.d
        given = {"t": times, "batch_size": batch_size}
        theories = [
            _theory(problem, rule, lr, settings["n_paths"], seed, given)
            for rule, lr in zip(experiment.optimizers, experiment.rates, strict=True)
        ]
        runs = simulate(problem, experiment.optimizers, experiment.rates, n_runs=settings["n_runs"], seed=seed, **given)
        for theory, own, lr in zip(theories, runs, experiment.rates, strict=True):
            reports.append(RunsOnly(own, theory) if isinstance(theory, str) else compare(theory[0], own, theory[1]))
            if data.covers(problem, own.optimizer, batch_size):
                reports.append(compare(data.solve_ode(problem, own.optimizer, lr, **given), own))
    return reports


def _theory(problem, rule, lr, n_paths, seed, given):
    """(ODE, SDE paths), or the reason why the rule has no limit here."""
    try:
        rule.limit_of(problem, given["batch_size"])
    except ValueError as error:
        return f"{error}".split(":")[0]
    return solve_ode(problem, rule, lr, **given), solve_sde(problem, rule, lr, n_paths=n_paths, seed=seed, **given)


def _rates(texts, names, t_max):
    """One learning rate for each optimizer, from '0.5' (for all) and 'sgd=0.3' (for one)."""
    rates = dict.fromkeys(names, None)
    for text in sorted(texts, key=lambda text: _own(text, names)[0] is not None):
        name, own = _own(text, names)
        for key in [name] if name else names:
            rates[key] = specs.parse_schedule(own, t_max)
    missing = [name for name, value in rates.items() if value is None]
    if missing:
        raise ValueError(f"--lr: no learning rate for {missing[0]}; give one for all, or --lr {missing[0]}=0.5")
    return [rates[name] for name in names]


def _own(text, names):
    """(optimizer, rest) of 'OPTIMIZER=rest', by the optimizer's text or bare name; (None, text) otherwise."""
    known = {bare: name for name in names for bare in (name.partition(":")[0], name)}
    matches = [key for key in known if text.startswith(f"{key}=")]
    if matches:
        key = max(matches, key=len)
        return known[key], text[len(key) + 1 :]
    name, equals, _ = text.partition("=")
    if equals and ":" not in name:
        raise ValueError(f"--lr: {name!r} is not one of the optimizers{nearest(name, known)}")
    return None, text


def _write(out, reports, record):
    plot_reports(reports, [out / "comparison.png", out / "comparison.pdf"])
    write_npz(out / "curves.npz", reports, record)
    write_csv(out / "curves.csv", reports)
    (out / "settings.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
