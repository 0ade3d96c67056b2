"""Batch size x hardware: the best method of every cell, on the terminal and on the page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.recommendation import best_by_batch_size
from svsim.report.terminal_table import bare_table

COLOURS = ("white", "cyan", "green", "magenta", "yellow", "blue", "red")


@dataclass(frozen=True, slots=True)
class BestOfCell:
    """One (hardware, batch size): its fastest method, lossless if one such ran; no bound. None: nothing fits.

    settled: whether the intervals allow to call it; None where only one method ran or fits.
    """

    hardware: str
    batch_size: int
    row: ResultRow | None
    settled: bool | None


def best_cells(table: ResultTable) -> list[list[BestOfCell]]:
    """The cells of every hardware over all batch sizes, in the order of the rows; bounds are no methods."""
    rows = [row for row in table.rows if not row.is_bound]
    sizes = sorted({row.batch_size for row in rows})
    found = []
    for hardware in dict.fromkeys(row.deployment for row in rows):
        settled = {row.batch_size: clear for row, clear in best_by_batch_size(table, hardware)}
        cells = []
        for size in sizes:
            here = [r for r in rows if (r.deployment, r.batch_size) == (hardware, size)]
            known = [r for r in here if r.goodput_tok_s is not None]
            known = [r for r in known if r.lossless] or known
            best = max(known, key=lambda r: r.goodput_tok_s or 0.0) if known else None
            cells.append(BestOfCell(hardware, size, best, settled.get(size)))
        found.append(cells)
    return found


def costs(row: ResultRow) -> Iterator[str]:
    """``$0.55`` and ``510 kJ`` per million tokens, as far as they are known."""
    if row.usd_per_million_tokens is not None:
        yield f"${row.usd_per_million_tokens:,.2f}"
    if row.joules_per_million_tokens is not None:
        yield f"{row.joules_per_million_tokens / 1e3:,.0f} kJ"


def print_heat_map(table: ResultTable, console: Console) -> None:
    """One column per hardware; nothing if there is only one. Target-only first, then in order of the rows.

    A cell: best method by goodput, its speedup against target-only decoding, goodput, and what a
    million tokens cost in dollars and kilojoules, where known. Hardware that the terminal has no room
    for comes in a further table below.
    """
    columns = best_cells(table)
    if len(columns) < 2:
        return
    methods = dict.fromkeys(row.label for row in table.rows if not row.is_bound)
    labels = sorted(methods, key=lambda label: label != "td")
    colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    words = "fastest lossless method by batch size and hardware: speedup over target-only, tokens/s, $ and "
    console.print(f"{words}kJ per million tokens", highlight=False)
    for few in _side_by_side(columns, console.width):
        view = bare_table()
        view.add_column("batch", justify="right", no_wrap=True)
        for cells in few:
            view.add_column(escape(cells[0].hardware), no_wrap=True)
        for line in zip(*few, strict=True):
            view.add_row(str(line[0].batch_size), *(_coloured(cell.row, colour) for cell in line))
        console.print(view)


def _side_by_side(columns: list[list[BestOfCell]], width: int) -> list[list[list[BestOfCell]]]:
    """The columns in groups that fit beside each other, at least one each."""
    groups: list[list[list[BestOfCell]]] = []
    used = width
    for cells in columns:
        needed = 2 + max(len(cells[0].hardware), *(len(_words(cell.row)) for cell in cells))
        if used + needed > width:
            groups.append([])
            used = len("batch")
        groups[-1].append(cells)
        used += needed
    return groups


def _coloured(row: ResultRow | None, colour: Mapping[str, str]) -> str:
    return f"[{'dim' if row is None else colour[row.label]}]{escape(_words(row))}[/]"


def _words(row: ResultRow | None) -> str:
    if row is None:
        return "does not fit"
    parts = [row.label]
    if row.speedup_vs_td is not None and row.method != "td":
        parts.append(f"{row.speedup_vs_td:.2f}x")
    return " ".join([*parts, f"{row.goodput_tok_s:,.0f}/s", *costs(row)])
