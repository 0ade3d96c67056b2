"""What the next step runs: budgets, chunks, KV blocks, admission and preemption, as vLLM 0.33 does it.

``plan_step`` writes a plan: rows of the live table, new tokens, drafts to verify. No phases: each step lets
``computed`` catch up with ``prompt + out + draft``. Other engines differ in three things, each an integer of
``Rules``: the order of work, the test of admission, and the victim of preemption. Source: vLLM
``v1/core/sched/scheduler.py``; SGLang ``managers/schedule_batch.py``, ``schedule_policy.py``; TensorRT-LLM's
``GUARANTEED_NO_EVICT``.
"""

from enum import IntEnum

from svsim.compiled import compiled
from svsim.serving.state import (
    FIRST_WAITING,
    FREE_BLOCKS,
    NUM_PREEMPTIONS,
    NUM_RUNNING,
    NUM_SINCE_PREEMPTION,
    NUM_WAITING,
    PLANNED_A,
    PREEMPTED_NOW,
)


class Order(IntEnum):
    """Which work a step takes up."""

    MIXED = 0  # running requests first, prompts beside them
    PREFILL_FIRST = 1  # a step of prompts alone, as long as there are any


class Admission(IntEnum):
    """Which request at the head of the queue is let in."""

    FITS_NOW = 0  # its prompt fits (and what is to be kept free)
    RATIO = 1  # and a falling share of what the running requests may still write
    CAN_FINISH = 2  # and everything that it and the running requests may still write


class Victim(IntEnum):
    """Who gives its blocks back when a running request finds none."""

    LAST = 0  # the last admitted; by priority: the least urgent
    FEWEST_TOKENS = 1  # the one that has emitted the fewest tokens


# SGLang's share of the remaining output that admission reserves, falling by every step without retraction
FIRST_RATIO, LAST_RATIO, RATIO_STEPS, MOST_RESERVED = 0.7, 0.098, 600, 4096


@compiled()
def plan_step(rules, replica, side, now_s):  # type: ignore[no-untyped-def]
    """Plan a step at ``now_s`` into ``plans[side]``; the number of requests it holds."""
    counters = replica.counters
    counters[PLANNED_A + side] = 0
    counters[PREEMPTED_NOW] = 0
    budget = second = rules.max_tokens
    if rules.order == Order.MIXED:
        budget, second = _plan_running(rules, replica, side, budget, second, True, True)
        if counters[PREEMPTED_NOW] == 0:
            _admit(rules, replica, side, budget, second, now_s)
    else:
        budget, second = _plan_running(rules, replica, side, budget, second, True, False)
        if counters[PREEMPTED_NOW] == 0:
            _admit(rules, replica, side, budget, second, now_s)
        if counters[PLANNED_A + side] == 0:
            _plan_running(rules, replica, side, rules.max_tokens, rules.max_tokens, False, True)
    counters[NUM_SINCE_PREEMPTION] += counters[PLANNED_A + side] > 0
    return counters[PLANNED_A + side]


@compiled()
def _plan_running(rules, replica, side, budget, second, prompts, decodes):  # type: ignore[no-untyped-def]
    """Running requests in order of admission; the budgets that are left."""
    counters, live = replica.counters, replica.live
    place = 0
    while place < counters[NUM_RUNNING] and budget > 0 and second > rules.slots:
        row = replica.running[place]
        request = live[row]
        if prompts and not decodes and _will_decode(rules, request):
            place += 1
            continue
        new = new_tokens(rules, replica, request, budget, second)
        if new == 0:
            place += 1
            continue
        fits = True
        missing = missing_blocks(rules, request, new)
        while missing > counters[FREE_BLOCKS]:
            victim_place = _victim(rules, replica)
            victim = replica.running[victim_place]
            given_new = _take_back(rules, replica, side, victim)
            if given_new > 0:
                budget += given_new
                second += given_new + rules.slots
            if victim_place < place:
                place -= 1
            _preempt(replica, victim_place)
            if victim == row:
                fits = False
                break
        if not fits:
            if not rules.is_priority and rules.victim == Victim.LAST:
                break
            continue
        _schedule(replica, side, row, new, missing)
        budget -= new
        second -= new + rules.slots
        place += 1
    return budget, second


@compiled(is_hot=True)
def _will_decode(rules, request):  # type: ignore[no-untyped-def]
    """Whether a running request has no more of its tokens to compute than the last one it emitted."""
    known, tokens = request.computed + request.in_flight, request.prompt + request.out
    if request.in_flight > 0 and known >= tokens:
        return True
    return known == tokens - 1 and (request.out > 0 or rules.is_prefill_free)


@compiled()
def _admit(rules, replica, side, budget, second, now_s):  # type: ignore[no-untyped-def]
    """Waiting requests, the head first; nobody overtakes."""
    counters, live = replica.counters, replica.live
    while (
        counters[NUM_WAITING] > 0
        and budget > 0
        and second > rules.slots
        and counters[NUM_RUNNING] < rules.max_num_seqs
    ):
        head = _head(rules, replica)
        row = replica.waiting[(counters[FIRST_WAITING] + head) % replica.waiting.size]
        request = live[row]
        tokens = request.prompt + request.out
        if request.cached > 0:
            request.computed = min(request.cached, tokens - 1) // rules.block_size * rules.block_size
        new = new_tokens(rules, replica, request, budget, second)
        missing = missing_blocks(rules, request, new)
        needed = missing
        if rules.reserve_whole:
            needed = max(needed, -(-tokens // rules.block_size))
        if rules.admission != Admission.FITS_NOW:
            needed = max(needed, _reserved_blocks(rules, counters, request))
            for place in range(counters[NUM_RUNNING]):
                one = live[replica.running[place]]
                needed += max(_reserved_blocks(rules, counters, one) - one.blocks, 0)
        kept = rules.kept_blocks if counters[NUM_RUNNING] > 0 else 0
        if new == 0 or needed > counters[FREE_BLOCKS] - kept:
            request.computed = 0
            return
        _leave_queue(replica, head)
        replica.running[counters[NUM_RUNNING]] = row
        counters[NUM_RUNNING] += 1
        if request.scheduled_s < 0.0:
            request.scheduled_s = now_s
        _schedule(replica, side, row, new, missing)
        budget -= new
        second -= new + rules.slots


@compiled(is_hot=True)
def new_tokens(rules, replica, request, budget, second):  # type: ignore[no-untyped-def]
    """New tokens of a request within the budgets; 0: none."""
    tokens, counters = request.prompt + request.out, replica.counters
    known = request.computed + request.in_flight
    if request.in_flight > 0 and known >= tokens:
        # it samples in the running step: at least one token, and drafts that stand for themselves
        new = 0 if request.out + 1 >= request.output else 1 + rules.num_speculative_tokens
    else:
        new = tokens + request.draft - known
    if rules.threshold > 0 and new > rules.threshold and counters[NUM_RUNNING] + counters[NUM_WAITING] > 1:
        new = rules.threshold
    return max(min(new, budget, second - rules.slots, rules.max_model_len - known - 1), 0)


@compiled(is_hot=True)
def missing_blocks(rules, request, new):  # type: ignore[no-untyped-def]
    """KV blocks that a request needs beyond those it holds."""
    held = min(request.computed + request.in_flight + new + rules.lookahead, rules.max_model_len)
    if held <= request.blocks * rules.block_size:  # nearly always, and without a division
        return 0
    return -(-held // rules.block_size) - request.blocks


@compiled()
def _reserved_blocks(rules, counters, request):  # type: ignore[no-untyped-def]
    """Blocks that admission keeps for all that a request has, and what it may still write."""
    left = request.output - request.out
    if rules.admission == Admission.CAN_FINISH:
        # its last step begins with two tokens fewer, and schedules one and the drafts (ahead: twice)
        ahead = (2 if rules.is_async else 1) * rules.num_speculative_tokens - 1
        end = request.prompt + request.out + left + ahead + rules.lookahead
    else:
        share = min(counters[NUM_SINCE_PREEMPTION] / RATIO_STEPS, 1.0)
        ratio = FIRST_RATIO + (LAST_RATIO - FIRST_RATIO) * share
        end = request.prompt + request.out + int(ratio * min(left, MOST_RESERVED)) + rules.lookahead
    return -(-end // rules.block_size)


@compiled(is_hot=True)
def _schedule(replica, side, row, new, missing):  # type: ignore[no-untyped-def]
    """Put a request into the plan and give it the blocks that it misses."""
    counters, request, plans = replica.counters, replica.live[row], replica.plans
    request.blocks += missing
    counters[FREE_BLOCKS] -= missing
    known = request.computed + request.in_flight
    tokens = request.prompt + request.out
    drafts = new - 1 if request.in_flight > 0 and known >= tokens else new + known - tokens
    place = counters[PLANNED_A + side]
    plans.row[side, place] = row
    plans.new[side, place] = new
    plans.drafts[side, place] = max(drafts, 0)
    request.planned += 1
    counters[PLANNED_A + side] += 1


@compiled()
def _take_back(rules, replica, side, row):  # type: ignore[no-untyped-def]
    """Remove a request from the plan; its new tokens, 0 if it was not in it."""
    counters, plans = replica.counters, replica.plans
    num = counters[PLANNED_A + side]
    for place in range(num):
        if plans.row[side, place] == row:
            new = plans.new[side, place]
            for later in range(place, num - 1):
                plans.row[side, later] = plans.row[side, later + 1]
                plans.new[side, later] = plans.new[side, later + 1]
                plans.drafts[side, later] = plans.drafts[side, later + 1]
            counters[PLANNED_A + side] -= 1
            replica.live[row].planned -= 1
            return new
    return 0


@compiled()
def _victim(rules, replica):  # type: ignore[no-untyped-def]
    """Place in ``running`` of the request that gives its blocks back."""
    num = replica.counters[NUM_RUNNING]
    worst = num - 1
    if not rules.is_priority and rules.victim == Victim.LAST:
        return worst
    for place in range(num - 2, -1, -1):
        one, other = replica.live[replica.running[place]], replica.live[replica.running[worst]]
        if rules.is_priority:
            if one.priority > other.priority or (one.priority == other.priority and is_later(one, other)):
                worst = place
        elif one.out < other.out:
            worst = place
    return worst


@compiled()
def is_later(one, other):  # type: ignore[no-untyped-def]
    """Whether a request arrived after another; equal moments in the order of the demand."""
    return one.arrival_s > other.arrival_s or (one.arrival_s == other.arrival_s and one.row > other.row)


@compiled()
def _preempt(replica, place):  # type: ignore[no-untyped-def]
    """Take a running request's blocks; it goes to the head of the queue and will compute its tokens again."""
    counters, row = replica.counters, replica.running[place]
    request = replica.live[row]
    counters[FREE_BLOCKS] += request.blocks
    request.blocks = 0
    request.computed = 0
    request.draft = 0
    request.in_flight = 0
    request.preemptions += 1
    leave_running(replica, place)
    counters[FIRST_WAITING] = (counters[FIRST_WAITING] - 1) % replica.waiting.size
    replica.waiting[counters[FIRST_WAITING]] = row
    counters[NUM_WAITING] += 1
    counters[NUM_PREEMPTIONS] += 1
    counters[PREEMPTED_NOW] += 1
    counters[NUM_SINCE_PREEMPTION] = 0


@compiled()
def leave_running(replica, place):  # type: ignore[no-untyped-def]
    """Close the gap of a request that leaves, keeping the order of the others."""
    counters = replica.counters
    for later in range(place, counters[NUM_RUNNING] - 1):
        replica.running[later] = replica.running[later + 1]
    counters[NUM_RUNNING] -= 1


@compiled()
def join_queue(replica, row):  # type: ignore[no-untyped-def]
    """To the end of the queue."""
    counters = replica.counters
    replica.waiting[(counters[FIRST_WAITING] + counters[NUM_WAITING]) % replica.waiting.size] = row
    counters[NUM_WAITING] += 1


@compiled()
def _head(rules, replica):  # type: ignore[no-untyped-def]
    """Place in the queue of the next request: the first, or the most urgent."""
    if not rules.is_priority:
        return 0
    counters, size = replica.counters, replica.waiting.size
    best = 0
    for place in range(1, counters[NUM_WAITING]):
        one = replica.live[replica.waiting[(counters[FIRST_WAITING] + place) % size]]
        other = replica.live[replica.waiting[(counters[FIRST_WAITING] + best) % size]]
        if one.priority < other.priority or (one.priority == other.priority and is_later(other, one)):
            best = place
    return best


@compiled()
def _leave_queue(replica, place):  # type: ignore[no-untyped-def]
    """Remove a request from the queue, keeping the order of the others."""
    counters, size = replica.counters, replica.waiting.size
    for earlier in range(place, 0, -1):
        here = (counters[FIRST_WAITING] + earlier) % size
        replica.waiting[here] = replica.waiting[(counters[FIRST_WAITING] + earlier - 1) % size]
    counters[FIRST_WAITING] = (counters[FIRST_WAITING] + 1) % size
    counters[NUM_WAITING] -= 1
