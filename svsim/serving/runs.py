"""All replications of all methods, on worker threads: the compiled loop runs without the GIL.

Results do not depend on the number of workers: a replication is a function of the seed and its number.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from svsim.compiled import load
from svsim.progress import Count
from svsim.serving.demand import Demand
from svsim.serving.fleet_loop import serve_and_route
from svsim.serving.loop import serve_until
from svsim.serving.routing import router_named
from svsim.serving.simulation import Fleet, Horizon, Replication, ReplicationRecord

UNITS = 100  # of progress in a replication


class Stopped(Exception):
    """A replication was told to stop."""


@dataclass(frozen=True, slots=True)
class FleetRecords:
    """The finished replications of a fleet, in order."""

    fleet: Fleet
    records: tuple[ReplicationRecord, ...]


def load_loops(fleets: Iterable[Fleet]) -> None:
    """Load what is compiled, before threads call it."""
    for fleet in fleets:
        selection = fleet.prices.method.selection
        load(serve_until, selection.rule, selection.pass_rule)
        rule = router_named(fleet.router).rule
        if rule is not None:
            load(serve_and_route, rule)


class ReplicationRuns:
    """Replications 0 to ``num`` - 1 of each fleet."""

    def __init__(
        self, demand: Demand, fleets: Sequence[Fleet], horizon: Horizon, num: int, jobs: int
    ) -> None:
        self.demand, self.fleets, self.horizon, self.num, self.jobs = demand, fleets, horizon, num, jobs
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._done = [0] * (num * len(fleets))

    def run(self, count: Count) -> tuple[list[FleetRecords], bool]:
        """Records by fleet, and whether Ctrl-C cut the run short (then of the finished replications).

        KeyboardInterrupt passes if no replication of some fleet has finished.
        """
        interrupted = False
        load_loops(self.fleets)
        with ThreadPoolExecutor(self.jobs) as pool:
            # number by number, so that an interrupted run holds the same replications of all methods
            jobs = [(number, f) for number in range(self.num) for f in range(len(self.fleets))]
            futures = {pool.submit(self._run, number, f, count): (number, f) for number, f in jobs}
            try:
                until_done(futures)
            except KeyboardInterrupt:
                interrupted = True
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        found = {
            place: future.result()
            for future, place in futures.items()
            if future.done() and not future.cancelled() and not isinstance(future.exception(), Stopped)
        }
        whole = [n for n in range(self.num) if all((n, f) in found for f in range(len(self.fleets)))]
        if not whole:
            raise KeyboardInterrupt
        return [
            FleetRecords(fleet, tuple(found[n, f] for n in whole)) for f, fleet in enumerate(self.fleets)
        ], interrupted

    def _run(self, number: int, fleet: int, count: Count) -> ReplicationRecord:
        place = number * len(self.fleets) + fleet

        def tell(second: float) -> None:
            if self._stop.is_set():
                raise Stopped
            self._tell(place, int(UNITS * second / self.horizon.duration_s), count)

        record = Replication(self.demand, self.fleets[fleet], self.horizon, number).run(tell)
        self._tell(place, UNITS, count)
        return record

    def _tell(self, place: int, units: int, count: Callable[[int], None]) -> None:
        with self._lock:
            self._done[place] = units
            count(sum(self._done))


def until_done(futures: Iterable[Future[Any]]) -> None:
    """Wait for all, or for the first that fails, whose error is raised."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=0.2)
        for future in done:
            future.result()
