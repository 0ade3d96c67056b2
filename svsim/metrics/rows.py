"""Result rows: one method at one batch size on one piece of hardware, with intervals.

Conventions: times are means per step in seconds; mean acceptance length counts the bonus token
(vLLM); draft acceptance rate = accepted / drafted, verified acceptance rate = accepted / verified;
undefined is None. Of a parallel pipeline (``pearl``), which has no bonus token: mean acceptance length =
emitted tokens per step of a sequence, up to the request's end; verified: draft tokens that the target tested.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from svsim.metrics.bootstrap import goodput_tok_s, interval, resampled_goodput
from svsim.metrics.gain_share import UNDEFINED, Goodput, WithInterval, gain_share
from svsim.metrics.verdict import verdicts
from svsim.records import RunRecord
from svsim.spelling import deployment_name, method_label, params_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One row of a result, as documented in the README; names carry their units.

    hardware_options: placement of the small models and precision, as ``--hardware`` spells them
    (``draft=replicated,quant=fp8``); None where nothing was said. Dollars and joules are those of all GPUs
    of the deployment, at the listed price of an hour and at the full power of the data sheet.
    oracle_gain_share: of the gain over target-only decoding of the fastest bound in the run, which
    ``oracle_bound`` names (``svsim.metrics.gain_share``). tpot_s: mean time between two tokens of a
    sequence; where prefills are counted in a batch that stays full, those of the other sequences are in it.
    engine: the profile that priced the steps (``none``: bare passes, and the step times' own overhead);
    price_error: relative, 1 sigma, of speedups on panels that profile was not fitted on, None where step
    times were measured. All intervals (``_ci_``) are of sampling alone.
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
    oracle_gain_share: float | None
    oracle_gain_share_ci_low: float | None
    oracle_gain_share_ci_high: float | None
    oracle_bound: str | None
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
    is_bound: bool
    hardware_options: str | None
    engine: str
    price_error: float | None

    @property
    def label(self) -> str:
        """The method as the command line spells it: ``sv:k=7``."""
        return method_label(self.method, self.params)

    @property
    def may_be_advised(self) -> bool:
        """A method, not a bound, whose text keeps the target's law."""
        return self.lossless and not self.is_bound

    @property
    def deployment(self) -> str:
        """``h100_sxm:tp=4,draft=replicated``, or the hardware's name alone."""
        return deployment_name(self.hardware, self.tensor_parallel, self.hardware_options)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows with where they come from. ``trace`` and ``config`` hold plain JSON values."""

    rows: tuple[ResultRow, ...]
    version: str
    trace: Mapping[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: svsim version, trace provenance, config, notes, verdict per batch size, rows."""
        return {
            "svsim": self.version,
            "trace": dict(self.trace),
            "config": dict(self.config),
            "notes": list(self.notes),
            "verdict": [asdict(verdict) for verdict in verdicts(self.rows)],
            "rows": [asdict(row) for row in self.rows],
        }

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a data frame: ``label`` (``sv:k=7``), then one column per field, ``params`` as text."""
        import pandas as pd

        records = [
            {"label": row.label, **asdict(row), "params": params_text(row.params)} for row in self.rows
        ]
        return pd.DataFrame(records, columns=["label", *(f.name for f in fields(ResultRow))])

    def to_csv(self) -> str:
        """The rows as CSV; ``params`` as ``k=7``, undefined as empty."""
        out = io.StringIO()
        writer = csv.DictWriter(out, [f.name for f in fields(ResultRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(row), "params": params_text(row.params)} for row in self.rows)
        return out.getvalue()


# Fields of a row that does not fit in memory: what no deployment would see. What is a property of the
# trace and the method (acceptance, lengths) stays.
_OF_SPEED = ("goodput_", "speedup_", "sd_baseline", "oracle_", "usd_", "joules_")
_NOT_REACHED: Mapping[str, Any] = dict.fromkeys(
    f.name for f in fields(ResultRow) if f.name.startswith(_OF_SPEED) or f.name.endswith("_s")
)


@dataclass(frozen=True, slots=True)
class _Measured:
    """A record with its goodput."""

    record: RunRecord
    goodput: Goodput


def result_rows(records: Sequence[RunRecord], seed: int) -> tuple[ResultRow, ...]:
    """Rows of the records that were asked for; every (deployment, batch size) needs a ``td`` record."""
    measured = [_Measured(r, Goodput(goodput_tok_s(r), resampled_goodput(r, seed))) for r in records]
    cells: dict[tuple[str, int], list[_Measured]] = {}
    for one in measured:
        cells.setdefault(_cell(one.record), []).append(one)
    rows = []
    for mine in measured:
        if not mine.record.asked:
            continue
        peers = cells[_cell(mine.record)]
        baseline = next(m for m in peers if m.record.method == "td")
        best_fixed = _fastest(m for m in peers if m.record.method == "sd")
        bound = _fastest(m for m in peers if m.record.is_bound)
        row = _row(mine, baseline, best_fixed, bound)
        rows.append(replace(row, **_NOT_REACHED) if mine.record.fits_memory is False else row)
    return tuple(rows)


def _cell(record: RunRecord) -> tuple[str, int]:
    return record.deployment, record.batch_size


def _fastest(some: Iterable[_Measured]) -> _Measured | None:
    """The fastest that fits in memory."""
    fitting = (m for m in some if m.record.fits_memory is not False)
    return max(fitting, key=lambda m: m.goodput.tok_s, default=None)


def _speedup(mine: Goodput, base: Goodput) -> WithInterval:
    ratio = mine.tok_s / base.tok_s
    if mine.resamples is None or base.resamples is None:
        return ratio, None, None
    return ratio, *interval(mine.resamples / base.resamples)


def _per_million(rate: float | None, tokens: float) -> float | None:
    return None if rate is None else 1e6 * rate / tokens


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _time_of_step_s(record: RunRecord, step_time_s: float, prefill_s: float) -> float:
    """From one step of a sequence to its next: the step, and the prefills of the other sequences."""
    others = 1.0 - 1.0 / record.batch_size if record.prefills_stall else 0.0
    return step_time_s * record.num_micro_batches + others * prefill_s


def _row(
    mine: _Measured, baseline: _Measured, best_fixed: _Measured | None, bound: _Measured | None
) -> ResultRow:
    record = mine.record
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
        mine.goodput.tok_s,
        *interval(mine.goodput.resamples),
        *_speedup(mine.goodput, baseline.goodput),
        *(_speedup(mine.goodput, best_fixed.goodput) if best_fixed else UNDEFINED),
        best_fixed.record.label if best_fixed else None,
        *(gain_share(mine.goodput, baseline.goodput, bound.goodput) if bound else UNDEFINED),
        oracle_bound=bound.record.label if bound else None,
        draft_acceptance_rate=_ratio(accepted, drafted),
        verified_acceptance_rate=_ratio(accepted, verified),
        mean_acceptance_length=(
            1.0 + accepted / total["sequence_steps"]
            if record.has_bonus
            else total["emitted_tokens"] / total["sequence_steps"]
        ),
        mean_verification_length=verified / total["sequence_steps"],
        rejected_share_of_verified=rejected,
        step_time_s=step_time_s,
        draft_time_s=parts["draft"],
        companion_time_s=parts["companion"],
        verify_time_s=parts["verify"],
        overhead_time_s=parts["overhead"],
        prefill_time_s=parts["prefill"],
        tpot_s=_time_of_step_s(record, step_time_s, parts["prefill"])
        * total["sequence_steps"]
        / total["emitted_tokens"],
        num_steps=round(total["steps"]),
        num_emitted_tokens=round(total["emitted_tokens"]),
        fits_memory=record.fits_memory,
        usd_per_million_tokens=_per_million(record.usd_per_hour, 3600.0 * mine.goodput.tok_s),
        joules_per_million_tokens=_per_million(record.power_w, mine.goodput.tok_s),
        replay_kind=record.replay_kind,
        lossless=record.lossless,
        is_bound=record.is_bound,
        hardware_options=record.hardware_options,
        engine=record.engine,
        price_error=record.price_error,
    )
