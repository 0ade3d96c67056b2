"""Predicted over published of every judged row: a line per system, or per row of one system."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from svsim.papers.reproduction import SystemResult, SystemsResult
from svsim.papers.rows import ReproductionRow, Verdict
from svsim.report.canvas import panels, plain
from svsim.report.palette import INK

ROW_PX, CHARACTER_PX, MOST_LEFT_PX = 26, 6.4, 540
LOOKS = {Verdict.CONFIRMED: ("#009e73", "circle"), Verdict.NOT_CONFIRMED: ("#d55e00", "diamond")}


def errors_figure(found: SystemsResult) -> go.Figure | None:
    """None where no row is judged."""
    lines = _lines(found)
    if not lines:
        return None
    height = ROW_PX * len(lines)
    longest = max(len(plain(name)) for name in lines)
    figure = panels([""], [height], round(min(MOST_LEFT_PX, 20 + CHARACTER_PX * longest)))
    places = {name: ROW_PX * (place + 0.5) for place, name in enumerate(lines)}
    if len(found.systems) == 1:
        _tolerances(figure, lines, places)
    for verdict, (colour, marker) in LOOKS.items():
        points = [
            (row.predicted / row.published, places[name], _words(row))
            for name, rows in lines.items()
            for row in rows
            if row.verdict is verdict and row.predicted is not None and row.published
        ]
        figure.add_scatter(
            x=[x for x, _, _ in points], y=[y for _, y, _ in points], mode="markers",
            marker={"symbol": marker, "size": 10, "color": colour, "opacity": 0.8},
            hovertext=[words for _, _, words in points], hoverinfo="text",
        )  # fmt: skip
    figure.add_vline(1.0, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_yaxes(
        range=[height, 0], tickvals=list(places.values()), ticktext=[plain(name) for name in places],
        showgrid=False, ticks="", tickfont={"color": INK, "size": 12},
    )  # fmt: skip
    figure.update_xaxes(title_text="predicted / published", tickformat=".2f")
    return figure


def _lines(found: SystemsResult) -> dict[str, list[ReproductionRow]]:
    """Judged rows by the name of their line."""
    if len(found.systems) > 1:
        by_system = {s.system.name: _judged(s) for s in found.systems}
        return {name: rows for name, rows in by_system.items() if rows}
    rows = [row for s in found.systems for row in _judged(s)]
    is_one_metric = len({row.metric for row in rows}) == 1
    return {row.setting if is_one_metric else f"{row.setting}, {row.metric}": [row] for row in rows}


def _judged(system: SystemResult) -> list[ReproductionRow]:
    return [row for row in system.rows if row.is_judged and row.published]


def _tolerances(
    figure: go.Figure, lines: Mapping[str, Sequence[ReproductionRow]], places: Mapping[str, float]
) -> None:
    """How far each row may be off, as a bar about 1."""
    shares = [_share(rows[0]) for rows in lines.values()]
    figure.add_scatter(
        x=[1.0] * len(shares), y=list(places.values()), mode="markers", hoverinfo="skip",
        marker={"size": 1, "color": INK}, error_x={"array": shares, "color": INK, "thickness": 2},
    )  # fmt: skip


def _share(row: ReproductionRow) -> float:
    """The tolerance over what is published."""
    if row.within is None or not row.published:
        return 0.0
    if row.within.absolute is not None:
        return row.within.absolute / abs(row.published)
    return row.within.relative or 0.0


def _words(row: ReproductionRow) -> str:
    error = "" if row.error is None else f" ({row.error:+.1%})"
    return (
        f"{plain(row.setting)}<br>{plain(row.metric)}: {row.predicted:.4g} for {row.published:.4g}{error}"
        f"<br>{row.verdict}"
    )
