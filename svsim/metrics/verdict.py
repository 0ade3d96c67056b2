"""Whether to speculate: what rows say at each batch size, given how sure prices and sampling are.

The speedup of the fastest lossless method that speculates (of all, where none is lossless: the verdict says
so) is called only where its error bar lies on one side of 1.
The bar holds 90 % of outcomes: 1.64 sigma of prices (``price_error``: relative errors on panels that did not
help to fit the engine's profile) and of sampling (from the row's 95 % interval), added in squares. Measured
step times carry no price error, and their verdict rests on the row's own interval.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

HALF_90, HALF_95 = 1.6449, 1.96


class SpeedupRow(Protocol):
    """What a verdict reads of a result row."""

    @property
    def method(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def is_bound(self) -> bool: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def speedup_vs_td(self) -> float | None: ...
    @property
    def speedup_vs_td_ci_low(self) -> float | None: ...
    @property
    def speedup_vs_td_ci_high(self) -> float | None: ...
    @property
    def engine(self) -> str: ...
    @property
    def price_error(self) -> float | None: ...


class Answer(StrEnum):
    """Of a verdict."""

    SPECULATE = "speculate"
    DO_NOT = "do not speculate"
    MEASURE = "measure"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One deployment at one batch size; ``method``: the fastest that speculates, with its error bar.

    lossless: whether its text keeps the target's law; one that does not is named only where no other ran.
    measure_with: the command that settles it; None where nothing is open.
    """

    hardware: str
    batch_size: int
    verdict: Answer
    method: str
    speedup_vs_td: float
    low: float
    high: float
    engine: str
    price_error: float | None
    measure_with: str | None
    lossless: bool


def verdicts(rows: Iterable[SpeedupRow]) -> tuple[Verdict, ...]:
    """By deployment and batch size, in the rows' order; where a method that speculates has a speedup."""
    cells: dict[tuple[str, int], list[SpeedupRow]] = {}
    for row in rows:
        if row.method != "td" and not row.is_bound and row.speedup_vs_td is not None:
            cells.setdefault((row.deployment, row.batch_size), []).append(row)
    return tuple(_verdict(cell) for cell in cells.values())


def _verdict(cell: Sequence[SpeedupRow]) -> Verdict:
    choices = [row for row in cell if row.lossless] or cell
    best = max(choices, key=lambda row: row.speedup_vs_td or 0.0)
    speedup = best.speedup_vs_td or 0.0
    low, high = error_bar(best)
    answer = Answer.SPECULATE if low > 1.0 else Answer.DO_NOT if high < 1.0 else Answer.MEASURE
    return Verdict(
        best.deployment,
        best.batch_size,
        answer,
        best.label,
        speedup,
        low,
        high,
        best.engine,
        best.price_error,
        _command(best) if answer is Answer.MEASURE else None,
        best.lossless,
    )


def error_bar(row: SpeedupRow) -> tuple[float, float]:
    """Where the speedup over target-only decoding lies: prices and sampling together."""
    speedup, low, high = row.speedup_vs_td or 0.0, row.speedup_vs_td_ci_low, row.speedup_vs_td_ci_high
    known = low is not None and high is not None and 0.0 < low <= high
    if row.price_error is None:
        return (low or speedup, high or speedup) if known else (speedup, speedup)
    sampling = math.log(high / low) / (2.0 * HALF_95) if known and low and high else 0.0
    factor = math.exp(HALF_90 * math.hypot(row.price_error, sampling))
    return speedup / factor, speedup * factor


def _command(row: SpeedupRow) -> str:
    """Two runs on the server settle what prices cannot; sampling alone asks for a longer trace."""
    if row.price_error is None:
        return "svsim replay with more requests"
    return f"svsim validate TRACE --bench RESULTS.csv --hardware {row.deployment} --engine {row.engine}"
