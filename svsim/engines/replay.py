"""The closed-loop replay: every method, batch size and deployment on the same coins.

Flow: bind each method to columns -> run every (deployment, batch size, method) through the compiled
loop -> one ``RunRecord`` each. Runs share nothing but read-only arrays, so workers change the wall
clock and never a byte of the result.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
from svsim.latency.shape import Role, StepShape
from svsim.random_streams import RandomStreams
from svsim.records import GroupSums, RunRecord

MAX_GROUPS = 4096  # more requests than this share bootstrap groups
MIN_POSITIONS = 400_000  # a short trace is cycled until about this many positions were replayed
MAX_CYCLES = 16


@dataclass(frozen=True, slots=True)
class _Task:
    """One run: its place in the results, its state and its accounts."""

    method: DecodingMethod
    shape: BatchShape
    batch_size: int
    prices: PriceBook
    batch: Batch
    slots: Slots
    tallies: NDArray[np.float64]


class ClosedLoopReplay:
    """Replays one evaluation part held in memory."""

    def __init__(self, prepared: PreparedRun) -> None:
        self.trace = prepared.trace
        self.methods = prepared.methods
        self.settings = prepared.settings
        self.deployments = prepared.deployments
        self.streams = RandomStreams(prepared.settings.seed)

    def run(self, progress: Callable[[int, int], None] | None = None) -> list[RunRecord]:
        """Every (deployment, batch size, method) in that order. ``progress(done, total)`` is called."""
        books = [PriceBook(d) for d in self.deployments]
        sums: dict[tuple[int, int, int], NDArray[np.float64]] = {}
        cells = [
            (d, b, m)
            for d in range(len(books))
            for b in range(len(self.settings.batch_sizes))
            for m in range(len(self.methods))
        ]
        total, done = len(cells) * self.settings.coins.num_replicates, 0
        for replicate in range(self.settings.coins.num_replicates):
            columns = [bind_columns(m, self.trace, self.settings.coins, replicate) for m in self.methods]
            tasks = [self._task(books[d], self.methods[m], self.settings.batch_sizes[b]) for d, b, m in cells]
            jobs = [(task, columns[cell[2]]) for task, cell in zip(tasks, cells, strict=True)]
            for cell, tallies in zip(cells, self._map(jobs), strict=True):
                sums[cell] = sums[cell] + tallies if cell in sums else tallies
                done += 1
                if progress:
                    progress(done, total)
        return [self._record(d, b, m, sums[d, b, m]) for d, b, m in cells]

    def _map(self, jobs: Sequence[tuple[_Task, BoundColumns]]) -> Iterator[NDArray[np.float64]]:
        if self.settings.jobs == 1:
            yield from (self._run_task(*job) for job in jobs)
            return
        with ThreadPoolExecutor(self.settings.jobs) as pool:
            yield from pool.map(lambda job: self._run_task(*job), jobs)

    # -- one run ---------------------------------------------------------------------------------

    def _task(self, prices: PriceBook, method: DecodingMethod, batch_size: int) -> _Task:
        collapsed = self.settings.batch_of == "copies" and not selects(method)
        context = self.trace.num_context_tokens
        shape = BatchShape(
            num_slots=1 if collapsed else batch_size,
            multiplicity=batch_size if collapsed else 1,
            drains=self.settings.refill == "static",
            context_range=(float(context.min()), float(context.max()) + method.num_speculative_tokens + 1),
        )
        return _Task(
            method,
            shape,
            batch_size,
            prices,
            new_batch(shape.num_slots, method.num_speculative_tokens),
            new_slots(shape.num_slots),
            np.zeros((self._num_groups(shape), NUM_TALLIES)),
        )

    def _num_groups(self, shape: BatchShape) -> int:
        if self.settings.refill == "static":
            return len(self._order(shape, 0)) // shape.num_slots
        return min(self.trace.num_requests, MAX_GROUPS)

    def _order(self, shape: BatchShape, cycle: int) -> NDArray[np.int64]:
        """Requests in the order of admission: a fresh permutation each cycle, the same for all methods."""
        if self.settings.convention == "specdecode-bench":
            order = np.arange(self.trace.num_requests)
        else:
            order = self.streams.generator("order", cycle).permutation(self.trace.num_requests)
        copies = shape.num_slots if self.settings.batch_of == "copies" else 1
        return np.repeat(order, copies).astype(np.int64)

    def _requests(self, task: _Task) -> Requests:
        trace = self.trace
        bench = self.settings.convention == "specdecode-bench"
        prompts = trace.num_prompt_tokens.astype(np.int64)
        prefill_s = np.zeros(trace.num_requests)
        if self.settings.prefill == "include" and self.settings.refill == "continuous":
            prefill_s = self._prefill_s(task, np.ones(len(prompts)), prompts)
        return Requests(
            first=trace.first_position[:-1].copy(),
            end=trace.first_position[1:] - bench,  # its prefill emits the first token
            num_context_tokens=prompts + bench,
            num_tokens=trace.num_output_tokens.astype(np.int64),
            prefill_s=prefill_s,
            group=np.arange(trace.num_requests) % MAX_GROUPS,
        )

    def _prefill_s(
        self, task: _Task, num_sequences: NDArray[np.float64], num_tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Seconds of prefill passes (target, and draft and companion where they run), [N]."""
        latency = task.prices.deployment.latency
        roles = [Role.TARGET]
        if self.settings.convention == "native":
            roles += [Role.DRAFT] * (task.method.num_speculative_tokens > 0)
            roles += [Role.COMPANION] * task.method.uses_companion
        passes = sum(latency.predict_s(StepShape(r, num_sequences, num_tokens, 0)) for r in roles)
        return np.asarray(passes + latency.overhead_per_step_s, np.float64)

    def _run_task(self, task: _Task, columns: BoundColumns) -> NDArray[np.float64]:
        program = bind(task.method, columns, task.prices, task.shape)
        rule, requests = compiled_rule(task.method), self._requests(task)
        if self.settings.refill == "static":
            order = self._order(task.shape, 0)
            batches = order[: len(task.tallies) * task.shape.num_slots].reshape(-1, task.shape.num_slots)
            batch_prefill_s = np.zeros(len(batches))
            if self.settings.prefill == "include":
                tokens = self.trace.num_prompt_tokens.astype(np.int64)[batches].sum(axis=1)
                sequences = np.full(len(batches), float(task.batch_size))
                batch_prefill_s = self._prefill_s(task, sequences, tokens * task.shape.multiplicity)
            run_static(program, rule, task.batch, task.slots, requests, order, batch_prefill_s, task.tallies)
        else:
            self._run_continuous(task, program, rule, requests)
        _check_invariants(task.tallies)
        return task.tallies

    def _run_continuous(self, task: _Task, program, rule, requests: Requests) -> None:  # type: ignore[no-untyped-def]
        """The first 2 B admissions warm up; whole cycles are measured; then slots stay full to the end."""
        slots = task.shape.num_slots
        cycle_length = len(self._order(task.shape, 0))
        cycles = min(max(1, -(-MIN_POSITIONS // self.trace.num_positions)), MAX_CYCLES)
        skips = self.streams.generator("stagger").random(slots)
        start, stop = 2 * slots, 2 * slots + cycles * cycle_length
        finished, cycle = False, 0
        while not finished:
            order = self._order(task.shape, cycle)
            finished = run_continuous(
                program, rule, task.batch, task.slots, requests, order, skips, start, stop, task.tallies
            )
            cycle += 1

    def _record(self, d: int, b: int, m: int, tallies: NDArray[np.float64]) -> RunRecord:
        settings, method = self.settings, self.methods[m]
        latency = self.deployments[d].latency
        metadata = self.trace.metadata
        lossless = method.lossless.holds_on(metadata)
        recorded = isinstance(settings.coins, RecordedCoins)
        exact = metadata.chains == "coherent" and lossless and recorded
        return RunRecord(
            method=method.name,
            params=method.params,
            num_speculative_tokens=method.num_speculative_tokens,
            batch_size=settings.batch_sizes[b],
            hardware=latency.hardware,
            latency_source=latency.source,
            num_requests=self.trace.num_requests,
            sums=GroupSums(*tallies.T),
            estimator="mean-of-ratios" if settings.convention == "specdecode-bench" else "ratio-of-sums",
            replay_kind="exact" if exact else "approximate",
            lossless=lossless,
            is_bound=method.is_bound,
        )


def _check_invariants(tallies: NDArray[np.float64]) -> None:
    """accepted <= verified <= drafted; time moves forward (semantics of one step)."""
    sums = GroupSums(*tallies.T)
    slack = 1e-9 * max(float(sums.drafted_tokens.sum()), 1.0)
    if not (
        (sums.accepted_tokens <= sums.verified_tokens + slack).all()
        and (sums.verified_tokens <= sums.drafted_tokens + slack).all()
        and (sums.seconds >= 0).all()
        and np.isfinite(tallies).all()
    ):
        raise InvariantError(
            "accepted <= verified <= drafted or the clock's order is broken; please report this"
        )
