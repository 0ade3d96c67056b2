"""TensorRT-LLM's iteration statistics: ``specDecodingStats`` of every iteration.

numAcceptedTokens leaves the bonus token out, acceptanceLength counts it; the counts are read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from svsim.errors import InputError, printable
from svsim.importing.metrics import read_trtllm_gauge
from svsim.importing.record import AcceptanceRecord, ImportOptions, Tally, record_of_tally
from svsim.reading import Record, json_records, text_lines

EXPECTED = (
    'iteration statistics with "specDecodingStats": {"numDraftTokens": 24, "numAcceptedTokens": 15, '
    '"numRequestsWithDraftTokens": 8, ...}, or a scrape with trtllm_spec_decode_acceptance_length'
)


def read_trtllm(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """JSON (lines, a list, or one object) of iteration statistics, or a Prometheus scrape."""
    (file,) = files
    first = next((text.strip() for _, text in text_lines(file, EXPECTED) if text.strip()), "")
    if not first.startswith(("{", "[")) and "trtllm_" in _text(file):
        return read_trtllm_gauge(file, options)
    tally, num = Tally(), 0
    for stats in _statistics(file):
        num += 1
        drafted = stats.integer("numDraftTokens")
        requests = stats.integer("numRequestsWithDraftTokens")
        accepted = stats.integer("numAcceptedTokens")
        if accepted > drafted:
            stats.fail("numAcceptedTokens", f"at most the {drafted} drafted tokens")
        if requests > 0:
            tally.add(requests, drafted, accepted, ())
    if num == 0:
        raise InputError(f"{printable(file)}: no iteration has specDecodingStats; expected {EXPECTED}")
    return record_of_tally(tally, options, printable(file))


def _text(file: Path) -> str:
    return "\n".join(text for _, text in text_lines(file, EXPECTED))


def _statistics(file: Path) -> Iterator[Record]:
    for record in json_records(file, EXPECTED, ("iterationStats", "iteration_stats", "stats")):
        found = record.values.get("specDecodingStats")
        if found is None and "numDraftTokens" in record.values:
            yield record
        elif isinstance(found, dict):
            yield Record(f"{record.where}, specDecodingStats", found)
        elif found is not None:
            record.fail("specDecodingStats", "an object")
