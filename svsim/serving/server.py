"""One replica as the simulation sees it: what was given to it, what it has finished, whether it is up."""

import numpy as np

from svsim.serving.replica import ReplicaEngine
from svsim.serving.state import (
    ARRIVED,
    FIRST_WAITING,
    NUM_DONE,
    NUM_RUNNING,
    NUM_TAKEN,
    NUM_TURNS,
    NUM_WAITING,
    REQUEST,
    Account,
    Floats,
    Ints,
    Requests,
    Turns,
)

NO_REQUESTS = np.zeros(0, REQUEST)


class Server:
    """A replica with its requests to come. table: requests that others start (its first rows), or None."""

    def __init__(self, engine: ReplicaEngine, table: Requests | None) -> None:
        self.engine = engine
        self.has_turns, self.is_up = table is not None, True
        self.coming = NO_REQUESTS if table is None else table
        self.late_s = np.zeros(0)  # ends that the running step will bring, of requests that were taken

    @property
    def account(self) -> Account:
        """What is counted on the way."""
        return self.engine.replica.account

    def give(self, rows: Requests) -> None:
        """Requests that will arrive, in order."""
        if self.has_turns:
            self.push_turns(rows["arrival_s"], rows["row"])
        else:
            self._after(self._not_taken(), rows)

    def take_given(self) -> Requests:
        """Requests that were given and not looked at yet; they are to be given again."""
        rows = self._not_taken()
        self.engine.next_window()
        return rows

    def give_back(self, rows: Requests) -> None:
        """Requests that arrived earlier and were served elsewhere: they come first, as they stand."""
        if self.has_turns:
            self.coming = np.concatenate([self.coming, rows])
        else:
            self._after(rows, self._not_taken())

    def push_turns(self, moment_s: Floats, rows: Ints) -> None:
        """Turns that begin at these moments. A sorted list is a heap."""
        replica = self.engine.replica
        num = replica.counters[NUM_TURNS]
        moments = np.concatenate([replica.turns.moment_s[:num], moment_s])
        places = np.concatenate([replica.turns.row[:num], rows])
        order = np.lexsort([places, moments])
        turns = replica.turns
        if len(order) > len(turns.row):
            size = 2 * len(order)
            turns = Turns(np.zeros(size), np.zeros(size, np.int64))
            self.engine.replica = replica = replica._replace(turns=turns)
        turns.moment_s[: len(order)], turns.row[: len(order)] = moments[order], places[order]
        replica.counters[NUM_TURNS] = len(order)

    def advance(self, until_s: float) -> None:
        """Serve until ``until_s``."""
        if self.is_up and self.engine.now_s < until_s:
            self.engine.advance(self.coming, until_s)

    def in_system(self) -> Requests:
        """Requests that are running or waiting, and those given that were not looked at yet."""
        replica = self.engine.replica
        counters = replica.counters
        places = (counters[FIRST_WAITING] + np.arange(counters[NUM_WAITING])) % len(replica.waiting)
        rows = np.concatenate([replica.running[: counters[NUM_RUNNING]], replica.waiting[places]])
        coming = self._not_taken()
        return np.concatenate([replica.live[rows], coming[np.isfinite(coming["arrival_s"])]])

    def num_in_system(self, now_s: float) -> int:
        """Requests that run or wait at ``now_s``; those that the running step will finish are among them."""
        replica = self.engine.replica
        counters = replica.counters
        finished = replica.done["finish_s"][: counters[NUM_DONE]] > now_s
        if self.has_turns:
            to_come = (replica.turns.moment_s[: counters[NUM_TURNS]] <= now_s).sum()
        else:
            to_come = len(self.coming) - counters[NUM_TAKEN]
        late = finished.sum() + (self.late_s > now_s).sum()
        return int(counters[NUM_RUNNING] + counters[NUM_WAITING] + to_come + late)

    def take_done(self, now_s: float) -> Requests:
        """Requests that have finished since the last call; a step that runs at ``now_s`` counts as done."""
        done = self.engine.take_done()
        self.late_s = np.concatenate([self.late_s[self.late_s > now_s], done["finish_s"]])
        self.late_s = self.late_s[self.late_s > now_s]
        return done

    def has_turn_before(self, time_s: float) -> bool:
        """Whether a turn begins before ``time_s``."""
        replica = self.engine.replica
        return bool(replica.counters[NUM_TURNS]) and replica.turns.moment_s[0] < time_s

    def stop(self, now_s: float) -> tuple[Requests, Floats, Ints]:
        """The replica fails: (requests to serve elsewhere, moments and rows of turns to come).

        Emitted tokens are kept, KV and drafts are lost.
        """
        replica = self.engine.replica
        num_running, num_turns = replica.counters[NUM_RUNNING], replica.counters[NUM_TURNS]
        lost = self.in_system()
        lost["preemptions"][:num_running] += 1
        for name in ("computed", "draft", "in_flight", "blocks", "planned"):
            lost[name] = 0
        num_taken = num_running + replica.counters[NUM_WAITING]
        timeline, bucket_s = self.account.timeline, self.account.widths[0]
        arrived = (lost["arrival_s"][:num_taken] / bucket_s).astype(np.int64)
        np.subtract.at(
            timeline[:, ARRIVED], np.minimum(arrived, len(timeline) - 1), 1.0
        )  # once more elsewhere
        turns = replica.turns.moment_s[:num_turns].copy(), replica.turns.row[:num_turns].copy()
        self.engine.restart(now_s)
        self.coming, self.is_up = NO_REQUESTS if not self.has_turns else self.coming, False
        self.engine.replica.counters[NUM_TAKEN] = len(self.coming)
        return lost, *turns

    def start(self, now_s: float) -> None:
        """It is up again, with an empty cache."""
        self.engine.replica.clock[0], self.is_up = max(now_s, self.engine.now_s), True

    def _not_taken(self) -> Requests:
        return self.coming[self.engine.replica.counters[NUM_TAKEN] :]

    def _after(self, first: Requests, then: Requests) -> None:
        self.coming = np.concatenate([first, then])
        self.engine.next_window()
