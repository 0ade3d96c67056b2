"""The search by itself: what it finds, and how often it asks."""

import pytest

from svsim.planning.search import bisected, crossing, largest


@pytest.mark.parametrize("limit", [0, 1, 7, 80, 160])
@pytest.mark.parametrize("start", [0, 3, 77, 160])
def test_the_largest_step_is_found_from_anywhere(limit: int, start: int) -> None:
    asked: list[int] = []

    def passes(step: int) -> bool:
        asked.append(step)
        return step <= limit

    assert largest(passes, start, 160) == limit
    assert len(asked) == len(set(asked)) <= 18 and min(asked) >= 0 and max(asked) <= 160


def test_nothing_passes() -> None:
    assert largest(lambda step: False, 40, 160) is None


def test_a_start_close_by_takes_few_questions() -> None:
    asked: list[int] = []
    assert largest(lambda step: asked.append(step) or step <= 82, 80, 160) == 82
    assert len(asked) <= 5


def test_bisection_stops_when_it_is_close_enough() -> None:
    low, high = bisected(lambda step: step <= 37, 0, 100, within=4)
    assert low <= 37 < high <= low + 4


def test_a_crossing_lies_between_the_steps_around_it() -> None:
    assert crossing({0: -1.0, 10: -0.5, 20: 0.5}) == pytest.approx(15.0)
    assert crossing({0: 0.1, 10: -0.5}) is None
    assert crossing({0: -2.0, 10: -1.0}) == 10.0
    # noise below the crossing changes nothing above it
    assert crossing({0: -1.0, 5: -0.1, 10: -0.4, 20: 0.1}) == pytest.approx(15.0)
