"""Schedules as the command line spells them."""

import pytest

from svsim.errors import InputError
from svsim.phase_schedules.phase_times import PublishedTimes
from svsim.phase_schedules.residency import Law, OutputLengths
from svsim.phase_schedules.schedules import Box, Limits
from svsim.phase_schedules.spelling import ScheduleAsked


@pytest.mark.parametrize(
    ("text", "kind", "box", "law"),
    [
        ("rra:be=52,nd=13", "rra", Box((52, 52), (13, 13)), Law.RESIDENT),
        ("rra:be=1-64,law=paper", "rra", Box((1, 64), (1, 64)), Law.PAPER),
        ("rra", "rra", Box((1, 256), (1, 64)), Law.RESIDENT),
        ("waa:be=4", "waa", Box((4, 4)), Law.RESIDENT),
    ],
)
def test_spelling(text: str, kind: str, box: Box, law: Law) -> None:
    assert ScheduleAsked.parse(text) == ScheduleAsked(kind, box, law)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("round", "expected rra:be=52,nd=13"),
        ("waa:be=4,nd=2", "'nd=2'; expected rra"),
        ("rra:be=4,be=5", "'be=5'"),
        ("rra:be=x", "be=x; expected a whole number or a range"),
        ("rra:be=0", "be=0-0: expected a range within 1 to 4096"),
        ("rra:law=mine", "law=mine; expected resident or paper"),
    ],
)
def test_errors(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ScheduleAsked.parse(text)


def test_what_is_left_open_is_searched() -> None:
    times = PublishedTimes(1.68, 52, 0.038)
    lengths = OutputLengths.truncated_normal(32, 13, 80)
    fixed = ScheduleAsked.parse("rra:be=52,nd=13").plan(lengths, 256, times)
    assert (fixed.best.be, fixed.best.nd, fixed.num_priced) == (52, 13, 1)
    assert fixed.best.bd == pytest.approx(153.2, abs=0.1)
    free = ScheduleAsked.parse("rra:be=1-64,nd=1-32").plan(lengths, 256, times, Limits(latency_s=11.5))
    assert free.best.throughput >= fixed.best.throughput and free.best.latency_s <= 11.5
