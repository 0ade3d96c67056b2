"""What holds in every run of a replica, checked as requests are taken from it; a breach is a bug of svsim.

Every request in the system runs, waits, or has ended and is computed once more. arrival <= scheduled <=
first token <= finish. accepted <= verified <= drafted <= K of each step; a decode step emits accepted + 1
(of a parallel pipeline: accepted, and 1 where a token was rejected).
Blocks held and free are those of the cache, so all are free when nothing runs. The clock never goes back.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InvariantError
from svsim.serving.state import (
    FREE_BLOCKS,
    NUM_FREE_ROWS,
    NUM_RUNNING,
    NUM_WAITING,
    PLANNED_A,
    Replica,
    Requests,
    Rules,
)


def check_finished(done: Requests, rules: Rules) -> None:
    """Of requests that have ended; InvariantError for the first that breaks a rule."""
    k, moments = rules.num_speculative_tokens, ("arrival_s", "scheduled_s", "first_token_s", "finish_s")
    for before, after in pairwise(moments):
        _refuse(done, ~(done[before] <= done[after]), f"{before} after {after}")
    _refuse(done, done["out"] != done["output"], "tokens emitted are not those asked for")
    for fewer, more in (("accepted", "verified"), ("verified", "drafted")):
        _refuse(done, done[fewer] > done[more], f"more tokens {fewer} than {more}")
    _refuse(done, done["drafted"] > k * done["decode_steps"], f"more than {k} tokens drafted in a step")
    # a prompt that ends emits one more, so does each that is computed again; the end may be cut by K
    emitted = done["accepted"] + done["own_tokens"]
    wrong = (emitted < done["out"] - 1 - done["preemptions"]) | (emitted > done["out"] + k)
    without_own = done["decode_steps"] - done["own_tokens"]  # such a step accepts a token at least
    wrong |= (without_own < 0) | (without_own > done["accepted"])
    _refuse(done, wrong, "accepted + 1 tokens of each decode step are not those emitted")


def check_standing(replica: Replica, rules: Rules) -> None:
    """Of a replica between two steps."""
    counters, live = replica.counters, replica.live
    num_running, num_waiting = int(counters[NUM_RUNNING]), int(counters[NUM_WAITING])
    running = live[replica.running[:num_running]]
    again = live["is_over"][replica.plans.row[0, : counters[PLANNED_A]]].sum() if rules.is_async else 0
    accounted = num_running + num_waiting + int(again) + int(counters[NUM_FREE_ROWS])
    if accounted != len(live):
        raise InvariantError(f"{len(live) - accounted} requests are neither running, waiting nor finished")
    free, held = int(counters[FREE_BLOCKS]), int(running["blocks"].sum())
    if free < 0 or free + held != rules.num_blocks:
        raise InvariantError(f"{free} free KV blocks and {held} held are not the cache's {rules.num_blocks}")


def _refuse(done: Requests, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        raise InvariantError(f"request {done['row'][np.argmax(wrong)]}: {what}")
