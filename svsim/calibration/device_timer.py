"""Seconds of stages of work: device events and CUDA graphs on a GPU, a clock on a CPU.

The clock of a CPU is that of the calling thread where torch uses one (what other programs take from the
machine then does not count), else the wall clock.

Between two timed repeats a buffer larger than the last-level cache is read, so that no repeat finds the
weights or caches of the one before it there.
"""

import itertools
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Stage = Callable[[], Any]
CLOCK_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds of every stage in every repeat: float64 [repeats, stages]."""

    seconds: NDArray[np.float64]


def cpu_clock() -> Callable[[], float]:
    """Seconds: of this thread if torch computes in it alone, else of the wall."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


class DeviceTimer:
    """Times stages that run one after the other and hand their results on through fixed tensors."""

    def __init__(self, device: torch.device, flush_bytes: int) -> None:
        self.device = device
        self.is_gpu = device.type == "cuda"
        self._flush = torch.ones(max(1, flush_bytes // 4), device=device)
        self._sink = torch.zeros((), device=device)

    def time(self, stages: Sequence[Stage], num_repeats: int, num_warm_ups: int = 2) -> StageTimes:
        """Warm up, capture each stage as a graph where there is a GPU, and time the repeats.

        Raises torch.OutOfMemoryError where the work does not fit.
        """
        return (
            self._on_gpu(stages, num_repeats, num_warm_ups)
            if self.is_gpu
            else self._on_cpu(stages, num_repeats, num_warm_ups)
        )

    def _on_cpu(self, stages: Sequence[Stage], num_repeats: int, num_warm_ups: int) -> StageTimes:
        for _ in range(num_warm_ups):
            for stage in stages:
                stage()
        seconds, clock = np.empty((num_repeats, len(stages))), cpu_clock()
        for repeat in range(num_repeats):
            self._read_flush_buffer()
            for index, stage in enumerate(stages):
                started = clock()
                stage()
                seconds[repeat, index] = clock() - started
        return StageTimes(seconds)

    def _on_gpu(self, stages: Sequence[Stage], num_repeats: int, num_warm_ups: int) -> StageTimes:
        graphs = [self.capture(stage, num_warm_ups) for stage in stages]
        new_event: Any = torch.cuda.Event
        marks = [[new_event(enable_timing=True) for _ in range(len(stages) + 1)] for _ in range(num_repeats)]
        for row in [None, *marks]:  # the first round is a warm-up of the graphs themselves
            self._read_flush_buffer()
            for index, graph in enumerate(graphs):
                if row is not None:
                    row[index].record()
                graph.replay()
            if row is not None:
                row[-1].record()
        torch.cuda.synchronize(self.device)
        milliseconds = [[a.elapsed_time(b) for a, b in itertools.pairwise(row)] for row in marks]
        return StageTimes(np.array(milliseconds) / 1e3)

    def capture(self, stage: Stage, num_warm_ups: int = 2, pool: Any = None) -> Any:
        """The stage as a CUDA graph, warmed up on a side stream first (libraries set themselves up).

        Graphs of one memory ``pool`` share what they need only while they run.
        """
        new_stream: Any = torch.cuda.Stream
        side = new_stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(num_warm_ups):
                stage()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool):
            stage()
        graph.replay()  # the next stage warms up on real values
        return graph

    def _read_flush_buffer(self) -> None:
        self._sink += self._flush.sum()


class ClockLog:
    """Clocks, temperature and power of the GPU as nvidia-smi reports them, sampled between shapes."""

    def __init__(self, device: torch.device, interval_s: float = 5.0) -> None:
        self.is_gpu, self.interval_s = device.type == "cuda", interval_s
        self.samples: list[tuple[float, ...]] = []
        self._last = -np.inf

    def sample(self) -> None:
        """Read the clocks unless that was done less than ``interval_s`` ago."""
        now = time.perf_counter()
        if not self.is_gpu or now - self._last < self.interval_s:
            return
        self._last = now
        query = ["nvidia-smi", f"--query-gpu={','.join(CLOCK_FIELDS)}", "--format=csv,noheader,nounits"]
        try:
            line = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
            self.samples.append(tuple(float(field) for field in line.splitlines()[0].split(",")))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            self.is_gpu = False

    def summary(self) -> dict[str, dict[str, float]] | None:
        """Least, median and largest reading of every field; None where nothing could be read."""
        if not self.samples:
            return None
        readings = np.array(self.samples)
        names = ("sm_clock_mhz", "memory_clock_mhz", "temperature_c", "power_w")
        return {
            name: {"min": float(v.min()), "median": float(np.median(v)), "max": float(v.max())}
            for name, v in zip(names, readings.T, strict=True)
        }
