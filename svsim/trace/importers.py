"""Reads acceptance recordings of other projects as traces."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from svsim.errors import InputError, TraceError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.trace.metadata import creation_date
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata
from svsim.trace.validation import check_trace

Drafter = Literal["eagle", "ngram"]

MAX_LINE_BYTES = 64 << 20
_DRAFT_MODELS: Mapping[str, str] = {"eagle": "EAGLE", "ngram": "n-gram"}


def import_specdecode_bench(path: str | os.PathLike[str], drafter: Drafter = "eagle") -> TokenTrace:
    """The trace of one drafter in a SpecDecode-Bench file (JSON lines, one request a line).

    ``acc_<drafter>.acc_len[i]`` there is the number of tokens emitted (accepted + 1) by a step that
    starts at output position i; its length is the request's number of output positions. (For EAGLE
    that is not always the length of ``generated_token_ids``, which a different run produced.)
    K = max(acc_len) - 1 over the file. There are no companion signals. Source: github.com/SpecDecode-Bench/
    simulator, commit 2fdccbd; "Speculative Decoding: Performance or Illusion?", arXiv 2601.11580. Raises
    TraceError naming the line that is not such a request, or an id that occurs twice.
    """
    if drafter not in _DRAFT_MODELS:
        known = ", ".join(_DRAFT_MODELS)
        raise InputError(
            f"drafter {printable(drafter, 40)!r} is not in SpecDecode-Bench; expected one of {known}"
        )
    source, file = Path(path), printable(path)
    requests = [_request(line, drafter) for line in _lines(source, file)]
    if not requests:
        raise TraceError(f"{file}: holds no requests; expected one JSON object a line")
    first_line: dict[str, int] = {}
    for request in requests:
        before = first_line.setdefault(request.request_id, request.line)
        if before != request.line:
            name = printable(request.request_id, 60)
            raise TraceError(
                f'{file}, line {request.line}: id "{name}" already occurs in line {before}; '
                "expected each id once: rename one of them"
            )
    num_emitted = np.concatenate([request.num_emitted for request in requests])
    k = int(num_emitted.max()) - 1
    if not 1 <= k <= MAX_SPECULATIVE_TOKENS:
        raise TraceError(
            f"{file}: the largest acc_{drafter}.acc_len is {k + 1}, expected 2 to "
            f"{MAX_SPECULATIVE_TOKENS + 1} (K is one less); choose another drafter or file"
        )
    trace = TokenTrace(
        request_ids=tuple(request.request_id for request in requests),
        first_position=np.cumsum([0, *(len(request.num_emitted) for request in requests)]),
        num_prompt_tokens=np.array([request.num_prompt_tokens for request in requests], np.int32),
        observable=ObservableColumns({}),
        target=TargetColumns((num_emitted - 1).astype(np.int16)),
        metadata=_metadata(source, drafter, k),
    )
    check_trace(trace, file)
    return trace


def _metadata(source: Path, drafter: Drafter, num_speculative_tokens: int) -> TraceMetadata:
    return TraceMetadata(
        num_speculative_tokens=num_speculative_tokens,
        acceptance_kind="imported",
        chains="independent",
        models={"target": {"name": "Llama-3.1-8B-Instruct"}, "draft": {"name": _DRAFT_MODELS[drafter]}},
        sampling={"greedy": True},
        dataset=source.stem,
        hardware="H100",
        date=creation_date(),
        extra={
            "source": {
                "format": "specdecode-bench",
                "repository": "https://github.com/SpecDecode-Bench/simulator",
                "commit": "2fdccbd",
                "paper": "Speculative Decoding: Performance or Illusion?, arXiv 2601.11580",
                "file": source.name,
                "drafter": drafter,
            }
        },
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a JSON-lines file that holds a JSON object."""

    file: str
    number: int
    values: dict[str, Any]

    def fail(self, key: str, got: str, expected: str) -> NoReturn:
        raise TraceError(
            f"{self.file}, line {self.number}: {key} is {got}, expected {expected}; mend or remove the line"
        )


@dataclass(frozen=True, slots=True)
class _Request:
    line: int
    request_id: str
    num_prompt_tokens: int
    num_emitted: np.ndarray[Any, np.dtype[np.int64]]


def _lines(path: Path, file: str) -> Iterator[_Line]:
    """The objects of a JSON-lines file; blank lines are skipped."""
    try:
        if not path.is_file():
            raise TraceError(f"{file}: no such file, or not a regular one; check the path")
        with path.open("rb") as stream:
            number = 0
            while text := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(text) > MAX_LINE_BYTES:
                    raise TraceError(
                        f"{file}, line {number}: longer than {MAX_LINE_BYTES} bytes; split the request"
                    )
                if text.strip():
                    yield _Line(file, number, _parse(text, file, number))
    except OSError as error:
        reason = printable(error.strerror or error)
        raise TraceError(f"{file}: cannot be read ({reason}); check the path and its rights") from error


def _parse(text: bytes, file: str, number: int) -> dict[str, Any]:
    try:
        values = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TraceError(
            f"{file}, line {number}: not JSON ({printable(error, 80)}); expected one JSON object a line"
        ) from None
    if not isinstance(values, dict):
        raise TraceError(f"{file}, line {number}: holds no JSON object; expected one JSON object a line")
    return values


def _request(line: _Line, drafter: Drafter) -> _Request:
    request_id, prompt = line.values.get("id"), line.values.get("prompt_token_ids")
    if type(request_id) not in (str, int):
        line.fail("id", _shown(request_id), "a string or an integer")
    if not isinstance(prompt, list):
        line.fail("prompt_token_ids", _shown(prompt), "a list of token ids")
    recorded = line.values.get(f"acc_{drafter}")
    lengths = recorded.get("acc_len") if isinstance(recorded, dict) else None
    key = f"acc_{drafter}.acc_len"
    if not isinstance(lengths, list) or not lengths:
        line.fail(key, _shown(lengths), "a list of at least one length")
    for length in lengths:
        if type(length) is not int or not 1 <= length <= MAX_SPECULATIVE_TOKENS + 1:
            line.fail(key, f"a list with {_shown(length)}", f"integers in 1..{MAX_SPECULATIVE_TOKENS + 1}")
    return _Request(line.number, str(request_id), len(prompt), np.array(lengths, np.int64))


def _shown(value: object) -> str:
    return "missing" if value is None else printable(json.dumps(value), 60)


# format name of `svsim import` -> importer
IMPORTERS: Mapping[str, Callable[..., TokenTrace]] = {"specdecode-bench": import_specdecode_bench}
