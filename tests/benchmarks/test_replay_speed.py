"""Speed of the compiled closed loop, one thread, distinct requests (performance targets in the README)."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace, with_draft_signals, with_method_columns

from svsim.decoding.presets import parse_method
from svsim.decoding.rivals import RIVALS
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.trace.parts import MemorySource

TARGETS = {"td": ">= 150 M/s", "sd:k=5": ">= 150 M/s", "sv:k=7": ">= 15 M/s"}
RIVAL_TEXTS = [name if name in ("eagle", "vllm-ladder") else f"{name}:k=7" for name in RIVALS]
DRAFTING = [
    "kangaroo:k=7,exit=0.1",
    "magicdec:k=7,budget=200",
    "easyspec:k=7,attention_share=0.4",
    "del:d_max=7",
]
DRAFTING += ["diffuspec", "judge:k=7,share=0.5", "reflect:k=7"]
OTHERS = [*RIVAL_TEXTS, *DRAFTING, "sv-lossless:k=7", "sv:k=7,overlap=half", "oracle-belief:k=7"]


@pytest.fixture(scope="module")
def trace():
    made = independent_trace(2000, 8, seed=0, output_tokens=(100, 400), prompt_tokens=(50, 500))
    return with_method_columns(with_draft_signals(made))


def sequence_steps_per_s(benchmark, monkeypatch, trace, spec, batch_size, positions):
    """Of a run over that many positions: long enough that binding the columns once does not count."""
    monkeypatch.setattr(admission, "MIN_POSITIONS", positions)
    settings = RunSettings((parse_method(spec),), (batch_size,))
    prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency(pad=16))])
    records = benchmark.pedantic(
        lambda: ClosedLoopReplay(prepared, max_cycles=10**6).run(), rounds=3, warmup_rounds=1
    )
    return records[0].sums.sequence_steps.sum() / benchmark.stats.stats.min


@pytest.mark.parametrize("batch_size", [1, 8, 64, 256])
@pytest.mark.parametrize("spec", ["td", "sd:k=5", "sv:k=7", "oracle:k=7"])
def test_closed_loop(benchmark, monkeypatch, figure, trace, spec, batch_size):
    positions = (40_000_000 if spec == "sv:k=7" else 200_000_000) * min(batch_size, 64) // 64
    rate = sequence_steps_per_s(benchmark, monkeypatch, trace, spec, batch_size, positions)
    target = TARGETS.get(spec, "none") if batch_size == 64 else "none"
    figure(f"closed loop {spec} batch {batch_size}", f"{rate / 1e6:.1f} M sequence-steps/s", target)


@pytest.mark.parametrize("spec", OTHERS)
def test_other_methods(benchmark, monkeypatch, figure, trace, spec):
    rate = sequence_steps_per_s(benchmark, monkeypatch, trace, spec, 64, 20_000_000)
    figure(f"closed loop {spec} batch 64", f"{rate / 1e6:.1f} M sequence-steps/s", "half of sv's")


@pytest.mark.parametrize("num_requests", [400, 4_000, 40_000])
def test_time_grows_linearly(benchmark, monkeypatch, figure, num_requests):
    """10^5, 10^6 and 10^7 positions, once each."""
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
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
