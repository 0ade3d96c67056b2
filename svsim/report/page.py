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
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from svsim.errors import InputError, printable
from svsim.metrics.rows import ResultTable
from svsim.report.figures import (
    difference_figure,
    goodput_figure,
    speedup_figure,
    time_figure,
    tokens_figure,
)
from svsim.report.html import Html, element, join
from svsim.report.palette import DARK, TIME_PARTS, TOKEN_PARTS, looks
from svsim.report.sections import (
    analytic_section,
    answer,
    closing_section,
    data_section,
    header,
    information_section,
    method_key,
    part_key,
    provenance_section,
    section,
)

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

    ``analytic`` is the same question answered by the analytic model. ``information`` holds what the
    signals are worth, every key optional: ``gain_bits``, ``gain_ci_low``, ``gain_ci_high``,
    ``ceiling_bits``, ``share`` (of the ceiling), ``r2``, ``brier_skill``, ``calibration_error``, and
    ``signals``: {name: {"gain_bits": ...}}. ``command`` is the command line that made the result.
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
        title=element("i", f"svsim: {table.trace.get('file') or 'trace'}")[3:-4],
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

    def add(self, figure: go.Figure, caption: str, note: str = "") -> Html:
        """The place of a figure, which the page's script fills."""
        figure.update_layout(showlegend=False)
        figure.update_xaxes(fixedrange=True).update_yaxes(fixedrange=True)  # a finger scrolls the page
        self.figures.append(figure.to_json())
        return element(
            "figure",
            element("figcaption", caption, element("small", f" {note}") if note else None),
            element("div", class_="plot", style=f"height:{round(figure.layout.height)}px", id=f"plot-{len(self.figures)}"),
        )

    def json(self) -> str:
        """All figures for a script element: no character in it can end the element."""
        document = json.dumps({"dark": dict(DARK), "figures": self.figures}, ensure_ascii=True)
        return document.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
