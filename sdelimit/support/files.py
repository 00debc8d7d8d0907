"""Files that are replaced as a whole, folders that are checked before any work is done, and one error for all that can
be wrong with a file that is read."""

import contextlib
import errno
import hashlib
import lzma
import math
import os
import platform
import shutil
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sdelimit.support import arguments as check
from sdelimit.support.tables import is_table, read_table

PROBE_BYTES = 2**16
DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError, OverflowError, MemoryError, SyntaxError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What reading a damaged archive, array or JSON text raises, or taking from it what it does not hold."""


class FileError(ValueError):
    """A file cannot be read, or does not hold what it should. The message names it.

    Attributes:
        path: the file.
        problem: what is wrong, in words that do not name it.
    """

    def __init__(self, message: str, path, problem: str):
        super().__init__(message, path, problem)
        self.path, self.problem = path, problem

    def __str__(self):
        return self.args[0]


@contextlib.contextmanager
def reading(name: str, path, what: str = "is damaged", advice: str = "", damage=DAMAGE):
    """Turn whatever goes wrong inside, where ``path`` is read and checked, into a FileError.

    The message is "name: cannot read path: ..." if the system refuses, and "name: path what: ...; advice" for
    exceptions of the classes ``damage``.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        problem = error.strerror or str(error)
        raise FileError(f"{name}: cannot read {path}: {problem}", path, problem) from error
    except damage as error:
        problem = repr(error) if isinstance(error, KeyError) else str(error) or repr(error)  # of a key, only its name
        raise FileError(f"{name}: {path} {what}: {problem}{advice and '; '}{advice}", path, problem) from error


LARGEST_RATIO, SMALL = 1100, 2**30
"""Deflate makes data at most so many times smaller; more than the second that shrink to a hundredth are no data."""


def read_npz(path, names=None) -> dict[str, np.ndarray]:
    """The arrays ``names``, or all, of an .npz file; nothing is unpickled. To be called inside ``reading``.

    Before anything is allocated, the sizes that headers claim are compared with those of the archive and the file.
    """
    with _archive(path) as archive:
        _require_plausible(archive, os.path.getsize(path))
        file = np.load(path, allow_pickle=False)
        with file:
            wanted = file.files if names is None else names
            for name in wanted:
                if name in file.files and f"{name}.npy" in archive.namelist():
                    with archive.open(f"{name}.npy") as member:
                        _require_size(member, archive.getinfo(f"{name}.npy").file_size, name)
            return {name: file[name] for name in wanted}


@contextlib.contextmanager
def _archive(path):
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is not an .npz file")
        with zipfile.ZipFile(file) as archive:
            yield archive


def npz_names(path) -> list[str]:
    """The names of the arrays of an .npz file, in order. To be called inside ``reading``."""
    with _archive(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def read_npy(path) -> np.ndarray:
    """The array of an .npy file; nothing is unpickled. To be called inside ``reading``."""
    with open(path, "rb") as file:
        _require_size(file, os.path.getsize(path), "the array")
    return np.load(path, allow_pickle=False)


def _require_size(file, size, name):
    """ValueError if the header of an array claims another number of bytes than there are."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (min(shape, default=0) < 0 or claimed != size - file.tell()):
        raise ValueError(f"{name} claims the shape {shape}, {claimed} bytes, and has {size - file.tell()}")


def _require_plausible(archive, size):
    """ValueError if what an archive unpacks to cannot come from its size, or is a bomb."""
    total = sum(entry.file_size for entry in archive.infolist())
    if total > LARGEST_RATIO * size or (total > SMALL and total > 100 * size):
        raise ValueError(f"it claims to unpack to {total} bytes from {size}")


def as_path(name: str, value) -> Path:
    """``value`` as a Path, or a TypeError that names it."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a path, got {check.describe(value)}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError(f"{name} must be a path, got {value!r}")
    return Path(value)


@contextlib.contextmanager
def replacing(path, mode="wb", **options):
    """A file to write that takes the place of ``path`` only when it is complete and on the disk.

    It is written beside ``path``, under the name ``temporary(path)``, which the next attempt overwrites.
    """
    path = Path(path)
    beside = temporary(path)
    try:
        with open(beside, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def temporary(path: Path) -> Path:
    """Where ``path`` is written before it takes its place."""
    return path.with_name(f".{path.name}.tmp")


def remove_leftover(path: Path):
    """Remove what ``replacing`` left beside ``path`` when its process was killed."""
    temporary(path).unlink(missing_ok=True)


def writable_folder(name: str, folder, needed_bytes: int = 0) -> Path:
    """The folder, made if need be. ValueError naming ``name`` if nothing, or not enough, can be written to it."""
    folder = as_path(name, folder)
    probe = temporary(folder / "write-test")
    if folder.is_file():
        raise ValueError(f"{name}: cannot write to {folder}: it is a file, not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with open(probe, "wb") as file:
                file.write(os.urandom(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(f"{name}: cannot write to {folder}: {error.strerror}") from error
    if free < needed_bytes:
        sizes = f"{_size(free)} are free, up to {_size(needed_bytes)} are needed"
        raise ValueError(f"{name}: cannot write to {folder}: {sizes}")
    return folder


def _size(n_bytes) -> str:
    if 2**10 <= n_bytes < 2**20:
        return f"{n_bytes / 2**10:.0f} KiB"
    return f"{n_bytes // 2**20:.0f} MiB" if n_bytes < 2**10 else f"{n_bytes / 2**20:.3g} MiB"


@contextlib.contextmanager
def lock(name: str, target: Path, beside: Path):
    """Hold ``target`` for this process, by the file ``beside``; the system lets go of it however the process ends.

    RuntimeError that names the other process if one holds it. Does nothing where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = None
    try:
        while handle is None:
            handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    other = os.read(handle, 200).decode(errors="replace") or "another process"
                    raise RuntimeError(f"{name}: {target} is in use by {other}") from error
                # a file system without locks: go on
            if not _is_at(handle, beside):  # the last holder has removed it meanwhile
                os.close(handle)
                handle = None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)
    finally:
        if handle is not None:
            os.close(handle)


def _is_at(handle, path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def folder_lock(name: str, folder: Path):
    """``lock`` of a folder."""
    return lock(name, folder, folder / ".lock")


def _sync_folder(folder):
    """The new name on the disk too, where folders can be synchronized."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


SUFFIXES = (".npy", ".npz")
"""Of files of arrays, beside those of tables."""


def describe_inputs(*texts) -> dict[str, dict]:
    """Where each file among ``texts`` lies and the SHA-256 of its content; other texts are no files."""
    names = [text for text in texts if text and (Path(text).suffix in SUFFIXES or is_table(text))]
    return {name: {"path": str(Path(name).resolve()), "sha256": content_digest(name)} for name in names}


def content_digest(path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_input(name: str, recorded: dict, beside: Path) -> str:
    """The recorded file: under its name, where it was, or ``beside`` the result. ValueError if none is unchanged."""
    places = list(dict.fromkeys([Path(name), Path(recorded["path"]), beside / Path(name).name]))
    for place in places:
        if place.is_file() and content_digest(place) == recorded["sha256"]:
            return str(place)
    changed = [place for place in places if place.is_file()]
    reason = f"{changed[0]} has changed" if changed else f"it is not at {' or '.join(map(str, places))}"
    raise ValueError(f"the result was made from the file {name}, and {reason} (SHA-256 {recorded['sha256']})")


def load_array(path: str, name: str) -> np.ndarray:
    """An array of numbers from a .npy file (never unpickled) or a table; of a table without axes of length one."""
    with reading(name, path, "does not hold an array of numbers"):
        if Path(path).suffix == ".npy":
            return check.array(name, read_npy(path))
        values = read_table(path).values
        return values.ravel() if 1 in values.shape else values


def is_file(text) -> bool:
    """Whether a text is the name of a file that ``load_array`` takes."""
    return Path(text).suffix == ".npy" or is_table(text)
