"""One replication: SimPy owns windows, replicas, routing and failures; the compiled loop everything within.

Every window the requests that arrive in it are routed, each replica serves to the window's end, and what has
finished is taken. Replicas meet only at the router. The length of a window, and the number of workers, change
no byte: a step that has begun is finished, and nothing is looked at before its time.

A request is measured if it arrives in [warm-up, end); arrivals go on until all that arrived before the end
have finished, at most ``drain_s`` longer.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from svsim.errors import InfeasibleError, InputError, InvariantError, require
from svsim.serving.demand import Demand, RequestSource
from svsim.serving.ledger import Ledger
from svsim.serving.load_routing import LoadRouting
from svsim.serving.replica import MethodPrices, ReplicaEngine
from svsim.serving.routing import router_named
from svsim.serving.server import NO_REQUESTS, Server
from svsim.serving.spelling import Field, parse_law
from svsim.serving.state import FREE_BLOCKS, Account, Floats, Ints, Requests, Rules, new_account

NUM_SEGMENTS = 40  # of arrival times, in which gaps are counted and a warm-up may end
MOST_SEGMENTS = 120
MOST_BUCKETS = 4000


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica is down from ``at_s`` on for ``for_s`` seconds (a step that runs then is finished)."""

    replica: int
    at_s: float
    for_s: float

    @classmethod
    def parse(cls, text: str) -> "Failure":
        """``replica=0,at=600,for=120``."""
        seconds = Field(None, 0.0, 1e9)
        laws = {"down": {"replica": Field(None, 0, 1e6), "at": seconds, "for": Field(None, 0.0, 1e9)}}
        _, values = parse_law("failure", f"down:{text}", laws)
        replica = float(values["replica"])
        require(replica.is_integer(), f"`failure` {text}: replica={replica:g} is no whole number")
        return cls(int(replica), float(values["at"]), float(values["for"]))


@dataclass(frozen=True, slots=True)
class Horizon:
    """The run's times: its end, where a warm-up may end (segments), buckets of the timeline, windows.

    warm_up_s: None: found afterwards (MSER-5).
    """

    duration_s: float
    warm_up_s: float | None
    num_segments: int
    buckets_per_segment: int
    drain_s: float
    window_s: float

    @classmethod
    def of(
        cls,
        duration_s: float,
        warm_up_s: float | None,
        window_s: float | None = None,
        drain_s: float | None = None,
    ) -> "Horizon":
        """Segments such that the warm-up ends with one, as nearly as 120 of them allow.

        drain_s: default as long as the run.
        """
        require(
            duration_s > 0 and np.isfinite(duration_s),
            f"`duration` {duration_s:g} is no positive number of seconds",
        )
        num = NUM_SEGMENTS
        if warm_up_s is not None:
            if not 0.0 <= warm_up_s < duration_s:
                raise InputError(
                    f"`warm_up` {warm_up_s:g} s leaves nothing of the {duration_s:g} s to measure; "
                    "expected 0 to below `duration`, or auto"
                )
            off = [abs(warm_up_s * n / duration_s - round(warm_up_s * n / duration_s)) for n in _SEGMENTS]
            num = _SEGMENTS[int(np.argmin(np.round(off, 9)))]
        per_segment = max(1, min(int(duration_s / num), MOST_BUCKETS // num))
        drain_s = duration_s if drain_s is None else drain_s
        return cls(duration_s, warm_up_s, num, per_segment, drain_s, window_s or duration_s / 16)

    @property
    def segment_s(self) -> float:
        """Seconds of a segment."""
        return self.duration_s / self.num_segments

    @property
    def bucket_s(self) -> float:
        """Seconds of a bucket of the timeline."""
        return self.segment_s / self.buckets_per_segment

    def account(self) -> Account:
        """Empty; the last segment and the last bucket hold all that lies behind the end."""
        segments, buckets = self.num_segments + 1, self.num_segments * self.buckets_per_segment + 1
        return new_account(buckets, self.bucket_s, segments, self.segment_s)


_SEGMENTS = range(NUM_SEGMENTS, MOST_SEGMENTS + 1)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What serves: one method's prices and rules, replicas alike, how requests are routed, failures."""

    prices: MethodPrices
    rules: Rules
    num_replicas: int = 1
    router: str = "round-robin"
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicationRecord:
    """What happened: requests that arrived before the end [RECORD], in order of arrival; sums over replicas.

    timeline, step_gaps, token_gaps: see ``Account``. Requests that had not finished when the run was cut off
    have finish_s NaN. cut_off_s: that moment; None: everything finished.
    """

    requests: Requests
    timeline: Floats
    step_gaps: Ints
    token_gaps: Ints
    cut_off_s: float | None

    @property
    def num_unfinished(self) -> int:
        """Requests that had not finished."""
        return int(np.isnan(self.requests["finish_s"]).sum())


class Replication:
    """One run of a fleet under the demand of one replication; ``run`` returns what happened."""

    def __init__(self, demand: Demand, fleet: Fleet, horizon: Horizon, number: int) -> None:
        self.fleet, self.horizon = fleet, horizon
        self.source: RequestSource = demand.requests(number)
        self.router = router_named(fleet.router)
        self.gaps = horizon.account()  # of all replicas
        self.servers = [self._new_server() for _ in range(fleet.num_replicas)]
        rule = self.router.rule
        self.routing = None if rule is None else LoadRouting(self.servers, rule)
        self.held = NO_REQUESTS  # while no replica is up
        self.held_turns = np.zeros(0), np.zeros(0, np.int64)
        self.done = Ledger()
        self.cut_off_s: float | None = None
        self._tell: Any = lambda second: None

    def run(self, tell: Any = None) -> ReplicationRecord:
        """Simulate until everything that arrived before the end has finished.

        tell: called with the simulated second after every window; it may raise to stop the run.
        """
        self._tell = tell or self._tell
        clock = simpy.Environment()
        for failure in self.fleet.failures:
            clock.process(self._fail(clock, failure))
        clock.run(until=clock.process(self._windows(clock)))
        return self._record()

    def _windows(self, clock: simpy.Environment) -> Generator[simpy.Event, None, None]:
        horizon, number = self.horizon, 0
        last_s = horizon.duration_s + horizon.drain_s
        while True:
            number += 1
            now_s = min(number * horizon.window_s, last_s)
            yield clock.timeout(max(now_s - clock.now, 0.0))
            self._advance(now_s)
            self._tell(min(now_s, horizon.duration_s))
            if now_s >= horizon.duration_s and self._is_over():
                return
            if now_s >= last_s:
                self.cut_off_s = last_s
                return

    def _fail(self, clock: simpy.Environment, failure: Failure) -> Generator[simpy.Event, None, None]:
        server = self.servers[failure.replica]
        now_s = failure.at_s
        yield clock.timeout(now_s)
        self._advance(now_s)
        if not server.is_up:
            return
        lost, moments, rows = server.stop(now_s)
        self._take_done(now_s)
        self._give_back(lost, moments, rows)
        yield clock.timeout(failure.for_s)
        now_s += failure.for_s
        self._advance(now_s)
        server.start(now_s)
        held, turns = self.held, self.held_turns
        self.held, self.held_turns = NO_REQUESTS, (np.zeros(0), np.zeros(0, np.int64))
        self._give_back(held, *turns)

    def _advance(self, now_s: float) -> None:
        """Everything up to ``now_s``: arrivals to their replicas, each replica to that moment."""
        arrived = self.source.until(now_s)
        self._check_fit(arrived)
        up = [i for i, server in enumerate(self.servers) if server.is_up]
        if not up:
            self.held = np.concatenate([self.held, arrived])
        elif self.routing is not None and len(up) > 1:
            self._route_by_load(arrived, self.routing)
        else:
            chosen = self.router.route(up, len(arrived))
            for i in up:
                mine = arrived[chosen == i]
                if len(mine):
                    self.servers[i].give(mine)
        for server in self.servers:
            server.advance(now_s)
        self._take_done(now_s)
        self.done.settle(self._nothing_before(now_s))

    def _nothing_before(self, now_s: float) -> float:
        """No request that finishes from now on arrived earlier."""
        left = [self.held["arrival_s"], *(server.in_system()["arrival_s"] for server in self.servers)]
        return float(min([now_s, *(arrivals.min() for arrivals in left if len(arrivals))]))

    def _check_fit(self, rows: Requests) -> None:
        """A request that a law drew, and that no replica could ever hold, ends the run."""
        rules = self.fleet.rules
        most = rules.num_blocks * rules.block_size - rules.num_speculative_tokens - rules.lookahead
        tokens = rows["prompt"] + rows["output"]
        if len(rows) and tokens.max() > most:
            raise InfeasibleError(
                f"a request of {tokens.max():,} tokens was drawn, and a replica's KV cache holds {most:,} of "
                "one request; take more memory (tp=N, `kv_blocks`), or shorter `lengths`"
            )

    def _route_by_load(self, arrived: Requests, routing: LoadRouting) -> None:
        """Replicas stop at every arrival; a step that then runs still holds what it will finish."""
        if self.source.table is None:
            routing.route(arrived)
            return
        is_up = np.array([server.is_up for server in self.servers])
        for place in range(len(arrived)):  # later turns are on the replicas' own heaps
            row = arrived[place : place + 1]
            now_s = float(row["arrival_s"][0])
            for server in self.servers:
                server.advance(now_s)
            loads = np.array([server.num_in_system(now_s) for server in self.servers])
            self.servers[routing.rule(loads, is_up)].give(row)

    def _give_back(self, rows: Requests, moments_s: Floats, turns: Ints) -> None:
        """Requests and turns of a replica that failed, to the others in turn; or held until one is up."""
        up = [i for i, server in enumerate(self.servers) if server.is_up]
        rows = rows[np.lexsort([rows["row"], rows["arrival_s"]])]
        if not up:
            self.held = np.concatenate([rows, self.held])
            before = self.held_turns
            self.held_turns = np.concatenate([before[0], moments_s]), np.concatenate([before[1], turns])
            return
        for number, i in enumerate(up):
            mine = rows[number :: len(up)]
            if len(mine):
                self.servers[i].give_back(mine)
            if len(turns[number :: len(up)]):
                self.servers[i].push_turns(moments_s[number :: len(up)], turns[number :: len(up)])

    def _take_done(self, now_s: float) -> None:
        for server in self.servers:
            done = server.take_done(now_s)
            mine = done[done["arrival_s"] < self.horizon.duration_s]
            self.done.add(mine)

    def _is_over(self) -> bool:
        """Whether all that arrived before the end have finished."""
        end_s = self.horizon.duration_s
        if len(self.held) and self.held["arrival_s"].min() < end_s:
            return False
        if len(self.held_turns[0]) and self.held_turns[0].min() < end_s:
            return False
        return not any(
            (server.in_system()["arrival_s"] < end_s).any() or server.has_turn_before(end_s)
            for server in self.servers
        )

    def _new_server(self) -> Server:
        fleet, table = self.fleet, self.source.table
        account = self.gaps._replace(timeline=np.zeros_like(self.gaps.timeline))
        engine = ReplicaEngine(
            fleet.prices, fleet.rules, self.source.pool, account, 1 if table is None else len(table)
        )
        return Server(engine, table)

    def _record(self) -> ReplicationRecord:
        end_s = self.horizon.duration_s
        left = np.concatenate([self.held, *(server.in_system() for server in self.servers)])
        left = left[left["arrival_s"] < end_s]
        left["finish_s"] = np.nan
        left["first_token_s"][left["out"] == 0] = np.nan
        left["scheduled_s"][left["scheduled_s"] < 0] = np.nan
        record = ReplicationRecord(
            self.done.all(left),
            np.sum([server.account.timeline for server in self.servers], axis=0),
            self.gaps.step_gaps,
            self.gaps.token_gaps,
            self.cut_off_s,
        )
        self._check_blocks()
        return record

    def _check_blocks(self) -> None:
        """No block is lost; requests themselves were checked as they were taken."""
        num_blocks = self.fleet.rules.num_blocks
        for server in self.servers:
            free, held = server.engine.replica.counters[FREE_BLOCKS], server.in_system()["blocks"].sum()
            if free + held != num_blocks:
                raise InvariantError(
                    f"{free} free KV blocks and {held} held are not the cache's {num_blocks}"
                )
