"""What all figures share: panels of a fixed height, typography, escaped names."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from svsim.errors import printable
from svsim.report.palette import FONT, GRID, INK, MUTED, PAPER

CLEAR = "rgba(0,0,0,0)"
TOP_PX, BOTTOM_PX = 34, 52
_GAP_PX = 96
_MAX_NAME_LENGTH = 80


def panels(names: Sequence[str], heights_px: Sequence[float], left_px: int) -> go.Figure:
    """Empty panels one above the other, ``heights_px`` high; titled where there are several."""
    inner = sum(heights_px) + (len(names) - 1) * _GAP_PX
    figure = make_subplots(
        rows=len(names),
        cols=1,
        row_heights=list(heights_px),
        subplot_titles=[plain(name) for name in names] if len(names) > 1 else None,
        vertical_spacing=_GAP_PX / inner if len(names) > 1 else 0,
    )
    figure.update_annotations(font={"size": 13, "color": INK}, x=0, xanchor="left")
    figure.update_layout(
        template="none",
        height=inner + TOP_PX + BOTTOM_PX,
        margin={"l": left_px, "r": 16, "t": TOP_PX, "b": BOTTOM_PX, "pad": 0},
        paper_bgcolor=PAPER,
        plot_bgcolor=CLEAR,
        showlegend=False,
        font={"family": FONT, "size": 12, "color": MUTED},
        modebar={"bgcolor": CLEAR, "color": MUTED, "activecolor": INK},
        hoverlabel={
            "bgcolor": PAPER,
            "bordercolor": GRID,
            "font": {"family": FONT, "size": 12, "color": INK},
        },
    )
    axis = {"zeroline": False, "gridcolor": GRID, "linecolor": MUTED, "tickfont": {"size": 11}}
    figure.update_xaxes(axis, ticks="outside", ticklen=4, tickcolor=MUTED, title_font={"size": 12})
    figure.update_yaxes(axis, title_font={"size": 12}, title_standoff=8)
    return figure


def plain(name: object) -> str:
    """A name as plotly text: one printable line, markup escaped."""
    return escape(printable(name, _MAX_NAME_LENGTH), quote=False)
