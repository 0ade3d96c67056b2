"""SpecDecode-Bench recordings: the accepted length at every output position, a dense trace.

Form: github.com/SpecDecode-Bench/simulator, commit 2fdccbd ("Speculative Decoding: Performance or
Illusion?", arXiv 2601.11580). Other models are recorded in the same form, and no file names its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.importing.record import ImportOptions
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.reading import Record, json_lines
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

EXPECTED = 'lines such as {"id": "a", "prompt_token_ids": [...], "acc_eagle": {"acc_len": [1, 3, ...]}}'
DRAFTERS = {"eagle": "EAGLE", "ngram": "n-gram"}


@dataclass(frozen=True, slots=True)
class _Request:
    where: str
    request_id: str
    num_prompt_tokens: int
    num_emitted: NDArray[np.int64]


def read_specdecode_bench(
    file: Path, options: ImportOptions, metadata: TraceMetadata
) -> tuple[TokenTrace, tuple[str, ...]]:
    """The trace of one drafter, and notes on what the file leaves open.

    ``acc_<drafter>.acc_len[i]`` is the number of tokens emitted (accepted + 1) by a step that starts at
    output position i; its length is the request's number of output positions. K is ``options.k``, else
    max(acc_len) - 1. There are no companion signals. ``metadata`` is completed. Raises InputError naming
    the line that is not such a request.
    """
    drafter, where = options.drafter or "eagle", printable(file)
    if drafter not in DRAFTERS:
        known = ", ".join(DRAFTERS)
        raise InputError(
            f"drafter {printable(drafter, 40)!r} is not in SpecDecode-Bench; expected one of {known}"
        )
    requests = list(_requests(file, drafter))
    if not requests:
        raise InputError(f"{where}: holds no requests; expected {EXPECTED}")
    num_accepted = np.concatenate([request.num_emitted for request in requests]) - 1
    k, note = _k(int(num_accepted.max()), options.k, where)
    source = {"drafter": drafter, "repository": "https://github.com/SpecDecode-Bench/simulator"}
    models = {"draft": {"name": DRAFTERS[drafter]}, **metadata.models}
    trace = TokenTrace(
        request_ids=tuple(request.request_id for request in requests),
        first_position=np.cumsum([0, *(len(request.num_emitted) for request in requests)]),
        num_prompt_tokens=np.array([request.num_prompt_tokens for request in requests], np.int32),
        observable=ObservableColumns({}),
        target=TargetColumns(num_accepted.astype(np.int16)),
        metadata=TraceMetadata(
            num_speculative_tokens=k,
            acceptance_kind="imported",
            chains="independent",
            models=models,
            sampling=metadata.sampling,
            dataset=file.stem,
            command=metadata.command,
            date=metadata.date,
            extra={"source": {**metadata.extra["source"], **source}},
        ),
    )
    return trace, (note,) if note else ()


def _k(longest: int, asked: int | None, where: str) -> tuple[int, str]:
    if asked is None:
        known = max(longest, 1)
        most = (
            f"the most that a step accepted ({longest})"
            if longest
            else "the least there is (none was accepted)"
        )
        return known, f"{where}: does not say K; taken as {known}, {most}; `k` says it"
    if not max(longest, 1) <= asked <= MAX_SPECULATIVE_TOKENS:
        raise InputError(
            f"{where}: `k` {asked} is out of range, expected {max(longest, 1)} (the most that a step "
            "accepted) to "
            f"{MAX_SPECULATIVE_TOKENS}; mend it"
        )
    return asked, ""


def _requests(file: Path, drafter: str) -> Iterator[_Request]:
    seen: dict[str, str] = {}
    for record in json_lines(file, EXPECTED):
        name = record.values.get("id")
        if type(name) not in (str, int):
            record.fail("id", "a string or an integer")
        request_id = str(name)
        before = seen.setdefault(request_id, record.where)
        if before != record.where:
            shown = printable(request_id, 60)
            raise InputError(
                f'{record.where}: id "{shown}" already occurs in {before.rpartition(", ")[2]}; '
                "expected each id once: rename one of them"
            )
        prompt = record.values.get("prompt_token_ids")
        if not isinstance(prompt, list):
            record.fail("prompt_token_ids", "a list of token ids")
        yield _Request(record.where, request_id, len(prompt), _lengths(record, drafter))


def _lengths(record: Record, drafter: str) -> NDArray[np.int64]:
    recorded = record.values.get(f"acc_{drafter}")
    key = f"acc_{drafter}.acc_len"
    found = Record(record.where, {key: recorded.get("acc_len") if isinstance(recorded, dict) else None})
    lengths = found.integers(key, 1, MAX_SPECULATIVE_TOKENS + 1)
    if not lengths:
        found.fail(key, "a list of at least one length")
    return np.array(lengths, np.int64)
