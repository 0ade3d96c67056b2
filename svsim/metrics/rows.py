"""Result rows: one method at one batch size on one piece of hardware, with intervals.

Conventions: times are means per step in seconds; mean acceptance length counts the bonus token
(vLLM); draft acceptance rate = accepted / drafted, verified acceptance rate = accepted / verified;
undefined is None.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.metrics.bootstrap import goodput_tok_s, interval, resampled_goodput
from svsim.records import RunRecord, params_text, spelled

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row of a result, as documented in the README; names carry their units.

    Dollars and joules are those of all GPUs of the deployment, at the listed price of an hour and at
    the full power of the data sheet.
    """

    method: str
    params: Mapping[str, int | float | str]
    batch_size: int
    hardware: str
    tensor_parallel: int | None
    latency_source: str
    num_requests: int
    goodput_tok_s: float | None
    goodput_ci_low: float | None
    goodput_ci_high: float | None
    speedup_vs_td: float | None
    speedup_vs_td_ci_low: float | None
    speedup_vs_td_ci_high: float | None
    speedup_vs_sd: float | None
    speedup_vs_sd_ci_low: float | None
    speedup_vs_sd_ci_high: float | None
    sd_baseline: str | None
    draft_acceptance_rate: float | None
    verified_acceptance_rate: float | None
    mean_acceptance_length: float | None
    mean_verification_length: float | None
    rejected_share_of_verified: float | None
    step_time_s: float | None
    draft_time_s: float | None
    companion_time_s: float | None
    verify_time_s: float | None
    overhead_time_s: float | None
    prefill_time_s: float | None
    tpot_s: float | None
    num_steps: int
    num_emitted_tokens: int
    fits_memory: bool | None
    usd_per_million_tokens: float | None
    joules_per_million_tokens: float | None
    replay_kind: str
    lossless: bool

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        return spelled(self.method, self.params)

    @property
    def deployment(self) -> str:
        """``h100_sxm:tp=4``, or the hardware's name alone."""
        return self.hardware if self.tensor_parallel is None else f"{self.hardware}:tp={self.tensor_parallel}"


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows with where they come from. ``trace`` and ``config`` hold plain JSON values."""

    rows: tuple[ResultRow, ...]
    version: str
    trace: Mapping[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: svsim version, trace provenance, config, notes, rows."""
        return {
            "svsim": self.version,
            "trace": dict(self.trace),
            "config": dict(self.config),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a data frame, one column per field; ``params`` as text."""
        import pandas as pd

        records = [{**asdict(row), "params": params_text(row.params)} for row in self.rows]
        return pd.DataFrame(records, columns=[f.name for f in fields(ResultRow)])

    def to_csv(self) -> str:
        """The rows as CSV; ``params`` as ``k=7``, undefined as empty."""
        out = io.StringIO()
        writer = csv.DictWriter(out, [f.name for f in fields(ResultRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), "params": params_text(row.params)} for row in self.rows)
        return out.getvalue()


# Fields of a row that does not fit in memory: what no deployment would see. What is a property of the
# trace and the method (acceptance, lengths) stays.
_NOT_REACHED: Mapping[str, Any] = dict.fromkeys(
    f.name
    for f in fields(ResultRow)
    if f.name.startswith(("goodput_", "speedup_", "sd_baseline", "usd_", "joules_")) or f.name.endswith("_s")
)


def result_rows(records: Sequence[RunRecord], seed: int) -> tuple[ResultRow, ...]:
    """Rows of the records that were asked for; every (hardware, batch size) needs a ``td`` record."""
    resamples = {id(r): resampled_goodput(r, seed) for r in records}
    rows = []
    for record in records:
        if not record.asked:
            continue
        peers = [r for r in records if _cell(r) == _cell(record)]
        baseline = next(r for r in peers if r.method == "td")
        fixed = [r for r in peers if r.method == "sd" and r.fits_memory is not False]
        best_fixed = max(fixed, key=goodput_tok_s) if fixed else None
        row = _row(record, baseline, best_fixed, resamples)
        rows.append(replace(row, **_NOT_REACHED) if record.fits_memory is False else row)
    return tuple(rows)


def _cell(record: RunRecord) -> tuple[str, int | None, int]:
    return record.hardware, record.tensor_parallel, record.batch_size


def _speedup(
    record: RunRecord, base: RunRecord | None, resamples: Mapping[int, NDArray[np.float64] | None]
) -> tuple[float | None, float | None, float | None]:
    if base is None:
        return None, None, None
    mine, theirs = resamples[id(record)], resamples[id(base)]
    paired = None if mine is None or theirs is None else mine / theirs
    return goodput_tok_s(record) / goodput_tok_s(base), *interval(paired)


def _per_million(rate: float | None, tokens: float) -> float | None:
    return None if rate is None else 1e6 * rate / tokens


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _row(
    record: RunRecord,
    baseline: RunRecord,
    best_fixed: RunRecord | None,
    resamples: Mapping[int, NDArray[np.float64] | None],
) -> ResultRow:
    total = {f.name: float(getattr(record.sums, f.name).sum()) for f in fields(record.sums)}
    accepted, verified, drafted = (total[f"{x}_tokens"] for x in ("accepted", "verified", "drafted"))
    parts = {
        x: total[f"{x}_s"] / total["steps"] for x in ("overhead", "draft", "companion", "verify", "prefill")
    }
    step_time_s = parts["overhead"] + parts["draft"] + parts["companion"] + parts["verify"]
    rejected = _ratio(verified - accepted, verified)
    return ResultRow(
        record.method,
        dict(record.params),
        record.batch_size,
        record.hardware,
        record.tensor_parallel,
        record.latency_source,
        record.num_requests,
        goodput_tok_s(record),
        *interval(resamples[id(record)]),
        *_speedup(record, baseline, resamples),
        *_speedup(record, best_fixed, resamples),
        sd_baseline=spelled("sd", best_fixed.params) if best_fixed else None,
        draft_acceptance_rate=_ratio(accepted, drafted),
        verified_acceptance_rate=_ratio(accepted, verified),
        mean_acceptance_length=1.0 + accepted / total["sequence_steps"],
        mean_verification_length=verified / total["sequence_steps"],
        rejected_share_of_verified=rejected,
        step_time_s=step_time_s,
        draft_time_s=parts["draft"],
        companion_time_s=parts["companion"],
        verify_time_s=parts["verify"],
        overhead_time_s=parts["overhead"],
        prefill_time_s=parts["prefill"],
        tpot_s=step_time_s * total["sequence_steps"] / total["emitted_tokens"],
        num_steps=round(total["steps"]),
        num_emitted_tokens=round(total["emitted_tokens"]),
        fits_memory=record.fits_memory,
        usd_per_million_tokens=_per_million(record.usd_per_hour, 3600.0 * goodput_tok_s(record)),
        joules_per_million_tokens=_per_million(record.power_w, goodput_tok_s(record)),
        replay_kind=record.replay_kind,
        lossless=record.lossless,
    )
