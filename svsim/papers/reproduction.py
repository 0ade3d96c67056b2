"""What ``svsim reproduce`` answers: rows of one system or of all, or predictions for the caller's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from svsim.errors import InputError, printable
from svsim.papers.parameters import read_parameters
from svsim.papers.rows import ReproductionRow, Score, Sheet, compared, score_of
from svsim.papers.system import System
from svsim.papers.table import SYSTEMS, find_system
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd

Published = Mapping[str, float]  # by metric; "" is the first row's


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system, its rows, what they show and what contradicts the paper; is_asked: for own numbers."""

    system: System
    rows: tuple[ReproductionRow, ...]
    findings: tuple[str, ...]
    objections: tuple[str, ...]
    is_asked: bool

    @property
    def score(self) -> Score:
        """Verdicts and errors."""
        return score_of(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The system without its rows."""
        return {
            "system": self.system.name,
            "title": self.system.title,
            "paper": self.system.paper,
            "law": self.system.law,
            "parameters": [
                {"name": p.name, "meaning": p.meaning, "domain": p.domain, "default": p.default}
                for p in self.system.parameters
            ],
            "findings": list(self.findings),
            "objections": list(self.objections),
            **asdict(self.score),
        }


@dataclass(frozen=True, slots=True)
class SystemsResult:
    """Rows of the systems asked for; ``to_frame`` and ``report`` as every result of svsim."""

    systems: tuple[SystemResult, ...]

    @property
    def rows(self) -> tuple[ReproductionRow, ...]:
        """Every row, system after system."""
        return tuple(row for found in self.systems for row in found.rows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document; nothing rounded."""
        return {
            "svsim": __version__,
            "systems": [found.to_dict() for found in self.systems],
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a data frame, one column per key of the JSON."""
        import pandas as pd

        return pd.DataFrame([row.to_dict() for row in self.rows])


def reproduce_systems(
    name: str | None, given: Mapping[str, object], published: Published | None = None
) -> SystemsResult:
    """All systems, one system, or with parameters its law's predictions; InputError for what it lacks."""
    if name is None:
        if given or published:
            raise InputError("parameters belong to one system: name it first, as in pearl")
        return SystemsResult(tuple(_result(s, s.reproduce(), False) for s in SYSTEMS.values()))
    system = find_system(name)
    if not given:
        if published:
            raise InputError("`published` compares with a prediction for your own parameters; give them, too")
        return SystemsResult((_result(system, system.reproduce(), False),))
    sheet = system.predict(read_parameters(name, system.parameters, given))
    rows = _compared(sheet.rows, published or {})
    return SystemsResult((replace(_result(system, sheet, True), rows=rows),))


def _result(system: System, sheet: Sheet, is_asked: bool) -> SystemResult:
    return SystemResult(
        system, tuple(sheet.rows), tuple(sheet.findings), tuple(sheet.objections), is_asked=is_asked
    )


def _compared(rows: Sequence[ReproductionRow], published: Published) -> tuple[ReproductionRow, ...]:
    """The rows beside what the caller has read."""
    metrics = [row.metric for row in rows]
    for metric in published:
        if metric and metric not in metrics:
            known = ", ".join(dict.fromkeys(metrics))
            raise InputError(f"`published` names {printable(metric, 60)}; these rows have {known}")
    found = []
    for place, row in enumerate(rows):
        value = published.get(row.metric, published.get("") if place == 0 else None)
        found.append(row if value is None else compared(row, value))
    return tuple(found)
