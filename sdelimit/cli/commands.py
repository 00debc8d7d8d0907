"""The commands of sweeps and repetitions. No computation."""

import contextlib
import tomllib
from pathlib import Path

import click

from sdelimit.cli.common import computes

KEYS = ("optimizer", "lr", "t_max", "d", "covariance", "model", "noise", "data", "label", "batch_size", "seed",
        "n_runs", "points")  # fmt: skip
REQUIRED = KEYS[:3]
PATH = click.Path(path_type=Path)


@click.command(name="sweep")
@click.argument("config", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the results; the same command goes on in it.")
@click.option("--force", is_flag=True, help="Discard the sweep that the folder holds, and start again.")
@click.option("--retry-failed", is_flag=True, help="Compute again the cells that failed.")
@click.option("--parquet", is_flag=True, help="Write table.parquet too (needs pyarrow).")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that compute cells, each with one thread. Default: this one, with all threads.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Address of a Dask scheduler, tcp://host:8786, whose workers compute the cells (needs distributed).",
)
@computes
def sweep_command(config, out, dask, **options):
    """Theory and runs for every combination of the values in CONFIG, a TOML file.

    \b
    optimizer = ["sign_sgd", "sgd"]
    lr = { from = 0.05, to = 2.0, points = 6 }   # or a list; or [lr] with one for each optimizer
    d = [200, 400]
    covariance = "ar1:0.5"                       # texts as for sdelimit compare
    noise = ["gaussian:0.5", "student_t:1.5,0.3"]
    t_max = 4.0
    n_runs = 16                                  # and model, batch_size, seed, points

    data = "cars.csv" in place of d, covariance and noise takes rows of a file, label = "price" its column of labels.

    Interrupted in any way, the same command goes on where it stopped and ends with the same table.
    """
    from sdelimit.experiments.sweep import sweep

    try:
        given = _read_config(config)
        if dask and options["workers"]:
            raise ValueError("--workers and --dask say both who computes; leave one of them out")
        with _dask_executor(dask) if dask else contextlib.nullcontext() as executor:
            result = sweep(out, **given, progress=True, executor=executor, **options)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
    except KeyboardInterrupt:
        click.echo(f"\nStopped. {_progress(out)}; the same command goes on.", err=True)
        raise click.exceptions.Exit(130) from None
    click.echo(f"{result.table()}\n\nThe table is {out / 'table.csv'}.")


@contextlib.contextmanager
def _dask_executor(address):
    """The executor of a Dask scheduler. ValueError if there is none."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError('--dask needs distributed, which is not installed: pip install "sdelimit[dask]"') from error
    try:
        client = Client(address, timeout=DASK_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"--dask: there is no scheduler at {address!r}: {error}") from error
    with client:
        yield client.get_executor()


DASK_SECONDS = 10


def _progress(out):
    """How many cells are done; the folder may not be a sweep's yet."""
    from sdelimit.experiments.sweep import read_sweep

    try:
        return read_sweep(out).table().splitlines()[-1]
    except ValueError:
        return "No cell is done"


def _read_config(path) -> dict:
    """The arguments of ``sweep`` in a TOML file."""
    from sdelimit.support import arguments as check
    from sdelimit.support.files import reading

    with reading("config", path, "is not a TOML file"):
        config = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    for key in config:
        check.choice("config", key, KEYS)
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ValueError(f"config: {path} must give {', '.join(REQUIRED)}, and has no {missing[0]}")
    return config


@click.command(name="report")
@click.argument("folder", type=PATH)
@click.option(
    "--axis", help="d, covariance, noise, batch_size or model, against the learning rate; default: most values."
)
@click.option("--force", is_flag=True, help="Overwrite figures of an earlier report.")
def report_command(folder, axis, force):
    """Heat maps and best learning rates of the sweep in FOLDER, finished or not, as .png and .pdf in it."""
    from sdelimit.experiments.sweep import read_sweep
    from sdelimit.support.files import replacing, writable_folder

    try:
        result = read_sweep(folder)
        figures = result.plot(axis)
        paths = [folder / f"{name}.{suffix}" for name in figures for suffix in ("png", "pdf")]
        existing = [path for path in paths if path.exists()]
        if existing and not force:
            raise ValueError(f"{existing[0]} exists already; overwrite the figures with --force")
        writable_folder("folder", folder)
        for path in paths:
            with replacing(path) as file:
                figures[path.stem].savefig(file, format=path.suffix[1:], dpi=150)
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{result.table()}\n\nWrote {', '.join(f'{name}.png and .pdf' for name in figures)} to {folder}.")


@click.command(name="rerun")
@click.argument("file", type=PATH)
@computes
def rerun_command(file):
    """Repeat the result in FILE, an .npz of sdelimit compare or of a sweep's cell, and report the difference.

    The exit status is 1 if it exceeds what rounding makes.
    """
    from sdelimit.experiments.rerun import rerun

    try:
        result = rerun(file)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(result.table())
    raise click.exceptions.Exit(0 if result.agrees else 1)
