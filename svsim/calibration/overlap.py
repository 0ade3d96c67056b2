"""Speculation beside verification: what two streams of one GPU cost each other.

While the target verifies one micro-batch, draft and companion run for the other. Both sides are timed
alone and against the other one running without a pause, so the slowdowns are those of full overlap.
Both streams share the GPU freely: no share of it is reserved for either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from svsim.calibration.settings import CalibrationSettings
from svsim.calibration.timed_pass import pass_stages
from svsim.device.extras import require_extra, torch_device
from svsim.errors import InfeasibleError
from svsim.latency.geometry import find_model
from svsim.latency.shape import Role

if TYPE_CHECKING:
    from svsim.calibration.decoder import RandomDecoder
    from svsim.calibration.device_timer import DeviceTimer

Work = Callable[[], None]


@dataclass(frozen=True, slots=True)
class OverlapRow:
    """Seconds of one verification and of one round of speculation (K draft passes and the companion's)."""

    num_sequences: int
    num_speculative_tokens: int
    context: int
    num_target_layers_timed: int
    verify_alone_s: float
    verify_beside_s: float
    speculate_alone_s: float
    speculate_beside_s: float


def measure_overlap(settings: CalibrationSettings) -> tuple[OverlapRow, ...]:
    """Time both sides alone and together at ``settings.overlap_batches``, K tokens and the middle context.

    A target that does not fit is timed with ``settings.num_layers`` layers: both of its times are then
    those of the subset, and only their ratio carries over. InfeasibleError if memory is too small.
    """
    require_extra("torch")
    import torch

    from svsim.calibration.device_timer import DeviceTimer
    from svsim.device.out_of_memory import is_out_of_memory

    timer = DeviceTimer(torch_device(settings.device), flush_bytes=4)
    context = sorted(settings.contexts)[len(settings.contexts) // 2]
    num_tokens, batches = settings.num_speculative_tokens, settings.overlap_batches
    cache_tokens = max(batches) * (context + num_tokens + 1)
    try:
        with torch.no_grad():
            decoders = {
                role: _decoder(settings, role, str(name), cache_tokens)
                for role, name in settings.models.items()
            }
            return tuple(
                _measure(decoders, timer, batch, num_tokens, context, settings.num_repeats)
                for batch in batches
            )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InfeasibleError(
            f"out of memory with all three models and {max(batches)} sequences of {context} tokens; "
            "overlap fewer sequences, time fewer layers of the target, or a shard of it"
        ) from None


def _decoder(settings: CalibrationSettings, role: str, model: str, cache_tokens: int) -> "RandomDecoder":
    from svsim.calibration.decoder import RandomDecoder, shard
    from svsim.device.extras import torch_dtype

    geometry, is_target = find_model(model), role == "target"
    subset = settings.num_layers if is_target else None
    return RandomDecoder(
        shard(geometry, settings.tensor_parallel if is_target else 1),
        min(subset or geometry.num_layers, geometry.num_layers),
        cache_tokens,
        device=torch_device(settings.device),
        dtype=torch_dtype(settings.dtype, settings.device),
    )


def works(
    decoders: "dict[str, RandomDecoder]", num_sequences: int, num_speculative_tokens: int, context: int
) -> tuple[Work, Work]:
    """One verification, and one round of speculation, as functions."""
    from svsim.calibration.pass_layout import PassLayout

    def stages(role: Role, each: int) -> Sequence[Work]:
        layout = PassLayout.spread(num_sequences, num_sequences * each, context)
        return pass_stages(decoders[role.value], layout, role)

    verification = stages(Role.TARGET, num_speculative_tokens + 1)
    drafting = stages(Role.DRAFT, 1)
    scoring = stages(Role.COMPANION, num_speculative_tokens)

    def verify() -> None:
        for stage in verification:
            stage()

    def speculate() -> None:
        for stage in (*(tuple(drafting) * num_speculative_tokens), *scoring):
            stage()

    return verify, speculate


def _measure(
    decoders: "dict[str, RandomDecoder]",
    timer: "DeviceTimer",
    batch: int,
    num_speculative_tokens: int,
    context: int,
    num_repeats: int,
) -> OverlapRow:
    verify, speculate = (
        timer.capture(work) for work in works(decoders, batch, num_speculative_tokens, context)
    )
    verify_alone_s = beside(timer, verify, None, 0, num_repeats)
    speculate_alone_s = beside(timer, speculate, None, 0, num_repeats)
    # enough of the other side to outlast the timed one, slowed down threefold
    num_speculations = int(np.ceil(3 * verify_alone_s / speculate_alone_s)) + 1
    num_verifications = int(np.ceil(3 * speculate_alone_s / verify_alone_s)) + 1
    return OverlapRow(
        batch,
        num_speculative_tokens,
        context,
        len(decoders["target"].layers),
        verify_alone_s,
        beside(timer, verify, speculate, num_speculations, num_repeats),
        speculate_alone_s,
        beside(timer, speculate, verify, num_verifications, num_repeats),
    )


def beside(timer: "DeviceTimer", timed: Any, other: Any, num_others: int, num_repeats: int) -> float:
    """Median seconds of the graph ``timed`` while ``other`` runs ``num_others`` times on a second stream."""
    import torch

    new_stream: Any = torch.cuda.Stream
    new_event: Any = torch.cuda.Event
    front, back = new_stream(timer.device), new_stream(timer.device)
    seconds = []
    for _ in range(num_repeats + 1):
        torch.cuda.synchronize(timer.device)
        begin, end = new_event(enable_timing=True), new_event(enable_timing=True)
        with torch.cuda.stream(back):
            for _ in range(num_others):
                other.replay()
        with torch.cuda.stream(front):
            begin.record()
            timed.replay()
            end.record()
        torch.cuda.synchronize(timer.device)
        seconds.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(seconds[1:]))
