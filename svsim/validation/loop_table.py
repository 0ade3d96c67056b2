"""What a comparison may leave open: methods, batch sizes, and the table of its prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from svsim.calibration.calibrate import calibrate
from svsim.calibration.settings import CalibrationSettings
from svsim.engines.settings import RunSettings
from svsim.errors import InputError
from svsim.progress import OnProgress
from svsim.trace.parts import Needed, Source
from svsim.validation.loop_report import BATCH_SIZES, METHODS, LoopSettings
from svsim.validation.runnable import runnable_methods

SIGNALS_OF_SV = {"similarity", "companion_accept"}


def usual_methods(source: Source, models: Mapping[str, str | None]) -> tuple[str, ...]:
    """Of the methods that are usually compared, those that the models and the trace can run."""
    limit = source.metadata.num_speculative_tokens
    found = []
    for text in METHODS:
        name, _, k = text.partition(":k=")
        needs_companion = name.startswith("sv")
        if k and (models.get("draft") is None or int(k) > limit):
            continue
        if needs_companion and (models.get("companion") is None or not set(source.signals) >= SIGNALS_OF_SV):
            continue
        found.append(text)
    return tuple(found)


def usual_batch_sizes(source: Source) -> tuple[int, ...]:
    """The usual batch sizes, in order of value, as far as half of the trace's requests fill them."""
    _, part = source.split(0.0, 0, Needed((), ()))
    return tuple(size for size in BATCH_SIZES if size <= max(1, part.num_requests // 2))


def check_loop(source: Source, settings: LoopSettings) -> None:
    """Raise what the loop would raise about methods and batch sizes, without step times."""
    methods = runnable_methods(settings.methods, source, settings.models)
    is_learning = any(m.belief is not None and m.belief.needs_profile for m in methods)
    share = RunSettings(methods, settings.batch_sizes).profile_split if is_learning else 0.0
    _, part = source.split(share, settings.seed, Needed((), ()))
    if max(settings.batch_sizes) > part.num_requests:
        raise InputError(
            f"batch {max(settings.batch_sizes)} exceeds the {part.num_requests} requests to replay; use "
            "smaller batches or a longer trace"
        )


def calibrate_for(
    source: Source,
    settings: LoopSettings,
    out: Path,
    seconds_per_model: float,
    on_progress: OnProgress | None = None,
) -> None:
    """Write the step-time table ``out`` over the batch sizes and contexts that the loop will see.

    Its shapes are not the loop's: three contexts (the trace's shortest, mean and longest), even batches.
    What the loop would refuse is refused before anything is timed.
    """
    check_loop(source, settings)
    _, part = source.split(0.0, settings.seed, Needed((), ()))
    low, high = part.context_range
    limit = source.metadata.num_speculative_tokens
    models: dict[str, Any] = {role.value: name for role, name in settings.models.items()}
    calibrate(
        CalibrationSettings(
            out,
            **models,
            num_speculative_tokens=limit,
            num_sequences=tuple(sorted(settings.batch_sizes)),
            contexts=tuple(sorted({max(low, 1), round(part.context_mean), high + limit + 1})),
            seconds_per_model=seconds_per_model,
            seed=settings.seed,
            device=settings.device,
            dtype=settings.dtype,
            command=settings.command,
        ),
        on_progress,
    )
