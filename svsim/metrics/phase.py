"""Phase diagrams: which method is fastest at which batch size and acceptance (or context), and how sure.

Two methods of one cell are compared by the ratio of their goodputs, with the errors of both of its sides:

sampling   standard deviation of the log ratio over paired bootstrap resamples of the requests.
prices     ``price_error`` (1 sigma, of a speedup over target-only decoding) is an error of the seconds that
           speculation adds to a step. With x = 1 - (step of td)/(step of the method), the share of the step
           that it adds, the log ratio of methods a and b is off by price_error |x_a - x_b| / max(x_a, x_b):
           all of it against td (x = 0), little between two draft lengths. Measured step times: none.

A cell is settled if the fastest method leads every other by more than 1.64 sigma of both together (90 %);
else those that it does not lead so are what it ``could_be``: too close to call.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.metrics.rows import ResultRow
from svsim.metrics.verdict import HALF_90, error_bar


@dataclass(frozen=True, slots=True)
class PhaseCell:
    """One batch size at one acceptance (or context), ``level``.

    best: label of the fastest method; None where nothing can be said, and ``why`` says it. speedup_vs_td with
    its 90 % range, prices and sampling together. runner_up and lead: the next best and best / next in
    goodput, with its 90 % range. could_be: methods that are not surely slower. unfit: methods that do not
    fit in memory.
    """

    level: float
    batch_size: int
    best: str | None = None
    speedup_vs_td: float | None = None
    low: float | None = None
    high: float | None = None
    goodput_tok_s: float | None = None
    runner_up: str | None = None
    lead: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None
    could_be: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    why: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the fastest method leads beyond doubt."""
        return self.best is not None and not self.could_be


@dataclass(frozen=True, slots=True)
class PhaseCheck:
    """A cell replayed: the replay's fastest method, and how far goodputs lie apart at most (relative)."""

    level: float
    batch_size: int
    best: str
    replayed_best: str
    agrees: bool
    largest_difference: float


@dataclass(frozen=True, slots=True)
class PhaseDiagram:
    """Cells of one axis (``acceptance`` or ``context``) over batch sizes; ``recorded``: the trace's level.

    cells: by level and then batch size, both rising.
    """

    axis: str
    recorded: float
    levels: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    cells: tuple[PhaseCell, ...]
    checks: tuple[PhaseCheck, ...]

    def at(self, level: int, size: int) -> PhaseCell:
        """The cell of the level and batch size of these numbers."""
        return self.cells[level * len(self.batch_sizes) + size]

    @property
    def settled_share(self) -> float:
        """Of the cells that have an answer."""
        known = [cell for cell in self.cells if cell.best is not None]
        return sum(cell.is_settled for cell in known) / len(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with the goodput of every bootstrap resample, float64 [resamples], or None."""

    row: ResultRow
    resamples: NDArray[np.float64] | None


def phase_cell(level: float, batch_size: int, methods: Sequence[Measured]) -> PhaseCell:
    """The fastest of the methods that fit in memory, and how sure that is. ``methods`` hold ``td``."""
    running = [m for m in methods if m.row.goodput_tok_s is not None and not m.row.is_bound]
    if not running:
        return PhaseCell(level, batch_size, why="nothing fits in memory")
    td = next((m.row for m in methods if m.row.method == "td"), None)
    ranked = sorted(running, key=lambda m: -(m.row.goodput_tok_s or 0.0))
    best, others = ranked[0], ranked[1:]
    low, high = (1.0, 1.0) if best.row.method == "td" else error_bar(best.row)
    leads = [(m.row.label, *lead_over(best, m, td)) for m in others]
    runner_up, lead, lead_low, lead_high = leads[0] if leads else (None, None, None, None)
    return PhaseCell(
        level,
        batch_size,
        best.row.label,
        best.row.speedup_vs_td,
        low,
        high,
        best.row.goodput_tok_s,
        runner_up,
        lead,
        lead_low,
        lead_high,
        tuple(label for label, _, low, _ in leads if low <= 1.0),
        tuple(m.row.label for m in methods if m.row.fits_memory is False and not m.row.is_bound),
    )


def lead_over(best: Measured, other: Measured, td: ResultRow | None) -> tuple[float, float, float]:
    """best / other in goodput, with its 90 % range."""
    ratio = (best.row.goodput_tok_s or 0.0) / (other.row.goodput_tok_s or math.inf)
    factor = math.exp(HALF_90 * math.hypot(_sampling(best, other), _prices(best.row, other.row, td)))
    return ratio, ratio / factor, ratio * factor


def _sampling(one: Measured, other: Measured) -> float:
    """Standard deviation of the log ratio."""
    if one.resamples is None or other.resamples is None:
        return 0.0
    return float(np.std(np.log(one.resamples / other.resamples), ddof=1))


def _prices(one: ResultRow, other: ResultRow, td: ResultRow | None) -> float:
    """Standard deviation of the log ratio that prices have part in."""
    error = one.price_error
    if error is None:
        return 0.0
    shares = [_added_share(row, td) for row in (one, other)]
    largest = max(shares)
    return error * abs(shares[0] - shares[1]) / largest if largest > 0.0 else 0.0


def _added_share(row: ResultRow, td: ResultRow | None) -> float:
    """Share of a step that speculation adds to one of target-only decoding."""
    if td is None or not row.step_time_s or not td.step_time_s:
        return 0.0 if row.method == "td" else 1.0
    return max(1.0 - td.step_time_s / row.step_time_s, 0.0)
