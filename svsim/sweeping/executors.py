"""Who runs the cells: this process, a pool of processes, or a cluster (``svsim.sweeping.clusters``).

An executor takes texts and gives texts back, in any order. ``outcomes`` keeps it busy, and sees to it that a
lost worker costs nothing: cells that were in its hands run again, then each alone, so that one that kills its
worker is told from those that were only near it.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from typing import Protocol

from svsim.sweeping.work import run_task

MAX_LOSSES = 3  # of a cell that runs alone
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Finished = list[tuple[Hashable, str | None]]


class Executor(Protocol):
    """Runs tasks; ``capacity``: how many it can have in hand without one of its workers waiting."""

    capacity: int

    def submit(self, task: str) -> Hashable:
        """Begin a task; a handle that ``finished`` gives back."""
        ...

    def finished(self) -> Finished:
        """Waits for one task or more: their handles and outcomes, None where the worker was lost."""
        ...

    def close(self) -> None:
        """Drop what has not begun, and let go of the workers."""
        ...


def outcomes(
    executor: Executor, tasks: Iterable[str], first_alone: bool = False
) -> Iterator[tuple[str, str | None]]:
    """(task, outcome) of every task as they finish; outcome None: whoever ran it was lost, again and again.

    first_alone: the first task ends before others begin (it leaves compiled loops for them).
    """
    waiting, flying = iter(tasks), dict[Hashable, str]()
    suspects: deque[str] = deque()
    capacity = 1 if first_alone else executor.capacity
    while True:
        while len(flying) < capacity and (task := next(waiting, None)) is not None:
            flying[executor.submit(task)] = task
        if not flying:
            break
        for handle, outcome in executor.finished():
            task = flying.pop(handle)
            if outcome is None:
                suspects.append(task)
            else:
                yield task, outcome
        capacity = executor.capacity
    for task in suspects:
        yield task, _alone(executor, task)


def _alone(executor: Executor, task: str) -> str | None:
    """The outcome of a task that nothing runs beside."""
    for _ in range(MAX_LOSSES):
        executor.submit(task)
        ((_, outcome),) = executor.finished()
        if outcome is not None:
            return outcome
    return None


class InProcess:
    """One worker: this process."""

    capacity = 1

    def __init__(self) -> None:
        self._tasks: deque[str] = deque()

    def submit(self, task: str) -> Hashable:
        """Begin a task."""
        self._tasks.append(task)
        return task

    def finished(self) -> Finished:
        """Runs the task."""
        task = self._tasks.popleft()
        return [(task, run_task(task))]

    def close(self) -> None:
        """Nothing is held."""
        self._tasks.clear()


class LocalPool:
    """Processes of this machine: the standard pool, made anew when a worker dies."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers, self.capacity = num_workers, 2 * num_workers
        self._flying: set[Future[str]] = set()
        self._pool = self._new_pool()

    def submit(self, task: str) -> Hashable:
        """Begin a task."""
        with _started_without_main():
            try:
                future = self._pool.submit(run_task, task)
            except BrokenProcessPool:
                self._pool = self._new_pool()
                future = self._pool.submit(run_task, task)
        self._flying.add(future)
        return future

    def finished(self) -> Finished:
        """Waits for one task or more."""
        done, self._flying = wait(self._flying, return_when=FIRST_COMPLETED)
        return [(future, self._outcome(future)) for future in done]

    def close(self) -> None:
        """Ends the workers."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(5.0)

    def _outcome(self, future: Future[str]) -> str | None:
        try:
            return future.result()
        except BrokenProcessPool:
            return None

    def _new_pool(self) -> ProcessPoolExecutor:
        # spawned, not forked: whoever called may run threads, and a fork would inherit their locks
        return ProcessPoolExecutor(
            self.num_workers, multiprocessing.get_context("spawn"), initializer=_begin_worker
        )


class _started_without_main:
    """Workers start without the caller's script: it need not be guarded, and nothing of it is run twice.

    Also with one thread for every library: cells are many, cores are few.
    """

    def __enter__(self) -> None:
        main = sys.modules["__main__"]
        names: tuple[str, ...] = ("__file__", "__spec__")
        self._told = {name: vars(main)[name] for name in names if name in vars(main)}
        self._set = [name for name in THREAD_VARIABLES if name not in os.environ]
        os.environ.update(dict.fromkeys(self._set, "1"))
        for name in self._told:
            setattr(main, name, None)

    def __exit__(self, *_: object) -> None:
        for name, value in self._told.items():
            setattr(sys.modules["__main__"], name, value)
        for name in self._set:
            del os.environ[name]


def _begin_worker() -> None:
    """Ctrl-C is for the parent to answer; a worker whose parent is gone ends as well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    with suppress(OSError):
        connection.wait([sentinel])
    os._exit(1)
