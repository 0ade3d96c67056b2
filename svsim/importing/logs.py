"""Acceptance from server logs: vLLM's and SGLang's intervals, llama.cpp's requests."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.importing.record import (
    RATIO_TOLERANCE,
    AcceptanceRecord,
    ImportOptions,
    Tally,
    record_of_mean,
    record_of_tally,
)
from svsim.reading import text_lines

_NUMBER = r"[\d.]+|nan"
VLLM_MARK, VLLM_EXPECTED = (
    "SpecDecoding metrics:",
    "lines such as SpecDecoding metrics: ... Mean acceptance length: 2.90, ... Accepted: 570 tokens, "
    "Drafted: "
    "900 tokens, Per-position acceptance rate: 0.8, 0.6, 0.5",
)


def read_vllm_log(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """vLLM's ``SpecDecoding metrics`` lines, weighted by the steps that drafted in each interval."""
    tally, where = Tally(), printable(files[0])
    for file in files:
        for place, text in _marked(file, VLLM_MARK, VLLM_EXPECTED):
            length = _field(
                text, r"Mean acceptance length: ({})", place, "Mean acceptance length", VLLM_EXPECTED
            )
            accepted = _field(text, r"Accepted: ({}) tokens", place, "Accepted", VLLM_EXPECTED)
            drafted = _field(text, r"Drafted: ({}) tokens", place, "Drafted", VLLM_EXPECTED)
            rates = _rates(text, r"Per-position acceptance rate: ([\d.,\s]*\d|nan)", place, VLLM_EXPECTED)
            _add(tally, length, accepted, drafted, rates, place)
    return record_of_tally(tally, options, where)


LLAMACPP_MARK = "draft acceptance"
LLAMACPP_EXPECTED = (
    "lines such as draft acceptance = 0.54671 ( 158 accepted / 289 generated), mean acceptance length = "
    "2.63, "
    "acceptance rate per position = (0.800, 0.500)"
)


def read_llamacpp_log(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """llama.cpp's line of each request, weighted by its steps."""
    tally = Tally()
    for file in files:
        for place, text in _marked(file, LLAMACPP_MARK, LLAMACPP_EXPECTED):
            accepted = _field(text, r"\(\s*({}) accepted", place, "accepted", LLAMACPP_EXPECTED)
            drafted = _field(text, r"/\s*({}) generated", place, "generated", LLAMACPP_EXPECTED)
            length = _field(
                text, r"mean acceptance length =\s*({})", place, "mean acceptance length", LLAMACPP_EXPECTED
            )
            rates = _rates(text, r"acceptance rate per position = \(([^)]*)\)", place, LLAMACPP_EXPECTED)
            _add(tally, length, accepted, drafted, rates, place)
    return record_of_tally(tally, options, printable(files[0]))


def _add(
    tally: Tally, length: float, accepted: float, drafted: float, rates: list[float], place: str
) -> None:
    """An interval: its steps follow from the drafted tokens, or (drafts of unequal length) from the mean."""
    if drafted == 0:
        return
    if not 1.0 <= length <= len(rates) + 1.0 + RATIO_TOLERANCE:
        raise InputError(
            f"{place}: mean acceptance length is {length:g}, expected 1 to {len(rates) + 1} with "
            f"{len(rates)} "
            "positions; is the line whole?"
        )
    if any(not 0.0 <= rate <= 1.0 for rate in rates):
        raise InputError(f"{place}: a rate per position is {max(rates):g}, expected 0 to 1; mend the line")
    steps = drafted / len(rates)
    if accepted > 0 and abs(accepted / steps - (length - 1.0)) > RATIO_TOLERANCE:
        steps = accepted / max(length - 1.0, 1e-9)
    if abs(sum(rates) - accepted / steps) > max(0.02, 0.006 * len(rates)):
        raise InputError(
            f"{place}: positions add up to {sum(rates):.3f} accepted tokens per step, expected "
            f"{accepted / steps:.3f} as the mean acceptance length says; is a position missing?"
        )
    tally.add(steps, drafted, accepted, [rate * steps for rate in rates])


SGLANG_MARK = "Decode batch"
SGLANG_EXPECTED = "lines such as Decode batch, #running-req: 8, ... accept len: 2.90, accept rate: 0.63, ..."


def read_sglang_log(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """SGLang's ``Decode batch`` lines, weighted by running requests; or lines of its bench's JSON."""
    if _is_json(files[0]):
        return _sglang_bench(files, options)
    weight = total = 0.0
    ratios: list[float] = []
    for file in files:
        for place, text in _marked(file, SGLANG_MARK, SGLANG_EXPECTED):
            running = _field(text, r"#running-req: ({})", place, "#running-req", SGLANG_EXPECTED)
            length = _field(text, r"accept len: ({})", place, "accept len", SGLANG_EXPECTED)
            if length < 1.0:
                raise InputError(
                    f"{place}: accept len is {length:g}, expected at least 1 (bonus counted); mend it"
                )
            total += running * length
            weight += running
            rate = re.search(r"accept rate: ([\d.]+)", text)
            if rate and float(rate[1]) > 0:
                ratios.append((length - 1.0) / float(rate[1]))
    if weight == 0:
        raise InputError(
            f"{printable(files[0])}: no request was running, expected #running-req above 0; log a load"
        )
    k = None
    notes: tuple[str, ...] = ()
    if options.k is None and ratios and (round(ratios[0]) >= 1):
        k = round(ratios[0])
        if any(abs(ratio - k) > 0.03 * k for ratio in ratios):
            k = None
    if k is not None:
        notes = (f"{printable(files[0])}: k = {k} follows from (accept len - 1) / accept rate",)
    return record_of_mean(total / weight, k, options, printable(files[0]), notes=notes)


def _is_json(file: Path) -> bool:
    first = next((text for _, text in text_lines(file, SGLANG_EXPECTED) if text.strip()), "")
    return first.lstrip().startswith("{")


def _sglang_bench(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    from svsim.importing.bench_results import read_sglang_bench

    return read_sglang_bench(files, options)


def _marked(file: Path, mark: str, expected: str) -> Iterator[tuple[str, str]]:
    """(place, line) of every line with that mark; InputError where there is none, or it is cut off."""
    found = False
    last = 0
    for number, text in text_lines(file, expected):
        last = number
        if mark in text:
            found = True
            yield f"{printable(file)}, line {number}", text
    if not found:
        what = "is empty" if last == 0 else f"none of {last} lines has {mark!r}"
        raise InputError(f"{printable(file)}: {what}; expected {expected}")


def _field(text: str, pattern: str, place: str, name: str, expected: str) -> float:
    match = re.search(pattern.format(_NUMBER), text)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise InputError(f"{place}: {name} is missing or no number; expected {expected}")
    return value


def _rates(text: str, pattern: str, place: str, expected: str) -> list[float]:
    match = re.search(pattern, text)
    try:
        rates = [float(part) for part in match[1].split(",")] if match else []
    except ValueError:
        rates = []
    if not rates or any(math.isnan(rate) for rate in rates):
        raise InputError(f"{place}: rates per position are missing or no numbers; expected {expected}")
    return rates
