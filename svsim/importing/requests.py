"""Acceptance recorded request by request: vLLM's responses, Spec-Bench, AIPerf, and files of our own."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.importing.record import AcceptanceRecord, ImportOptions, Tally, record_of_mean, record_of_tally
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.reading import Record, csv_records, json_lines, json_records
from svsim.synthetic.reported_trace import RecordedSteps

VLLM_EXPECTED = (
    'responses with metrics.speculative_decoding, or it alone: {"per_step_accepted": [2, 0, 3], '
    '"per_step_drafted": [3, 3, 3], ...}'
)


def read_vllm_requests(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """vLLM's per-request metrics: steps where all requests have them, else histograms."""
    found = [pair for file in files for pair in _vllm_statistics(file)]
    where = printable(files[0])
    if not found:
        raise InputError(f"{where}: holds no request; expected {VLLM_EXPECTED}")
    if all(stats.has("per_step_accepted") for stats, _ in found):
        return _vllm_steps(found, options, where)
    tally = Tally()
    for stats, _ in found:
        _add_histogram(tally, stats)
    return record_of_tally(tally, options, where, num_requests=len(found))


def _vllm_statistics(file: Path) -> Iterator[tuple[Record, Record]]:
    """(speculative decoding metrics, the response they are of) of every request that drafted."""
    for record in json_records(file, VLLM_EXPECTED, ("responses", "requests")):
        stats: Any = record.values
        for name in ("metrics", "speculative_decoding"):
            if isinstance(stats, dict) and isinstance(stats.get(name), dict):
                stats = stats[name]
        inner = Record(record.where, stats)
        if not inner.has("per_step_accepted") and not inner.has("acceptance_histogram"):
            inner.fail(
                "per_step_accepted", VLLM_EXPECTED, "record with --per-request-spec-decode-metrics detailed"
            )
        if inner.values.get("per_step_accepted") != []:
            yield inner, record


def _vllm_steps(
    found: Sequence[tuple[Record, Record]], options: ImportOptions, where: str
) -> AcceptanceRecord:
    steps, drafted = [], []
    for stats, response in found:
        accepted = stats.integers("per_step_accepted", 0, MAX_SPECULATIVE_TOKENS)
        if stats.has("per_step_drafted"):
            proposed = stats.integers("per_step_drafted", 0, MAX_SPECULATIVE_TOKENS)
            _check_steps(stats, accepted, proposed)
            drafted += proposed
        steps.append(_request(response, accepted, stats))
    said = [
        s.integer("num_spec_tokens", 1, MAX_SPECULATIVE_TOKENS) for s, _ in found if s.has("num_spec_tokens")
    ]
    return _of_steps(steps, max([*drafted, *said], default=None), options, where)


def _check_steps(stats: Record, accepted: list[int], drafted: list[int]) -> None:
    if len(accepted) != len(drafted):
        stats.fail("per_step_drafted", f"{len(accepted)} values, as per_step_accepted has")
    for step, (num, most) in enumerate(zip(accepted, drafted, strict=True)):
        if num > most:
            raise InputError(
                f"{stats.where}: step {step} accepted {num} of {most} drafted tokens, expected no more "
                "than drafted; "
                "mend per_step_accepted (the bonus token is not counted)"
            )


def _request(response: Record, accepted: Sequence[int], stats: Record) -> RecordedSteps:
    usage = response.values.get("usage")
    prompt = Record(response.where, usage).integer("prompt_tokens", 1) if isinstance(usage, dict) else None
    name = next((n for n in ("request_id", "id") if response.has(n)), None)
    return RecordedSteps(tuple(accepted), response.text(name) if name else None, prompt, where=stats.where)


def _add_histogram(tally: Tally, stats: Record) -> None:
    """Steps by accepted tokens: index n counts the steps that accepted n."""
    counts = stats.integers("acceptance_histogram")
    by_position = [float(sum(counts[d:])) for d in range(1, len(counts))]
    k = stats.integer("num_spec_tokens", 1) if stats.has("num_spec_tokens") else len(counts) - 1
    tally.add(sum(counts), sum(counts) * k, sum(by_position), by_position)


def _of_steps(
    steps: list[RecordedSteps], k: int | None, options: ImportOptions, where: str, bonus_note: str = ""
) -> AcceptanceRecord:
    """The record of steps; without a K in the file it is the user's, or the longest accepted run's."""
    seen: dict[str, str] = {}
    for request in steps:
        if (
            request.request_id is not None
            and seen.setdefault(request.request_id, request.where) != request.where
        ):
            name = printable(request.request_id, 60)
            raise InputError(
                f'{request.where}: id "{name}" already occurs in {seen[request.request_id]}, '
                "expected once; rename one"
            )
    if k is not None and options.k is not None and options.k != k:
        raise InputError(f"{where}: `k` {options.k} contradicts k = {k} in the file; leave `k` out")
    longest = max(max(request.accepted, default=0) for request in steps)
    notes = (bonus_note,) if bonus_note else ()
    known = k or options.k
    if known is None:
        known = max(longest, 1)
        notes = (
            *notes,
            f"{where}: does not say k; taken as {known}, the most that a step accepted (`k` says it)",
        )
    num_steps = sum(len(request.accepted) for request in steps)
    accepted = sum(sum(request.accepted) for request in steps)
    counted = {"num_steps": num_steps, "num_accepted_tokens": accepted}
    return AcceptanceRecord(
        steps=tuple(steps), k=known, num_requests=len(steps), counted=counted, notes=notes
    )


SPEC_BENCH_EXPECTED = (
    'Spec-Bench answers: lines {"question_id": 81, "choices": [{"accept_lengths": [3, 1, ...]}]}'
)


def read_spec_bench(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """Spec-Bench's answer files: tokens emitted by each step (the bonus is counted), all turns of a "
    "choice."""
    steps = []
    for file in files:
        for record in json_lines(file, SPEC_BENCH_EXPECTED):
            choices = record.values.get("choices")
            if not isinstance(choices, list) or not choices:
                record.fail("choices", f"a list; {SPEC_BENCH_EXPECTED}")
            for c, choice in enumerate(choices):
                inner = Record(f"{record.where}, choice {c}", choice if isinstance(choice, dict) else {})
                emitted = inner.integers("accept_lengths", 1, MAX_SPECULATIVE_TOKENS + 1)
                name = record.text("question_id") if record.has("question_id") else None
                task = record.text("category") if record.has("category") else None
                own = f"{name}-{c}" if name and len(choices) > 1 else name
                steps.append(RecordedSteps(tuple(n - 1 for n in emitted), own, None, task, inner.where))
    if not steps:
        raise InputError(f"{printable(files[0])}: holds no answer; expected {SPEC_BENCH_EXPECTED}")
    return _of_steps(steps, None, options, printable(files[0]))


AIPERF_EXPECTED = "lines of AIPerf's profile_export.jsonl with metrics.spec_decode_acceptance_length"


def read_aiperf(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """AIPerf's records: each request's mean acceptance length, weighted by its steps, and its lengths."""
    tokens = steps = 0.0
    lengths: list[tuple[int, int]] = []
    num = 0
    for file in files:
        for record in json_lines(file, AIPERF_EXPECTED):
            metrics = record.values.get("metrics")
            if not isinstance(metrics, dict):
                record.fail("metrics", f"an object; {AIPERF_EXPECTED}")
            if "spec_decode_acceptance_length" not in metrics and record.has("error"):
                continue  # a failed request measured nothing
            inner = Record(record.where, {name: _aiperf_value(value) for name, value in metrics.items()})
            length = inner.number("spec_decode_acceptance_length", 1.0, MAX_SPECULATIVE_TOKENS + 1)
            output = (
                inner.integer("output_sequence_length", 1) if inner.has("output_sequence_length") else None
            )
            if output is not None and inner.has("input_sequence_length"):
                lengths.append((inner.integer("input_sequence_length", 1), output))
            tokens += output or length
            steps += (output or length) / length
            num += 1
    if num == 0:
        raise InputError(f"{printable(files[0])}: holds no request; expected {AIPERF_EXPECTED}")
    about = {"num_requests": num, "lengths": tuple(lengths) if len(lengths) == num else ()}
    return record_of_mean(tokens / steps, None, options, printable(files[0]), **about)


def _aiperf_value(value: object) -> object:
    """A metric's number, with its unit or without."""
    return value.get("value") if isinstance(value, dict) else value


OWN_EXPECTED = (
    'lines {"k": 3, "accepted": [2, 0, 3]} (or "emitted": [3, 1, 4], the bonus token counted), or a CSV with '
    "the columns request_id,k,accepted (or emitted), one row per step"
)


def read_accept_lengths(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """Our own form: JSON lines, one request a line; or CSV, one step a row."""
    steps: list[RecordedSteps] = []
    ks: set[int] = set()
    for file in files:
        read: Callable[[Path, set[int]], Iterator[RecordedSteps]]
        read = _own_csv if file.suffix.lower() == ".csv" else _own_lines
        steps += read(file, ks)
    where = printable(files[0])
    if not steps:
        raise InputError(f"{where}: holds no request; expected {OWN_EXPECTED}")
    if len(ks) > 1:
        raise InputError(f"{where}: k is {min(ks)} and {max(ks)}, expected one k; split the file by k")
    return _of_steps(steps, max(ks, default=None), options, where)


def _own_lines(file: Path, ks: set[int]) -> Iterator[RecordedSteps]:
    for record in json_lines(file, OWN_EXPECTED):
        bonus = _bonus(record)
        accepted = record.integers("emitted" if bonus else "accepted", bonus, MAX_SPECULATIVE_TOKENS + bonus)
        if not accepted:
            record.fail("emitted" if bonus else "accepted", "a list of at least one step")
        if record.has("k"):
            ks.add(record.integer("k", 1, MAX_SPECULATIVE_TOKENS))
        yield _own_request(record, [num - bonus for num in accepted])


def _own_csv(file: Path, ks: set[int]) -> Iterator[RecordedSteps]:
    first: Record | None = None
    accepted: list[int] = []
    for record in csv_records(file, ("request_id",), OWN_EXPECTED):
        bonus = _bonus(record)
        if first is not None and record.text("request_id") != first.text("request_id"):
            yield _own_request(first, accepted)
            first, accepted = None, []
        first = first or record
        accepted.append(
            record.integer("emitted" if bonus else "accepted", bonus, MAX_SPECULATIVE_TOKENS + bonus) - bonus
        )
        if record.has("k"):
            ks.add(record.integer("k", 1, MAX_SPECULATIVE_TOKENS))
    if first is not None:
        yield _own_request(first, accepted)


def _bonus(record: Record) -> int:
    """1 where the bonus token is counted (``emitted``), 0 where it is not (``accepted``)."""
    given = [name for name in ("accepted", "emitted") if record.has(name)]
    if len(given) != 1:
        what = "accepted and emitted are both given" if given else "accepted is missing"
        raise InputError(f"{record.where}: {what}; expected {OWN_EXPECTED}")
    return int(given[0] == "emitted")


def _own_request(record: Record, accepted: list[int]) -> RecordedSteps:
    return RecordedSteps(
        tuple(accepted),
        record.text("request_id") if record.has("request_id") else None,
        record.integer("prompt_tokens", 1) if record.has("prompt_tokens") else None,
        record.text("task") if record.has("task") else None,
        record.where,
    )
