"""Figures of a plan: the Pareto front, objectives against rate, replicas by hour."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from svsim.report.canvas import panels, plain
from svsim.report.palette import GRID, INK, MUTED, PAPER, MethodLook, looks_of

Points = Sequence[Mapping[str, Any]]
PLOT_PX, HOURS_PX, LEFT_PX = 380, 190, 62
REGION = "rgba(127, 182, 224, 0.22)"


def curve_name(point: Mapping[str, Any]) -> str:
    """One curve per method and hardware."""
    return f"{point['method']} on {point['deployment']}"


def curve_looks(points: Points) -> dict[str, MethodLook]:
    """The look of every curve."""
    return looks_of({name: name for name in dict.fromkeys(map(curve_name, points))})


def pareto_figure(points: Points) -> go.Figure:
    """Output tokens/s of a GPU against tokens/s of a user; filled where the SLOs are met.

    Shaded: what some candidate does, or more, within the SLOs.
    """
    figure = panels([""], [PLOT_PX], LEFT_PX)
    _add_region(figure, points)
    for name, look in curve_looks(points).items():
        curve = [p for p in points if curve_name(p) == name and p["on_curve"]]
        curve.sort(key=lambda p: p["tok_s_per_user"])
        if curve:
            figure.add_scatter(
                x=[p["tok_s_per_user"] for p in curve],
                y=[p["output_tok_s_per_gpu"] for p in curve],
                mode="lines+markers", name=plain(name),
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker={
                    "symbol": look.marker, "size": 9, "color": look.colour,
                    "opacity": [1.0 if p["meets_slo"] else 0.35 for p in curve],
                    "line": {"width": 1, "color": PAPER},
                },
                hovertext=[_hover(look, p) for p in curve], hoverinfo="text",
            )  # fmt: skip
    figure.update_xaxes(title_text="tokens/s of a user (1 / median TPOT)", rangemode="tozero")
    figure.update_yaxes(title_text="output tokens/s of a GPU", rangemode="tozero")
    return figure


def _add_region(figure: go.Figure, points: Points) -> None:
    """A staircase under the points of the front that meet the SLOs."""
    front = sorted((p for p in points if p["on_front"]), key=lambda p: p["tok_s_per_user"])
    if not front:
        return
    x, y = [0.0], [front[0]["output_tok_s_per_gpu"]]
    for point in front:
        x += [point["tok_s_per_user"]] * 2
        later = [p["output_tok_s_per_gpu"] for p in front if p["tok_s_per_user"] > point["tok_s_per_user"]]
        y += [point["output_tok_s_per_gpu"], max(later, default=0.0)]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"width": 0, "color": "#7fb6e0"}, fill="tozeroy", fillcolor=REGION,
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _hover(look: MethodLook, point: Mapping[str, Any]) -> str:
    params = ",".join(f"{k}={v}" for k, v in point["params"].items())
    return (
        f"{look.glyph} {plain(curve_name(point))} {plain(params)}<br>{point['rate']:.3g} requests/s, "
        f"{point['mean_running']:.0f} running<br><b>{point['output_tok_s_per_gpu']:,.0f}</b> tok/s/GPU, "
        f"<b>{point['tok_s_per_user']:,.1f}</b> tok/s/user (vLLM's: {point['tok_s_per_user_vllm']:,.1f})"
        f"<br>{'meets' if point['meets_slo'] else 'misses'} the SLOs"
    )


def objectives_figure(points: Points, limits: Mapping[str, float], rate: float) -> go.Figure:
    """Each objective's number over its limit, against the rate of a replica; a share by what misses."""
    figure = panels([""], [PLOT_PX * 0.7], LEFT_PX)
    for name, look in looks_of({text: text for text in limits}).items():
        seen = sorted((p["rate"], p["slo"][name]) for p in points if p["slo"].get(name) is not None)
        if seen:
            figure.add_scatter(
                x=[x for x, _ in seen],
                y=[_of_limit(name, y, limits[name]) for _, y in seen],
                mode="lines+markers", name=plain(name),
                line={"color": look.colour, "width": 2, "dash": look.dash},
                marker={"symbol": look.marker, "size": 8, "color": look.colour},
                hovertext=[f"{look.glyph} {plain(name)}: {y:.3g} at {x:.3g} requests/s" for x, y in seen],
                hoverinfo="text",
            )  # fmt: skip
    figure.add_hline(1.0, line={"color": INK, "width": 1, "dash": "dot"})
    figure.add_vline(rate, line={"color": MUTED, "width": 1, "dash": "dash"})
    highest = [p for p in points if p["rate"] <= 1.6 * rate]
    top = max((p["rate"] for p in highest), default=rate)
    figure.update_xaxes(title_text="requests/s of one replica (open loop)", range=[0.0, 1.03 * top])
    figure.update_yaxes(title_text="number / limit", type="log", range=[-1.3, 0.7])
    return figure


def _of_limit(text: str, value: float, limit: float) -> float:
    if not text.startswith("good"):
        return value / limit
    return max((1.0 - value) / max(1.0 - limit, 1e-9), 0.05)


def hours_figure(hours: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Replicas by hour."""
    figure = panels([""], [HOURS_PX], LEFT_PX)
    figure.add_bar(
        x=[hour["hour"] for hour in hours],
        y=[hour["replicas"] for hour in hours],
        marker={"color": "#34435a", "line": {"width": 1, "color": GRID}},
        hovertext=[
            f"hour {hour['hour']}: <b>{hour['replicas']}</b> replicas for {hour['rate']:.3g} requests/s"
            for hour in hours
        ],
        hoverinfo="text",
    )  # fmt: skip
    ticks = max(1, math.ceil(len(hours) / 12))
    figure.update_xaxes(title_text="hour", dtick=ticks)
    figure.update_yaxes(title_text="replicas", rangemode="tozero")
    return figure
