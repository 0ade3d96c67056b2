"""The renewal and threshold laws: goodput of a continuously refilled batch in closed form.

A method's walks over the trace are summed up once in a ``MethodLaw``; after that, any batch size on any
hardware is arithmetic (``throughput_grid``). Derivation: docs/analytic.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.analytic_model.bounds import PlannedLengths
from svsim.analytic_model.prices import ContextKnots, Counts, Floats, StepTables
from svsim.analytic_model.walks import (
    BELIEVED,
    CATCH_UP,
    CONTEXT,
    STEPS,
    UNSCORED,
    VERIFIED,
    Paths,
    contexts_at,
    drafts_at,
    even_cuts,
    survival_between,
    walk_lengths,
    walk_thresholds,
)
from svsim.compiled import compiled
from svsim.decoding.method import DecodingMethod
from svsim.decoding.selection_rules import EMITTED, TOP_LEVEL, best_goodput, first_drop_goodput
from svsim.decoding.selections import Plan
from svsim.decoding.work import Reading
from svsim.engines.binding import Deployment
from svsim.engines.program import BoundColumns

NUM_CUTS = 100
NUM_PRICED = 15
NUM_SEARCHES = 4  # a search starts from what the last one's answer implies


@dataclass(frozen=True, slots=True)
class MethodLaw:
    """Means per sequence and step over the steps that a method's walks take, at P thresholds.

    float64 [P] each; P = 1 unless lengths are selected:
    verified: mean verification length, increasing. tokens_per_step: output tokens / steps. catch_up: mean
    tokens that the drafter owes beyond the last; unscored: those that the companion has not read. context:
    mean context tokens. believed: mean believed
    survival kept (expected accepted tokens). added: believed survival that the thresholds up to here add
    to the first one's, each where it is met; 0 for both unless selected.

    cuts: int64 [P], encoded survival from which on tokens are verified (selected lengths only).
    lengths: the law of planned lengths (planned lengths only).
    """

    method: DecodingMethod
    verified: Floats
    tokens_per_step: Floats
    catch_up: Floats
    unscored: Floats
    context: Floats
    believed: Floats
    added: Floats
    cuts: Counts
    lengths: PlannedLengths | None = None

    def between(self, values: Floats, verified: Floats) -> Floats:
        """``values`` [P] at mean verification lengths that may lie between the thresholds'."""
        return np.interp(verified, self.verified, values)

    def place(self, verified: Floats) -> tuple[NDArray[np.intp], Floats]:
        """The threshold below each mean verification length, and the weight of the next one."""
        last = len(self.verified) - 1
        below = np.clip(np.searchsorted(self.verified, verified, "right") - 1, 0, max(last - 1, 0))
        low, high = self.verified[below], self.verified[np.minimum(below + 1, last)]
        return below, np.clip((verified - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)

    def at_few_points(self) -> "MethodLaw":
        """The means at NUM_PRICED thresholds: what catch-up and context cost hardly bends between them."""
        last = len(self.verified) - 1
        few = np.unique(np.linspace(0, last, min(NUM_PRICED, last + 1)).astype(np.intp))
        names = ("verified", "tokens_per_step", "catch_up", "unscored", "context", "believed", "added")
        return replace(self, **{name: getattr(self, name)[few] for name in names})


def method_law(
    method: DecodingMethod, paths: Paths, replicates: Sequence[BoundColumns], num_tokens: int
) -> MethodLaw | None:
    """Walk a method over its columns, one set per replicate of the coins; a walk emits ``num_tokens``.

    None where a rule decides before it drafts: its lengths follow no threshold.
    """
    if method.selection.lengths_from is Plan.SELECTED:
        if method.stops_draft:
            return None
        return _selected_law(method, paths, replicates, num_tokens * len(replicates))
    return _planned_law(method, paths, replicates, num_tokens * len(replicates))


def _selected_law(
    method: DecodingMethod, paths: Paths, replicates: Sequence[BoundColumns], num_tokens: int
) -> MethodLaw:
    survival, fewest = replicates[0].survival, fewest_verified(method)
    cuts = even_cuts(survival, fewest, NUM_CUTS)
    walks = [walk_thresholds(paths, c.accepted, survival, cuts, fewest, reading(method)) for c in replicates]
    sums = np.sum(walks, axis=0)
    verified = sums[:, VERIFIED] / sums[:, STEPS]
    distinct = np.diff(verified, prepend=-1.0) > 1e-9
    sums, cuts = sums[distinct], cuts[distinct]
    more = np.diff(verified[distinct], prepend=0.0)
    return MethodLaw(
        method,
        *_means(sums, num_tokens),
        believed=sums[:, BELIEVED] / sums[:, STEPS] / TOP_LEVEL,
        added=np.cumsum(survival_between(survival[:, fewest:], cuts) * more),
        cuts=cuts,
    )


def _planned_law(
    method: DecodingMethod, paths: Paths, replicates: Sequence[BoundColumns], num_tokens: int
) -> MethodLaw:
    plans = [planned_lengths(method, columns) for columns in replicates]
    visits = [
        walk_lengths(paths, columns.accepted, plan[None, :], num_drafted(method), None, reading(method))
        for columns, plan in zip(replicates, plans, strict=True)
    ]
    lengths = None
    if method.selection.lengths_from is Plan.PLANNED:
        planned = np.concatenate([p[v.starts].astype(np.int64) for p, v in zip(plans, visits, strict=True)])
        owed = np.concatenate([v.catch_up for v in visits])
        context = np.concatenate([contexts_at(paths, v) for v in visits])
        drafts = [drafts_at(v, c.drafted) for v, c in zip(visits, replicates, strict=True)]
        drafted = planned if drafts[0] is None else np.concatenate([d for d in drafts if d is not None])
        lengths = PlannedLengths.of(method, planned, drafted, owed, context)
    sums = np.sum([v.sums.sum(axis=0, keepdims=True) for v in visits], axis=0)
    nothing = np.zeros(1)
    return MethodLaw(
        method,
        *_means(sums, num_tokens),
        believed=nothing,
        added=nothing,
        cuts=np.zeros(0, np.int64),
        lengths=lengths,
    )


def _means(sums: Counts, num_tokens: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Mean verification length, tokens per step, catch-up, unscored and context per step, [P] each."""
    steps = sums[:, STEPS].astype(np.float64)
    return (
        sums[:, VERIFIED] / steps,
        num_tokens / steps,
        sums[:, CATCH_UP] / steps,
        sums[:, UNSCORED] / steps,
        sums[:, CONTEXT] / steps,
    )


def has_threshold_rule(method: DecodingMethod) -> bool:
    """Whether its selection rule is one that ``best_budgets`` states; others are taken for best_goodput."""
    selects = method.selection.lengths_from is Plan.SELECTED
    return selects and method.selection.rule in (best_goodput, first_drop_goodput)


def num_drafted(method: DecodingMethod) -> int | None:
    """Tokens drafted in every step; None where the draft stops at the planned length."""
    return None if method.stops_draft else method.num_speculative_tokens


def reading(method: DecodingMethod) -> Reading:
    """What the drafter reads of what was emitted."""
    return method.work().draft.reading


def fewest_verified(method: DecodingMethod) -> int:
    """Tokens that a selecting method verifies in any case (``min_verify``)."""
    if not has_threshold_rule(method):
        return 0
    return min(int(method.selection.options[1]), method.num_speculative_tokens)


def planned_lengths(method: DecodingMethod, columns: BoundColumns) -> NDArray[np.uint8]:
    """Verification length at every position, uint8 [T], of a method that does not select."""
    if method.selection.lengths_from is Plan.PLANNED:
        return columns.planned
    return np.full(len(columns.accepted), method.num_speculative_tokens, np.uint8)


@dataclass(frozen=True, slots=True)
class ExpectedStep:
    """A step of one method at one batch size, on every deployment.

    verified: mean verification length per sequence [H]; the rest: seconds at context knots [H, G].
    """

    verified: Floats
    draft_s: Floats
    companion_s: Floats
    verify_s: Floats


def expected_step(law: MethodLaw, tables: StepTables, i: int) -> ExpectedStep:
    """What a full batch of the i-th batch size does in a step, and what it costs."""
    method, n = law.method, int(tables.batch_sizes[i])
    if law.lengths is not None:
        draft_s = law.lengths.draft_s(tables, i, float(law.catch_up[0]))
        companion_s = tables.companion_s(i, method, law.unscored)[0]
        verify_s = law.lengths.verify_s(tables, i)
        return ExpectedStep(law.verified.repeat(len(draft_s)), draft_s, companion_s, verify_s)
    priced = law.at_few_points()
    draft_s = tables.draft_s(i, method, priced.catch_up)
    companion_s = tables.companion_s(i, method, priced.unscored)
    verify_s = tables.verify_s(i, method)
    if method.selection.lengths_from is not Plan.SELECTED:
        all_tokens = n * method.num_speculative_tokens
        verified = law.verified.repeat(len(verify_s))
        return ExpectedStep(verified, draft_s[0], companion_s[0], verify_s[:, :, all_tokens])
    budgets = best_budgets(law, priced, tables, i, draft_s + companion_s)
    verified = budgets / n
    below, share = priced.place(verified)
    hardware, above = np.arange(len(budgets)), np.minimum(below + 1, len(priced.verified) - 1)

    def at_budget(seconds: Floats) -> Floats:
        low, high = seconds[below, hardware], seconds[above, hardware]
        return np.asarray(low + (high - low) * share[:, None])

    return ExpectedStep(verified, at_budget(draft_s), at_budget(companion_s), verify_s[hardware, :, budgets])


def best_budgets(law: MethodLaw, priced: MethodLaw, tables: StepTables, i: int, other_s: Floats) -> Counts:
    """Draft tokens that a batch verifies, int64 [H]: the stop rule along the law's believed goodput.

    other_s: [P, H, G] seconds of drafting and companion at the thresholds of ``priced``. Every budget is
    tried, so the edges of latency stairs are; between two thresholds the law is a mixture of theirs.
    """
    method, n = law.method, int(tables.batch_sizes[i])
    objective, stops_at_drop = EMITTED, False
    if has_threshold_rule(method):
        objective, stops_at_drop = method.selection.options[0], method.selection.rule is first_drop_goodput
    budgets = np.arange(n * method.num_speculative_tokens + 1)
    below, share = priced.place(budgets / n)
    at_context = tables.knots.weights(priced.context)
    fixed_s = tables.overhead_s(i, method) + np.einsum("phg,pg->ph", other_s, at_context)
    best = np.empty(len(tables.deployments), np.int64)
    _search_budgets(
        float(n),
        n * fewest_verified(method),
        objective == EMITTED,
        stops_at_drop,
        n * law.between(law.added, budgets / n),
        n * law.between(law.believed - law.added, budgets / n),
        below,
        share,
        at_context,
        fixed_s,
        tables.verify_s(i, method),
        np.empty(len(budgets)),
        best,
    )
    return best


@compiled()
def _search_budgets(  # type: ignore[no-untyped-def]
    num_sequences, fewest, counts_emitted, stops_at_drop, added, offset, below, share, at_context,
    fixed_s, verify_s, row_s, best,
):  # fmt: skip
    """Per deployment: the budget e with the most believed tokens per second, as the rules define it.

    What a rule sees is believed at the budget it lives by, plus what more tokens would add there.
    """
    last_point = at_context.shape[0] - 1
    for h in range(best.size):
        chosen = (fewest + below.size - 1) // 2
        for _ in range(NUM_SEARCHES):
            low, high = below[chosen], min(below[chosen] + 1, last_point)
            up = share[chosen]
            other_s, emitted = 0.0, offset[chosen]
            if counts_emitted:
                other_s += fixed_s[low, h] * (1.0 - up) + fixed_s[high, h] * up
                emitted += num_sequences
            row_s[:] = other_s
            for g in range(at_context.shape[1]):
                weight = at_context[low, g] * (1.0 - up) + at_context[high, g] * up
                for e in range(fewest, row_s.size):
                    row_s[e] += weight * verify_s[h, g, e]
            previous, best_value, best_s = chosen, -1.0, 1.0
            for e in range(fewest, below.size):
                value = emitted + added[e]
                if value <= 0.0:
                    continue
                lead = value * best_s - best_value * row_s[e]
                if lead > 0.0:
                    chosen, best_value, best_s = e, value, row_s[e]
                elif lead < 0.0 and stops_at_drop:
                    break
            if chosen == previous:
                break
        best[h] = chosen


@dataclass(frozen=True, slots=True)
class GridAnswers:
    """Answers for methods x batch sizes x deployments, float64 [M, B, H] each.

    goodput_tok_s: output tokens per second of the whole batch; step_s: mean seconds of a step;
    tokens_per_step, verified: means per sequence.
    """

    goodput_tok_s: Floats
    step_s: Floats
    tokens_per_step: Floats
    verified: Floats


def throughput_grid(
    laws: Sequence[MethodLaw], batch_sizes: Sequence[int], deployments: Sequence[Deployment]
) -> GridAnswers:
    """Goodput of every method at every batch size on every deployment, by the closed form.

    Decode only, continuous refill, distinct requests. The walks are in the laws: one trace answers any
    grid. Raises LatencyError or OutOfRangeError of the latency models.
    """
    contexts = np.concatenate([law.context for law in laws])
    knots = ContextKnots(float(contexts.min()), float(contexts.max()), 2)
    tables = StepTables(deployments, batch_sizes, [law.method for law in laws], knots)
    cells = [_cell(law, tables, i) for law in laws for i in range(len(batch_sizes))]
    columns = np.array(cells).reshape(len(laws), len(batch_sizes), 4, len(deployments))
    return GridAnswers(*columns.transpose(2, 0, 1, 3))


def _cell(law: MethodLaw, tables: StepTables, i: int) -> Floats:
    """Rows of a ``GridAnswers`` for one method and batch size, [4, H]."""
    step = expected_step(law, tables, i)
    at_context = tables.knots.weights(law.between(law.context, step.verified))
    parts = step.draft_s + step.companion_s + step.verify_s
    step_s = tables.overhead_s(i, law.method) + (parts * at_context).sum(axis=1)
    tokens = law.between(law.tokens_per_step, step.verified)
    return np.array([tables.batch_sizes[i] * tokens / step_s, step_s, tokens, step.verified])
