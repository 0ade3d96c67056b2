"""``svsim reproduce`` on the terminal: tables, then what the paper says and what became of it."""

from rich.console import Console
from rich.markup import escape

from svsim.papers.sv_paper.claims import verdict_counts
from svsim.papers.sv_paper.sv_paper import Reproduction
from svsim.report.reproduction_tables import all_tables
from svsim.report.reproduction_view import claim_lines, headline
from svsim.report.terminal_table import print_plain

_STYLES = {"confirmed": "bold green", "not confirmed": "bold yellow", "not testable": "dim"}


def print_reproduction(found: Reproduction, console: Console) -> None:
    """Every table but the one of all bars, the claims with their verdicts, and the errors that matter."""
    for table in all_tables(found):
        if table.caption != "Figure 3, every bar":
            print_plain(table, console)
    console.print("[bold]What the paper says[/bold]", highlight=False)
    for verdict, name, statement, reason in claim_lines(found.claims):
        style = _STYLES[verdict]
        console.print(
            f"\n[{style}]{verdict}[/{style}]  [bold]{escape(name)}[/bold] ({escape(statement)})",
            highlight=False,
        )
        console.print(f"  {escape(reason)}", highlight=False)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdict_counts(found.claims))
    console.print(f"\n[bold]Claims: {counts}.[/bold]", highlight=False)
    for number, words in headline(found):
        console.print(f"• {escape(number)}: {escape(words)}", highlight=False)
