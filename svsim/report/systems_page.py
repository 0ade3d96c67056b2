"""Reproduced systems as one offline page."""

import os

from svsim.papers.reproduction import SystemResult, SystemsResult
from svsim.report.document import Plots, contents, footer, page, write_page
from svsim.report.html import Html, element, text
from svsim.report.sections import MAX_COMMAND_LENGTH, chip, section
from svsim.report.systems_view import rows_table, score_line, scores_table
from svsim.report.tables import plain


def write_systems_page(
    found: SystemsResult, path: str | os.PathLike[str], command: str, version: str
) -> None:
    """Write the page to ``path``; InputError where that fails."""
    write_page(render(found, command, version), path)


def render(found: SystemsResult, command: str, version: str) -> str:
    """The page as text; the same input gives the same text."""
    links = {s.system.name: s.system.name for s in found.systems}
    scores = scores_table(found)
    body = element(
        "main",
        _header(found, version),
        contents(links) if len(links) > 1 else None,
        section("scores", scores.caption, scores.note, plain(scores)) if len(links) > 1 else None,
        *map(_system, found.systems),
        section(
            "command",
            "Make this page again",
            "The same version gives the same bytes.",
            element("pre", element("code", text(command, MAX_COMMAND_LENGTH))),
        ),
        footer(version),
    )
    return page("svsim: published systems, reproduced", body, Plots())


def _header(found: SystemsResult, version: str) -> Html:
    rows = [row for row in found.rows if row.is_judged]
    verdicts = dict.fromkeys(str(row.verdict) for row in rows)
    chips = [chip(f"{sum(str(r.verdict) == v for r in rows)} rows {v}") for v in verdicts]
    return element(
        "header",
        element(
            "p", f"svsim {version} · published numbers beside what follows from others", class_="eyebrow"
        ),
        element("h1", "Do papers' results follow from their own numbers?"),
        element("ul", *chips, class_="chips") if chips else None,
    )


def _system(found: SystemResult) -> Html:
    table = rows_table(found)
    return section(
        found.system.name,
        table.caption,
        table.note,
        element("ul", *(element("li", words, class_="finding") for words in found.findings)),
        plain(table),
        element("p", score_line(found), class_="muted"),
    )
