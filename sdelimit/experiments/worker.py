"""What a worker process of a sweep does. Imports nothing that starts JAX: threads are counted before that."""

import contextlib
import os
import signal
import threading

THREADS = {
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""One thread for each library: there is a process for each processor."""
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
_ONE_AT_A_TIME = threading.Lock()
"""Of a worker with threads: what a cell warns of is collected for the whole process."""


def start(alive, cache: str | None):
    """Set a new worker process up: one thread, the parent's folder of compiled programs, and an end with its parent.

    Args:
        alive: the end of a pipe that closes when the parent ends, or wants its workers to end.
        cache: the folder, or None.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the parent says what it means
    os.environ |= THREADS
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    if cache:
        from sdelimit.support.compiled import keep_in

        keep_in(cache)


def _end_with(alive):
    """End this process at once when the other end of the pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def compute(index: int, cell, settings: dict, places: dict) -> tuple[dict, dict, dict]:
    """(row, arrays, versions of the libraries here) of a cell.

    ``places`` has the absolute paths of input files: the working folder may be another one here.
    """
    from sdelimit.experiments import cell as cell_file
    from sdelimit.support.versions import numeric_versions

    here = cell._replace(
        covariance=places.get(cell.covariance, cell.covariance), noise=places.get(cell.noise, cell.noise)
    )
    with _ONE_AT_A_TIME:
        row, arrays = cell_file.run_cell(index, here, settings, cell_file.shared_problem_of)
    return row | cell._asdict(), arrays, numeric_versions()
