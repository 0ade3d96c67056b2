"""Reproduced systems as one offline page."""

import os
from collections.abc import Sequence

from svsim.papers.reproduction import SystemResult, SystemsResult
from svsim.papers.rows import Verdict
from svsim.report.document import Plots, contents, footer, no_charts, page, write_page
from svsim.report.html import Html, element, text
from svsim.report.plain_table import PlainTable
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, section
from svsim.report.systems_figure import LOOKS, errors_figure
from svsim.report.systems_view import WORDS, rows_table, score_line, scores_table
from svsim.report.tables import scrolling

QUESTION = "Do papers' results follow from their own numbers?"
# columns that wrap, and how narrow they may become
LEAST_REM = {"setting": 10, "metric": 6, "what": 9, "why": 15, "predicted from": 15}


def write_systems_page(
    found: SystemsResult, path: str | os.PathLike[str], command: str, version: str
) -> None:
    """Write the page to ``path``; InputError where that fails."""
    write_page(render(found, command, version), path)


def render(found: SystemsResult, command: str, version: str) -> str:
    """The page as text; the same input gives the same text."""
    plots = Plots()
    links = {s.system.name: s.system.name for s in found.systems}
    scores = scores_table(found)
    body = element(
        "main",
        _header(found, version),
        contents(links) if len(links) > 1 else None,
        no_charts(),
        section("scores", scores.caption, scores.note, _table(scores)) if len(links) > 1 else None,
        _errors(found, plots),
        *map(_system, found.systems),
        section(
            "command",
            "Make this page again",
            "The same version gives the same bytes.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
        footer(version),
    )
    return page("svsim: published systems, reproduced", body, plots)


def _header(found: SystemsResult, version: str) -> Html:
    rows = [row for row in found.rows if row.is_judged]
    verdicts = dict.fromkeys(str(row.verdict) for row in rows)
    chips = [chip(f"{sum(str(r.verdict) == v for r in rows)} rows {v}") for v in verdicts]
    return element(
        "header",
        element(
            "p", f"svsim {version} · published numbers beside what follows from others", class_="eyebrow"
        ),
        element("h1", found.systems[0].system.title if len(found.systems) == 1 else QUESTION),
        element("ul", *chips, class_="chips") if chips else None,
    )


def _table(table: PlainTable) -> Html:
    """The table with its sentences wrapped, so that they are seen without scrolling."""
    words = {*WORDS, *table.heads[: table.num_words]}

    def cells(tag: str, values: Sequence[str]) -> list[Html]:
        return [
            element(
                tag,
                value,
                class_="words" if head in words else None,
                style=f"white-space:normal;min-width:{LEAST_REM[head]}rem" if head in LEAST_REM else None,
            )
            for head, value in zip(table.heads, values, strict=True)
        ]

    head = element("thead", element("tr", *cells("th", table.heads)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in table.rows))
    return scrolling(element("table", head, body), table.caption)


def _errors(found: SystemsResult, plots: Plots) -> Html | None:
    """Every judged row beside 1."""
    figure = errors_figure(found)
    if figure is None:
        return None
    one = len(found.systems) == 1
    key = element(
        "ul",
        *(
            element("li", element("b", glyph, style=f"color:{LOOKS[verdict][0]}"), f" {verdict}")
            for verdict, glyph in ((Verdict.CONFIRMED, "●"), (Verdict.NOT_CONFIRMED, "◆"))
        ),
        class_="key",
    )
    note = (
        "Bars: how far a row may be off."
        if one
        else "A line per system; rows without a verdict are left out."
    )
    return section("errors", "Predicted over published", note, plots.add(figure, "Every judged row", "", key))


def _system(found: SystemResult) -> Html:
    table = rows_table(found)
    return section(
        found.system.name,
        table.caption,
        table.note,
        element("ul", *(element("li", words, class_="finding") for words in found.findings)),
        _table(table),
        element("p", score_line(found), class_="muted"),
    )
