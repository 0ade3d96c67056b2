"""A trace read in chunks gives the numbers of the same trace in memory, to the bit, whatever is asked."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from support.small_traces import (
    WITHOUT_SHAPES,
    StairLatency,
    independent_trace,
    with_draft_signals,
    with_method_columns,
)

from svsim.decoding.acceptance_rules import RedrawnCoins
from svsim.decoding.presets import PRESETS, parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.convention import NATIVE
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.trace import parts
from svsim.trace.file import TraceReader, save_trace
from svsim.trace.parts import FileSource, MemorySource, Needed
from svsim.trace.token_trace import TokenTrace

TASKS = ("chat", "code", "prose")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A trace in memory and its file, whose row groups fall together with nothing."""
    made = with_method_columns(with_draft_signals(independent_trace(300, 8, seed=4)))
    made = replace(made, tasks=tuple(TASKS[i % 7 % 3] for i in range(300)))
    path = tmp_path_factory.mktemp("stream") / "t.parquet"
    save_trace(made, path, signal_dtype="float32", rows_per_group=500)
    return MemorySource(made), FileSource(TraceReader(path))


@pytest.fixture(autouse=True)
def streamed(monkeypatch):
    monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


def totals(source, spec, batch_size, **settings):
    method = parse_method(spec, 8, source.signals)
    run = RunSettings((method,), (batch_size,), **settings)
    return ClosedLoopReplay(prepare(source, run, [Deployment(StairLatency(pad=3))])).run()[0]


def same_numbers(monkeypatch, sources, chunk, *asked, **settings):
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", chunk)
    memory, file = (totals(source, *asked, **settings) for source in sources)
    assert memory.num_requests == file.num_requests > 100
    assert memory.sums.emitted_tokens.sum() > 0
    np.testing.assert_array_equal(np.array(astuple(file.sums)), np.array(astuple(memory.sums)))


WAYS = {
    "continuous": {},
    "static": {"refill": "static"},
    "prefill": {"prefill": "include"},
    "static prefill": {"refill": "static", "prefill": "include"},
    "copies": {"batch_of": "copies"},
}


@pytest.mark.parametrize("way", ["continuous", "static prefill"])
@pytest.mark.parametrize("spec", [f"{name}:{WITHOUT_SHAPES.get(name, '')}" for name in PRESETS])
def test_every_method(monkeypatch, sources, spec, way):
    same_numbers(monkeypatch, sources, 900, spec, 7, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunk, batch_size", [(200, 1), (700, 8), (3000, 64), (100_000, 7)])
def test_every_chunk_and_batch(monkeypatch, sources, chunk, batch_size, way):
    same_numbers(monkeypatch, sources, chunk, "sv:k=3", batch_size, **WAYS[way])


@pytest.mark.parametrize("way", ["continuous", "static"])
@pytest.mark.parametrize("spec", ["sd:k=3", "staged:k=3", "sv:k=4"])
def test_redrawn_coins(monkeypatch, sources, spec, way):
    same_numbers(monkeypatch, sources, 900, spec, 7, coins=RedrawnCoins(3, seed=2), **WAYS[way])


@pytest.mark.parametrize("way", ["continuous", "prefill", "static prefill"])
@pytest.mark.parametrize("spec", ["sd:k=3", "sv:k=4"])
def test_in_the_order_of_the_file_chunks_do_not_matter(monkeypatch, sources, spec, way):
    """Sequences and requests carried from chunk to chunk are what they would be in a single one."""
    found = []
    for chunk in (100_000, 900):
        monkeypatch.setattr(parts, "CHUNK_POSITIONS", chunk)
        in_order = replace(NATIVE, in_file_order=True)
        record = totals(sources[1], spec, 5, convention=in_order, **WAYS[way])
        found.append(np.array(astuple(record.sums)))
    np.testing.assert_array_equal(*found)


def test_several_cycles(monkeypatch, sources):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 25_000)
    same_numbers(monkeypatch, sources, 900, "sd:k=3", 7)


def test_a_static_batch_larger_than_a_chunk(monkeypatch, sources):
    """Requests wait for the next chunk until their batch is full; only the last short one is dropped."""
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", 200)
    record = totals(sources[1], "sd:k=3", 64, refill="static")
    assert record.num_requests == 300 and len(record.sums.steps) == 300 // 64
    whole = sources[0].trace.num_output_tokens
    assert record.sums.emitted_tokens.sum() > (300 // 64 * 64 - 64) / 300 * whole.sum()


@pytest.mark.parametrize("cap", [500, 1 << 20])
def test_the_parts_are_the_same(monkeypatch, sources, cap):
    """By task, to the request; the profile is capped alike."""
    monkeypatch.setattr(parts, "CHUNK_POSITIONS", 800)
    monkeypatch.setattr(parts, "MAX_PROFILE_POSITIONS", cap)
    needed = Needed(("similarity",), ("accept_prob",))
    (profile, part), (other_profile, other) = (source.split(0.3, 5, needed) for source in sources)
    same_trace(profile, other_profile)
    if cap == 500:
        assert 500 <= profile.num_positions < 560
    else:
        shares = [profile.tasks.count(t) / sources[0].trace.tasks.count(t) for t in TASKS]
        assert shares == pytest.approx([0.3] * 3, abs=0.01)
    chunks, other_chunks = list(part.chunks()), list(other.chunks())
    assert len(chunks) == len(other_chunks) > 5
    for mine, theirs in zip(chunks, other_chunks, strict=True):
        same_trace(mine, theirs)
    assert all(800 <= chunk.num_positions < 860 for chunk in chunks[:-1]), "cut between requests"
    assert (part.num_requests, part.num_positions) == (other.num_requests, other.num_positions)
    assert sum(chunk.num_positions for chunk in chunks) == part.num_positions
    context = np.concatenate([chunk.num_context_tokens for chunk in chunks])
    for each in (part, other):
        assert each.context_range == (context.min(), context.max())
        assert each.context_mean == pytest.approx(context.mean())
        assert each.context_deviation == pytest.approx(context.std())


def same_trace(one: TokenTrace, other: TokenTrace) -> None:
    assert (one.request_ids, one.tasks) == (other.request_ids, other.tasks)
    np.testing.assert_array_equal(one.first_position, other.first_position)
    np.testing.assert_array_equal(one.num_prompt_tokens, other.num_prompt_tokens)
    np.testing.assert_array_equal(one.target.num_accepted, other.target.num_accepted)
    np.testing.assert_array_equal(one.target.accept_prob, other.target.accept_prob)
    np.testing.assert_array_equal(
        one.observable.signals["similarity"], other.observable.signals["similarity"]
    )
