"""Figures hold the rows' numbers, tell methods apart without colour, and escape names."""

from dataclasses import replace
from itertools import pairwise

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.result_tables import HOSTILE, METHODS, crowded, hostile, one_machine, two_machines

from svsim.errors import InputError
from svsim.report.bars import MAX_BARS, shown_rows
from svsim.report.figures import (
    difference_figure,
    drafted_tokens,
    gain_share_figure,
    goodput_figure,
    speedup_figure,
    time_figure,
    token_shares,
    tokens_figure,
)
from svsim.report.lines import spread
from svsim.report.palette import DARK, TIME_PARTS, TOKEN_PARTS, looks


def lines_of(figure):
    return {trace.name: trace for trace in figure.data if trace.type == "scatter" and trace.name}


def bands_of(figure):
    return [trace for trace in figure.data if trace.fill == "toself"]


def test_goodput_lines_and_bands_are_the_rows():
    table = one_machine()
    figure = goodput_figure(table)
    lines = lines_of(figure)
    assert tuple(lines) == METHODS
    for label, line in lines.items():
        rows = [r for r in table.rows if r.label == label]
        assert list(line.x) == [r.batch_size for r in rows]
        assert list(line.y) == [r.goodput_tok_s for r in rows]
    rows = [r for r in table.rows if r.label == "sd:k=5"]
    band = bands_of(figure)[METHODS.index("sd:k=5")]
    assert list(band.y) == [r.goodput_ci_high for r in rows] + [r.goodput_ci_low for r in reversed(rows)]


def test_one_panel_per_hardware_or_the_one_asked_for():
    table = two_machines()
    both = goodput_figure(table)
    assert {trace.yaxis for trace in both.data} == {"y", "y2"}
    second = goodput_figure(table, "second")
    assert {trace.yaxis for trace in second.data} == {"y"}
    rows = [r for r in table.rows if (r.hardware, r.label) == ("second", "sv:k=7")]
    assert list(lines_of(second)["sv:k=7"].y) == [r.goodput_tok_s for r in rows]
    assert lines_of(second)["sv:k=7"].line.color == looks(table)["sv:k=7"].colour
    with pytest.raises(InputError, match="no row is of hardware third; choose one of first, second"):
        goodput_figure(table, "third")


@pytest.mark.parametrize("baseline", ["td", "sd"])
def test_speedups_stand_beside_the_line_at_one(baseline):
    table = one_machine()
    figure = speedup_figure(table, baseline)
    assert [(shape.y0, shape.y1) for shape in figure.layout.shapes] == [(1.0, 1.0)]
    low, high = figure.layout.yaxis.range
    assert low < 1 < high
    rows = [r for r in table.rows if r.label == "sv:k=7"]
    assert list(lines_of(figure)["sv:k=7"].y) == [getattr(r, f"speedup_vs_{baseline}") for r in rows]


def test_shares_of_the_bounds_gain():
    table = one_machine()
    figure = gain_share_figure(table)
    assert [(shape.y0, shape.y1) for shape in figure.layout.shapes] == [(1.0, 1.0)]
    lines = lines_of(figure)
    for label in METHODS:
        assert list(lines[label].y) == [r.oracle_gain_share for r in table.rows if r.label == label]
    assert list(lines["oracle:k=7"].y) == [1, 1, 1] and list(lines["td"].y) == [0, 0, 0]


def test_many_lines_have_room_for_their_names_and_no_shading():
    few, many = goodput_figure(one_machine()), goodput_figure(crowded())
    assert len(bands_of(few)) == 5 and not bands_of(many)
    assert many.layout.height > few.layout.height
    labels = [a for a in many.layout.annotations if a.name == "direct-label"]
    places = sorted(figure_depth(many, a) for a in labels)
    assert len(places) == 20 and min(b - a for a, b in pairwise(places)) >= 15 - 1e-6


def figure_depth(figure, annotation):
    """Pixels from the top of the plot area to a direct label."""
    low, high = figure.layout.yaxis.range
    plot_px = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    return (high - annotation.y) / (high - low) * plot_px + annotation.ay


def test_undefined_values_leave_gaps_not_zeros():
    table = one_machine()
    rows = tuple(
        replace(r, goodput_tok_s=None, speedup_vs_sd=None, goodput_ci_low=None) if r.batch_size == 4 else r
        for r in table.rows
    )
    table = replace(table, rows=rows)
    assert list(lines_of(goodput_figure(table))["td"].x) == [1, 16]
    assert list(lines_of(speedup_figure(table, "sd"))["td"].x) == [1, 16]
    nothing = replace(table, rows=tuple(replace(r, speedup_vs_sd=None) for r in rows))
    assert not lines_of(speedup_figure(nothing, "sd"))


def test_time_bars_add_up_to_the_step():
    table = one_machine()
    bars = [trace for trace in time_figure(table).data if trace.type == "bar"]
    assert [bar.name for bar in bars] == [p.words for p in TIME_PARTS if p.name != "prefill_time_s"]
    rows = shown_rows(table.rows)
    for i, row in enumerate(rows):
        assert sum(bar.x[i] for bar in bars) == pytest.approx(1e3 * row.step_time_s)
    with_prefill = replace(table, rows=tuple(replace(r, prefill_time_s=0.002) for r in table.rows))
    bars = [trace for trace in time_figure(with_prefill).data if trace.type == "bar"]
    assert set(bars[-1].x) == {2.0} and bars[-1].name == "prefill"


def test_draft_tokens_are_accepted_rejected_or_never_verified():
    for row in one_machine().rows:
        shares = token_shares(row)
        assert sum(shares.values()) == pytest.approx(drafted_tokens(row))
        assert drafted_tokens(row) == pytest.approx(row.params.get("k", 0))
        verified = shares["accepted"] + shares["rejected"]
        assert verified == pytest.approx(row.mean_verification_length)
        if row.rejected_share_of_verified is not None:
            assert shares["rejected"] / verified == pytest.approx(row.rejected_share_of_verified)
    bars = [trace for trace in tokens_figure(one_machine()).data if trace.type == "bar"]
    assert [bar.name for bar in bars] == [part.words for part in TOKEN_PARTS]


def test_difference_of_the_analytic_model_in_percent():
    table = one_machine()
    analytic = replace(
        table, rows=tuple(replace(r, goodput_tok_s=1.01 * r.goodput_tok_s) for r in table.rows)
    )
    for line in lines_of(difference_figure(table, analytic)).values():
        assert list(line.y) == pytest.approx([1.0] * 3)


def test_methods_differ_without_colour():
    row = one_machine().rows[0]
    rows = [replace(row, method=f"m{i}") for i in range(20)] + [
        replace(row, method=name, is_bound=name != "td") for name in ("td", "oracle", "oracle-belief")
    ]
    found = looks(replace(one_machine(), rows=tuple(rows))).values()
    assert len({look.marker for look in found}) == len({look.glyph for look in found}) == 23
    assert len({look.colour for look in found if look.label.startswith("oracle")}) == 1
    assert len({part.pattern for part in TOKEN_PARTS}) == len(TOKEN_PARTS)
    assert {look.colour for look in found} <= set(DARK)
    assert {part.colour for part in (*TIME_PARTS, *TOKEN_PARTS)} <= set(DARK)


def test_long_labels_are_cut_in_figures_and_whole_when_pointed_at():
    label = "sv:k=7,objective=accepted,stop=first-drop"
    params = {"k": 7, "objective": "accepted", "stop": "first-drop"}
    rows = tuple(replace(r, params=params) if r.method == "sv" else r for r in one_machine().rows)
    figure = goodput_figure(replace(one_machine(), rows=rows))
    assert any("sv:k=7,objective=ac…" in (a.text or "") for a in figure.layout.annotations)
    assert label in lines_of(figure)[label].hovertext[0]


@pytest.mark.parametrize("draw", [goodput_figure, speedup_figure, time_figure, tokens_figure])
def test_hostile_names_are_text(draw):
    document = draw(hostile()).to_json()
    assert "<script" not in document and "<img" not in document
    assert "\\u001b" not in document and HOSTILE[-100:] not in document


@pytest.mark.parametrize("draw", [goodput_figure, speedup_figure, time_figure, tokens_figure])
def test_figures_are_deterministic_and_valid(draw):
    first, second = draw(two_machines()), draw(two_machines())
    assert first.to_json() == second.to_json()
    assert go.Figure(first.to_dict()) == first


def test_an_empty_table_is_an_error():
    with pytest.raises(InputError, match="holds no rows"):
        goodput_figure(replace(one_machine(), rows=()))


@pytest.mark.parametrize("num_sizes", [3, 20, 200])
def test_bars_are_thinned_from_the_largest_batch_size_down(num_sizes):
    rows = [replace(r, batch_size=b) for b in range(1, num_sizes + 1) for r in one_machine().rows[:5]]
    shown = shown_rows(rows)
    assert len(shown) <= MAX_BARS
    assert shown[-1].batch_size == num_sizes
    assert num_sizes > 3 or shown == rows


@given(st.lists(st.floats(0, 250), max_size=40), st.floats(1, 30))
def test_labels_are_spread_in_order_and_inside(places, least):
    placed = spread(places, least, 250)
    assert len(placed) == len(places)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    gap = min(least, 250 / max(1, len(places) - 1))
    for above, below in pairwise(order):
        assert placed[below] - placed[above] >= gap - 1e-6
    assert all(-1e-6 <= p <= 250 + 1e-6 for p in placed)
    if all(b - a >= least for a, b in pairwise(sorted(places))):
        assert placed == pytest.approx(places)
