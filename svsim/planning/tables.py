"""Tables of a plan, for terminal and page."""

from collections.abc import Mapping, Sequence
from typing import Any

from svsim.planning.rows import PlanRow
from svsim.report.formats import DASH, interval, number
from svsim.report.plain_table import PlainTable

HEADS = (
    *("verdict", "method", "hardware", "rate", "replicas", "GPUs", "$/h", "$/M tokens", "J/token", "95 %"),
    *("price error", "tok/s/GPU", "binds", "seqs", "tokens"),
)
MOST_ROWS = 40


def plan_table(plans: Sequence[PlanRow], most: int = MOST_ROWS) -> PlainTable:
    """One line per candidate, the best first."""
    shown = plans[:most]
    caption = (
        "Plans: the largest rate of one replica (requests/s) that meets every SLO, and what serves the demand"
    )
    note = (
        "rate: by the upper end of the 95 % interval; 95 %: of the rates that single replications find; "
        "price error: rates that hold 90 % of what prices may be; seqs, tokens: max_num_seqs, "
        "max_num_batched_tokens"
    )
    if len(plans) > most:
        note += f"; {len(plans) - most} more in the JSON"
    return PlainTable(caption, note, HEADS, [_cells(row) for row in shown], 3)


def _cells(row: PlanRow) -> list[str]:
    joules = row["joules_per_million_tokens"]
    slo = row["tightest_slo"]
    binds = slo["text"]
    if row["max_rate"] is None and slo["value"] is not None:
        off = slo["limit"] - slo["value"] if slo["is_share"] else slo["value"] / slo["limit"] - 1.0
        binds += f" missed by {off:.0%}"
    return [
        row["verdict"],
        row["label"],
        row["deployment"],
        number(row["max_rate"], ",.3g"),
        number(row["replicas"], ","),
        number(row["gpus"], ","),
        number(row["usd_per_hour"], ",.2f"),
        number(row["usd_per_million_tokens"], ",.2f"),
        number(None if joules is None else joules / 1e6, ",.2f"),
        interval(row["max_rate_ci_low"], row["max_rate_ci_high"], ",.3g"),
        interval(row["max_rate_low"], row["max_rate_high"], ",.3g") if row["price_error"] else DASH,
        number(row["output_tok_s_per_gpu"], ",.0f"),
        binds,
        f"{row['max_num_seqs']:,}",
        f"{row['max_num_batched_tokens']:,}",
    ]


def hour_table(hours: Sequence[Mapping[str, Any]]) -> PlainTable:
    """Replicas by hour, equal neighbours as one line."""
    rows: list[list[str]] = []
    start = 0
    for end in range(1, len(hours) + 1):
        if end < len(hours) and hours[end]["replicas"] == hours[start]["replicas"]:
            continue
        few = hours[start:end]
        name = f"{few[0]['hour']}" if len(few) == 1 else f"{few[0]['hour']} to {few[-1]['hour']}"
        rates = [hour["rate"] for hour in few]
        usd = None if few[0]["usd"] is None else sum(hour["usd"] for hour in few)
        rows.append(
            [
                name,
                f"{max(rates):,.3g}",
                f"{few[0]['replicas']:,}",
                f"{few[0]['gpus']:,}",
                number(usd, ",.2f"),
            ]
        )
        start = end
    return PlainTable("Replicas by hour", "", ("hours", "highest rate", "replicas", "GPUs", "$"), rows, 1)
