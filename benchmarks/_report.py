"""What benchmarks share: a header that names versions and device, the best of a few timings, and a place for tables."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

import jax


def device() -> str:
    """Name of the device, fit for a folder."""
    kind = jax.devices()[0].device_kind
    return f"cpu-{os.cpu_count()}-cores" if kind == "cpu" else kind.lower().replace(" ", "-")


def header() -> str:
    """Versions and device, one line."""
    names = ("sdelimit", "jax", "numpy", "scipy", "diffrax")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return f"{versions}, Python {platform.python_version()}; {device()}, {platform.machine()}"


def best_time(f, repeats: int = 3) -> float:
    """Shortest of ``repeats`` timings of ``f()``, in seconds; call it once before to leave compilation out."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return min(times)


def write(name: str, text: str) -> None:
    """Print ``text`` and keep it in ``results/<device>/<name>.txt``."""
    print(text)
    path = Path(__file__).parent / "results" / device() / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
