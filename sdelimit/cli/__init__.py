"""The command line."""

from sdelimit.cli.main import main

__all__ = ["main"]
