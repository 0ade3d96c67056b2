"""What every page is made of: the template with style and script, its figures, and the file it ends in.

Nothing is fetched: style, script and plotly.js (packed with gzip) are inside, and the page's own
content security policy forbids the rest.
"""

import base64
import gzip
import json
import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from svsim.errors import InputError, printable
from svsim.files import write_atomically
from svsim.report.canvas import BOTTOM_PX
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.palette import DARK


class Plots:
    """The figures of a page, in order of appearance."""

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


def page(title: object, body: Html, plots: Plots) -> str:
    """The whole document; the same input gives the same text."""
    return _filled(
        "page.html",
        title=text(title, 120),
        css=_resource("page.css"),
        js=_resource("page.js"),
        body=body,
        figures=plots.json(),
        plotly=_packed_plotly(),
    )


def contents(headings: Mapping[str, str]) -> Html:
    """Links to the sections of a page, by id."""
    links = [element("a", words, href=f"#{name}") for name, words in headings.items()]
    return element("nav", *links, aria_label="Contents")


def no_charts() -> Html:
    """What stands there when figures cannot be drawn."""
    words = "The charts need JavaScript and a browser of 2023 or later; every number is in the tables below."
    return join(
        element("p", words, class_="notice", id="no-charts", hidden="hidden"),
        element("noscript", element("p", words, class_="notice")),
    )


def footer(version: str) -> Html:
    """Who made the page, and that it is complete."""
    return element(
        "footer", f"Made by svsim {version}. This file is complete: it loads nothing from anywhere."
    )


def write_page(document: str, path: str | os.PathLike[str]) -> None:
    """Write the whole page or nothing; InputError where that fails."""
    target = Path(path)
    try:
        write_atomically(target, document.encode())
    except OSError as error:
        raise InputError(
            f"{printable(target)} cannot be written ({error.strerror}); choose another place"
        ) from None


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
