"""A role's pass laid out as small arrays, so that a compiled loop prices mixed passes step by step.

Every source's pass is a sum of terms that mixtures share (``pass_costs.py``), so a sheet needs no table over
batch sizes times tokens times contexts: one price per number of new tokens, one per number of logit rows,
one surface over sequences and contexts, and some coefficients. T = 8192 takes 0.2 MB. Inside its range a
sheet gives ``predict_mixed_s`` to the last few bits (``engines/mixed_price.py`` reads it).
"""

from dataclasses import astuple
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.latency.context_costs import MANY_QUERIES, AttentionCosts
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.pass_work import graph_padded
from svsim.latency.shape import Role

Floats = NDArray[np.float64]
MAX_SHEET_TOKENS = 1 << 20


class MixedSheet(NamedTuple):
    """One role's pass of up to T new tokens; seconds, C-contiguous.

    token_s [T+1]: of so many new tokens in all. head_s [P+1]: of so many rows of logits, P the graph size
    of T; zeros where the head is not told apart. padded [T+1]: graph sizes.
    sequences [I], contexts [J], read_s [I, J]: knots of what reading contexts costs, for one group.
    attention [2, 6]: ``AttentionCosts`` of full and of windowed layers, its fields in order; the surface
    stands for the reading of the first, the second is zeros without such layers.
    row_s: of ``PassCosts``; state_s, chunk_token_s: of ``ContextCosts``.
    rows_per_sequence: rows of logits that a sequence needs at most if nobody says how many.
    has_head, holds_head: whether the head is told apart, and is counted in ``token_s`` too.
    least_*, most_*: sequences and mean contexts outside are moved to the ends (a source that clips).
    """

    token_s: Floats
    head_s: Floats
    padded: NDArray[np.int64]
    sequences: Floats
    contexts: Floats
    read_s: Floats
    attention: Floats
    row_s: float
    state_s: float
    chunk_token_s: float
    rows_per_sequence: int
    has_head: bool
    holds_head: bool
    layer_share: float
    least_sequences: float
    most_sequences: float
    least_context: float
    most_context: float


def lay_out_mixed(
    model: MixedLatencyModel,
    role: Role,
    max_tokens: int,
    max_sequences: int,
    max_context: float,
    *,
    layer_share: float = 1.0,
) -> MixedSheet:
    """The sheet of passes of up to ``max_tokens`` new tokens of up to ``max_sequences`` sequences.

    max_context: KV tokens of the longest sequence. Beyond a calibrated range the source's own choice
    holds: OutOfRangeError, the nearest end, or its surfaces go on. The sheet of a replicated role prices
    one copy's slice.
    """
    if not 1 <= max_tokens <= MAX_SHEET_TOKENS:
        raise LatencyError(f"max_tokens = {max_tokens}; expected 1 to {MAX_SHEET_TOKENS} tokens in a pass")
    costs, tokens = model.pass_costs(role), np.maximum(np.arange(max_tokens + 1.0), 1.0)
    ends = (0.0, np.inf, 0.0, np.inf)
    if costs.box:
        corners = (np.array([1.0, max_sequences]), np.array([1.0, max_tokens]), np.array([0.0, max_context]))
        costs.box.inside(role, corners)
        if costs.box.choice == "clip":
            box = costs.box.valid_range
            tokens, ends = np.clip(tokens, *box.num_new_tokens), (*box.num_sequences, *box.mean_context)
    padded = graph_padded(np.arange(max_tokens + 1))
    rows = np.arange(padded[-1] + 1)
    context = costs.context
    return MixedSheet(
        np.array(np.broadcast_to(costs.token_s(tokens), tokens.shape)),
        costs.head_s(rows) if costs.head_s else np.zeros_like(rows),
        padded.astype(np.int64),
        context.sequences,
        context.contexts,
        np.ascontiguousarray(context.read_s),
        np.array([astuple(part) for part in (context.attention, context.windowed or AttentionCosts())]),
        costs.row_s,
        context.state_s,
        context.chunk_token_s,
        1 if costs.row_rule is Role.DRAFT else MANY_QUERIES,
        costs.head_s is not None,
        costs.head_s is not None and costs.holds_head,
        layer_share,
        *ends,
    )
