"""An option that a run would ignore is an error, or a note where scripts share options over methods."""

import json

import pytest
from support.command_line import svsim_json, svsim_refuses
from support.trace_examples import make_trace

from svsim.trace.file import save_trace

PASS = {"fixed_s": 0.01, "per_new_token_s": 1e-4, "per_kv_token_s": 0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_trace(make_trace([30] * 40, 2), "T.parquet")
    linear = {"kind": "linear", "target": PASS, "draft": PASS, "overhead_per_step_s": 0}
    (tmp_path / "linear.json").write_text(json.dumps({**linear, "draft_is_one_pass": False}))
    price = {"usd_per_gpu_hour": {"my_gpu": [2.5, "here"]}, "sources": {"here": {"title": "x"}}}
    (tmp_path / "prices.json").write_text(json.dumps(price))
    return ["replay", "T.parquet", "--latency", "linear.json", "--method", "sd:k=2", "--batch", "2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out-of-range", "x"], "expected one of raise, clip, extrapolate"),
        (["--out-of-range", "clip"], "--out-of-range clip has no effect: a linear latency file"),
        (["--prices", "nope.json"], "nope.json: no such file"),
        (["--prices", "prices.json"], "--prices prices.json has no effect: it has no price of linear"),
        (["--gpu-memory-utilization", "0.5"], "--gpu-memory-utilization has no effect"),
        (["--hardware", "h100_sxm"], "leave --hardware out"),
        (["--latency", ""], "--latency is empty"),
    ],
)
def test_an_error(run, words, says):
    assert says in svsim_refuses(*run, *words)


def test_what_is_the_case_anyway_is_no_error(run):
    svsim_json(*run, "--out-of-range", "extrapolate")


def test_a_split_without_a_belief_is_noted(run):
    notes = svsim_json(*run, "--profile-split", "0.3")["notes"]
    assert any(note.startswith("profile_split has no effect") for note in notes)
    assert svsim_json(*run)["notes"] == []


def test_a_model_that_no_method_runs_is_noted(run):
    named = ["--target", "llama-3.1-8b", "--companion", "llama-3.2-3b"]
    priced = [
        "replay",
        "T.parquet",
        "--latency",
        "roofline",
        "--hardware",
        "h100_sxm",
        "--batch",
        "2",
        *named,
    ]
    run_td = svsim_json(*priced, "--draft", "llama-3.2-1b", "--method", "td")["notes"]
    assert [note.split(":")[0] for note in run_td if "has no effect" in note] == [
        "draft has no effect",
        "companion has no effect",
    ]
    heads = svsim_json(*priced, "--drafter", "eagle3", "--method", "sd:k=2")["notes"]
    assert [note for note in heads if "has no effect" in note] == [
        "companion has no effect: no method here runs it"
    ]
    td = svsim_json(*priced, "--drafter", "eagle3", "--method", "td")["notes"]
    assert "drafter has no effect: no method here runs it" in td


def test_info_tells_of_one_deployment(run):
    message = svsim_refuses("info", "T.parquet", "--hardware", "h100_sxm", "--hardware", "h200_sxm")
    assert message.startswith("--hardware: slow steps are told of one deployment")


@pytest.mark.parametrize("count", ["1000000000000", "9" * 40])
def test_a_synthetic_trace_larger_than_memory_says_what_it_needs(run, count):
    message = svsim_refuses("synth", "--num-requests", count, "--out", "S.parquet")
    assert "need about" in message
    assert "ask for --num-requests up to" in message


def test_validate_ways_that_would_ignore_an_option(run):
    message = svsim_refuses("validate", "--live", ".", "--greedy", "--temperature", "0.5")
    assert message.startswith("--temperature has no effect with --greedy")
    words = ["--loop", "--target", "qwen2.5-0.5b", "--table", "linear.json", "--calibration-seconds", "3"]
    assert "--calibration-seconds has no effect" in svsim_refuses("validate", "T.parquet", *words)
