"""What a claim of the paper is, what it rests on, and how it is decided.

CONFIRMED: the prediction, or an identity of the paper's own numbers, agrees with it. NOT_CONFIRMED: it does
not, and the reason says what would explain the difference. NOT_TESTABLE: what it would take is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from svsim.metrics.fairness import Fairness
from svsim.papers.rows import Verdict
from svsim.papers.sv_paper.modern_engine import ModernRow
from svsim.papers.sv_paper.panels import PanelResult
from svsim.papers.sv_paper.published import Published
from svsim.papers.sv_paper.savings import ImpliedLength, PanelSavings
from svsim.papers.sv_paper.serial_cost import SerialCost
from svsim.papers.sv_paper.signals import TraceSignals
from svsim.papers.sv_paper.variants import VariantsResult

# As close as a figure that is read off a chart, or a rate of another data set, can be expected to come.
AGREES = 0.10


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the paper, where it stands, the verdict, and the numbers it rests on."""

    name: str
    where: str
    statement: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a claim may rest on."""

    published: Published
    panels: tuple[PanelResult, ...]
    savings: tuple[PanelSavings, ...]
    implied: tuple[ImpliedLength, ...]
    fairness: tuple[Fairness, ...]
    variants: VariantsResult
    signals: tuple[TraceSignals, ...]
    serial_costs: tuple[SerialCost, ...]
    modern: tuple[ModernRow, ...]


def decided(agrees: bool) -> Verdict:
    """Confirmed or not."""
    return Verdict.CONFIRMED if agrees else Verdict.NOT_CONFIRMED


def percents(values: Sequence[float]) -> str:
    """Whole percents, separated by commas."""
    return ", ".join(f"{v:.0%}" for v in values)
