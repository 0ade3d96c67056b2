"""The formats of ``svsim import``, and the one way from their files to a trace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svsim.errors import InputError, printable
from svsim.importing import bench_results, engine_stats, golden_al, logs, metrics, requests
from svsim.importing.record import RATIO_TOLERANCE, AcceptanceRecord, ImportOptions
from svsim.importing.specdecode_bench import read_specdecode_bench
from svsim.reading import text_lines
from svsim.synthetic.memory import check_requests
from svsim.synthetic.reported import AcceptanceProfile, profile_of_rates
from svsim.synthetic.reported_trace import RequestLengths, trace_of_rates, trace_of_steps
from svsim.synthetic.settings import LengthLaw
from svsim.trace.measurement import visited_starts
from svsim.trace.metadata import creation_date
from svsim.trace.token_trace import TokenTrace, TraceMetadata
from svsim.trace.validation import check_trace

Reader = Callable[[Sequence[Path], ImportOptions], AcceptanceRecord]

DEFAULT_REQUESTS, DEFAULT_PROMPT, DEFAULT_OUTPUT = 512, 512, 256


@dataclass(frozen=True, slots=True)
class ImportFormat:
    """One format: what reads it (None: a dense trace of its own), how many files, what they are.

    has_series: a file may hold several models or modes.
    """

    name: str
    read: Reader | None
    what: str
    most_files: int = 1
    has_series: bool = False


def _vllm_metrics(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    return metrics.read_counters(files, options, "vllm")


def _llamacpp(files: Sequence[Path], options: ImportOptions) -> AcceptanceRecord:
    """A scrape (or two), or the server's log."""
    if any("llamacpp:" in text for _, text in text_lines(files[0], logs.LLAMACPP_EXPECTED)):
        return metrics.read_counters(files, options, "llamacpp")
    return logs.read_llamacpp_log(files, options)


MANY = 10_000
FORMATS: Mapping[str, ImportFormat] = {
    made.name: made
    for made in (
        ImportFormat("specdecode-bench", None, "accepted lengths at every position, JSON lines"),
        ImportFormat(
            "vllm-metrics", _vllm_metrics, "vLLM's /metrics: one scrape, or before and after", 2, True
        ),
        ImportFormat("vllm-log", logs.read_vllm_log, "vLLM's log with SpecDecoding metrics", MANY),
        ImportFormat(
            "vllm-requests", requests.read_vllm_requests, "vLLM's responses with spec-decode metrics", MANY
        ),
        ImportFormat("vllm-bench", bench_results.read_vllm_bench, "vllm bench serve --save-result"),
        ImportFormat(
            "sglang-metrics", metrics.read_sglang_gauges, "SGLang's /metrics (a mean; `k`)", has_series=True
        ),
        ImportFormat(
            "sglang-log", logs.read_sglang_log, "SGLang's log, or its bench's JSON lines (a mean; `k`)", MANY
        ),
        ImportFormat(
            "trtllm", engine_stats.read_trtllm, "TensorRT-LLM's iteration statistics or /metrics", 1, True
        ),
        ImportFormat("llamacpp", _llamacpp, "llama.cpp's /metrics (one or two), or its log", 2, True),
        ImportFormat("aiperf", requests.read_aiperf, "AIPerf's profile_export.jsonl (means; `k`)", MANY),
        ImportFormat(
            "golden-al", golden_al.read_golden_al, "InferenceX's acceptance lengths by k, YAML", 1, True
        ),
        ImportFormat(
            "spec-bench", requests.read_spec_bench, "Spec-Bench's answers with accept_lengths", MANY
        ),
        ImportFormat(
            "accept-lengths",
            requests.read_accept_lengths,
            "accepted lengths per step, JSON lines or CSV",
            MANY,
        ),
    )
}  # format name of ``svsim import`` -> how it is read


@dataclass(frozen=True, slots=True)
class Imported:
    """A trace, and one line for each thing that was assumed about it."""

    trace: TokenTrace
    notes: tuple[str, ...]

    def acceptance(self) -> dict[str, Any]:
        """k, mean acceptance length and rates of the steps that ``sd`` takes at that k, and other k."""
        k = self.trace.num_speculative_tokens
        starts = visited_starts(self.trace.target.num_accepted, self.trace.first_position)
        accepted = self.trace.target.num_accepted[starts]
        rates = [float((accepted >= d).mean()) for d in range(1, k + 1)]
        extra = self.trace.metadata.extra
        return {
            "k": k,
            "mean_acceptance_length": 1.0 + sum(rates),
            "rates_at_step_starts": rates,
            "num_steps": len(accepted),
            "recorded": extra.get("acceptance"),
            "other_k": extra.get("other_k", []),
        }


def import_acceptance(
    format_name: str, files: Sequence[str | Path], options: ImportOptions | None = None
) -> Imported:
    """The trace of a recording in that format; same files, options and seed, same trace.

    Replayed with ``sd`` at the recorded k, it has the recorded mean acceptance length and rates. Raises
    InputError: one line that says what was expected and where.
    """
    known = FORMATS.get(format_name)
    if known is None:
        raise InputError(f"unknown format {printable(format_name, 40)}; known: {', '.join(FORMATS)}")
    if not 1 <= len(files) <= known.most_files:
        expected = "one file" if known.most_files == 1 else "one file, or two: before, after"
        raise InputError(f"{format_name}: {len(files)} files, expected {expected}")
    options = options or ImportOptions()
    if options.series is not None and not known.has_series:
        raise InputError(f"{format_name}: a file holds one series; leave `series` out")
    paths = [Path(file) for file in files]
    source = {"format": format_name, "files": [path.name for path in paths]}
    metadata = TraceMetadata(
        num_speculative_tokens=1,
        acceptance_kind="imported",
        chains="independent",
        models=options.models,
        sampling={} if options.greedy is None else {"greedy": options.greedy},
        seed=options.seed,
        command=options.command,
        date=creation_date(),
        extra={"source": source},
    )
    if known.read is None:
        return _dense(paths[0], options, metadata)
    record = known.read(paths, options)
    made = (
        _of_steps(record, options, metadata)
        if record.steps
        else _of_rates(record, options, metadata, paths[0])
    )
    check_trace(made.trace, printable(paths[0]))
    return made


OF_RATES = ("accept_by_position", "shape", "proposal_share")  # options that say what rates are


def _dense(file: Path, options: ImportOptions, metadata: TraceMetadata) -> Imported:
    for name in ("num_requests", "prompt_tokens", "output_tokens", *OF_RATES):
        if getattr(options, name) is not None:
            raise InputError(f"specdecode-bench: its requests are recorded; leave `{name}` out")
    trace, notes = read_specdecode_bench(file, options, replace(metadata, seed=None))
    check_trace(trace, printable(file))
    return Imported(trace, notes)


def _metadata_of(record: AcceptanceRecord, options: ImportOptions, metadata: TraceMetadata) -> TraceMetadata:
    counted = {**metadata.extra["source"], **record.counted}
    return replace(
        metadata,
        models={**record.models, **options.models},
        dataset=record.dataset,
        extra={**metadata.extra, "source": counted},
    )


def _of_steps(record: AcceptanceRecord, options: ImportOptions, metadata: TraceMetadata) -> Imported:
    """Recorded steps, end to end; more requests than recorded repeat them in order."""
    for name in ("output_tokens", *OF_RATES):
        if getattr(options, name) is not None:
            raise InputError(
                f"{metadata.extra['source']['format']}: its steps are recorded; leave `{name}` out"
            )
    steps, notes = list(record.steps), list(record.notes)
    num = options.num_requests or len(steps)
    check_requests(num, sum(step.num_output_tokens for step in steps) / len(steps))
    if num > len(steps):
        notes.append(f"{len(steps)} recorded requests are repeated to {num}")
    taken = [steps[r % len(steps)] for r in range(num)]
    taken = [replace(s, request_id=None) if r >= len(steps) else s for r, s in enumerate(taken)]
    prompt = options.prompt_tokens
    if prompt is None and any(step.num_prompt_tokens is None for step in steps):
        notes.append(f"prompts of {DEFAULT_PROMPT} tokens assumed (`prompt_tokens` says it)")
    assert record.k is not None
    about = _with_notes(_metadata_of(record, options, metadata), [*notes, STEPWISE])
    trace = trace_of_steps(taken, record.k, about, prompt or LengthLaw(DEFAULT_PROMPT), options.seed)
    return Imported(trace, (*notes, STEPWISE))


STEPWISE = (
    "positions between recorded steps take the outcome of one of their request's steps: other k than "
    "recorded "
    "is an estimate"
)


def _of_rates(
    record: AcceptanceRecord, options: ImportOptions, metadata: TraceMetadata, file: Path
) -> Imported:
    profile = record.profile
    assert profile is not None
    notes = list(record.notes)
    if options.shape is not None and not record.is_spread:
        raise InputError(
            f"{printable(file)}: rates by position are known, no mean is spread over them; leave `shape` out"
        )
    if options.accept_by_position is not None:
        profile = _given_rates(profile, options.accept_by_position, printable(file))
    if options.proposal_share is not None:
        profile = profile.drafting(options.proposal_share)
        notes.append(f"{options.proposal_share:g} of the steps draft; the others accept nothing")
    lengths = _lengths(record, options, notes)
    notes.append(profile.assumptions())
    about = _with_notes(_metadata_of(record, options, metadata), notes)
    return Imported(trace_of_rates(profile, lengths, about, options.seed), tuple(notes))


def _given_rates(profile: AcceptanceProfile, rates: tuple[float, ...], where: str) -> AcceptanceProfile:
    given = profile_of_rates(rates, "`accept_by_position`")
    known, told = profile.mean_acceptance_length, given.mean_acceptance_length
    if given.k != profile.k or abs(told - known) > RATIO_TOLERANCE * known:
        raise InputError(
            f"{where}: `accept_by_position` tells a mean acceptance length of {told:.3f} at k = "
            f"{given.k}, the file "
            f"{known:.3f} at k = {profile.k}; expected the same, leave one out"
        )
    return given


def _lengths(record: AcceptanceRecord, options: ImportOptions, notes: list[str]) -> RequestLengths:
    """Recorded lengths, else the user's, else the file's means, else assumed ones (a note says so)."""
    num = options.num_requests or record.num_requests or DEFAULT_REQUESTS
    prompt = options.prompt_tokens or _mean(record.mean_prompt_tokens)
    output = options.output_tokens or _mean(record.mean_output_tokens)
    if record.lengths:
        import numpy as np

        check_requests(num, sum(tokens for _, tokens in record.lengths) / len(record.lengths))
        recorded = np.resize(np.array(record.lengths, np.int64), (num, 2))
        made = RequestLengths.drawn(num, prompt or LengthLaw(1), output or LengthLaw(1), options.seed)
        return RequestLengths(
            made.num_prompt_tokens if options.prompt_tokens else recorded[:, 0],
            made.num_output_tokens if options.output_tokens else recorded[:, 1],
        )
    assumed = [
        f"{what} of {default} tokens (`{name}`)"
        for what, name, law, default in (
            ("prompts", "prompt_tokens", prompt, DEFAULT_PROMPT),
            ("outputs", "output_tokens", output, DEFAULT_OUTPUT),
        )
        if law is None
    ]
    if assumed:
        notes.append(f"not in the file, assumed: {', '.join(assumed)}")
    return RequestLengths.drawn(
        num, prompt or LengthLaw(DEFAULT_PROMPT), output or LengthLaw(DEFAULT_OUTPUT), options.seed
    )


def _mean(tokens: float | None) -> LengthLaw | None:
    return LengthLaw(max(tokens, 1.0), maximum=1_000_000) if tokens else None


def _with_notes(metadata: TraceMetadata, notes: Sequence[str]) -> TraceMetadata:
    extra: dict[str, Any] = {**metadata.extra, "assumed": list(notes)}
    return replace(metadata, extra=extra)
