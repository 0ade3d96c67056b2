"""The terminal view of ``svsim info``: readable at any width, and names out of files are harmless."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from support.small_traces import StairLatency, independent_trace

import svsim
from svsim.report.information import print_information


@pytest.fixture(scope="module")
def information():
    trace = independent_trace(60, 5, seed=1)
    names = tuple(("[bold]chat", "code\x1b[31m")[r % 2] for r in range(60))
    metadata = replace(trace.metadata, dataset="[red]data\nset", command="synth --seed 1", date="2026-01-02")
    return svsim.info(replace(trace, tasks=names, metadata=metadata), latency=StairLatency())


def shown(information, width):
    out = io.StringIO()
    print_information(information, Console(file=out, width=width))
    return out.getvalue()


def test_names_are_escaped(information):
    text = shown(information, 160)
    assert "[bold]chat" in text and "[red]data?set" in text
    assert "\x1b" not in text and "code?[31m" in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_and_no_line_too_long(information, width):
    text = shown(information, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for depth in information.by_depth:
        assert f"{depth.conditional:.1%}" in text
    for gain in information.information.paper:
        assert f"{gain.corrected_bits:.3f}" in text


def test_numbered_signals_are_one_name(information):
    names = ("bin_0", "bin_1", "bin_2", "draft_prob", "other_7")
    text = shown(replace(information, sizes=replace(information.sizes, signals=names)), 120)
    assert "bin_0..2, draft_prob, other_7" in text


def test_what_is_missing_is_a_dash_or_absent(information):
    bare = replace(information, information=None, slow_steps=(), notes=("nothing to learn",))
    text = shown(bare, 120)
    assert "Information" not in text and "Steps slower" not in text and "note: nothing to learn" in text
