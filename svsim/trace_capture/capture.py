"""``capture``: real models, a prompts file, and a dense coherent trace at the end.

Flow: load and compare the models, tokenize the prompts, run the missing batches one by one (each a
crash-safe shard), then write the trace from the shards with memory flat in its length.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.device.extras import hardware_name, require_extra, software_versions, torch_device
from svsim.errors import InputError
from svsim.latency.step_times import read_step_times
from svsim.progress import OnProgress, Progress
from svsim.random_streams import RandomStreams
from svsim.trace.file import TraceWriter, creation_date
from svsim.trace.step_times import check_step_times
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata
from svsim.trace_capture.prompts import TokenizedPrompt, read_prompts, tokenize
from svsim.trace_capture.settings import CaptureSettings

if TYPE_CHECKING:
    from svsim.trace_capture.model_loading import LoadedModels
    from svsim.trace_capture.shards import ShardFolder


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What a capture did; ``rule_bias``: rule -> mean total variation, its standard error, positions."""

    path: str
    num_requests: int
    num_positions: int
    num_dropped_not_a_number: int
    num_skipped_too_long: int
    mean_acceptance_length: float
    rule_bias: dict[str, dict[str, float]]
    elapsed_s: float


def capture(settings: CaptureSettings, progress: OnProgress | None = None) -> CaptureReport:
    """Record the trace ``settings.out``; returns once the file is complete.

    Raises InputError for bad input and InfeasibleError when the batch does not fit into memory (the
    message names one that does). An interrupted run keeps its finished batches: see ``resume``.
    """
    require_extra("torch", "transformers")
    from svsim.trace_capture.model_loading import load_models
    from svsim.trace_capture.shards import ShardFolder

    started = time.perf_counter()
    torch_device(settings.device)
    step_times = None
    if settings.step_times is not None:
        step_times = check_step_times(read_step_times(settings.step_times), str(settings.step_times))
    texts = read_prompts(settings.prompts, settings.max_requests)
    if not settings.out.parent.is_dir():
        raise InputError(f"{settings.out}: its folder does not exist; create it or choose another path")
    loaded = load_models(settings)
    room = loaded.max_tokens - settings.num_output_tokens - settings.num_speculative_tokens
    prompts, num_skipped = tokenize(
        texts,
        loaded.encode,
        settings.prompts,
        vocabulary_size=loaded.vocabulary_size,
        max_prompt_tokens=room,
        long_prompts=settings.long_prompts,
    )
    folder = ShardFolder.open(
        settings.out, _fingerprint(settings, loaded, prompts), creation_date(), settings.resume
    )
    _run_missing_batches(settings, loaded, prompts, folder, progress)
    summary = _summarize(settings, prompts, folder)
    metadata = _metadata(settings, loaded, folder.date, summary, num_skipped)
    with TraceWriter(settings.out, metadata, step_times=step_times) as writer:
        for chunk in _chunks(settings, prompts, folder, metadata):
            writer.write(chunk)
    folder.remove()
    return CaptureReport(
        str(settings.out),
        summary.num_requests,
        summary.num_positions,
        summary.num_dropped,
        num_skipped,
        summary.mean_acceptance_length,
        summary.rule_bias,
        time.perf_counter() - started,
    )


def _batches(num_requests: int, batch_size: int) -> Iterator[tuple[int, range]]:
    for index, first in enumerate(range(0, num_requests, batch_size)):
        yield index, range(first, min(first + batch_size, num_requests))


def _run_missing_batches(
    settings: CaptureSettings,
    loaded: "LoadedModels",
    prompts: list[TokenizedPrompt],
    folder: "ShardFolder",
    on_progress: OnProgress | None,
) -> None:
    from svsim.device.out_of_memory import run_or_name_fitting_batch
    from svsim.trace_capture.coherent_chains import ChainOptions, Triple, Uniforms, record_chains

    options = ChainOptions(
        settings.sampling,
        settings.num_speculative_tokens,
        settings.num_output_tokens,
        frozenset() if settings.ignore_eos else loaded.end_tokens,
        settings.num_rule_bias_stride,
    )
    streams = RandomStreams(settings.seed)
    missing = [b for b in _batches(len(prompts), settings.batch_size) if not folder.has(b[0])]
    total = sum(len(rows) for _, rows in missing) * settings.num_output_tokens
    triple = Triple(loaded.models["target"], loaded.models["draft"], loaded.models.get("companion"))
    done, started = 0, time.perf_counter()
    for index, rows in missing:
        ids = [prompts[i].token_ids for i in rows]
        uniforms = Uniforms.draw(
            [streams.generator("capture", i) for i in rows],
            options.num_positions,
            options.num_speculative_tokens,
        )

        def tell(position: int, before: int = done, num: int = len(rows)) -> None:
            if on_progress is not None:
                on_progress(
                    Progress("positions", before + position * num, total, time.perf_counter() - started)
                )

        record = run_or_name_fitting_batch(
            lambda n, told, ids=ids, uniforms=uniforms: record_chains(  # type: ignore[misc]
                triple, ids[:n], uniforms.first(n), options, device=loaded.device, on_round=told
            ),
            len(ids),
            tell,
        )
        folder.save(index, record)
        done += len(rows) * settings.num_output_tokens


def _fingerprint(
    settings: CaptureSettings, loaded: "LoadedModels", prompts: list[TokenizedPrompt]
) -> dict[str, Any]:
    """Everything that can change the bytes of a shard."""
    text = repr([(p.request_id, p.token_ids, p.task) for p in prompts])
    return {
        "models": {role: model.digest() for role, model in loaded.models.items()},
        "prompts": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "sampling": asdict(settings.sampling),
        "num_speculative_tokens": settings.num_speculative_tokens,
        "num_output_tokens": settings.num_output_tokens,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "ignore_eos": settings.ignore_eos,
        "num_rule_bias_stride": settings.num_rule_bias_stride,
        "hardware": hardware_name(settings.device),
        "software": software_versions(),
    }


@dataclass(frozen=True, slots=True)
class _Summary:
    num_requests: int
    num_positions: int
    num_dropped: int
    mean_acceptance_length: float
    rule_bias: dict[str, dict[str, float]]


def _summarize(settings: CaptureSettings, prompts: list[TokenizedPrompt], folder: "ShardFolder") -> _Summary:
    """Totals over the shards; InputError if nothing could be recorded."""
    names = ("num_positions", "num_accepted", "is_dropped", "bias_total", "bias_count")
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    tokens = steps = 0
    for index, _ in _batches(len(prompts), settings.batch_size):
        arrays = folder.load(index, *names)
        keep = ~arrays["is_dropped"]
        for name in names:
            parts[name].append(arrays[name] if name == "is_dropped" else arrays[name][keep])
        for row, num in zip(arrays["num_accepted"][keep], arrays["num_positions"][keep], strict=True):
            position = 0
            while position < num:
                tokens, steps = tokens + int(row[position]) + 1, steps + 1
                position += int(row[position]) + 1
    dropped = np.concatenate(parts["is_dropped"])
    if dropped.all():
        raise InputError(
            f"{settings.target}: every request gave logits that are not a number; use another dtype or model"
        )
    return _Summary(
        int((~dropped).sum()),
        int(np.concatenate(parts["num_positions"]).sum()),
        int(dropped.sum()),
        tokens / steps,
        _rule_bias(
            np.concatenate(parts["bias_total"]),
            np.concatenate(parts["bias_count"]),
            has_companion=settings.companion is not None,
        ),
    )


def _rule_bias(
    totals: NDArray[np.float64], counts: NDArray[np.int64], has_companion: bool
) -> dict[str, dict[str, float]]:
    """Mean bias per rule; its standard error from the spread between requests (a ratio estimate)."""
    from svsim.trace_capture.rule_bias import rules_with

    mean = totals.sum(0) / counts.sum()
    num = len(counts)
    spread = ((totals - counts[:, None] * mean) ** 2).sum(0) * num / max(num - 1, 1)
    error = np.sqrt(spread) / counts.sum()
    return {
        rule: {
            "mean_total_variation": float(mean[i]),
            "standard_error": float(error[i]),
            "num_positions": int(counts.sum()),
        }
        for i, rule in enumerate(rules_with(has_companion))
    }


def _metadata(
    settings: CaptureSettings, loaded: "LoadedModels", date: str, summary: _Summary, num_skipped: int
) -> TraceMetadata:
    from svsim.trace.accept_histogram import HISTOGRAM, NUM_BINS
    from svsim.trace_capture.signals import BIN_UNIT, MAX_RANK

    notes: dict[str, Any] = {
        "num_output_tokens": settings.num_output_tokens,
        "batch_size": settings.batch_size,
        "num_requests_dropped_not_a_number": summary.num_dropped,
        "num_prompts_skipped_too_long": num_skipped,
        "entropy_unit": "nats",
        "max_recorded_rank": MAX_RANK,
        "rule_bias": summary.rule_bias,
    }
    if settings.companion is not None:
        notes["companion_accept_bins"] = {
            "columns": list(HISTOGRAM),
            "edges": [b / NUM_BINS for b in range(NUM_BINS + 1)],
            "meaning": "draft probability of all tokens whose companion_accept is in the bin",
            "unit": BIN_UNIT,
        }
    return TraceMetadata(
        num_speculative_tokens=settings.num_speculative_tokens,
        acceptance_kind="captured",
        chains="coherent",
        models=loaded.descriptions,
        sampling=settings.sampling.to_metadata(),
        dataset=settings.dataset or settings.prompts.name,
        hardware=hardware_name(settings.device),
        software=software_versions(),
        seed=settings.seed,
        command=settings.command,
        date=date,
        extra={"capture": notes},
    )


def _chunks(
    settings: CaptureSettings, prompts: list[TokenizedPrompt], folder: "ShardFolder", metadata: TraceMetadata
) -> Iterator[TokenTrace]:
    """One TokenTrace per shard, in the order of the prompts."""
    from svsim.trace_capture.signals import COLUMN_GROUPS, OBSERVABLE

    left_out = {name for group in settings.leave_out for name in COLUMN_GROUPS[group]}
    has_tasks = any(p.task is not None for p in prompts)
    for index, rows in _batches(len(prompts), settings.batch_size):
        arrays = folder.load(index)
        kept = np.flatnonzero(~arrays["is_dropped"])
        if len(kept) == 0:
            continue
        lengths = arrays["num_positions"][kept]
        inside = np.arange(settings.num_output_tokens) < lengths[:, None]
        columns = {
            name.removeprefix("column/"): values[kept][inside]
            for name, values in arrays.items()
            if name.startswith("column/")
        }
        chosen = [prompts[rows[i]] for i in kept]
        yield TokenTrace(
            request_ids=tuple(p.request_id for p in chosen),
            first_position=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            num_prompt_tokens=np.array([len(p.token_ids) for p in chosen], np.int32),
            observable=ObservableColumns(
                {n: columns[n] for n in OBSERVABLE if n in columns and n not in left_out}
            ),
            target=TargetColumns(
                arrays["num_accepted"][kept][inside],
                columns["accept_prob"],
                columns["target_overlap"],
                extra={n: columns[n] for n in ("target_entropy", "target_rank") if n not in left_out},
            ),
            metadata=metadata,
            tasks=tuple(p.task or "" for p in chosen) if has_tasks else None,
        )
