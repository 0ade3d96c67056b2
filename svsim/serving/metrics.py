"""Rows of an open-loop run: every number with its 95 % interval.

Several replications: the mean of each replication's own number (percentiles are not pooled), t interval over
replications. One (a given workload): the number over the whole window, interval from 20 batch means; their
lag-1 correlation is in the row, as it makes the interval too narrow where it is large.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from svsim.serving import state
from svsim.serving.samples import Stretch, values_of
from svsim.serving.slo import STATISTICS, Slo
from svsim.serving.steady import NUM_BATCHES, is_saturated
from svsim.spelling import method_label, params_text

if TYPE_CHECKING:
    import pandas as pd

LATENCIES = tuple(
    f"{metric}_s_{statistic}"
    for metric in ("ttft", "tpot", "itl_token", "itl_step", "e2el", "queue")
    for statistic in STATISTICS
)
RATES = ("request_throughput", "output_tok_s")
OF_SLOS = ("slo_attainment", "request_goodput")
WITH_INTERVAL = (*RATES, *LATENCIES, *OF_SLOS)
PLAIN = (
    *("mean_running", "mean_waiting", "mean_batch", "kv_use_mean", "kv_use_max"),
    *("mean_acceptance_length", "draft_acceptance_rate"),
)
COUNTS = ("num_preemptions", "num_steps")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServingTable:
    """Rows of an open-loop run with where they come from; requests: one object per measured request.

    verdict: the decision in words, by hardware. timeline: per method, columns over seconds.
    """

    rows: tuple[Row, ...]
    version: str
    trace: Mapping[str, Any] | None
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    verdict: tuple[Mapping[str, Any], ...] = ()
    requests: Iterable[Mapping[str, Any]] = field(default=(), repr=False)
    timelines: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    is_interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": self.version,
            "trace": None if self.trace is None else dict(self.trace),
            "config": dict(self.config),
            "notes": list(self.notes),
            "verdict": [dict(one) for one in self.verdict],
            "rows": [dict(row) for row in self.rows],
            "timeline": [dict(one) for one in self.timelines],
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a data frame: ``label`` (``sd:k=5``), then one column per field."""
        import pandas as pd

        return pd.DataFrame([{"label": label_of(row), **_flat(row)} for row in self.rows])

    def to_csv(self) -> str:
        """The rows as CSV; ``params`` as ``k=7``, undefined as empty."""
        return csv_of([_flat(row) for row in self.rows])

    def requests_csv(self) -> str:
        """Measured requests, one line each."""
        return csv_of(self.requests)


def label_of(row: Row) -> str:
    """The method as the command line spells it."""
    return method_label(row["method"], row["params"])


def _flat(row: Row) -> Row:
    return {**row, "params": params_text(row["params"]), "slo": "; ".join(s["text"] for s in row["slo"])}


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of one shape as CSV."""
    out = io.StringIO()
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    if writer is None:
        out.write("\n")
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers of one method: per part (replication or batch), and over all."""

    stretches: tuple[Stretch, ...]
    parts: tuple[Mapping[str, float], ...]
    over_all: Mapping[str, float]

    @classmethod
    def of(cls, stretches: Sequence[Stretch], slos: Sequence[Slo]) -> "Measured":
        """Of the measured window of each replication."""
        if len(stretches) > 1:
            return cls.over([values_of(stretch, slos) for stretch in stretches], stretches)
        over_all = values_of(stretches[0], slos)
        parts = tuple(values_of(batch, slos) for batch in stretches[0].batches(NUM_BATCHES))
        return cls(tuple(stretches), parts, over_all)

    @classmethod
    def over(cls, parts: Sequence[Mapping[str, float]], stretches: Sequence[Stretch] = ()) -> "Measured":
        """Of replications whose numbers are known."""
        over_all = {name: _mean([part[name] for part in parts]) for name in parts[0]}
        return cls(tuple(stretches), tuple(parts), over_all)

    def value(self, name: str) -> float | None:
        """The number, or None."""
        return finite(self.over_all[name])

    def interval(self, name: str) -> tuple[float | None, float | None]:
        """95 % t interval, or (None, None)."""
        values = np.array([part[name] for part in self.parts])
        centre, values = self.over_all[name], values[np.isfinite(values)]
        if len(values) < 2 or len(values) < len(self.parts) // 2 or not math.isfinite(centre):
            return None, None
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        return float(centre - half), float(centre + half)

    @property
    def batch_correlation(self) -> float | None:
        """Lag-1 correlation of the batches' mean end-to-end latencies; None with replications."""
        if len(self.stretches) > 1:
            return None
        values = np.array([part["e2el_s_mean"] for part in self.parts])
        values = values[np.isfinite(values)]
        if len(values) < 4 or values.std() == 0:
            return None
        return float(np.corrcoef(values[:-1], values[1:])[0, 1])

    def numbers(self, slos: Sequence[Slo]) -> Row:
        """All numbers of a row."""
        row: Row = {
            "num_requests": sum(len(s.requests) for s in self.stretches),
            "num_unfinished": sum(s.num_unfinished for s in self.stretches),
            "num_replications": len(self.stretches),
            "warm_up_s": self.stretches[0].first * self.stretches[0].horizon.segment_s,
        }
        for name in WITH_INTERVAL:
            known = bool(slos) or name not in OF_SLOS
            low, high = self.interval(name) if known else (None, None)
            row |= {name: self.value(name) if known else None, f"{name}_ci_low": low, f"{name}_ci_high": high}
        row["saturated"] = is_saturated(self.stretches)
        row |= {name: self.value(name) for name in PLAIN}
        row |= {name: round(sum(values_of_count(s, name) for s in self.stretches)) for name in COUNTS}
        row["batch_correlation"] = self.batch_correlation
        row["slo"] = [self.met(slo) for slo in slos]
        return row

    def met(self, slo: Slo) -> Row:
        """Whether an objective is met, by its number and by the upper end of its interval."""
        name = slo.column
        value, (low, high) = self.value(name), self.interval(name)
        bound = low if slo.metric == "good" else high

        return {"text": slo.text, "value": value, "met": slo.meets(value), "met_for_sure": slo.meets(bound)}


def values_of_count(stretch: Stretch, name: str) -> float:
    """A count of the measured window."""
    return stretch.total({"num_preemptions": state.PREEMPTIONS, "num_steps": state.STEPS}[name])


def finite(value: float) -> float | None:
    """None instead of NaN."""
    return float(value) if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def paired_ratio(
    base: Measured, mine: Measured, name: str
) -> tuple[float, float | None, float | None] | None:
    """base / mine of a number, with its 95 % interval over pairs of parts (common random numbers)."""
    if not (base.over_all[name] > 0 and mine.over_all[name] > 0):
        return None
    logs = [
        math.log(b[name] / m[name])
        for b, m in zip(base.parts, mine.parts, strict=True)
        if b[name] > 0 and m[name] > 0
    ]
    ratio = base.over_all[name] / mine.over_all[name]
    if len(logs) < 2:
        return ratio, None, None
    half = stats.t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)
