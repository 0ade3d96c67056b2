"""Results of serving benchmarks, as their tools write them, against a replay that holds prefills."""

import json
from pathlib import Path

import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.recordings import BENCH, SGLANG_BENCH, jsonl
from support.shared_data import shared

from svsim.errors import InputError
from svsim.importing.formats import import_acceptance
from svsim.importing.record import ImportOptions
from svsim.trace.file import save_trace
from svsim.validation.bench import read_bench
from svsim.validation.bench_files import read_runs

LATENCY = {
    "kind": "linear",
    "target": {"fixed_s": 0.008, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "draft": {"fixed_s": 0.0004, "per_new_token_s": 1e-6, "per_kv_token_s": 1e-9},
    "companion": {"fixed_s": 0.001, "per_new_token_s": 1e-5, "per_kv_token_s": 1e-9},
    "overhead_per_step_s": 0.0,
    "draft_is_one_pass": False,
}


def distribution(mean: float) -> dict:
    return {"successful": {"mean": mean, "median": mean}, "errored": {"mean": 0.0}}


GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": streams}},
            "metrics": {
                "output_tokens_per_second": distribution(100.0 * streams),
                "time_to_first_token_ms": distribution(30.0),
                "inter_token_latency_ms": distribution(10.0),
                "time_per_output_token_ms": distribution(10.2),
                "prompt_token_count": distribution(100.0),
                "output_token_count": distribution(200.0),
                "request_concurrency": distribution(streams - 0.3),
            },
        }
        for streams in (1, 8)
    ]
}
AIPERF = {
    "input_config": {"loadgen": {"concurrency": 8}},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 800.0},
    "time_to_first_token": {"unit": "ms", "avg": 30.0, "p99": 60.0},
    "inter_token_latency": {"unit": "ms", "avg": 10.0},
    "input_sequence_length": {"unit": "tokens", "avg": 100.0},
    "output_sequence_length": {"unit": "tokens", "avg": 200.0},
}
AIPERF_CSV = """\
Metric,avg,min,max,p99
Time to First Token (ms),30.00,20.00,60.00,58.00
Inter Token Latency (ms),10.00,8.00,12.00,11.90
Output Sequence Length (tokens),200.00,200.00,200.00,200.00
Input Sequence Length (tokens),100.00,100.00,100.00,100.00

Metric,Value
Output Token Throughput (tokens/sec),800.00
Request Throughput (requests/sec),4.00
"""
# one file of each tool, with a run of 8 at once, about 800 tokens/s, 30 ms to the first token
FILES = {
    "vllm.json": json.dumps(BENCH),
    "vllm_appended.jsonl": jsonl(BENCH, {**BENCH, "max_concurrency": 1, "mean_tpot_ms": 1.2}),
    "sglang.jsonl": jsonl({**SGLANG_BENCH, "max_concurrency": 8, "mean_ttft_ms": 30.0, "mean_tpot_ms": 12.0}),
    "guidellm.json": json.dumps(GUIDELLM, indent=1),
    "aiperf.json": json.dumps(AIPERF, indent=1),
    "aiperf.csv": AIPERF_CSV,
    "own.csv": "method,batch,tok_s,ttft_s,tpot_s\nsd:k=2,8,800,0.03,0.01\n",
}


def write(folder: Path, name: str, text: str | None = None) -> Path:
    path = folder / name
    path.write_text(FILES[name] if text is None else text)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_tool_is_read(tmp_path, name):
    bench = read_bench(write(tmp_path, name), 3, methods=() if name[0] in "vo" else ["sd:k=2"], batch_size=8)
    cell = "sd:k=2", 8
    expected = {"sglang.jsonl": 1237.4}.get(name, 800.0)
    assert bench.mean(cell, "tok_s") == pytest.approx(expected)
    assert bench.mean(cell, "ttft_s") == pytest.approx(0.030)
    tpot = {"vllm.json": 0.0096, "vllm_appended.jsonl": 0.0096, "sglang.jsonl": 0.012}
    assert bench.mean(cell, "tpot_s") == pytest.approx(tpot.get(name, 0.010))
    assert bench.is_server == (name != "own.csv")
    if bench.is_server and name != "sglang.jsonl":
        assert bench.mean(cell, "mean_output_tokens") == pytest.approx(200)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7])
def test_truncated_results_are_one_line(tmp_path, name, share):
    path = write(tmp_path, name, FILES[name][: int(share * len(FILES[name]))])
    with pytest.raises(InputError) as caught:
        read_bench(path, 3, methods=["sd:k=2"])
    message = str(caught.value)
    assert str(path) in message and message.isprintable() and len(message) < 600
    assert "expected" in message or "give" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"output_throughput": 0.8}, "but total_output_tokens / duration is 800 tokens per second"),
        ({"mean_tpot_ms": 0.0096}, "check the units"),
        ({"mean_tpot_ms": 9600.0}, "check the units"),
        ({"output_throughput": "fast"}, 'output_throughput is "fast"'),
        ({"output_throughput": None}, "holds no throughput"),
        ({"duration": None, "output_throughput": 0.0}, "expected more than 0 tokens per second"),
        ({"max_concurrency": None}, "does not say how many requests ran at once"),
        ({"max_concurrency": 0}, "max_concurrency is 0"),
        ({"mean_ttft_ms": -3}, "mean_ttft_ms is -3"),
    ],
)
def test_wrong_units_and_fields_are_named(tmp_path, changes, expected):
    path = write(tmp_path, "b.json", json.dumps({**BENCH, **changes}))
    with pytest.raises(InputError) as caught:
        read_bench(path, 3)
    assert expected in str(caught.value), str(caught.value)


def test_what_a_file_does_not_say_the_user_does(tmp_path):
    path = write(tmp_path, "aiperf.csv")
    with pytest.raises(InputError, match=r"does not say how it decoded; give `methods`"):
        read_bench(path, 3)
    with pytest.raises(InputError, match=r"does not say how many requests ran at once; .* give `batch`"):
        read_bench(path, 3, methods=["td"])
    with pytest.raises(InputError, match=r"was measured with sd:k=2, not with `methods` td"):
        read_bench(write(tmp_path, "vllm.json"), 3, methods=["td"])
    plain = {name: value for name, value in BENCH.items() if not name.startswith("spec_")}
    (run,) = read_runs(write(tmp_path, "plain.json", json.dumps(plain)))
    assert run.method == "td" and "no acceptance recorded; taken as target-only" in run.note
    with pytest.raises(InputError, match="2 are given for 1 result files"):
        read_bench(path, 3, methods=["td", "sd:k=2"])
    # a rate of arrivals decides how many run at once, not the limit
    (run,) = read_runs(
        write(tmp_path, "o.jsonl", jsonl({**SGLANG_BENCH, "request_rate": 2.0, "concurrency": 15.6}))
    )
    assert run.batch_size == 16 and run.method is None and run.mean_acceptance_length == 1.9


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory):
    """The acceptance of the vLLM bench, of its lengths."""
    folder = tmp_path_factory.mktemp("bench")
    path = folder / "b.json"
    path.write_text(json.dumps(BENCH))
    save_trace(import_acceptance("vllm-bench", [path], ImportOptions()).trace, folder / "t.parquet")
    (folder / "linear.json").write_text(json.dumps(LATENCY))
    return folder / "t.parquet"


def validated(trace_file: Path, *args: object) -> dict:
    return svsim_json(
        "validate",
        trace_file,
        "--latency",
        trace_file.parent / "linear.json",
        "--refill",
        "continuous",
        *args,
    )


def test_a_servers_throughput_is_compared_with_prefills(tmp_path, trace_file):
    """By hand: 8 slots, a step of 8 x 3 tokens and two drafts, every request's prefill in between."""
    path = write(tmp_path, "vllm.json")
    found = validated(trace_file, "--bench", path)
    document, row = found["validation"], found["prediction"]["rows"][-1]
    assert document["prefill"] == "include" and found["prediction"]["config"]["prefill"] == "include"
    target, draft = LATENCY["target"], LATENCY["draft"]
    # target 100 + draft 100 prompt tokens, nothing cached
    prefill_s = (
        target["fixed_s"] + draft["fixed_s"] + 100 * (target["per_new_token_s"] + draft["per_new_token_s"])
    )
    latencies = {pair["name"]: pair for pair in document["latencies"]}
    assert latencies["ttft_s"]["predicted_s"] == pytest.approx(prefill_s + row["step_time_s"], rel=0.02)
    life_s = 8 * 200 / row["goodput_tok_s"]
    assert latencies["tpot_s"]["predicted_s"] == pytest.approx(
        (life_s - prefill_s - row["step_time_s"]) / 199, rel=0.01
    )
    step_s = row["step_time_s"]
    assert row["goodput_tok_s"] == pytest.approx(1 / (step_s / (8 * 1.9) + prefill_s / 200), rel=0.02)
    assert latencies["tpot_s"]["measured_s"] == pytest.approx(0.0096)
    alone = validated(trace_file, "--bench", path, "--prefill", "exclude")
    assert alone["validation"]["prefill"] == "exclude"
    assert alone["prediction"]["rows"][-1]["goodput_tok_s"] == pytest.approx(8 * 1.9 / step_s, rel=0.02)
    assert [pair["name"] for pair in alone["validation"]["latencies"]] == ["tpot_s"]


def test_header_and_page_say_whether_prefill_is_counted(tmp_path, trace_file):
    page = tmp_path / "page.html"
    told = ["--latency", trace_file.parent / "linear.json", "--hardware", "linear"][:2]
    done = svsim_run("validate", trace_file, "--bench", write(tmp_path, "vllm.json"), *told, "--report", page)
    assert "prefill counted" in done.stdout and "TTFT" in done.stdout and "TPOT" in done.stdout
    assert "prefill counted" in page.read_text() and "TTFT" in page.read_text()
    own = svsim_run("validate", trace_file, "--bench", write(tmp_path, "own.csv"), *told)
    assert "prefill not counted" in own.stdout


def test_two_files_make_a_speedup(tmp_path, trace_file):
    plain = {name: value for name, value in BENCH.items() if not name.startswith("spec_")}
    plain |= {"output_throughput": 500.0, "duration": 16.0, "mean_tpot_ms": 15.5}
    td, sd = write(tmp_path, "td.json", json.dumps(plain)), write(tmp_path, "vllm.json")
    rows = {r["label"]: r for r in validated(trace_file, "--bench", td, "--bench", sd)["validation"]["rows"]}
    assert rows["sd:k=2"]["measured_speedup_vs_td"] == pytest.approx(1.6)


def test_runs_unlike_the_trace_are_said(tmp_path, trace_file):
    other = {**BENCH, "total_input_tokens": 40_000, "spec_decode_accepted_tokens": 1000,
             "spec_decode_acceptance_length": 1.25}  # fmt: skip
    found = validated(trace_file, "--bench", write(tmp_path, "o.json", json.dumps(other)))
    cautions = " ".join(found["validation"]["cautions"])
    assert "prompts of 100 tokens in the trace, 1,000 measured" in cautions
    assert "an acceptance length of 1.90 in the trace, 1.25 measured" in cautions


def test_options_of_the_command(tmp_path, trace_file):
    path = write(tmp_path, "aiperf.json")
    assert "give --method" in svsim_refuses("validate", trace_file, "--bench", path)
    message = svsim_refuses("validate", trace_file, "--bench", path, "--method", "td", "--batch", "1,2")
    assert "with --bench it is one size" in message


@pytest.mark.parametrize(
    ("name", "options"), [("vllm_bench.json", ()), ("sglang.jsonl", ("--method", "sd:k=2"))]
)
def test_results_that_users_have(tmp_path, name, options, trace_file):
    found = validated(trace_file, "--bench", shared("cases", "records", name), *options)
    (row,) = found["validation"]["rows"]
    assert row["label"] == "sd:k=2" and {p["name"] for p in found["validation"]["latencies"]} == {
        "ttft_s",
        "tpot_s",
    }
