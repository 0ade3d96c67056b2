"""Stacked bars: one row per method, grouped by batch size, the parts told apart by pattern."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.canvas import BOTTOM_PX, panels, plain
from svsim.report.palette import INK, PAPER, MethodLook, Part, looks

MAX_BARS = 60  # of one panel; beyond, batch sizes are thinned out evenly
_ROW_PX, _HEADING_PX, _BAR_PX = 18, 26, 13
_CHARACTER_PX = 6.6
_LEGEND_PX = 26
_ROOM = 1.24  # axis length over the longest bar, for the text at its end


@dataclass(frozen=True, slots=True)
class Stack:
    """What a bar figure shows: the sizes of a row's parts, axis title, texts of a part and of the bar."""

    parts: Sequence[Part]
    sizes: Callable[[ResultRow], Mapping[str, float]]
    title: str
    part_text: Callable[[float, float], str]  # of a part and the whole bar
    bar_text: Callable[[ResultRow], str]


def bar_figure(table: ResultTable, stack: Stack, names: Sequence[str]) -> go.Figure:
    """Stacked bars of the rows, one panel per name of a hardware."""
    look_of = looks(table)
    shown = [shown_rows([r for r in table.rows if r.deployment == name]) for name in names]
    heights = [_HEADING_PX * len({r.batch_size for r in rows}) + _ROW_PX * len(rows) + 6 for rows in shown]
    longest = max(len(look.short) for look in look_of.values())
    figure = panels(names, heights, 34 + round(_CHARACTER_PX * max(longest, 8)))
    for number, (rows, height) in enumerate(zip(shown, heights, strict=True), start=1):
        places, ticks = _layout(rows, look_of)
        wholes = [sum(stack.sizes(r).values()) for r in rows]
        for part in stack.parts:
            _add_part(figure, number, rows, places, wholes, part, stack, look_of)
        figure.add_scatter(
            x=wholes, y=places, mode="text", text=[f" {stack.bar_text(r)}" for r in rows],
            textposition="middle right", textfont={"size": 11, "color": INK}, cliponaxis=False,
            hoverinfo="skip", showlegend=False, row=number, col=1,
        )  # fmt: skip
        figure.update_yaxes(
            range=[height, 0], tickvals=list(ticks), ticktext=list(ticks.values()), showgrid=False,
            ticks="", tickfont={"color": INK, "size": 11}, row=number, col=1,
        )  # fmt: skip
        longest_bar = max(wholes, default=0.0) or 1.0
        figure.update_xaxes(range=[0, _ROOM * longest_bar], title_text=stack.title, row=number, col=1)
    figure.update_layout(
        barmode="stack",
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        margin={"b": BOTTOM_PX + _LEGEND_PX},
        height=figure.layout.height + _LEGEND_PX,
        hovermode="closest",
    )
    return figure


def shown_rows(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The rows of at most MAX_BARS bars, by batch size; batch sizes thinned out from the largest down."""
    sizes = sorted({r.batch_size for r in rows})
    most = max(1, MAX_BARS * len(sizes) // max(1, len(rows)))
    step = -(-len(sizes) // most)
    kept = set(sizes[::-1][::step])
    return sorted((r for r in rows if r.batch_size in kept), key=lambda r: r.batch_size)


def _layout(
    rows: Sequence[ResultRow], look_of: Mapping[str, MethodLook]
) -> tuple[list[float], dict[float, str]]:
    """Where the bars lie, in pixels from the top, and what is written beside them."""
    places: list[float] = []
    ticks: dict[float, str] = {}
    depth, size = 0.0, None
    for row in rows:
        if row.batch_size != size:
            size = row.batch_size
            ticks[depth + _HEADING_PX - 9] = f"<b>batch {size}</b>"
            depth += _HEADING_PX
        look = look_of[row.label]
        places.append(depth + _ROW_PX / 2)
        ticks[places[-1]] = f'{plain(look.short)} <span style="color:{look.colour}">{look.glyph}</span> '
        depth += _ROW_PX
    return places, ticks


def _add_part(
    figure: go.Figure,
    number: int,
    rows: Sequence[ResultRow],
    places: Sequence[float],
    wholes: Sequence[float],
    part: Part,
    stack: Stack,
    look_of: Mapping[str, MethodLook],
) -> None:
    sizes = [stack.sizes(r).get(part.name, 0.0) for r in rows]
    figure.add_bar(
        x=sizes, y=list(places), orientation="h", width=_BAR_PX, name=part.words,
        marker={
            "color": part.colour,
            "line": {"width": 0.5, "color": PAPER},
            "pattern": {
                "shape": part.pattern, "bgcolor": part.colour, "fgcolor": PAPER, "size": 5, "solidity": 0.25,
            },
        },
        hovertext=[
            f"{look_of[r.label].glyph} {plain(r.label)}, batch {r.batch_size}<br>"
            f"{part.words}: <b>{stack.part_text(size, whole)}</b>"
            for r, size, whole in zip(rows, sizes, wholes, strict=True)
        ],
        hoverinfo="text", showlegend=number == 1, row=number, col=1,
    )  # fmt: skip
