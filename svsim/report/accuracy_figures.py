"""Figures of predicted against measured goodputs."""

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from svsim.metrics.accuracy import TARGETS, Accuracy, AccuracyRow
from svsim.report.canvas import panels, plain
from svsim.report.lines import batch_axis
from svsim.report.palette import GRID, INK, MUTED, MethodLook, looks_of

BANDS = (TARGETS["goodput_error_worst"], TARGETS["goodput_error_mean"])  # the wider one is drawn first
_LEFT_PX, _PLOT_PX = 64, 330
_BAND = "#7fb6e0"


def looks_of_accuracy(accuracy: Accuracy) -> dict[str, MethodLook]:
    """The look of every method that was compared."""
    return looks_of({row.label: row.label.partition(":")[0] for row in accuracy.rows})


def agreement_figure(accuracy: Accuracy) -> go.Figure:
    """Predicted against measured, both logarithmic; on the line they agree, bands are the targets."""
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    ends = [v for row in accuracy.rows for v in (row.measured_tok_s, row.predicted_tok_s)]
    low, high = min(ends) / 1.15, max(ends) * 1.15
    for width in BANDS:
        figure.add_scatter(
            x=[low, high, high, low],
            y=[low * (1 + width), high * (1 + width), high * (1 - width), low * (1 - width)],
            mode="lines", line={"width": 0}, fill="toself", fillcolor=_BAND, opacity=0.25, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"color": INK, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )  # fmt: skip
    for look, rows in _by_method(accuracy):
        figure.add_scatter(
            x=[row.measured_tok_s for row in rows],
            y=[row.predicted_tok_s for row in rows],
            error_x={"array": [2 * (row.measured_standard_error or 0.0) for row in rows], "thickness": 1,
                     "width": 0, "color": look.colour},
            mode="markers", name=plain(look.label), marker=_marker(look), hovertext=list(map(_hover, rows)),
            hoverinfo="text",
        )  # fmt: skip
    limits = [math.log10(low), math.log10(high)]
    figure.update_xaxes(type="log", range=limits, title_text="measured tokens/s", dtick="D1", gridcolor=GRID)
    figure.update_yaxes(type="log", range=limits, title_text="predicted tokens/s", dtick="D1")
    return figure


def error_figure(accuracy: Accuracy) -> go.Figure:
    """Goodput error in percent against batch size, a line per method; bands are the targets."""
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    sizes = sorted({row.batch_size for row in accuracy.rows})
    for look, rows in _by_method(accuracy):
        figure.add_scatter(
            x=[row.batch_size for row in rows],
            y=[100 * row.goodput_error for row in rows],
            error_y={"array": [200 * _share(row) for row in rows], "thickness": 1, "width": 0,
                     "color": look.colour},
            mode="lines+markers", name=plain(look.label),
            line={"color": look.colour, "width": 2, "dash": look.dash},
            marker=_marker(look), hovertext=list(map(_hover, rows)), hoverinfo="text",
        )  # fmt: skip
    # shapes go to panels that hold traces
    for width in BANDS:
        figure.add_hrect(
            -100 * width, 100 * width, fillcolor=_BAND, opacity=0.25, line_width=0, layer="below"
        )
    figure.add_hline(0.0, line={"color": INK, "width": 1, "dash": "dot"})
    worst = 100 * max(abs(row.goodput_error) + 2 * _share(row) for row in accuracy.rows)
    reach = max(1.08 * worst, 110 * BANDS[0])
    figure.update_xaxes(batch_axis(sizes))
    figure.update_yaxes(range=[-reach, reach], title_text="goodput error (%)", zeroline=False)
    return figure


def goodput_figure(accuracy: Accuracy) -> go.Figure:
    """Goodput against batch size, both logarithmic: lines are predicted, markers measured."""
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    for look, rows in _by_method(accuracy):
        sizes = [row.batch_size for row in rows]
        figure.add_scatter(
            x=sizes, y=[row.predicted_tok_s for row in rows], mode="lines", name=plain(look.label),
            line={"color": look.colour, "dash": look.dash, "width": 2}, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=sizes, y=[row.measured_tok_s for row in rows], mode="markers", name=plain(look.label),
            error_y={"array": [2 * (row.measured_standard_error or 0.0) for row in rows], "thickness": 1,
                     "width": 0, "color": look.colour},
            marker=_marker(look), hovertext=list(map(_hover, rows)), hoverinfo="text",
        )  # fmt: skip
    figure.update_xaxes(batch_axis(sorted({row.batch_size for row in accuracy.rows})))
    figure.update_yaxes(type="log", title_text="emitted tokens/s", dtick="D1")
    return figure


def marginal_figure(accuracy: Accuracy) -> go.Figure:
    """Milliseconds per verified token against batch size: the line is predicted, markers measured."""
    figure = panels([""], [_PLOT_PX], _LEFT_PX)
    pairs = sorted(accuracy.marginals, key=lambda pair: pair.batch_size)
    sizes = [pair.batch_size for pair in pairs]
    figure.add_scatter(
        x=sizes, y=[1e3 * pair.predicted_s for pair in pairs], mode="lines",
        line={"color": MUTED, "width": 2}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=sizes, y=[1e3 * pair.measured_s for pair in pairs], mode="markers",
        marker={"size": 9, "color": INK, "symbol": "circle"}, hoverinfo="text",
        hovertext=[
            f"batch {p.batch_size}: {1e3 * p.measured_s:.3f} ms measured, {1e3 * p.predicted_s:.3f} predicted"
            for p in pairs
        ],
    )  # fmt: skip
    figure.update_xaxes(batch_axis(sizes))
    figure.update_yaxes(title_text="ms per verified token", rangemode="tozero")
    return figure


def _by_method(accuracy: Accuracy) -> list[tuple[MethodLook, list[AccuracyRow]]]:
    return [
        (look, [row for row in accuracy.rows if row.label == label])
        for label, look in looks_of_accuracy(accuracy).items()
    ]


def _share(row: AccuracyRow) -> float:
    """Standard error of the goodput error."""
    return (row.measured_standard_error or 0.0) / row.measured_tok_s * (1 + row.goodput_error)


def _hover(row: AccuracyRow) -> str:
    return (
        f"{plain(row.label)}, batch {row.batch_size}: <b>{row.goodput_error:+.1%}</b><br>"
        f"predicted {row.predicted_tok_s:,.1f}, measured {row.measured_tok_s:,.1f} tok/s"
    )


def _marker(look: MethodLook) -> Mapping[str, object]:
    return {"symbol": look.marker, "size": 9, "color": look.colour}
