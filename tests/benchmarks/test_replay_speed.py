"""Speed of the compiled closed loop, one thread, distinct requests (performance targets in the README)."""

import numpy as np
import pytest
from small_traces import StairLatency, independent_trace

from svsim.decoding.presets import parse_method
from svsim.engines import replay as replay_module
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.workload.parts import MemorySource

TARGETS = {"td": ">= 150 M/s", "sd:k=5": ">= 150 M/s", "sv:k=7": ">= 15 M/s"}


@pytest.fixture(scope="module")
def trace():
    return independent_trace(2000, 8, seed=0, output_tokens=(100, 400), prompt_tokens=(50, 500))


@pytest.mark.parametrize("batch_size", [1, 8, 64, 256])
@pytest.mark.parametrize("spec", ["td", "sd:k=5", "sv:k=7", "oracle:k=7"])
def test_closed_loop(benchmark, monkeypatch, figure, trace, spec, batch_size):
    # long enough that binding the columns once does not count
    positions = (40_000_000 if spec == "sv:k=7" else 200_000_000) * min(batch_size, 64) // 64
    monkeypatch.setattr(replay_module, "MIN_POSITIONS", positions)
    monkeypatch.setattr(replay_module, "MAX_CYCLES", 10**6)
    settings = RunSettings((parse_method(spec),), (batch_size,))
    prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency(pad=16))])
    records = benchmark.pedantic(lambda: ClosedLoopReplay(prepared).run(), rounds=3, warmup_rounds=1)
    steps = records[0].sums.sequence_steps.sum()
    rate = steps / benchmark.stats.stats.min
    target = TARGETS.get(spec, "none") if batch_size == 64 else "none"
    figure(f"closed loop {spec} batch {batch_size}", f"{rate / 1e6:.1f} M sequence-steps/s", target)


@pytest.mark.parametrize("num_requests", [400, 4_000, 40_000])
def test_time_grows_linearly(benchmark, monkeypatch, figure, num_requests):
    """10^5, 10^6 and 10^7 positions, once each."""
    monkeypatch.setattr(replay_module, "MIN_POSITIONS", 1)
    trace = independent_trace(num_requests, 4, seed=1, output_tokens=(200, 300), signals=False)
    settings = RunSettings((parse_method("sd:k=4"),), (64,))
    prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency(pad=16))])
    benchmark.pedantic(lambda: ClosedLoopReplay(prepared).run(), rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.min
    rate = trace.num_positions / seconds / 1e6
    figure(f"sd:k=4 batch 64, {trace.num_positions:,} positions", f"{rate:.0f} M positions/s", "flat")


def test_selection_alone(benchmark, figure):
    """One call of the selection rule: 64 sequences, 7 candidates each, prices in stairs of 16 tokens."""
    from svsim.decoding.selection_rules import MEMORY_SIZE, SCRATCH_SIZE, best_goodput, encode_survival

    rng = np.random.default_rng(0)
    candidates = encode_survival(np.cumprod(rng.beta(3, 1.2, (256, 64, 7)), axis=2))
    verify_s = 12e-3 + 2e-5 * np.ceil((64 + np.arange(449)) / 16) * 16
    options, memory, lengths = np.zeros(2), np.zeros(MEMORY_SIZE), np.zeros(64, np.int64)
    scratch = np.zeros(SCRATCH_SIZE, np.int64)

    def all_calls():
        for batch in candidates:
            best_goodput(64, batch, verify_s, 12e-3, options, memory, scratch, lengths)

    benchmark.pedantic(all_calls, rounds=20, warmup_rounds=2)
    micros = benchmark.stats.stats.min / len(candidates) * 1e6
    figure("selection from Python, batch 64, K 7", f"{micros:.1f} us a call", "none (call overhead included)")
