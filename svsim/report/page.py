"""One offline HTML page of a result: figures, tables, provenance and the command, in one file.

All text that comes out of files is escaped.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from svsim.errors import InputError
from svsim.metrics.rows import ResultTable
from svsim.report.bars import shown_rows
from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.figures import (
    difference_figure,
    gain_share_figure,
    goodput_figure,
    speedup_figure,
    time_figure,
    time_parts,
    tokens_figure,
)
from svsim.report.heat_map_page import heat_map_section
from svsim.report.html import Html, element, join
from svsim.report.lines import MANY
from svsim.report.method_matrix import method_matrices
from svsim.report.palette import TOKEN_PARTS, MethodLook, looks
from svsim.report.plain_table import Lead
from svsim.report.sections import (
    analytic_section,
    answer,
    closing_section,
    data_section,
    header,
    lead_section,
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
    lead: Lead | None = None,
) -> None:
    """Write the page to ``path``, by way of a temporary file; InputError where that fails.

    ``analytic`` is the same question answered by the analytic model; ``information`` is the object of
    that name in ``svsim info --json``; ``command`` is the command line that made the result; ``lead`` comes
    first.
    """
    document = render(table, analytic=analytic, information=information, command=command, lead=lead)
    write_page(document, path)


def render(
    table: ResultTable,
    *,
    analytic: ResultTable | None = None,
    information: Mapping[str, Any] | None = None,
    command: str,
    lead: Lead | None = None,
) -> str:
    """The page as text; the same input gives the same text."""
    if not table.rows:
        raise InputError("the result holds no rows, so there is nothing to report; ask for a method")
    table = _fitting(table)
    plots = Plots()
    look_of = looks(table)
    sections = {
        "advice": lead_section(lead) if lead else None,
        "answer": answer(table, look_of),
        "map": heat_map_section(table, look_of),
        "methods": _methods(table, look_of),
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
        element(
            "main", header(table), _contents(sections), no_charts(), *sections.values(), footer(table.version)
        )
    )
    return page(f"svsim: {table.trace.get('file') or 'trace'}", body, plots)


def _hardware(table: ResultTable) -> list[str]:
    return list(dict.fromkeys(r.deployment for r in table.rows))


def _has_bound(table: ResultTable) -> bool:
    return any(r.oracle_gain_share is not None for r in table.rows)


def _methods(table: ResultTable, look_of: Mapping[str, MethodLook]) -> Html | None:
    if len(look_of) < 2:
        return None
    below = (
        " Small: its share of the gain of the run's fastest bound, which knows what the target will accept."
    )
    return section(
        "methods",
        "Every method at every batch size",
        "Speedup over target-only decoding, in colour where it gains; framed: the fastest lossless method."
        + (below if _has_bound(table) else ""),
        method_matrices(table, look_of),
    )


def _panels(look_of: Mapping[str, MethodLook], *figures: Html) -> Html:
    """Figures side by side, or one below the other where many lines need the width."""
    return element("div", *figures, class_="panels wide" if len(look_of) > MANY else "panels")


def _goodput(table: ResultTable, plots: Plots) -> Html:
    look_of = looks(table)
    figures = [plots.add(goodput_figure(table, name), name) for name in _hardware(table)]
    shaded = "" if len(look_of) > MANY else " Shaded: 95 % interval over requests."
    return section(
        "goodput",
        "Goodput against batch size",
        f"Emitted tokens per second of the whole batch.{shaded} Point at a batch size to read the values"
        f"{'' if shaded else ' and their 95 % intervals over requests'}; pick methods in the key to single "
        "them out.",
        method_key(look_of, always=len(look_of) > MANY or any(x.short != x.label for x in look_of.values())),
        _panels(look_of, *figures),
    )


def _speedup(table: ResultTable, plots: Plots) -> Html:
    look_of = looks(table)
    panels = []
    for name in _hardware(table):
        panels.append(plots.add(speedup_figure(table, "td", name), name, "over target-only decoding"))
        if any(r.speedup_vs_sd is not None for r in table.rows if r.deployment == name):
            panels.append(plots.add(speedup_figure(table, "sd", name), name, "over the best fixed length"))
        if any(r.oracle_gain_share is not None for r in table.rows if r.deployment == name):
            note = "share of the bound's gain over target-only decoding"
            panels.append(plots.add(gain_share_figure(table, name), name, note))
    of_bound = (
        " In shares of the bound's gain the dotted line is the fastest bound of the run; what the best fixed "
        "length leaves to it is all that choosing lengths can add."
    )
    return section(
        "speedup",
        "Speedup",
        "Above the dotted line at 1 a method is faster than the baseline. An interval that holds 1 "
        f"settles nothing.{of_bound if _has_bound(table) else ''}",
        method_key(look_of),
        _panels(look_of, *panels),
    )


def _time_and_tokens(table: ResultTable, plots: Plots) -> Html:
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
        "share of the verified ones at the bar's end. A step emits the accepted tokens and one more."
        f"{_bars_left_out(table)}",
        element("div", *panels, class_="panels"),
    )


def _bars_left_out(table: ResultTable) -> str:
    """Which batch sizes have bars, where not all do."""
    rows = [r for r in table.rows if r.deployment == table.rows[0].deployment]
    shown = dict.fromkeys(r.batch_size for r in shown_rows(rows))
    if len(shown) == len({r.batch_size for r in rows}):
        return ""
    return f" Bars only at batch {', '.join(map(str, shown))}; the table below holds the others."


def _analytic(table: ResultTable, analytic: ResultTable, plots: Plots) -> Html:
    look_of = looks(table)
    panels = [plots.add(difference_figure(table, analytic, name), name) for name in _hardware(table)]
    return analytic_section(table, analytic, method_key(look_of), _panels(look_of, *panels))


_HEADINGS = {
    "advice": "Advice",
    "map": "Hardware",
    "methods": "Methods",
    "goodput": "Goodput",
    "speedup": "Speedup",
    "time": "Time and tokens",
    "signals": "Signals",
    "analytic": "Analytic against replay",
    "provenance": "Provenance",
    "data": "Every number",
}


def _contents(sections: Mapping[str, Html | None]) -> Html:
    found = {name: words for name, words in _HEADINGS.items() if sections.get(name)}
    return contents({**found, "command": "Command"})


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
