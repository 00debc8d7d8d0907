"""The commands of theory alone. No computation."""

import contextlib
import json
from pathlib import Path

import click

from sdelimit.cli.common import as_json, computes, echo_doubts, echo_json, holding_doubts
from sdelimit.cli.output import output_folder, require_new
from sdelimit.cli.problem_options import checked_experiment, problem_options, record_of
from sdelimit.support.terminal import table_width, wrapped

FILES = ("theory.png", "theory.pdf", "theory.npz", "theory.csv", "settings.json")


@click.command(name="ode")
@problem_options()
@click.option(
    "--out", type=click.Path(path_type=Path), help=f"Folder for {', '.join(FILES)}; without it nothing is written."
)
@click.option("--force", is_flag=True, help="Overwrite the output of an earlier run.")
@as_json
@computes
def ode_command(as_json, **settings):
    """Theory alone, without runs: the risk of each rule on each problem by its ODE, as a table.

    The options are those of compare. Once compiled, it takes milliseconds.
    """
    from sdelimit.experiments.comparison_run import solve_limits
    from sdelimit.report.theory import format_limits, limit_numbers

    out = settings["out"]
    if settings["force"] and not settings["out"]:
        raise click.UsageError("--force overwrites the output in --out, and there is none")
    try:
        experiment = checked_experiment(settings)
        record = record_of("ode", settings, experiment) | {"out": None if out is None else str(out)}
        if out is not None:
            require_new(out, FILES, settings["force"])
        with contextlib.nullcontext() if out is None else output_folder(out), holding_doubts() as doubts:
            limits = solve_limits(experiment, settings)
            if out is not None:
                _write(out, limits, record)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror}") from error
    if as_json:
        echo_json({**record, "limits": _by_rule(limit_numbers(limits)), "warnings": doubts})
        return
    click.echo(format_limits(limits, table_width()))
    echo_doubts(doubts)
    if out is not None:
        click.echo(f"\nWrote {', '.join(FILES)} to {out}.")


def _by_rule(numbers):
    """{noise: {rule: its numbers}}."""
    found = {}
    for one in numbers:
        found.setdefault(one["noise"], {})[one["rule"]] = one
    return found


def _write(out, limits, record):
    from sdelimit.experiments.curve_files import write_limits_csv, write_limits_npz
    from sdelimit.report.theory import plot_limits
    from sdelimit.support.files import replacing

    figure = plot_limits(limits)
    for suffix in ("png", "pdf"):
        with replacing(out / f"theory.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=150)
    write_limits_npz(out / "theory.npz", limits, record)
    write_limits_csv(out / "theory.csv", limits)
    with replacing(out / "settings.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=2, default=str) + "\n")


@click.command(name="effects")
@problem_options(optimizer=("sign_sgd",), noise=("gaussian:0.5",), t_max=10.0, points=200)
@as_json
@computes
def effects_command(as_json, **settings):
    """The effects in which rules differ from SGD, and what each does to the risk: see sl.effects.

    Learning rate, preconditioning, noise compression and noise reshaping, with their numbers at the end of the horizon
    and their shares in the change of ln R.
    """
    from sdelimit.analysis.effects.four_effects import effects
    from sdelimit.results.text import rule_labels

    try:
        experiment = checked_experiment(settings)
        labels = rule_labels(experiment.optimizers)
        found = {}
        with holding_doubts() as doubts:
            for problem in experiment.problems:
                own = found.setdefault(repr(problem.noise), {})
                for rule, lr in zip(experiment.optimizers, experiment.rates, strict=True):
                    own[labels[repr(rule)]] = effects(
                        problem, rule, lr, t=experiment.times, batch_size=settings["batch_size"]
                    )
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        numbers = {noise: {rule: one.numbers() for rule, one in own.items()} for noise, own in found.items()}
        echo_json({**record_of("effects", settings, experiment), "effects": numbers, "warnings": doubts})
        return
    tables = [one.table() for own in found.values() for one in own.values()]
    click.echo("\n\n".join("\n".join(map(_line, table.splitlines())) for table in tables))
    echo_doubts(doubts)


def _line(line):
    """Titles of tables wrapped where they are too long."""
    width = table_width()
    return line if width is None or len(line) <= width or "  " in line.strip() else wrapped(line, "    ", "")
