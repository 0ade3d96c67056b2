"""Captures with real (tiny) models: what is written, resumed, refused."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.tiny_captures import settings_for
from torch import Tensor

from svsim.errors import InfeasibleError, InputError, TraceError
from svsim.progress import Progress
from svsim.trace.file import load_trace
from svsim.trace_capture import shards
from svsim.trace_capture.cached_model import CachedModel
from svsim.trace_capture.capture import capture
from svsim.trace_capture.prompts import read_prompts
from svsim.trace_capture.settings import CaptureSettings, SamplingSettings


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingSettings(temperature=0.8),
        SamplingSettings(greedy=True),
        SamplingSettings(deterministic_draft=True),
    ],
    ids=["sampled", "greedy", "deterministic-draft"],
)
def test_trace_file(triplet: Path, tmp_path: Path, sampling: SamplingSettings) -> None:
    out = tmp_path / "x.parquet"
    seen: list[Progress] = []
    report = capture(settings_for(triplet, out, sampling=sampling, dataset="test texts"), seen.append)
    trace = load_trace(out)
    assert (
        (report.num_requests, report.num_positions) == (10, 120) == (trace.num_requests, trace.num_positions)
    )
    assert seen[-1].done == seen[-1].total == 120
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    meta = trace.metadata
    assert (meta.acceptance_kind, meta.chains, meta.hardware, meta.dataset) == (
        "captured",
        "coherent",
        "cpu",
        "test texts",
    )
    assert meta.is_greedy == sampling.greedy
    # greedy settings mean a greedy draft, too
    assert meta.sampling["deterministic_draft"] == (sampling != SamplingSettings(temperature=0.8))
    assert meta.models["draft"]["geometry"]["hidden_size"] == 16
    prompts = read_prompts(triplet / "prompts_mixed.jsonl")
    np.testing.assert_array_equal(trace.num_prompt_tokens, [len(p.token_ids or ()) for p in prompts])
    assert trace.tasks is not None and set(trace.tasks) == {"mixed"}
    assert not out.with_name("x.parquet.shards").exists()
    assert not {name for name in trace.observable.signals if name.startswith(("target", "accept"))}
    accept, accepted = trace.target.accept_prob, trace.target.num_accepted
    assert accept is not None
    leading = np.cumprod(accept > 0, -1).sum(-1)
    assert (accepted <= leading).all()
    if sampling.greedy:
        assert set(np.unique(accept)) <= {0.0, 1.0}
        np.testing.assert_array_equal(accepted, leading)
        assert trace.observable.signals["draft_rank"].max() == 0
    bias = meta.extra["capture"]["rule_bias"]["companion_accept>=0.6"]
    assert bias["num_positions"] == 60 and 0 < bias["mean_total_variation"] < 1


def test_same_seed_same_bytes(triplet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    files = []
    for seed in (0, 0, 1):
        out = tmp_path / "x.parquet"
        capture(settings_for(triplet, out, seed=seed))
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.tiny_captures import settings_for
from svsim.trace_capture.capture import capture

def stop_in_the_third_batch(progress):
    if progress.done > 2.5 * 48:
        time.sleep(600)

capture(settings_for(Path({triplet!r}), Path({out!r})), stop_in_the_third_batch)
"""


def test_killed_and_resumed_gives_the_same_bytes(
    triplet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    whole, out = tmp_path / "whole.parquet", tmp_path / "x.parquet"
    capture(settings_for(triplet, whole))
    code = KILLED.format(tests=str(Path(__file__).parents[1]), triplet=str(triplet), out=str(out))
    # one thread, as in this process: the bytes are compared
    child = subprocess.Popen([sys.executable, "-c", code])
    second = out.with_name("x.parquet.shards") / "shard-00001.npz"
    deadline = time.monotonic() + 60
    while not second.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert second.exists() and not out.exists()
    with pytest.raises(InputError, match=r"unfinished capture; continue it with `resume`"):
        capture(settings_for(triplet, out))
    with pytest.raises(InputError, match=r"was started with seed = 0, now 3"):
        capture(settings_for(triplet, out, seed=3, resume=True))
    modified = second.stat().st_mtime_ns
    seen: list[Progress] = []
    capture(settings_for(triplet, out, resume=True), lambda p: (seen.append(p), None)[1])
    assert seen[0].total == 2 * 12, "finished batches are not run again"
    assert modified > 0
    assert out.read_bytes() == whole.read_bytes()


def test_full_disk_keeps_finished_batches(
    triplet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.parquet"
    write = shards.write_atomically

    def full_after_one(path: Path, data: bytes) -> None:
        if path.name == "shard-00001.npz":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(shards, "write_atomically", full_after_one)
    with pytest.raises(InputError, match=r"No space left on device\); 1 finished batches are kept.*resume"):
        capture(settings_for(triplet, out))
    monkeypatch.undo()
    assert capture(settings_for(triplet, out, resume=True)).num_requests == 10


def test_out_of_memory_names_a_batch_that_fits(
    triplet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CachedModel.logits

    def small_device(self: CachedModel, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        if self.cache.num_sequences > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, rows, tokens, first_position)

    monkeypatch.setattr("svsim.trace_capture.model_loading.check_reads_chains", lambda *_: None)
    monkeypatch.setattr(CachedModel, "logits", small_device)
    with pytest.raises(InfeasibleError, match=r"out of memory with a batch of 4 requests; a batch of 2 fits"):
        capture(settings_for(triplet, tmp_path / "x.parquet"))


def test_not_a_number_is_counted_and_not_recorded(
    triplet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.parquet"
    original = CachedModel.logits

    def sometimes_broken(self: CachedModel, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        logits = original(self, rows, tokens, first_position).clone()
        if self.cache.num_sequences == 2:  # the last batch: requests 8 and 9
            logits[rows == 1] = torch.nan
        return logits

    monkeypatch.setattr("svsim.trace_capture.model_loading.check_reads_chains", lambda *_: None)
    monkeypatch.setattr(CachedModel, "logits", sometimes_broken)
    report = capture(settings_for(triplet, out))
    trace = load_trace(out)
    assert (report.num_requests, report.num_dropped_not_a_number) == (9, 1)
    assert "mixed-0009" not in trace.request_ids
    assert trace.metadata.extra["capture"]["num_requests_dropped_not_a_number"] == 1


def test_step_times_travel_inside(triplet: Path, tmp_path: Path) -> None:
    from svsim.calibration.calibrate import calibrate
    from svsim.calibration.settings import CalibrationSettings
    from svsim.latency.measured import MeasuredLatency

    table, out = tmp_path / "times.parquet", tmp_path / "x.parquet"
    calibrate(
        CalibrationSettings(
            table,
            *(str(triplet / role) for role in ("target", "draft", "companion")),
            num_speculative_tokens=4,
            num_sequences=(1, 4),
            contexts=(8, 32),
            num_repeats=3,
            device="cpu",
        )
    )
    capture(settings_for(triplet, out, step_times=table, max_requests=2))
    times = load_trace(out).step_times
    assert times is not None
    assert {role.value for role in MeasuredLatency.from_step_times(times).roles} == {
        "target",
        "draft",
        "companion",
    }


def broken(triplet: Path, tmp_path: Path, how: str) -> CaptureSettings:
    """Settings whose input is bad in one way."""
    settings = settings_for(triplet, tmp_path / "x.parquet")
    folder = tmp_path / "draft"
    shutil.copytree(triplet / "draft", folder)
    prompts = tmp_path / "prompts.jsonl"
    if how == "no such model":
        return replace(settings, draft=str(tmp_path / "nowhere"))
    if how == "cut safetensors":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "pickle only":
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
    elif how == "other vocabulary":
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        first, second = list(vocabulary)[40:42]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif how == "garbled config":
        (folder / "config.json").write_text("{")
    else:
        prompts.write_text(how)
        return replace(settings, prompts=prompts)
    return replace(settings, draft=str(folder))


BAD_INPUTS = {
    "no such model": r"nowhere: no such file or folder; expected a local folder or hub id with config.json",
    "cut safetensors": r"draft: .*safetensors",
    "pickle only": r"draft: no model could be read",
    "other vocabulary": r"draft: the draft's tokenizer differs from the target's.* in 4 entries",
    "garbled config": r"draft: no (tokenizer|model) could be read",
    '{"prompt": ""}': r"prompts.jsonl:1: the prompt is empty",
    '{"prompt_token_ids": []}': r"prompts.jsonl:1: the prompt is empty",
    '{"prompt_token_ids": [1, -2]}': r"prompts.jsonl:1: prompt_token_ids must be",
    '{"prompt_token_ids": [99999]}': r"prompts.jsonl:1: token id 99999 is outside the vocabulary of 320",
    '{"prompt": "a", "prompt_token_ids": [1]}': r"prompts.jsonl:1: expected an object with either",
    "not json": r"prompts.jsonl:1: not valid JSON",
    "[1]": r"prompts.jsonl:1: expected an object",
    "\n\n": r"prompts.jsonl: holds no prompt",
    json.dumps(
        {"prompt_token_ids": [1] * 600}
    ): r"prompts.jsonl:1: the prompt has 600 tokens; at most 496 leave room",
    '{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}': r"prompts.jsonl:2: id 'a' is already used",
}


@pytest.mark.parametrize("how", BAD_INPUTS, ids=lambda how: how[:30])
def test_bad_input_is_refused_in_one_line(triplet: Path, tmp_path: Path, how: str) -> None:
    with pytest.raises(InputError, match=BAD_INPUTS[how]) as caught:
        capture(broken(triplet, tmp_path, how))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.parquet").exists()


def test_bad_step_times_are_refused_before_the_work(triplet: Path, tmp_path: Path) -> None:
    times, out = tmp_path / "times.parquet", tmp_path / "x.parquet"
    pq.write_table(pa.table({"role": ["target"]}), times)
    with pytest.raises(TraceError, match=r"times\.parquet: svsim\.step_times: column hardware is missing"):
        capture(settings_for(triplet, out, step_times=times))
    assert not out.with_name("x.parquet.shards").exists()


def test_greedy_decoding_has_no_temperature() -> None:
    with pytest.raises(InputError, match="greedy decoding uses no temperature, top_k or top_p"):
        SamplingSettings(greedy=True, temperature=0.7)


def test_text_prompts(triplet: Path, tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "x.parquet"
    prompts.write_text("def main():\\n    return 1\n\nThe second prompt\n")
    assert [p.text for p in read_prompts(prompts)] == ["def main():\n    return 1", "The second prompt"]
    capture(settings_for(triplet, out, prompts=prompts))
    trace = load_trace(out)
    assert trace.request_ids == ("line-1", "line-3")
    assert trace.tasks is None


def test_long_prompts_can_be_skipped(triplet: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt_token_ids": [1] * n} for n in (5, 600, 7)]
    prompts.write_text("\n".join(map(json.dumps, rows)))
    report = capture(settings_for(triplet, tmp_path / "x.parquet", prompts=prompts, long_prompts="skip"))
    assert (report.num_requests, report.num_skipped_too_long) == (2, 1)


def test_no_gpu_is_an_error_unless_the_cpu_is_asked_for(triplet: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device found; choose the device cpu"):
        capture(settings_for(triplet, tmp_path / "x.parquet", device="cuda"))
