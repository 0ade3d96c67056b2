"""The analytic model beside the replay: relative differences of goodput, row by row."""

from dataclasses import dataclass

from svsim.metrics.rows import ResultRow, ResultTable

WARNING_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Difference:
    """A replayed row, the analytic goodput (tokens/s) for it, and analytic / replayed - 1."""

    row: ResultRow
    analytic_tok_s: float
    relative: float

    @property
    def is_warning(self) -> bool:
        """Whether the two disagree by more than 2 %."""
        return abs(self.relative) > WARNING_SHARE


def compare(table: ResultTable, analytic: ResultTable) -> list[Difference]:
    """Differences of the rows that both tables hold, in the order of ``table`` (the replayed one)."""
    goodput = {(r.deployment, r.label, r.batch_size): r.goodput_tok_s for r in analytic.rows}
    differences = []
    for row in table.rows:
        theirs = goodput.get((row.deployment, row.label, row.batch_size))
        if theirs is not None and row.goodput_tok_s:
            differences.append(Difference(row, theirs, theirs / row.goodput_tok_s - 1.0))
    return differences
