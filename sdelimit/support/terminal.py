"""What fits on a terminal."""

import os
import shutil
import sys
import textwrap

NARROWEST = 20


def width() -> int:
    """Characters of a line of the terminal, or of ``COLUMNS``; 80 where neither says it."""
    return max(shutil.get_terminal_size().columns, NARROWEST)


def table_width() -> int | None:
    """The same for tables; None, any width, where standard output is no terminal and ``COLUMNS`` is not set."""
    return width() if os.environ.get("COLUMNS") or sys.stdout.isatty() else None


def wrapped(text: str, indent: str = "", first: str | None = None) -> str:
    """``text`` in lines of at most ``width()`` characters, each after ``indent``, the first after ``first``."""
    start = indent if first is None else first
    return textwrap.fill(text, width(), initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)
