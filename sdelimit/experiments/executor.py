"""The cells of a sweep on an executor: processes of this machine, or any other with ``submit``."""

import contextlib
import multiprocessing
import os
import queue
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, ProcessPoolExecutor

import jax

from sdelimit.experiments import worker

AHEAD = 256
"""Cells that are given to an executor and not done, at most."""
PAUSE = 0.2
"""Seconds between two looks for Ctrl-C, and at futures that do not say when they are done."""


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """An executor of ``count`` new processes with one thread each, which end with this one however it ends."""
    context = multiprocessing.get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, worker.start, (alive, jax.config.jax_compilation_cache_dir))
    before = {name: os.environ.get(name) for name in worker.THREADS}
    os.environ |= worker.THREADS  # a new process imports the script's modules, NumPy among them, before its start
    try:
        yield executor
        executor.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        executor.shutdown(wait=False, cancel_futures=True)
        ours.close()
        alive.close()


class LostError(Exception):
    """A task that an executor has not done: its worker is gone, or the executor takes no more."""


def outcomes(executor, tasks: Iterator[tuple]) -> Iterator[tuple]:
    """(index, outcome) of each of ``tasks`` (index, arguments of ``worker.compute``) as they are done.

    An outcome is what ``compute`` returns, or a ``LostError``. Nothing is given to the executor after it has refused a
    task. Futures need ``result()``; ``add_done_callback``, ``done`` and ``cancel`` are used where they are there.
    """
    done, waiting, broken = queue.SimpleQueue(), {}, None
    try:
        for index, arguments in tasks:
            if broken is not None:
                yield index, LostError(broken)
                continue
            try:
                future = executor.submit(worker.compute, *arguments)
            except Exception as error:  # broken, or shut down
                broken = f"{type(error).__name__}: {error}"
                yield index, LostError(broken)
                continue
            waiting[index] = future
            if hasattr(future, "add_done_callback"):
                future.add_done_callback(lambda _, index=index: done.put(index))
            while len(waiting) >= AHEAD:
                yield _next(done, waiting)
        while waiting:
            yield _next(done, waiting)
    finally:
        for future in waiting.values():
            if hasattr(future, "cancel"):
                future.cancel()


def _next(done, waiting):
    """(index, outcome) of a task that is done, which is taken from those ``waiting``."""
    index = _finished(done, waiting)
    future = waiting.pop(index)
    try:
        return index, future.result()
    except (Exception, CancelledError) as error:  # what went wrong in a cell is in its row: this is the executor's
        return index, LostError(f"{type(error).__name__}: {error}")


def _finished(done, waiting):
    silent = [index for index, future in waiting.items() if not hasattr(future, "add_done_callback")]
    while True:
        for index in silent:
            if not hasattr(waiting[index], "done") or waiting[index].done():
                return index
        with contextlib.suppress(queue.Empty):
            index = done.get(timeout=PAUSE)
            if index in waiting:
                return index


def warn_lost(lost: dict[int, LostError]):
    """One warning for all cells that an executor has lost."""
    if lost:
        first = next(iter(lost.values()))
        which = f"cell {next(iter(lost))}" if len(lost) == 1 else f"{len(lost)} cells"
        warnings.warn(f"the executor has not done {which} ({first}); computed in this process instead", stacklevel=3)
