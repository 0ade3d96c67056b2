"""What is asked of the servers: requests in order of arrival, each with the trace rows it borrows.

Arrivals, lengths and borrowed acceptance are independent streams of one seed and the replication's number, so
that all methods, rates and fleets meet the same requests. A request borrows the acceptance of one request of
the trace, drawn by its own number: of the same task if both name one, at least as long if there is one.
Requests that other requests start (later turns of a session, users of a closed loop) stand in a table.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.random_streams import RandomStreams
from svsim.serving.arrivals import Arrivals, ArrivalStream
from svsim.serving.lengths import LengthLaw
from svsim.serving.state import REQUEST, Pool, Requests
from svsim.trace.token_trace import TokenTrace
from svsim.workload.requests import RequestWorkload

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
BLOCK = 4096  # requests drawn at once; part of the meaning of a seed
USER_ROWS = 1 << 16  # requests of all users of a closed loop, before each user begins anew
FEWEST_TURNS = 16
STAND_IN_ROWS = 4096  # of a request to borrow from where there is no trace


@dataclass(frozen=True, slots=True)
class Lenders:
    """The trace's requests that lend their acceptance: rows of the trace [R], task numbers [R]."""

    first: Ints
    rows: Ints
    task: Ints
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, trace: TokenTrace | None) -> "Lenders":
        """Of a trace; without one, a request of which nothing is ever accepted."""
        if trace is None:
            return cls(np.zeros(1, np.int64), np.full(1, STAND_IN_ROWS), np.zeros(1, np.int64), ())
        labels = np.zeros(trace.num_requests, np.int64)
        names: tuple[str, ...] = ()
        if trace.tasks is not None:
            found, labels = np.unique(trace.tasks, return_inverse=True)
            names = tuple(str(name) for name in found)
        return cls(trace.first_position[:-1].astype(np.int64), trace.num_output_tokens, labels, names)

    def pool(self, streams: RandomStreams, replication: int) -> Pool:
        """For the compiled loop: where a request longer than its lender goes on."""
        order = streams.generator("acceptance order", replication).permutation(len(self.rows))
        return Pool(self.first, self.rows.astype(np.int64), order.astype(np.int64))

    def lender(self, output: Ints, task: Ints, coins: NDArray[np.float32]) -> Ints:
        """The lender of each request [N]; task: numbers of this object's tasks, -1: any."""
        found = np.zeros(len(output), np.int64)
        for number in np.unique(task):
            mine = np.flatnonzero(task == number)
            lenders = np.arange(len(self.rows)) if number < 0 else np.flatnonzero(self.task == number)
            lenders = lenders[np.argsort(self.rows[lenders], kind="stable")]
            shortest = np.searchsorted(self.rows[lenders], output[mine])
            shortest[shortest == len(lenders)] = 0  # none is long enough: any, and on in another
            width = len(lenders) - shortest
            drawn = shortest + np.minimum((coins[mine] * width).astype(np.int64), width - 1)
            found[mine] = lenders[drawn]
        return found


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests as asked for: by laws of arrival and length, or by a workload file.

    trace: lends acceptance (and lengths); None: nothing is ever accepted. time_scale: arrivals of a file are
    so many times as far apart. duration_s: requests that arrive earlier are of interest.
    """

    arrivals: Arrivals | None
    lengths: LengthLaw
    workload: RequestWorkload | None
    trace: TokenTrace | None
    duration_s: float
    time_scale: float = 1.0
    seed: int = 0

    @property
    def has_turns(self) -> bool:
        """Whether requests start others."""
        if self.workload is not None:
            return bool(np.isnan(self.workload.arrival_s).any())
        return self.arrivals is not None and self.arrivals.is_closed

    @property
    def is_given(self) -> bool:
        """Whether arrivals and lengths are those of a file: the same in every replication."""
        return self.workload is not None

    @property
    def text(self) -> str:
        """The law of arrival, or the file's name."""
        if self.workload is not None:
            return f"workload:{self.workload.source.get('file', 'memory')}"
        assert self.arrivals is not None
        return self.arrivals.text

    @property
    def rate(self) -> float | None:
        """Mean requests per second that are offered; None where users decide it."""
        if self.workload is not None:
            rate = self.workload.rate
            return None if rate is None else rate / self.time_scale
        assert self.arrivals is not None
        return self.arrivals.rate

    def requests(self, replication: int) -> "RequestSource":
        """The requests of one replication, from the first."""
        return RequestSource(self, replication)

    def shortest_prompt(self) -> int:
        """Of all requests; 1 where a law may draw it."""
        if self.workload is not None:
            return int(self.workload.num_prompt_tokens.min())
        if self.lengths.law == "trace":
            return int(_trace_lengths(self.trace)[0].min())
        return round(self.lengths.prompt) if self.lengths.law == "fixed" else 1

    def longest(self, num: int = 200_000) -> tuple[int, int]:
        """(prompt, output) of the request with most tokens: of all, or of the first ``num`` of a law."""
        prompt, output = self._lengths(num)
        place = int(np.argmax(prompt + output))
        return int(prompt[place]), int(output[place])

    def mean_context(self, num: int = 20_000) -> float:
        """Tokens of context where a token is written, on average."""
        prompt, output = self._lengths(num)
        return float((output * (prompt + 0.5 * output)).sum() / output.sum())

    def _lengths(self, num: int) -> tuple[Ints, Ints]:
        """Prompts and outputs of all requests, or of the first ``num`` of a law."""
        if self.workload is not None:
            prompt, output = self.workload.num_prompt_tokens, self.workload.num_output_tokens
        elif self.lengths.law == "trace":
            prompt, output = _trace_lengths(self.trace)
        else:
            rng = RandomStreams(self.seed).generator("lengths", 0)
            drawn = [self.lengths.draw(BLOCK, rng) for _ in range(-(-num // BLOCK))]
            prompt, output = (np.concatenate(columns) for columns in zip(*drawn, strict=True))
        return prompt.astype(np.int64), output.astype(np.int64)


class RequestSource:
    """Requests of one replication: ``until`` hands them out; ``table`` holds those that others may start."""

    def __init__(self, demand: Demand, replication: int) -> None:
        self.demand, self.replication = demand, replication
        self.streams = RandomStreams(demand.seed)
        self.lenders = Lenders.of(demand.trace)
        self.pool = self.lenders.pool(self.streams, replication)
        self.table: Requests | None = None
        self._lengths = self._length_blocks()
        self._held = np.zeros(0, REQUEST)
        if demand.has_turns:
            self.table, started = self._turns()
            self._blocks: Iterator[Requests] = iter([started])
        else:
            self._blocks = self._file_blocks() if demand.workload is not None else self._law_blocks()

    def until(self, time_s: float) -> Requests:
        """Requests that arrive before ``time_s`` and were not handed out yet, in order."""
        pieces = [self._held]
        while len(pieces[-1]) == 0 or pieces[-1]["arrival_s"][-1] < time_s:
            block = next(self._blocks, None)
            if block is None:
                break
            pieces.append(block)
        known = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        num = int(np.searchsorted(known["arrival_s"], time_s))
        self._held = known[num:]
        return known[:num]

    def _law_blocks(self) -> Iterator[Requests]:
        demand, first = self.demand, 0
        assert demand.arrivals is not None
        stream = ArrivalStream(demand.arrivals, self.streams, demand.duration_s, self.replication)
        while True:
            yield self._block(stream.next(BLOCK), first)
            first += BLOCK

    def _block(self, arrival_s: Floats, first: int) -> Requests:
        """Requests of the laws, numbered from ``first``."""
        prompt, output, lender = next(self._lengths)
        rows = np.arange(first, first + len(prompt))
        return self._made(rows, arrival_s, prompt, output, lender=lender)

    def _length_blocks(self) -> Iterator[tuple[Ints, Ints, Ints | None]]:
        """Prompt and output tokens of BLOCK requests, again and again; of the trace: and its request."""
        demand = self.demand
        if demand.workload is not None:
            return
        rng = self.streams.generator("lengths", self.replication)
        if demand.lengths.law != "trace":
            while True:
                yield (*demand.lengths.draw(BLOCK, rng), None)
        prompt, output = _trace_lengths(demand.trace)
        order = np.zeros(0, np.int64)
        while True:
            while len(order) < BLOCK:  # every request once, in another order, then again
                order = np.concatenate([order, rng.permutation(len(prompt))])
            now, order = order[:BLOCK], order[BLOCK:]
            yield prompt[now], output[now], now

    def _file_blocks(self) -> Iterator[Requests]:
        workload = self.demand.workload
        assert workload is not None
        for first in range(0, workload.num_requests, BLOCK):
            yield self._of_file(np.arange(first, min(first + BLOCK, workload.num_requests)))

    def _of_file(self, rows: Ints) -> Requests:
        workload = self.demand.workload
        assert workload is not None
        task = np.full(len(rows), -1)
        if workload.tasks is not None:
            known = {name: number for number, name in enumerate(self.lenders.tasks)}
            task = np.array([known.get(workload.tasks[r], -1) for r in rows])
        cached = workload.num_cached_tokens
        return self._made(
            rows,
            workload.arrival_s[rows] * self.demand.time_scale,
            workload.num_prompt_tokens[rows],
            workload.num_output_tokens[rows],
            task=task,
            cached=None if cached is None else cached[rows],
        )

    def _made(
        self,
        rows: Ints,
        arrival_s: Floats,
        prompt: Ints,
        output: Ints,
        *,
        lender: Ints | None = None,
        task: Ints | None = None,
        cached: Ints | None = None,
    ) -> Requests:
        """Rows for the compiled loop. lender: the trace's own request; None: one is drawn."""
        coins = self.streams.coins(
            "acceptance", self.replication, shape=(len(rows), 2), first_row=int(rows[0]) if len(rows) else 0
        )
        if lender is None:
            any_task = np.full(len(rows), -1)
            lender = self.lenders.lender(output, any_task if task is None else task, coins[:, 0])
        made = np.zeros(len(rows), REQUEST)
        made["row"], made["arrival_s"], made["prompt"], made["output"] = rows, arrival_s, prompt, output
        made["cached"] = 0 if cached is None else cached
        made["next_turn"], made["scheduled_s"] = -1, -1.0
        made["piece_first"], made["piece_rows"] = self.lenders.first[lender], self.lenders.rows[lender]
        made["chain"] = (coins[:, 1] * len(self.lenders.rows)).astype(np.int64)
        return made

    def _turns(self) -> tuple[Requests, Requests]:
        """All requests that others start or that start others, and those that begin by themselves."""
        table = self._session_table() if self.demand.workload is not None else self._user_table()
        begins = table[np.isfinite(table["arrival_s"])]
        table["arrival_s"] = np.nan
        return table, begins

    def _session_table(self) -> Requests:
        """The file's requests; a turn without an arrival follows the one before it in its session."""
        workload = self.demand.workload
        assert workload is not None and workload.session_ids is not None and workload.delay_s is not None
        table = self._of_file(np.arange(workload.num_requests))
        last: dict[str, int] = {}
        for row, session in enumerate(workload.session_ids):
            before = last.get(session)
            if before is not None and np.isnan(workload.arrival_s[row]):
                table["next_turn"][before], table["delay_s"][before] = row, workload.delay_s[row]
                said = int(table["prompt"][before] + table["output"][before])
                if workload.num_cached_tokens is None and table["prompt"][row] > said:
                    table["cached"][row] = said
            last[session] = row
        return table

    def _user_table(self) -> Requests:
        """Requests of each user one after another, the last followed by the first; starts are spread."""
        arrivals = self.demand.arrivals
        assert arrivals is not None
        users, think_s = arrivals.num_users, arrivals.think_s
        turns = max(USER_ROWS // users, FEWEST_TURNS)
        blocks = [self._block(np.zeros(BLOCK), f) for f in range(0, users * turns, BLOCK)]
        table = np.concatenate(blocks)[: users * turns]
        place = np.arange(users * turns)
        user, turn = place % users, place // users
        table["arrival_s"] = np.where(turn == 0, think_s * user / users, np.nan)
        table["next_turn"] = (turn + 1) % turns * users + user
        table["delay_s"] = think_s
        return table


def _trace_lengths(trace: TokenTrace | None) -> tuple[Ints, Ints]:
    if trace is None:
        raise InputError("`lengths=trace` needs a trace; give one, or lengths such as fixed:1024/128")
    return trace.num_prompt_tokens.astype(np.int64), trace.num_output_tokens.astype(np.int64)
