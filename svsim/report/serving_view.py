"""What the page of an open-loop run says in words and tables; nothing here knows more than the rows."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from svsim.report.formats import DASH, interval, milliseconds, number
from svsim.report.plain_table import PlainTable
from svsim.report.serving import ServingResult, deployment_of, label_of
from svsim.report.serving_figures import SHARE_PARTS, Limit, Spell

Row = Mapping[str, Any]
_FAILURE = re.compile(r"replica=([0-9]+),at=([0-9.e+]+),for=([0-9.e+]+)")


@dataclass(frozen=True, slots=True)
class Saturation:
    """Of one method: the highest rate of the curve that it carries, the lowest that it does not, and the
    requests/s that it completes there; None where the curve does not show it."""

    carried: float | None
    lost: float | None
    capacity: float | None

    @classmethod
    def of(cls, curve: Sequence[Row]) -> "Saturation":
        """Of rows of one method and deployment."""
        over = [row for row in curve if row["saturated"]]
        lost = min((row["rate"] for row in over), default=None)
        carried = [r["rate"] for r in curve if not r["saturated"] and (lost is None or r["rate"] < lost)]
        capacity = max((row["request_throughput"] for row in over), default=None)
        return cls(max(carried, default=None), lost, capacity)


def by_method(rows: Sequence[Row], deployment: str) -> dict[str, list[Row]]:
    """Rows of one deployment by method label, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if deployment_of(row) == deployment:
            found.setdefault(label_of(row), []).append(row)
    return found


def findings(result: ServingResult, curve: Sequence[Row]) -> Iterator[str]:
    """The decision, objectives, and where queues begin to grow."""
    for verdict in result.verdict:
        yield verdict["words"]
    for name in dict.fromkeys(map(deployment_of, result.rows)):
        mine = by_method(result.rows, name)
        yield from _objectives({label: rows[0] for label, rows in mine.items()})
        yield from _capacities(by_method(curve, name))


def _objectives(rows: Mapping[str, Row]) -> Iterator[str]:
    if not rows or not next(iter(rows.values()))["slo"]:
        return
    texts = ", ".join(slo["text"] for slo in next(iter(rows.values()))["slo"])
    surely = [label for label, row in rows.items() if all(slo["met_for_sure"] for slo in row["slo"])]
    met = [a for a, row in rows.items() if a not in surely and all(slo["met"] for slo in row["slo"])]
    words = f"All of {texts} are met by " + (", ".join(surely) if surely else "no method for sure")
    yield f"{words}; within the noise by {', '.join(met)}." if met else f"{words}."


def _capacities(curve: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """One sentence on where queues grow, of the methods that the curve shows it of."""
    found = {label: Saturation.of(rows) for label, rows in curve.items()}
    known = {label: one for label, one in found.items() if one.capacity}
    if known:
        told = [f"{label} at about {one.capacity:.3g}" for label, one in known.items()]
        yield f"Queues begin to grow (requests/s completed when overloaded): {', '.join(told)}."


def caveats(result: ServingResult) -> Iterator[str]:
    """What to distrust."""
    errors = [row["price_error"] for row in result.rows if row["price_error"] is not None]
    if errors:
        yield (
            f"Speedups are off by {min(errors):.0%} to {max(errors):.0%} (1 sigma of prices) beside what the "
            "intervals say, which are of sampling alone."
        )
    reasons = {row["replay_reason"]: None for row in result.rows if row["replay_kind"] == "approximate"}
    yield from (f"Approximate: {reason}." for reason in reasons)
    yield from result.notes


def limits_of(rows: Sequence[Row], metric: str, statistic: str | None = None) -> list[Limit]:
    """Objectives about a metric (and a statistic), in milliseconds."""
    found = []
    for slo in rows[0]["slo"] if rows else ():
        head, _, limit = slo["text"].partition("=")
        name, _, which = head.partition(":")
        if name == metric and statistic in (None, which):
            found.append(Limit(slo["text"], 1e3 * float(limit)))
    return found


def spells_of(result: ServingResult) -> list[Spell]:
    """The warm-up, and failures of replicas."""
    first = result.rows[0]
    spells = [Spell("warm-up", 0.0, first["warm_up_s"])] if first["warm_up_s"] > 0 else []
    for text in result.config.get("failure", ()):
        if found := _FAILURE.fullmatch(text):
            at_s, for_s = float(found[2]), float(found[3])
            spells.append(Spell(f"replica {found[1]} down", at_s, at_s + for_s))
    return spells


def share_table(rows: Sequence[Row]) -> PlainTable:
    """Where the replicas' seconds go, in percent."""
    heads = ("method", *(part.words for part in SHARE_PARTS), "batch", "step ms")
    cells = []
    for row in rows:
        steps, seconds = row["num_steps"], row["num_replications"] * (row["duration_s"] - row["warm_up_s"])
        busy = 1.0 - (row["idle_share"] or 0.0)
        step_s = busy * seconds * row["replicas"] / steps if steps else None
        shares = [number(100 * (row[part.name] or 0.0), ",.1f") for part in SHARE_PARTS]
        cells.append([label_of(row), *shares, number(row["mean_batch"], ",.1f"), milliseconds(step_s, 2)])
    return PlainTable("Seconds of the replicas, in percent", "", heads, cells, 1)


def rate_table(curve: Mapping[str, Sequence[Row]]) -> PlainTable:
    """Every point of the curve."""
    heads = (
        *("method", "requests/s", "TTFT p50 ms", "p99", "TPOT p50 ms", "p99", "E2EL mean s", "tok/s"),
        *("completed/s", "batch", "state"),
    )
    cells = [
        [
            label,
            f"{row['rate']:.4g}",
            milliseconds(row["ttft_s_p50"], 0),
            milliseconds(row["ttft_s_p99"], 0),
            milliseconds(row["tpot_s_p50"], 1),
            milliseconds(row["tpot_s_p99"], 1),
            number(row["e2el_s_mean"], ",.2f"),
            number(row["output_tok_s"], ",.0f"),
            number(row["request_throughput"], ",.3g"),
            number(row["mean_batch"], ",.1f"),
            "saturated" if row["saturated"] else "carries it",
        ]
        for label, rows in curve.items()
        for row in rows
    ]
    return PlainTable("Every point", "", heads, cells, 1)


def loops_table(closed: Sequence[Row]) -> PlainTable:
    """Both loops side by side."""
    heads = (
        *("method", "mean batch here", "closed batch", "TPOT here ms", "closed ms", "ratio"),
        *("acceptance length here", "closed", "closed speedup over td"),
    )
    cells = []
    for one in closed:
        here, there = one["open_tpot_s"], one["closed_tpot_s"]
        cells.append(
            [
                label_of(one),
                number(one["mean_batch"], ",.1f"),
                str(one["batch_size"]),
                milliseconds(here, 2),
                milliseconds(there, 2),
                number(here / there if here and there else None, ".2f"),
                number(one["mean_acceptance_length"], ".2f"),
                number(one["closed_mean_acceptance_length"], ".2f"),
                number(one["closed_speedup_vs_td"], ".2f", "x"),
            ]
        )
    return PlainTable("Open loop beside closed loop", "", heads, cells, 1)


def number_table(rows: Sequence[Row]) -> PlainTable:
    """Every number of every row, with its interval."""
    heads = ("number", *(label_of(row) for row in rows))
    names = [name for name, value in rows[0].items() if not isinstance(value, list | dict)]
    cells = []
    for name in names:
        if name.endswith(("_ci_low", "_ci_high")) or name in ("method",):
            continue
        cells.append([name, *(_with_interval(row, name) for row in rows)])
    return PlainTable("Every number (seconds)", "", heads, cells, 1)


def _with_interval(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return DASH
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    around = interval(row.get(f"{name}_ci_low"), row.get(f"{name}_ci_high"), ",.4g")
    return f"{value:,.4g}" if around == DASH else f"{value:,.4g} ({around})"
