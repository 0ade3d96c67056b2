"""Stand-ins for streams, events and graphs, so that the GPU's code paths run where there is no GPU.

A fake graph runs the captured function once at capture and again at every replay; a fake event reads the
wall clock. Nothing about a real GPU's timing is implied.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from svsim.calibration.device_timer import DeviceTimer


class FakeStream:
    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, other: "FakeStream") -> None:
        assert isinstance(other, FakeStream)


class FakeEvent:
    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.at_s = float("nan")

    def record(self) -> None:
        self.at_s = time.perf_counter()

    def elapsed_time(self, later: "FakeEvent") -> float:
        return 1e3 * (later.at_s - self.at_s)


class FakeGraph:
    num_replays = 0

    def replay(self) -> None:
        FakeGraph.num_replays += 1
        time.sleep(1e-4)


@contextmanager
def nothing(*_: object) -> Iterator[None]:
    yield


@pytest.fixture
def fake_gpu_timer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A DeviceTimer that believes it has a GPU."""
    for name, value in {
        "Stream": FakeStream,
        "Event": FakeEvent,
        "CUDAGraph": FakeGraph,
        "graph": nothing,
        "stream": nothing,
        "current_stream": FakeStream,
        "synchronize": lambda *_: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    FakeGraph.num_replays = 0
    timer = DeviceTimer(torch.device("cpu"), flush_bytes=1024)
    timer.is_gpu = True
    return timer
