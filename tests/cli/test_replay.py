"""``svsim replay`` end to end: rows, files, errors, and the same bytes for any number of workers."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from support.command_line import svsim_json, svsim_process, svsim_refuses, svsim_run
from support.small_traces import LINEAR, independent_trace

from svsim.cli.app import cli
from svsim.metrics.rows import ResultRow
from svsim.trace.file import save_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    save_trace(independent_trace(60, 8, seed=1), folder / "trace.parquet")
    save_trace(independent_trace(60, 4, seed=1, signals=False), folder / "bare.parquet")
    (folder / "linear.json").write_text(json.dumps(LINEAR))
    return folder


def args(files: Path, trace: str = "trace.parquet") -> list[object]:
    return ["replay", files / trace, "--latency", files / "linear.json"]


def test_rows_have_every_documented_field_and_add_up(files):
    result = svsim_json(*args(files), "--batch", "1,8")
    assert result["trace"]["acceptance_kind"] == "synthetic"
    assert [(r["method"], r["batch_size"]) for r in result["rows"]] == [
        (m, b) for b in (1, 8) for m in ("td", "sd", "sd", "sd", "sd", "sv")
    ]
    for row in result["rows"]:
        assert set(row) == set(ResultRow.__dataclass_fields__)
        assert row["hardware"] == "linear" and row["latency_source"] == "linear"
        assert row["tensor_parallel"] is None
        assert row["num_requests"] == 30  # half of 60 is the profile part
        assert row["sd_baseline"] == "sd:k=5"
        assert row["replay_kind"] == "approximate"  # independent chains
        assert row["lossless"] is (row["method"] != "sv")
        parts = sum(row[f"{p}_time_s"] for p in ("overhead", "draft", "companion", "verify"))
        assert row["step_time_s"] == pytest.approx(parts, rel=1e-12)
        assert row["goodput_ci_low"] <= row["goodput_tok_s"] <= row["goodput_ci_high"]
        assert row["tpot_s"] == pytest.approx(row["batch_size"] / row["goodput_tok_s"], rel=1e-9)
        assert row["num_emitted_tokens"] / (row["num_steps"] * row["step_time_s"]) == pytest.approx(
            row["goodput_tok_s"], rel=0.5 / row["num_steps"] + 1e-9
        )
        if row["method"] == "td":
            assert row["mean_acceptance_length"] == 1 and row["mean_verification_length"] == 0
            assert row["draft_acceptance_rate"] is None and row["verified_acceptance_rate"] is None
            assert row["draft_time_s"] == row["companion_time_s"] == 0
        else:
            accepted = row["mean_acceptance_length"] - 1
            assert row["verified_acceptance_rate"] == pytest.approx(
                accepted / row["mean_verification_length"]
            )
            assert row["rejected_share_of_verified"] == pytest.approx(1 - row["verified_acceptance_rate"])
        assert all(v is None or not (isinstance(v, float) and math.isnan(v)) for v in row.values())


def test_speedups_are_ratios_of_goodput(files):
    rows = svsim_json(
        *args(files), "--batch", "4", "--method", "td", "--method", "sd:k=1", "--method", "sd:k=7"
    )
    by = {r["method"] + str(r["params"].get("k", "")): r for r in rows["rows"]}
    best = max(by["sd1"], by["sd7"], key=lambda r: r["goodput_tok_s"])
    for row in by.values():
        assert row["speedup_vs_td"] == pytest.approx(row["goodput_tok_s"] / by["td"]["goodput_tok_s"])
        assert row["speedup_vs_sd"] == pytest.approx(row["goodput_tok_s"] / best["goodput_tok_s"])
        assert row["sd_baseline"] == f"sd:k={best['params']['k']}"
        assert row["num_requests"] == 60  # no belief: the whole trace


def test_target_only_runs_unasked_but_shows_only_if_asked(files):
    rows = svsim_json(*args(files), "--batch", "2", "--method", "sv:k=3")["rows"]
    assert [r["method"] for r in rows] == ["sv"]
    assert rows[0]["speedup_vs_td"] is not None
    assert rows[0]["speedup_vs_sd"] is None and rows[0]["sd_baseline"] is None


@pytest.mark.parametrize(
    "extra", [[], ["--refill", "static"], ["--coins", "redraw:3"], ["--prefill", "include"]]
)
def test_same_bytes_for_any_number_of_workers(files, extra):
    """And in another process: another hash seed, nothing kept from before."""
    runs = ((svsim_run, 1), (svsim_run, 2), (svsim_process, 3))
    outputs = {
        run(*args(files), "--batch", "1,4", *extra, "--jobs", jobs, "--json", "-").stdout
        for run, jobs in runs
    }
    assert len(outputs) == 1


def test_another_seed_gives_another_split(files):
    first, second = (svsim_json(*args(files), "--batch", "4", "--seed", seed)["rows"] for seed in (0, 1))
    assert first[2]["goodput_tok_s"] != second[2]["goodput_tok_s"]


def test_csv_holds_the_same_rows(files, tmp_path):
    out = tmp_path / "rows.csv"
    result = svsim_json(*args(files), "--batch", "1,2", "--csv", out)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [r["params"] for r in rows] == ["", "k=1", "k=2", "k=3", "k=5", "k=7"] * 2
    assert [float(r["goodput_tok_s"]) for r in rows] == [r["goodput_tok_s"] for r in result["rows"]]
    assert rows[0]["draft_acceptance_rate"] == ""


def test_a_reader_that_has_left_does_not_cost_the_page(files, tmp_path, monkeypatch):
    """As in ``svsim replay ... --report out.html | head``."""

    def closed_pipe(*_):
        raise BrokenPipeError

    monkeypatch.setattr("svsim.report.terminal.print_table", closed_pipe)
    words = [
        *map(str, args(files)),
        "--method",
        "sd:k=3",
        "--batch",
        "4",
        "--report",
        str(tmp_path / "out.html"),
    ]
    with pytest.raises(BrokenPipeError):
        cli.main(words, standalone_mode=False)
    assert "</html>" in (tmp_path / "out.html").read_text()


def test_terminal_shows_provenance_and_a_recommendation(files):
    text = svsim_run(*args(files), "--batch", "1,8").stdout
    assert "synthetic acceptance" in text and "linear step times" in text
    assert "is fastest" in text and "Not lossless" in text
    assert "closed loop" in text


def test_default_methods_fit_a_bare_trace_and_say_so(files):
    result = svsim_json(*args(files, "bare.parquet"))
    assert {(r["method"], r["params"].get("k")) for r in result["rows"]} == {
        ("td", None),
        *(("sd", k) for k in (1, 2, 3, 4)),
    }
    assert any("sv is left out" in note for note in result["notes"])
    assert max(r["batch_size"] for r in result["rows"]) == 48  # 64 exceeds the 60 requests
    assert any("60 requests" in note for note in result["notes"])


def test_prefill_and_static_cost_throughput(files):
    plain, prefill, static = (
        svsim_json(*args(files), "--batch", "8", "--method", "td", *extra)["rows"][0]
        for extra in ([], ["--prefill", "include"], ["--refill", "static"])
    )
    assert prefill["prefill_time_s"] > 0 == plain["prefill_time_s"]
    assert prefill["goodput_tok_s"] < plain["goodput_tok_s"]
    assert static["goodput_tok_s"] < plain["goodput_tok_s"]


def test_copies_have_no_limit_and_match_one_request_each(files):
    rows = svsim_json(*args(files), "--batch", "128", "--batch-of", "copies", "--method", "sd:k=3")["rows"]
    assert rows[0]["batch_size"] == 128


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--batch", "-3"], "--batch -3"),
        (["--batch", "eight"], "whole numbers"),
        (["--batch", ""], "empty"),
        (["--batch", "61", "--method", "sd:k=2"], "60 requests"),
        (["--method", "sd:k=9"], "K = 8"),
        (["--method", "sd:k=0"], "k=0"),
        (["--method", "sd:k=two"], "not a whole number"),
        (["--method", "sd:q=3"], "unknown option"),
        (["--method", "sd:k=3,k=4"], "twice"),
        (["--method", "svv"], "did you mean"),
        (["--method", "sv:objective=fast"], "choose one of"),
        (["--profile-split", "0"], "profile split of 0"),
        (["--profile-split", "1.5"], "out of range"),
        (["--profile-split", "nan"], "out of range"),
        (["--coins", "redraw:0"], "out of range"),
        (["--coins", "flip"], "unknown"),
        (["--convention", "other"], "choose one of"),
        (["--refill", "sometimes"], "choose one of"),
        (["--convention", "specdecode-bench", "--refill", "continuous", "--method", "td"], "fixes"),
        (["--seed", "-1"], "out of range"),
        (["--jobs", "0"], "out of range"),
        (["--hardware", "h100_sxm"], "--hardware"),
        (["--latency", "missing.json"], "missing.json"),
        (["--latency", "trace"], "no step times"),
        (["--json", "/nonexistent/rows.json"], "cannot be written"),
        (["--json", "-", "--csv", "-"], "only one"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(files, extra, says):
    assert says in svsim_refuses(*args(files), *extra)


def test_missing_signal_is_named_with_the_remedy(files):
    message = svsim_refuses(*args(files, "bare.parquet"), "--method", "sv:k=3")
    assert "similarity" in message and "companion_accept" in message and "svsim capture" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        (json.dumps({**LINEAR, "target": {**LINEAR["target"], "fixed_s": -1}}), "fixed_s"),
        (json.dumps({**LINEAR, "overhead_per_step_s": math.nan}), "NaN"),
        (json.dumps({k: v for k, v in LINEAR.items() if k != "target"}), "target"),
        (json.dumps({k: v for k, v in LINEAR.items() if k != "draft"}), "draft"),
    ],
)
def test_bad_latency_files(files, tmp_path, content, says):
    path = tmp_path / "latency.json"
    path.write_text(content)
    assert says in svsim_refuses("replay", files / "trace.parquet", "--latency", path)


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "folder"])
def test_bad_trace_files(files, tmp_path, kind):
    path = tmp_path / "trace.parquet"
    data = (files / "trace.parquet").read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "text": b"hello " * 100}[kind])
    assert "trace.parquet" in svsim_refuses("replay", path, "--latency", files / "linear.json")


def test_failed_writes_leave_nothing_behind(files, tmp_path):
    out = tmp_path / "rows.json"
    svsim_refuses(*args(files), "--json", out, "--method", "nope")
    full = Path("/dev/full")
    if full.exists():
        svsim_refuses(*args(files), "--batch", "1", "--json", full)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(files):
    done = svsim_process(*args(files), "--method", "nope", "--debug", code=2)
    assert "Traceback" in done.stderr


def test_help_has_examples_and_every_option_of_the_contract():
    text = svsim_run("replay", "--help").stdout
    for option in ("method", "batch", "hardware", "latency", "refill", "batch-of", "prefill", "profile-split",
                   "coins", "convention", "seed", "jobs", "json", "csv"):  # fmt: skip
        assert f"--{option}" in text
    assert "Examples" in text


def test_methods_lists_every_preset_with_its_source():
    result = svsim_json("methods")
    names = {m["method"]: m for m in result["methods"]}
    assert {"td", "sd", "sv", "oracle"} <= set(names)
    assert names["sv"]["lossless"] == "lossless-greedy-only"
    assert "2509.24328" in names["sv"]["source"]
