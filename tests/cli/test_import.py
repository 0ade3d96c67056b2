"""``svsim import`` through the command line."""

import json

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.recordings import RECORDINGS
from support.shared_data import shared

from svsim.importing.formats import FORMATS

LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 1e-4, "per_kv_token_s": 1e-8},
    "draft": {"fixed_s": 0.001, "per_new_token_s": 1e-5, "per_kv_token_s": 1e-9},
    "companion": {"fixed_s": 0.001, "per_new_token_s": 1e-5, "per_kv_token_s": 1e-9},
    "overhead_per_step_s": 0.0,
    "draft_is_one_pass": False,
}

# file -> format, options, k, mean acceptance length by hand: 1 + accepted / drafts, or as the file says
CASES = {
    "vllm_bench.json": ("vllm-bench", (), 2, 1 + 8080 / 8880),
    "metrics.prom": ("vllm-metrics", (), 6, 1 + 63669 / 43221),
    "vllm.log": ("vllm-log", (), 3, 1 + 150 / 129),
    "vllm_detailed.jsonl": ("vllm-requests", (), 3, 1 + 5 / 3),
    "sglang.jsonl": ("sglang-log", ("--k", "3"), 3, 1.887),
}


@pytest.mark.parametrize("name", CASES)
def test_records_that_users_have(tmp_path, name):
    format_name, options, k, length = CASES[name]
    out, latency = tmp_path / "t.parquet", tmp_path / "linear.json"
    latency.write_text(json.dumps(LINEAR))
    found = svsim_json("import", format_name, shared("cases", "records", name), *options, "--out", out)
    assert found["acceptance"]["k"] == k
    assert found["acceptance"]["mean_acceptance_length"] == pytest.approx(length, rel=0.01)
    assert found["trace"]["hardware"] is None and found["trace"]["acceptance_kind"] == "imported"
    replayed = svsim_json(
        "replay", out, "--latency", latency, "--method", f"sd:k={k}", "--batch", "1", "--jobs", "1"
    )
    (row,) = replayed["rows"]
    assert row["mean_acceptance_length"] == pytest.approx(length, rel=0.01)


def test_a_recording_of_another_model_is_not_named(tmp_path):
    path, out = shared("cases", "records", "sdb_other_model.jsonl"), tmp_path / "t.parquet"
    found = svsim_json("import", "specdecode-bench", path, "--k", "5", "--out", out)["trace"]
    assert "target" not in found["models"] and found["hardware"] is None and found["sampling"] == {}
    assert found["num_speculative_tokens"] == 5
    none = svsim_json("import", "specdecode-bench", path, "--drafter", "ngram", "--k", "5", "--out", out)
    assert none["acceptance"]["mean_acceptance_length"] == 1.0


def test_what_is_told_on_the_terminal(tmp_path):
    paths = RECORDINGS["vllm-metrics, two scrapes"].write(tmp_path)
    out = tmp_path / "t.parquet"
    done = svsim_run(
        "import", "vllm-metrics", *paths, "--requests", "40", "--target", "qwen2.5-32b", "--out", out
    ).stdout
    assert "40 requests" in done and "K = 3, independent chains" in done
    assert "0.700 0.400 0.100" in done and "assumed" in done and "high" in done
    assert "--prompt-tokens" in done and "`" not in done
    told = svsim_json("info", out)["trace"]
    assert told["models"]["target"]["name"] == "Qwen/Qwen2.5-32B"
    assert told["extra"]["source"]["files"] == ["before.prom", "after.prom"]


def test_help_and_refusals(tmp_path):
    text = svsim_run("import", "--help").stdout
    assert all(name in text.replace("-\n", "-").replace("\n  ", " ") for name in FORMATS)
    out = tmp_path / "t.parquet"
    message = svsim_refuses("import", "excel", "f", "--out", out)
    assert "unknown format excel; known: specdecode-bench" in message
    (path,) = RECORDINGS["sglang-log, bench"].write(tmp_path)
    assert "give --k" in svsim_refuses("import", "sglang-log", path, "--out", out)
    assert "expected" in svsim_refuses(
        "import", "sglang-log", path, "--k", "3", "--accept-by-position", "a/b", "--out", out
    )
    assert "no preset for model no/such" in svsim_refuses(
        "import", "sglang-log", path, "--k", "3", "--target", "no/such", "--out", out
    )
    assert not out.exists()
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for made in (a, b):
        svsim_run("import", "sglang-log", path, "--k", "3", "--requests", "5", "--out", made)
    assert a.read_bytes() == b.read_bytes()


def test_what_drafts_is_kept(tmp_path):
    paths, out = RECORDINGS["vllm-metrics"].write(tmp_path), tmp_path / "t.parquet"
    told = svsim_json("import", "vllm-metrics", *paths, "--drafter", "eagle3", "--out", out)["trace"]
    assert told["models"]["draft"]["drafter"] == "eagle3" and told["models"]["target"]["name"] == "qwen"
