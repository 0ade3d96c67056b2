"""Predicted against measured, on the terminal."""

from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from svsim.report.accuracy_view import (
    PAIR_HEADS,
    AccuracyView,
    choice_table,
    crossover_table,
    marginal_table,
    pair_cells,
    summary_lines,
)
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import captioned_table, print_plain


def print_accuracy(view: AccuracyView, console: Console) -> None:
    """Every pair, the tables, and the summary beside its targets."""
    pairs = tuple(pair_cells(row) for row in view.first.rows)
    print_plain(PlainTable(view.title, "", PAIR_HEADS, pairs, 2), console)
    tables = (marginal_table(view.first), crossover_table(view.first), choice_table(view.first))
    for table in (*view.tables, *tables):
        if table.rows:
            print_plain(replace(table, note=""), console)
    _print_summary(view, console)
    for line in (*view.notes, *view.cautions):
        console.print(f"• {escape(line)}", highlight=False)


def _print_summary(view: AccuracyView, console: Console) -> None:
    shown = captioned_table("Errors")
    for place, heading in enumerate(("", *view.accuracies, "target", "met")):
        shown.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for line in summary_lines(view.accuracies):
        shown.add_row(*line, style="yellow" if line[-1] == "no" else "")
    console.print(shown)
    for name, meaning in view.meanings.items():
        console.print(f"{escape(name)}: {escape(meaning)}", style="dim", highlight=False)
