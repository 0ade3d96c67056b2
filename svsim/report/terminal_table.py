"""Plain tables on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.report.plain_table import PlainTable


def print_plain(table: PlainTable, console: Console) -> None:
    """Caption, rows (a blank line between batch sizes), note."""
    shown = captioned_table(table.caption)
    for place, head in enumerate(table.heads):
        is_words = place < table.num_words and head != "batch"
        shown.add_column(escape(head), justify="left" if is_words else "right")
    is_grouped = table.heads[0] == "batch" and table.num_words == 2
    for place, cells in enumerate(table.rows):
        if is_grouped and place and table.rows[place - 1][0] != cells[0]:
            shown.add_row()
        shown.add_row(*map(escape, cells))
    console.print(shown)
    console.print(f"[dim]{escape(table.note)}[/dim]\n" if table.note else "", highlight=False)


def captioned_table(caption: str) -> Table:
    """An empty table in the one style, its caption on the left."""
    return Table(
        title=escape(caption),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )


def bare_table() -> Table:
    """An empty table without a caption."""
    return Table(header_style="bold", box=None, pad_edge=False)
