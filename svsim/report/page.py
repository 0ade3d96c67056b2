"""One offline HTML page of a result: figures, tables, provenance and the command, in one file.

Nothing is fetched: style, script and plotly.js (packed with gzip) are inside, and the page's own
content security policy forbids the rest. All text that comes out of files is escaped.
"""

import base64
import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from svsim.errors import InputError, printable
from svsim.metrics.rows import ResultTable
from svsim.report.canvas import BOTTOM_PX
from svsim.report.figures import (
    difference_figure,
    goodput_figure,
    speedup_figure,
    time_figure,
    time_parts,
    tokens_figure,
)
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.palette import DARK, TOKEN_PARTS, looks
from svsim.report.sections import (
    analytic_section,
    answer,
    closing_section,
    data_section,
    header,
    method_key,
    part_key,
    provenance_section,
    section,
)
from svsim.report.signals import information_section

MAX_ROWS = 1_000  # of one page, which keeps it under 5 MB


def write_report(
    table: ResultTable,
    path: str | os.PathLike[str],
    *,
    analytic: ResultTable | None = None,
    information: Mapping[str, Any] | None = None,
    command: str,
) -> None:
    """Write the page to ``path``, by way of a temporary file; InputError where that fails.

    ``analytic`` is the same question answered by the analytic model; ``information`` is the object of
    that name in ``svsim info --json``; ``command`` is the command line that made the result.
    """
    document = render(table, analytic=analytic, information=information, command=command)
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(document, encoding="utf-8", newline="\n")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{printable(target)} cannot be written ({error.strerror}); choose another place"
        ) from None


def render(
    table: ResultTable,
    *,
    analytic: ResultTable | None = None,
    information: Mapping[str, Any] | None = None,
    command: str,
) -> str:
    """The page as text; the same input gives the same text."""
    if not table.rows:
        raise InputError("the result holds no rows, so there is nothing to report; ask for a method")
    table = _fitting(table)
    plots = _Plots()
    look_of = looks(table)
    sections = {
        "answer": answer(table, look_of),
        "goodput": _goodput(table, plots),
        "speedup": _speedup(table, plots),
        "time": _time_and_tokens(table, plots),
        "signals": information_section(information) if information else None,
        "analytic": _analytic(table, analytic, plots) if analytic else None,
        "provenance": provenance_section(table),
        "data": data_section(table),
        "closing": closing_section(table, command),
    }
    body = join(
        element("main", header(table), _contents(sections), _no_charts(), *sections.values(), _footer(table))
    )
    return _filled(
        "page.html",
        title=text(f"svsim: {table.trace.get('file') or 'trace'}", 120),
        css=_resource("page.css"),
        js=_resource("page.js"),
        body=body,
        figures=plots.json(),
        plotly=_packed_plotly(),
    )


class _Plots:
    """The figures of the page, in order of appearance."""

    def __init__(self) -> None:
        self.figures: list[str] = []

    def add(self, figure: go.Figure, caption: str, note: str = "", key: Html | None = None) -> Html:
        """The place of a figure, which the page's script fills."""
        legend_px = figure.layout.margin.b - BOTTOM_PX  # the page has its own keys
        figure.update_layout(showlegend=False, height=figure.layout.height - legend_px, margin_b=BOTTOM_PX)
        figure.update_xaxes(fixedrange=True).update_yaxes(fixedrange=True)  # a finger scrolls the page
        self.figures.append(figure.to_json())
        return element(
            "figure",
            element("figcaption", short_name(caption), element("small", f" {note}") if note else None),
            key,
            element(
                "div",
                class_="plot",
                style=f"height:{round(figure.layout.height)}px",
                id=f"plot-{len(self.figures)}",
            ),
        )

    def json(self) -> str:
        """All figures for a script element: no character in it can end the element."""
        document = json.dumps({"dark": dict(DARK), "figures": self.figures}, ensure_ascii=True)
        return document.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hardware(table: ResultTable) -> list[str]:
    return list(dict.fromkeys(r.deployment for r in table.rows))


def _goodput(table: ResultTable, plots: _Plots) -> Html:
    panels = [plots.add(goodput_figure(table, name), name) for name in _hardware(table)]
    return section(
        "goodput",
        "Goodput against batch size",
        "Emitted tokens per second of the whole batch. Shaded: 95 % interval over requests. "
        "Point at a batch size to read the values.",
        method_key(looks(table)),
        element("div", *panels, class_="panels"),
    )


def _speedup(table: ResultTable, plots: _Plots) -> Html:
    panels = []
    for name in _hardware(table):
        panels.append(plots.add(speedup_figure(table, "td", name), name, "over target-only decoding"))
        if any(r.speedup_vs_sd is not None for r in table.rows if r.deployment == name):
            panels.append(plots.add(speedup_figure(table, "sd", name), name, "over the best fixed length"))
    return section(
        "speedup",
        "Speedup",
        "Above the dotted line at 1 a method is faster than the baseline. An interval that holds 1 "
        "settles nothing.",
        method_key(looks(table)),
        element("div", *panels, class_="panels"),
    )


def _time_and_tokens(table: ResultTable, plots: _Plots) -> Html:
    panels = []
    for name in _hardware(table):
        panels.append(
            plots.add(time_figure(table, name), name, "time of a step", part_key(time_parts(table)))
        )
        panels.append(plots.add(tokens_figure(table, name), name, "draft tokens", part_key(TOKEN_PARTS)))
    return section(
        "time",
        "Where the time and the draft tokens go",
        "In pairs: what a step spends its time on, and what becomes of its draft tokens, with the rejected "
        "share of the verified ones at the bar's end. A step emits the accepted tokens and one more.",
        element("div", *panels, class_="panels"),
    )


def _analytic(table: ResultTable, analytic: ResultTable, plots: _Plots) -> Html:
    panels = [plots.add(difference_figure(table, analytic, name), name) for name in _hardware(table)]
    return analytic_section(
        table, analytic, method_key(looks(table)), element("div", *panels, class_="panels")
    )


_HEADINGS = {
    "goodput": "Goodput",
    "speedup": "Speedup",
    "time": "Time and tokens",
    "signals": "Signals",
    "analytic": "Analytic against replay",
    "provenance": "Provenance",
    "data": "Every number",
}


def _contents(sections: Mapping[str, Html | None]) -> Html:
    links = [element("a", words, href=f"#{name}") for name, words in _HEADINGS.items() if sections.get(name)]
    links.append(element("a", "Command", href="#command"))
    return element("nav", *links, aria_label="Contents")


def _no_charts() -> Html:
    words = "The charts need JavaScript and a browser of 2023 or later; every number is in the tables below."
    return join(
        element("p", words, class_="notice", id="no-charts", hidden="hidden"),
        element("noscript", element("p", words, class_="notice")),
    )


def _footer(table: ResultTable) -> Html:
    return element(
        "footer", f"Made by svsim {table.version}. This file is complete: it loads nothing from anywhere."
    )


def _fitting(table: ResultTable) -> ResultTable:
    """The table, batch sizes thinned out (and a note) where a page cannot hold all rows."""
    if len(table.rows) <= MAX_ROWS:
        return table
    sizes = sorted({r.batch_size for r in table.rows})
    step = -(-len(table.rows) // MAX_ROWS)
    kept = set(sizes[::-1][::step])
    note = f"this page shows {len(kept)} of {len(sizes)} batch sizes; --json and --csv hold all rows"
    rows = tuple(r for r in table.rows if r.batch_size in kept)
    return replace(table, rows=rows, notes=(*table.notes, note))


def _filled(name: str, **values: str) -> str:
    """The template with every ``{{name}}`` replaced, in one pass: values are not templates."""
    head, *pieces = _resource(name).split("{{")
    filled = [head]
    for piece in pieces:
        key, _, rest = piece.partition("}}")
        filled += [values[key], rest]
    return "".join(filled)


def _resource(name: str) -> str:
    return (files("svsim.report") / name).read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    """plotly.js, gzip and base64: 2 MB in place of 4.8."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
