"""Replications on worker threads, asked for by many searches at once.

A replication is a function of the seed and its number, so that results do not depend on the workers.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from svsim.open_loop.options import Cell
from svsim.serving.demand import Demand
from svsim.serving.runs import Stopped, load_loops
from svsim.serving.simulation import Fleet, Horizon, Replication, ReplicationRecord


class Runs:
    """A pool of ``jobs`` workers; a context. ``stop`` ends every replication at its next window."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool = ThreadPoolExecutor(jobs)
        self._is_over = threading.Event()

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def load(self, cells: Sequence[Cell]) -> None:
        """Load compiled loops before threads call them."""
        load_loops(cell.fleet for cell in cells)

    def replications(
        self, demand: Demand, fleet: Fleet, horizon: Horizon, numbers: Sequence[int]
    ) -> list[ReplicationRecord]:
        """What happened in each, in order; waits for them."""
        asked = [self._pool.submit(self._run, demand, fleet, horizon, number) for number in numbers]
        return [one.result() for one in asked]

    def stop(self) -> None:
        """Nothing more is begun."""
        self._is_over.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, demand: Demand, fleet: Fleet, horizon: Horizon, number: int) -> ReplicationRecord:
        def tell(second: float) -> None:
            if self._is_over.is_set():
                raise Stopped

        return Replication(demand, fleet, horizon, number).run(tell)
