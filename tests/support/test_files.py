"""Files that are damaged, of another kind or missing: one kind of error, whoever reads them."""

import pickle
import zipfile

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.experiments.sweep import Sweep
from sdelimit.limits.sampled import tabulated
from sdelimit.support.files import FileError, read_npz, reading

ARRAYS = {"X": np.random.default_rng(0).standard_normal((50, 3)), "y": np.arange(50.0), "settings": np.array("{}")}


def compressed(path):
    """An .npz file whose compressed bytes are overwritten in the middle of each array."""
    np.savez_compressed(path, **ARRAYS)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            start = entry.header_offset + 80
            content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)


def cut(path):
    np.savez(path, **ARRAYS)
    path.write_bytes(path.read_bytes()[:200])


def another_array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


def unpickled(path):
    np.savez(path, **{name: np.array([{}], dtype=object) for name in ARRAYS})


def encrypted(path):
    """An archive that says that it needs a password."""
    np.savez(path, **ARRAYS)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 1)
    path.write_bytes(content)


DAMAGES = [compressed, cut, another_array, unpickled, encrypted, lambda path: path.write_bytes(b"")]


def read_cell(path):
    return Sweep(path.parent.parent, {}, ({"cell": 0},), 1).curves(0)


READERS = {
    "file": sl.rerun,
    "path": sl.data.from_file,
    "cell": read_cell,
    "checkpoint": lambda path: sl.simulate(
        sl.LinearRegression(np.ones(3)), sl.sgd(), 0.1, 1.0, n_runs=1, checkpoint=path
    ),
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "cells").mkdir()
    return tmp_path / "cells" / "00000.npz"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_reader_names_a_damaged_file(reader, damage, path):
    damage(path)
    with pytest.raises(FileError, match=rf"^{reader}: .*00000.npz ") as caught:
        READERS[reader](path)
    assert caught.value.path == path and caught.value.problem
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_ignored_with_a_warning(damage, path):
    damage(path)
    with pytest.warns(UserWarning, match=r"ignoring .*00000.npz \(.+\); its coefficients are computed again"):
        assert tabulated._load(path, "text") is None


@pytest.mark.parametrize("reader", ["file", "path", "cell"])
def test_a_missing_file_or_a_folder_cannot_be_read(reader, path):
    with pytest.raises(FileError, match=rf"^{reader}: cannot read .*00000.npz: No such file"):
        READERS[reader](path)
    path.mkdir()
    with pytest.raises(FileError, match=rf"^{reader}: cannot read .*00000.npz: Is a directory"):
        READERS[reader](path)


def test_a_file_error_survives_pickling_and_other_errors_pass():
    with pytest.raises(FileError) as caught, reading("name", "file", "is odd", "try another"):
        raise KeyError("x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == "name: file is odd: KeyError('x'); try another" and again.problem == "KeyError('x')"
    with pytest.raises(ZeroDivisionError), reading("name", "file"):
        raise ZeroDivisionError


def test_only_the_arrays_asked_for_are_read(path):
    np.savez(path, good=np.ones(2), bad=np.array([{}], dtype=object))
    assert list(read_npz(path, ["good"])) == ["good"]
    with pytest.raises(KeyError):
        read_npz(path, ["missing"])


def test_an_array_file_of_another_kind_is_named(tmp_path):
    for content in (np.array([1j]), np.array(["a"]), np.array([{}], dtype=object)):
        np.save(tmp_path / "K.npy", content, allow_pickle=True)
        with pytest.raises(FileError, match=r"^data: .*K.npy does not hold an array of numbers: ."):
            sl.data.from_file(tmp_path / "K.npy")
