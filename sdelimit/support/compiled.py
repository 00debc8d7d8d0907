"""Compiled programs kept on the disk, for the next process.

Most of the time of a first call goes into compiling, and JAX can keep what it compiles in a folder (its persistent
compilation cache). Importing the package changes nothing; the command line keeps programs unless told otherwise.
"""

import hashlib
import os
import platform
import re
import sys
import warnings
from pathlib import Path

import jax
import jaxlib
from jax.experimental.compilation_cache import compilation_cache

from sdelimit.support.files import as_path, writable_folder

VARIABLE = "SDELIMIT_CACHE"
LARGEST = 2**30
"""Bytes that the programs in a folder may take; beyond, those used the longest ago go until half of that is left."""
OFF = ("off", "no", "none", "false", "0")


def enable_cache(folder=None) -> Path | None:
    """Keep compiled programs in a folder, so that other processes need not compile them again.

    It sets options of JAX for this process, from here on: all that JAX compiles is kept, your own programs too. Call it
    once, before the first solve. Results do not change. The folder may be removed at any time. Where its programs take
    more than 1 GiB, those used the longest ago are removed. Of several machines that share it each kind of processor
    has its own part.

    Args:
        folder: where; default the folder that the environment variable SDELIMIT_CACHE names, and without it one of this
            user: ``$XDG_CACHE_HOME/sdelimit`` (``~/.cache/sdelimit``), on macOS ``~/Library/Caches/sdelimit``, on
            Windows ``%LOCALAPPDATA%\\sdelimit``.

    Returns:
        The folder that is used, or None if nothing is kept: where SDELIMIT_CACHE is "off" and ``folder`` is not given,
        or the folder cannot be written.

    Raises:
        TypeError, ValueError: if ``folder`` is not a path.

    Warns:
        UserWarning: if the folder cannot be written.
    """
    if folder is None:
        if turned_off():
            return None
        place = _users_folder()
    else:
        place = as_path("folder", folder)
    try:
        place = writable_folder("the cache of compiled programs", place.expanduser().resolve() / _machine())
    except (ValueError, RuntimeError) as error:  # of expanduser, where there is no home
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=2)
        return None
    drop_oldest(place, LARGEST)
    keep_in(place)
    return place


def drop_oldest(place, largest: int):
    """Where the files of a folder take more than ``largest`` bytes, remove those used the longest ago, to half of that.

    Another process that looks for one of them at this moment compiles it anew.
    """
    found = []
    for path in place.iterdir():
        try:
            if path.is_file():
                facts = path.stat()
                found.append((max(facts.st_atime, facts.st_mtime), facts.st_size, path))
        except OSError:  # another process has removed it
            continue
    total = sum(size for _, size, _ in found)
    if total <= largest:
        return
    for _, size, path in sorted(found):
        if total <= largest // 2:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError:  # another user's, or open in another process
            continue
        total -= size


def keep_in(place):
    """Have JAX keep all that it compiles in a folder that is there."""
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX may have opened another, or found none


def keep_nothing():
    """Have JAX keep no programs, nor use those of earlier processes, whatever its own settings say."""
    jax.config.update("jax_enable_compilation_cache", False)


def turned_off() -> bool:
    """Whether the environment says that nothing is to be kept."""
    return os.environ.get(VARIABLE, "").strip().lower() in OFF


def named_folder() -> str | None:
    """The folder that the environment names; None if it names none, or says "off"."""
    return None if turned_off() else os.environ.get(VARIABLE, "").strip() or None


def is_enabled() -> bool:
    """Whether JAX keeps programs already, by whoever's wish."""
    return bool(jax.config.jax_compilation_cache_dir)


def _users_folder() -> Path:
    """Where programs of this user keep what they can make again."""
    named = named_folder()
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path("~/Library/Caches/sdelimit")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local") / "sdelimit"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else "~/.cache") / "sdelimit"


def _machine() -> str:
    """A name for this kind of processor and version of the compiler: programs of one may not run on another."""
    try:
        flags = re.search(r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        features = flags[0] if flags else ""
    except OSError:
        features = platform.processor()
    text = f"{platform.system()} {platform.machine()} {features}"
    return f"jaxlib-{jaxlib.__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '([\w.]+)'")
"""How JAX's warning of a damaged program begins. It compiles anew, and leaves the file as it is."""


def discard_damaged(message: str) -> bool:
    """Remove the programs of the name in JAX's warning of a damaged one; False if ``message`` is no such warning."""
    found = DAMAGED.match(message)
    if found is None:
        return False
    for path in Path(jax.config.jax_compilation_cache_dir or os.devnull).glob(f"{found[1]}-*"):
        path.unlink(missing_ok=True)
    return True
