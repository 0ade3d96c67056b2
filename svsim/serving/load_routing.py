"""Servers behind a router that looks at loads: what the compiled loop over all of them needs, kept up."""

from collections.abc import Sequence

import numpy as np

from svsim.compiled import Entry
from svsim.engines.step import Batch
from svsim.serving.fleet_loop import AT_ARRIVAL, AT_REPLICA, WHY, serve_and_route
from svsim.serving.loop import AT_END
from svsim.serving.server import Server
from svsim.serving.state import LARGEST_BATCH, REQUEST, Kept, Replica, Requests, one_of, stacked

PIECE, MOST_PLACES = 1024, 1 << 16  # arrivals that are routed at once; and times all servers


class LoadRouting:
    """Requests to servers by their loads at every arrival; servers hold views of the stacked arrays."""

    def __init__(self, servers: Sequence[Server], rule: Entry) -> None:
        self.servers, self.rule = servers, rule
        self._stack: tuple[Replica, Kept] | None = None
        self._views: list[tuple[Replica, Batch]] = []

    def route(self, arrived: Requests) -> None:
        """All servers that are up, to each arrival in turn; every request goes to one of them."""
        piece = max(min(PIECE, MOST_PLACES // len(self.servers)), 1)
        for first in range(0, len(arrived), piece):
            self._route(arrived[first : first + piece])

    def _route(self, arrived: Requests) -> None:
        servers, num = self.servers, len(self.servers)
        waiting = [server.take_given() for server in servers]
        num_given = np.array([len(rows) for rows in waiting])
        coming = np.zeros((num, int(num_given.max()) + len(arrived)), REQUEST)
        late_s = np.full((num, max(len(server.late_s) for server in servers)), -np.inf)
        for i, server in enumerate(servers):
            coming[i, : num_given[i]] = waiting[i]
            late_s[i, : len(server.late_s)] = server.late_s
        is_up = np.array([server.is_up for server in servers])
        loads, where = np.zeros(num, np.int64), np.zeros(3, np.int64)
        while where[AT_ARRIVAL] < len(arrived):
            self._run(arrived, is_up, coming, num_given, late_s, loads, where)
            if where[WHY] != AT_END:
                i = int(where[AT_REPLICA])
                now_s = float(arrived["arrival_s"][where[AT_ARRIVAL]])
                servers[i].engine.advance(coming[i, : num_given[i]], now_s)
        for i, server in enumerate(servers):
            server.coming = coming[i, : num_given[i]].copy()

    def _run(self, arrived: Requests, is_up: object, coming: Requests, *arrays: object) -> None:
        fleet, kept = self._stacked()
        # scratch of the largest serves all
        engine = max((s.engine for s in self.servers), key=lambda e: int(e.replica.counters[LARGEST_BATCH]))
        select, ask = engine.compiled_rules
        serve_and_route(
            engine.prices.program, select, ask, self.rule.loaded, engine.batch, engine.space,
            engine.prices.chunks, engine.rules, engine.pool, fleet, kept, is_up, arrived, coming, *arrays,
        )  # fmt: skip

    def _stacked(self) -> tuple[Replica, Kept]:
        """The arrays of all servers; stacked anew where one of them has got other arrays since."""
        engines = [server.engine for server in self.servers]
        seen = [(engine.replica, engine.batch) for engine in engines]
        if self._stack is None or any(
            a is not c or b is not d for (a, b), (c, d) in zip(seen, self._views, strict=True)
        ):
            num_rows = max(len(engine.replica.live) for engine in engines)
            for engine in engines:
                if len(engine.replica.live) < num_rows:
                    engine.widen(num_rows)
            fleet = stacked([engine.replica for engine in engines])
            kept = Kept._make(
                np.stack([engine.kept[i] for engine in engines]) for i in range(len(Kept._fields))
            )
            for i, engine in enumerate(engines):
                engine.adopt(one_of(fleet, i), Kept._make(array[i] for array in kept))
            self._views = [(engine.replica, engine.batch) for engine in engines]
            self._stack = fleet, kept
        return self._stack
