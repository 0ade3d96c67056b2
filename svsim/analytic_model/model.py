"""The analytic model: the same question as the replay, the same rows, without replaying.

Flow: walk every method over the trace once (``analytic_law``) -> per deployment and batch size the mean
step of a full batch (``analytic_steps``): in closed form or, where a selection rule meets a small batch
or a stair of the step time, from drawn batches (``analytic_batches``) -> every request's steps and share
of the time -> one ``RunRecord`` each. With static refill the number alive follows its law
(``analytic_static``); copies that do everything alike are priced step by step (``analytic_copies``).
Derivation: docs/analytic.md.

It shares input, prices and selection rules with the replay, and nothing of the loop.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.analytic_model.batches import Lengths, select_shown
from svsim.analytic_model.controllers import follow_queue
from svsim.analytic_model.copies import lockstep_seconds
from svsim.analytic_model.exits import follow_queue_of_exits
from svsim.analytic_model.law import MethodLaw, num_drafted, reading
from svsim.analytic_model.parallel import mean_parallel_step, parallel_lockstep_s, walk_parallel
from svsim.analytic_model.prices import NO_DEVIATIONS, ContextKnots, Counts, Floats, StepTables
from svsim.analytic_model.static import drain, shares_by_steps
from svsim.analytic_model.steps import LARGEST_SMALL_BATCH, MeanSteps, WalkedMethod
from svsim.analytic_model.turns import drained_seconds
from svsim.analytic_model.walks import (
    ACCEPTED,
    CONTEXT,
    DRAFTED,
    STEPS,
    VERIFIED,
    Paths,
    Visits,
    contexts_at,
    drafts_at,
    walk_lengths,
    with_drafts,
)
from svsim.compiled import load
from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import SERIAL, ParallelPipeline
from svsim.decoding.selections import Plan
from svsim.engines.binding import accepted_tokens, bind_columns, selects
from svsim.engines.parallel import with_gamma
from svsim.engines.program import BoundColumns
from svsim.engines.settings import PreparedRun
from svsim.errors import InputError, MethodError
from svsim.progress import Count, OnProgress
from svsim.random_streams import RandomStreams
from svsim.records import GroupSums, RunRecord
from svsim.trace.parts import EvaluationPart, concatenate
from svsim.trace.split import request_ranks
from svsim.trace.token_trace import TokenTrace

NUM_KNOTS = 17
SAMPLE_POSITIONS = 1 << 20  # of a part that does not fit in memory, on average
_SAMPLE_KEY = 2**64 - 2  # no seed of a split, so that split and sample decide independently
NUM_LOCKSTEP_KNOTS = 65
NUM_QUANTILES = 129  # of contexts


@dataclass(frozen=True, slots=True)
class _Account:
    """Walks over all requests, and each one's share of its batch: steps [R], seconds [R, 3]."""

    visits: Visits
    steps: Floats
    seconds: Floats


def method_laws(prepared: PreparedRun) -> list[MethodLaw]:
    """Walk the methods of a prepared run, once for every ``throughput_grid`` that follows.

    Raises MethodError for a method without a closed form: one that decides before it drafts, or overlaps.
    """
    laws = []
    for walked in AnalyticModel(prepared).walked:
        if walked.law is None or walked.method.pipeline != SERIAL:
            raise MethodError(
                f"{walked.method.label} has no closed form for a grid; leave it out, or use svsim analytic"
            )
        laws.append(walked.law)
    return laws


def refuse_unanswered(prepared: PreparedRun) -> None:
    """MethodError for a rule that is asked before every draft pass, InputError for prices to believe in."""
    if any(deployment.believed is not None for deployment in prepared.deployments):
        raise InputError(
            "`believed_prices` has no place in the analytic model, which plans at the prices it charges; "
            "leave it out, or use svsim replay"
        )
    for method in prepared.methods:
        if not is_answered(method):
            raise MethodError(
                f"{method.label} plans anew before every draft pass, which the analytic model cannot follow; "
                "leave it out, or use svsim replay"
            )


def is_answered(method: DecodingMethod) -> bool:
    """Whether the analytic model knows what the method does."""
    return method.selection.lengths_from is not Plan.ASKED


class AnalyticModel:
    """Answers a prepared run; ``run`` returns a record per (deployment, batch size, method)."""

    def __init__(self, prepared: PreparedRun) -> None:
        refuse_unanswered(prepared)
        settings, trace = prepared.settings, _in_memory(prepared.part)
        self.trace, self.settings, self.deployments = trace, settings, prepared.deployments
        self.notes: tuple[str, ...] = ()
        if not prepared.part.in_memory:
            walked, whole = trace.num_requests, prepared.part.num_requests
            self.notes += (f"the analytic model walks a random {walked:,} of the {whole:,} requests",)
        self.convention = settings.convention
        self.of_copies = settings.batch_of == "copies"
        self.drains = settings.refill == "static" and not self.of_copies  # copies end together
        prompts, first = trace.num_prompt_tokens.astype(np.int64), trace.first_position[:-1].copy()
        prefilled = self.convention.num_prefilled
        self.paths = Paths(first, trace.first_position[1:] - prefilled, prompts + prefilled - first)
        context = trace.num_context_tokens
        self.mean_context = prepared.part.context_mean
        self.knots = ContextKnots(float(context.min()), float(context.max()), NUM_KNOTS)
        quantiles = np.quantile(context, (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES)
        self.deviations = quantiles - quantiles.mean()
        self.walked = [
            WalkedMethod.of(index, method, self.paths, self._replicates(method), trace.num_positions)
            for index, method in enumerate(prepared.methods)
        ]

    def run(self, progress: OnProgress | None = None) -> list[RunRecord]:
        """Every (deployment, batch size, method) in that order; ``progress`` counts them."""
        sizes = self.settings.batch_sizes
        hardware = range(len(self.deployments))
        if self.of_copies:
            models = {size: self._steps(self._together([size])) for size in sizes}
        else:
            drained = _counts(max(sizes)) if self.drains else []
            model = self._steps(sorted({*self._together(sizes), *drained}))
            models = dict.fromkeys(sizes, model)
        cells = [(models[b], h, b, walked) for h in hardware for b in sizes for walked in self.walked]
        records: list[RunRecord] = []
        count = Count(progress, "answered", len(cells))
        exits = [follow_queue_of_exits] if any(w.replicates[0].exits.size for w in self.walked) else []
        load(select_shown, follow_queue, *exits, *(walked.method.selection.rule for walked in self.walked))
        with ThreadPoolExecutor(self.settings.jobs) as pool:
            for record in pool.map(lambda cell: self._record(*cell), cells):
                records.append(record)
                count(len(records))
        return records

    def _replicates(self, method: DecodingMethod) -> list[BoundColumns]:
        """Columns per replicate of the coins; a belief does not depend on them."""
        coins = self.settings.coins
        if not selects(method):
            return [bind_columns(method, self.trace, coins, r) for r in range(coins.num_replicates)]
        first = bind_columns(method, self.trace, coins, 0)
        more = range(1, coins.num_replicates)
        accepted = (accepted_tokens(method, self.trace, coins, r) for r in more)
        return [first, *(first._replace(accepted=each) for each in accepted)]

    def _together(self, batch_sizes: Sequence[int]) -> list[int]:
        """The batch sizes and those of their micro-batches."""
        pipelines = [walked.method.pipeline for walked in self.walked]
        return sorted({*batch_sizes, *(p.micro_batch_size(size) for p in pipelines for size in batch_sizes)})

    def _steps(self, batch_sizes: Sequence[int]) -> MeanSteps:
        methods = [walked.method for walked in self.walked if not walked.method.pipeline.is_parallel]
        deviations = NO_DEVIATIONS if self.of_copies else self.deviations
        tables = StepTables(self.deployments, batch_sizes, methods, self.knots, deviations=deviations)
        return MeanSteps(tables, RandomStreams(self.settings.seed), self.of_copies)

    # -- one pass over the requests --------------------------------------------------------------------

    def _account(self, steps: MeanSteps, h: int, size: int, walked: WalkedMethod, replicate: int) -> _Account:
        if walked.method.pipeline.is_parallel:
            return self._in_parallel(h, size, walked, replicate)
        if self.drains:
            return self._drained(steps, h, size, walked, replicate)
        if self.of_copies and walked.plans is not None and walked.method.switching is None:
            return self._in_lockstep(h, size, walked, walked.plans[replicate], replicate)
        return self._refilled(steps, h, size, walked, replicate)

    def _refilled(
        self, steps: MeanSteps, h: int, size: int, walked: WalkedMethod, replicate: int
    ) -> _Account:
        """Full batches: a request pays for its steps, and for its context beyond the mean."""
        pipeline = walked.method.pipeline
        overlaps = pipeline.num_micro_batches(size) > 1
        size = pipeline.micro_batch_size(size)
        place = int(np.flatnonzero(steps.tables.batch_sizes == size)[0])
        mean = steps.at(walked, h, place, replicate, overlaps)
        visits = self._walk(walked, mean.lengths, replicate, mean.accepted)
        return self._at_mean_step(visits, mean.seconds, size)

    def _at_mean_step(self, visits: Visits, step_s: Floats, size: int) -> _Account:
        """Every request's steps at the mean step [G, 3] of a full batch."""
        num_steps, num_context = visits.sums[:, STEPS], visits.sums[:, CONTEXT]
        mean_context = num_context.sum() / num_steps.sum()
        below, up = self.knots.locate(mean_context)
        rise = step_s[below + 1] - step_s[below]
        at_mean, per_token = step_s[below] + rise * up, rise / self.knots.spacing / size
        ahead = num_context - num_steps * mean_context
        seconds = np.outer(num_steps, at_mean) + np.outer(ahead, per_token)
        share = 1.0 if self.of_copies else 1.0 / size
        return _Account(
            visits, np.asarray(num_steps * share, np.float64), np.asarray(seconds * share, np.float64)
        )

    def _drained(self, steps: MeanSteps, h: int, size: int, walked: WalkedMethod, replicate: int) -> _Account:
        """Batches that drain: lengths and prices by the number alive, which follows its law."""
        planned = walked.plans is not None
        pipeline = walked.method.pipeline
        overlaps = pipeline.num_micro_batches(size) > 1
        size = pipeline.micro_batch_size(size)
        counts = steps.tables.batch_sizes[steps.tables.batch_sizes <= size]
        places = np.arange(len(counts)) if planned else _spread_out(counts)
        means = [steps.at(walked, h, place, replicate, overlaps) for place in places.tolist()]
        by_place = [mean.seconds for mean in means]
        if walked.method.switching is not None:
            by_place = self._turns_by_count(steps, h, size, walked, replicate, counts[places])
        seconds = np.stack(by_place).reshape(len(places), -1)
        alive = np.arange(1, size + 1)
        by_count = np.stack([np.interp(alive, counts[places], column) for column in seconds.T], axis=1)
        rows = means[:1] if planned else means
        nearest = np.abs(alive[:, None] - counts[places[: len(rows)]]).argmin(axis=1)
        visits, shares = drain(
            self.paths,
            walked.replicates[replicate].accepted if means[-1].accepted is None else means[-1].accepted,
            np.stack([mean.lengths for mean in rows]),
            nearest,
            num_drafted(walked.method),
            by_count.reshape(size, self.knots.num, 3),
            self.knots,
        )
        visits = with_drafts(visits, walked.replicates[replicate].drafted)
        return _Account(visits, shares[:, 0], shares[:, 1:])

    def _turns_by_count(
        self, steps: MeanSteps, h: int, size: int, walked: WalkedMethod, replicate: int, counts: Counts
    ) -> list[Floats]:
        """Mean steps of two models that take turns, by the number of sequences alive."""
        priced, turns = self.deployments[h].priced(walked.method), walked.replicates[replicate].turns
        rng = steps.streams.generator("analytic turns", walked.index, h, size)
        return [
            drained_seconds(priced, turns, self.paths, self.knots.values, n, size, rng)
            for n in counts.tolist()
        ]

    def _in_lockstep(
        self, h: int, size: int, walked: WalkedMethod, lengths: Lengths, replicate: int
    ) -> _Account:
        """Copies that do everything alike: every step is priced as it is."""
        visits = self._walk(walked, lengths, replicate)
        knots = replace(self.knots, num=NUM_LOCKSTEP_KNOTS)
        tables = StepTables([self.deployments[h]], [1], [walked.method], knots, copies=size)
        context = contexts_at(self.paths, visits)
        per_step = lockstep_seconds(
            walked.method,
            tables,
            lengths[visits.starts].astype(np.int64),
            visits.catch_up,
            visits.unscored,
            context,
            drafts_at(visits, walked.replicates[replicate].drafted),
        )
        request = np.repeat(np.arange(self.trace.num_requests), visits.sums[:, STEPS])
        seconds = [np.bincount(request, part, self.trace.num_requests) for part in per_step.T]
        return _Account(visits, visits.sums[:, STEPS].astype(np.float64), np.stack(seconds, axis=1))

    def _in_parallel(self, h: int, size: int, walked: WalkedMethod, replicate: int) -> _Account:
        """Draft beside target: walks by themselves, and the longer of the two sides."""
        priced = self.deployments[h].priced(self._found(walked.method, h, size))
        gamma = priced.work.num_speculative_tokens
        walks = walk_parallel(self.paths, walked.replicates[replicate].accepted, gamma)
        visits, num_steps = walks.visits, walks.visits.sums[:, STEPS]
        if self.of_copies:
            knots = replace(self.knots, num=NUM_LOCKSTEP_KNOTS)
            per_step = parallel_lockstep_s(priced, size, gamma, walks, knots)
            request = np.repeat(np.arange(self.trace.num_requests), num_steps)
            seconds = [np.bincount(request, part, self.trace.num_requests) for part in per_step.T]
            return _Account(visits, num_steps.astype(np.float64), np.stack(seconds, axis=1))

        def step_s(n: int) -> Floats:
            return mean_parallel_step(priced, n, gamma, walks.post_share, self.knots)

        if not self.drains:
            return self._at_mean_step(visits, step_s(size), size)
        counts = np.unique([*_counts(size), size])
        columns = np.stack([step_s(int(n)) for n in counts]).reshape(len(counts), -1)
        alive = np.arange(1, size + 1)
        by_count = np.stack([np.interp(alive, counts, column) for column in columns.T], axis=1)
        seconds_of = by_count.reshape(size, self.knots.num, 3)
        shares = shares_by_steps(visits.by_step, seconds_of, self.knots, self.trace.num_requests)[num_steps]
        return _Account(visits, shares[:, 0], shares[:, 1:])

    def _found(self, method: DecodingMethod, h: int, size: int) -> DecodingMethod:
        """With draft tokens per step, where they follow from prices."""
        return with_gamma(method, self.deployments[h], [size], self.mean_context)

    def _walk(
        self, walked: WalkedMethod, lengths: Lengths, replicate: int, accepted: Lengths | None = None
    ) -> Visits:
        columns, method = walked.replicates[replicate], walked.method
        accepted = columns.accepted if accepted is None else accepted
        visits = walk_lengths(
            self.paths, accepted, lengths[None, :], num_drafted(method), None, reading(method)
        )
        return with_drafts(visits, columns.drafted)

    # -- records ---------------------------------------------------------------------------------------

    def _record(self, steps: MeanSteps, h: int, size: int, walked: WalkedMethod) -> RunRecord:
        method, latency = self._found(walked.method, h, size), self.deployments[h].latency
        accounts = [self._account(steps, h, size, walked, r) for r in range(len(walked.replicates))]
        per_request = np.sum([self._sums(h, size, method, account) for account in accounts], axis=0)
        num_requests = self.trace.num_requests
        group = np.arange(num_requests) % self.convention.num_groups(num_requests)
        return RunRecord(
            method=method.name,
            params=method.params,
            num_speculative_tokens=method.num_speculative_tokens,
            batch_size=size,
            hardware=latency.hardware,
            tensor_parallel=latency.tensor_parallel,
            latency_source=latency.source,
            num_requests=num_requests,
            sums=GroupSums(*(np.bincount(group, column).astype(np.float64) for column in per_request)),
            estimator=self.convention.estimator,
            replay_kind="approximate",  # whatever the trace: nothing was replayed
            lossless=method.is_lossless_on(self.trace.metadata),
            is_bound=method.is_bound,
            has_bonus=not method.pipeline.is_parallel,
            num_micro_batches=method.pipeline.num_micro_batches(size),
            hardware_options=self.deployments[h].options,
            engine=self.deployments[h].engine,
            price_error=self.deployments[h].price_error_at(size),
            prefills_stall=self.settings.prefills_stall,
        )

    def _sums(self, h: int, size: int, method: DecodingMethod, account: _Account) -> Floats:
        """The fields of ``GroupSums`` per request, [11, R]."""
        size = method.pipeline.micro_batch_size(size)
        copies = size if self.of_copies else 1
        sums = account.visits.sums.T * copies
        host = self.deployments[h].priced(method).host
        sync_s = method.pipeline.sync_s if isinstance(method.pipeline, ParallelPipeline) else 0.0
        overhead_s = account.steps * (host.per_step_s + host.per_sequence_s * size + sync_s)
        prefill_s = self._prefill_s(h, size, method)
        tokens = self.trace.num_output_tokens * copies
        counts = tokens, sums[STEPS], account.steps, sums[ACCEPTED], sums[VERIFIED], sums[DRAFTED]
        return np.stack([*counts, overhead_s, *account.seconds.T, prefill_s]).astype(np.float64)

    def _prefill_s(self, h: int, size: int, method: DecodingMethod) -> Floats:
        """Seconds that each request's prefill holds up its batch, [R]."""
        prompts = self.trace.num_prompt_tokens.astype(np.float64)
        if self.settings.prefill == "exclude":
            return np.zeros(len(prompts))
        if self.settings.refill == "continuous":  # each by itself, copies one after another
            alone = self._prefill_pass_s(h, method, 1, prompts, size > 1)
            return alone * (size if self.of_copies else 1)
        if self.of_copies:
            return self._prefill_pass_s(h, method, size, prompts * size)
        together = self._prefill_pass_s(h, method, size, prompts.mean(keepdims=True) * size)
        return np.full(len(prompts), together[0] / size)

    def _prefill_pass_s(
        self, h: int, method: DecodingMethod, num_sequences: int, tokens: Floats, beside: bool = False
    ) -> Floats:
        target_only = self.convention.prefills_target_only
        return self.deployments[h].prefill_s(method, num_sequences, tokens, target_only, beside)


def _in_memory(part: EvaluationPart) -> TokenTrace:
    """The part, or whole requests of it chosen by a hash of their ids where it is too long for memory."""
    if part.trace is not None:
        return part.trace
    threshold = np.uint64(min(SAMPLE_POSITIONS / part.num_positions, 0.999) * 2.0**64)
    kept = []
    for chunk in part.chunks():
        chosen = np.flatnonzero(request_ranks(chunk.request_ids, _SAMPLE_KEY) < threshold)
        kept.append(chunk.select(chosen))
    return concatenate([chunk for chunk in kept if chunk.num_requests] or [next(part.chunks())])


def _counts(batch_size: int) -> list[int]:
    """Numbers alive that are priced: each up to 64, then a sixteenth more each time; linear between."""
    counts = [1]
    while counts[-1] < batch_size:
        counts.append(counts[-1] + max(1, counts[-1] // 16 if counts[-1] >= 64 else 1))
    return counts[:-1] if counts[-1] > batch_size else counts


def _spread_out(counts: Counts) -> NDArray[np.intp]:
    """Places of counts at which lengths are selected: all small ones, a quarter more each time, the last."""
    places = [0]
    for place in range(1, len(counts)):
        small, last = counts[place] <= LARGEST_SMALL_BATCH, place == len(counts) - 1
        if small or last or counts[place] >= counts[places[-1]] * 1.25:
            places.append(place)
    return np.array(places, np.intp)
