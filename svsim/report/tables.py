"""Tables of the page: every row, facts about the trace, and the rows as a file to save."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.plain_table import PlainTable
from svsim.report.row_columns import COLUMNS, RowColumn

MAX_FACTS = 80
_MAX_FACT_LENGTH = 1_000


def row_tables(table: ResultTable) -> Html:
    """Every row with every quantity: one table per hardware, a group per batch size."""
    parts = []
    for hardware in dict.fromkeys(r.deployment for r in table.rows):
        rows = sorted((r for r in table.rows if r.deployment == hardware), key=lambda r: r.batch_size)
        groups = [
            element("tbody", *(_row(r) for r in group), class_="group")
            for _, group in groupby(rows, key=lambda r: r.batch_size)
        ]
        head = element("tr", *(_cell("th", c, c.heading) for c in COLUMNS))
        parts.append(element("h3", short_name(hardware)))
        parts.append(
            scrolling(element("table", element("thead", head), *groups, class_="rows"), f"Rows of {hardware}")
        )
    return join(*parts)


def _row(row: ResultRow) -> Html:
    return element("tr", *(_cell("td", c, c.cell(row)) for c in COLUMNS))


def _cell(tag: str, column: RowColumn, words: str) -> Html:
    return element(tag, words, class_="words" if column.is_words else None)


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


def plain(table: PlainTable) -> Html:
    """A plain table without its caption, which is its label."""

    def cells(tag: str, values: Sequence[str]) -> list[Html]:
        return [
            element(tag, v, class_="words" if i < table.num_words else None) for i, v in enumerate(values)
        ]

    head = element("thead", element("tr", *cells("th", table.heads)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in table.rows))
    return scrolling(element("table", head, body), table.caption)


def captioned(table: PlainTable) -> Html:
    """Caption, note, table."""
    return element("div", element("h3", table.caption), _note(table), plain(table))


def folded(table: PlainTable) -> Html:
    """The same behind its caption, to open."""
    return element("details", element("summary", table.caption), _note(table), plain(table))


def _note(table: PlainTable) -> Html | None:
    return element("p", table.note, class_="muted") if table.note else None
