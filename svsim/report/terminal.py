"""The terminal table: the only place besides the page that rounds, and that speaks milliseconds."""

import re
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from svsim.errors import printable
from svsim.metrics.rows import ResultRow, ResultTable
from svsim.report.heat_map import print_heat_map
from svsim.report.recommendation import recommend
from svsim.report.row_columns import LEAST_NEEDED, terminal_cells
from svsim.report.verdict import engine_words


def print_table(table: ResultTable, console: Console) -> None:
    """Provenance, one table per hardware, notes, recommendation."""
    console.print(_provenance(table), highlight=False)
    for hardware in dict.fromkeys(r.deployment for r in table.rows):
        console.print(_table_of(table, [r for r in table.rows if r.deployment == hardware], console.width))
    print_heat_map(table, console)
    for note in table.notes:
        console.print(f"[dim]note: {escape(note)}[/dim]", highlight=False)
    for sentence in recommend(table):
        console.print(f"• {escape(sentence)}", highlight=False)


def _provenance(table: ResultTable) -> str:
    trace = table.trace
    models = trace.get("models", {})
    names = [str(m.get("name")) for m in (models.get(r) for r in ("target", "draft", "companion")) if m]
    text = (
        f"{trace.get('file') or 'trace'}: {' / '.join(names)}" if names else str(trace.get("file") or "trace")
    )
    return (
        f"[bold]{escape(printable(text, 200))}[/bold]  {trace['acceptance_kind']} acceptance, "
        f"{trace['chains']} chains, {trace['num_evaluation_positions']:,} positions "
        f"{'walked' if _is_analytic(table) else 'replayed'}"
    )


def _is_analytic(table: ResultTable) -> bool:
    return table.config.get("engine") == "analytic"


FOLDED_LABEL = 24  # characters of a method's name and options in a line of a narrow terminal


def _table_of(table: ResultTable, rows: Sequence[ResultRow], width: int) -> Table:
    first, config = rows[0], table.config
    said = "".join(f", {words}" for words in engine_words(table, first.deployment))
    title = (
        f"{escape(first.deployment)} ({escape(first.latency_source)} step times{escape(said)}), closed loop, "
        f"{config['refill']} refill, {first.num_requests:,} requests "
        f"{'in the analytic model' if _is_analytic(table) else 'replayed'}"
    )
    best = {
        size: max(_speed(r) for r in rows if r.batch_size == size) for size in {r.batch_size for r in rows}
    }
    lines = [terminal_cells(row) for row in rows]
    if all(row.oracle_bound is None for row in rows):
        lines = [{heading: cell for heading, cell in line.items() if heading != "of bound"} for line in lines]
    if _width(lines, lines[0]) > width:
        lines = [{**line, "method": folded(line["method"], FOLDED_LABEL)} for line in lines]
    kept = _columns_that_fit(lines, width)
    view = Table(
        title=title, title_justify="left", title_style="", header_style="bold", box=None, pad_edge=False
    )
    for heading in kept:
        view.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for previous, row, line in zip([None, *rows], rows, lines, strict=False):
        if previous is not None and previous.batch_size != row.batch_size:
            view.add_row()
        winner = _speed(row) == best[row.batch_size] and len(rows) > len(best)
        view.add_row(*(line[heading] for heading in kept), style="bold green" if winner else "")
    return view


def _columns_that_fit(lines: Sequence[dict[str, str]], width: int) -> list[str]:
    """Headings in order, without the least needed ones that the terminal has no room for."""
    kept = list(lines[0])
    for heading in LEAST_NEEDED:
        if _width(lines, kept) <= width:
            break
        if heading in kept:
            kept.remove(heading)
    return kept


def _width(lines: Sequence[dict[str, str]], kept: Iterable[str]) -> int:
    """Of a table with the kept columns, two spaces between them."""
    longest = (
        max(len(part) for line in [h, *(x[h] for x in lines)] for part in line.split("\n")) for h in kept
    )
    return sum(2 + length for length in longest) - 2


def folded(label: str, length: int) -> str:
    """A label in lines of at most ``length``, broken after commas as far as it has any."""
    lines = [""]
    for part in re.findall(r"[^,]+,?", label):
        if lines[-1] and len(lines[-1]) + len(part) > length:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def _speed(row: ResultRow) -> float:
    return row.goodput_tok_s or 0.0
