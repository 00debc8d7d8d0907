"""What a prompt shows of a result: at most ten lines."""

from dataclasses import fields

import numpy as np

LINES = 10
"""Of a result at a prompt, at most."""
WIDTH = 120
"""Characters of a line, at most."""


def brief(value) -> str:
    """One line: a number or a text as it is, an array by its shape and range, all else by its own first line."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{' x '.join(map(str, value.shape))} array{_range(value)}"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, tuple | list) and len(value) > 4:
        return f"{len(value)} of {brief(value[0])}"
    if isinstance(value, dict) and len(value) > 4:
        return f"{len(value)} entries"
    first = (repr(value).splitlines() or [""])[0]
    return first if len(first) <= WIDTH else f"{first[: WIDTH - 4]} ..."


def _range(array) -> str:
    if array.dtype.kind not in "if":
        return ""
    return f" from {array.min():.4g} to {array.max():.4g}"


def shorten(lines) -> str:
    """The lines as one text, those beyond ``LINES`` left out, and each cut at ``WIDTH``."""
    lines = [line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in lines]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more"]
    return "\n".join(lines)


def brief_fields(self) -> str:
    """``__repr__`` of a dataclass with long arrays: a line for each field that its own representation shows."""
    shown = [f"{field.name}: {brief(getattr(self, field.name))}" for field in fields(self) if field.repr]
    return shorten([type(self).__name__, *(f"  {line}" for line in shown)])
