"""The command line as a program: its commands, and how it ends. No computation."""

import _thread
import gc
import os
import sys
import threading

import click

from sdelimit.cli.commands import report_command, rerun_command, sweep_command
from sdelimit.cli.compare import compare_command
from sdelimit.cli.explore import explore_command
from sdelimit.cli.listing import list_command
from sdelimit.cli.scaling import scaling_command
from sdelimit.cli.theory import effects_command, ode_command


class Suggesting(click.Group):
    """A command group that suggests the nearest command for a misspelt one, and lists commands as they are added."""

    def resolve_command(self, ctx, args):
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from sdelimit.support.arguments import nearest

            ctx.fail(f"No such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx):
        return list(self.commands)


@click.group(cls=Suggesting, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sdelimit")
def main():
    """Exact high-dimensional risk curves of stochastic optimizers, next to simulated runs."""


for command in (compare_command, ode_command, effects_command, sweep_command, report_command, rerun_command,
                scaling_command, explore_command, list_command):  # fmt: skip
    main.add_command(command)


def run():
    """``main`` as a program. After Ctrl-C it leaves at once: Python's shutdown under threads that compile can crash."""
    sys.unraisablehook = _again_if_interrupted
    gc.set_threshold(*RARELY)
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
    gc.freeze()  # what is left is not looked through once more, which takes half a second
    gc.disable()
    sys.exit(status or 0)


def _again_if_interrupted(ignored):
    """Ctrl-C again, a moment later, where Python drops it: in a finalizer or a callback there is nobody to catch it."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        again = threading.Timer(MOMENT, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


RARELY = 100_000, 50, 100
"""When garbage is looked for: programs in the making are many small objects, and to look through them takes seconds."""
MOMENT = 0.05
"""Seconds."""
INTERRUPTED = 130
"""What shells give a command that Ctrl-C has ended."""
