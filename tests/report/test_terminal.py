"""The terminal table: nothing is cut, whatever the width."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from support.result_tables import crowded, one_machine

from svsim.report.terminal import folded, print_table


def shown(table, width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_table(table, console)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_twenty_methods_with_long_names_are_readable(width):
    text = shown(crowded(), width)
    assert "…" not in text and "..." not in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    heads = re.findall(r"^batch .*$", text, re.MULTILINE)
    assert len(heads) == 1
    for heading in ("method", "tok/s", "vs TD", "vs SD", "of bound"):
        assert heading in heads[0]
    row = next(r for r in crowded().rows if r.method == "method-3")
    line = next(x for x in text.splitlines() if "method-3:k=7," in x)
    assert line.split()[0] == "1"
    assert f"{row.goodput_tok_s:,.0f}" in line and f"{row.oracle_gain_share:.0%}" in line
    assert ("method-3:k=7,overlap=full,draft_slowdown=1.0" in line) == (width == 200)


def test_shares_are_shown_only_beside_a_bound():
    assert "of bound" in shown(one_machine(), 160)
    rows = [replace(r, oracle_gain_share=None, oracle_bound=None) for r in one_machine().rows]
    assert "of bound" not in shown(replace(one_machine(), rows=tuple(rows)), 160)


def test_labels_break_after_commas():
    assert folded("sv:k=7", 24) == "sv:k=7"
    assert (
        folded("sv:k=7,overlap=full,draft_slowdown=1.0", 24) == "sv:k=7,overlap=full,\n  draft_slowdown=1.0"
    )
    assert folded("x" * 30, 24) == "x" * 30
