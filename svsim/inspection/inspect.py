"""What ``svsim info`` says of a trace, put together; what the trace cannot say is left out, with a note."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.drafters import Drafter
from svsim.deployments import PricesAsked
from svsim.inspection.held_out import first_token_acceptance, information_of
from svsim.inspection.slow_steps import slow_steps_of
from svsim.metrics.acceptance import acceptance_by_depth, autocorrelation, fixed_length
from svsim.metrics.trace_checks import check_trace
from svsim.metrics.trace_information import Course, Sizes, TaskSummary, TokenCounts, TraceInformation
from svsim.progress import OnProgress
from svsim.speculation_math import Ints
from svsim.trace.measurement import (
    between_request_variance,
    slope_along_output,
    wrong_prefix_decay,
)
from svsim.trace.parts import Source
from svsim.trace.sample import TraceSample, sample_requests
from svsim.trace.token_trace import TokenTrace
from svsim.version import __version__


@dataclass(frozen=True, slots=True)
class InspectionSettings:
    """The file's name, the split and seed of beliefs; step times and drafter of the slow steps."""

    file: str | None
    profile_split: float
    seed: int
    prices: PricesAsked
    jobs: int
    drafter: Drafter | None = None


def inspect_trace(
    source: Source, settings: InspectionSettings, progress: OnProgress | None = None
) -> TraceInformation:
    """All of ``TraceInformation``. Raises the errors of reading the trace and of the step times asked for."""
    notes: list[str] = []
    sample = sample_requests(source)
    trace, seed = sample.trace, settings.seed
    if not sample.is_whole:
        notes.append(
            f"too long for memory: all but the sizes is of a sample of {trace.num_requests:,} requests "
            f"({trace.num_positions:,} positions), chosen by a hash of their ids"
        )
    deployment, slow_steps = slow_steps_of(
        source, trace, settings.prices, seed, settings.jobs, notes, settings.drafter, progress
    )
    latency = (
        settings.prices.latency
        if isinstance(settings.prices.latency, str)
        else settings.prices.latency.source
    )
    return TraceInformation(
        version=__version__,
        trace={"file": settings.file, **asdict(trace.metadata)},
        config={
            "profile_split": settings.profile_split,
            "latency": latency,
            "hardware": list(settings.prices.hardware),
            "seed": seed,
        },
        sizes=_sizes(sample),
        by_depth=acceptance_by_depth(trace),
        fixed_lengths=tuple(fixed_length(trace, k, seed) for k in range(1, trace.num_speculative_tokens + 1)),
        course=_course(trace),
        deployment=deployment,
        slow_steps=slow_steps,
        information=information_of(sample, settings.profile_split, seed, notes),
        checks=check_trace(trace),
        notes=tuple(notes),
    )


def _sizes(sample: TraceSample) -> Sizes:
    trace, sizes = sample.trace, sample.sizes
    target = {"accept_prob": trace.target.accept_prob, "target_overlap": trace.target.target_overlap}
    return Sizes(
        num_requests=len(sizes.num_output_tokens),
        num_positions=int(sizes.num_output_tokens.sum()),
        num_speculative_tokens=trace.num_speculative_tokens,
        num_read_requests=trace.num_requests,
        num_read_positions=trace.num_positions,
        prompt_tokens=_counts(sizes.num_prompt_tokens),
        output_tokens=_counts(sizes.num_output_tokens),
        tasks=_tasks(sample),
        signals=tuple(sorted(trace.observable.signals)),
        target_columns=(
            "num_accepted",
            *(name for name, values in target.items() if values is not None),
            *trace.target.outcomes,
        ),
        step_times=_deployments_of(trace),
    )


def _counts(tokens: NDArray[np.integer]) -> TokenCounts:
    return TokenCounts(float(tokens.mean()), float(np.median(tokens)), int(tokens.min()), int(tokens.max()))


def _deployments_of(trace: TokenTrace) -> tuple[str, ...]:
    """``hardware:tp=N`` of the target's step times, in their order."""
    if trace.step_times is None:
        return ()
    columns = (trace.step_times[name] for name in ("role", "hardware", "tensor_parallel"))
    rows = zip(*columns, strict=True)
    return tuple(dict.fromkeys(f"{name}:tp={degree}" for role, name, degree in rows if role == "target"))


def _tasks(sample: TraceSample) -> tuple[TaskSummary, ...]:
    trace, sizes = sample.trace, sample.sizes
    names = np.array(trace.tasks or ())
    found = []
    for task in sorted(sizes.requests_of_task):
        first = length = None
        members = np.flatnonzero(names == task)
        if len(members):
            part = trace.select(members)
            first = float((part.target.num_accepted > 0).mean())
            length = fixed_length(part, part.num_speculative_tokens, 0).mean_acceptance_length.value
        counts = sizes.requests_of_task[task], sizes.positions_of_task[task]
        found.append(TaskSummary(task, *counts, first, length))
    return tuple(found)


def _course(trace: TokenTrace) -> Course:
    a, first = first_token_acceptance(trace), trace.first_position
    task_of_request = np.unique(trace.tasks or ("",) * trace.num_requests, return_inverse=True)[1]
    task: Ints = np.repeat(task_of_request, trace.num_output_tokens)
    around_task = a - (np.bincount(task, a) / np.bincount(task))[task]
    between = between_request_variance(around_task, first)
    decay = None
    if trace.target.accept_prob is not None:
        decay = wrong_prefix_decay(trace.target.accept_prob, trace.target.num_accepted, first)
    return Course(
        autocorrelation(a, first, task),
        None if between is None else float(np.sqrt(max(between, 0.0))),
        slope_along_output(a, first),
        decay,
    )
