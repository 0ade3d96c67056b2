"""A step in which every sequence has one model at work: a pass of the large one, and a pass of the small one.

The target's pass runs over its n_L sequences, the draft's over its n_S, each with one new token per sequence
and, right after a switch, the gap besides (``decoding/switching.py``). One token per sequence is emitted.
"""

from svsim.compiled import compiled
from svsim.decoding.switching import BOTH
from svsim.engines.prices import pass_s


@compiled()
def switched_s(prices, turns, batch, n, m):  # type: ignore[no-untyped-def]
    """Seconds of the two passes of the first n slots, each for m copies: (small model, large model).

    turns: int32 [T], new tokens that the model at work reads at a row; negative: the small one.
    """
    large, large_tokens, large_kv = 0, 0, 0
    small, small_tokens, small_kv = 0, 0, 0
    for i in range(n):
        here = batch.position[i]
        turn = turns[here]
        context = here + batch.context_base[i]
        if turn >= BOTH:
            new = max(turn, 1)
            large += 1
            large_tokens += new
            large_kv += context - (new - 1)  # the gap is new, not cached
        if turn <= BOTH:
            new = max(-turn, 1)
            small += 1
            small_tokens += new
            small_kv += context - (new - 1)
    small_s = pass_s(prices.draft, small * m, small_tokens * m, small_kv * m) if small > 0 else 0.0
    large_s = pass_s(prices.target, large * m, large_tokens * m, large_kv * m) if large > 0 else 0.0
    return small_s, large_s
