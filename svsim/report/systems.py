"""``svsim reproduce`` on the terminal: scores of all systems, or the rows of one."""

from rich.console import Console
from rich.markup import escape

from svsim.papers.reproduction import SystemResult, SystemsResult
from svsim.papers.rows import Verdict
from svsim.report.plain_table import PlainTable
from svsim.report.systems_view import (
    SENTENCES,
    SV_PAPER_LINE,
    VERDICT_COLUMN,
    WORDS,
    rows_table,
    score_line,
    scores_table,
)
from svsim.report.terminal_table import captioned_table

STYLES = {Verdict.CONFIRMED: "bold green", Verdict.NOT_CONFIRMED: "bold yellow", Verdict.NOT_TESTABLE: "dim"}


def print_systems(found: SystemsResult, console: Console) -> None:
    """One system: its rows and findings. Several: the table of scores."""
    if len(found.systems) == 1:
        _print_system(found.systems[0], console)
        return
    _print_table(scores_table(found), console, verdict_column=None)
    console.print(f"{SV_PAPER_LINE}\nRows of one: svsim reproduce SYSTEM", highlight=False)


def _print_system(found: SystemResult, console: Console) -> None:
    _print_table(rows_table(found), console, verdict_column=VERDICT_COLUMN)
    for finding in found.findings:
        mark = "[bold yellow]≠[/bold yellow]" if finding in found.objections else "•"
        console.print(f"{mark} {escape(finding)}", highlight=False)
    console.print(f"[bold]{escape(score_line(found))}[/bold]", highlight=False)
    if found.system.parameters and not found.is_asked:
        words = ", ".join(f"--{p.name.replace('_', '-')} ({p.meaning})" for p in found.system.parameters)
        console.print(f"[dim]Your own numbers: {escape(words)}[/dim]", highlight=False)


def _print_table(table: PlainTable, console: Console, verdict_column: int | None) -> None:
    shown = captioned_table(table.caption)
    words = {*WORDS, *table.heads[: table.num_words]}
    for head in table.heads:
        is_wide = head in SENTENCES
        shown.add_column(
            escape(head),
            justify="left" if head in words else "right",
            ratio=3 if is_wide else None,
            overflow="fold",
        )
    for cells in table.rows:
        styled = [escape(cell) for cell in cells]
        if verdict_column is not None:
            style = STYLES[Verdict(cells[verdict_column])]
            styled[verdict_column] = f"[{style}]{styled[verdict_column]}[/{style}]"
        shown.add_row(*styled)
    console.print(shown)
    console.print(f"[dim]{escape(table.note)}[/dim]\n", highlight=False)
