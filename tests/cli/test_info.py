"""``svsim info`` end to end: the JSON document, the terminal, one line for bad input."""

import json

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run
from support.small_traces import independent_trace

from svsim.trace.file import save_trace

ROLE = {"fixed_s": 0.01, "per_new_token_s": 1e-5, "per_kv_token_s": 1e-9}
LINEAR = {"kind": "linear", "target": ROLE, "draft": ROLE, "overhead_per_step_s": 0.001,
          "draft_is_one_pass": False}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("info")
    save_trace(independent_trace(60, 8, seed=1), folder / "trace.parquet")
    save_trace(independent_trace(60, 4, seed=1, signals=False), folder / "bare.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder


def test_json_document(files):
    found = svsim_json("info", files / "trace.parquet", "--latency", files / "linear.json")
    assert found["trace"]["file"] == "trace.parquet" and found["trace"]["chains"] == "independent"
    assert found["sizes"]["num_speculative_tokens"] == 8
    assert [f["k"] for f in found["fixed_lengths"]] == list(range(1, 9))
    assert found["deployment"] == "linear"
    assert {(s["k"], s["batch_size"]) for s in found["slow_steps"]} == {
        (k, b) for k in (1, 3, 5, 7) for b in (1, 8, 32)
    }
    assert [b["name"] for b in found["information"]["beliefs"]] == ["S and A", "S", "A"]
    assert len(found["information"]["paper"]) == 8
    assert len(found["checks"]) == 6


def test_terminal_shows_every_section(files):
    text = svsim_run("info", files / "trace.parquet", "--latency", files / "linear.json").stdout
    for words in ("synthetic acceptance", "60 requests", "Acceptance", "Steps slower than target-only",
                  "autocorrelation", "Information", "I(X; S, A)", "Checks", "E[A | S] = S"):  # fmt: skip
        assert words in text


def test_terminal_of_a_bare_trace_says_what_is_absent(files, tmp_path):
    out = tmp_path / "info.json"
    text = svsim_process("info", files / "bare.parquet", "--json", out).stdout
    assert "no slow steps" in text and "no information gain" in text
    assert "Information" not in text and "Steps slower" not in text
    assert json.loads(out.read_text())["information"] is None


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--profile-split", "0"], "profile-split"),
        (["--seed", "-1"], "seed"),
        (["--latency", "missing.json"], "missing.json"),
        (["--hardware", "h100_sxm:tp=4"], "step times"),
        (["--json", "/nonexistent/x.json"], "cannot be written"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_bad_usage_is_one_line(files, extra, says):
    assert says in svsim_refuses("info", files / "trace.parquet", *extra)


def test_a_file_that_is_no_trace(tmp_path):
    path = tmp_path / "trace.parquet"
    path.write_bytes(b"hello " * 50)
    assert "trace.parquet" in svsim_refuses("info", path)
