"""Samples of whole requests: everything where it fits, a fixed pseudo-random share where it does not."""

import numpy as np
import pytest
from support.trace_examples import assert_same_trace, make_trace

from svsim.trace import sample as sampling
from svsim.trace.file import TraceReader, save_trace
from svsim.trace.parts import FileSource, MemorySource, concatenate
from svsim.trace.sample import sample_requests
from svsim.trace.split import profile_mask_by_threshold

SIGNALS = ("similarity", "draft_prob", "accept_prob", "target_overlap")


@pytest.fixture(scope="module")
def trace():
    lengths = np.random.default_rng(0).integers(5, 40, 400).tolist()
    return make_trace(lengths, k=3, signals=SIGNALS)


@pytest.fixture(scope="module")
def source(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "trace.parquet"
    save_trace(trace, path, signal_dtype="float32", rows_per_group=1000)
    return FileSource(TraceReader(path))


@pytest.fixture
def short_of_memory(monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLE_POSITIONS", 3000)


def test_what_fits_is_whole(trace, source):
    for found in (sample_requests(source), sample_requests(MemorySource(trace))):
        assert found.is_whole
        assert_same_trace(found.trace, trace)
        assert found.sizes.num_output_tokens.sum() == trace.num_positions
        assert sum(found.sizes.requests_of_task.values()) == trace.num_requests


def test_a_long_trace_is_sampled_by_request(trace, source, short_of_memory):
    found = sample_requests(source, max_positions=5000)
    assert not found.is_whole
    place = {name: r for r, name in enumerate(trace.request_ids)}
    chosen = np.array([place[name] for name in found.trace.request_ids])
    assert np.all(np.diff(chosen) > 0)
    assert_same_trace(found.trace, trace.select(chosen))
    share = 3000 / trace.num_positions
    assert len(chosen) == pytest.approx(400 * share, abs=4 * np.sqrt(400 * share * (1 - share)))


def test_sizes_are_of_the_whole_trace(trace, source, short_of_memory):
    sizes = sample_requests(source, max_positions=5000).sizes
    np.testing.assert_array_equal(sizes.num_output_tokens, trace.num_output_tokens)
    np.testing.assert_array_equal(sizes.num_prompt_tokens, trace.num_prompt_tokens)
    names = np.array(trace.tasks)
    for task in set(trace.tasks):
        assert sizes.requests_of_task[task] == (names == task).sum()
        assert sizes.positions_of_task[task] == trace.num_output_tokens[names == task].sum()


def test_the_sample_is_the_same_every_time_and_independent_of_the_split(source, short_of_memory):
    one, two = (sample_requests(source, max_positions=5000).trace for _ in range(2))
    assert one.request_ids == two.request_ids
    in_profile = profile_mask_by_threshold(one.request_ids, 0.5, 0).mean()
    assert in_profile == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(one.num_requests))


def test_a_sample_holds_at_least_one_request(source, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLE_POSITIONS", 0)
    assert sample_requests(source, max_positions=10).trace.num_requests == 1


def test_concatenation_undoes_selection(trace):
    parts = [trace.select(np.arange(start, min(start + 90, 400))) for start in range(0, 400, 90)]
    assert_same_trace(concatenate(parts), trace)
