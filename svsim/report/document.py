"""What every page is made of: the template with style and script, its figures, and the file it ends in.

Nothing is fetched: style, script and plotly.js (packed with gzip) are inside, and the page's own
content security policy forbids the rest.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from svsim.report.canvas import BOTTOM_PX
from svsim.report.html import Html, element, join, short_name, text
from svsim.report.palette import DARK
from svsim.report.template import filled, footer, resource, write_page

__all__ = ["Plots", "contents", "footer", "no_charts", "page", "write_page"]


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
    return filled(
        "page.html",
        title=text(title, 120),
        css=resource("page.css"),
        js=resource("page.js"),
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


@cache
def _packed_plotly() -> str:
    """plotly.js, gzip and base64: 2 MB in place of 4.8."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
