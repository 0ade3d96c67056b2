"""Step times of the live loop's own parts: passes with their sampling, signals and bookkeeping."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.device.extras import Device, hardware_name
from svsim.latency.measured import MeasuredLatency
from svsim.latency.shape import Role
from svsim.random_streams import RandomStreams

if TYPE_CHECKING:
    from svsim.trace_capture.coherent_chains import Triple
    from svsim.validation.live_decoder import LiveDecoder
    from svsim.validation.live_report import LiveSettings


def live_latency(
    triple: "Triple", settings: "LiveSettings", device: Any, longest_prompt: int
) -> MeasuredLatency:
    """Step times of the loop's own parts (passes with sampling and signals), at every size of the batch."""
    from svsim.validation.live_decoder import LiveDecoder

    k, num = settings.num_speculative_tokens, settings.num_output_tokens
    rng = RandomStreams(settings.seed).generator("live timing")
    vocabulary = 64  # of the made-up prompts: any tokens do
    rows: list[dict[str, Any]] = []
    for context in sorted({max(longest_prompt // 3, 2), longest_prompt + num}):
        decoder = LiveDecoder(triple, settings.sampling, k, lambda s, c: c, device, settings.seed)
        prompts = rng.integers(0, vocabulary, (settings.batch_size, context)).tolist()
        decoder.start(prompts, 2 * k + 2)
        sizes = sorted({1, *(settings.batch_size * i // 4 for i in range(1, 5))} - {0})
        for size in sizes:
            rows += _timed_parts(decoder, size, context, settings)
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return MeasuredLatency.from_step_times(columns, out_of_range="extrapolate", where="live passes")


def _timed_parts(
    decoder: "LiveDecoder", size: int, context: int, settings: "LiveSettings"
) -> Iterator[dict[str, Any]]:
    """Rows of the step-time table: draft, companion and verifications of 0 to K tokens."""
    import torch

    rows, k = torch.arange(size, device=decoder.device), settings.num_speculative_tokens
    start = decoder.context.clone()
    with torch.inference_mode():
        drafted = decoder.draft(rows)
        works: list[tuple[Role, int, int, Callable[[], object]]] = [
            (Role.DRAFT, 1, k, lambda: decoder.draft(rows)),
            (Role.COMPANION, k, 1, lambda: decoder.score(rows, drafted)),
        ]
        for length in range(k + 1):
            lengths = np.full(size, length, np.int64)

            def check(lengths: NDArray[np.int64] = lengths) -> None:
                decoder.verify(rows, drafted, lengths)
                decoder.context.copy_(start)

            works.append((Role.TARGET, length + 1, 1, check))
        for role, each, divisor, work in works:
            seconds = []
            for _ in range(settings.num_timed + 1):
                watch = Stopwatch(settings.device)
                work()
                seconds.append(watch.seconds() / divisor)
            yield {
                "role": role.value,
                "hardware": hardware_name(settings.device),
                "tensor_parallel": 1,
                "num_sequences": size,
                "num_new_tokens": size * each,
                "num_kv_tokens": size * context,
                "seconds": float(np.median(seconds[1:])),
                "source": "measured",
            }


class Stopwatch:
    """Seconds since it was made, work of the device included."""

    def __init__(self, device: Device) -> None:
        from svsim.calibration.device_timer import cpu_clock

        self.device = device
        self._clock = time.perf_counter if device == "cuda" else cpu_clock()
        self._wait()
        self._began = self._clock()

    def seconds(self) -> float:
        """Once the device is done."""
        self._wait()
        return self._clock() - self._began

    def _wait(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
