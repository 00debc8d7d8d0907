"""Output folders of commands: new ones, those that may be overwritten, and none where nothing came of it."""

import contextlib
import itertools
from pathlib import Path


def new_folder(name: str) -> Path:
    """``name``, or ``name``-2, -3, ... if that exists."""
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())


def require_new(folder: Path, files, force: bool):
    """ValueError if the folder holds one of ``files``, unless ``force``."""
    existing = [name for name in files if (folder / name).exists()]
    if existing and not force:
        raise ValueError(f"--out: {folder} already holds {existing[0]}; choose another folder or pass --force")


@contextlib.contextmanager
def output_folder(folder: Path, needed_bytes: int = 0):
    """The folder, made and found writable; removed again if nothing was written to it and it was not there before."""
    from sdelimit.support.files import writable_folder

    made = not folder.exists()
    try:
        yield writable_folder("--out", folder, needed_bytes)
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
