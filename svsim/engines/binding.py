"""Binding: a decoding method, a stretch of a trace and a latency model become plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.decoding.acceptance_rules import AcceptanceRule
from svsim.decoding.beliefs import believed_survival
from svsim.decoding.drafters import HeadDrafter
from svsim.decoding.method import DecodingMethod, OraclePlan, PlanBySignals, SelectByRule
from svsim.decoding.selection_rules import best_goodput, encode_survival
from svsim.engines.prices import EMPTY_SHEET, PriceSheet, lay_out_sheet
from svsim.engines.step import Draft, Plan, StepProgram
from svsim.errors import LatencyError
from svsim.latency.hardware_spec import HardwareSpec
from svsim.latency.model import LatencyModel
from svsim.latency.shape import Role, StepShape
from svsim.spelling import deployment_name
from svsim.trace.token_trace import TokenTrace

MAX_OWED_TOKENS = 8  # a drafter that skipped more steps is priced along the mean slope


@dataclass(frozen=True, slots=True)
class BoundColumns:
    """A method on a stretch of T positions: what is accepted, planned and believed there."""

    accepted: NDArray[np.uint8]
    planned: NDArray[np.uint8]
    survival: NDArray[np.uint16]

    def after(self, earlier: "BoundColumns") -> "BoundColumns":
        """These columns behind earlier ones."""
        return BoundColumns(
            np.concatenate([earlier.accepted, self.accepted]),
            np.concatenate([earlier.planned, self.planned]),
            np.concatenate([earlier.survival, self.survival]),
        )

    def from_row(self, row: int) -> "BoundColumns":
        """The columns from a row on."""
        return BoundColumns(self.accepted[row:], self.planned[row:], self.survival[row:])


def bind_columns(
    method: DecodingMethod, trace: TokenTrace, rule: AcceptanceRule, replicate: int, first_row: int = 0
) -> BoundColumns:
    """Resolve acceptance and belief of a (fitted) method over whole columns.

    first_row: where the trace begins in the part that is replayed (it may be a stretch of it).
    The belief is handed ``trace.observable`` only; bounds go through their own door below.
    """
    accepted = rule.resolve(trace.target, replicate, first_row)
    k, selection = method.num_speculative_tokens, method.selection
    planned = np.zeros(0, np.uint8)
    survival = np.zeros((0, max(k, 1)), np.uint16)
    signals = tuple(s[:, :k] for s in trace.observable.require(method.signals, method.label))
    if method.belief is not None:
        survival = believed_survival(method.belief, signals)
    if isinstance(selection, PlanBySignals):
        planned = selection.lengths(signals, first_row)
    if isinstance(selection, OraclePlan):
        planned = selection.lengths(accepted, k)
    if isinstance(selection, SelectByRule) and selection.knows_target:
        accept_prob = trace.target.require_accept_prob(method.label)
        survival = encode_survival(np.cumprod(accept_prob[:, :k], axis=1, dtype=np.float32))
    return BoundColumns(accepted, planned, survival)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A latency model with the pricing conventions of a run; ``spec``: as it was asked for, if it was."""

    latency: LatencyModel
    draft_of_one_sequence: bool = False
    spec: HardwareSpec | None = None

    @property
    def options(self) -> str | None:
        """Placement and precision, as ``--hardware`` spells them."""
        return self.spec.options if self.spec else None

    @property
    def name(self) -> str:
        """``h100_sxm:tp=4,draft=replicated``."""
        return deployment_name(self.latency.hardware, self.latency.tensor_parallel, self.options)

    def check(self, method: DecodingMethod) -> None:
        """LatencyError if a model that the method runs has no step times."""
        needed = {Role.TARGET}
        if method.num_speculative_tokens and not isinstance(method.drafter, HeadDrafter):
            needed.add(Role.DRAFT)
        if method.uses_companion:
            needed.add(Role.COMPANION)
        for role in sorted(needed - self.latency.roles):
            raise LatencyError(
                f"{method.label} runs the {role} model, but {self.latency.hardware} ({self.latency.source}) "
                f"has no step times for it; add them, or leave {method.label} out"
            )

    def prefill_s(
        self, method: DecodingMethod, num_sequences: ArrayLike, num_tokens: ArrayLike, target_only: bool
    ) -> NDArray[np.float64]:
        """Seconds of prefill steps from empty caches, [N]: every model of the method, or the target alone."""
        passes = {Role.TARGET: 1.0}
        if not target_only and method.num_speculative_tokens:
            if isinstance(method.drafter, HeadDrafter):
                passes[Role.TARGET] += method.drafter.share_of_target
            else:
                passes[Role.DRAFT] = 1.0
        if not target_only and method.uses_companion:
            passes[Role.COMPANION] = 1.0
        seconds = sum(
            self.latency.predict_s(StepShape(role, num_sequences, num_tokens, 0)) * times
            for role, times in passes.items()
        )
        return np.asarray(seconds + self.latency.overhead_per_step_s, np.float64)

    def draft_kind(self, method: DecodingMethod) -> Draft:
        """What drafting costs under this latency model."""
        if method.num_speculative_tokens == 0:
            return Draft.NONE
        if not self.latency.draft_is_one_pass or isinstance(method.drafter, HeadDrafter):
            return Draft.SEQUENTIAL
        return Draft.ONE_PASS_OF_ONE_SEQUENCE if self.draft_of_one_sequence else Draft.ONE_PASS


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
    """Price sheets of one deployment, laid out once per (role, batch shape, extent)."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._sheets: dict[Any, PriceSheet] = {}

    def _sheet(self, role: Role, shape: BatchShape, ranges: dict[int, tuple[int, int]]) -> PriceSheet:
        key = (role, shape.context_range, tuple(ranges.items()))
        if key not in self._sheets:
            self._sheets[key] = lay_out_sheet(self.deployment.latency, role, ranges, shape.context_range)
        return self._sheets[key]

    def target(self, shape: BatchShape, k: int) -> PriceSheet:
        """Verifications of n to n (k + 1) tokens."""
        m = shape.multiplicity
        return self._sheet(Role.TARGET, shape, {n * m: (n * m, n * m * (k + 1)) for n in shape.counts})

    def draft(self, shape: BatchShape, method: DecodingMethod) -> PriceSheet:
        """Passes of the drafter, first pass with the tokens it owes included."""
        kind, k, m = self.deployment.draft_kind(method), method.num_speculative_tokens, shape.multiplicity
        if kind == Draft.NONE:
            return EMPTY_SHEET
        if isinstance(method.drafter, HeadDrafter):
            sheet = self.target(shape, k)
            return sheet._replace(seconds=sheet.seconds * method.drafter.share_of_target)
        if kind == Draft.ONE_PASS:
            return self._sheet(Role.DRAFT, shape, {n * m: (n * m, n * m * (k + 1)) for n in shape.counts})
        if kind == Draft.ONE_PASS_OF_ONE_SEQUENCE:
            return self._sheet(Role.DRAFT, shape, {n * m: (1, k + 1) for n in shape.counts})
        if method.stops_draft:
            counts = range(1, shape.num_slots + 1)
            return self._sheet(Role.DRAFT, shape, {n * m: (n * m, n * m * MAX_OWED_TOKENS) for n in counts})
        return self._sheet(Role.DRAFT, shape, {n * m: (n * m, n * m * 2) for n in shape.counts})

    def companion(self, shape: BatchShape, method: DecodingMethod) -> PriceSheet:
        """One pass over K tokens per sequence, one more where all K were accepted before."""
        k, m = method.num_speculative_tokens, shape.multiplicity
        if not method.uses_companion:
            return EMPTY_SHEET
        return self._sheet(Role.COMPANION, shape, {n * m: (n * m * k, n * m * (k + 1)) for n in shape.counts})


def selects(method: DecodingMethod) -> bool:
    """Whether lengths are selected every step (then copies of a request do not stay alike)."""
    return isinstance(method.selection, SelectByRule)


def compiled_rule(method: DecodingMethod) -> Any:
    """The selection function handed to the loop (any one, where none is asked)."""
    return method.selection.rule if isinstance(method.selection, SelectByRule) else best_goodput


def bind(method: DecodingMethod, columns: BoundColumns, prices: PriceBook, shape: BatchShape) -> StepProgram:
    """The step program of a method on one batch shape."""
    options: Sequence[float] = ()
    plan = Plan.UNIFORM
    if isinstance(method.selection, SelectByRule):
        plan, options = Plan.SELECTED, method.selection.options
    elif isinstance(method.selection, OraclePlan | PlanBySignals):
        plan = Plan.PLANNED
    pipeline = method.pipeline
    return StepProgram(
        num_speculative_tokens=method.num_speculative_tokens,
        draft=int(prices.deployment.draft_kind(method)),
        plan=int(plan),
        draft_as_planned=method.stops_draft,
        uses_companion=method.uses_companion,
        reads_all=isinstance(method.drafter, HeadDrafter),
        overlaps=shape.overlaps,
        draft_slowdown=pipeline.draft_slowdown if shape.overlaps else 1.0,
        verify_slowdown=pipeline.verify_slowdown if shape.overlaps else 1.0,
        accepted=columns.accepted,
        planned=columns.planned,
        survival=columns.survival,
        options=np.asarray(options, np.float64),
        overhead_s=float(prices.deployment.latency.overhead_per_step_s),
        target_prices=prices.target(shape, method.num_speculative_tokens),
        draft_prices=prices.draft(shape, method),
        companion_prices=prices.companion(shape, method),
        multiplicity=shape.multiplicity,
    )
