"""The command: files beside the table, exit codes, nothing else on stdout with ``-``."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from svsim.cli.app import cli, load_commands

LINEAR = {
    "kind": "linear",
    "target": {"fixed_s": 0.01, "per_new_token_s": 2e-5, "per_kv_token_s": 1e-8},
    "overhead_per_step_s": 0.001,
}
CONTRACT = [
    "method",
    "params",
    "hardware",
    "engine",
    "arrivals",
    "rate",
    "replicas",
    "duration_s",
    "num_requests",
    "request_throughput",
    "output_tok_s",
    "slo_attainment",
    "request_goodput",
    "saturated",
    "mean_running",
    "mean_waiting",
    "kv_use_mean",
    "kv_use_max",
    "num_preemptions",
    "num_steps",
    "mean_acceptance_length",
    "usd_per_million_tokens",
    "joules_per_million_tokens",
    "replay_kind",
]
REQUEST = [
    "request_id",
    "arrival_s",
    "scheduled_s",
    "first_token_s",
    "finish_s",
    "prompt_tokens",
    "output_tokens",
    "num_steps",
    "num_preemptions",
    "ttft_s",
    "tpot_s",
    "e2el_s",
]
load_commands()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    path = tmp_path / "linear.json"
    path.write_text(json.dumps(LINEAR))
    options = (
        "serve-sim --arrivals poisson:rate=10 --lengths fixed:50/10 --duration 20 --replications 2 --latency"
    )
    return [*options.split(), str(path)]


def test_rows_and_requests_have_the_promised_names(words: list[str], tmp_path: Path) -> None:
    requests = tmp_path / "requests.csv"
    more = ["--json", "-", "--requests-csv", str(requests), "--slo", "ttft:p99=0.5"]
    result = CliRunner().invoke(cli, [*words, *more], catch_exceptions=False)
    (row,) = json.loads(result.stdout)["rows"]
    assert set(CONTRACT) <= row.keys()
    for metric in ("ttft", "tpot", "itl_token", "itl_step", "e2el", "queue"):
        for statistic in ("mean", "p50", "p90", "p95", "p99"):
            name = f"{metric}_s_{statistic}"
            assert row[f"{name}_ci_low"] <= row[name] <= row[f"{name}_ci_high"]
    assert row["slo_attainment"] == 1.0 and row["request_goodput"] == pytest.approx(10, rel=0.3)
    with requests.open() as file:
        found = list(csv.DictReader(file))
    assert list(found[0])[: len(REQUEST)] == REQUEST and len(found) == row["num_requests"]
    for one in found:
        assert float(one["e2el_s"]) == pytest.approx(float(one["finish_s"]) - float(one["arrival_s"]))


def test_the_table_says_what_was_measured(words: list[str]) -> None:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "open loop, poisson:rate=10" in result.stdout and "2 replications" in result.stdout
