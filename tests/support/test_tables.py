"""Tables of numbers in text and Parquet files."""

import gzip

import numpy as np
import pytest

from sdelimit.support import tables
from sdelimit.support.files import FileError, load_array
from sdelimit.support.tables import read_table

ROWS = [[1.0, 2.5], [-3.0, 4e-3]]


def write(folder, text, name="table.csv"):
    path = folder / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2.5\n-3,4e-3\n", None),
        ("1;2.5\r\n\r\n-3;4e-3", None),
        ("x\ty z\n1\t2.5\n-3\t4e-3\n\n", ("x", "y z")),
        ("  1   2.5\n-3 4e-3  \n", None),
        ('"x one" y\n1 "2.5"\n-3 4e-3\n', ("x one", "y")),
        ('"x, one", "y ""two"""\n"1", 2.5\n-3,4e-3\n', ("x, one", 'y "two"')),
        ("# measured\nyear,price\n1,2.5\n# more\n-3,4e-3\n", ("year", "price")),
        ("\ufeffx,y\n1,2.5\n-3,4e-3\n", ("x", "y")),
        (",y\n1,2.5\n-3,4e-3\n", ("", "y")),
    ],
)
@pytest.mark.parametrize("name", ["table.csv", "table.txt", "table.tsv.gz"])
def test_separator_header_and_quotes_are_found(text, names, name, tmp_path):
    table = read_table(write(tmp_path, text, name))
    assert table.names == names
    np.testing.assert_array_equal(table.values, ROWS)


@pytest.mark.parametrize(("first", "names"), [("2019,price", ("2019", "price")), ("1..5,2", ("1..5", "2"))])
def test_a_header_that_may_be_a_row_is_warned_of(first, names, tmp_path):
    with pytest.warns(UserWarning, match=r"line 1 is taken for a header, not for a row, because of '(price|1\.\.5)'"):
        table = read_table(write(tmp_path, f"{first}\n1,2.5\n-3,4e-3\n"))
    assert table.names == names
    np.testing.assert_array_equal(table.values, ROWS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n3,\n", r"line 4, column 'b': the number is missing, got ''"),
        ("1,2\n3,NA\n", r"line 2, column 2: the number is missing, got 'NA'"),
        ("1,2\n\n\n3,nan\n", "line 4, column 2: the number is missing, got nan"),
        ("1,2\n3,-inf\n", "line 2, column 2: a number must be finite, got -inf"),
        ("a,b\n1,2\n3,red\n", r"line 3, column 'b': a text in place of a number, got 'red'"),
        ("1,red\n3,blue\n", r"line 1, column 2: a text in place of a number, got 'red'"),
        ("a;b\n1,5;2\n", r"line 2, column 'a': .* got '1,5'; write decimals with a point"),
        ("1_2,3\n", r"line 1, column 1: a text in place of a number, got '1_2'"),
        ('c,"a\nb"\n1,2\nx,1\n', "line 4, column 'c'"),
        ("1,2\n3,4,5\n", r"line 2 has 3 field\(s\), and line 1 has 2"),
        ('1,2\n3,"4\n', "line 2: unexpected end of data"),
        ("a,b\n", "it has a header and no rows"),
        ("\n \n# nothing\n", "it has no rows"),
        ("prix\xe9,y\n1,2\n".encode("latin1"), "codec can't decode"),
    ],
)
def test_what_is_no_number_is_named_by_line_and_column(text, message, tmp_path):
    with pytest.raises(FileError, match=f"K: .*table.csv does not hold an array of numbers: .*{message}"):
        load_array(str(write(tmp_path, text)), "K")


def test_a_packed_text_that_is_damaged_or_a_bomb_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path, "1,2\n" * 1000, "table.csv.gz")
    assert read_table(path).values.shape == (1000, 2)
    monkeypatch.setattr(tables, "SMALL", 1000)
    monkeypatch.setattr(tables, "LARGEST_RATIO", 20)
    with pytest.raises(FileError, match=r"it unpacks to more than \d+ characters from \d+ bytes"):
        load_array(str(path), "K")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="K: "):
        load_array(str(path), "K")
    path.write_bytes(b"1,2\n")
    with pytest.raises(FileError, match=r"K: cannot read .*: Not a gzipped file"):
        load_array(str(path), "K")
    monkeypatch.setattr(tables, "LONGEST_LINE", 10)
    with pytest.raises(FileError, match="line 2 has more than 10 characters"):
        load_array(str(write(tmp_path, "1,2\n" + "3" * 20)), "K")


def test_parquet_files_are_tables_with_names(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"

    def read(**columns):
        parquet.write_table(pa.table(columns), path)
        return read_table(path)

    table = read(x=[1, -3], y=[2.5, 4e-3])
    assert table.names == ("x", "y")
    np.testing.assert_array_equal(table.values, ROWS)
    np.testing.assert_array_equal(read(x=[True, False]).values, [[1.0], [0.0]])
    for columns, message in [
        ({"x": [1, 2], "y": ["a", "b"]}, "column 'y' must hold numbers, got string"),
        ({"x": [1.0, None]}, "row 2, column 'x': the number is missing, got null"),
        ({"x": [1.0, np.inf]}, "row 2, column 'x': a number must be finite"),
        ({"x": pa.array([], pa.float64())}, "it has no rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            read(**columns)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FileError, match=r"K: .*table\.parquet"):
        load_array(str(path), "K")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'sdelimit\[parquet\]'"):
        read_table(tmp_path / "table.parquet")
