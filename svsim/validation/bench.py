"""A user's measured results against the replay's prediction of them.

``bench_files`` reads the files. Runs of the same method and batch size are repeats: their mean counts. A
server's throughput holds its prefills, so the replay that is compared holds them too (``prefill``).

Predicted latencies, closed loop: B sequences, n output tokens of a request, P seconds of its prefill, S of a
step, G tokens/s of all. A request stays B n / G seconds. TTFT = P + S: its prefill, then a step with the
others; nobody waits in a queue. TPOT = (B n / G - TTFT)/(n - 1), which holds the prefills of others. Without
prefill TPOT = B / G, and TTFT is not predicted.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from svsim.decoding.method import DecodingMethod
from svsim.decoding.presets import parse_method
from svsim.errors import InputError, MethodError, printable
from svsim.metrics.accuracy import Accuracy, GoodputPair, accuracy
from svsim.metrics.rows import ResultRow
from svsim.trace.parts import Needed, Source
from svsim.validation.bench_files import MeasuredRun, read_runs

Cell = tuple[str, int]
DIFFERENT = 0.1  # relative: lengths and acceptance of the trace that far from the measured run's are said


@dataclass(frozen=True, slots=True)
class BenchResults:
    """Measured runs by (method label, batch size), with what they were of."""

    methods: tuple[DecodingMethod, ...]
    batch_sizes: tuple[int, ...]
    runs: Mapping[Cell, tuple[MeasuredRun, ...]]

    @property
    def repeats_tok_s(self) -> dict[Cell, tuple[float, ...]]:
        """Tokens per second of every repeat."""
        return {cell: tuple(run.tok_s for run in runs) for cell, runs in self.runs.items()}

    @property
    def is_server(self) -> bool:
        """Whether the throughputs are a server's, which hold prefills."""
        return any(run.is_server for runs in self.runs.values() for run in runs)

    def mean(self, cell: Cell, name: str) -> float | None:
        """Mean of a field over the repeats that have it."""
        values = [v for run in self.runs[cell] if (v := getattr(run, name)) is not None]
        return sum(values) / len(values) if values else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was concluded about the files."""
        return tuple(dict.fromkeys(run.note for runs in self.runs.values() for run in runs if run.note))


@dataclass(frozen=True, slots=True)
class LatencyPair:
    """A mean latency (``ttft_s`` or ``tpot_s``) predicted and measured, seconds."""

    label: str
    batch_size: int
    name: str
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted_s / self.measured_s - 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "error": self.error}


@dataclass(frozen=True, slots=True)
class BenchComparison:
    """Throughputs and latencies against the prediction; cautions: where trace and run are not alike."""

    accuracy: Accuracy
    latencies: tuple[LatencyPair, ...]
    cautions: tuple[str, ...]


def read_bench(
    paths: str | Path | Sequence[str | Path],
    num_speculative_tokens: int,
    signals: Collection[str] = (),
    methods: Sequence[str] = (),
    batch_size: int | None = None,
) -> BenchResults:
    """Read measured results for a trace of that K and those signals (they complete method names).

    ``methods``: how the runs decoded, where their files do not say (one for all, or one for each file);
    ``batch_size``: requests at once, likewise. Raises InputError or MethodError: one line with the file and
    line, what was wrong, what was expected.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if len(methods) not in (0, 1, len(files)):
        raise InputError(
            f"`methods`: {len(methods)} are given for {len(files)} result files; expected one for each"
        )
    known: dict[str, DecodingMethod] = {}
    runs: dict[Cell, list[MeasuredRun]] = {}
    for place, file in enumerate(files):
        said = methods[place % len(methods)] if methods else None
        for run in read_runs(Path(file)):
            told = _with(run, said, batch_size)
            method = _method(told, num_speculative_tokens, signals)
            known.setdefault(method.label, method)
            assert told.batch_size is not None
            runs.setdefault((method.label, told.batch_size), []).append(told)
    return BenchResults(
        tuple(known.values()),
        tuple(sorted({batch for _, batch in runs})),
        {cell: tuple(values) for cell, values in runs.items()},
    )


def _with(run: MeasuredRun, method: str | None, batch_size: int | None) -> MeasuredRun:
    """The run with what the user says of it; the file's own word must not contradict it."""
    if method is not None:
        if run.method not in (None, method) and not run.note:
            raise InputError(
                f"{run.where}: was measured with {run.method}, not with `methods` {method}; leave it out"
            )
        run = replace(run, method=method, note="")
    if run.method is None:
        raise InputError(
            f"{run.where}: does not say how it decoded; give `methods`, td or sd with its k, as sd:k=3"
        )
    if run.batch_size is None:
        if batch_size is None:
            raise InputError(
                f"{run.where}: does not say how many requests ran at once; expected a run with a maximum "
                "concurrency, or give `batch`"
            )
        run = replace(run, batch_size=batch_size)
    return run


def _method(run: MeasuredRun, num_speculative_tokens: int, signals: Collection[str]) -> DecodingMethod:
    try:
        method = parse_method(str(run.method), num_speculative_tokens, signals)
    except MethodError as error:
        raise MethodError(f"{run.where}: {printable(error)}") from None
    if method.is_bound:
        raise InputError(f"{run.where}: {method.label} is a bound that no server can run; leave the row out")
    return method


def mean_lengths(source: Source) -> tuple[float, float]:
    """Mean prompt and output tokens of a trace's requests."""
    _, part = source.split(0.0, 0, Needed((), ()))
    prompts = sum(int(chunk.num_prompt_tokens.sum()) for chunk in part.chunks())
    return prompts / max(part.num_requests, 1), part.num_positions / max(part.num_requests, 1)


def compare_with_bench(
    rows: Iterable[ResultRow],
    bench: BenchResults,
    mean_prompt_tokens: float | None = None,
    mean_output_tokens: float | None = None,
) -> BenchComparison:
    """Errors of predicted rows (one deployment) at every measured method and batch size.

    The mean lengths are the trace's: latencies follow from them, and a run of other lengths is said. Raises
    InputError if a measured pair was not predicted or the rows are of several deployments.
    """
    known = {(row.label, row.batch_size): row for row in rows}
    deployments = sorted({row.deployment for row in known.values()})
    if len(deployments) > 1:
        raise InputError(
            f"the prediction is for {' and '.join(deployments)}; results are measured on one of them: "
            "give one `hardware`"
        )
    pairs = [_pair(cell, values, known.get(cell)) for cell, values in bench.repeats_tok_s.items()]
    latencies, cautions = [], []
    for cell in bench.runs:
        row = known[cell]
        predicted = _latencies(row, mean_output_tokens)
        latencies += [
            LatencyPair(*cell, name, predicted[name], measured)
            for name in ("ttft_s", "tpot_s")
            if (measured := bench.mean(cell, name)) is not None and predicted[name] > 0
        ]
        of_trace = {
            "mean_prompt_tokens": mean_prompt_tokens,
            "mean_output_tokens": mean_output_tokens,
            "mean_acceptance_length": row.mean_acceptance_length,
        }
        cautions += _differences(cell, bench, of_trace)
    return BenchComparison(accuracy(pairs), tuple(latencies), tuple(cautions))


def _latencies(row: ResultRow, mean_output_tokens: float | None) -> dict[str, float]:
    """Predicted seconds of TTFT (0 without prefill) and TPOT; see the module."""
    assert row.goodput_tok_s is not None
    per_token_s, n = row.batch_size / row.goodput_tok_s, mean_output_tokens or 0.0
    prefill_s = (row.prefill_time_s or 0.0) * row.num_steps * n / max(row.num_emitted_tokens, 1)
    if prefill_s <= 0.0 or n <= 1.0:
        return {"ttft_s": 0.0, "tpot_s": per_token_s}
    ttft_s = prefill_s + (row.step_time_s or 0.0)
    return {"ttft_s": ttft_s, "tpot_s": max(per_token_s * n - ttft_s, 0.0) / (n - 1.0)}


def _differences(cell: Cell, bench: BenchResults, of_trace: Mapping[str, float | None]) -> list[str]:
    words = {
        "mean_prompt_tokens": "prompts of {:,.0f} tokens in the trace, {:,.0f} measured",
        "mean_output_tokens": "outputs of {:,.0f} tokens in the trace, {:,.0f} measured",
        "mean_acceptance_length": "an acceptance length of {:.2f} in the trace, {:.2f} measured",
    }
    found = []
    for name, predicted in of_trace.items():
        measured = bench.mean(cell, name)
        if predicted and measured and abs(predicted / measured - 1.0) > DIFFERENT:
            found.append(f"{cell[0]} at batch {cell[1]}: {words[name].format(predicted, measured)}")
    return found


def _pair(cell: Cell, values: tuple[float, ...], row: ResultRow | None) -> GoodputPair:
    label, batch = cell
    if row is None or row.goodput_tok_s is None:
        reason = "does not fit into the hardware's memory" if row is not None else "was not predicted"
        raise InputError(f"{label} at batch {batch} {reason}; predict it too, or leave the measured row out")
    mean = sum(values) / len(values)
    error = None
    if len(values) > 1:
        variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
        error = math.sqrt(variance / len(values))
    return GoodputPair(label, batch, row.goodput_tok_s, mean, error)
