"""The heat map: one column per hardware, the best method of every cell."""

import io
from dataclasses import fields

from rich.console import Console

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.heat_map import print_heat_map


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
        }
        | more
    )


def shown(rows):
    console = Console(width=200, record=True, file=io.StringIO())
    print_heat_map(ResultTable(tuple(rows), "0", {}, {}), console)
    return console.export_text()


ROWS = [
    row("td", 1, "a", 100.0),
    row("sd", 1, "a", 200.0, speedup_vs_td=2.0, usd_per_million_tokens=3.5, joules_per_million_tokens=2e6),
    row("td", 8, "a", 500.0),
    row("sd", 8, "a", 400.0, speedup_vs_td=0.8),
    row("oracle", 8, "a", 900.0, speedup_vs_td=1.8),
    row("td", 1, "b", 70.0),
    row("sd", 1, "b", 60.0),
    row("td", 8, "b", None),
    row("sd", 8, "b", None),
]


def test_best_method_of_every_cell():
    lines = shown(ROWS).splitlines()
    (one,) = (line for line in lines if line.strip().startswith("1 "))
    assert "sd 2.00x 200/s $3.50 2,000 kJ" in one and "td 70/s" in one
    (eight,) = (line for line in lines if line.strip().startswith("8 "))
    assert "td 500/s" in eight and "does not fit" in eight  # bounds are no methods


def test_nothing_for_one_hardware():
    assert shown(ROWS[:4]) == ""
