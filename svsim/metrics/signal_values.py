"""What signals are worth, as rows: bits about acceptance, and the goodput that they buy."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from svsim.metrics.information import Information
from svsim.metrics.request_sums import Estimate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One belief at one batch size on one deployment.

    gain_bits and share_of_ceiling: held out, of the depth-1 token. goodput_tok_s: with the signals for
    nothing; over_mean_only: its ratio to the belief that knows the mean only; share_of_perfect: of the way
    to the acceptance probability itself (null where there is nothing to gain). paid_goodput_tok_s: with the
    companion's passes, where the signals need them; over_fixed: the paid goodput (or the free one) over the
    best fixed length, ``fixed_length``.
    """

    belief: str
    signals: tuple[str, ...]
    deployment: str
    batch_size: int
    gain_bits: Estimate | None
    share_of_ceiling: Estimate | None
    goodput_tok_s: float
    over_mean_only: Estimate
    share_of_perfect: float | None
    paid_goodput_tok_s: float | None
    over_fixed: Estimate
    fixed_length: str


@dataclass(frozen=True, slots=True)
class SignalValues:
    """Rows with where they come from; ``trace`` and ``config`` hold plain JSON values."""

    version: str
    rows: tuple[ValueRow, ...]
    information: Information
    trace: dict[str, Any]
    config: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": self.version,
            "trace": self.trace,
            "config": self.config,
            "notes": list(self.notes),
            "information": asdict(self.information),
            "rows": [asdict(row) for row in self.rows],
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a data frame; of an estimate also its interval, as ``NAME_ci_low`` and ``_ci_high``."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def _flat(row: ValueRow) -> dict[str, Any]:
    """A row with plain values only."""
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(row)):
        value = getattr(row, name)
        if isinstance(value, Estimate):
            found |= {name: value.value, f"{name}_ci_low": value.ci_low, f"{name}_ci_high": value.ci_high}
        else:
            found[name] = ",".join(value) if isinstance(value, tuple) else value
    return found
