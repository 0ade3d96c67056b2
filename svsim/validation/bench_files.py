"""Results of serving benchmarks as their tools write them: what was measured, in seconds and tokens.

vLLM's ``bench serve --save-result`` JSON, SGLang's ``bench_serving`` JSON lines, GuideLLM's JSON, AIPerf's
JSON and CSV, and a CSV of our own. TPOT here is (E2EL - TTFT)/(output tokens - 1): GuideLLM calls it
inter_token_latency (its time_per_output_token counts the first token), AIPerf inter_token_latency.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.reading import Record, csv_records, json_records, text_lines

EXAMPLE = "expected a header and rows such as method,batch,tok_s / sd:k=5,8,412.5"
EXPECTED = (
    "results of vllm bench serve, SGLang's bench_serving, GuideLLM or AIPerf, or a CSV with a header and "
    "rows such "
    "as method,batch,tok_s / sd:k=5,8,412.5"
)
MAX_BATCH_SIZE = 4096
UNIT_TOLERANCE = 0.05  # between a rate and what it is the rate of


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run of a benchmark. None: the file does not say.

    method: as on the command line; batch_size: requests at once, a mean where arrivals decide it; tok_s:
    output tokens per second of all; ttft_s, tpot_s: means; is_server: prefills are in the throughput.
    """

    where: str
    method: str | None
    batch_size: int | None
    tok_s: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    mean_prompt_tokens: float | None = None
    mean_output_tokens: float | None = None
    mean_acceptance_length: float | None = None
    is_server: bool = True
    note: str = ""


def read_runs(path: Path) -> list[MeasuredRun]:
    """The runs of a file of any of these formats, told apart by what they hold.

    Raises InputError: one line with the place, what was wrong and what was expected.
    """
    first = next((text.strip() for _, text in text_lines(path, EXPECTED) if text.strip()), "")
    if not first:
        raise InputError(f"{printable(path)}: is empty; {EXAMPLE}, or the results of a tool")
    if first.startswith(("{", "[")):
        runs = [_checked(run) for record in json_records(path, EXPECTED) for run in _json_runs(record)]
    elif first.startswith("Metric,"):
        runs = [_checked(_aiperf_csv(path))]
    else:
        runs = list(_own_csv(path))
    if not runs:
        raise InputError(f"{printable(path)}: holds no result; {EXAMPLE}")
    return runs


def _json_runs(record: Record) -> Iterator[MeasuredRun]:
    if isinstance(record.values.get("benchmarks"), list):
        yield from _guidellm(record)
    elif isinstance(record.values.get("output_token_throughput"), dict):
        yield _aiperf_json(record)
    elif record.has("output_throughput"):
        yield _bench_serve(record)
    else:
        raise InputError(f"{record.where}: holds no throughput; expected {EXPECTED}")


def _bench_serve(record: Record) -> MeasuredRun:
    """vLLM's and SGLang's names, which are nearly the same."""
    served = next((record.integer(name) for name in ("completed", "num_prompts") if record.has(name)), 0)
    means = [
        record.integer(name) / served if served and record.has(name) else None
        for name in ("total_input_tokens", "total_output_tokens")
    ]
    tok_s = record.number("output_throughput", 0.0)
    if record.has("duration") and record.has("total_output_tokens"):
        told = record.number("total_output_tokens", 0.0) / max(record.number("duration", 0.0), 1e-9)
        if abs(tok_s - told) > UNIT_TOLERANCE * told:
            raise InputError(
                f"{record.where}: output_throughput is {tok_s:g}, but total_output_tokens / duration is "
                f"{told:g} tokens "
                "per second; expected the same, check their units"
            )
    method, length, note = _bench_method(record)
    return MeasuredRun(
        record.where,
        method,
        _bench_batch(record),
        tok_s,
        _milliseconds(record, "mean_ttft_ms"),
        _milliseconds(record, "mean_tpot_ms"),
        means[0],
        means[1],
        length,
        note=note,
    )


def _bench_method(record: Record) -> tuple[str | None, float | None, str]:
    """How it decoded, the mean acceptance length, and what was concluded."""
    if record.has("spec_decode_num_drafts") and (drafts := record.integer("spec_decode_num_drafts")) > 0:
        drafted = record.integer("spec_decode_draft_tokens") / drafts
        k = round(drafted)
        if abs(drafted - k) > 0.01:  # drafts of unequal length: the positions tell K
            k = len(record.numbers("spec_decode_per_position_acceptance_rates", 0.0, 1.0))
        return f"sd:k={k}", 1 + record.integer("spec_decode_accepted_tokens") / drafts, ""
    if record.has("accept_length"):
        return None, record.number("accept_length", 1.0), ""
    return "td", None, f"{record.where}: no acceptance recorded; taken as target-only decoding (`methods`)"


def _bench_batch(record: Record) -> int | None:
    """Requests at once: the limit where requests wait for it, the mean where their arrivals decide."""
    rate = record.values.get("request_rate")
    is_open = isinstance(rate, int | float) and not isinstance(rate, bool) and rate != float("inf")
    if is_open and record.has("concurrency"):
        return max(round(record.number("concurrency", 0.0, MAX_BATCH_SIZE)), 1)
    if record.has("max_concurrency") and not is_open:
        return record.integer("max_concurrency", 1, MAX_BATCH_SIZE)
    return None


def _guidellm(record: Record) -> Iterator[MeasuredRun]:
    for number, benchmark in enumerate(record.values["benchmarks"]):
        where = f"{record.where}, benchmark {number}"
        values = benchmark if isinstance(benchmark, dict) else {}
        metrics = values.get("metrics")
        if not isinstance(metrics, dict):
            raise InputError(f"{where}: metrics is missing; expected GuideLLM's benchmarks[].metrics")
        names = ("output_tokens_per_second", "time_to_first_token_ms", "inter_token_latency_ms",
                 "prompt_token_count", "output_token_count", "request_concurrency")  # fmt: skip
        means = Record(where, {name: _guidellm_mean(metrics.get(name)) for name in names})
        strategy = _inside(values, ("config", "strategy")) or _inside(values, ("args", "strategy")) or {}
        fixed = next(
            (strategy[n] for n in ("streams", "max_concurrency") if type(strategy.get(n)) is int), None
        )
        concurrency = means.number("request_concurrency", 0.0) if means.has("request_concurrency") else None
        batch = fixed or (max(round(concurrency), 1) if concurrency else None)
        yield MeasuredRun(
            where,
            None,
            batch,
            means.number("output_tokens_per_second", 0.0),
            _milliseconds(means, "time_to_first_token_ms"),
            _milliseconds(means, "inter_token_latency_ms"),
            _positive(means, "prompt_token_count"),
            _positive(means, "output_token_count"),
        )


def _guidellm_mean(metric: object) -> object:
    """``successful.mean`` of a distribution."""
    return _inside(metric, ("successful", "mean"))


def _aiperf_json(record: Record) -> MeasuredRun:
    names = ("output_token_throughput", "time_to_first_token", "inter_token_latency", "input_sequence_length",
             "output_sequence_length", "spec_decode_acceptance_length")  # fmt: skip
    means = Record(record.where, {name: _inside(record.values, (name, "avg")) for name in names})
    for name in ("time_to_first_token", "inter_token_latency"):
        unit = _inside(record.values, (name, "unit"))
        if unit not in (None, "ms"):
            raise InputError(f"{record.where}: {name} is in {printable(unit, 20)}, expected ms; convert it")
    batch = _inside(record.values, ("input_config", "loadgen", "concurrency"))
    return _aiperf_run(means, batch)


def _aiperf_run(means: Record, batch: object) -> MeasuredRun:
    return MeasuredRun(
        means.where,
        None,
        batch if type(batch) is int and 1 <= batch <= MAX_BATCH_SIZE else None,
        means.number("output_token_throughput", 0.0),
        _milliseconds(means, "time_to_first_token"),
        _milliseconds(means, "inter_token_latency"),
        _positive(means, "input_sequence_length"),
        _positive(means, "output_sequence_length"),
        _positive(means, "spec_decode_acceptance_length"),
    )


AIPERF_ROWS: Mapping[str, str] = {
    "Output Token Throughput (tokens/sec)": "output_token_throughput",
    "Time to First Token (ms)": "time_to_first_token",
    "Inter Token Latency (ms)": "inter_token_latency",
    "Input Sequence Length (tokens)": "input_sequence_length",
    "Output Sequence Length (tokens)": "output_sequence_length",
}


def _aiperf_csv(path: Path) -> MeasuredRun:
    """Rows ``Metric (unit),avg,...`` and, below, ``Metric (unit),Value``."""
    values: dict[str, str] = {}
    for cells in csv.reader(text for _, text in text_lines(path, EXPECTED)):
        if len(cells) > 1 and cells[0].strip() in AIPERF_ROWS:
            values[AIPERF_ROWS[cells[0].strip()]] = cells[1].replace(",", "")
    means = Record(printable(path), values, is_text=True)
    if not means.has("output_token_throughput"):
        raise InputError(
            f"{printable(path)}: Output Token Throughput (tokens/sec) is missing; expected AIPerf's CSV, "
            f"or {EXPECTED}"
        )
    return _aiperf_run(means, None)


def _own_csv(path: Path) -> Iterator[MeasuredRun]:
    for record in csv_records(path, ("method", "batch", "tok_s"), EXAMPLE):
        yield MeasuredRun(
            record.where,
            record.text("method"),
            record.integer("batch", 1, MAX_BATCH_SIZE),
            _above_zero(record, "tok_s"),
            _positive(record, "ttft_s"),
            _positive(record, "tpot_s"),
            is_server=False,
        )


def _checked(run: MeasuredRun) -> MeasuredRun:
    """Raise InputError where a throughput and a time per token cannot be of one run: a unit is wrong."""
    if run.tok_s <= 0:
        raise InputError(
            f"{run.where}: the output throughput is {run.tok_s:g}, expected more than 0 tokens per second"
        )
    if run.tpot_s and run.batch_size:
        at_once = run.tok_s * run.tpot_s
        if not run.batch_size / 50 <= at_once <= run.batch_size * 5:
            raise InputError(
                f"{run.where}: {run.tok_s:g} tokens/s at {run.tpot_s * 1e3:g} ms per token are "
                f"{at_once:.3g} requests "
                f"at once, expected about {run.batch_size}; check the units (milliseconds, tokens per second)"
            )
    return run


def _milliseconds(record: Record, name: str) -> float | None:
    value = record.number(name, 0.0) if record.has(name) else 0.0
    return value / 1e3 if value > 0 else None


def _positive(record: Record, name: str) -> float | None:
    value = record.number(name, 0.0) if record.has(name) else 0.0
    return value if value > 0 else None


def _above_zero(record: Record, name: str) -> float:
    value = record.number(name)
    if value <= 0:
        record.fail(name, "tokens per second, a number above 0")
    return value


def _inside(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
