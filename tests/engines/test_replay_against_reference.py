"""The compiled closed loop equals a slow, independent one on small traces, number by number."""

import pytest
import reference_loop
from small_traces import StairLatency, independent_trace

from svsim.decoding.presets import parse_method
from svsim.decoding.selection_rules import decode_survival
from svsim.engines import replay as replay_module
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.random_streams import RandomStreams
from svsim.workload.parts import MemorySource

SEED = 3


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize(
    ("spec", "plan", "exactly"),
    [
        ("td", "all", False),
        ("sd:k=1", "all", False),
        ("sd:k=4", "all", False),
        ("sv:k=4", "select", False),
        ("oracle:k=4", "oracle", False),
        ("oracle:k=4,draft=exact", "oracle", True),
    ],
)
def test_equals_the_reference_loop(monkeypatch, batch_size, spec, plan, exactly):
    monkeypatch.setattr(replay_module, "MIN_POSITIONS", 1)  # one cycle
    trace, latency = independent_trace(40, 4, seed=1), StairLatency(pad=4)
    method = parse_method(spec)
    prepared = prepare(
        MemorySource(trace), RunSettings((method,), (batch_size,), seed=SEED), [Deployment(latency)]
    )
    sums = ClosedLoopReplay(prepared).run()[0].sums

    part, streams = prepared.trace, RandomStreams(SEED)
    warm_up = streams.generator("warm-up").permutation(part.num_requests)[: 2 * batch_size]
    order, after = (streams.generator("order", cycle, 0).permutation(part.num_requests) for cycle in (0, 1))
    columns = bind_columns(prepared.methods[0], part, prepared.settings.coins, 0)
    totals = reference_loop.run(
        part,
        latency,
        method.num_speculative_tokens,
        [*warm_up, *order, *after],
        streams.generator("stagger").random(batch_size),
        2 * batch_size,
        part.num_requests,
        plan=plan,
        survival=decode_survival(columns.survival).tolist(),
        draft_exactly=exactly,
    )
    assert sums.emitted_tokens.sum() == totals.tokens
    assert sums.sequence_steps.sum() == totals.sequence_steps
    assert sums.accepted_tokens.sum() == totals.accepted
    assert sums.verified_tokens.sum() == totals.verified
    assert sums.seconds.sum() * batch_size == pytest.approx(totals.sequence_seconds, rel=1e-5)


def test_lone_request_is_a_walk_over_its_positions():
    """Batch 1, one request: steps are the renewal walk, by hand."""
    trace = independent_trace(1, 3, seed=5, output_tokens=(30, 31))
    accepted = trace.target.num_accepted
    position = steps = 0
    while position < 30:
        position += min(int(accepted[position]), 2) + 1
        steps += 1
    settings = RunSettings((parse_method("sd:k=2"),), (1,))
    prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency())])
    sums = ClosedLoopReplay(prepared).run()[0].sums
    cycles = sums.emitted_tokens.sum() / 30
    assert sums.sequence_steps.sum() == steps * cycles
    assert sums.accepted_tokens.sum() == (position - steps) * cycles
