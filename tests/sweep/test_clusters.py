"""Ray and Dask, each of two workers on this machine: the same bytes, a killed worker, nobody at home."""

import importlib.util
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from support.command_line import svsim_process
from support.sweeps import NUM_CELLS, descendants, swept_files

from svsim.errors import InputError
from svsim.sweeping.clusters import DaskCluster, RayCluster
from svsim.sweeping.sweep import sweep

PACKAGES = {"ray": "ray", "dask": "distributed"}
WORKER = {"ray": "ray::", "dask": "spawn_main"}  # in the command line of one


def executors():
    found = []
    for name, package in PACKAGES.items():
        absent = importlib.util.find_spec(package) is None
        reason = f"{package} is not installed; pip install 'svsim[distributed]'"
        found.append(pytest.param(name, marks=pytest.mark.skipif(absent, reason=reason)))
    return found


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return swept_files(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def done(grid, tmp_path_factory):
    """The same sweep in this process."""
    return sweep(grid, tmp_path_factory.mktemp("sweep") / "out", workers=1)


@pytest.fixture(scope="module")
def clusters():
    """Clusters of two workers, started as a sweep without an address does; they run on for all tests."""
    started = {}

    def start(executor):
        if executor not in started:
            try:
                started[executor] = (RayCluster if executor == "ray" else DaskCluster)(None, 2)
            except InputError as error:  # its own start has time limits that a busy machine exceeds
                pytest.skip(f"{executor} does not start here: {error}")
        return started[executor]

    yield start
    for cluster in started.values():
        cluster.close()


@pytest.mark.parametrize("executor", executors())
def test_a_killed_worker_costs_nothing_and_the_bytes_are_the_same(executor, clusters, grid, done, tmp_path):
    cluster = clusters(executor)
    killed, seen = [], []

    def kill_a_worker(progress):
        seen.append(progress.done)
        if not killed:
            workers = [pid for pid, words in descendants(os.getpid()).items() if WORKER[executor] in words]
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])

    address = None if executor == "ray" else cluster.address  # Ray is one to a process
    result = sweep(grid, tmp_path / "out", executor=executor, address=address, progress=kill_a_worker)
    assert killed and result.num_run == NUM_CELLS and seen == list(range(1, NUM_CELLS + 1))
    assert result.rows_file.read_bytes() == done.rows_file.read_bytes()


@pytest.mark.parametrize("executor", executors())
def test_nobody_at_an_address_is_one_line_after_a_bounded_wait(executor, grid, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(InputError, match=r"no .* cluster answers at") as error:
        sweep(grid, tmp_path / "out", executor=executor, address=address)
    assert "\n" not in str(error.value) and time.monotonic() - began < 20
    with pytest.raises(InputError, match="expected HOST:PORT"):
        sweep(grid, tmp_path / "out", executor=executor, address="nowhere")


@pytest.mark.parametrize("executor", executors())
def test_a_cluster_that_runs_already_is_left_running(executor, clusters, grid, done, tmp_path):
    for out in ("first", "second"):
        where = ("--executor", executor, "--address", clusters(executor).address)
        svsim_process("sweep", grid, "--out", tmp_path / out, *where)
        assert (tmp_path / out / "rows.parquet").read_bytes() == done.rows_file.read_bytes()


def test_a_missing_package_is_named(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.import_module", _absent)
    for executor, package in PACKAGES.items():
        with pytest.raises(InputError, match=f"needs the package {package}"):
            sweep(grid, tmp_path / "out", executor=executor)
    assert not list(Path(tmp_path / "out" / "cells").iterdir())


def _absent(name):
    raise ImportError(name)
