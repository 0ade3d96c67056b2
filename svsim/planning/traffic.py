"""The traffic that a fleet shall carry: one rate, or a rate by hour of a day (or longer).

``20``                                   requests per second, all the time.
``diurnal:rate=20,amplitude=0.6``        as an arrival law; an hour's rate is the highest within it.
FILE                                     CSV with the columns ``hour,rate``: hours 0, 1, 2 ... in order.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from svsim.errors import InputError, printable, require
from svsim.reading import csv_records
from svsim.serving.arrivals import MAX_RATE, Arrivals

HOUR_S = 3600.0
MOST_HOURS = 24 * 366
SAMPLES_PER_HOUR = 61
HEADS = ("hour", "rate")
EXPECTED = "expected requests/s as 20, diurnal:rate=20,amplitude=0.6, or a CSV file with columns hour,rate"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per second: the highest of each hour; one entry: all the time."""

    text: str
    hours: tuple[float, ...]

    @classmethod
    def of(cls, given: float | str | Path) -> "Traffic":
        """InputError says what is expected."""
        text = str(given).strip()
        try:
            rate = float(text)
        except ValueError:
            pass
        else:
            return cls(f"{_checked(rate, text):g}", (rate,))
        if text.partition(":")[0] == "diurnal" and ":" in text:
            law = Arrivals.parse(text)
            return cls(law.text, _diurnal_hours(law))
        if ":" in text and not Path(text).exists():
            raise InputError(f"`demand` {printable(text, 60)} is not understood; {EXPECTED}")
        return cls(printable(Path(text).name, 80), _file_hours(text))

    @property
    def peak(self) -> float:
        """The highest rate."""
        return max(self.hours)

    @property
    def is_steady(self) -> bool:
        """Whether it is one rate."""
        return len(self.hours) == 1


def _checked(rate: float, where: str) -> float:
    if not 0.0 < rate <= MAX_RATE:  # NaN too
        raise InputError(
            f"`demand` {printable(where, 60)}: {rate:g} requests/s; expected above 0 to {MAX_RATE:,.0f}"
        )
    return rate


def _diurnal_hours(law: Arrivals) -> tuple[float, ...]:
    """rate (1 + amplitude sin(2 pi t / period)), the highest of each hour of one period."""
    rate, amplitude, period_s = law.number("rate"), law.number("amplitude"), law.number("period")
    num = math.ceil(period_s / HOUR_S)
    require(num <= MOST_HOURS, f"`demand` {law.text}: a period of {num:,} hours; at most {MOST_HOURS:,}")

    def at(time_s: float) -> float:
        return rate * (1.0 + amplitude * math.sin(2.0 * math.pi * time_s / period_s))

    step_s = HOUR_S / (SAMPLES_PER_HOUR - 1)
    return tuple(max(at(h * HOUR_S + i * step_s) for i in range(SAMPLES_PER_HOUR)) for h in range(num))


def _file_hours(path: str) -> tuple[float, ...]:
    hours: list[float] = []
    for record in csv_records(path, HEADS, EXPECTED):
        if record.integer("hour", 0, MOST_HOURS) != len(hours):
            record.fail("hour", f"hour {len(hours)}: hours follow each other from 0")
        hours.append(record.number("rate", 0.0, MAX_RATE))
    where = printable(path, 80)
    require(len(hours) > 0, f"`demand` {where}: no hour in it; {EXPECTED}")
    require(max(hours) > 0.0, f"`demand` {where}: nothing arrives in any hour; give a rate above 0")
    return tuple(hours)
