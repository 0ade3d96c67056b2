"""Clusters as executors: Ray and Dask, one that runs already, or one of this machine for the sweep's time.

Both restart a worker that dies and run its cell again. What goes over the wire is a task's text and an
outcome's text; svsim and the input files must be on all machines (``work`` checks that they are the same).
"""

import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from svsim.errors import InputError, printable, require
from svsim.sweeping.executors import Finished
from svsim.sweeping.work import run_task

RETRIES = 3
TCP_TIMEOUT_S, JOIN_TIMEOUT_S = 5.0, 30.0
START_TIMEOUT_S = 180.0  # of a cluster of our own, on a machine that is busy
_ADDRESS = re.compile(r"(?:[a-z]+://)?(?P<host>\[[^\]]+\]|[^:/\s]+):(?P<port>\d{1,5})/?")


class RayCluster:
    """Ray: ``address`` as ``ray start`` says it (``host:6379``), ``ray://host:10001``, or ``auto``."""

    def __init__(self, address: str | None, num_workers: int) -> None:
        ray = _library("ray", "ray")
        self._ray, self._is_ours = ray, not ray.is_initialized()
        self._handles: list[Any] = []
        if address is not None:
            _check_answers(address, "ray", words=("auto",))
            require(self._is_ours, "`address`: this process has joined a Ray cluster already; leave it out")
        if self._is_ours:
            logging.getLogger("ray").setLevel(logging.ERROR)
            settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if address is None:
                settings |= {"num_cpus": num_workers, "include_dashboard": False, "address": "local"}
                # Ray gives its own helpers 30 s to start, and dies where they take longer
                os.environ.setdefault("RAY_agent_register_timeout_ms", f"{1e3 * START_TIMEOUT_S:.0f}")
            else:
                settings["address"] = address
            _within(lambda: ray.init(**settings), address, "ray")
        cores = int(ray.cluster_resources().get("CPU", num_workers))
        self.capacity = 2 * max(cores, 1)
        self._run = ray.remote(num_cpus=1, max_retries=RETRIES)(run_task)

    @property
    def address(self) -> str:
        """Of the head node."""
        return str(self._ray.get_runtime_context().gcs_address)

    def submit(self, task: str) -> Hashable:
        """Begin a task."""
        handle = self._run.remote(task)
        self._handles.append(handle)
        return handle  # type: ignore[no-any-return]

    def finished(self) -> Finished:
        """Waits for one task or more."""
        done, self._handles = self._ray.wait(self._handles, num_returns=1)
        return [(handle, self._outcome(handle)) for handle in done]

    def close(self) -> None:
        """Drop what has not begun; a cluster of our own ends."""
        for handle in self._handles:
            with suppress(Exception):
                self._ray.cancel(handle, force=True)
        if self._is_ours:
            self._ray.shutdown()

    def _outcome(self, handle: Any) -> str | None:
        errors = self._ray.exceptions
        try:
            return self._ray.get(handle)  # type: ignore[no-any-return]
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
            return None
        except errors.RayError as error:
            raise InputError(_failed("ray", error)) from None


class DaskCluster:
    """Dask: ``address`` of its scheduler (``tcp://host:8786``)."""

    def __init__(self, address: str | None, num_workers: int) -> None:
        distributed = _library("distributed", "dask")
        self._distributed, self._futures, self._cluster = distributed, set[Any](), None
        for name in ("distributed", "distributed.nanny", "distributed.scheduler"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a lost worker is ours to tell of
        if address is None:
            self._cluster = distributed.LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        else:
            _check_answers(address, "dask")
        target = self._cluster or address
        self._client = _within(lambda: distributed.Client(target, timeout=JOIN_TIMEOUT_S), address, "dask")
        self.capacity = 2 * max(sum(self._client.ncores().values()), 1)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(self._client.scheduler.address)

    def submit(self, task: str) -> Hashable:
        """Begin a task."""
        future = self._client.submit(run_task, task, pure=False, retries=RETRIES)
        self._futures.add(future)
        return future  # type: ignore[no-any-return]

    def finished(self) -> Finished:
        """Waits for one task or more."""
        done, self._futures = self._distributed.wait(self._futures, return_when="FIRST_COMPLETED")
        return [(future, self._outcome(future)) for future in done]

    def close(self) -> None:
        """Drop what has not begun; a cluster of our own ends."""
        with suppress(Exception):
            self._client.cancel(list(self._futures))
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _outcome(self, future: Any) -> str | None:
        try:
            return future.result()  # type: ignore[no-any-return]
        except self._distributed.KilledWorker:
            return None
        except Exception as error:
            raise InputError(_failed("dask", error)) from None


def _library(module: str, executor: str) -> Any:
    """The library of a cluster, imported only now."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise InputError(
            f"`executor={executor}` needs the package {module}, which is not installed; "
            "pip install 'svsim[distributed]'"
        ) from None


def _check_answers(address: str, executor: str, words: tuple[str, ...] = ()) -> None:
    """InputError, at once or after a few seconds, unless something listens at ``host:port``."""
    if address in words:
        return
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(
            f"`address` {printable(address, 80)} is no address of {executor}; expected HOST:PORT"
        )
    try:
        host = found["host"].strip("[]")
        socket.create_connection((host, int(found["port"])), TCP_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise InputError(_dead(address, executor, reason)) from None


def _within(join: Callable[[], Any], address: str | None, executor: str) -> Any:
    """What ``join`` gives; InputError if it fails, or a cluster that should run takes too long to answer.

    One of our own starts in this thread: what Ray starts ends with the thread that started it.
    """
    if address is None:
        try:
            return join()
        except Exception as error:
            raise InputError(_dead("this machine", executor, printable(error, 120))) from None
    found: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(join())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(JOIN_TIMEOUT_S)
    if found:
        return found[0]
    reason = printable(errors[0], 120) if errors else f"no answer within {JOIN_TIMEOUT_S:.0f} s"
    raise InputError(_dead(address, executor, reason))


def _dead(address: str, executor: str, reason: str) -> str:
    return (
        f"no {executor} cluster answers at `address` {printable(address, 80)} ({reason}); start it, or mend "
        "the address"
    )


def _failed(executor: str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{executor} could not run a cell ({printable(text, 200)}); what is finished is kept: run it again"
