"""The files that a result was made from: recorded by content, and found again."""

import hashlib
from pathlib import Path

SUFFIXES = (".npy", ".csv", ".npz")


def describe_inputs(*texts) -> dict[str, dict]:
    """Where each file among ``texts`` lies and the SHA-256 of its content; other texts are no files."""
    names = [text for text in texts if text and Path(text).suffix in SUFFIXES]
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
