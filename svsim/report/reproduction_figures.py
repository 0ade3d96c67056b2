"""Figures of a reproduction: published against predicted."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from svsim.papers.sv_paper.panels import (
    BASE,
    BOUND,
    DRAFTER_SLOPE,
    DRAFTER_SLOPE_HIDDEN,
    HIDDEN,
    SHARED,
    SLOWED,
    PanelResult,
)
from svsim.papers.sv_paper.published import Published
from svsim.papers.sv_paper.signals import CELLS, TraceSignals
from svsim.papers.sv_paper.variants import VariantsResult
from svsim.report.canvas import panels, plain
from svsim.report.lines import batch_axis
from svsim.report.palette import GRID, INK, MUTED, MethodLook, looks_of
from svsim.report.reproduction_tables import VARIANT_WORDS
from svsim.report.reproduction_view import METHOD_WORDS

OTHER = "one other assumption changed"
SCENARIO_LOOKS = {
    name: MethodLook(words, words, colour, "solid", marker, glyph)
    for name, words, colour, marker, glyph in (
        (BASE, "base: no overlap", "#0072b2", "circle", "●"),
        (HIDDEN, "drafting hidden at no cost", "#d55e00", "diamond", "◆"),
        (SLOWED, "hidden, verification x 1.1", "#7a4a2b", "triangle-down", "▼"),
        (SHARED, "drafting overlapped, GPU split 30 : 70", "#b8860b", "triangle-up", "▲"),
        (DRAFTER_SLOPE, "part of the slope is the drafter's", "#009e73", "square", "■"),
        (DRAFTER_SLOPE_HIDDEN, "the same, drafting hidden", "#8a4f9e", "star", "★"),
        (BOUND, "perfect signals, no overlap (a bound)", "#b0527f", "x", "✖"),
        (OTHER, OTHER, "#5f6773", "line-ns-open", "|"),
    )
}
FIGURE_METHODS = ("td", "sd:k=5", "sv:k=5", "sd:k=7", "sv:k=7")
_ROW_PX, _HEADING_PX = 26, 30
_PREDICTED = ("sd:k=7", "sv:k=5", "sv:k=7")
_X_BINS = 5  # of X in the figure of resolutions


def scenario_figure(results: Sequence[PanelResult]) -> go.Figure:
    """Predicted over published at the largest batch, a row per bar; the black bar is the read error."""
    places, headings, height_px = _rows(results)
    figure = panels([""], [height_px], 60)
    for result in results:
        bars = [result.panel.bar(method, result.panel.largest_batch) for method in _PREDICTED]
        figure.add_scatter(
            x=[1.0] * len(bars), y=[places[result.panel.name, bar.method] for bar in bars],
            error_x={"array": [b.relative_read_error for b in bars], "color": INK, "thickness": 3},
            mode="markers", marker={"size": 1, "color": INK}, hoverinfo="skip",
        )  # fmt: skip
    points = _points(results, places)
    for name in reversed(SCENARIO_LOOKS):
        look = SCENARIO_LOOKS[name]
        figure.add_scatter(
            x=[x for x, _, _ in points[name]], y=[y for _, y, _ in points[name]], mode="markers",
            marker={"symbol": look.marker, "size": 10, "color": look.colour,
                    "line": {"width": 1, "color": look.colour}},
            hovertext=[words for _, _, words in points[name]], hoverinfo="text",
        )  # fmt: skip
    figure.add_vline(1.0, line={"color": INK, "width": 1, "dash": "dot"})
    for words, place in headings.items():
        figure.add_annotation(
            x=0, xref="paper", y=place, text=f"<b>{plain(words)}</b>", showarrow=False, xanchor="left",
            font={"size": 12, "color": INK},
        )  # fmt: skip
    figure.update_yaxes(
        range=[height_px, 0], tickvals=list(places.values()), showgrid=False, ticks="",
        ticktext=[METHOD_WORDS[method] for _, method in places], tickfont={"color": INK, "size": 12},
    )  # fmt: skip
    figure.update_xaxes(title_text="predicted / published", tickformat=".1f", dtick=0.1)
    return figure


def _rows(results: Sequence[PanelResult]) -> tuple[dict[tuple[str, str], float], dict[str, float], float]:
    """Pixels from the top: of every (panel, method), of every panel's name, and the whole height."""
    places, headings, depth = {}, {}, 0.0
    for result in results:
        headings[result.panel.name] = depth + 0.6 * _HEADING_PX
        depth += _HEADING_PX
        for method in _PREDICTED:
            places[result.panel.name, method] = depth + _ROW_PX / 2
            depth += _ROW_PX
    return places, headings, depth + 8


def _points(
    results: Sequence[PanelResult], places: Mapping[tuple[str, str], float]
) -> dict[str, list[tuple[float, float, str]]]:
    """(x, y, hover text) of every prediction of the largest batch, by look; SD(7) where it moves."""
    points: dict[str, list[tuple[float, float, str]]] = {name: [] for name in SCENARIO_LOOKS}
    for result in results:
        for scenario in (result.base, *result.scenarios):
            for p in scenario.predictions:
                is_shown = p.bar.method in _PREDICTED and p.bar.batch_size == result.panel.largest_batch
                is_same = p.bar.method == "sd:k=7" and scenario.name in (
                    HIDDEN,
                    SLOWED,
                    SHARED,
                    DRAFTER_SLOPE_HIDDEN,
                    BOUND,
                )
                if not is_shown or is_same:
                    continue
                words = (
                    f"{plain(scenario.name)}: <b>{p.error:+.1%}</b><br>predicted {p.tok_s:,.0f}, published "
                    f"{p.bar.tok_s:,.0f} tok/s"
                )
                name = scenario.name if scenario.name in SCENARIO_LOOKS else OTHER
                points[name].append((1.0 + p.error, places[result.panel.name, p.bar.method], words))
    return points


def goodput_figure(result: PanelResult) -> go.Figure:
    """Goodput of a panel against batch size, both logarithmic: lines predicted, markers published."""
    figure = panels([""], [300], 64)
    for method, look in looks_of({m: m.partition(":")[0] for m in FIGURE_METHODS}).items():
        found = sorted(
            (p for p in result.base.predictions if p.bar.method == method), key=lambda p: p.bar.batch_size
        )
        sizes = [p.bar.batch_size for p in found]
        marker = {"symbol": look.marker, "size": 9, "color": look.colour}
        figure.add_scatter(
            x=sizes, y=[p.tok_s for p in found], mode="lines" if len(found) > 1 else "markers",
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={**marker, "symbol": f"{look.marker}-open"}, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=sizes, y=[p.bar.tok_s for p in found], mode="markers", marker=marker, hoverinfo="text",
            error_y={"array": [p.bar.read_error_tok_s for p in found], "color": look.colour, "thickness": 1,
                     "width": 0},
            hovertext=[
                f"{METHOD_WORDS[method]}, batch {p.bar.batch_size}: <b>{p.error:+.1%}</b><br>published "
                f"{p.bar.tok_s:,.0f}, predicted {p.tok_s:,.0f} tok/s"
                for p in found
            ],
        )  # fmt: skip
    figure.update_xaxes(batch_axis(sorted({p.bar.batch_size for p in result.base.predictions})))
    figure.update_yaxes(type="log", title_text="emitted tokens/s", dtick="D1")
    return figure


def variants_figure(found: VariantsResult) -> go.Figure:
    """Predicted over published goodput of figure 4's bars at draft 5, a line per method."""
    figure = panels([""], [300], 60)
    for variant, look in looks_of({v: v for v in VARIANT_WORDS}).items():
        mine = [p for p in found.overlapped if p.variant == variant and p.bar.method.endswith("k=5")]
        figure.add_scatter(
            x=[p.bar.batch_size for p in mine], y=[1.0 + p.error for p in mine], mode="lines+markers",
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 9, "color": look.colour}, hoverinfo="text",
            hovertext=[
                f"{VARIANT_WORDS[variant]}, batch {p.bar.batch_size}: <b>{p.error:+.0%}</b><br>published "
                f"{p.bar.tok_s:,.0f}, predicted {p.tok_s:,.0f} tok/s"
                for p in mine
            ],
        )  # fmt: skip
    figure.add_hline(1.0, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(batch_axis(sorted({p.bar.batch_size for p in found.overlapped})))
    figure.update_yaxes(title_text="predicted / published", gridcolor=GRID)
    return figure


def resolution_looks(signals: Sequence[TraceSignals]) -> dict[str, MethodLook]:
    """The look of every line of ``resolution_figure``."""
    looks = looks_of({s.file.removesuffix(".parquet"): s.file for s in signals})
    for kind, dash, marker, glyph in (
        ("chat", "dash", "circle-open", "○"),
        ("code", "dot", "square-open", "□"),
    ):
        name = f"published, {kind}"
        looks[name] = MethodLook(name, name, INK, dash, marker, glyph)
    return looks


def resolution_figure(signals: Sequence[TraceSignals], published: Published) -> go.Figure:
    """Bits that S and A tell about X against the cells of (S, A): traces (X in 5 bins) and table 1."""
    figure = panels([""], [300], 60)
    lines = {
        s.file.removesuffix(".parquet"): next(
            r.corrected_bits for r in s.resolutions if r.num_x_bins == _X_BINS
        )
        for s in signals
    }
    table = published.tables["table_1"]
    lines |= {f"published, {kind}": tuple(table[kind]["gain_bits"]) for kind in ("chat", "code")}
    for name, look in resolution_looks(signals).items():
        figure.add_scatter(
            x=list(CELLS), y=list(lines[name]), mode="lines+markers",
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"symbol": look.marker, "size": 9, "color": look.colour}, hoverinfo="text",
            hovertext=[
                f"{plain(name)}, {c}: <b>{g:.3f} bits</b>" for c, g in zip(CELLS, lines[name], strict=True)
            ],
        )  # fmt: skip
    figure.update_yaxes(title_text="bits", rangemode="tozero")
    figure.update_xaxes(title_text="cells of (S, A)", tickfont={"color": MUTED})
    return figure
