"""The compiled scheduler against the plain one, step by step, on random small cases."""

import dataclasses

import numpy as np
import pytest
from support.reference_scheduler import PlainRequest, PlainScheduler, PlainSettings, PlainStep

from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.program import BoundColumns
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import Role, StepShape
from svsim.serving.replica import MethodPrices, ReplicaEngine
from svsim.serving.settings import SchedulerSettings
from svsim.serving.state import FREE_BLOCKS, REQUEST, Pool, new_account

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
    return min(int(ACCEPTED[(request.name % NUM_TRACE) * ROWS + request.out]), drafts)


def random_case(seed: int) -> tuple[PlainSettings, list[PlainRequest]]:
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
        for i, arrival in enumerate(np.sort(rng.uniform(0, 2.0, 30)))
    ]
    largest = max(-(-(r.prompt + r.output + 2 * k + 2) // settings.block_size) for r in requests)
    # tight: some requests are preempted
    blocks = int(largest * rng.uniform(1.1, 3.0)) + 2
    return dataclasses.replace(settings, num_blocks=blocks), requests


def engine_of(settings: PlainSettings, scheduling: str = "sync", **changes: object) -> ReplicaEngine:
    text = f"sd:k={settings.k}" if settings.k else "td"
    method = parse_method(text, K, frozenset())
    if settings.k:
        method = method.with_drafter(drafter_named("ngram"))
    deployment = Deployment(LATENCY)
    prices = MethodPrices(
        method,
        COLUMNS,
        deployment,
        (1.0, 200.0),
        settings.max_num_batched_tokens,
        settings.max_num_seqs,
        200.0,
    )
    options = SchedulerSettings(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        block_size=settings.block_size,
        watermark=settings.watermark,
        long_prefill_token_threshold=settings.long_prefill_token_threshold,
        reserve_full_isl=settings.reserve_full_isl,
        policy=settings.policy,  # type: ignore[arg-type]
        scheduling=scheduling,  # type: ignore[arg-type]
        **changes,  # type: ignore[arg-type]
    )
    rules = options.rules(method, deployment.priced(method).work.draft, settings.num_blocks)
    rules = rules._replace(lookahead=settings.lookahead, slots=settings.drafting_slots)
    return ReplicaEngine(prices, rules, POOL, new_account(10, 1.0, 1, 10.0))


def coming_of(requests: list[PlainRequest]) -> np.ndarray:
    coming = np.zeros(len(requests), REQUEST)
    for place, r in enumerate(requests):
        coming[place]["row"], coming[place]["arrival_s"] = r.name, r.arrival_s
        coming[place]["prompt"], coming[place]["output"] = r.prompt, r.output
        coming[place]["priority"], coming[place]["cached"] = r.priority, r.cached
    coming["piece_first"] = (coming["row"] % NUM_TRACE) * ROWS
    coming["piece_rows"], coming["next_turn"] = ROWS, -1
    coming["scheduled_s"] = -1.0
    return coming


@pytest.mark.parametrize("seed", range(120))
def test_every_request_meets_the_same_moments(seed: int) -> None:
    settings, requests = random_case(seed)
    coming, engine = coming_of(requests), engine_of(settings)
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
    assert engine.replica.counters[FREE_BLOCKS] == settings.num_blocks


def test_the_cases_preempt_cut_and_chunk() -> None:
    preempted = chunked = 0
    for seed in range(120):
        settings, requests = random_case(seed)
        plain = PlainScheduler(settings, price, accepted_by)
        plain.run(requests)
        preempted += any(r.preemptions for r in requests)
        chunked += any(len(step.chunks) and step.decodes for step in plain.steps)
    assert preempted > 20 and chunked > 60
