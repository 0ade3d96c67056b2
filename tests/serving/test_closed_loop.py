"""The serving loop with free prompts and a full batch is the closed loop, bit for bit."""

import numpy as np
import pytest
from support.serving_runs import SmallServer, small_trace

from svsim.engines.admission import Requests as LoopRequests
from svsim.engines.admission import new_queue
from svsim.engines.binding import BatchShape, PriceBook, bind, compiled_pass_rule, compiled_rule
from svsim.engines.closed_loop import NUM_TALLIES, new_slots, run_continuous
from svsim.engines.step import PREFILL, new_batch
from svsim.serving.server import Server
from svsim.serving.state import NUM_STEPS, Requests

USERS, NUM_REQUESTS = 16, 120


def closed_loop(server: SmallServer, order: np.ndarray):
    """Seconds by part, and steps, until the queue is used up."""
    pool, prompts = server.pool, server.trace.num_prompt_tokens.astype(np.int64)
    none = np.zeros(len(prompts), np.int64)
    end = pool.first + pool.rows
    requests = LoopRequests(pool.first, end, prompts, pool.rows, np.zeros(len(prompts)), none)
    shape = BatchShape(USERS, 1, False, server.prices.context_range)
    program = bind(server.method, server.columns, PriceBook(server.deployment), shape)
    batch, slots = new_batch(USERS, server.method.num_speculative_tokens), new_slots(USERS)
    queue = new_queue(np.zeros(USERS), (0, 10**6), order)
    rules = compiled_rule(server.method), compiled_pass_rule(server.method)
    run_continuous(program, *rules, batch, slots, requests, queue, np.zeros((1, NUM_TALLIES)))
    return batch.clocks, int(slots.step[0])


def in_order(server: SmallServer, order: np.ndarray) -> Requests:
    lender = order % len(server.pool.rows)
    prompts = server.trace.num_prompt_tokens[lender]
    made = server.requests(np.zeros(len(order)), prompts, server.pool.rows[lender])
    made["piece_first"], made["piece_rows"] = server.pool.first[lender], server.pool.rows[lender]
    return made


def as_turns(requests: Requests, finished: np.ndarray) -> Requests:
    """The same, each begun by the end of another: the first that ends begins the first that waited."""
    turns = requests.copy()
    turns["arrival_s"] = np.nan
    following = np.arange(USERS, len(requests))
    turns["next_turn"][finished[: len(following)]] = following
    return turns


@pytest.mark.parametrize("users", [False, True], ids=["queue", "users"])
@pytest.mark.parametrize(
    "text", ["td", "sd:k=5", "sv:k=7,min_verify=7", "sv:k=7", "pearl:gamma=4,sync_s=0.001"]
)
def test_free_prompts_and_a_full_batch(text: str, users: bool) -> None:
    server = SmallServer(text, small_trace(), max_num_seqs=USERS, prefill_is_free=True)
    order = np.random.default_rng(0).integers(0, len(server.pool.rows), NUM_REQUESTS)
    clocks, num_steps = closed_loop(server, order)
    requests = in_order(server, order)
    replica = server.replica(num_turns=NUM_REQUESTS)
    until_s = clocks.sum() * (1.0 - 0.5 / num_steps)  # within the last step
    if users:
        first = server.replica()
        first.advance(requests.copy(), 1e9)
        requests = as_turns(requests, first.take_done()["row"])
        Server(replica, None).push_turns(np.zeros(USERS), np.arange(USERS))
    replica.advance(requests, until_s)
    assert replica.replica.counters[NUM_STEPS] == num_steps > 100
    assert replica.clocks.tobytes() == clocks.tobytes()


def test_prefill_takes_a_step_more_of_every_request() -> None:
    """A kept-full server against the closed loop with its prompts' seconds: 2 / (steps of a request)."""
    server = SmallServer("sd:k=5", small_trace(), max_num_seqs=USERS, max_num_batched_tokens=2048)
    order = np.random.default_rng(0).integers(0, len(server.pool.rows), 10 * NUM_REQUESTS)
    requests = in_order(server, order)
    requests["output"] = requests["piece_rows"]
    replica = server.replica()
    replica.advance(requests, 1e9)
    done = replica.take_done()
    clocks, _ = closed_loop(server, order)
    prompts_s = replica.clocks[PREFILL]
    serving = done["output"].sum() / replica.clocks.sum()
    # all rows of the order but those that still ran at its end
    closed = done["output"].sum() / (clocks.sum() + prompts_s)
    assert serving != closed
    assert serving == pytest.approx(closed, rel=2 / done["steps"].mean())
