"""A plan on the terminal: the decision in words, the tables, notes."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from svsim.errors import printable
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import print_plain


class PlanShown(Protocol):
    """What is shown of a plan."""

    @property
    def sentences(self) -> Sequence[str]: ...
    @property
    def tables(self) -> Sequence[PlainTable]: ...
    @property
    def notes(self) -> Sequence[str]: ...


def print_plan(result: PlanShown, console: Console, files: Sequence[str] = ()) -> None:
    """Everything a person needs in a minute; files: configurations that were written."""
    first, *others = result.sentences
    console.print(f"[bold]{escape(first)}[/bold]", highlight=False)
    for sentence in others:
        console.print(f"• {escape(sentence)}", highlight=False)
    console.print()
    for table in result.tables:
        print_plain(table, console)
    for note in result.notes:
        console.print(f"[dim]note: {escape(printable(note, 400))}[/dim]", highlight=False)
    for file in files:
        console.print(f"written: {escape(printable(file, 300))}", highlight=False)
