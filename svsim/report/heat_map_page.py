"""The heat map of the page: batch size x hardware, coloured by the best method."""

from collections.abc import Mapping

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.formats import interval
from svsim.report.heat_map import BestOfCell, best_cells, costs
from svsim.report.html import Html, element, short_name
from svsim.report.palette import MethodLook
from svsim.report.sections import section
from svsim.report.strip import glyph, tone
from svsim.report.tables import scrolling

# Percent of a method's colour in its cell: at no gain over target-only, and at twice its speed and more.
FAINT, STRONG = 12, 46


def heat_map_section(table: ResultTable, look_of: Mapping[str, MethodLook]) -> Html | None:
    """One line per hardware, one cell per batch size; nothing for a single hardware.

    On phones a hardware's cells run downwards.
    """
    lines = best_cells(table)
    if len(lines) < 2:
        return None
    shown = dict.fromkeys(cell.row.label for line in lines for cell in line if cell.row)
    key = [
        element("li", glyph(look_of[label]), label, class_="tone", style=tone(look_of[label].colour))
        for label in look_of
        if label in shown
    ]
    head = element("tr", element("th", "batch"), *(element("th", str(cell.batch_size)) for cell in lines[0]))
    body = [
        element("tr", _name(line[0].hardware), *(_cell(cell, look_of) for cell in line)) for line in lines
    ]
    heat = element(
        "table",
        element("thead", head),
        element("tbody", *body),
        class_="heat",
        style=f"--count:{len(lines[0])}",
    )
    return section(
        "map",
        "Best method by hardware and batch size",
        "Colour: the fastest lossless method, stronger where it gains more. In a cell: its speedup over "
        "target-only decoding with the 95 % interval, tokens per second, dollars and kilojoules per million "
        "tokens. A dashed frame: within the noise.",
        element("ul", *key, class_="key"),
        scrolling(heat, "Best method by hardware and batch size"),
    )


def _name(deployment: str) -> Html:
    """The name, and below it the options where they may break."""
    name, _, options = deployment.partition(":")
    return element("th", short_name(name), element("small", short_name(options.replace(",", ", "))))


def _cell(cell: BestOfCell, look_of: Mapping[str, MethodLook]) -> Html:
    size = element("span", f"batch {cell.batch_size}", class_="size")
    row = cell.row
    if row is None:
        return element("td", size, element("span", "does not fit in memory", class_="no-fit"))
    look = look_of[row.label]
    between = interval(row.speedup_vs_td_ci_low, row.speedup_vs_td_ci_high, ".2f")
    is_gain = row.method != "td" and row.speedup_vs_td is not None
    return element(
        "td",
        size,
        element("span", glyph(look), look.short, class_="method"),
        element("b", f"{row.speedup_vs_td:.2f}x" if is_gain else "1.00x"),
        element("small", between if is_gain else "the baseline"),
        element("small", f"{row.goodput_tok_s:,.0f} tok/s"),
        element("small", *(element("span", cost) for cost in costs(row))),
        class_="tone open" if cell.settled is False else "tone",
        style=f"{tone(look.colour)};--strength:{_strength(row)}%",
        title=f"{cell.hardware}, batch {cell.batch_size}: {row.label}",
    )


def _strength(row: ResultRow) -> int:
    gain = min(max((row.speedup_vs_td or 1.0) - 1.0, 0.0), 1.0)
    return round(FAINT + (STRONG - FAINT) * gain)
