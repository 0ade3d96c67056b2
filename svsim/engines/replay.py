"""The closed-loop replay: every method, batch size and deployment on the same coins.

Flow: the evaluation part arrives in stretches (one, if it fits in memory) -> each method is bound to a
stretch's columns -> every (deployment, batch size, method) advances through it in the compiled loop ->
one ``RunRecord`` each. Sequences in flight at the end of a stretch are carried over, so memory stays
flat. Runs share nothing but read-only arrays: workers change the wall clock, never a byte.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.acceptance_rules import RecordedCoins
from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import (
    BatchShape,
    BoundColumns,
    PriceBook,
    bind,
    bind_columns,
    compiled_rule,
    selects,
)
from svsim.engines.closed_loop import NUM_TALLIES, Requests, Slots, new_slots, run_continuous, run_static
from svsim.engines.settings import PreparedRun
from svsim.engines.step import Batch, new_batch
from svsim.errors import InvariantError
from svsim.progress import Count, OnProgress
from svsim.random_streams import RandomStreams
from svsim.records import GroupSums, RunRecord
from svsim.trace.token_trace import TokenTrace

MAX_GROUPS = 4096  # more requests (or static batches) than this share bootstrap groups
MIN_POSITIONS = 400_000  # a short trace is cycled until about this many positions were replayed
MAX_CYCLES = 16
REQUESTS_PER_STRETCH = 1 << 16  # short cycles are handed to the compiled loop together


@dataclass(slots=True)
class _Run:
    """One (deployment, batch size, method): its state and its accounts, float64 [groups, tallies]."""

    method_index: int
    method: DecodingMethod
    batch_size: int
    shape: BatchShape
    prices: PriceBook
    batch: Batch
    slots: Slots
    tallies: NDArray[np.float64]
    num_batches: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A piece of the evaluation part and where it lies in the request numbering.

    cycles: passes over the part in which this piece is replayed now (several, if it is all in memory).
    """

    trace: TokenTrace
    first_request: int
    first_row: int
    cycles: range
    index: int
    is_new: bool


class ClosedLoopReplay:
    """Replays a prepared run; ``run`` returns a record per (deployment, batch size, method)."""

    def __init__(self, prepared: PreparedRun, max_cycles: int = MAX_CYCLES) -> None:
        self.part = prepared.part
        self.methods = prepared.methods
        self.settings = prepared.settings
        self.deployments = prepared.deployments
        self.streams = RandomStreams(prepared.settings.seed)
        self.num_cycles = 1
        if self.part.in_memory:
            self.num_cycles = min(max(1, -(-MIN_POSITIONS // self.part.num_positions)), max_cycles)

    def run(self, progress: OnProgress | None = None) -> list[RunRecord]:
        """Every run, replicate by replicate. ``progress`` counts finished runs."""
        books = [PriceBook(d) for d in self.deployments]
        sums: list[NDArray[np.float64]] = []
        runs: list[_Run] = []
        replicates = self.settings.coins.num_replicates
        cells = len(books) * len(self.settings.batch_sizes) * len(self.methods)
        count = Count(progress, "replayed", replicates * cells)
        with ThreadPoolExecutor(self.settings.jobs) as pool:
            for replicate in range(replicates):
                runs = [
                    self._new_run(book, m, size)
                    for book in books
                    for size in self.settings.batch_sizes
                    for m in range(len(self.methods))
                ]
                report = _shifted(count, replicate * len(runs))
                if self.settings.refill == "static":
                    self._run_static(runs, replicate, pool, report)
                else:
                    self._run_continuous(runs, replicate, pool, report)
                tallies = [run.tallies for run in runs]
                sums = [a + b for a, b in zip(sums, tallies, strict=True)] if sums else tallies
        for total in sums:
            _check_invariants(total)
        return [self._record(run, total) for run, total in zip(runs, sums, strict=True)]

    # -- the two loops ----------------------------------------------------------------------------

    def _run_continuous(
        self, runs: Sequence[_Run], replicate: int, pool: ThreadPoolExecutor, report: Callable[[int], None]
    ) -> None:
        """The first 2 B admissions warm up, whole cycles are measured, and slots stay full to the end."""
        columns: list[BoundColumns] = []
        for stretch in self._stretches():
            if stretch.is_new:
                fresh = self._bind_columns(stretch, replicate)
                columns, offsets = self._carry_over(runs, columns, fresh)
            pending = [run for run in runs if not run.finished]
            jobs = ((run, columns[run.method_index], offsets[run.method_index], stretch) for run in pending)
            for _ in pool.map(lambda job: self._advance(*job), jobs):
                report(sum(run.finished for run in runs))
            if all(run.finished for run in runs):
                return

    def _carry_over(
        self, runs: Sequence[_Run], columns: Sequence[BoundColumns], fresh: Sequence[BoundColumns]
    ) -> tuple[list[BoundColumns], list[int]]:
        """Fresh columns behind what sequences in flight still need, and where the fresh ones begin."""
        joined, offsets = [], []
        for m, new in enumerate(fresh):
            mine = [run for run in runs if run.method_index == m and not run.finished]
            if not columns or not mine:
                joined.append(new)
                offsets.append(0)
                continue
            keep_from = min(len(columns[m].accepted), *(int(run.batch.position.min()) for run in mine))
            for run in mine:
                run.batch.position[:] -= keep_from
                run.batch.end[:] -= keep_from
                run.batch.context_base[:] += keep_from
                run.slots.first[:] -= keep_from
            kept = columns[m].from_row(keep_from)
            joined.append(new.after(kept))
            offsets.append(len(kept.accepted))
        return joined, offsets

    def _advance(self, run: _Run, columns: BoundColumns, offset: int, stretch: _Stretch) -> None:
        slots = run.shape.num_slots
        copies = slots if self.settings.batch_of == "copies" else 1
        orders = [self._order(stretch, cycle) for cycle in stretch.cycles]
        order = np.repeat(np.concatenate(orders), copies)
        if (stretch.cycles.start, stretch.index) == (0, 0):
            warm_up = self.streams.generator("warm-up").permutation(stretch.trace.num_requests)
            order = np.concatenate([np.resize(np.repeat(warm_up, copies), 2 * slots), order])
        skips = self.streams.generator("stagger").random(slots)
        measured = self.num_cycles * self.part.num_requests * copies
        run.finished = run_continuous(
            bind(run.method, columns, run.prices, run.shape),
            compiled_rule(run.method),
            run.batch,
            run.slots,
            self._requests(run, stretch, offset),
            order,
            skips,
            2 * slots,
            2 * slots + measured,
            run.tallies,
        )

    def _run_static(
        self, runs: Sequence[_Run], replicate: int, pool: ThreadPoolExecutor, report: Callable[[int], None]
    ) -> None:
        """Batches of consecutive requests until empty; a short last batch (of a stretch) is dropped."""
        for stretch in self._stretches():
            if stretch.cycles.start > 0:
                break
            columns = self._bind_columns(stretch, replicate)
            jobs = ((run, columns[run.method_index], stretch) for run in runs)
            for done, _ in enumerate(pool.map(lambda job: self._drain(*job), jobs), 1):
                report(done if self.part.in_memory else 0)
        for run in runs:
            run.tallies = run.tallies[: min(run.num_batches, len(run.tallies))]

    def _drain(self, run: _Run, columns: BoundColumns, stretch: _Stretch) -> None:
        slots, copies = run.shape.num_slots, 1
        if self.settings.batch_of == "copies":
            copies = slots
        order = np.repeat(self._order(stretch, 0), copies)
        batches = order[: len(order) // slots * slots].reshape(-1, slots)
        prefill_s = np.zeros(len(batches))
        if self.settings.prefill == "include" and len(batches):
            tokens = stretch.trace.num_prompt_tokens.astype(np.int64)[batches].sum(axis=1)
            sequences = np.full(len(batches), float(slots * run.shape.multiplicity))
            prefill_s = self._prefill_s(run, sequences, tokens * run.shape.multiplicity)
        run_static(
            bind(run.method, columns, run.prices, run.shape),
            compiled_rule(run.method),
            run.batch,
            run.slots,
            self._requests(run, stretch, 0),
            order,
            prefill_s,
            run.num_batches,
            run.tallies,
        )
        run.num_batches += len(batches)

    # -- what a run needs -------------------------------------------------------------------------

    def _bind_columns(self, stretch: _Stretch, replicate: int) -> list[BoundColumns]:
        coins, row = self.settings.coins, stretch.first_row
        return [bind_columns(m, stretch.trace, coins, replicate, row) for m in self.methods]

    def _stretches(self) -> Iterator[_Stretch]:
        """The evaluation part over and over; what is in memory is bound once."""
        if self.part.in_memory:
            trace = next(self.part.chunks())
            together = max(1, min(self.num_cycles, REQUESTS_PER_STRETCH // self.part.num_requests))
            for start in count(0, together):
                yield _Stretch(trace, 0, 0, range(start, start + together), 0, start == 0)
        for cycle in count():
            first_request = first_row = 0
            for index, trace in enumerate(self.part.chunks()):
                yield _Stretch(trace, first_request, first_row, range(cycle, cycle + 1), index, True)
                first_request += trace.num_requests
                first_row += trace.num_positions

    def _new_run(self, prices: PriceBook, method_index: int, batch_size: int) -> _Run:
        method = self.methods[method_index]
        collapsed = self.settings.batch_of == "copies" and not selects(method)
        together = method.pipeline.micro_batch_size(batch_size)
        low, high = self.part.context_range
        shape = BatchShape(
            num_slots=1 if collapsed else together,
            multiplicity=together if collapsed else 1,
            drains=self.settings.refill == "static",
            context_range=(float(low), float(high + method.num_speculative_tokens + 1)),
            overlaps=method.pipeline.num_micro_batches(batch_size) > 1,
        )
        per_request = self.settings.convention == "specdecode-bench"
        groups = self.part.num_requests if per_request else min(self.part.num_requests, MAX_GROUPS)
        return _Run(
            method_index,
            method,
            batch_size,
            shape,
            prices,
            new_batch(shape.num_slots, method.num_speculative_tokens),
            new_slots(shape.num_slots),
            np.zeros((groups, NUM_TALLIES)),
        )

    def _order(self, stretch: _Stretch, cycle: int) -> NDArray[np.int64]:
        """Requests in the order of admission: a fresh permutation each time, the same for all runs."""
        if self.settings.convention == "specdecode-bench":
            return np.arange(stretch.trace.num_requests)
        rng = self.streams.generator("order", cycle, stretch.index)
        return rng.permutation(stretch.trace.num_requests).astype(np.int64)

    def _requests(self, run: _Run, stretch: _Stretch, offset: int) -> Requests:
        trace = stretch.trace
        bench = self.settings.convention == "specdecode-bench"
        prompts = trace.num_prompt_tokens.astype(np.int64)
        prefill_s = np.zeros(trace.num_requests)
        if self.settings.prefill == "include" and self.settings.refill == "continuous":
            prefill_s = self._prefill_s(run, np.ones(len(prompts)), prompts)
        return Requests(
            first=trace.first_position[:-1] + offset,
            end=trace.first_position[1:] + offset - bench,  # its prefill emits the first token
            num_context_tokens=prompts + bench,
            num_tokens=trace.num_output_tokens.astype(np.int64),
            prefill_s=prefill_s,
            group=(stretch.first_request + np.arange(trace.num_requests)) % len(run.tallies),
        )

    def _prefill_s(
        self, run: _Run, num_sequences: NDArray[np.float64], num_tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        target_only = self.settings.convention != "native"
        return run.prices.deployment.prefill_s(run.method, num_sequences, num_tokens, target_only)

    def _record(self, run: _Run, tallies: NDArray[np.float64]) -> RunRecord:
        method, latency, metadata = run.method, run.prices.deployment.latency, self.part.metadata
        recorded = isinstance(self.settings.coins, RecordedCoins)
        # copies share their drafts, and where one sequence's draft decides about the batch a server's do not
        alike = self.settings.batch_of == "copies" and (selects(method) or method.stops_draft)
        exact = method.is_exact_on(metadata) and recorded and not alike
        return RunRecord(
            method=method.name,
            params=method.params,
            num_speculative_tokens=method.num_speculative_tokens,
            batch_size=run.batch_size,
            hardware=latency.hardware,
            tensor_parallel=latency.tensor_parallel,
            latency_source=latency.source,
            num_requests=self.part.num_requests,
            sums=GroupSums(*tallies.T),
            estimator=(
                "mean-of-ratios" if self.settings.convention == "specdecode-bench" else "ratio-of-sums"
            ),
            replay_kind="exact" if exact else "approximate",
            lossless=method.is_lossless_on(metadata),
            is_bound=method.is_bound,
            num_micro_batches=method.pipeline.num_micro_batches(run.batch_size),
            hardware_options=run.prices.deployment.options,
        )


def _shifted(count: Count, done: int) -> Callable[[int], None]:
    return lambda more: count(done + more)


def _check_invariants(tallies: NDArray[np.float64]) -> None:
    """accepted <= verified <= drafted; time moves forward."""
    sums = GroupSums(*tallies.T)
    slack = 1e-9 * max(float(sums.drafted_tokens.sum()), 1.0)
    if not (
        (sums.accepted_tokens <= sums.verified_tokens + slack).all()
        and (sums.verified_tokens <= sums.drafted_tokens + slack).all()
        and (sums.seconds > 0).all()
        and np.isfinite(tallies).all()
    ):
        raise InvariantError(
            "accepted <= verified <= drafted, or the order of the clock, is broken; please report this"
        )
