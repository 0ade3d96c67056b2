"""The closed-loop replay: every method, batch size and deployment on the same coins.

Flow: split the trace -> fit beliefs on the profile part -> bind each method to columns -> run every
(method, batch size, deployment) through the compiled loop -> one ``RunRecord`` each. Runs share
nothing but read-only arrays, so workers change the wall clock and never a byte of the result.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.acceptance_rules import AcceptanceRule, RecordedCoins
from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import (
    BatchShape,
    BoundColumns,
    Deployment,
    PriceBook,
    bind,
    bind_columns,
    compiled_rule,
    selects,
)
from svsim.engines.closed_loop import NUM_TALLIES, Requests, Slots, new_slots, run_continuous, run_static
from svsim.engines.step import Batch, new_batch
from svsim.errors import InputError, InvariantError
from svsim.latency.shape import Role, StepShape
from svsim.random_streams import RandomStreams
from svsim.records import GroupSums, RunRecord
from svsim.workload.split import profile_mask
from svsim.workload.token_trace import TokenTrace

Refill = Literal["continuous", "static"]
BatchOf = Literal["requests", "copies"]
Prefill = Literal["include", "exclude"]
Convention = Literal["native", "specdecode-bench"]

MAX_GROUPS = 4096  # more requests than this share bootstrap groups
MIN_POSITIONS = 400_000  # a short trace is cycled until about this many positions were replayed
MAX_CYCLES = 16


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How to replay: everything of the command line but the trace, the hardware and the output."""

    methods: tuple[DecodingMethod, ...]
    batch_sizes: tuple[int, ...]
    refill: Refill = "continuous"
    batch_of: BatchOf = "requests"
    prefill: Prefill = "exclude"
    profile_split: float = 0.5
    coins: AcceptanceRule = field(default_factory=RecordedCoins)
    convention: Convention = "native"
    seed: int = 0
    jobs: int = 1


def needs_profile(settings: ReplaySettings) -> bool:
    """Whether a belief must be fitted, so that all methods replay the evaluation part only."""
    return any(m.belief is not None for m in settings.methods)


def split_trace(trace: TokenTrace, settings: ReplaySettings) -> tuple[TokenTrace | None, TokenTrace]:
    """(profile part or None, evaluation part)."""
    if not needs_profile(settings):
        return None, trace
    if settings.profile_split == 0:
        wanting = next(m.label for m in settings.methods if m.belief is not None)
        raise InputError(
            f"{wanting} learns a belief, but --profile-split 0 leaves no requests to learn from; "
            "raise it or leave the method out"
        )
    mask = profile_mask(trace.request_ids, trace.tasks, settings.profile_split, settings.seed)
    profile, evaluation = np.flatnonzero(mask), np.flatnonzero(~mask)
    if len(profile) == 0 or len(evaluation) == 0:
        raise InputError(
            f"--profile-split {settings.profile_split:g} of {trace.num_requests} requests leaves one part empty; "
            "use a longer trace or another split"
        )
    return trace.select(profile), trace.select(evaluation)


def fit_belief(method: DecodingMethod, profile: TokenTrace | None) -> DecodingMethod:
    """The method with its belief fitted on the depth-1 column of the profile part."""
    if method.belief is None or profile is None:
        return method
    signals = profile.observable.require(method.belief.signals, method.label)
    target = profile.target
    accept = target.accept_prob[:, 0] if target.accept_prob is not None else (target.num_accepted > 0)
    belief = method.belief.fit(tuple(s[:, 0] for s in signals), np.asarray(accept, np.float32))
    return replace(method, belief=belief)


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
    """Replays one evaluation part held in memory. ``run`` returns a record per run, TD first."""

    def __init__(self, trace: TokenTrace, settings: ReplaySettings, deployments: Sequence[Deployment]) -> None:
        self.settings = settings
        self.deployments = deployments
        self.streams = RandomStreams(settings.seed)
        profile, self.trace = split_trace(trace, settings)
        self.methods = tuple(fit_belief(m, profile) for m in settings.methods)
        self._check()

    def _check(self) -> None:
        trace, settings = self.trace, self.settings
        for method in self.methods:
            if method.num_speculative_tokens > trace.num_speculative_tokens:
                raise InputError(
                    f"{method.label} drafts {method.num_speculative_tokens} tokens, but the trace holds chains of "
                    f"K = {trace.num_speculative_tokens}; ask for k <= {trace.num_speculative_tokens}"
                )
            for deployment in self.deployments:
                deployment.check(method)
        if settings.batch_of == "requests" and settings.batch_sizes:
            largest = max(settings.batch_sizes)
            if largest > trace.num_requests:
                raise InputError(
                    f"batch {largest} exceeds the {trace.num_requests} requests to replay; "
                    "ask for a smaller batch, or --batch-of copies"
                )

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
            first=trace.first_position[:-1],
            end=trace.first_position[1:] - bench,  # its prefill emits the first token
            num_context_tokens=prompts + bench,
            num_tokens=trace.num_output_tokens,
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
            label=method.label,
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
            asked=True,
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
        raise InvariantError("accepted <= verified <= drafted or the clock's order is broken; please report this")
