"""The page and the picture of ``svsim phase``: one SVG for slides, and the numbers behind it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from svsim.errors import printable
from svsim.metrics.phase import PhaseDiagram
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.phase_picture import NARROW, WIDE, Canvas, phase_svg
from svsim.report.phase_tables import bands_table, caveats, checks_table, sentences
from svsim.report.tables import folded
from svsim.report.template import footer, resource, small_page, write_page


class PhaseView(Protocol):
    """What is shown of a result of ``svsim phase``."""

    @property
    def diagrams(self) -> Sequence[PhaseDiagram]: ...
    @property
    def version(self) -> str: ...
    @property
    def trace(self) -> Mapping[str, Any]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Sequence[str]: ...


def write_phase_page(result: PhaseView, path: str | os.PathLike[str], command: str) -> None:
    """One offline page without scripts. InputError where it cannot be written."""
    write_page(render(result, command), path)


def write_phase_picture(result: PhaseView, path: str | os.PathLike[str]) -> None:
    """The wide picture as an SVG file."""
    write_page(f'<?xml version="1.0" encoding="UTF-8"?>\n{picture(result, WIDE)}\n', Path(path))


def picture(result: PhaseView, canvas: Canvas) -> Html:
    """The picture at one of its two widths."""
    return phase_svg(result.diagrams, *_titles(result, canvas), canvas)


def render(result: PhaseView, command: str) -> str:
    """The whole page."""
    wide, narrow = (picture(result, canvas) for canvas in (WIDE, NARROW))
    title = "Which method is fastest, and where?"
    tables = [folded(bands_table(d)) for d in result.diagrams]
    tables += [folded(checks_table(d)) for d in result.diagrams if d.checks]
    found = [element("li", line, class_="finding") for line in sentences(result.diagrams)]
    doubts = [element("li", line) for line in (*caveats(result.diagrams), *result.notes)]
    body = element(
        "main",
        element(
            "header",
            element(
                "p",
                f"svsim {result.version} · analytic model, closed loop · ",
                _name(result),
                class_="eyebrow",
            ),
            element("h1", title),
        ),
        element(
            "div",
            element("div", wide, class_="wide"),
            element("div", narrow, class_="narrow"),
            class_="picture",
        ),
        element(
            "section",
            element("ul", *found),
            element("ul", *doubts, class_="caveats"),
            class_="answer",
            id="answer",
        ),
        element("section", element("h2", "Numbers"), *tables, id="numbers"),
        element(
            "section", element("h2", "How this was made"), element("pre", text(command, 10_000)), id="made"
        ),
        footer(result.version),
    )
    return small_page(title, resource("phase_page.css"), join(body))


def _titles(result: PhaseView, canvas: Canvas) -> tuple[str, str]:
    """Title and subtitle of the picture, short enough for its width."""
    config = result.config
    prefill = "prefill counted" if config.get("prefill") == "include" else "prefill not counted"
    engine = f"engine {config.get('engine_profile', 'none')}"
    limit = canvas.width // (canvas.font - 6)
    parts = (
        str(result.trace.get("file") or "trace"),
        f"{config.get('latency_source')} step times",
        engine,
        prefill,
        "closed loop",
    )
    title = f"Fastest method on {config.get('deployment')}"
    return printable(title, round(0.72 * limit)), ", ".join(printable(part, limit) for part in parts)


def _name(result: PhaseView) -> Html:
    return short_name(result.trace.get("file") or "trace")
