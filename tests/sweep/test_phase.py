"""Phase diagrams: cells as the commands answer them, doubt where it belongs, one picture without scripts."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.browser import CHROMIUM, look_at
from support.small_traces import LINEAR, independent_trace

import svsim
from svsim.errors import InputError, OutOfRangeError
from svsim.metrics.phase import Measured, PhaseCell, PhaseDiagram, lead_over, phase_cell
from svsim.report.phase_look import LEVELS, colours, contour, ink_on
from svsim.report.phase_page import render
from svsim.report.phase_picture import NARROW, WIDE, phase_svg
from svsim.report.phase_tables import bands_table, caveats, map_table, sentences
from svsim.sweeping.phase import OUT_OF_RANGE, PhaseResult, _Asked, phase
from svsim.trace.what_if import with_acceptance

TRACE = independent_trace(60, 4, seed=5, output_tokens=(40, 80))
METHODS = ["sd:k=1", "sd:k=3", "sv:k=4"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    file = tmp_path_factory.mktemp("prices") / "linear.json"
    slow_tokens = LINEAR | {"target": {"fixed_s": 0.012, "per_new_token_s": 3e-4, "per_kv_token_s": 1e-8}}
    file.write_text(json.dumps(slow_tokens))
    return str(file)


@pytest.fixture(scope="module")
def found(linear):
    return phase(
        TRACE,
        methods=METHODS,
        acceptance=[0.2, 0.5, 0.7, 0.95],
        context=[60, 200, 1000],
        batch_sizes=[1, 4, 24],
        latency=linear,
        jobs=1,
    )


def test_cells_are_those_of_the_analytic_model(found, linear):
    acceptance, context = found.diagrams
    assert (acceptance.axis, context.axis) == ("acceptance", "context")
    assert (acceptance.levels, context.batch_sizes) == ((0.2, 0.5, 0.7, 0.95), (1, 4, 24))
    trace = with_acceptance(TRACE, 0.7)
    rows = svsim.analytic(trace, methods=["td", *METHODS], batch_sizes=[4], latency=linear, jobs=1).rows
    best = max(rows, key=lambda row: row.goodput_tok_s)
    cell = acceptance.at(2, 1)
    assert (cell.level, cell.batch_size, cell.best) == (0.7, 4, best.label)
    assert cell.goodput_tok_s == pytest.approx(best.goodput_tok_s, rel=1e-9)
    assert cell.speedup_vs_td == pytest.approx(best.speedup_vs_td, rel=1e-9)


def test_more_is_drafted_where_more_is_accepted_and_nothing_in_large_batches(found):
    acceptance, _ = found.diagrams
    assert acceptance.at(0, 2).best == "td" and acceptance.at(3, 0).best in ("sd:k=3", "sv:k=4")
    speedups = [acceptance.at(level, 0).speedup_vs_td for level in range(4)]
    assert speedups == sorted(speedups)


def test_the_replay_agrees(found):
    for diagram in found.diagrams:
        assert len(diagram.checks) == 9
        assert sum(check.agrees for check in diagram.checks) >= 8
        assert max(check.largest_difference for check in diagram.checks) < 0.03


def test_frame_and_json_hold_every_cell(found):
    frame = found.to_frame()
    assert len(frame) == (4 + 3) * 3 and list(frame.columns[:3]) == ["axis", "level", "batch_size"]
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(document["diagrams"][0]["cells"]) == 12
    assert "jobs" not in document["config"]


def test_a_map_says_which_of_its_methods_change_the_text(found, linear):
    said = "Not lossless at this sampling: sv:k=4 (the text leaves the target's law)."
    assert said in found.notes and "sv:k=4" in {c.best for d in found.diagrams for c in d.cells}
    lossless = phase(
        TRACE, methods="sd:k=1", acceptance=[0.5], context=[200], batch_sizes=[1], latency=linear
    )
    assert not any("Not lossless" in note for note in lossless.notes)


def test_workers_change_no_byte(found, linear):
    levels = {"acceptance": [0.5], "context": [200], "batch_sizes": [4]}
    again = phase(TRACE, methods=METHODS, **levels, latency=linear, jobs=2)
    kept = {(d.axis, c.level, c.batch_size): c for d in found.diagrams for c in d.cells}
    for diagram in again.diagrams:
        assert diagram.cells[0].goodput_tok_s == kept[diagram.axis, diagram.cells[0].level, 4].goodput_tok_s


def test_out_of_reach_is_said_before_the_work(linear):
    with pytest.raises(InputError, match="out of reach"):
        phase(TRACE, acceptance=[0.5, 1.0], latency=linear)
    with pytest.raises(InputError, match="expected numbers"):
        phase(TRACE, acceptance=["0.5"], latency=linear)
    with pytest.raises(InputError, match="one deployment"):
        phase(TRACE, hardware=["a", "b"], latency=linear)


@pytest.mark.parametrize("num", range(7))
def test_the_smallest_batch_sizes_that_step_times_reach_are_answered_in_few_tries(num, monkeypatch):
    tried = []

    def cells(_, level, trace, sizes, goodputs):
        tried.append(len(sizes))
        if len(sizes) > num:
            raise OutOfRangeError("beyond")
        return [PhaseCell(level, size, "td") for size in sizes]

    sizes = (1, 2, 4, 8, 16, 32)
    monkeypatch.setattr(_Asked, "_cells", cells)
    monkeypatch.setattr(_Asked, "batch_sizes", sizes)
    axis = SimpleNamespace(reshape=lambda level: TRACE)
    found = _Asked(None, None)._level(axis, 512.0, {})
    assert [cell.batch_size for cell in found] == list(sizes)
    assert [cell.best for cell in found] == ["td"] * num + [None] * (6 - num)
    assert {cell.why for cell in found[num:]} <= {OUT_OF_RANGE}
    assert len(tried) <= {6: 1, 0: 2}.get(num, 5)


# -- how sure -----------------------------------------------------------------------------------------


def measured(label, goodput, step_s, price_error=None, spread=0.0, fits=True, seed=0):
    method, _, params = label.partition(":")
    row = SimpleNamespace(
        method=method,
        label=label,
        params=params,
        goodput_tok_s=goodput if fits else None,
        step_time_s=step_s,
        price_error=price_error,
        speedup_vs_td=goodput / 100.0,
        speedup_vs_td_ci_low=goodput / 100.0,
        speedup_vs_td_ci_high=goodput / 100.0,
        is_bound=False,
        fits_memory=fits,
    )
    noise = np.random.default_rng(seed).normal(0.0, spread, 1000)
    return Measured(row, goodput * np.exp(noise))


def test_prices_are_in_doubt_against_td_and_little_between_two_lengths():
    td = measured("td", 100.0, 0.010, 0.1)
    short, long = measured("sd:k=2", 110.0, 0.020, 0.1), measured("sd:k=3", 112.0, 0.0205, 0.1)
    _, low, high = lead_over(long, td, td.row)
    assert (low, high) == pytest.approx((1.12 * np.exp(-0.16449), 1.12 * np.exp(0.16449)), rel=1e-4)
    ratio, low, high = lead_over(long, short, td.row)
    shares = 1 - 10 / 20, 1 - 10 / 20.5
    assert np.log(high / ratio) == pytest.approx(0.16449 * (shares[1] - shares[0]) / shares[1], rel=1e-4)
    cell = phase_cell(0.5, 8, [td, short, long])
    assert (cell.best, cell.runner_up, cell.could_be) == ("sd:k=3", "sd:k=2", ("td",))
    assert not cell.is_settled


def test_sampling_is_paired():
    td = measured("td", 100.0, 0.010)
    one, other = measured("sd:k=2", 110.0, 0.02, spread=0.2), measured("sd:k=3", 112.0, 0.02, spread=0.2)
    assert lead_over(other, one, td.row)[1:] == pytest.approx((112 / 110, 112 / 110))  # the same draws
    apart = measured("sd:k=2", 110.0, 0.02, spread=0.2, seed=1)
    assert phase_cell(0.5, 8, [td, apart, other]).could_be == ("sd:k=2", "td")
    assert phase_cell(0.5, 8, [td, one, other]).could_be == ("td",)


def test_what_does_not_fit_is_no_candidate():
    td, big = measured("td", 100.0, 0.01), measured("sd:k=3", 300.0, 0.02, fits=False)
    cell = phase_cell(4096.0, 64, [td, big])
    assert (cell.best, cell.unfit, cell.runner_up) == ("td", ("sd:k=3",), None)
    assert phase_cell(1.0, 1, [measured("td", 1.0, 1.0, fits=False)]).why == "nothing fits in memory"


# -- the picture --------------------------------------------------------------------------------------


def hostile_diagram():
    name = 'sv:k=7,<script>alert("x")</script>'
    cells = [
        PhaseCell(level, size, label, 1.0 + level, 1.1, 1.9, 100.0, "td", 1.1, 0.9, 1.2, could, unfit)
        for level, size, label, could, unfit in [
            (0.5, 1, name, (), ()),
            (0.5, 8, "td", (name,), ("sd:k=3",)),
            (0.9, 1, "sd:k=3", (), ()),
        ]
    ]
    return PhaseDiagram("acceptance", 0.7, (0.5, 0.9), (1, 8), (*cells, PhaseCell(0.9, 8, why="<b>")), ())


def test_the_picture_is_sound_xml_with_every_cell_and_no_foreign_markup():
    for canvas in (WIDE, NARROW):
        picture = phase_svg([hostile_diagram()], "<i>title", "sub & title", canvas)
        root = ET.fromstring(picture)
        space = "{http://www.w3.org/2000/svg}"
        told = [one.text for one in root.iter(f"{space}title")]
        assert any("could be sv:k=7,<script>" in one for one in told)
        assert any("no memory for sd:k=3" in one for one in told)
        assert not list(root.iter(f"{space}script")) and not list(root.iter(f"{space}i"))
        assert "too close to call" in picture and "no answer" in picture


def test_the_page_has_no_script_and_every_sentence(found):
    page = render(found, "svsim phase T.parquet --report <x>")
    assert "<script" not in page and "script-src" not in page
    assert "--report &lt;x&gt;" in page
    for line in (*sentences(found.diagrams), *caveats(found.diagrams)):
        assert line in page
    assert len(page) < 1 << 20


def test_tables_say_what_the_picture_shows(found):
    acceptance = found.diagrams[0]
    table = map_table(acceptance)
    assert [row[0] for row in table.rows] == ["0.95", "0.70", "0.50", "0.20"]  # the highest on top
    assert table.rows[-1][-1].startswith("td")
    assert bands_table(acceptance).rows[0][1].startswith("1")


def test_colours_tell_families_apart_and_are_readable():
    found = colours(["td", "sd:k=1", "sd:k=5", "sd:k=3", "sv:k=7", "svip:k=7"])
    assert len(set(found.values())) == 6
    lightness = [int(found[f"sd:k={k}"][1:3], 16) for k in (1, 3, 5)]
    assert lightness == sorted(lightness, reverse=True)
    assert ink_on(found["sd:k=5"]) != ink_on(found["sd:k=1"])


def test_contours_follow_a_plane():
    values = {(x, y): 1.0 + 0.5 * x for x in range(4) for y in range(3)}
    for level in LEVELS[:3]:
        for ends in contour(values, level):
            assert all(1.0 + 0.5 * x == pytest.approx(level) for x, _ in ends)
    assert not list(contour(values, 3.0))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; install it to open the page")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_screen(width, found, tmp_path):
    named = replace(found, diagrams=(*found.diagrams, hostile_diagram()))
    assert isinstance(named, PhaseResult)
    (scroll, inner, *_, hacked), console = look_at(render(named, "svsim phase"), width, tmp_path)
    assert int(scroll) <= int(inner) == width
    assert hacked == "0" and not console


def crowded_diagram():
    """Steep: all lines of equal speedup lie close together, the recorded level among them."""
    levels, sizes = tuple(0.1 * i for i in range(1, 9)), (1, 2, 4, 8, 16, 32)
    cells = [
        PhaseCell(
            level, size, f"sd:k={1 + j // 2}", 1.0 + 0.9 * j + 0.1 * i, 1.0, 9.0, 100.0, "td", 1.1, 1.0, 1.2
        )
        for i, level in enumerate(levels)
        for j, size in enumerate(sizes)
    ]
    return PhaseDiagram("acceptance", 0.44, levels, sizes, tuple(cells), ())


@pytest.mark.parametrize("canvas", [WIDE, NARROW])
def test_no_words_in_a_panel_stand_on_others(canvas):
    root = ET.fromstring(phase_svg([crowded_diagram()], "a", "b", canvas))
    space = "{http://www.w3.org/2000/svg}"
    boxes, plates = [], 0
    for word in root.iter(f"{space}text"):
        if re.fullmatch(r"[\d.]+x|sd:k=\d|as recorded.*", word.text) and word.get("text-anchor") == "middle":
            size, x, y = int(word.get("font-size")), float(word.get("x")), float(word.get("y"))
            half = 0.3 * size * len(word.text)
            assert x - half >= 0.0 and x + half <= canvas.panel_width, word.text
            boxes.append((word.text, x - half, x + half, y - 0.8 * size, y))
            plates += word.text.endswith("x")
    assert plates >= 3
    for i, (one, left, right, top, bottom) in enumerate(boxes):
        for other, left2, right2, top2, bottom2 in boxes[:i]:
            assert left >= right2 or left2 >= right or top >= bottom2 or top2 >= bottom, (one, other)


@pytest.mark.parametrize("canvas", [WIDE, NARROW])
def test_a_long_subtitle_is_wrapped_and_whole(canvas):
    subtitle = "llama70b.parquet, database step times, engine vllm-0.20, prefill not counted, closed loop"
    root = ET.fromstring(phase_svg([crowded_diagram()], "a", subtitle, canvas))
    lines = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    first = next(i for i, line in enumerate(lines) if line.startswith("llama70b"))
    assert subtitle in " ".join(lines[first : first + 3])


def test_every_number_of_the_picture_is_finite(found):
    picture = phase_svg(found.diagrams, "a", "b", WIDE)
    assert not re.search(r"\bnan\b|\binf\b", picture.lower())
