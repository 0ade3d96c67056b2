"""Predicted against measured: one figure and one offline page."""

import os
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from svsim.errors import InputError, printable
from svsim.metrics.accuracy import Accuracy, AccuracyRow
from svsim.report.accuracy import measured_text, summary_lines
from svsim.report.canvas import panels, plain
from svsim.report.html import Html, element, join, text
from svsim.report.palette import INK, looks_of


def accuracy_figure(accuracy: Accuracy) -> go.Figure:
    """Goodput against batch size, both axes logarithmic: lines are predicted, markers measured."""
    figure = panels([""], [380], 70)
    look_of = looks_of({row.label: row.label.partition(":")[0] for row in accuracy.rows})
    for label, look in look_of.items():
        rows = [r for r in accuracy.rows if r.label == label]
        sizes = [r.batch_size for r in rows]
        figure.add_scatter(
            x=sizes, y=[r.predicted_tok_s for r in rows], mode="lines", legendgroup=label,
            line={"color": look.colour, "dash": look.dash, "width": 2}, name=f"{plain(label)}, predicted",
        )  # fmt: skip
        figure.add_scatter(
            x=sizes, y=[r.measured_tok_s for r in rows], mode="markers", legendgroup=label,
            error_y={"array": [2 * (r.measured_standard_error or 0.0) for r in rows], "color": look.colour},
            marker={"symbol": look.marker, "size": 9, "color": look.colour},
            hovertext=[f"{plain(label)}: {r.goodput_error:+.1%}" for r in rows],
            name=f"{plain(label)}, measured",
        )  # fmt: skip
    ticks = sorted({row.batch_size for row in accuracy.rows})
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[str(t) for t in ticks], title_text="batch size (closed loop)"
    )
    figure.update_yaxes(type="log", title_text="emitted tokens/s", title_font={"color": INK})
    figure.update_layout(showlegend=True, height=480)
    return figure


def write_accuracy_page(accuracy: Accuracy, path: str | os.PathLike[str], title: str, command: str) -> None:
    """One offline HTML page: figure, summary, every pair, the command. InputError where that fails."""
    plot = accuracy_figure(accuracy).to_html(full_html=False, include_plotlyjs=False)
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("title", text(title, 120)),
            element(
                "style", Html("body{font:15px system-ui;margin:2em auto;max-width:60em}td{padding:0 1em}")
            ),
            Html(f"<script>{get_plotlyjs()}</script>"),
        ),
        element(
            "body",
            element("h1", text(title)),
            element("p", "Lines are predicted, markers measured (bars: two standard errors)."),
            Html(plot),
            _html_table([("", "found", "target", "met"), *summary_lines(accuracy)]),
            _html_table([_HEADINGS, *map(_cells, accuracy.rows)]),
            element("pre", text(command, 2000)),
        ),
        lang="en",
    )
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(f"<!doctype html>{document}", encoding="utf-8", newline="\n")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{printable(target)} cannot be written ({error.strerror}); choose another place"
        ) from None


_HEADINGS = ("batch", "method", "predicted tok/s", "measured tok/s", "error")


def _cells(row: AccuracyRow) -> tuple[str, ...]:
    numbers = f"{row.predicted_tok_s:,.1f}", measured_text(row), f"{row.goodput_error:+.1%}"
    return str(row.batch_size), row.label, *numbers


def _html_table(lines: list[tuple[str, ...]]) -> Html:
    return element("table", join(*(element("tr", *(element("td", cell) for cell in line)) for line in lines)))
