"""``svsim phase`` on the terminal: a map per diagram, then what it says in words."""

from rich.console import Console
from rich.markup import escape

from svsim.errors import printable
from svsim.report.phase_page import PhaseView
from svsim.report.phase_tables import caveats, map_table, sentences
from svsim.report.terminal_table import print_plain


def print_phase(result: PhaseView, console: Console) -> None:
    """Maps, sentences, notes."""
    config = result.config
    console.print(
        f"[bold]{escape(printable(config['deployment'], 100))}[/bold] ({config['latency_source']} step "
        f"times, engine {escape(printable(config['engine_profile'], 60))}), analytic model, closed loop",
        highlight=False,
    )
    for diagram in result.diagrams:
        print_plain(map_table(diagram), console)
    for line in sentences(result.diagrams):
        console.print(escape(line), highlight=False)
    for line in (*caveats(result.diagrams), *result.notes):
        console.print(f"[dim]note: {escape(printable(line, 500))}[/dim]", highlight=False)
