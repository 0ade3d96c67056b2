"""Acceptance in the result files of benchmarks: ``vllm bench serve --save-result``, SGLang's JSON lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.importing.record import (
    RATIO_TOLERANCE,
    AcceptanceRecord,
    ImportOptions,
    Tally,
    record_of_mean,
    record_of_tally,
)
from svsim.reading import Record, json_document, json_lines

VLLM_EXPECTED = "the JSON of vllm bench serve --save-result with spec_decode_num_drafts and its kin"
DRAFTS, DRAFTED, ACCEPTED, RATES, LENGTH = (
    "spec_decode_num_drafts",
    "spec_decode_draft_tokens",
    "spec_decode_accepted_tokens",
    "spec_decode_per_position_acceptance_rates",
    "spec_decode_acceptance_length",
)


def read_vllm_bench(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """Counters and rates per position of one result file; its lengths and its model."""
    (file,) = files
    where = printable(file)
    values = json_document(file, VLLM_EXPECTED)
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds no JSON object; expected {VLLM_EXPECTED}")
    record = Record(where, values)
    if not record.has(DRAFTS) and not record.has(LENGTH):
        raise InputError(
            f"{where}: {DRAFTS} is missing; expected {VLLM_EXPECTED} (was speculative decoding on?)"
        )
    about = _lengths_of(record, "model_id") | {"dataset": _text(record, "dataset_name")}
    if not record.has(DRAFTS):
        return record_of_mean(record.number(LENGTH), None, options, where, **about)
    steps = record.integer(DRAFTS)
    rates = record.numbers(RATES, 0.0, 1.0) if record.has(RATES) else []
    by_position = [rate * steps for rate in rates]
    tally = Tally(steps, record.integer(DRAFTED), record.integer(ACCEPTED), by_position)
    if (
        record.has(LENGTH)
        and steps
        and abs(record.number(LENGTH) - tally.mean_acceptance_length) > RATIO_TOLERANCE
    ):
        raise InputError(
            f"{where}: {LENGTH} is {record.number(LENGTH):g}, but accepted / drafts + 1 is "
            f"{tally.mean_acceptance_length:.3f}; expected the same, mend the file"
        )
    return record_of_tally(tally, options, where, **about)


SGLANG_EXPECTED = 'lines of SGLang\'s bench_serving --output-file with "accept_length": 2.9'


def read_sglang_bench(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """The mean acceptance length of each run, weighted by the steps it took; K is not in the file."""
    tokens = steps = 0.0
    records = [record for file in files for record in json_lines(file, SGLANG_EXPECTED)]
    if not records:
        raise InputError(f"{printable(files[0])}: is empty; expected {SGLANG_EXPECTED}")
    for record in records:
        length = record.number("accept_length", 1.0)
        output = record.integer("total_output_tokens", 1) if record.has("total_output_tokens") else 1
        tokens += output
        steps += output / length
    about = _lengths_of(records[0], "model") | {"dataset": _text(records[0], "dataset_name")}
    return record_of_mean(tokens / steps, None, options, printable(files[0]), **about)


def _lengths_of(record: Record, model_key: str) -> dict[str, Any]:
    """How many requests of what mean lengths, and which target, as far as the file says so."""
    about: dict[str, Any] = {}
    served = next((name for name in ("completed", "num_prompts") if record.has(name)), None)
    if served is not None and (num := record.integer(served)) > 0:
        about["num_requests"] = num
        for name, key in (
            ("total_input_tokens", "mean_prompt_tokens"),
            ("total_output_tokens", "mean_output_tokens"),
        ):
            if record.has(name):
                about[key] = record.integer(name, 1) / num
    model = _text(record, model_key)
    if model is not None:
        models: Mapping[str, Any] = {"target": {"name": model}}
        about["models"] = models
    return about


def _text(record: Record, name: str) -> str | None:
    return record.text(name) if record.has(name) and isinstance(record.values[name], str) else None
