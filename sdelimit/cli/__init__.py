"""The command line."""

from sdelimit.cli.main import main, run

__all__ = ["main", "run"]
