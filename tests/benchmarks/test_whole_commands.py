"""Whole processes, second run: start-up, the main job, the reference's twelve configurations, memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.shared_data import shared
from support.small_traces import LINEAR, independent_trace

from svsim.trace.file import TraceWriter

ROOT = Path(__file__).resolve().parents[2]


# A small process starts the command: what a child of this large one reports as its peak is this one's.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([status, time.perf_counter() - start, usage.ru_maxrss / 1024]))
"""


def run(*args: object) -> tuple[float, float]:
    """(wall seconds, peak MiB) of one command."""
    command = [sys.executable, "-c", "from svsim.cli import main; main()", *map(str, args)]
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, check=True)
    status, seconds, peak = json.loads(done.stdout)
    assert status == 0
    return seconds, peak


def best_of(rounds: int, benchmark, *args: object) -> tuple[float, float]:
    run(*args)  # the first run may compile
    figures = [run(*args) for _ in range(rounds)]
    benchmark.pedantic(lambda: run(*args), rounds=1)
    return min(seconds for seconds, _ in figures), max(peak for _, peak in figures)


def test_help(benchmark, figure):
    seconds, peak = best_of(5, benchmark, "--help")
    figure("svsim --help", f"{seconds:.2f} s, {peak:.0f} MiB", "<= 0.3 s")


def test_the_main_job(benchmark, figure):
    seconds, peak = best_of(5, benchmark, "replay", ROOT / "traces" / "llama70b.parquet")
    figure("svsim replay traces/llama70b.parquet", f"{seconds:.2f} s, {peak:.0f} MiB", "<= 2 s, <= 400 MB")


def test_three_methods_of_the_main_job(benchmark, figure):
    methods = ("--method", "td", "--method", "sd", "--method", "sv")
    seconds, peak = best_of(5, benchmark, "replay", ROOT / "traces" / "llama70b.parquet", *methods)
    figure("the same, td, sd and sv alone", f"{seconds:.2f} s, {peak:.0f} MiB", "<= 2 s, <= 400 MB")


def test_the_twelve_reference_configurations(benchmark, figure, tmp_path):
    source = shared("specdecode-bench", "gsm8k.jsonl")
    latency = shared("specdecode-bench", "linear_llama31_8b_h100.json")
    trace = tmp_path / "gsm8k.parquet"
    run("import", "specdecode-bench", source, "--out", trace)
    methods = [x for m in ("sd:k=1", "sd:k=3", "sd:k=5", "oracle:draft=exact") for x in ("--method", m)]
    seconds, _ = best_of(
        5, benchmark, "replay", trace, "--convention", "specdecode-bench", "--latency", latency, *methods,
        "--batch", "1,32,128", "--json", "-",
    )  # fmt: skip
    figure(
        "12 configurations of gsm8k", f"{seconds:.2f} s = {74 / seconds:.0f} x", ">= 50 x faster than 74 s"
    )


@pytest.mark.parametrize("num_positions", [1_000_000, 3_000_000, 10_000_000])
def test_memory_stays_flat(benchmark, figure, tmp_path, num_positions):
    """td, sd and sv at batch 64 on files of growing length, K = 8, two signals."""
    path, latency = tmp_path / "long.parquet", tmp_path / "linear.json"
    latency.write_text(json.dumps(LINEAR))
    block = independent_trace(1000, 8, output_tokens=(150, 250))
    with TraceWriter(path, block.metadata) as writer:
        for number in range(num_positions // block.num_positions):
            ids = tuple(f"{number}-{i}" for i in block.request_ids)
            writer.write(type(block)(**{**fields(block), "request_ids": ids}))
    seconds, peak = best_of(1, benchmark, "replay", path, "--latency", latency, "--batch", "64")
    figure(
        f"replay of a file of {num_positions:,} positions",
        f"{peak:.0f} MiB, {seconds:.1f} s",
        "<= 2 GiB, flat",
    )


def fields(trace) -> dict[str, object]:
    return {name: getattr(trace, name) for name in type(trace).__dataclass_fields__}
