"""Step by step, the walk is the replay: same tokens, same steps, same seconds."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.engines.step_log import StepWalk
from svsim.errors import InputError
from svsim.latency.shape import Role, StepShape
from svsim.trace.parts import MemorySource

LATENCY = StairLatency(pad=4)


def prepared_for(spec: str, batch_size: int, **options):
    trace = independent_trace(40, 4, seed=1, **options)
    return prepare(
        MemorySource(trace),
        RunSettings((parse_method(spec, 4),), (batch_size,), seed=3),
        [Deployment(LATENCY)],
    )


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("spec", ["td", "sd:k=2", "sv:k=4", "sv-lossless:k=4"])
def test_the_walk_is_the_replay(monkeypatch, spec: str, batch_size: int) -> None:
    """All of a replay's clock: the loop of requests measured by hand over the logged steps."""
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
    prepared = prepared_for(spec, batch_size)
    sums = ClosedLoopReplay(prepared).run()[0].sums
    walk = StepWalk(prepared, 0, batch_size)
    last = 2 * batch_size + prepared.part.num_requests
    admitted_at = dict.fromkeys(range(batch_size), -1)
    place_of = list(range(batch_size))
    seconds = tokens = verified = measured = sequence_seconds = 0.0
    while measured < prepared.part.num_requests:
        before = walk.num_admitted
        finished = walk._batch.finished[: walk._batch.counters[2]][::-1].tolist()
        for place, slot in enumerate(finished, before):
            if 2 * batch_size <= place_of[slot] < last:
                sequence_seconds += seconds - admitted_at[slot]
                measured += 1
            place_of[slot], admitted_at[slot] = place, seconds
        if measured == prepared.part.num_requests:
            break
        walk.begin()
        outcome = walk.finish()
        seconds += outcome.seconds
        for slot in range(batch_size):
            if 2 * batch_size <= place_of[slot] < last:
                tokens += outcome.emitted[slot]
                verified += outcome.lengths[slot]
    assert sums.seconds.sum() * batch_size == pytest.approx(sequence_seconds, rel=1e-9)
    assert sums.emitted_tokens.sum() == tokens and sums.verified_tokens.sum() == verified


@pytest.mark.parametrize("spec", ["td", "sd:k=2", "sv:k=4"])
def test_logged_shapes_have_the_logged_price(spec: str) -> None:
    """Contexts, owed tokens and lengths are what the step was priced at, pass by pass."""
    walk = StepWalk(prepared_for(spec, 5), 0, 5)
    k = walk.method.num_speculative_tokens
    num_owing = 0
    for step in walk.log(60):
        work, outcome = step.work, step.outcome
        context, owed = int(work.context.sum()), int(work.num_owed.sum())
        num_owing += owed - 5
        draft = [(owed if j == 0 else 5, context + 5 * j) for j in range(k)]
        companion = [(owed + 5 * (k - 1), context)] if spec.startswith("sv") else []
        for role, passes, seconds in (
            (Role.DRAFT, draft, outcome.draft_s),
            (Role.COMPANION, companion, outcome.companion_s),
            (Role.TARGET, [(5 + int(outcome.lengths.sum()), context)], outcome.verify_s),
        ):
            expected = sum(float(LATENCY.predict_s(StepShape(role, 5, n, kv))) for n, kv in passes)
            assert seconds == pytest.approx(expected, rel=1e-5)
        assert (outcome.emitted >= 1).all() and (outcome.emitted <= outcome.lengths + 1).all()
    assert (num_owing > 0) == (k > 0)


def test_warm_up_and_refill() -> None:
    walk = StepWalk(prepared_for("sd:k=2", 4), 0, 4)
    assert walk.num_admitted == 4
    walk.warm_up()
    assert walk.num_admitted >= 8
    walk.log(3000)  # through several cycles of the 40 requests
    assert walk.num_admitted > 120
    assert np.all(walk.begin().context > 0)


def test_too_large_a_batch() -> None:
    prepared = prepared_for("td", 4)
    with pytest.raises(InputError, match="batch 41 exceeds the 40 requests"):
        StepWalk(prepared, 0, 41)
