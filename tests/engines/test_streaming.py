"""A trace read in stretches gives the same walks as one in memory, and carries sequences over."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

from svsim.decoding.acceptance_rules import RedrawnCoins
from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.trace import parts
from svsim.trace.file import TraceReader, save_trace
from svsim.trace.parts import FileSource, MemorySource


@pytest.fixture
def trace(tmp_path):
    made = independent_trace(300, 4, seed=4)
    save_trace(made, tmp_path / "t.parquet", signal_dtype="float32", rows_per_group=500)
    return made, FileSource(TraceReader(tmp_path / "t.parquet"))


def totals(source, spec, batch_size, **settings):
    run = RunSettings((parse_method(spec),), (batch_size,), **settings)
    return ClosedLoopReplay(prepare(source, run, [Deployment(StairLatency(pad=1))])).run()[0]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("chunk", [200, 3000])
def test_every_request_walks_the_same_steps(monkeypatch, trace, batch_size, chunk):
    memory, file = trace
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", chunk)
    whole = totals(MemorySource(memory), "sd:k=3", batch_size)
    streamed = totals(file, "sd:k=3", batch_size)
    assert streamed.num_requests == whole.num_requests == 300
    for name in ("emitted_tokens", "sequence_steps", "accepted_tokens"):
        np.testing.assert_array_equal(getattr(streamed.sums, name), getattr(whole.sums, name))
    assert streamed.sums.seconds.sum() == pytest.approx(whole.sums.seconds.sum(), rel=0.01)


@pytest.mark.parametrize("spec, options", [
    ("sd:k=3", {"coins": RedrawnCoins(3, seed=2)}),
    ("staged:k=3", {}),
    ("staged:k=3", {"coins": RedrawnCoins(2, seed=2)}),
])  # fmt: skip
@pytest.mark.parametrize("chunk", [200, 3000])
def test_coins_belong_to_positions(monkeypatch, trace, chunk, spec, options):
    """Redrawn coins and a companion's own: every request meets the same ones, however the file is read."""
    memory, file = trace
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", chunk)
    whole, streamed = (totals(source, spec, 7, **options) for source in (MemorySource(memory), file))
    for name in ("emitted_tokens", "sequence_steps", "accepted_tokens", "verified_tokens", "drafted_tokens"):
        np.testing.assert_array_equal(getattr(streamed.sums, name), getattr(whole.sums, name))


def test_selection_sees_the_same_beliefs(monkeypatch, trace):
    memory, file = trace
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", 1000)
    streamed, whole = totals(file, "sv:k=4", 16), totals(MemorySource(memory), "sv:k=4", 16)
    length = [r.sums.verified_tokens.sum() / r.sums.sequence_steps.sum() for r in (streamed, whole)]
    # different halves of 300 requests learn the belief: three standard errors of a length of about 2.5
    assert length[0] == pytest.approx(length[1], abs=0.1)
    assert 100 < streamed.num_requests < 200


def test_static_batches_form_within_stretches(monkeypatch, trace):
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", 2000)
    record = totals(trace[1], "sd:k=2", 8, refill="static")
    assert record.sums.emitted_tokens.sum() <= trace[0].num_positions
    assert (record.sums.steps > 0).all()
