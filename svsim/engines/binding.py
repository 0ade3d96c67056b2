"""Binding: a decoding method, a stretch of a trace and a latency model become plain arrays."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.decoding.acceptance_rules import AcceptanceRule
from svsim.decoding.acceptances import At
from svsim.decoding.beliefs import CodedBelief, believed_survival
from svsim.decoding.block_walks import FollowedBlocks
from svsim.decoding.exit_methods import MATCH, SelectExit
from svsim.decoding.exit_rules import runs_of_matches
from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import ParallelPipeline
from svsim.decoding.selection_rules import encode_survival
from svsim.decoding.selections import Plan
from svsim.decoding.work import DraftWork, Schedule, StepWork
from svsim.engines.prices import EMPTY_SHEET, PricedWork, PriceSheet, lay_out_sheet, stacked
from svsim.engines.program import BoundColumns, Drafting, StepPrices, StepProgram, Turn
from svsim.errors import LatencyError
from svsim.latency.engines.catalogue import NO_ENGINE
from svsim.latency.engines.latency import EngineLatency
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware_spec import HardwareSpec
from svsim.latency.head_latency import with_head
from svsim.latency.model import LatencyModel
from svsim.latency.placed import PlacedLatency, parts_of
from svsim.latency.price_table import PredictsSeconds, PriceTable
from svsim.latency.shape import Role
from svsim.spelling import deployment_name
from svsim.trace.token_trace import TokenTrace


def accepted_tokens(
    method: DecodingMethod, trace: TokenTrace, rule: AcceptanceRule, replicate: int, first_row: int = 0
) -> NDArray[np.uint8]:
    """Accepted draft tokens of every row under a method, uint8 [T]."""
    accepted = rule.resolve(trace.target, replicate, first_row)
    if not method.num_speculative_tokens:
        return accepted
    at = At(method.label, first_row, replicate)
    return method.acceptance.resolve(trace.target, accepted, method.num_speculative_tokens, at)


def bind_columns(
    method: DecodingMethod, trace: TokenTrace, rule: AcceptanceRule, replicate: int, first_row: int = 0
) -> BoundColumns:
    """Resolve acceptance and belief of a (fitted) method over whole columns.

    first_row: where the trace begins in the part that is replayed (it may be a stretch of it).
    The belief is handed ``trace.observable`` only; bounds go through their own door below.
    """
    k, selection = method.num_speculative_tokens, method.selection
    if isinstance(selection, FollowedBlocks):
        walked = selection.walked(trace, method.label)
        return BoundColumns(walked.accepted, walked.verified, np.zeros((0, k), np.uint16), walked.drafted)
    if isinstance(selection, SelectExit):
        match = trace.target.require_outcome(MATCH, method.label)
        exits = runs_of_matches(match, trace.first_position, k)
        nothing = np.zeros(0, np.uint8)
        survival = np.zeros((0, k), np.uint16)
        return BoundColumns(np.ascontiguousarray(exits[:, 0]), nothing, survival, exits=exits)
    accepted = accepted_tokens(method, trace, rule, replicate, first_row)
    survival, looked_at = np.zeros((0, max(k, 1)), np.uint16), NO_CODES
    signals = tuple(s[:, :k] for s in trace.observable.require(method.signals, method.label))
    if isinstance(method.belief, CodedBelief) and selection.lengths_from is Plan.ASKED:
        survival, looked_at = method.belief.codes(signals)
    elif method.belief is not None:
        survival = believed_survival(method.belief, signals)
    planned = selection.planned(signals, accepted, k, first_row)
    if selection.knows_target:
        accept_prob = trace.target.require_accept_prob(method.label)
        survival = encode_survival(np.cumprod(accept_prob[:, :k], axis=1, dtype=np.float32))
    return BoundColumns(accepted, planned, survival, turns=bound_turns(method, trace), looked_at=looked_at)


def bound_turns(method: DecodingMethod, trace: TokenTrace) -> NDArray[np.int32]:
    """Which model is at work at each row, and what it reads (``EntropySwitching.turns``); else empty."""
    if method.switching is None:
        return NO_TURNS
    (target,) = (trace.target.require_outcome(name, method.label) for name in method.switching.outcomes)
    (draft,) = trace.observable.require(method.signals, method.label)
    large = method.switching.large_at_work(target[:, 0], draft[:, 0], trace.first_position)
    return method.switching.turns(large, trace.first_position)


NO_TURNS, NO_CODES = np.zeros(0, np.int32), np.zeros((0, 1), np.uint16)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A latency model with the pricing conventions of a run.

    spec: as the hardware was asked for, if it was. target, draft: shapes of these models, where they are
    known; heads get their own from the target's. believed: the prices that methods plan with, if others.
    """

    latency: LatencyModel
    draft_of_one_sequence: bool = False
    spec: HardwareSpec | None = None
    target: ModelGeometry | None = None
    draft: ModelGeometry | None = None
    believed: LatencyModel | None = None
    _priced: dict[Any, PricedWork] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def options(self) -> str | None:
        """Placement and precision, as the command line spells them."""
        placed = self.latency.options if isinstance(self.latency, PlacedLatency) else None
        said = [text for text in (self.spec.options if self.spec else None, placed) if text]
        return ",".join(said) or None

    @property
    def engine(self) -> str:
        """Name of the engine profile that prices steps; ``none`` without."""
        engine = parts_of(self.latency)[0]
        return engine.profile.name if isinstance(engine, EngineLatency) else NO_ENGINE

    def price_error_at(self, batch_size: int) -> float | None:
        """Relative, 1 sigma, of speedups; None where step times were measured."""
        engines = [part for part in parts_of(self.latency) if isinstance(part, EngineLatency)]
        errors = [error for part in engines if (error := part.price_error_at(batch_size)) is not None]
        return max(errors, default=None)

    @property
    def name(self) -> str:
        """``h100_sxm:tp=4,draft=replicated``."""
        return deployment_name(self.latency.hardware, self.latency.tensor_parallel, self.options)

    def check(self, method: DecodingMethod) -> None:
        """LatencyError if a model that the method runs has no step times."""
        priced = self.priced(method)
        if priced.work.draft.needs_target:
            raise LatencyError(
                f"{method.label}: {priced.work.draft.needs_target}, but the target's shape is not known; "
                "name it with `target`, or give a share"
            )
        if priced.work.is_parallel and priced.work.draft.schedule is not Schedule.SEQUENTIAL:
            raise LatencyError(
                f"{method.label} drafts pass by pass, and on {self.latency.hardware} ({self.latency.source}) "
                f"a whole draft is one pass; leave {method.label} out, or take other step times"
            )
        for role in sorted(priced.work.roles - priced.latency.roles):
            other = " (or what else drafts with `drafter`)" if role is Role.DRAFT else ""
            raise LatencyError(
                f"{method.label} runs the {role} model, but {self.latency.hardware} ({self.latency.source}) "
                f"has no step times for it; name it with `{role}`{other}, or add them to the file of step "
                f"times, or leave {method.label} out"
            )

    def priced(self, method: DecodingMethod) -> PricedWork:
        """The work of the method's steps here: what the latency model says of drafting is part of it."""
        key = (
            *(method.drafter, method.num_speculative_tokens, method.uses_companion, method.verification),
            *(method.switching, method.pipeline),
        )
        if key not in self._priced:
            work = method.work(self.target)
            latency, draft = self._drafting(work.draft)
            self._priced[key] = PricedWork(latency, replace(work, draft=draft))
        return self._priced[key]

    def _drafting(self, draft: DraftWork) -> tuple[LatencyModel, DraftWork]:
        """Where a head's passes are priced: by its shape, by the file's draft pass, or as a share."""
        latency = self.latency
        if not draft.has_passes or draft.role is not Role.DRAFT:
            return latency, draft
        if draft.is_head and isinstance(latency, PlacedLatency):  # a head runs beside the target
            latency = latency.without(Role.DRAFT)
        if draft.fuzzy is not None and draft.fuzzy.attention_share is None:
            draft = replace(draft, fuzzy=replace(draft.fuzzy, attention_share=self._attention_share()))
        if draft.is_head:
            own = with_head(latency, draft.geometry) if draft.geometry is not None else None
            if own is not None:
                return own, draft
            # a file that stands for one hardware says what drafting costs, whatever drafts
            is_said = latency.draft_is_one_pass or latency.tensor_parallel is None
            if draft.is_beside_model or not is_said or Role.DRAFT not in latency.roles:
                return latency, draft.by_share(draft.fallback_share)
        is_apart = draft.is_sized_before or draft.schedule is Schedule.TURNS
        if latency.draft_is_one_pass and not is_apart:
            return latency, draft.in_one_block(self.draft_of_one_sequence)
        return latency, draft

    def _attention_share(self) -> float:
        """Of the weights that a pass of the draft model reads, those of attention in all layers but the
        first and the last."""
        shape = self.draft
        if shape is None:
            raise LatencyError(
                "attention_share=auto is read off the draft model's shape, which is not known; name it "
                "with `draft`, or give a number, as attention_share=0.4"
            )
        head = shape.vocabulary_size * shape.hidden_size
        inner = max(shape.num_layers - 2, 0) / shape.num_layers
        return inner * shape.mixer_weights / (shape.num_layer_parameters + head)

    def prefill_s(
        self,
        method: DecodingMethod,
        num_sequences: ArrayLike,
        num_tokens: ArrayLike,
        target_only: bool,
        beside: bool = False,
    ) -> NDArray[np.float64]:
        """Seconds of prefill steps from empty caches, [N]: every model of the method, or the target alone.

        beside: other sequences run; an engine that mixes prompts into their steps reads weights once.
        """
        priced = PricedWork(self.latency, StepWork(0)) if target_only else self.priced(method)
        seconds = priced.prefill_s(num_sequences, num_tokens)
        engine = parts_of(self.latency)[0]
        if beside and isinstance(engine, EngineLatency) and not engine.profile.prefills_apart:
            shared_s = engine.profile.value("prefill") * priced.prefill_s(1, 1)
            return np.maximum(seconds - shared_s, 0.0)
        return np.asarray(seconds + self.latency.overhead_per_step_s, np.float64)


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How many sequences are priced together, and at which contexts.

    counts: every number of sequences a step may hold; multiplicity: copies per slot; overlaps: one of two
    micro-batches that take turns.
    """

    num_slots: int
    multiplicity: int
    drains: bool
    context_range: tuple[float, float]
    overlaps: bool = False

    @property
    def counts(self) -> range:
        """Numbers of slots that may be occupied."""
        return range(1 if self.drains else self.num_slots, self.num_slots + 1)


class PriceBook:
    """Price sheets of one deployment, laid out once per (kind of pass, batch shape, extent).

    A larger sheet takes the tables of a smaller one.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._believed: PriceBook | None = None
        if deployment.believed is not None:
            self._believed = PriceBook(replace(deployment, latency=deployment.believed, believed=None))
        self._sheets: dict[Any, PriceSheet] = {}
        self._tables: dict[Any, dict[tuple[int, int, int], PriceTable]] = {}

    def lay_out(self, shape: BatchShape, method: DecodingMethod) -> StepPrices:
        """The prices of a method's steps on batches of that shape."""
        priced = self.deployment.priced(method)
        host = priced.host
        return StepPrices(
            float(host.per_step_s),
            float(host.per_sequence_s),
            stacked([self._target(shape, one) for one in priced.at_exits]),
            stacked([self._draft(shape, one, method.stops_draft) for one in priced.at_exits]),
            self._later_draft(shape, priced, method.stops_draft),
            self._companion(shape, priced),
        )

    def believed(self, shape: BatchShape, method: DecodingMethod) -> StepPrices | None:
        """The prices that the method plans with, where they are not those."""
        return None if self._believed is None else self._believed.lay_out(shape, method)

    def _target(self, shape: BatchShape, priced: PricedWork) -> PriceSheet:
        """Verifications of one to most tokens per sequence."""
        most, m = priced.work.longest_verification, shape.multiplicity
        ranges = {n * m: (n * m, n * m * most) for n in shape.counts}
        if priced.work.draft.schedule is Schedule.TURNS:
            ranges = _of_turns(priced, shape)
        key = priced.work.draft if priced.work.draft.exits_early else None, priced.work.verification
        return self._sheet((Role.TARGET, key), priced.verifications, shape, ranges)

    def _draft(self, shape: BatchShape, priced: PricedWork, stops: bool) -> PriceSheet:
        """Passes of the drafter, first pass with the tokens it owes included."""
        draft, k, m = priced.work.draft, priced.work.num_speculative_tokens, shape.multiplicity
        if not draft.has_passes:
            return EMPTY_SHEET
        if draft.schedule is Schedule.TURNS:
            ranges = _of_turns(priced, shape)
        elif draft.schedule is Schedule.BLOCK:
            most = k + draft.tokens_beside
            # sequences that draft nothing put no token into a block that holds none beside
            fewest = {n: n * m if draft.tokens_beside or not stops else 1 for n in shape.counts}
            ranges = {n * m: (fewest[n], n * m * most) for n in shape.counts}
            if draft.of_one_sequence:
                ranges = {n * m: (1, most) for n in shape.counts}
        else:
            counts = range(1, shape.num_slots + 1) if stops else shape.counts
            most = 1 + draft.most_owed(k, stops)
            ranges = {n * m: (n * m, n * m * most) for n in counts}
        kind = (Role.DRAFT, draft, priced.host)
        return self._sheet(kind, priced.first_draft_passes, _read_by(draft, shape), ranges)

    def _later_draft(self, shape: BatchShape, priced: PricedWork, stops: bool) -> PriceSheet:
        """Passes of one token per sequence behind the first, where they differ from it."""
        draft, m = priced.work.draft, shape.multiplicity
        if draft.fuzzy is None:
            return self._draft(shape, priced, stops)
        counts = range(1, shape.num_slots + 1) if stops else shape.counts
        ranges = {n * m: (n * m, n * m) for n in counts}
        kind = (Role.DRAFT, draft, priced.host, "later")
        return self._sheet(kind, priced.draft_passes, _read_by(draft, shape), ranges)

    def _companion(self, shape: BatchShape, priced: PricedWork) -> PriceSheet:
        """One pass over K tokens per sequence, one more where all K were accepted before."""
        k, m = priced.work.num_speculative_tokens, shape.multiplicity
        if not priced.work.runs_companion:
            return EMPTY_SHEET
        ranges = {n * m: (n * m * k, n * m * (k + 1)) for n in shape.counts}
        return self._sheet((Role.COMPANION,), priced.latency, shape, ranges)

    def _sheet(
        self, kind: Any, passes: PredictsSeconds, shape: BatchShape, ranges: dict[int, tuple[int, int]]
    ) -> PriceSheet:
        key = (kind, shape.context_range, tuple(ranges.items()))
        if key not in self._sheets:
            known = self._tables.setdefault(key[:2], {})
            self._sheets[key] = lay_out_sheet(passes, kind[0], ranges, shape.context_range, known)
        return self._sheets[key]


def _read_by(draft: DraftWork, shape: BatchShape) -> BatchShape:
    """The same batches, at the contexts that a drafter with a budget reads of them."""
    budget = draft.kv_budget
    if budget is None:
        return shape
    low, high = (min(context, float(budget)) for context in shape.context_range)
    return replace(shape, context_range=(low, high))


def _of_turns(priced: PricedWork, shape: BatchShape) -> dict[int, tuple[int, int]]:
    """Passes of one model over any number of the sequences: one token each, and a gap in one of them."""
    m, gap = shape.multiplicity, priced.work.draft.tokens_beside
    return {n * m: (n * m, n * m + gap * m) for n in range(1, shape.num_slots + 1)}


def selects(method: DecodingMethod) -> bool:
    """Whether lengths are selected every step (then copies of a request do not stay alike)."""
    return method.selection.lengths_from in (Plan.SELECTED, Plan.ASKED)


def compiled_rule(method: DecodingMethod) -> Any:
    """The selection function handed to the loop (any one, where none is asked)."""
    return method.selection.rule.loaded


def compiled_pass_rule(method: DecodingMethod) -> Any:
    """The same, of the rule that is asked before every draft pass."""
    return method.selection.pass_rule.loaded


def bind(method: DecodingMethod, columns: BoundColumns, prices: PriceBook, shape: BatchShape) -> StepProgram:
    """The step program of a method on one batch shape."""
    selection, pipeline = method.selection, method.pipeline
    work, charged = prices.deployment.priced(method).work, prices.lay_out(shape, method)
    believed = prices.believed(shape, method)
    learnt = method.belief.constants if isinstance(method.belief, CodedBelief) else ()
    draft, gammas, sync_s = work.draft, np.zeros(0, np.int64), 0.0
    if isinstance(pipeline, ParallelPipeline):
        gammas, sync_s = pipeline.by_count(shape.num_slots), pipeline.sync_s
    return StepProgram(
        num_speculative_tokens=work.num_speculative_tokens,
        plan=int(selection.lengths_from),
        uses_companion=method.uses_companion,
        multiplicity=shape.multiplicity,
        drafting=Drafting(
            schedule=int(draft.schedule),
            reading=int(draft.reading),
            as_planned=selection.stops_draft,
            is_whole=draft.is_paid_whole and selection.lengths_from is Plan.PLANNED,
            tokens_beside=draft.tokens_beside,
            of_one_sequence=draft.of_one_sequence,
            kv_budget=draft.kv_budget or 0,
            tree_passes=len(draft.widths),
            tree_width=round(sum(draft.widths) / max(len(draft.widths), 1)),
        ),
        turn=Turn(
            overlaps=shape.overlaps,
            draft_slowdown=pipeline.draft_slowdown if shape.overlaps else 1.0,
            verify_slowdown=pipeline.verify_slowdown if shape.overlaps else 1.0,
            gammas=gammas,
            sync_s=sync_s,
        ),
        columns=columns,
        options=np.array([*selection.options, *learnt], np.float64),
        prices=charged,
        believed=believed or charged,
        is_mispriced=believed is not None,
        ask_s=selection.ask_s,
    )
