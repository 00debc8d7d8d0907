"""The command of scaling laws. No computation."""

import csv
import re
from functools import partial
from pathlib import Path

import click

from sdelimit.cli.common import computes, echo_doubts, holding_doubts
from sdelimit.cli.output import new_folder

SCHEDULES = ("constant", "inverse_sqrt", "wsd")
SIZES = (100, 141, 200, 283, 400, 566, 800)
FOLDER = "sdelimit-scaling"
COLUMNS = ("optimizer", "d", "steps", "compute", "lr", "loss", "on_frontier")


@click.command(name="scaling")
@click.option("--alpha", type=float, default=1.0, show_default=True, help="Variances of the data fall as j^(-2 alpha).")
@click.option("--beta", type=float, default=0.7, show_default=True, help="The labels' coefficients fall as j^(-beta).")
@click.option("--optimizer", "-o", multiple=True, default=("sgd",), show_default=True, help="Rule; repeat for several.")
@click.option("--d", "-d", "ds", type=int, multiple=True, default=SIZES, show_default=True, help="Model sizes.")
@click.option("--ratio", type=float, default=4.0, show_default=True, help="Variables of the data for each parameter.")
@click.option(
    "--lr",
    multiple=True,
    help="Learning rates to choose from at every size and compute, by default one for sgd and a range for signs and "
    "Adam; OPTIMIZER=... for one rule.",
)
@click.option("--horizon", type=float, default=2e7, show_default=True, help="Largest compute, in steps times d.")
@click.option("--schedule", type=click.Choice(SCHEDULES), default="constant", show_default=True)
@click.option("--batch-size", type=int, default=1, show_default=True, help="Samples per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random features.")
@click.option(
    "--deterministic", is_flag=True, help="The limit of many features, without matrices: for sgd and its kin."
)
@click.option("--out", type=click.Path(path_type=Path), help=f"Folder for the results; default a new {FOLDER}.")
@computes
def scaling_command(alpha, beta, optimizer, ds, ratio, lr, horizon, schedule, batch_size, seed, deterministic, out):
    """Compute-optimal frontiers on power-law random features: loss against compute for many model sizes.

    Writes scaling.png, .pdf and .csv to the output folder, and there the curves of every size as soon as it is done:
    interrupted in any way, the same command goes on.
    """
    from sdelimit.analysis.scaling.scaling_law import scaling_law, sizes_of
    from sdelimit.analysis.scaling.size_curve import last_step, rates_of
    from sdelimit.experiments.specs import parse_optimizer
    from sdelimit.support import arguments as check
    from sdelimit.support.files import writable_folder

    try:
        ratio = check.real("ratio", ratio, positive=True)
        rates = {text: _rates(lr, text, optimizer) for text in optimizer}
        family = partial(_problem, ratio=ratio, alpha=alpha, beta=beta, seed=seed, deterministic=deterministic)
        rules = [(text, parse_optimizer(text)) for text in dict.fromkeys(optimizer)]
        for d in sizes_of(ds):
            last_step(check.real("horizon", horizon, positive=True), d * batch_size, d)
        first = family(min(ds))
        for text, rule in rules:
            rates_of(first, rule.limit(first, batch_size), rates[text])  # refuses before anything is written
        folder = writable_folder("--out", new_folder(FOLDER) if out is None else out)
        with holding_doubts() as doubts:
            laws = [
                scaling_law(
                    family, rule, ds, lrs=rates[text], horizon=horizon, schedule=schedule, batch_size=batch_size,
                    out=folder / re.sub(r"[^A-Za-z0-9.=-]+", "_", text),
                )
                for text, rule in rules
            ]  # fmt: skip
        for text, law in zip((text for text, _ in rules), laws, strict=True):
            click.echo(f"{text}\n{law.table()}\n")
            echo_doubts(law.warnings)
        said = {" ".join(doubt.split()) for law in laws for doubt in law.warnings}
        echo_doubts([doubt for doubt in doubts if doubt not in said])
        _write(folder, [text for text, _ in rules], laws)
    except (ValueError, TypeError, RuntimeError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
    except KeyboardInterrupt:
        click.echo("\nStopped. The sizes that are done are kept, and the same command with --out goes on.", err=True)
        raise click.exceptions.Exit(130) from None
    click.echo(f"Wrote scaling.png, scaling.pdf and scaling.csv to {folder}.")


def _problem(d, *, ratio, **given):
    from sdelimit.problem.random_features import power_law_random_features

    return power_law_random_features(round(ratio * d), d, **given)


def _rates(texts, optimizer, optimizers):
    """The learning rates for one rule: its own, or those for all; None without any."""
    from sdelimit.experiments.specs import canonical

    chosen = {True: [], False: []}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if equals and canonical(name) not in map(canonical, optimizers):
            raise ValueError(f"--lr names {name!r}, which is none of the rules: -o {', -o '.join(optimizers)}")
        if not equals or canonical(name) == canonical(optimizer):
            try:
                chosen[bool(equals)].append(float(value))
            except ValueError:
                raise ValueError(f"--lr must be a number, or OPTIMIZER=NUMBER, got {text!r}") from None
    return chosen[True] or chosen[False] or None


def _write(folder, texts, laws):
    from sdelimit.analysis.scaling.plot import plot_scaling  # and matplotlib with it
    from sdelimit.support.files import replacing

    figure = plot_scaling(laws)
    for suffix in ("png", "pdf"):
        with replacing(folder / f"scaling.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=150)
    with replacing(folder / "scaling.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for text, law in zip(texts, laws, strict=True):
            for curve in law.curves:
                on_frontier = _on_frontier(law, curve)
                rows = zip(curve.steps, curve.best_rate, curve.best, on_frontier, strict=True)
                writer.writerows(
                    [text, curve.d, int(k), k * curve.cost, rate, loss, int(best)] for k, rate, loss, best in rows
                )


def _on_frontier(law, curve):
    """Whether each number of steps of a size is the best use of its compute, at the nearest point of the frontier."""
    import numpy as np

    distance = np.abs(np.log(law.compute[:, None] / (curve.steps * curve.cost)))
    return law.optimal_size[np.argmin(distance, axis=0)] == curve.d
