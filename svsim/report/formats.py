"""How values are written for people: the only place that knows the dash, the interval, the millisecond."""

from typing import Protocol

DASH = "-"


class Interval(Protocol):
    """A value with its interval, as ``svsim.metrics.request_sums.Estimate``."""

    @property
    def value(self) -> float | None: ...
    @property
    def ci_low(self) -> float | None: ...
    @property
    def ci_high(self) -> float | None: ...


def number(value: float | None, form: str, unit: str = "") -> str:
    """A formatted number, or a dash."""
    return DASH if value is None else f"{value:{form}}{unit}"


def interval(low: float | None, high: float | None, form: str, between: str = " to ") -> str:
    """``low to high``, or a dash."""
    return DASH if low is None or high is None else f"{low:{form}}{between}{high:{form}}"


def estimate(found: Interval | None, form: str) -> str:
    """The value of an estimate, or a dash."""
    return DASH if found is None else number(found.value, form)


def estimate_interval(found: Interval, form: str) -> str:
    """``low-high`` of an estimate, or a dash."""
    return interval(found.ci_low, found.ci_high, form, "-")


def kilojoules(joules: float | None) -> str:
    """Joules as kilojoules, or a dash."""
    return number(None if joules is None else joules / 1e3, ",.0f")


def milliseconds(seconds: float | None, digits: int = 3) -> str:
    """Seconds as milliseconds, or a dash."""
    return number(None if seconds is None else 1e3 * seconds, f".{digits}f")


def yes_no(value: bool | None) -> str:
    """``yes``, ``no``, or a dash for not known."""
    return DASH if value is None else ("yes" if value else "no")
