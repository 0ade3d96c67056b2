"""``joint``: draft depth, draft stop and ragged verification, planned together before every draft pass.

The plan with the best *expected tokens - rate x seconds* is taken, at the run's own prices; ``rate`` is the
goodput of this step's best uniform plan. Signals are free: the entropy of the draft's law at a head, q(x) of
committed tokens, and what became of the request's earlier tokens.

State of a sequence (a row of ``view.seats``): an offset of its logits, slow + fast, filtered from its
verified tokens, and a copy of it that runs ahead with the draft; tokens and steps since admission; WORTH of
reaching the next token: what one of its tokens is worth times the believed acceptance of what is committed.
A token of a sequence that is slower than the others is worth more, as it holds its slot longer: r / its own
tokens per step.

A pass is planned from candidates counted by level of worth: heads, once each, and the tokens that the next
pass would bring, by the law of the next entropy group. ``view.scratch`` holds the counts.
"""

import numpy as np

from svsim.compiled import compiled
from svsim.decoding.joint_belief import GROUP_SHIFT, NUM_GROUPS
from svsim.decoding.joint_plan import (
    AHEAD,
    BATCH_STARTED,
    BIAS,
    BIAS_NOW,
    BIAS_VAR,
    CUT,
    DEPTH,
    EMITTED,
    EXTRA_PASS_S,
    FAST,
    GROUP,
    GROUP_LOGIT,
    HEAD,
    IDLE,
    KEPT,
    MIDSTOP,
    NEXT_GROUP,
    NUM_LEVELS,
    PRICE,
    PROBING,
    RATE,
    REAL,
    SEQUENCE_STEPS,
    SHIFT,
    SHRINK,
    START,
    STEPS,
    TOKENS,
    VERIFY_RATIO,
    WORTH,
    best_prefix,
    count_heads,
    first_pass_s,
    has_head,
    is_active,
    level_of,
    move_on,
    pass_s,
    plan_passes,
    prob_of,
    sigmoid,
    take_error,
)
from svsim.decoding.pass_rules import (
    ADMIT,
    BELIEVED_DRAFT_S,
    BELIEVED_VERIFY_S,
    COMMIT,
    DRAFT,
    DRAFT_S,
    FIXED_S,
    NUM_PASSES,
    PASS_RULE,
    VERIFY_S,
)

_LEAST_WORTH, _MOST_WORTH, _PRIOR_STEPS = 0.4, 2.5, 20.0
_FORGET = 0.995  # of the batch's sums, a step
_MOST_IDLE, _MOST_OWED = 256, 8  # steps without a verified draft, and what a sequence of a probe may owe
_BIAS_VARIANCE, _BIAS_DRIFT = 0.25, 3e-7  # of the bias that the profile has, and what a token adds


# -- the step ------------------------------------------------------------------------------------------------


@compiled()
def _uniform_rate(view, n, worth, mean):  # type: ignore[no-untyped-def]
    """Tokens per second of the best step that drafts the same for all, each token accepted with ``mean``."""
    memory, news, k = view.memory, view.news, view.law.shape[1]
    seconds, tokens, chance = news[FIXED_S], 1.0, 1.0
    best = worth / (seconds + view.verify_s[0] * memory[VERIFY_RATIO])
    for length in range(1, k + 1):
        chance *= mean
        tokens += chance
        seconds += first_pass_s(view, n) if length == 1 else pass_s(view, n)
        best = max(best, worth * tokens / (seconds + view.verify_s[n * length] * memory[VERIFY_RATIO]))
    return best


@compiled()
def _begin(view, n, options):  # type: ignore[no-untyped-def]
    """Offsets run ahead from where they are; worths start anew; the rate of this step."""
    memory = view.memory
    if memory[BATCH_STARTED] == 0.0:
        memory[BATCH_STARTED], memory[VERIFY_RATIO] = 1.0, 1.0
        memory[BIAS_NOW], memory[BIAS_VAR] = options[BIAS], _BIAS_VARIANCE
    r = memory[TOKENS] / memory[SEQUENCE_STEPS] if memory[SEQUENCE_STEPS] > 0.0 else 1.0
    total, worth = 0.0, 0.0
    for i in range(n):
        seat = view.seats[view.seat[i]]
        for column in range(3):
            seat[AHEAD + column] = seat[REAL + column]
        own = (_PRIOR_STEPS * r + seat[EMITTED]) / (_PRIOR_STEPS + seat[STEPS])
        seat[WORTH], seat[GROUP] = min(max(r / own, _LEAST_WORTH), _MOST_WORTH), START
        worth += seat[WORTH]
        move_on(seat, AHEAD, memory[BIAS_NOW], options)
        for g in range(NUM_GROUPS):
            chance = options[NEXT_GROUP + NUM_GROUPS * START + g]
            total += chance * sigmoid(seat[SHRINK] * (options[GROUP_LOGIT + g] + seat[SHIFT]))
    memory[RATE] = _uniform_rate(view, n, worth, total / n)
    memory[PROBING] = 0.0


@compiled()
def _probe(view, n):  # type: ignore[no-untyped-def]
    """After long idleness, one pass of the sequences that owe little."""
    if view.memory[IDLE] < _MOST_IDLE:
        return 0
    num = 0
    for i in range(n):
        view.chosen[i] = view.owed[i] <= _MOST_OWED
        num += view.chosen[i]
    view.memory[PROBING] = num > 0
    return num


@compiled()
def _look(view, n, depth, options):  # type: ignore[no-untyped-def]
    """Committed tokens of the last pass are shown: worths and offsets take them as accepted."""
    bias = view.memory[BIAS_NOW]
    for i in range(n):
        if view.length[i] == depth and view.drafted[i] == depth:
            seat = view.seats[view.seat[i]]
            p = prob_of(seat, view.token[i, depth - 1])
            seat[WORTH] *= p
            take_error(seat, AHEAD, 1.0 - p, options)
            move_on(seat, AHEAD, bias, options)


@compiled()
def _draft(view, depth, n, options):  # type: ignore[no-untyped-def]
    """Who runs in this pass: all that may, or nobody."""
    memory = view.memory
    view.chosen[:n] = True
    if depth > 0:
        _look(view, n, depth, options)
        return n
    _begin(view, n, options)
    memory[DEPTH], memory[CUT], memory[PRICE] = plan_passes(view, n, 0, 0, options)
    return n if memory[DEPTH] > 0.0 else _probe(view, n)


@compiled()
def _weigh_heads(view, n, depth):  # type: ignore[no-untyped-def]
    """The laws of the heads of pass ``depth`` are shown: their worths and groups; tokens committed so far."""
    tokens = 0
    for i in range(n):
        tokens += view.length[i]
        if view.drafted[i] == depth + 1 and view.length[i] == depth:
            seat, law = view.seats[view.seat[i]], view.law[i, depth]
            seat[HEAD], seat[GROUP] = seat[WORTH] * prob_of(seat, law), law >> GROUP_SHIFT
    return tokens


@compiled(is_hot=True)
def _surplus(seat, price, options):  # type: ignore[no-untyped-def]
    """What the next token is worth above the price of verifying it, where it is."""
    law, surplus = options[NEXT_GROUP + NUM_GROUPS * int(seat[GROUP]) :], 0.0
    for g in range(NUM_GROUPS):
        worth = seat[HEAD] * sigmoid(seat[SHRINK] * (options[GROUP_LOGIT + g] + seat[SHIFT]))
        surplus += law[g] * max(worth - price, 0.0)
    return surplus


@compiled()
def _commit(view, depth, n, options):  # type: ignore[no-untyped-def]
    """Which heads are verified whatever comes: where the draft goes on, those that are worth it and whose
    next tokens are expected to pay for the pass."""
    memory, tokens = view.memory, _weigh_heads(view, n, depth)
    if memory[PROBING] > 0.0:
        return 0
    if options[MIDSTOP] > 0.0:
        passes, memory[CUT], memory[PRICE] = plan_passes(view, n, depth + 1, tokens, options)
        if passes == 0:
            return 0
    elif depth + 1 >= memory[DEPTH]:
        return 0
    share = memory[RATE] * (view.draft_s[n] - view.draft_s[1]) / max(n - 1, 1)  # of a pass, of one sequence
    num = 0
    for i in range(n):
        view.chosen[i] = False
        if is_active(view, i, depth + 1) and has_head(view, i):
            seat = view.seats[view.seat[i]]
            on = level_of(seat[HEAD]) >= memory[CUT]
            view.chosen[i] = on and (share <= 0.0 or _surplus(seat, memory[PRICE], options) > share)
            num += view.chosen[i]
    return num


@compiled()
def _admit(view, depth, n):  # type: ignore[no-untyped-def]
    """The best number of heads, largest worth first, lowest sequence first among equals; of a probe, all."""
    tokens = _weigh_heads(view, n, depth)
    count_heads(view, n)
    _, cut, end = best_prefix(view, tokens, n * view.law.shape[1])
    num, above = end - tokens, 0
    for level in range(cut + 1, NUM_LEVELS):
        above += int(view.scratch[level])
    at_cut = num - above
    for i in range(n):
        view.chosen[i] = False
        if has_head(view, i):
            its = np.int64(level_of(view.seats[view.seat[i], HEAD]))
            at_cut -= its == cut
            view.chosen[i] = its > cut or (its == cut and at_cut >= 0) or view.memory[PROBING] > 0.0
    return n


# -- what became of it ---------------------------------------------------------------------------------------


@compiled()
def _learn_prices(view):  # type: ignore[no-untyped-def]
    """What a draft pass costs beyond what it was believed to, and verification as a multiple of it."""
    news, memory = view.news, view.memory
    if news[NUM_PASSES] > 0.0:
        memory[EXTRA_PASS_S] = (news[DRAFT_S] - news[BELIEVED_DRAFT_S]) / news[NUM_PASSES]
    memory[VERIFY_RATIO] = news[VERIFY_S] / news[BELIEVED_VERIFY_S]


@compiled()
def _learn(view, n, options):  # type: ignore[no-untyped-def]
    """Verified tokens move their requests' offsets and the bias of all; sums of the batch, and prices."""
    memory, bias = view.memory, view.memory[BIAS_NOW]
    emitted, sequences, verified, errors, spread = 0, 0, 0, 0.0, 0.0
    for i in range(n):
        seat, kept, length = view.seats[view.seat[i]], view.kept[i], view.length[i]
        if kept < 0:
            continue
        for d in range(min(kept + 1, length)):
            move_on(seat, REAL, bias, options)
            p = prob_of(seat, view.token[i, d])
            error = 1.0 - p if d < kept else -p
            take_error(seat, REAL, error, options)
            errors += error
            spread += p * (1.0 - p)
        if kept == length:
            seat[REAL + FAST] *= options[KEPT]
        seat[EMITTED] += kept + 1
        seat[STEPS] += 1.0
        emitted, sequences, verified = emitted + kept + 1, sequences + 1, verified + length
    gain = memory[BIAS_VAR] / (1.0 + spread * memory[BIAS_VAR])
    memory[BIAS_NOW] += gain * errors
    memory[BIAS_VAR] = gain + _BIAS_DRIFT * verified
    memory[TOKENS] = _FORGET * memory[TOKENS] + emitted
    memory[SEQUENCE_STEPS] = _FORGET * memory[SEQUENCE_STEPS] + sequences
    memory[IDLE] = 0.0 if verified > 0 else memory[IDLE] + 1.0
    _learn_prices(view)


@compiled(PASS_RULE)
def plan_jointly(stage, depth, n, view, options):  # type: ignore[no-untyped-def]
    """See the module."""
    if stage == DRAFT:
        return _draft(view, depth, n, options)
    if stage == COMMIT:
        return _commit(view, depth, n, options)
    if stage == ADMIT:
        return _admit(view, depth, n)
    _learn(view, n, options)
    return 0
