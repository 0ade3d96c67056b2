"""The reference simulator's 24 speedups (SpecDecode-Bench, arXiv 2601.11580), through the command line."""

import csv
import json

import pytest
from support.command_line import svsim_json, svsim_process
from support.shared_data import shared

SPEC = {"FIXED_1": "sd:k=1", "FIXED_3": "sd:k=3", "FIXED_5": "sd:k=5", "ORACLE": "oracle:draft=exact"}


@pytest.mark.parametrize("dataset", ["gsm8k", "cnn"])
def test_speedups_equal_the_reference(dataset, tmp_path):
    source = shared("specdecode-bench", f"{dataset}.jsonl")
    latency = shared("specdecode-bench", "linear_llama31_8b_h100.json")
    trace = tmp_path / "trace.parquet"
    svsim_process("import", "specdecode-bench", source, "--drafter", "eagle", "--out", trace)
    methods = [part for spec in SPEC.values() for part in ("--method", spec)]
    result = svsim_json(
        "replay",
        trace,
        "--convention",
        "specdecode-bench",
        "--latency",
        latency,
        *methods,
        "--batch",
        "1,32,128",
    )
    got = {(r["method"], r["params"]["k"], r["batch_size"]): r["speedup_vs_td"] for r in result["rows"]}
    chain = result["trace"]["num_speculative_tokens"]
    with open(shared("specdecode-bench", "reference_speedups.csv")) as file:
        expected = [row for row in csv.DictReader(file) if row["dataset"] == dataset]
    assert len(expected) == 12
    for row in expected:
        k = chain if row["method"] == "ORACLE" else int(row["method"].removeprefix("FIXED_"))
        method = "oracle" if row["method"] == "ORACLE" else "sd"
        ours = got[method, k, int(row["batch_size"])]
        assert ours == pytest.approx(float(row["speedup_by_throughput"]), rel=3e-5), json.dumps(row)
