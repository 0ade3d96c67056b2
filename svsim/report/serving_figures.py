"""Figures of open-loop serving: latencies against rate, distributions, the course of a run, its seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from svsim.report.canvas import panels, plain
from svsim.report.palette import GRID, INK, MUTED, PAPER, MethodLook, Part

Row = Mapping[str, Any]
_LEFT_PX, _PLOT_PX, _LOW_PX = 62, 260, 190
_ROW_PX, _BAR_PX = 30, 17
_SHADE = "#7fb6e0"
MOST_DECADES = 2.2  # ticked at 1, 2 and 5
MAX_POINTS = 240  # of one line over time; more are averaged

SHARE_PARTS = (
    Part("host_share", "host", "#c9ced6", ""),
    Part("draft_share", "draft", "#7fb6e0", "/"),
    Part("companion_share", "companion", "#eab464", "x"),
    Part("verify_share", "decode and verify (target)", "#34435a", ""),
    Part("prefill_share", "prompts (target)", "#7d9c8c", "\\"),
    Part("idle_share", "idle", GRID, "."),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """An objective to draw: its text, and its value in the figure's unit."""

    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Spell:
    """Seconds of a run that are shaded: warm-up, a failure."""

    words: str
    first_s: float
    end_s: float


def rate_figure(
    rows: Mapping[str, Sequence[Row]],
    look_of: Mapping[str, MethodLook],
    name: str,
    title: str,
    scale: float,
    limits: Sequence[Limit] = (),
    *,
    is_log: bool = True,
) -> go.Figure:
    """A number of rows against the offered rate, a line per method.

    Rates that a method does not carry have hollow markers, its line ends before them; the dotted upright is
    what it completes there.
    """
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    for label, mine in rows.items():
        look = look_of[label]
        known = [row for row in mine if row[name] is not None]
        for is_over in (False, True):
            chosen = [row for row in known if row["saturated"] == is_over]
            figure.add_scatter(
                x=[row["rate"] for row in chosen],
                y=[scale * row[name] for row in chosen],
                mode="markers" if is_over else "lines+markers", name=plain(label), legendgroup=plain(label),
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker=_hollow(look) if is_over else _marker(look),
                hovertext=[_of_rate(look, row, scale * row[name], title) for row in chosen],
                hoverinfo="text",
            )  # fmt: skip
        capacity = max((row["request_throughput"] for row in known if row["saturated"]), default=None)
        if capacity:
            figure.add_vline(capacity, line={"color": look.colour, "width": 1.5, "dash": "dot"})
    for limit in limits:
        _add_limit(figure, limit)
    every = sorted({row["rate"] for mine in rows.values() for row in mine})
    figure.update_xaxes(_log_axis(every), title_text="offered requests/s (open loop)", showgrid=False)
    shown = [scale * row[name] for mine in rows.values() for row in mine if row[name]]
    shown += [limit.value for limit in limits]
    figure.update_yaxes(_log_axis(shown) if is_log and shown else {"rangemode": "tozero"}, title_text=title)
    figure.update_layout(hovermode="closest")
    return figure


def distribution_figure(
    quantiles: Mapping[str, Sequence[float]],
    look_of: Mapping[str, MethodLook],
    title: str,
    limits: Sequence[Limit] = (),
) -> go.Figure:
    """Share of requests that take at most so many milliseconds; uprights are objectives."""
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    for label, seconds in quantiles.items():
        look = look_of[label]
        share = [100.0 * i / (len(seconds) - 1) for i in range(len(seconds))]
        figure.add_scatter(
            x=[max(1e3 * s, 1e-3) for s in seconds], y=share, mode="lines", name=plain(label),
            line={"color": look.colour, "width": 2, "dash": look.dash, "shape": "hv"},
            hovertext=[
                f"{look.glyph} {plain(label)}: <b>{p:.4g} %</b> within {1e3 * s:,.4g} ms"
                for p, s in zip(share, seconds, strict=True)
            ],
            hoverinfo="text",
        )  # fmt: skip
    for limit in limits:
        figure.add_vline(limit.value, line={"color": INK, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=math.log10(limit.value), y=0.0, yref="paper", text=plain(limit.text), showarrow=False,
            xanchor="right", yanchor="bottom", textangle=-90, font={"size": 11, "color": INK},
        )  # fmt: skip
    ends = [1e3 * s for seconds in quantiles.values() for s in (seconds[0], seconds[-1]) if s > 0]
    ends += [limit.value for limit in limits]
    figure.update_xaxes(_log_axis(ends), title_text=title, showgrid=False)
    figure.update_yaxes(title_text="% of requests", range=[0, 101], dtick=25)
    figure.update_layout(hovermode="closest")
    return figure


def course_figure(
    timelines: Mapping[str, Row],
    look_of: Mapping[str, MethodLook],
    name: str,
    title: str,
    scale: float,
    spells: Sequence[Spell],
) -> go.Figure:
    """A column of the timelines over seconds; spells are shaded."""
    figure = panels([""], [_LOW_PX], _LEFT_PX)
    end_s = 1.0
    for label, line in timelines.items():
        look = look_of[label]
        step = -(-len(line[name]) // MAX_POINTS)
        values = [_mean(line[name][i : i + step]) for i in range(0, len(line[name]), step)]
        seconds = [line["bucket_s"] * (i * step + 0.5 * step) for i in range(len(values))]
        end_s = max(end_s, line["bucket_s"] * len(line[name]))
        figure.add_scatter(
            x=seconds, y=[scale * v for v in values], mode="lines", name=plain(label),
            line={"color": look.colour, "width": 1.6, "dash": look.dash},
            hovertext=[
                f"{look.glyph} {plain(label)}: <b>{scale * v:,.4g}</b> at {s:,.0f} s"
                for v, s in zip(values, seconds, strict=True)
            ],
            hoverinfo="text",
        )  # fmt: skip
    for spell in spells:
        figure.add_vrect(
            spell.first_s,
            min(spell.end_s, end_s),
            fillcolor=_SHADE,
            opacity=0.25,
            line_width=0,
            layer="below",
        )
        figure.add_annotation(
            x=spell.first_s, y=1.0, yref="paper", text=f" {plain(spell.words)}", showarrow=False,
            xanchor="left", yanchor="bottom", font={"size": 11, "color": MUTED},
        )  # fmt: skip
    figure.update_xaxes(range=[0, end_s], title_text="seconds of the run", showgrid=False)
    figure.update_yaxes(title_text=title, rangemode="tozero")
    figure.update_layout(hovermode="closest")
    return figure


def seconds_figure(rows: Mapping[str, Row], look_of: Mapping[str, MethodLook]) -> go.Figure:
    """Where the replicas' seconds go, in percent, a bar per method."""
    height = _ROW_PX * len(rows) + 8
    longest = max(len(look_of[label].short) for label in rows)
    figure = panels([""], [height], 40 + round(6.6 * longest))
    places = [_ROW_PX * (i + 0.5) for i in range(len(rows))]
    for part in SHARE_PARTS:
        sizes = [100.0 * (row[part.name] or 0.0) for row in rows.values()]
        figure.add_bar(
            x=sizes, y=places, orientation="h", width=_BAR_PX, name=part.words,
            marker={
                "color": part.colour,
                "line": {"width": 0.8, "color": PAPER},
                "pattern": {"shape": part.pattern, "bgcolor": part.colour,
                            "fgcolor": PAPER, "size": 5,
                            "solidity": 0.25},
            },
            hovertext=[
                f"{plain(label)}<br>{part.words}: <b>{size:.1f} %</b> of the replicas' time"
                for label, size in zip(rows, sizes, strict=True)
            ],
            hoverinfo="text",
        )  # fmt: skip
    texts = [
        f'{plain(look_of[a].short)} <span style="color:{look_of[a].colour}">{look_of[a].glyph}</span> '
        for a in rows
    ]
    figure.update_yaxes(
        range=[height, 0], tickvals=places, ticktext=texts, showgrid=False, ticks="",
        tickfont={"color": INK, "size": 11},
    )  # fmt: skip
    figure.update_xaxes(range=[0, 100], title_text="% of the replicas' time")
    figure.update_layout(barmode="stack", hovermode="closest")
    return figure


def _add_limit(figure: go.Figure, limit: Limit) -> None:
    figure.add_hline(limit.value, line={"color": INK, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=0.0, xref="paper", y=math.log10(limit.value), text=f" {plain(limit.text)}", showarrow=False,
        xanchor="left", yanchor="bottom", font={"size": 11, "color": INK},
    )  # fmt: skip


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Ticked at 1, 2 and 5 times powers of ten; at those alone where they are many."""
    low, high = math.log10(max(min(values), 1e-6)), math.log10(max(*values, 1e-6))
    room = 0.04 * (high - low) or 0.1
    low, high = low - room, high + room
    digits = (1, 2, 5) if high - low < MOST_DECADES else (1,)
    exponents = range(math.floor(low), math.ceil(high) + 1)
    ticks = [d * 10.0**e for e in exponents for d in digits if low <= math.log10(d * 10.0**e) <= high]
    return {
        "type": "log",
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.10g}" for tick in ticks],
    }


def _marker(look: MethodLook) -> dict[str, Any]:
    return {"symbol": look.marker, "size": 9, "color": look.colour, "line": {"width": 1, "color": PAPER}}


def _hollow(look: MethodLook) -> dict[str, Any]:
    return {"symbol": look.marker, "size": 9, "color": PAPER, "line": {"width": 1.6, "color": look.colour}}


def _of_rate(look: MethodLook, row: Row, value: float, title: str) -> str:
    head = f"{look.glyph} {plain(look.label)} at {row['rate']:.4g} requests/s"
    words = f"{head}: <b>{value:,.4g}</b> {plain(title)}"
    return f"{words}<br>saturated: the queue grows" if row["saturated"] else words


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
