"""The heat map: the best method of every cell, on the terminal and on the page."""

import io
import re
from dataclasses import fields, replace

from rich.console import Console

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.heat_map import best_cells, print_heat_map
from svsim.report.heat_map_page import FAINT, STRONG, heat_map_section
from svsim.report.palette import looks


def row(method, batch, hardware, goodput, **more):
    values = dict.fromkeys((f.name for f in fields(ResultRow)), None)
    return ResultRow(
        **values
        | {
            "method": method,
            "params": {},
            "batch_size": batch,
            "hardware": hardware,
            "goodput_tok_s": goodput,
            "lossless": True,
        }
        | more
    )


def table(rows):
    return ResultTable(tuple(rows), "0", {}, {})


def shown(rows, width=200):
    console = Console(width=width, record=True, file=io.StringIO())
    print_heat_map(table(rows), console)
    return console.export_text()


def page(rows):
    return heat_map_section(table(rows), looks(table(rows)))


def cells_of(markup):
    """The data cells' (attributes, text) in reading order."""
    found = re.findall(r"<td([^>]*)>(.*?)</td>", markup)
    return [(attributes, re.sub(r"<[^>]*>", " ", inside)) for attributes, inside in found]


SD = {
    "speedup_vs_td": 2.0,
    "speedup_vs_td_ci_low": 1.9,
    "speedup_vs_td_ci_high": 2.1,
    "usd_per_million_tokens": 3.5,
    "joules_per_million_tokens": 2e6,
}
ROWS = [
    row("td", 1, "a", 100.0),
    row("sd", 1, "a", 200.0, **SD),
    row("td", 8, "a", 500.0),
    row("sd", 8, "a", 400.0, speedup_vs_td=0.8, speedup_vs_td_ci_low=0.7, speedup_vs_td_ci_high=0.9),
    row("oracle", 8, "a", 900.0, speedup_vs_td=1.8, is_bound=True),
    row("td", 1, "b", 70.0),
    row("sd", 1, "b", 75.0, speedup_vs_td=1.07, speedup_vs_td_ci_low=0.95, speedup_vs_td_ci_high=1.2),
    row("td", 8, "b", None),
    row("sd", 8, "b", None),
]


def test_best_method_of_every_cell():
    lines = shown(ROWS).splitlines()
    (one,) = (line for line in lines if line.strip().startswith("1 "))
    assert "sd 2.00x 200/s $3.50 2,000 kJ" in one and "sd 1.07x 75/s" in one
    (eight,) = (line for line in lines if line.strip().startswith("8 "))
    assert "td 500/s" in eight and "does not fit" in eight  # bounds are no methods


def test_only_the_intervals_settle_a_cell():
    settled = [[cell.settled for cell in line] for line in best_cells(table(ROWS))]
    assert settled == [[True, True], [False, None]]


def test_a_narrow_terminal_gets_the_hardware_one_below_the_other():
    whole, narrow = shown(ROWS).splitlines(), shown(ROWS, width=44).splitlines()
    assert sum("batch " in line and "size" not in line for line in whole) == 1
    assert sum(line.startswith("batch ") and "size" not in line for line in narrow) == 2
    assert any("sd 2.00x 200/s $3.50 2,000 kJ" in line for line in narrow)  # nothing is cut
    assert all(len(line) <= 44 for line in narrow)


def test_nothing_for_one_hardware():
    assert shown(ROWS[:4]) == ""
    assert page(ROWS[:4]) is None


def test_cells_of_the_page_say_what_the_terminal_says_and_more():
    cells = cells_of(page(ROWS))
    words = [" ".join(inside.split()) for _, inside in cells]
    assert len(words) == 4
    for expected in ("batch 1", "sd", "2.00x", "1.90 to 2.10", "200 tok/s", "$3.50", "2,000 kJ"):
        assert expected in words[0]
    assert "td" in words[1] and "the baseline" in words[1] and "500 tok/s" in words[1]
    assert words[3] == "batch 8 does not fit in memory"


def test_colour_is_the_method_and_its_strength_the_gain():
    rows = [*ROWS, replace(ROWS[1], batch_size=16, speedup_vs_td=1.5), replace(ROWS[0], batch_size=16)]
    look_of = looks(table(rows))
    styles = [attributes for attributes, _ in cells_of(heat_map_section(table(rows), look_of))]
    assert look_of["sd"].colour in styles[0] and f"--strength:{STRONG}%" in styles[0]
    assert look_of["td"].colour in styles[1] and f"--strength:{FAINT}%" in styles[1]
    assert f"--strength:{(FAINT + STRONG) // 2}%" in styles[2]
    assert ["open" in style for style in styles] == [False, False, False, True, False, False]


def test_deployments_that_differ_in_placement_are_two_lines():
    rows = ROWS[:4] + [replace(r, hardware_options="draft=replicated") for r in ROWS[:4]]
    assert [line[0].hardware for line in best_cells(table(rows))] == ["a", "a:draft=replicated"]
    assert "draft=replicated" in page(rows)
