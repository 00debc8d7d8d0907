"""Does the test suite notice a wrong constant? Breaks the package in one place at a time and runs the tests.

    python tools/mutate.py                    # every mutation of mutations.py
    python tools/mutate.py phi- sde-noise     # those whose names begin like this
    python tools/mutate.py --list             # their names, files and texts
    python tools/mutate.py --jobs 4           # four at a time

The package and its tests are copied to a temporary folder, where the tests named in the selected mutations must pass
first. Then, each in a fresh copy, one text is replaced by another and its tests are run. A mutation is killed if one
of them fails; the table names the first that did. Exit status 1 if a mutation survives or its tests could not be run,
2 if the arguments are wrong.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("sdelimit", "tests", "tools", "pyproject.toml")
LONGEST = 3600
"""Seconds after which a run of tests is given up."""
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Outcome(NamedTuple):
    """``verdict`` is "killed", "survived" or "error"; ``detail`` the test that failed, or what went wrong."""

    verdict: str
    detail: str


def selected(prefixes, mutations=MUTATIONS) -> list[Mutation]:
    """The mutations whose names begin with one of ``prefixes``, or all. ValueError if one has no match."""
    for prefix in prefixes:
        if not any(m.name.startswith(prefix) for m in mutations):
            raise ValueError(f"no mutation is called {prefix}...: see --list")
    return [m for m in mutations if not prefixes or m.name.startswith(tuple(prefixes))]


def mutated(text: str, mutation: Mutation) -> str:
    """``text`` with the mutation in it. ValueError unless the old text occurs exactly once."""
    count = text.count(mutation.old)
    if count != 1:
        raise ValueError(f"{mutation.name}: {mutation.old!r} occurs {count} times in {mutation.file}, not once")
    return text.replace(mutation.old, mutation.new)


def try_out(mutation: Mutation, compiled: str, root: Path = ROOT) -> Outcome:
    """Apply one mutation to a copy of ``root`` and run its tests there."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = copied(root, Path(folder))
        path = copy / mutation.file
        path.write_text(mutated(path.read_text(), mutation))
        return verdict(*run_tests(copy, mutation.tests, compiled))


def copied(root: Path, folder: Path) -> Path:
    """``folder``, with what the tests need of ``root`` in it."""
    for name in COPIED:
        source, target = root / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target)
    return folder


def run_tests(folder: Path, tests, compiled: str) -> tuple[int, str]:
    """Exit status and output of pytest, up to the first failure; compiled code is kept in the folder ``compiled``."""
    (folder / "cache").mkdir(exist_ok=True)
    environment = {
        # What a mutation leaves as it was need not be compiled again.
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **os.environ,
        "PYTHONPATH": str(folder),
        # Coefficients that the sound package kept on disk would hide a mutation of what computes them.
        "SDELIMIT_CACHE": str(folder / "cache"),
    }
    options = ["-x", "-q", "-n", "0", "-m", "", "-rfE", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return 124, f"no result after {LONGEST} s"
    return done.returncode, done.stdout + done.stderr


def verdict(status: int, output: str) -> Outcome:
    """What pytest's exit status says: 1 is a failed test, 0 none, anything else that tests were not run."""
    if status == 0:
        return Outcome("survived", "")
    found = FAILED.search(output)
    if status == 1 and found:
        return Outcome("killed", found.group(1))
    return Outcome("error", f"pytest ended with status {status}: {(output.strip().splitlines() or [''])[-1]}")


def check_baseline(chosen, compiled: str) -> Outcome:
    """The tests of all ``chosen`` mutations, without a mutation."""
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        return verdict(*run_tests(copied(ROOT, Path(folder)), tests, compiled))


def show(chosen) -> None:
    """Names, places and texts."""
    for m in chosen:
        print(f"{m.name}  ({m.file})\n    - {m.old.strip()}\n    + {m.new.strip()}\n    {' '.join(m.tests)}")


def try_all(chosen, jobs: int, compiled: str) -> int:
    """Print what became of each mutation; 1 unless all were killed."""
    survivors, width = 0, max(len(m.name) for m in chosen)
    with ThreadPoolExecutor(jobs) as pool:
        for mutation, outcome in zip(chosen, pool.map(lambda m: try_out(m, compiled), chosen), strict=True):
            survivors += outcome.verdict != "killed"
            print(f"{mutation.name:<{width}}  {outcome.verdict:<8}  {outcome.detail}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} killed")
    return int(survivors > 0)


def main(arguments=None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginning of a mutation's name; default all")
    parser.add_argument("--list", action="store_true", help="show the mutations and stop")
    parser.add_argument("--jobs", type=int, default=1, help="mutations tried at the same time")
    parser.add_argument("--no-baseline", action="store_true", help="skip the run without a mutation")
    given = parser.parse_args(arguments)
    try:
        chosen = selected(given.names)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        show(chosen)
        return 0
    with tempfile.TemporaryDirectory(prefix="mutate-compiled-") as compiled:
        if not given.no_baseline and (sound := check_baseline(chosen, compiled)).verdict != "survived":
            print(f"the tests fail without a mutation: {sound.detail}")
            return 1
        return try_all(chosen, max(given.jobs, 1), compiled)


if __name__ == "__main__":
    sys.exit(main())
