"""Tables that fit into a number of columns."""

import textwrap

from sdelimit.results.text import align


def fitted(rows, width: int | None) -> str:
    """Rows of strings as ``align`` has them, where that is no wider than ``width``; None is any width.

    Otherwise columns in which all rows agree stand above the table; and if it is still too wide, each row is a
    paragraph: its first entry, and under it the others by name.
    """
    table = align(rows)
    if _fits(table, width):
        return table
    header, *entries = rows
    shared = {i for i in range(1, len(header)) if len(entries) > 1 and len({row[i] for row in entries}) == 1}
    above = ", ".join(f"{header[i]} {entries[0][i]}" for i in sorted(shared))
    kept = [i for i in range(len(header)) if i not in shared]
    smaller = [[row[i] for i in kept] for row in rows]
    table = "\n\n".join([*_lines(above, width), align(smaller)])
    return table if _fits(table, width) else "\n\n".join(_paragraph(header, row, width) for row in entries)


def _fits(table, width):
    return width is None or max(map(len, table.splitlines())) <= width


def _lines(text, width):
    return [textwrap.fill(text, width, subsequent_indent="    ")] if text else []


def _paragraph(header, row, width):
    rest = (f"{name} {value}" for name, value in zip(header[1:], row[1:], strict=True) if value)
    return "\n".join(textwrap.fill(text, width, initial_indent=i, subsequent_indent="    ")
                     for text, i in ((row[0], ""), (", ".join(rest), "  ")))  # fmt: skip
