"""Random small cases of serving, for the compiled scheduler and for the plain one."""

import dataclasses
from functools import cache

import numpy as np

from support.reference_scheduler import PlainRequest, PlainScheduler, PlainSettings, PlainStep
from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.program import BoundColumns
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import Role, StepShape
from svsim.serving.replica import MethodPrices, ReplicaEngine
from svsim.serving.settings import SchedulerSettings
from svsim.serving.state import FREE_BLOCKS, NUM_STEPS, REQUEST, Pool, Requests, new_account

K = 3
OVERHEAD_S = 0.002
LATENCY = LinearLatency.from_json(
    {
        "kind": "linear",
        "target": {"fixed_s": 0.01, "per_new_token_s": 1e-3, "per_kv_token_s": 1e-6},
        "overhead_per_step_s": OVERHEAD_S,
    },
    "test",
)
NUM_TRACE, ROWS = 7, 60
ACCEPTED = np.random.default_rng(5).integers(0, K + 1, NUM_TRACE * ROWS).astype(np.uint8)
COLUMNS = BoundColumns(ACCEPTED, np.zeros(0, np.uint8), np.zeros((0, K), np.uint16))
POOL = Pool(np.arange(NUM_TRACE) * ROWS, np.full(NUM_TRACE, ROWS), np.arange(NUM_TRACE))


def price(step: PlainStep) -> float:
    """The definition: all groups in one pass, and the host."""
    tokens = sum(1 + drafts for _, drafts in step.decodes)
    kv = sum(request.tokens for request, _ in step.decodes)
    decode = StepShape(Role.TARGET, len(step.decodes), tokens, kv)
    new = [new for _, new, _ in step.chunks] or [0]
    context = [kv for _, _, kv in step.chunks] or [0]
    return OVERHEAD_S + float(LATENCY.predict_mixed_s(decode, new, context))


def accepted_by(request: PlainRequest, drafts: int) -> int:
    """Of the trace's request that this one borrows from."""
    return min(int(ACCEPTED[(request.name % NUM_TRACE) * ROWS + request.out]), drafts)


def random_case(
    seed: int, num_requests: int = 20, **changes: object
) -> tuple[PlainSettings, list[PlainRequest]]:
    """A case whose cache is tight: some requests are preempted."""
    rng = np.random.default_rng(seed)
    k = int(rng.choice([0, K]))
    settings = PlainSettings(
        max_num_seqs=int(rng.integers(1, 9)),
        max_num_batched_tokens=int(rng.integers(6, 80)),
        block_size=int(rng.choice([1, 4, 16])),
        watermark=float(rng.choice([0.0, 0.1])),
        long_prefill_token_threshold=int(rng.choice([0, 8])),
        reserve_full_isl=bool(rng.integers(2)),
        policy=str(rng.choice(["fcfs", "priority"])),
        k=k,
        lookahead=int(rng.choice([0, k, k + 1])),
        drafting_slots=int(rng.choice([0, 1])) if k else 0,
    )
    requests = [
        PlainRequest(
            i,
            float(arrival),
            prompt=int(rng.integers(1, 60)),
            output=int(rng.integers(1, ROWS)),
            priority=int(rng.integers(3)),
            cached=int(rng.choice([0, 0, 20])),
        )
        for i, arrival in enumerate(np.sort(rng.uniform(0, num_requests / 15, num_requests)))
    ]
    largest = max(-(-(r.prompt + r.output + 3 * k + 2) // settings.block_size) for r in requests)
    blocks = int(largest * rng.uniform(1.1, 3.0)) + 2
    return dataclasses.replace(settings, num_blocks=blocks, **changes), requests  # type: ignore[arg-type]


@cache
def prices_of(k: int) -> MethodPrices:
    """Of target-only decoding, or of k drafts found on the host."""
    method = parse_method(f"sd:k={k}" if k else "td", K, frozenset())
    if k:
        method = method.with_drafter(drafter_named("ngram"))
    return MethodPrices(method, COLUMNS, Deployment(LATENCY), (1.0, 200.0), 128, 16, 200.0)


def engine_of(settings: PlainSettings, **changes: object) -> ReplicaEngine:
    """The compiled scheduler under the plain one's settings."""
    prices = prices_of(settings.k)
    options = SchedulerSettings(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        block_size=settings.block_size,
        watermark=settings.watermark,
        long_prefill_token_threshold=settings.long_prefill_token_threshold,
        reserve_full_isl=settings.reserve_full_isl,
        policy=settings.policy,  # type: ignore[arg-type]
        scheduling="async" if settings.ahead else "sync",
        **changes,  # type: ignore[arg-type]
    )
    draft = prices.deployment.priced(prices.method).work.draft
    rules = options.rules(prices.method, draft, settings.num_blocks)
    rules = rules._replace(lookahead=settings.lookahead, slots=settings.drafting_slots)
    return ReplicaEngine(prices, rules, POOL, new_account(10, 1.0, 1, 10.0))


def coming_of(requests: list[PlainRequest]) -> Requests:
    """The same requests for the compiled scheduler."""
    coming = np.zeros(len(requests), REQUEST)
    for place, r in enumerate(requests):
        coming[place]["row"], coming[place]["arrival_s"] = r.name, r.arrival_s
        coming[place]["prompt"], coming[place]["output"] = r.prompt, r.output
        coming[place]["priority"], coming[place]["cached"] = r.priority, r.cached
    coming["piece_first"] = (coming["row"] % NUM_TRACE) * ROWS
    coming["piece_rows"], coming["next_turn"] = ROWS, -1
    coming["scheduled_s"] = -1.0
    return coming


def equal_plain(settings: PlainSettings, requests: list[PlainRequest], **changes: object) -> PlainScheduler:
    """Run both schedulers and compare every request; the plain one, for what it met."""
    coming, engine = coming_of(requests), engine_of(settings, **changes)
    plain = PlainScheduler(settings, price, accepted_by)
    plain.run(requests)
    engine.advance(coming, 1e6)
    done = np.sort(engine.take_done(), order="row")
    assert len(done) == len(requests)
    for name in ("scheduled_s", "first_token_s", "finish_s"):
        expected = [getattr(r, name) for r in requests]
        np.testing.assert_allclose(done[name], expected, rtol=1e-9, err_msg=name)
    for name in ("steps", "preemptions", "out"):
        np.testing.assert_array_equal(done[name], [getattr(r, name) for r in requests], err_msg=name)
    assert engine.replica.counters[NUM_STEPS] == len(plain.steps)
    assert engine.replica.counters[FREE_BLOCKS] == settings.num_blocks
    assert plain.free == settings.num_blocks
    return plain
