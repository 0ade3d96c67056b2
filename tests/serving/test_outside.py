"""Another simulator's answer, request by request: BLIS, github.com/inference-sim/inference-sim at f90a1e3.

1,000 requests without speculation or preemption. Its prompts attend as if all of a chunk were in the cache
before it: n (s + n + n / 2) pairs of n new tokens behind s.
"""

import csv
import math

import numpy as np
import pytest
from support.reference_scheduler import PlainRequest, PlainScheduler, PlainSettings, PlainStep
from support.serving_runs import SmallServer, small_trace
from support.shared_data import shared

from svsim.latency.linear import LinearLatency
from svsim.serving.state import NUM_RUNNING, NUM_TAKEN, Requests

HIDDEN, FEED_FORWARD, FLOPS_PER_US = 1024, 1_000_000, 989.5e6
TOKEN_US = (8 * HIDDEN**2 + 6 * HIDDEN * FEED_FORWARD) / FLOPS_PER_US
PAIR_US = 4 * HIDDEN / FLOPS_PER_US


LATENCY = LinearLatency.from_json(
    {
        "kind": "linear",
        "target": {"fixed_s": 5e-3, "per_new_token_s": TOKEN_US * 1e-6, "per_kv_token_s": 0.0},
        "overhead_per_step_s": 0.0,
    },
    "about BLIS",
)


@pytest.fixture(scope="module")
def blis() -> dict[str, np.ndarray]:
    with shared("serving", "blis_light.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([int(row[name]) for row in rows]) for name in rows[0]}


def test_the_plain_scheduler_has_every_microsecond(blis) -> None:
    """The first 300 requests; those that the others would have met at their ends are left out."""
    columns = ("request_id", "arrival_us", "prompt_tokens", "output_tokens")
    rows = zip(*(blis[name][:300].tolist() for name in columns), strict=True)
    requests = [PlainRequest(*row) for row in rows]

    def price(step: PlainStep) -> int:
        pairs = sum(new * (computed + 1.5 * new) for _, new, computed in step.chunks)
        pairs += sum(request.tokens for request, _ in step.decodes)
        tokens = sum(new for _, new, _ in step.chunks) + len(step.decodes)
        return math.floor(5000 + TOKEN_US * tokens + PAIR_US * pairs)

    settings = PlainSettings(32, 512, 16, 20_000, reserve_full_isl=False)
    PlainScheduler(settings, price, lambda request, drafts: 0).run(requests)
    assert [r.first_token_s - r.arrival_s for r in requests] == blis["ttft_us"][:300].tolist()
    before = [r for r in requests if r.finish_s < blis["arrival_us"][300]]
    assert len(before) > 280
    assert [r.finish_s - r.arrival_s for r in before] == [blis["e2el_us"][r.name] for r in before]


class WholeSteps:
    """The compiled loop one step at a time, each as long as BLIS says: a whole number of microseconds."""

    def __init__(self, requests: Requests) -> None:
        server = SmallServer("td", small_trace(), LATENCY, max_num_seqs=32)
        self.engine, self.requests = server.replica(20_000, reserve_full_isl=False), requests

    def run(self) -> Requests:
        replica, now_us = self.engine.replica, 0
        counters = replica.counters
        while counters[NUM_TAKEN] < len(self.requests) or counters[NUM_RUNNING] > 0:
            if counters[NUM_RUNNING] == 0:
                now_us = round(self.requests["arrival_s"][counters[NUM_TAKEN]] * 1e6)
            replica.clock[0] = now_us * 1e-6
            before = replica.live.copy()
            self.engine.advance(self.requests, now_us * 1e-6 + 1e-9)
            now_us += self._step_us(before, replica.live)
        return np.sort(self.engine.take_done(), order="row")

    @staticmethod
    def _step_us(before: Requests, after: Requests) -> int:
        """From what the step has changed: rows that took part, those of newcomers among them."""
        is_new = (before["arrival_s"] != after["arrival_s"]) | (before["steps"] > after["steps"])
        took_part = after["steps"] > np.where(is_new, 0, before["steps"])
        computed, out = (np.where(is_new, 0, before[name])[took_part] for name in ("computed", "out"))
        new = after["computed"][took_part] - computed
        pairs = np.where(out > 0, computed + 1, new * (computed + 1.5 * new))
        return math.floor(5000 + TOKEN_US * new.sum() + PAIR_US * pairs.sum())


def test_every_request_as_blis_has_it(blis) -> None:
    server = SmallServer("td", small_trace(), LATENCY)
    requests = server.requests(blis["arrival_us"] * 1e-6, blis["prompt_tokens"], blis["output_tokens"])
    done = WholeSteps(requests).run()
    assert len(done) == 1000 and not done["preemptions"].any()
    for column, end in (("ttft_us", "first_token_s"), ("e2el_us", "finish_s")):
        took_us = (done[end] - done["arrival_s"]) * 1e6
        close = np.abs(took_us - blis[column]) <= 1e-3 * blis[column]
        assert close.mean() >= 0.99, column
