"""Regenerate the figures: python figures/make.py [NAME ...] [--quick]. PNG and PDF land next to this file.

A figure is a module of this folder with a function ``draw(quick)`` that returns a matplotlib figure. ``--quick`` takes
fewer runs in fewer dimensions and writes to figures/quick.
"""

import importlib
import time
from pathlib import Path

import click

HERE = Path(__file__).parent
NAMES = (
    "risk_curves",
    "concentration",
    "phi_and_chi",
    "preconditioning",
    "noise_reshaping",
    "stationary_risk",
    "matched_schedules",
    "adam_conjecture",
    "optimizers",
    "directional_sharpness",
    "real_data",
    "memory",
    "bands",
    "runaway",
    "label_noise",
    "dana",
    "scaling_laws",
    "image_and_text",
    "loss_spikes",
    "s_adam_brake",
    "clipping_share",
    "adam_plane",
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME ...]")
@click.option("--quick", is_flag=True, help="Fewer runs, smaller d; written to figures/quick.")
def main(names, quick):
    """Regenerate the figures NAME ..., or all of them."""
    folder = HERE / "quick" if quick else HERE
    folder.mkdir(exist_ok=True)
    for name in names or NAMES:
        started = time.perf_counter()
        figure = importlib.import_module(name).draw(quick)
        for suffix in ("png", "pdf"):
            figure.savefig(folder / f"{name}.{suffix}", dpi=150)
        click.echo(f"{name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
