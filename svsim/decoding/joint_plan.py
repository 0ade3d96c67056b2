"""How ``joint`` plans a pass: what is kept of a sequence, what tokens are worth, and which of them pay.

See ``joint_rule``. Candidates are counted by level of worth in ``view.scratch``: heads, once each, and the
tokens that the next pass would bring, by the law of the next entropy group.
"""

import numpy as np

from svsim.compiled import compiled
from svsim.decoding.joint_belief import (
    GAIN_FAST,
    GAIN_SLOW,
    GROUP_SHIFT,
    LEAST_LOGIT,
    LOGIT_STEP,
    NUM_GAINS,
    NUM_GROUPS,
    SCALE,
)
from svsim.decoding.pass_rules import ASK_S, FIRST_S

# options: the rule's own, then the belief's constants
MIDSTOP, KEPT, BIAS, GROUP_LOGIT = range(4)
NEXT_GROUP = GROUP_LOGIT + NUM_GROUPS
GAINS = NEXT_GROUP + (NUM_GROUPS + 1) * NUM_GROUPS
START = NUM_GROUPS  # the row of the law at the start of a draft

# columns of a seat: offset and number of tokens that told it, twice; then the rest
REAL, AHEAD, EMITTED, STEPS, WORTH, HEAD, SHIFT, SHRINK, GROUP = 0, 3, 6, 7, 8, 9, 10, 11, 12
SLOW, FAST, SEEN = range(3)
# memory of the batch
(BATCH_STARTED, BIAS_NOW, BIAS_VAR, TOKENS, SEQUENCE_STEPS, IDLE, DEPTH, CUT, PRICE, EXTRA_PASS_S,
 VERIFY_RATIO, RATE, PROBING, TOP) = range(14)  # fmt: skip

NUM_LEVELS, LEVELS_PER_TOKEN = 512, 200.0  # worths up to 2.56 tokens
_CATCH_UP_STEPS = 64.0  # that a catch-up of the drafter may earn its price back in
_LOOKAHEAD, _PATIENCE = 2, 3  # passes of a plan; passes of a whole plan without a better one

_TABLE_STEP, _TABLE_END = 128.0, 9.0
SIGMOID = 1.0 / (1.0 + np.exp(-np.arange(-_TABLE_END, _TABLE_END + 0.5 / _TABLE_STEP, 1 / _TABLE_STEP)))
_LAST = SIGMOID.size - 1


@compiled(is_hot=True)
def sigmoid(z):  # type: ignore[no-untyped-def]
    """From the table, at the nearest of its points."""
    return SIGMOID[np.uint64(min(max(z * _TABLE_STEP + (_TABLE_END * _TABLE_STEP + 0.5), 0.0), float(_LAST)))]


@compiled(is_hot=True)
def level_of(worth):  # type: ignore[no-untyped-def]
    return np.uint64(min(worth * LEVELS_PER_TOKEN, NUM_LEVELS - 1.0))


@compiled(is_hot=True)
def _logit(code):  # type: ignore[no-untyped-def]
    return (np.int64(code) & ((1 << GROUP_SHIFT) - 1)) * LOGIT_STEP + LEAST_LOGIT


@compiled(is_hot=True)
def prob_of(seat, code):  # type: ignore[no-untyped-def]
    """Believed acceptance of a code's token."""
    return sigmoid(seat[SHRINK] * (_logit(code) + seat[SHIFT]))


@compiled(is_hot=True)
def move_on(seat, at, bias, options):  # type: ignore[no-untyped-def]
    """One token on: what a logit is moved by, and shrunk by as the offset is not known for sure."""
    seat[at + FAST] *= options[KEPT]
    seat[SHIFT] = seat[at + SLOW] + seat[at + FAST] + bias
    seat[SHRINK] = options[GAINS + 3 * int(seat[at + SEEN]) + SCALE]


@compiled(is_hot=True)
def take_error(seat, at, error, options):  # type: ignore[no-untyped-def]
    """A token's outcome differs from its probability by ``error``."""
    gain = GAINS + 3 * int(seat[at + SEEN])
    seat[at + SLOW] += options[gain + GAIN_SLOW] * error
    seat[at + FAST] += options[gain + GAIN_FAST] * error
    seat[at + SEEN] = min(seat[at + SEEN] + 1.0, NUM_GAINS - 1.0)


# -- the plan ------------------------------------------------------------------------------------------------


@compiled(is_hot=True)
def has_head(view, i):  # type: ignore[no-untyped-def]
    return view.drafted[i] > view.length[i]


@compiled(is_hot=True)
def is_active(view, i, depth):  # type: ignore[no-untyped-def]
    """Whether it may run in pass ``depth``, or has just run in the one before, its head still open."""
    return view.drafted[i] == depth and view.limit[i] > depth


@compiled()
def count_heads(view, n):  # type: ignore[no-untyped-def]
    """Levels of all heads to the scratch."""
    levels, top = view.scratch, np.int64(0)
    levels[:NUM_LEVELS] = 0.0
    for i in range(n):
        if has_head(view, i):
            level = level_of(view.seats[view.seat[i], HEAD])
            levels[level] += 1.0
            top = max(top, np.int64(level))
    view.memory[TOP] = top


@compiled()
def _forecast(view, n, depth, ahead, options):  # type: ignore[no-untyped-def]
    """Add the tokens that pass ``depth + ahead`` would bring to the candidates; sequences that run in it."""
    active, top, levels, logits = 0, np.int64(0), view.scratch, options[GROUP_LOGIT:]
    for i in range(n):
        if not is_active(view, i, depth):
            continue
        active += 1
        seat = view.seats[view.seat[i]]
        law = options[NEXT_GROUP + NUM_GROUPS * int(seat[GROUP]) :]
        worth, shift, shrink = seat[WORTH], seat[SHIFT], seat[SHRINK]
        if has_head(view, i):
            worth = seat[HEAD]
        if ahead > 0:
            mean = 0.0
            for g in range(NUM_GROUPS):
                mean += law[g] * sigmoid(shrink * (logits[g] + shift))
            worth *= mean**ahead
        for g in range(NUM_GROUPS):
            level = level_of(worth * sigmoid(shrink * (logits[g] + shift)))
            levels[level] += law[g]
            top = max(top, np.int64(level))
    view.memory[TOP] = max(view.memory[TOP], top)
    return active


@compiled()
def best_prefix(view, tokens, most):  # type: ignore[no-untyped-def]
    """The best whole number of candidates, largest worth first, on top of ``tokens``: its value in tokens
    less the price of verifying them all, the level of its last one, and all tokens verified then."""
    memory, verify_s, levels = view.memory, view.verify_s, view.scratch
    rate = memory[RATE] * memory[VERIFY_RATIO]
    best, cut, end = -rate * verify_s[tokens], NUM_LEVELS, tokens
    count, value, e = 0.0, 0.0, 0
    for level in range(int(memory[TOP]), 0, -1):
        here = levels[level]
        if here == 0.0:
            continue
        worth = (level + 0.5) / LEVELS_PER_TOKEN
        while e + 1 <= count + here + 1e-6 and tokens + e < most:
            e += 1
            now = value + (e - count) * worth - rate * verify_s[tokens + e]
            if now > best:
                best, cut, end = now, level, tokens + e
        count += here
        value += here * worth
    return best, cut, end


@compiled(is_hot=True)
def pass_s(view, m):  # type: ignore[no-untyped-def]
    """Seconds of a draft pass of m sequences, as experience corrects the believed ones."""
    return view.draft_s[m] + view.news[ASK_S] + view.memory[EXTRA_PASS_S]


@compiled(is_hot=True)
def first_pass_s(view, n):  # type: ignore[no-untyped-def]
    """Seconds of the first pass; what the drafter owes is to be earned back over several steps."""
    first_s, bare_s = view.news[FIRST_S], view.draft_s[n]
    if bare_s == 0.0:  # a draft that comes at once
        bare_s = first_s
    return bare_s + (first_s - bare_s) / _CATCH_UP_STEPS + view.news[ASK_S] + view.memory[EXTRA_PASS_S]


@compiled()
def plan_passes(view, n, depth, tokens, options):  # type: ignore[no-untyped-def]
    """Passes to run from here (0: end of draft), the level that a head must reach to be committed, and the
    price of a verified token in tokens.

    With ``midstop`` the first number of passes that pays, of up to two (a second may fill a stair of prices),
    else the best of all.
    """
    k, memory = view.law.shape[1], view.memory
    stops_within = options[MIDSTOP] > 0.0
    count_heads(view, n)
    best, cut, end = best_prefix(view, tokens, n * k)
    passes, price_s = 0, 0.0
    for ahead in range(min(_LOOKAHEAD if stops_within else k, k - depth)):
        active = _forecast(view, n, depth, ahead, options)
        if active == 0:
            break
        price_s += first_pass_s(view, n) if depth + ahead == 0 else pass_s(view, active)
        value, its_cut, its_end = best_prefix(view, tokens, n * k)
        value -= memory[RATE] * price_s
        if value > best:
            best, cut, end, passes = value, its_cut, its_end, ahead + 1
            if stops_within:
                break
        elif ahead + 1 - passes >= _PATIENCE:
            break
    rate, verify_s = memory[RATE] * memory[VERIFY_RATIO], view.verify_s
    price = rate * (verify_s[end] - verify_s[tokens]) / (end - tokens) if end > tokens else 0.0
    return passes, cut, price
