"""What chunks of prompts add to a step: seconds of drafter, companion and target passes that hold them too.

A step without chunks is priced by the sheets of the closed loop; a step with chunks by those and, from the
sheets of mixed passes, the difference that the chunks make. So both loops agree where both can be asked.
"""

from typing import NamedTuple

import numpy as np

from svsim.compiled import compiled
from svsim.decoding.work import Schedule
from svsim.engines.mixed_price import mixed_pass_s
from svsim.engines.prices import PricedWork
from svsim.engines.step import (
    COMPANION,
    DRAFT,
    NUM_CATCH_UP_TOKENS,
    NUM_CONTEXT_TOKENS,
    NUM_UNSCORED_TOKENS,
    OVERHEAD,
    PREFILL,
)
from svsim.errors import LatencyError
from svsim.latency.mixed_pass import MixedLatencyModel, ScalesPrompts
from svsim.latency.mixed_sheet import MixedSheet, lay_out_mixed
from svsim.latency.shape import Role


class ChunkPrices(NamedTuple):
    """Sheets of mixed passes by role; what a draft pass is of its sheet's seconds: share and host time.

    prompt_factor: on what chunks add to the target's pass (an engine's). drafts, scores: whether the drafter
    and the companion compute prompts. is_free: prompts cost nothing.
    """

    target: MixedSheet
    draft: MixedSheet
    companion: MixedSheet
    draft_share: float
    draft_host_s: float
    prompt_factor: float
    drafts: bool
    scores: bool
    is_free: bool


_ZEROS = np.zeros(2)
_EMPTY_SHEET = MixedSheet(
    _ZEROS, _ZEROS, np.zeros(2, np.int64), _ZEROS, _ZEROS, np.zeros((2, 2)), np.zeros((2, 6)),
    0.0, 0.0, 0.0, 1, False, False, 1.0, 0.0, 0.0, 0.0, 0.0,
)  # fmt: skip
EMPTY_CHUNK_PRICES = ChunkPrices(_EMPTY_SHEET, _EMPTY_SHEET, _EMPTY_SHEET, 1.0, 0.0, 1.0, False, False, True)


def chunk_prices(
    priced: PricedWork, max_tokens: int, max_sequences: int, max_context: float, *, is_free: bool = False
) -> ChunkPrices:
    """Laid out for passes of up to ``max_tokens`` new tokens; LatencyError where they cannot be priced."""
    work, host = priced.work, priced.host
    sheets = {
        role: _sheet(priced, role, max_tokens, max_sequences, max_context)
        for role in sorted(work.roles | {Role.TARGET})
    }
    target = sheets[Role.TARGET]
    # prompts of a drafter on the target's own cache run in the target's pass
    drafts = work.draft.has_own_prefill
    return ChunkPrices(
        target,
        sheets[work.draft.role] if drafts else target,
        sheets.get(Role.COMPANION, target),
        work.draft.share,
        float(host.per_draft_pass_s),
        priced.latency.prompt_factor if isinstance(priced.latency, ScalesPrompts) else 1.0,
        drafts,
        work.runs_companion,
        is_free,
    )


def _sheet(
    priced: PricedWork, role: Role, max_tokens: int, max_sequences: int, max_context: float
) -> MixedSheet:
    if not isinstance(priced.latency, MixedLatencyModel):
        raise LatencyError(
            f"step times of {priced.latency.hardware} ({priced.latency.source}) do not price prompts beside "
            "decoding; take `latency` database or roofline"
        )
    return lay_out_mixed(priced.latency, role, max_tokens, max_sequences, max_context)


@compiled()
def _added_s(sheet, n, tokens, kv, rows, added_rows, new, context):  # type: ignore[no-untyped-def]
    """Seconds that chunks add to a pass of n sequences; ``rows`` of logits without them, -1: by rule."""
    more = rows + added_rows if rows >= 0 else np.int64(-1)
    together_s = mixed_pass_s(sheet, n, tokens, kv, more, new, context)
    if n == 0:
        return together_s
    return max(together_s - mixed_pass_s(sheet, n, tokens, kv, rows, new[:0], context[:0]), 0.0)


@compiled()
def target_added_s(prices, n, tokens, kv, ending, new, context):  # type: ignore[no-untyped-def]
    """Of the verification of ``tokens`` tokens: decodes need a row of logits each, prompts that end one."""
    if prices.is_free:
        return 0.0
    added_s = _added_s(prices.target, n, tokens, kv, np.int64(tokens), ending, new, context)
    return added_s * prices.prompt_factor


@compiled()
def target_row_added_s(prices, n, k, kv, ending, new, context, out):  # type: ignore[no-untyped-def]
    """The same for n to n (k + 1) tokens, into ``out``: the chunks move the policy along the stairs."""
    chunk_tokens = new.sum()
    token_s = prices.target.token_s
    first_s = target_added_s(prices, n, n, kv, ending, new, context)
    base_s = token_s[n + chunk_tokens] - token_s[n]
    num, factor = n * k + 1, prices.prompt_factor
    inside = min(num, max(token_s.size - n - chunk_tokens, 0))
    without, together = token_s[n : n + inside], token_s[n + chunk_tokens : n + chunk_tokens + inside]
    for e in range(inside):
        out[e] = max(first_s + factor * (together[e] - without[e] - base_s), 0.0)
    for e in range(inside, num):  # beyond the sheet
        moved_s = token_s[-1] - token_s[min(n + e, token_s.size - 1)] - base_s
        out[e] = max(first_s + factor * moved_s, 0.0)


@compiled()
def draft_added_s(program, batch, prices, n, ending, new, context):  # type: ignore[no-untyped-def]
    """Of drafting: the first pass computes the chunks too, the others run over all requests of the step."""
    if prices.is_free or not prices.drafts:
        return 0.0
    k, kv = program.num_speculative_tokens, float(batch.counters[NUM_CONTEXT_TOKENS])
    tokens, rows = n + batch.counters[NUM_CATCH_UP_TOKENS], np.int64(-1)
    num_passes = 1
    is_sequential = program.drafting.schedule == Schedule.SEQUENTIAL
    is_tree = program.drafting.schedule == Schedule.TREE
    num_later, each, middle = k - 1, 1, 0.5 * k
    if is_tree:
        num_later, each = program.drafting.tree_passes, program.drafting.tree_width
        middle = 0.5 * num_later * each
    if program.drafting.schedule == Schedule.BLOCK:
        tokens = n * (k + program.drafting.tokens_beside)
    elif not is_sequential and not is_tree:  # two models take turns
        tokens = n
    added_s = _added_s(prices.draft, n, tokens, kv, rows, 0, new, context)
    is_parallel = program.turn.gammas.size > 0  # a prompt is drafted for once its first token is there
    if (is_sequential or is_tree) and not is_parallel and num_later > 0 and (n > 0 or ending > 0):
        # later passes: one token (of a tree: one level) of every request, in the middle of the draft
        num = n + new.size
        chunk_kv = context.sum() + new.sum()
        others_s = mixed_pass_s(
            prices.draft, num, num * each, kv + chunk_kv + num * middle, rows, new[:0], context[:0]
        )
        if n > 0:
            others_s -= mixed_pass_s(prices.draft, n, n * each, kv + n * middle, rows, new[:0], context[:0])
        added_s += num_later * max(others_s, 0.0)
        num_passes = num_later + 1
    added_s *= prices.draft_share
    return added_s if n > 0 else added_s + num_passes * prices.draft_host_s


@compiled()
def companion_added_s(program, batch, prices, n, new, context):  # type: ignore[no-untyped-def]
    """Of the companion's pass; chunks need no logits there."""
    if prices.is_free or not prices.scores:
        return 0.0
    num_scored = n * program.num_speculative_tokens
    tokens = num_scored + batch.counters[NUM_UNSCORED_TOKENS]
    kv = float(batch.counters[NUM_CONTEXT_TOKENS])
    return _added_s(prices.companion, n, tokens, kv, np.int64(num_scored), 0, new, context)


@compiled()
def price_prompts_alone(program, batch, prices, ending, new, context):  # type: ignore[no-untyped-def]
    """Add the seconds of a step that holds chunks only to the batch's clocks."""
    host = program.prices
    batch.clocks[OVERHEAD] += host.overhead_s + host.overhead_per_sequence_s * new.size
    batch.clocks[DRAFT] += draft_added_s(program, batch, prices, 0, ending, new, context)
    batch.clocks[COMPANION] += companion_added_s(program, batch, prices, 0, new, context)
    batch.clocks[PREFILL] += target_added_s(prices, 0, 0, 0.0, ending, new, context)
