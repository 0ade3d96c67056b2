"""Batch size x hardware on the terminal: the best method of every cell, coloured by method."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.recommendation import BOUNDS

COLOURS = ("white", "cyan", "green", "magenta", "yellow", "blue", "red")


def print_heat_map(table: ResultTable, console: Console) -> None:
    """One column per hardware; nothing if there is only one. Target-only first, then in order of the rows.

    A cell: best method by goodput, its speedup against target-only decoding, goodput, and what a
    million tokens cost in dollars and kilojoules, where known.
    """
    hardware = list(dict.fromkeys(row.deployment for row in table.rows))
    if len(hardware) < 2:
        return
    rows = [row for row in table.rows if row.method not in BOUNDS]
    labels = sorted(dict.fromkeys(row.label for row in rows), key=lambda label: label != "td")
    colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    view = Table(
        title="fastest method by batch size and hardware: speedup over target-only, tokens/s, $ and kJ per "
        "million tokens",
        title_justify="left",
        title_style="",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    view.add_column("batch", justify="right")
    for name in hardware:
        view.add_column(escape(name), no_wrap=True)
    for size in dict.fromkeys(row.batch_size for row in rows):
        cells = [_best(rows, name, size) for name in hardware]
        view.add_row(str(size), *(_cell(row, colour) for row in cells))
    console.print(view)


def _best(rows: list[ResultRow], hardware: str, batch_size: int) -> ResultRow | None:
    """The row of the largest goodput in a cell; None if nothing fits."""
    cell = [row for row in rows if row.deployment == hardware and row.batch_size == batch_size]
    known = [row for row in cell if row.goodput_tok_s is not None]
    return max(known, key=lambda row: row.goodput_tok_s or 0.0) if known else None


def _cell(row: ResultRow | None, colour: dict[str, str]) -> str:
    if row is None:
        return "[dim]does not fit[/dim]"
    parts = [row.label]
    if row.speedup_vs_td is not None and row.method != "td":
        parts.append(f"{row.speedup_vs_td:.2f}x")
    parts.append(f"{row.goodput_tok_s:,.0f}/s")
    if row.usd_per_million_tokens is not None:
        parts.append(f"${row.usd_per_million_tokens:,.2f}")
    if row.joules_per_million_tokens is not None:
        parts.append(f"{row.joules_per_million_tokens / 1e3:,.0f} kJ")
    return f"[{colour[row.label]}]{escape(' '.join(parts))}[/]"
