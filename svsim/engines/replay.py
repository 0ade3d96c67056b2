"""The closed-loop replay: every method, batch size and deployment on the same coins.

Flow: the evaluation part arrives in stretches (one, if it fits in memory) -> each method is bound to a
stretch's columns -> every (deployment, batch size, method) advances through it in the compiled loop ->
one ``RunRecord`` each. Sequences in flight at the end of a stretch are carried over, so memory stays
flat. Runs share nothing but read-only arrays: workers change the wall clock, never a byte.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import load
from svsim.decoding.acceptance_rules import RecordedCoins
from svsim.decoding.method import DecodingMethod
from svsim.engines.admission import MAX_CYCLES, Admission, Queue, Requests, Stretch, next_stretch
from svsim.engines.binding import (
    BatchShape,
    PriceBook,
    bind,
    bind_columns,
    compiled_pass_rule,
    compiled_rule,
    selects,
)
from svsim.engines.closed_loop import NUM_TALLIES, Slots, new_slots, run_continuous, run_static
from svsim.engines.parallel import reach, with_gamma
from svsim.engines.program import BoundColumns
from svsim.engines.settings import PreparedRun
from svsim.engines.step import Batch, new_batch
from svsim.errors import InvariantError
from svsim.progress import Count, OnProgress
from svsim.records import GroupSums, RunRecord


@dataclass(slots=True)
class _Run:
    """One (deployment, batch size, method): its state and its accounts, float64 [groups, tallies].

    copies: slots that the copies of a request take, one each. left: static refill's requests that wait for
    the next stretch to fill their batch, and their columns.
    """

    method_index: int
    method: DecodingMethod
    batch_size: int
    shape: BatchShape
    prices: PriceBook
    batch: Batch
    slots: Slots
    queue: Queue
    copies: int
    tallies: NDArray[np.float64]
    left: tuple[BoundColumns, Requests] | None = None
    num_batches: int = 0
    finished: bool = False


class ClosedLoopReplay:
    """Replays a prepared run; ``run`` returns a record per (deployment, batch size, method)."""

    def __init__(self, prepared: PreparedRun, max_cycles: int = MAX_CYCLES) -> None:
        self.part = prepared.part
        self.methods = prepared.methods
        self.settings = prepared.settings
        self.deployments = prepared.deployments
        self.convention = prepared.settings.convention
        self.admission = Admission(self.part, self.settings.seed, self.convention.in_file_order, max_cycles)

    def run(self, progress: OnProgress | None = None) -> list[RunRecord]:
        """Every run, replicate by replicate. ``progress`` counts finished runs."""
        books = [PriceBook(d) for d in self.deployments]
        sums: list[NDArray[np.float64]] = []
        runs: list[_Run] = []
        replicates = self.settings.coins.num_replicates
        cells = len(books) * len(self.settings.batch_sizes) * len(self.methods)
        count = Count(progress, "replayed", replicates * cells)
        loop = run_static if self.settings.refill == "static" else run_continuous
        load(loop, *(method.selection.rule for method in self.methods))
        load(*(method.selection.pass_rule for method in self.methods))
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
        """Slots stay full to the end, however many stretches that takes."""
        columns: list[BoundColumns] = []
        for stretch in self.admission.stretches():
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
            kept = columns[m].at(slice(keep_from, None))
            joined.append(new.after(kept))
            offsets.append(len(kept.accepted))
        return joined, offsets

    def _advance(self, run: _Run, columns: BoundColumns, offset: int, stretch: Stretch) -> None:
        order = self.admission.order(stretch, run.shape.num_slots, run.copies)
        run.queue = next_stretch(run.queue, order)
        prompts = stretch.trace.num_prompt_tokens.astype(np.int64)
        prefill_s = None
        if self.settings.prefill == "include":
            prefill_s = self._prefill_s(run, np.ones(len(prompts)), prompts, run.batch_size > 1)
        run.finished = run_continuous(
            bind(run.method, columns, run.prices, run.shape),
            compiled_rule(run.method),
            compiled_pass_rule(run.method),
            run.batch,
            run.slots,
            stretch.requests(offset, prefill_s, len(run.tallies), self.convention.num_prefilled),
            run.queue,
            run.tallies,
        )

    def _run_static(
        self, runs: Sequence[_Run], replicate: int, pool: ThreadPoolExecutor, report: Callable[[int], None]
    ) -> None:
        """Batches of consecutive requests until empty; a short last batch is dropped."""
        for stretch in self.admission.stretches():
            if stretch.cycles.start > 0:
                break
            columns = self._bind_columns(stretch, replicate)
            jobs = ((run, columns[run.method_index], stretch) for run in runs)
            for done, _ in enumerate(pool.map(lambda job: self._drain(*job), jobs), 1):
                report(done if self.part.is_one_chunk else 0)
        report(len(runs))
        for run in runs:
            run.tallies = run.tallies[: min(run.num_batches, len(run.tallies))]

    def _drain(self, run: _Run, columns: BoundColumns, stretch: Stretch) -> None:
        requests = stretch.requests(0, None, len(run.tallies), self.convention.num_prefilled)
        num_left = 0
        if run.left is not None:
            num_left = len(run.left[1].first)
            columns, requests = _after(columns, requests, *run.left)
        batches, left = self.admission.batches(stretch, run.shape.num_slots, run.copies, num_left)
        run.left = _only(columns, requests, left) if len(left) and not self.part.is_one_chunk else None
        run_static(
            bind(run.method, columns, run.prices, run.shape),
            compiled_rule(run.method),
            compiled_pass_rule(run.method),
            run.batch,
            run.slots,
            requests,
            batches,
            self._batch_prefill_s(run, requests.num_context_tokens[batches] - self.convention.num_prefilled),
            run.num_batches,
            run.tallies,
        )
        run.num_batches += len(batches)

    # -- what a run needs -------------------------------------------------------------------------

    def _bind_columns(self, stretch: Stretch, replicate: int) -> list[BoundColumns]:
        coins, row = self.settings.coins, stretch.first_row
        return [bind_columns(m, stretch.trace, coins, replicate, row) for m in self.methods]

    def _new_run(self, prices: PriceBook, method_index: int, batch_size: int) -> _Run:
        context = self.part.context_mean
        method = with_gamma(self.methods[method_index], prices.deployment, [batch_size], context)
        collapsed = self.settings.batch_of == "copies" and not selects(method)
        together = method.pipeline.micro_batch_size(batch_size)
        low, high = self.part.context_range
        shape = BatchShape(
            num_slots=1 if collapsed else together,
            multiplicity=together if collapsed else 1,
            drains=self.settings.refill == "static",
            context_range=(float(low), float(high + reach(method))),
            overlaps=method.pipeline.num_micro_batches(batch_size) > 1,
        )
        copies = shape.num_slots if self.settings.batch_of == "copies" else 1
        return _Run(
            method_index,
            method,
            batch_size,
            shape,
            prices,
            new_batch(shape.num_slots, method.num_speculative_tokens),
            new_slots(shape.num_slots),
            self.admission.queue(shape.num_slots, copies),
            copies,
            np.zeros((self.convention.num_groups(self.part.num_requests), NUM_TALLIES)),
        )

    def _batch_prefill_s(self, run: _Run, num_prompt_tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds of the prefill of batches whose sequences have these prompts [N, B], float64 [N]."""
        num_batches, num_slots = num_prompt_tokens.shape
        if self.settings.prefill == "exclude" or num_batches == 0:
            return np.zeros(num_batches)
        m = run.shape.multiplicity
        return self._prefill_s(
            run, np.full(num_batches, float(num_slots * m)), num_prompt_tokens.sum(axis=1) * m
        )

    def _prefill_s(
        self,
        run: _Run,
        num_sequences: NDArray[np.float64],
        num_tokens: NDArray[np.int64],
        beside: bool = False,
    ) -> NDArray[np.float64]:
        target_only = self.convention.prefills_target_only
        return run.prices.deployment.prefill_s(run.method, num_sequences, num_tokens, target_only, beside)

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
            estimator=self.convention.estimator,
            replay_kind="exact" if exact else "approximate",
            lossless=method.is_lossless_on(metadata),
            is_bound=method.is_bound,
            has_bonus=not method.pipeline.is_parallel,
            num_micro_batches=method.pipeline.num_micro_batches(run.batch_size),
            hardware_options=run.prices.deployment.options,
            engine=run.prices.deployment.engine,
            price_error=run.prices.deployment.price_error_at(run.batch_size),
            prefills_stall=self.settings.prefills_stall,
        )


def _only(
    columns: BoundColumns, requests: Requests, chosen: NDArray[np.int64]
) -> tuple[BoundColumns, Requests]:
    """The chosen requests, in that order, and their rows."""
    num_rows = (requests.end - requests.first)[chosen]
    end = np.cumsum(num_rows)
    rows = np.arange(num_rows.sum()) + np.repeat(requests.first[chosen] - end + num_rows, num_rows)
    kept = Requests._make(field[chosen] for field in requests)
    return columns.at(rows), kept._replace(first=end - num_rows, end=end)


def _after(
    columns: BoundColumns, requests: Requests, earlier: BoundColumns, left: Requests
) -> tuple[BoundColumns, Requests]:
    """Requests behind others that were left."""
    moved = requests._replace(
        first=requests.first + len(earlier.accepted), end=requests.end + len(earlier.accepted)
    )
    joined = Requests._make(np.concatenate(pair) for pair in zip(left, moved, strict=True))
    return columns.after(earlier), joined


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
