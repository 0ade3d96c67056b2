"""The price of a pass that holds decoding sequences and chunks of prompts, from its sheet; compiled."""

from typing import Any

from svsim.compiled import compiled
from svsim.latency.context_costs import MANY_QUERIES

# Fields of ``AttentionCosts``, in order.
KV_TOKEN, READ_TOKEN, PAIR, EXPANDED_PAIR, EXPANSION, WINDOW = range(6)


@compiled()
def mixed_pass_s(
    sheet: Any,
    num_sequences: int,
    num_new_tokens: int,
    num_kv_tokens: float,
    num_logit_tokens: int,
    chunk_tokens: Any,
    chunk_kv: Any,
) -> Any:
    """Seconds of one pass: ``MixedLatencyModel.predict_mixed_s``, term by term.

    sheet: ``MixedSheet``. num_sequences, num_new_tokens, num_kv_tokens: of the decoding group, 0 without.
    num_logit_tokens: rows of logits of the whole pass; -1: as each group needs them by itself.
    chunk_tokens [C] int64, chunk_kv [C] float64: of each chunk; 0 tokens: none.
    """
    by_rule = num_logit_tokens < 0 or not sheet.has_head
    total, rows, fitted_rows, contexts_s = num_new_tokens, 0, 0, 0.0
    longest_s, summed_s = 0.0, 0.0
    for group in range(-1, len(chunk_tokens)):
        b, n, kv = num_sequences, num_new_tokens, num_kv_tokens
        if group >= 0:
            b, n, kv = 1, chunk_tokens[group], chunk_kv[group]
            if n == 0:
                continue
            total += n
        if b == 0:
            continue
        group_rows = _rule_rows(sheet, b, n)
        context_s = context_cost_s(sheet, b, n, kv)
        part_s = _layers_s(sheet, n, min(n, MANY_QUERIES * b), context_s, group_rows)
        if by_rule:
            part_s += sheet.head_s[group_rows]
        longest_s, summed_s = max(longest_s, part_s), summed_s + part_s
        rows, fitted_rows = rows + group_rows, fitted_rows + min(n, MANY_QUERIES * b)
        contexts_s += context_s
    if sheet.rows_per_sequence > 1:
        rows = min(rows, sheet.padded[total])
    together_s = _layers_s(sheet, total, fitted_rows, contexts_s, rows)
    if by_rule:
        together_s += sheet.head_s[rows]
    together_s = min(max(together_s, longest_s), summed_s)
    return together_s if by_rule else together_s + sheet.head_s[sheet.padded[num_logit_tokens]]


@compiled()
def context_cost_s(sheet: Any, num_sequences: int, num_new_tokens: int, num_kv_tokens: float) -> Any:
    """Seconds that one group's contexts cost: ``ContextCosts.seconds``."""
    b = min(max(float(num_sequences), sheet.least_sequences), sheet.most_sequences)
    c = min(max(num_kv_tokens / num_sequences, sheet.least_context), sheet.most_context)
    n = float(num_new_tokens)
    contexts_s = _attention_s(sheet.attention[0], max(_read_s(sheet, b, c), 0.0), b, n, c)
    windowed = sheet.attention[1]
    seen = min(c, windowed[WINDOW])
    contexts_s += _attention_s(windowed, windowed[KV_TOKEN] * b * seen, b, n, seen)
    if sheet.state_s > 0 or sheet.chunk_token_s > 0:
        if n > MANY_QUERIES * b:
            return contexts_s + max(2 * b * sheet.state_s, n * sheet.chunk_token_s)
        return contexts_s + (b + n) * sheet.state_s
    return contexts_s


@compiled()
def _attention_s(costs: Any, read_s: float, b: float, n: float, c: float) -> Any:
    """``AttentionCosts.seconds`` of one group."""
    pairs = min(n * (c + 0.5 * n / b), n * costs[WINDOW])
    work_s = costs[PAIR] * pairs
    if costs[EXPANDED_PAIR] < 1.0:  # infinite without such a way
        work_s = min(work_s, costs[EXPANDED_PAIR] * pairs + costs[EXPANSION] * b * c)
    return max(read_s + costs[READ_TOKEN] * n, work_s)


@compiled()
def _layers_s(sheet: Any, tokens: int, fitted_rows: int, contexts_s: float, rows: int) -> Any:
    """Everything but a head that is told apart; ``rows``: whose head is counted in the tokens' price."""
    layers_s = sheet.token_s[tokens] + sheet.row_s * fitted_rows + contexts_s
    if sheet.holds_head:
        layers_s = max(layers_s - sheet.head_s[rows], 0.0)
    return sheet.layer_share * layers_s


@compiled()
def _rule_rows(sheet: Any, sequences: int, tokens: int) -> Any:
    """Rows of logits that a group needs."""
    if sheet.rows_per_sequence == 1:
        return sequences
    return min(sheet.padded[tokens], sheet.rows_per_sequence * sequences)


@compiled()
def _read_s(sheet: Any, b: float, c: float) -> Any:
    """The surface over sequences and contexts: bilinear, and linear beyond its knots."""
    i = _segment(sheet.sequences, b)
    j = _segment(sheet.contexts, c)
    b_share = (b - sheet.sequences[i]) / (sheet.sequences[i + 1] - sheet.sequences[i])
    c_share = (c - sheet.contexts[j]) / (sheet.contexts[j + 1] - sheet.contexts[j])
    lower = sheet.read_s[i, j] + c_share * (sheet.read_s[i, j + 1] - sheet.read_s[i, j])
    upper = sheet.read_s[i + 1, j] + c_share * (sheet.read_s[i + 1, j + 1] - sheet.read_s[i + 1, j])
    return lower + b_share * (upper - lower)


@compiled()
def _segment(knots: Any, value: float) -> Any:
    """The segment that a value lies in, the outer ones going on."""
    i = 0
    while i < len(knots) - 2 and knots[i + 1] <= value:
        i += 1
    return i
