"""Repeats come in rounds, the most valuable shapes survive a short budget, memory errors are counted."""

import numpy as np
import pytest

from svsim.calibration import timing_rounds
from svsim.calibration.timing_rounds import repeats_by_round, time_in_rounds
from svsim.progress import Progress, ProgressLines


class FakeTimer:
    """One second per timing on a clock of its own; shape 99 never fits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.timed = 0.0, []
        monkeypatch.setattr(timing_rounds.time, "perf_counter", lambda: self.now_s)

    def time(self, shape: int, num_repeats: int) -> np.ndarray:
        if shape == 99:
            raise MemoryError("out of memory")
        self.now_s += 1.0
        self.timed.append(shape)
        return np.full((num_repeats, 3), float(len(self.timed)))


def nothing(done: int, total: int) -> None:
    assert 1 <= done <= total


def test_rounds() -> None:
    assert repeats_by_round(10, in_rounds=False) == [10]
    assert repeats_by_round(7, in_rounds=True) == [2, 2, 2, 1]
    assert repeats_by_round(1, in_rounds=True) == [1]


def test_every_shape_is_met_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = FakeTimer(monkeypatch)
    found = time_in_rounds([1, 2], [7], timer.time, [2, 2], 100.0, nothing)
    assert timer.timed == [1, 2, 7, 1, 2, 7]
    assert found.stages[2][:, 0].tolist() == [2.0, 2.0, 5.0, 5.0]
    assert (found.num_late, found.num_large) == (0, 0)


def test_a_short_budget_keeps_the_first_shapes_and_those_that_are_always_timed(monkeypatch) -> None:
    timer = FakeTimer(monkeypatch)
    found = time_in_rounds([1, 2, 3, 4, 5], [7], timer.time, [2, 2, 2], 6.0, nothing)
    assert sorted(found.stages) == [1, 2, 3, 7] and found.num_late == 2
    assert all(len(stages) == 6 for stages in found.stages.values())


def test_what_does_not_fit_is_counted(monkeypatch) -> None:
    timer = FakeTimer(monkeypatch)
    found = time_in_rounds([1, 99, 2], [], timer.time, [1, 1], 100.0, nothing)
    assert sorted(found.stages) == [1, 2] and found.num_large == 1


def test_other_errors_are_not_swallowed() -> None:
    def fail(shape: int, num_repeats: int) -> np.ndarray:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        time_in_rounds([1], [], fail, [1], 1.0, nothing)


def test_progress_is_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("svsim.progress.time.perf_counter", lambda: now[0])
    said: list[str] = []
    lines = ProgressLines(said.append)
    for second in range(1, 31):
        now[0] = float(second)
        lines(Progress("shapes", second, 60, float(second)))
    lines.tell("done")
    assert said == [
        "[    11 s]   shapes: 11/60, 49 s left",
        "[    22 s]   shapes: 22/60, 38 s left",
        "[    30 s] done",
    ]
