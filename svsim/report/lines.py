"""Lines against batch size: one per method, intervals shaded, named at their end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.canvas import panels, plain
from svsim.report.palette import GRID, INK, PAPER, MethodLook, looks

PLOT_PX = 250  # least height of one panel's plot area
MANY = 8  # lines; more of them go without shading, which would hide them
_LEFT_PX = 60
_LABEL_PX = 15  # least distance of two direct labels
_CHARACTER_PX = 7.0
_LEAST_TICK_DISTANCE = 0.05  # of the axis

Value = Callable[[ResultRow], float | None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a line figure shows: value and interval of a row, axis title, how a value is written.

    ``reference`` is a horizontal line; without one the axis starts at zero.
    ``least_span`` is the range that is shown even where all values lie closer.
    """

    value: Value
    low: Value
    high: Value
    title: str
    form: Callable[[float], str]
    reference: float | None = None
    least_span: tuple[float, float] | None = None


def line_figure(table: ResultTable, quantity: Quantity, names: Sequence[str]) -> go.Figure:
    """``quantity`` against batch size, one panel per name of a hardware; shading for up to MANY methods."""
    look_of = looks(table)
    height_px = max(PLOT_PX, (_LABEL_PX + 2) * len(look_of))
    figure = panels(names, [height_px] * len(names), _LEFT_PX)
    for number, name in enumerate(names, start=1):
        rows = [r for r in table.rows if r.deployment == name]
        span = _span(rows, quantity)
        ends: list[tuple[float, float, MethodLook]] = []
        for label in dict.fromkeys(r.label for r in rows):
            series = sorted((r for r in rows if r.label == label), key=lambda r: r.batch_size)
            points = [(r.batch_size, v, r) for r in series if (v := quantity.value(r)) is not None]
            if points:
                if len(look_of) <= MANY:
                    _add_band(figure, number, series, look_of[label], quantity)
                _add_line(figure, number, points, look_of[label], quantity)
                ends.append((*points[-1][:2], look_of[label]))
        _add_reference(figure, number, quantity)
        _add_direct_labels(figure, number, ends, span, height_px)
        figure.update_xaxes(batch_axis([r.batch_size for r in rows]), row=number, col=1)
        figure.update_yaxes(range=list(span), title_text=quantity.title, row=number, col=1)
    longest = max(len(look.short) for look in look_of.values())
    figure.update_layout(margin={"r": 46 + round(_CHARACTER_PX * longest)}, hovermode="x unified")
    return figure


def _span(rows: Sequence[ResultRow], quantity: Quantity) -> tuple[float, float]:
    """The y range that holds values, intervals and the reference."""
    found = (v for r in rows for v in (quantity.value(r), quantity.low(r), quantity.high(r)))
    values = [v for v in found if v is not None] + list(quantity.least_span or ())
    values.append(0.0 if quantity.reference is None else quantity.reference)
    low, high = min(values), max(values)
    room = 0.06 * ((high - low) or 1.0)
    return (low if quantity.reference is None else low - room), high + room


def _add_band(
    figure: go.Figure, number: int, series: Sequence[ResultRow], look: MethodLook, quantity: Quantity
) -> None:
    bounds = [
        (r.batch_size, low, high)
        for r in series
        if (low := quantity.low(r)) is not None and (high := quantity.high(r)) is not None
    ]
    if bounds:
        width_px = 0 if len(bounds) > 1 else 5  # a single batch size has a bar in place of a band
        figure.add_scatter(
            x=[x for x, _, _ in bounds] + [x for x, _, _ in reversed(bounds)],
            y=[high for _, _, high in bounds] + [low for _, low, _ in reversed(bounds)],
            mode="lines", line={"width": width_px, "color": look.colour}, fill="toself",
            fillcolor=look.colour, opacity=0.22, legendgroup=plain(look.label),
            hoverinfo="skip", row=number, col=1,
        )  # fmt: skip


def _add_line(
    figure: go.Figure,
    number: int,
    points: Sequence[tuple[int, float, ResultRow]],
    look: MethodLook,
    quantity: Quantity,
) -> None:
    figure.add_scatter(
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        mode="lines+markers", name=plain(look.label), legendgroup=plain(look.label),
        line={"color": look.colour, "width": 2, "dash": look.dash},
        marker={"symbol": look.marker, "size": 9, "color": look.colour, "line": {"width": 1, "color": PAPER}},
        hovertext=[_hover(look, y, r, quantity) for _, y, r in points],
        hoverinfo="text", row=number, col=1,
    )  # fmt: skip


def _hover(look: MethodLook, value: float, row: ResultRow, quantity: Quantity) -> str:
    words = f"{look.glyph} {plain(look.label)}: <b>{quantity.form(value)}</b>"
    low, high = quantity.low(row), quantity.high(row)
    return words if low is None or high is None else f"{words} [{quantity.form(low)}, {quantity.form(high)}]"


def _add_reference(figure: go.Figure, number: int, quantity: Quantity) -> None:
    if quantity.reference is None:
        return
    figure.add_hline(quantity.reference, line={"color": INK, "width": 1, "dash": "dot"}, row=number, col=1)


def _add_direct_labels(
    figure: go.Figure,
    number: int,
    ends: Sequence[tuple[float, float, MethodLook]],
    span: tuple[float, float],
    height_px: float,
) -> None:
    """A method's marker and name at the end of its line, pushed apart where lines end close together."""
    low, high = span
    depths = [(high - y) / (high - low) * height_px for _, y, _ in ends]
    placed_at = spread(depths, _LABEL_PX, height_px)
    for (x, y, look), depth, placed in zip(ends, depths, placed_at, strict=True):
        figure.add_annotation(
            name="direct-label",
            x=math.log10(x), y=y, ax=20, ay=placed - depth, xanchor="left",
            showarrow=True, arrowhead=0, arrowwidth=1, arrowcolor=GRID, standoff=7,
            text=f'<span style="color:{look.colour}">{look.glyph}</span> {plain(look.short)}',
            font={"size": 12, "color": INK}, row=number, col=1,
        )  # fmt: skip


def spread(places: Sequence[float], least: float, total: float) -> list[float]:
    """Places in [0, total] near ``places``, at least ``least`` apart, in the same order.

    Neighbours that would touch form a group, centred on the mean of its members. Where all do not
    fit, the distance shrinks to what does.
    """
    if not places:
        return []
    least = min(least, total / max(1, len(places) - 1))

    def first(group: Sequence[int]) -> float:
        length = least * (len(group) - 1)
        centre = sum(places[i] for i in group) / len(group)
        return min(max(centre - length / 2, 0.0), total - length)

    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: (places[i], i)):
        groups.append([i])
        while len(groups) > 1 and first(groups[-1]) < first(groups[-2]) + least * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = {i: first(group) + least * j for group in groups for j, i in enumerate(group)}
    return [placed[i] for i in range(len(places))]


def batch_axis(sizes: Sequence[int]) -> dict[str, Any]:
    """A logarithmic axis ticked at the batch sizes, as far as their numbers do not touch."""
    distinct = sorted(set(sizes))
    low, high = math.log10(distinct[0]), math.log10(distinct[-1])
    room = 0.03 * (high - low) or 0.1
    ticks: list[int] = []
    for size in reversed(distinct):  # the largest is the one to name
        if not ticks or math.log10(ticks[-1] / size) > _LEAST_TICK_DISTANCE * (high - low):
            ticks.append(size)
    return {
        "type": "log",
        "range": [low - room, high + room],
        "tickvals": ticks[::-1],
        "ticktext": [str(tick) for tick in reversed(ticks)],
        "title_text": "batch size (closed loop)",
        "showgrid": False,
    }
