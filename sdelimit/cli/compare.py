"""The command that compares theory and runs. No computation."""

import json
import time
from pathlib import Path

import click

from sdelimit.cli.common import as_json, computes, echo_doubts, echo_json, holding_doubts
from sdelimit.cli.output import new_folder, output_folder, require_new
from sdelimit.cli.problem_options import checked_experiment, problem_options, record_of
from sdelimit.support.terminal import table_width

FILES = ("comparison.png", "comparison.pdf", "curves.npz", "curves.csv", "settings.json")
FOLDER = "sdelimit-compare"


@click.command(name="compare")
@problem_options()
@click.option("--runs", "n_runs", type=int, default=64, show_default=True, help="Simulated runs.")
@click.option("--paths", "n_paths", type=int, default=64, show_default=True, help="SDE paths.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Output folder; default {FOLDER}, or {FOLDER}-2, -3, ... if that exists.",
)
@click.option("--force", is_flag=True, help="Overwrite the output of an earlier run.")
@as_json
@computes
def compare_command(as_json, **settings):
    """ODE, SDE band and finite-dimensional runs on one figure, with their distance in a table.

    Writes comparison.png and .pdf, curves.npz and .csv, and settings.json to the output folder.
    """
    from sdelimit.experiments.comparison_run import run_experiment
    from sdelimit.report.comparison import format_table, report_numbers

    started, out = time.perf_counter(), settings["out"]
    try:
        experiment = checked_experiment(settings)
        record = record_of("compare", settings, experiment)
        out = out or (Path(FOLDER) if settings["force"] else new_folder(FOLDER))
        require_new(out, FILES, settings["force"])
        with output_folder(out, _largest(settings)), holding_doubts() as doubts:
            reports = run_experiment(experiment, settings, progress=None)
            record |= {"out": str(out)}
            if not as_json:
                click.echo(format_table(reports, table_width()))
                echo_doubts(doubts)
            _write(out, reports, record)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror}") from error
    if as_json:
        echo_json({**record, "files": FILES, "reports": _by_rule(report_numbers(reports)), "warnings": doubts})
    else:
        click.echo(f"\nWrote {', '.join(FILES)} to {out} in {time.perf_counter() - started:.0f} s.")


def _by_rule(numbers):
    """{noise: {rule: its numbers}}."""
    found = {}
    for one in numbers:
        found.setdefault(one["noise"], {})[one["rule"]] = one
    return found


def _largest(settings):
    """Bytes of the output, at most."""
    curves = len(settings["optimizer"]) * len(settings["noise"]) * settings["points"]
    return 2**22 + 64 * curves * (settings["n_runs"] + settings["n_paths"])


def _write(out, reports, record):
    from sdelimit.experiments.curve_files import write_csv, write_npz
    from sdelimit.report.plot import plot_reports
    from sdelimit.support.files import replacing

    plot_reports(reports, [out / "comparison.png", out / "comparison.pdf"])
    write_npz(out / "curves.npz", reports, record)
    write_csv(out / "curves.csv", reports)
    with replacing(out / "settings.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=2, default=str) + "\n")
