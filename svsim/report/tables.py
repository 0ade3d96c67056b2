"""Tables of the page: every row, facts about the trace, and the rows as a file to save."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.html import Html, element, join, short_name, text

MAX_FACTS = 80
_MAX_FACT_LENGTH = 1_000

_COLUMNS: tuple[tuple[str, Callable[[ResultRow], str]], ...] = (
    ("batch", lambda r: str(r.batch_size)),
    ("method", lambda r: r.label),
    ("goodput tok/s", lambda r: number(r.goodput_tok_s, ",.1f")),
    ("95 % interval", lambda r: interval(r.goodput_ci_low, r.goodput_ci_high, ",.1f")),
    ("vs target-only", lambda r: number(r.speedup_vs_td, ".3f", "x")),
    ("interval", lambda r: interval(r.speedup_vs_td_ci_low, r.speedup_vs_td_ci_high, ".3f")),
    ("vs fixed length", lambda r: number(r.speedup_vs_sd, ".3f", "x")),
    ("interval", lambda r: interval(r.speedup_vs_sd_ci_low, r.speedup_vs_sd_ci_high, ".3f")),
    ("best fixed length", lambda r: r.sd_baseline or "-"),
    ("share of the bound's gain", lambda r: number(r.oracle_gain_share, ".1%")),
    (
        "interval",
        lambda r: interval(r.oracle_gain_share_ci_low, r.oracle_gain_share_ci_high, ".1%"),
    ),
    ("bound", lambda r: r.oracle_bound or "-"),
    ("draft acceptance rate", lambda r: number(r.draft_acceptance_rate, ".1%")),
    ("verified acceptance rate", lambda r: number(r.verified_acceptance_rate, ".1%")),
    ("mean acceptance length (with bonus)", lambda r: number(r.mean_acceptance_length, ".3f")),
    ("mean verification length", lambda r: number(r.mean_verification_length, ".3f")),
    ("rejected of verified", lambda r: number(r.rejected_share_of_verified, ".1%")),
    ("step ms", lambda r: milliseconds(r.step_time_s)),
    ("overhead ms", lambda r: milliseconds(r.overhead_time_s)),
    ("draft ms", lambda r: milliseconds(r.draft_time_s)),
    ("companion ms", lambda r: milliseconds(r.companion_time_s)),
    ("verify ms", lambda r: milliseconds(r.verify_time_s)),
    ("prefill ms", lambda r: milliseconds(r.prefill_time_s)),
    ("TPOT ms", lambda r: milliseconds(r.tpot_s)),
    ("steps", lambda r: f"{r.num_steps:,}"),
    ("emitted tokens", lambda r: f"{r.num_emitted_tokens:,}"),
    ("requests", lambda r: f"{r.num_requests:,}"),
    ("fits memory", lambda r: yes_no(r.fits_memory)),
    ("$ per million tokens", lambda r: number(r.usd_per_million_tokens, ",.2f")),
    ("kJ per million tokens", lambda r: kilojoules(r.joules_per_million_tokens)),
    ("lossless", lambda r: yes_no(r.lossless)),
    ("replay", lambda r: r.replay_kind),
    ("step times", lambda r: r.latency_source),
)
_WORDS = ("method", "best fixed length", "bound", "replay", "step times")


def number(value: float | None, form: str, unit: str = "") -> str:
    """A formatted number, or a dash."""
    return "-" if value is None else f"{value:{form}}{unit}"


def interval(low: float | None, high: float | None, form: str) -> str:
    """``low to high``, or a dash."""
    return "-" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def kilojoules(joules: float | None) -> str:
    """Joules as kilojoules, or a dash."""
    return "-" if joules is None else f"{joules / 1e3:,.0f}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, or a dash."""
    return "-" if seconds is None else f"{1e3 * seconds:.3f}"


def yes_no(value: bool | None) -> str:
    """``yes``, ``no``, or a dash for not known."""
    return "-" if value is None else ("yes" if value else "no")


def row_tables(table: ResultTable) -> Html:
    """Every row with every quantity: one table per hardware, a group per batch size."""
    parts = []
    for hardware in dict.fromkeys(r.deployment for r in table.rows):
        rows = sorted((r for r in table.rows if r.deployment == hardware), key=lambda r: r.batch_size)
        groups = [
            element("tbody", *(_row(r) for r in group), class_="group")
            for _, group in groupby(rows, key=lambda r: r.batch_size)
        ]
        head = element("tr", *(_cell("th", column, column) for column, _ in _COLUMNS))
        parts.append(element("h3", short_name(hardware)))
        parts.append(
            scrolling(element("table", element("thead", head), *groups, class_="rows"), f"Rows of {hardware}")
        )
    return join(*parts)


def _row(row: ResultRow) -> Html:
    return element("tr", *(_cell("td", column, shown(row)) for column, shown in _COLUMNS))


def _cell(tag: str, column: str, words: str) -> Html:
    return element(tag, words, class_="words" if column in _WORDS else None)


def scrolling(content: Html, label: str) -> Html:
    """A box that scrolls sideways by itself, so that the page never does."""
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def csv_link(table: ResultTable) -> Html:
    """A link that saves the rows, unrounded, out of the page itself."""
    data = base64.b64encode(table.to_csv().encode("utf-8", "replace")).decode()
    return Html(
        f'<a class="screen-only" download="svsim-rows.csv" href="data:text/csv;base64,{data}">'
        "Save the rows as CSV, unrounded</a>"
    )


def facts(values: Mapping[str, Any]) -> Html:
    """A two-column table of names and values; nested objects by dotted names."""
    found = list(_flat(values, ""))
    rows = [element("tr", _fact(key), _fact(value)) for key, value in found[:MAX_FACTS]]
    if len(found) > MAX_FACTS:
        rows.append(
            element("tr", element("td", "..."), element("td", f"{len(found) - MAX_FACTS} more entries"))
        )
    return element("div", element("table", element("tbody", *rows), class_="facts"), class_="scroll")


def _fact(value: str) -> Html:
    return element("td", text(value, _MAX_FACT_LENGTH))


def _flat(value: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth < 3:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif isinstance(value, str):
        yield prefix, value
    elif value is not None:
        yield prefix, _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def simple_table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int, label: str) -> Html:
    """A plain table; the first ``words`` columns are text, the others numbers."""

    def cells(tag: str, values: Sequence[str]) -> list[Html]:
        return [element(tag, v, class_="words" if i < words else None) for i, v in enumerate(values)]

    head = element("thead", element("tr", *cells("th", heads)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return scrolling(element("table", head, body), label)
