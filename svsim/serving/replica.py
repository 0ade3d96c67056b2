"""One replica with its method and prices: what the compiled loop needs, grown as it asks for it."""

from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import BatchShape, Deployment, PriceBook, bind, compiled_pass_rule, compiled_rule
from svsim.engines.program import BoundColumns, StepProgram
from svsim.engines.step import Batch, new_batch
from svsim.errors import InvariantError
from svsim.latency.mixed_sheet import MixedSheet
from svsim.serving.chunks import ChunkPrices, chunk_prices
from svsim.serving.invariants import check_finished, check_standing
from svsim.serving.loop import AT_END, IS_STUCK, NEEDS_DRAIN, NEEDS_PRICES, NEEDS_ROOM, serve_until
from svsim.serving.serve import Space, new_space
from svsim.serving.state import (
    LARGEST_BATCH,
    NUM_DONE,
    NUM_TAKEN,
    PLANNED_A,
    Account,
    Floats,
    Kept,
    Pool,
    Replica,
    Requests,
    Rules,
    larger,
    new_replica,
)

FIRST_ROWS, FIRST_DONE, FIRST_BATCH = 256, 4096, 8


@dataclass(slots=True)
class MethodPrices:
    """A method's prices on a deployment, shared by its replicas: step sheets grow with the largest batch.

    context_range: mean contexts that sheets are laid out for; beyond they go on in a straight line.
    """

    method: DecodingMethod
    columns: BoundColumns
    deployment: Deployment
    context_range: tuple[float, float]
    max_tokens: int
    max_num_seqs: int
    max_context: float
    prefill_is_free: bool = False
    program: StepProgram = field(init=False)
    chunks: ChunkPrices = field(init=False)
    largest_batch: int = 0
    _book: PriceBook = field(init=False, repr=False)
    _lock: Lock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._book = PriceBook(self.deployment)
        priced = self.deployment.priced(self.method)
        chunks = chunk_prices(
            priced, self.max_tokens, self.max_num_seqs, self.max_context, is_free=self.prefill_is_free
        )
        # a chain whose tail the budget cut is drafted and scored whole
        more = 2 * priced.work.num_speculative_tokens + 1
        self.chunks = chunks._replace(
            target=_longer(chunks.target, more),
            draft=_longer(chunks.draft, more),
            companion=_longer(chunks.companion, more),
        )
        self._lock = Lock()
        # free prompts decode in the step that lets them in
        self.grow(self.max_num_seqs if self.prefill_is_free else min(FIRST_BATCH, self.max_num_seqs))

    def grow(self, num_sequences: int) -> None:
        """Lay out steps of up to so many sequences, and of a quarter more than before."""
        with self._lock:  # replications share it
            if num_sequences <= self.largest_batch:
                return
            roomy = max(num_sequences, self.largest_batch * 5 // 4)
            largest = min(roomy, max(self.max_num_seqs, num_sequences))
            shape = BatchShape(largest, 1, True, self.context_range)
            self.program = bind(self.method, self.columns, self._book, shape)
            self.largest_batch = largest


def _longer(sheet: MixedSheet, more: int) -> MixedSheet:
    """The sheet for so many more new tokens, in a straight line."""
    slope_s = sheet.token_s[-1] - sheet.token_s[-2]
    beyond = sheet.token_s[-1] + slope_s * np.arange(1, more + 1)
    padded = np.concatenate([sheet.padded, np.full(more, sheet.padded[-1])])
    return sheet._replace(token_s=np.concatenate([sheet.token_s, beyond]), padded=padded)


class ReplicaEngine:
    """One replica from an empty start: ``advance`` serves, ``take_done`` hands over what has finished."""

    def __init__(
        self,
        prices: MethodPrices,
        rules: Rules,
        pool: Pool,
        account: Account,
        num_turns: int = 1,
        now_s: float = 0.0,
    ) -> None:
        self.prices, self.rules, self.pool = prices, rules, pool
        self.replica: Replica = new_replica(
            FIRST_ROWS, FIRST_DONE, rules.num_blocks, max(num_turns, 1), account, now_s
        )
        self.compiled_rules = compiled_rule(prices.method), compiled_pass_rule(prices.method)
        self._done: list[Requests] = []
        self.batch, self.space = self._scratch()

    @property
    def now_s(self) -> float:
        """The replica's clock: a step's end may lie past the window's."""
        return float(self.replica.clock[0])

    def advance(self, coming: Requests, until_s: float) -> None:
        """Serve until the clock reaches ``until_s``; requests are read from where the last call stopped."""
        begun_s = self.now_s
        while True:
            why = serve_until(
                self.prices.program, *self.compiled_rules, self.batch, self.space, self.prices.chunks,
                self.rules, self.pool, coming, self.replica, until_s,
            )  # fmt: skip
            if why == AT_END:
                if not self.now_s >= begun_s:
                    raise InvariantError(f"a replica's clock went from {begun_s} s to {self.now_s} s")
                return
            if why == NEEDS_ROOM:
                self.widen(2 * len(self.replica.live))
            elif why == NEEDS_DRAIN:
                self._drain()
            elif why == NEEDS_PRICES:
                self.prices.grow(int(self.replica.counters[PLANNED_A]))
                self.batch, self.space = self._scratch()
            elif why == IS_STUCK:
                raise InvariantError("a replica holds requests and can schedule none of them")

    def widen(self, num_rows: int) -> None:
        """Room for so many requests in the system."""
        self.replica = larger(self.replica, num_rows)
        self.batch, self.space = self._scratch()

    @property
    def kept(self) -> Kept:
        """What its batch carries from step to step."""
        rule, asked = self.batch.rule, self.batch.asked
        return Kept(self.batch.clocks, rule.memory, asked.memory, asked.seats, asked.news, asked.scratch)

    def adopt(self, replica: Replica, kept: Kept) -> None:
        """The same state in other arrays."""
        rule = self.batch.rule._replace(memory=kept.rule_memory)
        asked = self.batch.asked._replace(
            memory=kept.asked_memory, seats=kept.seats, news=kept.news, scratch=kept.scratch
        )
        self.replica = replica
        self.batch = self.batch._replace(clocks=kept.clocks, rule=rule, asked=asked)

    def restart(self, now_s: float) -> None:
        """Empty, as after a failure; the clock never goes back."""
        self._drain()
        old = self.replica
        now_s = max(now_s, self.now_s)
        self.replica = new_replica(
            len(old.live), len(old.done), self.rules.num_blocks, len(old.turns.row), old.account, now_s
        )
        self.replica.counters[LARGEST_BATCH] = old.counters[LARGEST_BATCH]

    def next_window(self) -> None:
        """The next call of ``advance`` reads its requests from the first."""
        self.replica.counters[NUM_TAKEN] = 0

    def take_done(self) -> Requests:
        """Requests that have finished since the last call, in order of their ends; invariants are checked."""
        self._drain()
        done, self._done = np.concatenate(self._done), []
        check_finished(done, self.rules)
        check_standing(self.replica, self.rules)
        return done

    def _drain(self) -> None:
        """Empty the done table; a larger one where one step could fill it."""
        counters = self.replica.counters
        self._done.append(self.replica.done[: counters[NUM_DONE]].copy())
        counters[NUM_DONE] = 0
        if 2 * counters[PLANNED_A] > len(self.replica.done):
            done = np.zeros(4 * counters[PLANNED_A], self.replica.done.dtype)
            self.replica = self.replica._replace(done=done)

    def _scratch(self) -> tuple[Batch, Space]:
        """A batch and scratch for the largest batch; clocks and the rules' memory are carried over."""
        prices, k = self.prices, self.prices.program.num_speculative_tokens
        batch = new_batch(prices.largest_batch, k, len(self.replica.live))
        if hasattr(self, "batch"):
            old = self.batch
            batch.clocks[:], batch.rule.memory[:] = old.clocks, old.rule.memory
            batch.asked.memory[:] = old.asked.memory
            batch.asked.seats[: len(old.asked.seats)] = old.asked.seats
        self.replica.counters[LARGEST_BATCH] = prices.largest_batch
        return batch, new_space(prices.largest_batch, k)

    @property
    def clocks(self) -> Floats:
        """Seconds by part of the step, see ``engines/step.py``."""
        return self.batch.clocks
