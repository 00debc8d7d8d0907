"""Files that lie about their size, that are edited, and random damage: one error, which names the file."""

import io
import json
import os
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.support.files import FileError, folder_lock, load_array, lock, read_npz, reading

PROBLEM = sl.LinearRegression(np.ones(3))
ROWS = np.random.default_rng(0).standard_normal((40, 4))


def run(path):
    return sl.simulate(PROBLEM, sl.sgd(), 0.1, 2.0, n_runs=1, checkpoint=path).risk


def read_archive(path):
    with reading("file", path):
        return read_npz(path)


READERS = {"npy": lambda path: load_array(str(path), "data"), "npz": sl.data.from_file, "csv": sl.data.from_file}


def header(shape) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 4), (10**30, 4), (-1, 4), (3,)])
def test_a_header_that_claims_another_size_is_refused_before_anything_is_allocated(shape, tmp_path):
    (tmp_path / "K.npy").write_bytes(header(shape) + bytes(80))
    with pytest.raises(FileError, match=r"K.npy does not hold an array of numbers: .* claims the shape"):
        READERS["npy"](tmp_path / "K.npy")
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        for name in "Xy":
            archive.writestr(f"{name}.npy", header(shape) + bytes(80))
    with pytest.raises(FileError, match=r"rows.npz is not an .npz file of arrays: X claims the shape"):
        READERS["npz"](tmp_path / "rows.npz")


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", header((2**20,)) + bytes(2**23))
    content = path.read_bytes()
    size = len(header((2**20,))) + 2**23
    path.write_bytes(content.replace(size.to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")))
    with pytest.raises(FileError, match=r"bomb.npz is damaged: it claims to unpack to 4294967294 bytes from \d+"):
        read_archive(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', (", b"\x93NUMPY\x01\x00"])
def test_empty_and_truncated_arrays_are_named(content, tmp_path):
    (tmp_path / "K.npy").write_bytes(content)
    with pytest.raises(FileError, match=r"K.npy does not hold an array of numbers: ."):
        READERS["npy"](tmp_path / "K.npy")


def test_a_name_that_is_too_long_is_said_to_be(tmp_path):
    for read in (READERS["npy"], READERS["npz"], run):
        with pytest.raises(FileError, match=r"cannot read .*: File name too long"):
            read(tmp_path / ("x" * 300 + ".npz"))


EDITS = {
    "a list for identity": lambda a: a.update(identity=np.array("[1]")),
    "null for identity": lambda a: a.update(identity=np.array("null")),
    "a deep identity": lambda a: a.update(identity=np.array("[" * 100_000)),
    "another identity": lambda a: a.update(identity=np.array(json.dumps({"seed": 7}))),
    "NaN in its state": lambda a: a.update(
        {k: np.full_like(v, np.nan) for k, v in a.items() if k.startswith("state") and v.dtype.kind == "f"}
    ),
    "a later step": lambda a: a.update(step=np.int64(100)),
    "an earlier step": lambda a: a.update(step=np.int64(-1)),
    "fewer results": lambda a: a.update({k: v[:2] for k, v in a.items() if k.startswith("risk")}),
    "texts": lambda a: a.update({k: v.astype("U4") for k, v in a.items() if k.startswith("state")}),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    run(path)
    return path.read_bytes()


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_checkpoint_is_refused(edit, checkpoint, tmp_path):
    arrays = dict(np.load(io.BytesIO(checkpoint)))
    EDITS[edit](arrays)
    with open(tmp_path / "run", "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(FileError, match=r"checkpoint: .*run (exists and is not a checkpoint|belongs to another run)"):
        run(tmp_path / "run")


HOLDER = """
import sys
from pathlib import Path
from sdelimit.support.files import lock
with lock("out", Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_the_process_that_holds_it_and_goes_with_it(tmp_path):
    target = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(target), str(tmp_path / ".run.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError, match=rf"^checkpoint: .*run is in use by process {other.pid} on ."):
            run(target)
        other.kill()
    assert run(target).shape == run(tmp_path / "another").shape
    assert sorted(os.listdir(tmp_path)) == ["another", "run"]
    with folder_lock("out", tmp_path), pytest.raises(RuntimeError, match=f"in use by process {os.getpid()}"):
        lock("out", tmp_path, tmp_path / ".lock").__enter__()
    assert not (tmp_path / ".lock").exists()


def damaged(content: bytes, rng) -> bytes:
    """A cut, a few bytes changed, a stretch overwritten or left out, or a bit of the header turned."""
    content, kind, at = bytearray(content), rng.integers(5), int(rng.integers(len(content)))
    if kind == 0:
        del content[at:]
    elif kind == 1:
        for place in rng.integers(len(content), size=rng.integers(1, 6)):
            content[place] = rng.integers(256)
    elif kind == 2:
        content[at : at + 20] = rng.bytes(20)
    elif kind == 3:
        del content[at : at + int(rng.integers(1, 50))]
    else:
        content[at % 160] ^= 1 << int(rng.integers(8))
    return bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "csv", "checkpoint"])
def test_random_damage_is_read_as_it_is_or_refused_by_name(kind, checkpoint, tmp_path):
    path = tmp_path / f"file.{kind if kind in READERS else 'npz'}"
    match kind:
        case "npy":
            np.save(path, ROWS)
        case "csv":
            np.savetxt(path, ROWS, delimiter=",")
        case "checkpoint":
            path.write_bytes(checkpoint)
        case _:
            (np.savez_compressed if kind == "compressed" else np.savez)(path, X=ROWS[:, :3], y=ROWS[:, 3])
    read = run if kind == "checkpoint" else READERS[path.suffix[1:]]
    whole, expected, rng, refused = path.read_bytes(), read(path), np.random.default_rng(1), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a table without a target
        for _ in range(300):
            path.write_bytes(damaged(whole, rng))
            try:
                found = read(path)
            except ValueError as error:
                refused += 1
                assert path.name in str(error)
            else:
                if kind == "checkpoint":
                    np.testing.assert_array_equal(found, expected)
    assert refused > 50
