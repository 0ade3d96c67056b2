"""Predicted against measured, on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.report.accuracy_view import (
    PAIR_HEADS,
    AccuracyView,
    PlainTable,
    choice_table,
    crossover_table,
    marginal_table,
    pair_cells,
    summary_lines,
)


def print_accuracy(view: AccuracyView, console: Console) -> None:
    """Every pair, the tables, and the summary beside its targets."""
    pairs = tuple(pair_cells(row) for row in view.first.rows)
    _print(PlainTable(view.title, "", PAIR_HEADS, pairs, 2), console)
    tables = (marginal_table(view.first), crossover_table(view.first), choice_table(view.first))
    for table in (*view.tables, *tables):
        if table.rows:
            _print(table, console)
    _print_summary(view, console)
    for line in (*view.notes, *view.cautions):
        console.print(f"• {escape(line)}", highlight=False)


def _print(table: PlainTable, console: Console) -> None:
    """A plain table; a blank line between batch sizes."""
    shown = _empty(table.caption)
    for place, head in enumerate(table.heads):
        shown.add_column(escape(head), justify="left" if _is_words(table, place) else "right")
    is_grouped = table.heads[0] == "batch" and table.num_words == 2
    for place, cells in enumerate(table.rows):
        if is_grouped and place and table.rows[place - 1][0] != cells[0]:
            shown.add_row()
        shown.add_row(*map(escape, cells))
    console.print(shown)
    console.print()


def _is_words(table: PlainTable, place: int) -> bool:
    return place < table.num_words and table.heads[place] != "batch"


def _print_summary(view: AccuracyView, console: Console) -> None:
    shown = _empty("Errors")
    for place, heading in enumerate(("", *view.accuracies, "target", "met")):
        shown.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for line in summary_lines(view.accuracies):
        shown.add_row(*line, style="yellow" if line[-1] == "no" else "")
    console.print(shown)
    for name, meaning in view.meanings.items():
        console.print(f"{escape(name)}: {escape(meaning)}", style="dim", highlight=False)


def _empty(title: str) -> Table:
    return Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
