"""A row of a reproduction: one published number beside what svsim makes of it, and the verdict.

role     calibrated: the law's free numbers were set on this row; predicted: nothing of this row was used;
         input: taken from the paper as it is.
verdict  confirmed, not confirmed: a predicted row within its tolerance, or not; not testable: nothing was
         predicted here, or nothing to compare with is published.
error    predicted / published - 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Of a row or a claim."""

    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not confirmed"
    NOT_TESTABLE = "not testable"


class Role(StrEnum):
    """What a row is used for."""

    CALIBRATED = "calibrated"
    PREDICTED = "predicted"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class Within:
    """How far a prediction may be off: a share of the published value, or an absolute difference."""

    relative: float | None = None
    absolute: float | None = None

    def holds(self, published: float, predicted: float) -> bool:
        """Whether the prediction is close enough."""
        if self.absolute is not None:
            return abs(predicted - published) <= self.absolute
        return abs(predicted - published) <= (self.relative or 0.0) * abs(published)

    def __str__(self) -> str:
        if self.absolute is not None:
            return f"{self.absolute:g}"
        return f"{100 * (self.relative or 0.0):g} %"


@dataclass(frozen=True, slots=True)
class ReproductionRow:
    """One row. ``published`` None: nothing to compare with; ``within`` None: no verdict is drawn from it."""

    system: str
    setting: str
    metric: str
    published: float | None
    predicted: float | None
    role: Role
    why: str
    within: Within | None = None

    @property
    def error(self) -> float | None:
        """Relative, signed; None where one of the two is missing, or 0 is published."""
        if self.published is None or self.predicted is None or self.published == 0:
            return None
        return self.predicted / self.published - 1.0

    @property
    def is_judged(self) -> bool:
        """Whether this row can refute the law."""
        is_complete = self.published is not None and self.predicted is not None
        return self.role is Role.PREDICTED and is_complete and self.within is not None

    @property
    def verdict(self) -> Verdict:
        """See the module."""
        if not self.is_judged or self.within is None or self.published is None or self.predicted is None:
            return Verdict.NOT_TESTABLE
        is_close = self.within.holds(self.published, self.predicted)
        return Verdict.CONFIRMED if is_close else Verdict.NOT_CONFIRMED

    @property
    def reason(self) -> str:
        """``why``, and for a judged row the tolerance that decided."""
        if not self.is_judged:
            return self.why
        word = "within" if self.verdict is Verdict.CONFIRMED else "not within"
        return f"{self.why} ({word} {self.within})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, nothing rounded."""
        return {
            "system": self.system,
            "setting": self.setting,
            "metric": self.metric,
            "published": self.published,
            "predicted": self.predicted,
            "error": self.error,
            "role": str(self.role),
            "verdict": str(self.verdict),
            "why": self.reason,
            "tolerance_relative": self.within.relative if self.within else None,
            "tolerance_absolute": self.within.absolute if self.within else None,
        }


class Sheet:
    """Rows of one system as they are written down, and sentences about them (``findings``).

    objections: those of the findings that contradict the paper.
    """

    def __init__(self, system: str) -> None:
        self.system = system
        self.rows: list[ReproductionRow] = []
        self.findings: list[str] = []
        self.objections: list[str] = []

    def predict(
        self,
        setting: str,
        metric: str,
        predicted: float,
        why: str,
        *,
        published: float | None = None,
        within: Within | None = None,
    ) -> None:
        """A number that follows from others; judged where it is published and ``within`` is given."""
        self.rows.append(
            ReproductionRow(self.system, setting, metric, published, predicted, Role.PREDICTED, why, within)
        )

    def calibrate(
        self, setting: str, metric: str, published: float | None, predicted: float, why: str
    ) -> None:
        """A number that a free number of the law was set on."""
        self.rows.append(
            ReproductionRow(self.system, setting, metric, published, predicted, Role.CALIBRATED, why)
        )

    def take(self, setting: str, metric: str, published: float, why: str) -> None:
        """A number that is used as the paper gives it."""
        self.rows.append(ReproductionRow(self.system, setting, metric, published, None, Role.INPUT, why))

    def leave_open(self, setting: str, metric: str, published: float | None, why: str) -> None:
        """A number that nothing here can predict."""
        self.rows.append(ReproductionRow(self.system, setting, metric, published, None, Role.PREDICTED, why))

    def say(self, finding: str) -> None:
        """A sentence that the rows bear out."""
        self.findings.append(finding)

    def contradict(self, finding: str) -> None:
        """The same, of something that the paper says otherwise: with the arithmetic."""
        self.say(finding)
        self.objections.append(finding)


@dataclass(frozen=True, slots=True)
class Score:
    """Verdicts of a system's predicted rows, how many rows it took otherwise, errors of the judged ones."""

    confirmed: int
    not_confirmed: int
    not_testable: int
    num_calibrated: int
    num_inputs: int
    mean_error: float | None
    largest_error: float | None


def score_of(rows: Iterable[ReproductionRow]) -> Score:
    """The score; errors are absolute values, None where no row is judged."""
    rows = list(rows)
    predicted = [row for row in rows if row.role is Role.PREDICTED]
    verdicts = [row.verdict for row in predicted]
    errors = [abs(row.error) for row in predicted if row.is_judged and row.error is not None]
    return Score(
        confirmed=verdicts.count(Verdict.CONFIRMED),
        not_confirmed=verdicts.count(Verdict.NOT_CONFIRMED),
        not_testable=verdicts.count(Verdict.NOT_TESTABLE),
        num_calibrated=sum(row.role is Role.CALIBRATED for row in rows),
        num_inputs=sum(row.role is Role.INPUT for row in rows),
        mean_error=sum(errors) / len(errors) if errors else None,
        largest_error=max(errors, default=None),
    )


def compared(row: ReproductionRow, published: float) -> ReproductionRow:
    """The row beside a number that the caller has read."""
    return replace(row, published=published)
