"""Tables of numbers from text and Parquet files, with whatever is no number named by its line and column."""

import array
import csv
import gzip
import io
import itertools
import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

TEXTS = (".csv", ".tsv", ".txt")
"""Suffixes of text tables; each may have .gz behind it."""
SEPARATORS = "\t;,"
"""In the order in which they are looked for in the first line; where there is none, blanks separate."""
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "?", ".", "-"}
"""Entries that stand for no number, in small letters."""
LONGEST_LINE = 2**26
"""Characters."""
SMALL, LARGEST_RATIO = 2**28, 200
"""A packed text that is longer than the first (in characters) and so many times its file is no table."""
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
FIELD = re.compile(rf"{QUOTED.pattern}|(\S+)")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class Table(NamedTuple):
    """A table of finite numbers.

    Attributes:
        values: (n, k).
        names: those of the k columns, if the file has a header.
    """

    values: Float[np.ndarray, "n k"]
    names: tuple[str, ...] | None


def is_text(path) -> bool:
    """Whether the name of a file says that it is a text table, packed or not."""
    return _suffix(Path(path)) in TEXTS


def is_table(path) -> bool:
    """Whether the name of a file is one that ``read_table`` takes."""
    return is_text(path) or Path(path).suffix == ".parquet"


def _suffix(path):
    """The suffix, without the .gz of packed texts."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def read_table(path) -> Table:
    """The table of a .csv, .tsv or .txt file (and .gz of these) or a .parquet file. To be called inside ``reading``.

    In a text, numbers are separated by commas, semicolons, tabs or blanks, whichever the first line has; fields may be
    in double quotes; blank lines and lines that begin with # are ignored. The first line is a header if it holds a text
    above a number, or texts alone; a warning says so if it holds numbers too, and may be a row with a mistyped number.

    Raises:
        ValueError: for an entry that is missing or no finite number, with its line (from 1, as an editor shows it) and
            column (by its name if there is a header, otherwise from 1), for lines of different lengths, a file that
            is not UTF-8 or has no rows. Errors of the system and of damaged archives are passed on.
        ImportError: for Parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as file:
        return _parse(_records(_lines(file, os.path.getsize(path))))


def _lines(file, size):
    """(number, line) of the lines of an open text, of which ``size`` bytes are on the disk."""
    number = total = 0
    while line := file.readline(LONGEST_LINE + 1):
        number, total = number + 1, total + len(line)
        if len(line) > LONGEST_LINE:
            raise ValueError(f"line {number} has more than {LONGEST_LINE} characters")
        if total > max(SMALL, LARGEST_RATIO * size):
            raise ValueError(f"it unpacks to more than {total} characters from {size} bytes")
        yield number, line


def _records(lines):
    """(line number, fields) of the lines that hold any."""
    content = ((number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#"))
    first = next(content, None)
    if first is None:
        return
    content = itertools.chain([first], content)
    separator = next((mark for mark in SEPARATORS if mark in QUOTED.sub("", first[1])), None)
    if separator is None:
        yield from ((number, ["".join(part) for part in FIELD.findall(line)]) for number, line in content)
        return
    numbers = []

    def texts():
        for number, line in content:
            numbers.append(number)
            yield line

    try:
        for fields in csv.reader(texts(), delimiter=separator, skipinitialspace=True, strict=True):
            yield numbers[0], fields
            numbers.clear()
    except csv.Error as error:
        raise ValueError(f"line {numbers[0]}: {error}") from error


def _parse(records) -> Table:
    """The table of the fields of its lines."""
    first = list(itertools.islice(records, 2))
    if not first:
        raise ValueError("it has no rows")
    names = _names(*(fields for _, fields in first))
    top, width = first[0][0], len(first[0][1])
    if names is not None and any(_number(name) is not None for name in names):
        texts = [name for name in names if _number(name) is None and not _is_missing(name)]
        warnings.warn(
            f"line {top} is taken for a header, not for a row, because of {texts[0]!r} in it; it holds numbers too",
            stacklevel=2,
        )
    values, places = array.array("d"), array.array("q")
    for line, fields in itertools.chain(first if names is None else first[1:], records):
        if len(fields) != width:
            raise ValueError(f"line {line} has {len(fields)} field(s), and line {top} has {width}")
        try:
            if "_" in "".join(fields):  # float takes '1_2' for 12
                raise ValueError
            values.extend(map(float, fields))
        except ValueError:
            column = next(i for i, field in enumerate(fields) if _number(field) is None)
            raise ValueError(f"line {line}, {column_text(names, column)}: {_what(fields[column])}") from None
        places.append(line)
    if not places:
        raise ValueError("it has a header and no rows")
    table = np.array(values).reshape(-1, width)
    _require_finite(table, names, lambda row: f"line {places[row]}")
    return Table(table, names)


def _names(first, second=()):
    """The names in a first line that is a header; None if it is not."""
    texts = [i for i, field in enumerate(first) if _number(field) is None and not _is_missing(field)]
    above_number = any(i < len(second) and _number(second[i]) is not None for i in texts)
    alone = all(i in texts or _is_missing(field) for i, field in enumerate(first))
    return tuple(field.strip() for field in first) if texts and (above_number or alone) else None


def _number(text):
    """The number that a field holds, or None."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _is_missing(text):
    return text.strip().lower() in MISSING


def _what(text):
    if _is_missing(text):
        return f"the number is missing, got {text!r}"
    advice = "; write decimals with a point" if DECIMAL_COMMA.fullmatch(text.strip()) else ""
    return f"a text in place of a number, got {text!r}{advice}"


def column_text(names, index: int) -> str:
    """What to call a column: by its name, if it has one, otherwise by its number from 1."""
    name = names[index] if names is not None else ""
    return f"column {name!r}" if name != "" else f"column {index + 1}"


def _require_finite(table, names, row_text):
    wrong = np.argwhere(~np.isfinite(table))
    if wrong.size:
        row, column = wrong[0]
        what = "the number is missing" if np.isnan(table[row, column]) else "a number must be finite"
        raise ValueError(f"{row_text(row)}, {column_text(names, column)}: {what}, got {table[row, column]}")


def _read_parquet(path) -> Table:
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise ImportError("pyarrow is needed to read Parquet: pip install 'sdelimit[parquet]'") from error
    with parquet.ParquetFile(path) as file:
        table = file.read()
    names, columns = tuple(table.column_names), []
    for i, column in enumerate(table.columns):
        kind = column.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
            raise ValueError(f"{column_text(names, i)} must hold numbers, got {kind}")
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise ValueError(f"row {row + 1}, {column_text(names, i)}: the number is missing, got null")
        columns.append(np.asarray(column.to_numpy(), np.float64))
    if not columns or not table.num_rows:
        raise ValueError("it has no rows")
    values = np.column_stack(columns)
    _require_finite(values, names, lambda row: f"row {row + 1}")
    return Table(values, names)
