"""A finished sweep on the terminal: what was done, what has no answer, the first rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from svsim.errors import printable
from svsim.report.formats import DASH
from svsim.report.plain_table import PlainTable
from svsim.report.terminal_table import print_plain

MAX_ROWS, MAX_COLUMNS = 12, 9
MAX_PROBLEMS = 3
NUMBERS = (
    *("label", "belief", "depth", "batch_size", "goodput_tok_s", "speedup_vs_td", "output_tok_s"),
    *("ttft_s_p99", "tpot_s_p99", "tpot_s", "usd_per_million_tokens"),
)


class SweepView(Protocol):
    """What is shown of a sweep."""

    @property
    def folder(self) -> Path: ...
    @property
    def command(self) -> str: ...
    @property
    def num_cells(self) -> int: ...
    @property
    def num_run(self) -> int: ...
    @property
    def problems(self) -> Sequence[str]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def rows_file(self) -> Path: ...
    @property
    def rows(self) -> Sequence[Mapping[str, Any]]: ...


def print_sweep(result: SweepView, console: Console) -> None:
    """One sentence, problems, notes and the head of the rows."""
    rows = result.rows
    old = result.num_cells - result.num_run
    console.print(
        f"[bold]{result.num_cells:,} cells of svsim {result.command}[/bold]: {result.num_run:,} run now, "
        f"{old:,} were finished; {len(rows):,} rows in {escape(printable(result.rows_file))}",
        highlight=False,
    )
    print_plain(head_of(rows), console)
    told = [f"without an answer: {problem}" for problem in result.problems[:MAX_PROBLEMS]]
    if len(result.problems) > MAX_PROBLEMS:
        told.append(f"{len(result.problems) - MAX_PROBLEMS} more cells are without an answer: column problem")
    for line in (*told, *result.notes):
        console.print(f"[dim]note: {escape(printable(line, 400))}[/dim]", highlight=False)


def head_of(rows: Sequence[Mapping[str, Any]]) -> PlainTable:
    """The first rows that have an answer: axes, and the numbers that matter most."""
    names = list(rows[0])
    axes = [name for name in names if name.startswith("axis_")]
    chosen = [*axes, *(name for name in NUMBERS if name in names)][:MAX_COLUMNS]
    shown = [row for row in rows if row["problem"] is None][:MAX_ROWS]
    words = [name for name in chosen if any(isinstance(row[name], str) for row in shown)]
    chosen = [*words, *(name for name in chosen if name not in words)]
    left = len(rows) - len(shown)
    return PlainTable(
        "First rows" if left else "Rows",
        f"and {left:,} more" if left else "",
        [name.removeprefix("axis_") for name in chosen],
        [[_cell(row[name]) for name in chosen] for row in shown],
        len(words),
    )


def _cell(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:,.5g}" if isinstance(value, float) else printable(value, 60)
