"""Rules that are asked before every draft pass, and what they are shown: never a token they decide about.

A draft of n sequences goes pass by pass. Words:

head       a drafted token that nothing has looked at yet: only its law is known, decided by the tokens
before it committed  a token that will be verified, come what may; only then is it looked at

and what an engine asks, in this order (``PASS_RULE``)::

    rule(DRAFT, d, n, view, options)   who runs in pass d (from 0)? Those whose first d tokens are committed
                                       may. None: the draft ends
    rule(COMMIT, d, n, view, options)  the laws of the heads of pass d are shown: which of them are committed?
                                       None: the draft ends. Their tokens are shown, and they may draft on
    rule(ADMIT, d, n, view, options)   the draft has ended with pass d: which heads are verified too?
    rule(LEARN, d, n, view, options)   ``view.kept`` of each sequence's verified tokens were accepted

The answer is in ``view.chosen``; the returned number says how many sequences that are, at most. A sequence
that could not be chosen is not, whatever the rule wrote. So whether a token is verified is settled from what
came before it, whatever the rule: such a rule keeps the target's law (docs/losslessness.md, statement 3).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from svsim.compiled import compiled

DRAFT, COMMIT, ADMIT, LEARN = range(4)
HIDDEN = np.uint16(0xFFFF)  # the code of what is not shown
# news of a step, seconds where they end so. Believed prices: of the step without drafting and verification;
# of the first pass over all sequences with what the drafter owes; of asking the rule once. Then (LEARN) of
# the last step: number of passes, what they were believed to cost and did, and the same for the verification.
(FIXED_S, FIRST_S, ASK_S, NUM_PASSES, BELIEVED_DRAFT_S, DRAFT_S, BELIEVED_VERIFY_S, VERIFY_S,
 NUM_NEWS) = range(9)  # fmt: skip

SEAT_SIZE = 24  # what a rule may keep of a sequence, float64; zeros at its admission
PASS_MEMORY_SIZE = 16  # and of the batch
PASS_SCRATCH_SIZE = 1024


class PassView(NamedTuple):
    """What is shown and kept, for up to B sequences of K draft tokens, N of them known.

    law, token: uint16 [B, K], codes of the selection's own: of a head's law, and of the token and its law.
        HIDDEN until they are shown.
    owed, limit: int64 [B], emitted tokens that the drafter reads first, and the most tokens that may be
    verified. drafted, length: int64 [B], tokens drafted and, of these, committed or admitted so far.
    kept: int64 [B], accepted of the last step's tokens; -1: nobody knows.
    seat, seats: int64 [B] and float64 [N, SEAT_SIZE], where and what is kept of each sequence.
    chosen: bool [B], the answer.
    verify_s, draft_s: float64 [B K + 1] and [B + 1], believed seconds of verifying so many draft tokens, and
    of
        a draft pass of so many sequences, one token each.
    news, memory, scratch: float64; see NUM_NEWS above.
    """

    law: NDArray[np.uint16]
    token: NDArray[np.uint16]
    owed: NDArray[np.int64]
    limit: NDArray[np.int64]
    drafted: NDArray[np.int64]
    length: NDArray[np.int64]
    kept: NDArray[np.int64]
    seat: NDArray[np.int64]
    seats: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    verify_s: NDArray[np.float64]
    draft_s: NDArray[np.float64]
    news: NDArray[np.float64]
    memory: NDArray[np.float64]
    scratch: NDArray[np.float64]


def new_view(num_slots: int, num_speculative_tokens: int, num_seats: int) -> PassView:
    """A view of a batch in which nothing has happened; slot i has seat i."""
    k = max(num_speculative_tokens, 1)
    law, token = (np.full((num_slots, k), HIDDEN, np.uint16) for _ in range(2))
    owed, drafted, length, kept = (np.zeros(num_slots, np.int64) for _ in range(4))
    return PassView(
        law, token, owed, np.full(num_slots, num_speculative_tokens), drafted, length, kept,
        np.arange(num_slots), np.zeros((num_seats, SEAT_SIZE)), np.zeros(num_slots, np.bool_),
        np.zeros(num_slots * num_speculative_tokens + 1), np.zeros(num_slots + 1),
        np.zeros(NUM_NEWS), np.zeros(PASS_MEMORY_SIZE), np.zeros(PASS_SCRATCH_SIZE),
    )  # fmt: skip


_typeof: Any = typeof  # numba has no types of its own

PASS_RULE = types.int64(
    types.int64,
    types.int64,
    types.int64,
    _typeof(new_view(1, 1, 1)),
    types.Array(types.float64, 1, "C"),
)


@compiled(PASS_RULE)
def draft_nothing(stage, depth, n, view, options):  # type: ignore[no-untyped-def]
    """Target-only decoding; what engines hand over where nobody is asked."""
    return 0
