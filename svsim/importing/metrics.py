"""Acceptance from ``/metrics``: counters of vLLM and llama.cpp, gauges of SGLang and TensorRT-LLM.

vLLM and llama.cpp share a schema (llama.cpp since its pull request 26389): drafts, draft tokens, accepted
tokens, accepted tokens by position, from 0; ``_total`` is optional.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.importing.prometheus import Sample, counted, of_series, read_scrape
from svsim.importing.record import (
    AcceptanceRecord,
    ImportOptions,
    Tally,
    record_of_mean,
    record_of_tally,
    whole,
)

DRAFTS, DRAFTED, ACCEPTED, BY_POSITION = (
    "spec_decode_num_drafts",
    "spec_decode_num_draft_tokens",
    "spec_decode_num_accepted_tokens",
    "spec_decode_num_accepted_tokens_per_pos",
)


def read_counters(files: Sequence[Path], options: ImportOptions, prefix: str) -> AcceptanceRecord:
    """Counters of one scrape (since the start) or of two (before, after)."""
    names = [f"{prefix}:{name}" for name in (DRAFTS, DRAFTED, ACCEPTED, BY_POSITION)]
    expected = f'lines such as {prefix}:{DRAFTS}_total{{model_name="m"}} 43221.0'
    samples, model = of_series(counted([read_scrape(f, names, expected) for f in files]), options.series)
    where = printable(files[-1])
    totals: dict[str, float] = {}
    by_position: dict[int, float] = {}
    for sample in samples:
        value = whole(sample.value, sample.name, sample.where)
        if sample.name == names[3]:
            depth = _position(sample)
            by_position[depth] = by_position.get(depth, 0.0) + value
        else:
            totals[sample.name] = totals.get(sample.name, 0.0) + value
    for name in names[:3]:
        if name not in totals:
            raise InputError(
                f"{where}: {name} is missing, expected it beside {names[0]}; give the whole scrape"
            )
    tally = Tally(totals[names[0]], totals[names[1]], totals[names[2]], _in_order(by_position, where))
    return record_of_tally(tally, options, where, models=_target(model))


def _position(sample: Sample) -> int:
    text = sample.label("position") or ""
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise InputError(f"{sample.where}: position is {printable(text, 40)!r}, expected 0, 1, ...; mend it")
    return int(text)


def _in_order(by_position: Mapping[int, float], where: str) -> list[float]:
    if by_position and sorted(by_position) != list(range(len(by_position))):
        missing = next(d for d in range(max(by_position) + 1) if d not in by_position)
        raise InputError(
            f"{where}: accepted tokens of position {missing} are missing, expected all of 0 to "
            f"{max(by_position)}; give the whole scrape"
        )
    return [by_position[d] for d in sorted(by_position)]


def _target(name: str | None) -> dict[str, dict[str, str]]:
    return {"target": {"name": name}} if name else {}


SGLANG_LENGTH, SGLANG_STEPS, SGLANG_DRAFTED = (
    "sglang:spec_accept_length",
    "sglang:spec_num_steps",
    "sglang:spec_num_draft_tokens",
)


def read_sglang_gauges(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """SGLang's gauges: the mean acceptance length (bonus included) of the last interval of each rank."""
    names = (SGLANG_LENGTH, "sglang:spec_accept_rate", SGLANG_STEPS, SGLANG_DRAFTED)
    expected = f'lines such as {SGLANG_LENGTH}{{model_name="m"}} 2.9'
    (file,) = files
    samples, model = of_series(read_scrape(file, names, expected), options.series)
    lengths = [s.value for s in samples if s.name == SGLANG_LENGTH and s.value > 0]
    if not lengths:
        raise InputError(
            f"{printable(file)}: {SGLANG_LENGTH} is missing or 0, expected at least 1; scrape under load"
        )
    k = _gauge(samples, SGLANG_STEPS)
    drafted = _gauge(samples, SGLANG_DRAFTED)
    notes: tuple[str, ...] = ()
    if k is not None and drafted is not None and drafted - 1 > k:
        notes = (
            f"{printable(file)}: a tree of {drafted - 1} draft tokens and {k} steps; read as a chain of {k}",
        )
    mean = sum(lengths) / len(lengths)
    return record_of_mean(mean, k, options, printable(file), models=_target(model), notes=notes)


def _gauge(samples: Sequence[Sample], name: str) -> int | None:
    """The one value of a gauge that all ranks share; None where it is not there."""
    found = sorted({whole(s.value, s.name, s.where) for s in samples if s.name == name})
    if len(found) > 1:
        raise InputError(
            f"{samples[0].where}: {name} is {found[0]} and {found[-1]}, expected one value; split it"
        )
    return found[0] if found and found[0] > 0 else None


TRTLLM_LENGTH = "trtllm_spec_decode_acceptance_length"


def read_trtllm_gauge(file: Path, options: ImportOptions) -> AcceptanceRecord:
    """TensorRT-LLM's gauge: the acceptance length of the last iteration."""
    samples, model = of_series(
        read_scrape(file, (TRTLLM_LENGTH,), f"lines such as {TRTLLM_LENGTH} 2.9"), options.series
    )
    lengths = [s.value for s in samples if s.value > 0]
    if not lengths:
        raise InputError(f"{printable(file)}: {TRTLLM_LENGTH} is 0, expected at least 1; scrape under load")
    mean = sum(lengths) / len(lengths)
    return record_of_mean(mean, None, options, printable(file), models=_target(model))
