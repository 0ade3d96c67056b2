"""One largest K: chains up to it replay, longer ones are refused in one line wherever they come from."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace
from support.specdecode_bench import specdecode_bench_trace
from support.trace_examples import METADATA, example_columns, write_raw

import svsim
from svsim.decoding.presets import parse_method
from svsim.errors import InputError
from svsim.latency.draft_heads import _trained_tokens
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.synthetic.settings import SyntheticSettings, TaskSettings
from svsim.trace.file import TraceReader
from svsim.trace.token_trace import TargetColumns
from svsim.trace_capture.settings import CaptureSettings

TOO_LONG = MAX_SPECULATIVE_TOKENS + 1


def test_chains_of_the_largest_k_keep_their_acceptance_length():
    trace = independent_trace(3, MAX_SPECULATIVE_TOKENS, output_tokens=(600, 601), signals=False)
    accepted = np.full(trace.num_positions, MAX_SPECULATIVE_TOKENS, np.int16)
    trace = replace(trace, target=TargetColumns(accepted))
    row = svsim.replay(
        trace, methods=[f"sd:k={MAX_SPECULATIVE_TOKENS}"], batch_sizes=[1], latency=StairLatency()
    ).rows[0]
    assert row.mean_acceptance_length == MAX_SPECULATIVE_TOKENS + 1
    assert row.draft_acceptance_rate == 1.0


def capture(k):
    return CaptureSettings("target", "draft", "companion", "prompts", "out", num_speculative_tokens=k)


def bench_line(emitted):
    acceptance = {"acc_len": [emitted]}
    return json.dumps(
        {"prompt_token_ids": [1], "generated_token_ids": [2], "acc_eagle": acceptance, "id": "a"}
    )


def synthetic(k):
    tasks = (TaskSettings(0.8),)
    return SyntheticSettings(tasks=tasks, num_speculative_tokens=k)


def test_longer_chains_are_refused_in_one_line(tmp_path):
    write_raw(tmp_path / "t", example_columns(), {**METADATA, "num_speculative_tokens": TOO_LONG})
    (tmp_path / "bench").write_text(bench_line(TOO_LONG + 1))
    refused = (
        lambda: independent_trace(2, TOO_LONG),
        lambda: TraceReader(tmp_path / "t"),
        lambda: specdecode_bench_trace(tmp_path / "bench"),
        lambda: parse_method(f"sd:k={TOO_LONG}"),
        lambda: parse_method(f"vllm-ladder:ladder=8-{TOO_LONG}"),
        lambda: capture(TOO_LONG),
        lambda: synthetic(TOO_LONG),
    )
    for call in refused:
        with pytest.raises(InputError, match=rf"{MAX_SPECULATIVE_TOKENS}\b|{TOO_LONG}\b") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_largest_k_is_allowed_everywhere(tmp_path):
    (tmp_path / "bench").write_text(bench_line(TOO_LONG))
    assert specdecode_bench_trace(tmp_path / "bench").num_speculative_tokens == MAX_SPECULATIVE_TOKENS
    assert capture(MAX_SPECULATIVE_TOKENS).num_speculative_tokens == MAX_SPECULATIVE_TOKENS
    assert synthetic(MAX_SPECULATIVE_TOKENS).num_speculative_tokens == MAX_SPECULATIVE_TOKENS
    assert parse_method(f"vllm-ladder:ladder=8-{MAX_SPECULATIVE_TOKENS}").num_speculative_tokens == (
        MAX_SPECULATIVE_TOKENS
    )
    told = {k: _trained_tokens({"block_size": k + 1}) for k in (MAX_SPECULATIVE_TOKENS, TOO_LONG)}
    assert told == {MAX_SPECULATIVE_TOKENS: MAX_SPECULATIVE_TOKENS, TOO_LONG: None}
