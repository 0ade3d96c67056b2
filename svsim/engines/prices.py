"""Step prices: what each pass of a method's work costs, and the flat arrays that the compiled step reads.

``PricedWork`` is the one place where work (``decoding/work.py``) meets a latency model: step sheets,
analytic grids, prefills and live plans ask it for seconds of draft, companion and target passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.compiled import compiled
from svsim.decoding.work import ONCE, DraftWork, Schedule, StepWork, Verification
from svsim.latency.host import HostTime, host_time
from svsim.latency.model import LatencyModel
from svsim.latency.price_table import PredictsSeconds, PriceTable, lay_out
from svsim.latency.shape import Role, StepShape

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PricedWork:
    """Seconds of the passes that a method's steps run. A draft pass holds its share of host time.

    ``latency`` prices the drafter's own shape as ``Role.DRAFT`` where the work names one.
    """

    latency: LatencyModel
    work: StepWork

    @property
    def host(self) -> HostTime:
        """Host time of these steps."""
        return host_time(self.latency, self.work.speculation)

    def draft_s(self, num_sequences: ArrayLike, new_tokens: ArrayLike, kv_tokens: ArrayLike) -> Floats:
        """Draft passes of these shapes, float64 of the broadcast shape."""
        return self.draft_passes.predict_s(StepShape(Role.DRAFT, num_sequences, new_tokens, kv_tokens))

    def first_draft_s(self, num_sequences: ArrayLike, new_tokens: ArrayLike, kv_tokens: ArrayLike) -> Floats:
        """First draft passes of a step, whose new tokens hold what the drafter owes."""
        return self.first_draft_passes.predict_s(StepShape(Role.DRAFT, num_sequences, new_tokens, kv_tokens))

    def full_draft_s(self, num_sequences: int, num_kv_tokens: float) -> float:
        """A draft of K tokens for sequences that owe nothing beyond their last token."""
        n, k, draft = num_sequences, self.work.num_speculative_tokens, self.work.draft
        if draft.schedule is Schedule.SEQUENTIAL:
            first_s = float(self.first_draft_s(n, n, num_kv_tokens))
            return first_s + float(self.draft_s(n, n, num_kv_tokens + n * np.arange(1, k)).sum())
        if draft.schedule is Schedule.TREE:
            return float(self.first_draft_s(n, n, num_kv_tokens))
        if draft.schedule is Schedule.BLOCK:
            each = 1 if draft.of_one_sequence else n
            return float(self.draft_s(n, each * (k + draft.tokens_beside), num_kv_tokens))
        return 0.0

    def companion_s(self, num_sequences: ArrayLike, new_tokens: ArrayLike, kv_tokens: ArrayLike) -> Floats:
        """Passes of the companion."""
        return self.latency.predict_s(StepShape(Role.COMPANION, num_sequences, new_tokens, kv_tokens))

    def verify_s(self, num_sequences: ArrayLike, new_tokens: ArrayLike, kv_tokens: ArrayLike) -> Floats:
        """Verifications: of an early exit, the layers that drafting has not run."""
        return self.verifications.predict_s(StepShape(Role.TARGET, num_sequences, new_tokens, kv_tokens))

    def prefill_s(self, num_sequences: ArrayLike, num_tokens: ArrayLike) -> Floats:
        """Prefills from empty caches: every model's; a head's by share is that of the target's."""

        def of(role: Role) -> Floats:
            return self.latency.predict_s(StepShape(role, num_sequences, num_tokens, 0))

        seconds, draft = of(Role.TARGET), self.work.draft
        if self.work.is_parallel:
            return np.maximum(seconds, of(Role.DRAFT))
        if draft.has_own_prefill and draft.role is Role.DRAFT:
            seconds = seconds + of(Role.DRAFT)
        elif draft.has_own_prefill:
            seconds = seconds + seconds * draft.share
        if self.work.runs_companion:
            seconds = seconds + of(Role.COMPANION)
        return np.asarray(seconds, np.float64)

    @property
    def draft_passes(self) -> "PassPrices":
        """What a draft pass is; nothing else is asked for where none runs."""
        return PassPrices(self.latency, self.work.draft, self.host.per_draft_pass_s)

    @property
    def first_draft_passes(self) -> PredictsSeconds:
        """What the first draft pass of a step is: of fuzzy layers an exact pass comes before it; all
        passes of a tree."""
        passes = self.draft_passes
        if self.work.draft.schedule is Schedule.TREE:
            return TreePasses(passes)
        if self.work.draft.fuzzy is None:
            return passes
        exact = replace(self.work.draft, fuzzy=None, beside_s=0.0)
        return RepairedPass(PassPrices(self.latency, exact, passes.host_s), passes)

    @property
    def at_exits(self) -> "tuple[PricedWork, ...]":
        """The same work at each of the exits that a step chooses among; itself where it does not."""
        draft, found = self.work.draft, []
        for share in draft.exit_shares:
            one = replace(draft, layer_share=share, exit_shares=())
            found.append(PricedWork(self.latency, replace(self.work, draft=one)))
        return tuple(found) or (self,)

    @property
    def verifications(self) -> PredictsSeconds:
        """What a verification is."""
        draft, verification = self.work.draft, self.work.verification
        passes: PredictsSeconds = RestOfTarget(self.latency, draft) if draft.exits_early else self.latency
        return passes if verification == ONCE else RepeatedTokens(passes, verification)


@dataclass(frozen=True, slots=True)
class PassPrices:
    """Draft passes, whatever role a shape names."""

    latency: LatencyModel
    draft: DraftWork
    host_s: float = 0.0

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds, float64 of the broadcast shape."""
        draft = self.draft
        n, tokens, kv = shape.num_sequences, shape.num_new_tokens, shape.num_kv_tokens
        if draft.kv_budget is not None:
            kv = np.minimum(kv, np.asarray(n) * draft.kv_budget)
        if draft.rereads_context:
            tokens, kv = np.add(tokens, kv), 0.0
        asked = StepShape(draft.role, n, tokens, kv)
        if draft.exits_early:  # one row of logits per sequence, as a draft model
            asked = StepShape(draft.role, n, tokens, kv, draft.layer_share + draft.adapter_share, n)
        seconds = self.latency.predict_s(asked)
        if draft.head_share < 1.0:
            layers_s = self.latency.predict_s(replace(asked, num_logit_tokens=0.0))
            seconds = layers_s + draft.head_share * (seconds - layers_s)
        if draft.fuzzy is not None:
            seconds = seconds * draft.fuzzy.factor
        return np.asarray(
            seconds * (draft.share * draft.repeats) + (self.host_s + draft.beside_s), np.float64
        )


@dataclass(frozen=True, slots=True)
class RepairedPass:
    """An exact pass over the emitted tokens and one before them, then a fuzzy pass of a token each."""

    exact: PassPrices
    fuzzy: PassPrices

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds, float64 of the broadcast shape."""
        n, kv = shape.num_sequences, shape.num_kv_tokens
        emitted = replace(shape, num_new_tokens=np.add(shape.num_new_tokens, n))
        once = StepShape(shape.role, n, n, kv)
        return np.asarray(self.exact.predict_s(emitted) + self.fuzzy.predict_s(once), np.float64)


@dataclass(frozen=True, slots=True)
class TreePasses:
    """All passes of a tree: a first one of the given tokens, then one per level over its nodes that have
    children, each behind the nodes before; the emitted tokens through a state of the target once more."""

    passes: PassPrices

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds, float64 of the broadcast shape; ``shape``: of the first pass."""
        draft, n, kv = self.passes.draft, np.asarray(shape.num_sequences), np.asarray(shape.num_kv_tokens)
        seconds, ahead = self.passes.predict_s(shape), 1
        for width in draft.widths:
            seconds = seconds + self.passes.predict_s(StepShape(shape.role, n, n * width, kv + n * ahead))
            ahead += width
        if draft.scan_share > 0.0:
            again = StepShape(Role.TARGET, n, shape.num_new_tokens, kv, draft.scan_share, 0.0)
            seconds = seconds + self.passes.latency.predict_s(again)
        return np.asarray(seconds, np.float64)


@dataclass(frozen=True, slots=True)
class RepeatedTokens:
    """Verifications that compute draft tokens several times, and more tokens beside them."""

    passes: PredictsSeconds
    verification: Verification

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds, float64 of the broadcast shape; ``shape`` counts every draft token once."""
        n = np.asarray(shape.num_sequences, np.float64)
        drafted = np.asarray(shape.num_new_tokens, np.float64) - n
        beside = self.verification.beside * np.minimum(n, drafted)  # nothing where nothing is drafted
        new_tokens = n + self.verification.copies * drafted + beside
        return self.passes.predict_s(replace(shape, num_new_tokens=new_tokens))


@dataclass(frozen=True, slots=True)
class RestOfTarget:
    """Verifications behind an early exit: of each sequence, one token through all layers (its last drafted
    one), the others through the later layers."""

    latency: LatencyModel
    draft: DraftWork

    def predict_s(self, shape: StepShape) -> Floats:
        """Seconds, float64 of the broadcast shape."""
        n, kv = shape.num_sequences, shape.num_kv_tokens
        early = StepShape(Role.TARGET, n, n, kv, self.draft.layer_share, 0.0)
        rest = StepShape(Role.TARGET, n, shape.num_new_tokens, kv, self.draft.verified_layer_share)
        return np.asarray(self.latency.predict_s(early) + self.latency.predict_s(rest), np.float64)


class PriceSheet(NamedTuple):
    """Seconds of one role's passes for every number of sequences that was laid out.

    seconds: float64 [], the tables [G, N] one after another.
    places:  int64 [count + 1, 4], per number of sequences: offset, fewest new tokens, N, G.
    axis:    float64 [count + 1, 2], per number of sequences: lowest mean context, knots per token.
    """

    seconds: NDArray[np.float64]
    places: NDArray[np.int64]
    axis: NDArray[np.float64]


EMPTY_SHEET = PriceSheet(np.zeros(1), np.zeros((1, 4), np.int64), np.zeros((1, 2)))


def lay_out_sheet(
    model: PredictsSeconds,
    role: Role,
    token_range: dict[int, tuple[int, int]],
    context_range: tuple[float, float],
    known: dict[tuple[int, int, int], PriceTable] | None = None,
) -> PriceSheet:
    """Price tables for every number of sequences in ``token_range`` (-> fewest, most new tokens).

    known: tables of these passes and contexts by (sequences, fewest, most), to take from and to add to.
    """
    known = {} if known is None else known
    top = max(token_range)
    places = np.zeros((top + 1, 4), np.int64)
    axis = np.zeros((top + 1, 2))
    blocks: list[NDArray[np.float64]] = []
    offset = 0
    for count, (fewest, most) in token_range.items():
        table = known.get((count, fewest, most))
        if table is None:
            table = lay_out(model, role, count, np.arange(fewest, most + 1), *context_range)
            known[count, fewest, most] = table
        knots, width = table.seconds.shape
        places[count] = offset, fewest, width, knots
        axis[count] = table.context_low, 1.0 / table.context_step
        blocks.append(table.seconds.ravel())
        offset += table.seconds.size
    return PriceSheet(np.concatenate(blocks), places, axis)


def stacked(sheets: Sequence[PriceSheet]) -> PriceSheet:
    """Sheets of the same numbers of sequences, one after another."""
    if len(sheets) == 1:
        return sheets[0]
    offsets = np.cumsum([0, *(len(sheet.seconds) for sheet in sheets)])
    places = [
        sheet.places + np.array([offset, 0, 0, 0]) for sheet, offset in zip(sheets, offsets, strict=False)
    ]
    return PriceSheet(
        np.concatenate([sheet.seconds for sheet in sheets]),
        np.concatenate(places),
        np.concatenate([sheet.axis for sheet in sheets]),
    )


@compiled()
def _bracket(sheet, num_sequences, num_kv_tokens):  # type: ignore[no-untyped-def]
    """Offset of the lower context knot's row and the weight of the upper one."""
    x = (num_kv_tokens / num_sequences - sheet.axis[num_sequences, 0]) * sheet.axis[num_sequences, 1]
    knot = min(max(int(x), 0), sheet.places[num_sequences, 3] - 2)
    return sheet.places[num_sequences, 0] + knot * sheet.places[num_sequences, 2], x - knot


@compiled()
def pass_s(sheet, num_sequences, num_new_tokens, num_kv_tokens):  # type: ignore[no-untyped-def]
    """Seconds of one pass. More new tokens than laid out continue with the table's mean slope."""
    row, upper = _bracket(sheet, num_sequences, num_kv_tokens)
    width = sheet.places[num_sequences, 2]
    column = num_new_tokens - sheet.places[num_sequences, 1]
    beyond = column - (width - 1)
    if beyond > 0:
        column = width - 1
    low = row + column
    seconds = sheet.seconds[low] * (1.0 - upper) + sheet.seconds[low + width] * upper
    if beyond > 0 and width > 1:
        first = sheet.seconds[row] * (1.0 - upper) + sheet.seconds[row + width] * upper
        seconds += (seconds - first) / (width - 1) * beyond
    return seconds


@compiled()
def growing_passes_s(sheet, num_sequences, num_kv_tokens, count):  # type: ignore[no-untyped-def]
    """Seconds of ``count`` passes of one new token per sequence, each at one more token of context."""
    per_token = sheet.axis[num_sequences, 1]
    width, top = sheet.places[num_sequences, 2], sheet.places[num_sequences, 3] - 2
    offset = sheet.places[num_sequences, 0] + num_sequences - sheet.places[num_sequences, 1]
    x = (num_kv_tokens / num_sequences - sheet.axis[num_sequences, 0]) * per_token
    seconds = 0.0
    for _ in range(count):
        knot = min(max(int(x), 0), top)
        low = offset + knot * width
        seconds += sheet.seconds[low] + (sheet.seconds[low + width] - sheet.seconds[low]) * (x - knot)
        x += per_token
    return seconds


@compiled()
def pass_row_s(sheet, num_sequences, num_kv_tokens, out):  # type: ignore[no-untyped-def]
    """Seconds of passes of every laid-out number of new tokens, written to ``out``."""
    row, upper = _bracket(sheet, num_sequences, num_kv_tokens)
    width = sheet.places[num_sequences, 2]
    low, high = sheet.seconds[row : row + width], sheet.seconds[row + width : row + 2 * width]
    for e in range(width):
        out[e] = low[e] * (1.0 - upper) + high[e] * upper
